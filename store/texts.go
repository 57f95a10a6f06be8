package store

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
)

// errStop ends a walk over a file whose reader has had enough.
var errStop = errors.New("no more is wanted")

// Texts yields a column of strings of any Parquet file in order, NULL and blank
// ones left out, a page in memory at a time; dots in its name lead into structs. An
// error names the file and ends the sequence: ErrColumn, with the columns there are,
// where none of that name holds strings, or where a value is not UTF-8; ErrPacking,
// before any text, where the column is compressed in a way that is not read.
func Texts(path, column string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		any := false
		err := open(path, func(f *parquet.File) error {
			leaf, ok := f.Schema().Lookup(column)
			if !ok {
				leaf, ok = f.Schema().Lookup(strings.Split(column, ".")...)
			}
			if !ok || !isText(leaf.Node) || leaf.MaxRepetitionLevel > 0 {
				return fmt.Errorf("%w: no column %q of strings; it has %s", ErrColumn, column, stringColumns(f))
			}
			if err := checkPacking(f, func(path []string) bool { return slices.Equal(path, leaf.Path) }); err != nil {
				return err
			}
			at := 0
			for _, group := range f.RowGroups() {
				err := pagesOf(group.ColumnChunks()[leaf.ColumnIndex], func(v parquet.Value) error {
					at++
					if v.IsNull() {
						return nil
					}
					text := strings.TrimSpace(string(v.ByteArray()))
					if !utf8.ValidString(text) {
						return fmt.Errorf("%w: row %d of column %q is not UTF-8 text", ErrColumn, at-1, column)
					}
					if text == "" {
						return nil
					}
					any = true
					if !yield(text, nil) {
						return errStop
					}
					return nil
				})
				if err != nil {
					return err
				}
			}
			if !any {
				return fmt.Errorf("column %q holds no text", column)
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield("", fmt.Errorf("store: reading %s: %w", path, err))
		}
	}
}

// pagesOf calls do with every value of a column chunk.
func pagesOf(chunk parquet.ColumnChunk, do func(parquet.Value) error) error {
	pages := chunk.Pages()
	defer pages.Close()
	values := make([]parquet.Value, 256)
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		for r := page.Values(); ; {
			n, err := r.ReadValues(values)
			for _, v := range values[:n] {
				if err := do(v); err != nil {
					return err
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return fmt.Errorf("%w: %w", ErrCorrupt, err)
			}
		}
	}
}

// stringColumns lists the columns that Texts can read.
func stringColumns(f *parquet.File) string {
	var names []string
	for _, path := range f.Schema().Columns() {
		leaf, ok := f.Schema().Lookup(path...)
		if ok && isText(leaf.Node) && leaf.MaxRepetitionLevel == 0 {
			names = append(names, strings.Join(path, "."))
		}
	}
	if names == nil {
		return "none of strings"
	}
	return strings.Join(names, ", ")
}
