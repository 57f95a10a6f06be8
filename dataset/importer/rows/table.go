package rows

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"
)

// Table cuts a table with the given separator, whose first line names the
// columns. A row with too many or too few cells is a Row with Err; a quote that
// is not closed hides where rows end and ends the sequence, as does ErrEmpty where
// there is no row.
func Table(r io.Reader, separator rune) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		cells, columns, err := header(r, separator)
		if err != nil {
			yield(Row{}, err)
			return
		}
		for index := 0; ; index++ {
			row := Row{Index: index, Offset: cells.InputOffset()}
			values, err := cells.Read()
			switch {
			case errors.Is(err, io.EOF):
				if index == 0 {
					yield(Row{}, ErrEmpty)
				}
				return
			case errors.Is(err, csv.ErrFieldCount):
				row.Err = fmt.Errorf("want %d cells, have %d", len(columns), len(values))
			case err != nil:
				yield(Row{}, fmt.Errorf("row %d: %w", index, err))
				return
			default:
				row.Raw, row.Err = object(columns, values)
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// Columns reads the names of a table's columns.
func Columns(r io.Reader, separator rune) ([]string, error) {
	_, columns, err := header(r, separator)
	return columns, err
}

func header(r io.Reader, separator rune) (*csv.Reader, []string, error) {
	buffered := bufio.NewReader(r)
	head, err := buffered.Peek(256)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	if what := foreign(head); what != "" {
		return nil, nil, fmt.Errorf("not a table: %s", what)
	}
	cells := csv.NewReader(buffered)
	cells.Comma = separator
	cells.LazyQuotes = separator == '\t' // few writers of TSV quote; a quote inside a cell is text
	columns, err := cells.Read()
	if errors.Is(err, io.EOF) {
		return nil, nil, ErrEmpty
	}
	if err != nil {
		return nil, nil, fmt.Errorf("line of column names: %w", err)
	}
	columns[0] = strings.TrimPrefix(columns[0], mark)
	for i, c := range columns {
		if columns[i] = strings.TrimSpace(c); columns[i] == "" {
			return nil, nil, fmt.Errorf("column %d has no name", i+1)
		}
		if slices.Contains(columns[:i], columns[i]) {
			return nil, nil, fmt.Errorf("two columns are named %q", columns[i])
		}
	}
	return cells, columns, nil
}

func object(columns, values []string) ([]byte, error) {
	m := map[string]string{}
	for i, v := range values {
		if !utf8.ValidString(v) {
			return nil, fmt.Errorf("column %s: invalid UTF-8", columns[i])
		}
		if v != "" {
			m[columns[i]] = v
		}
	}
	return json.Marshal(m)
}
