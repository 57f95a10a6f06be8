package store

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/parquet-go/parquet-go"
)

// errStop ends a walk over a file whose reader has had enough.
var errStop = errors.New("no more is wanted")

// Texts yields a column of strings of any Parquet file in order, NULL and blank
// ones left out, a page in memory at a time. An error names the file and ends the sequence:
// ErrColumn, with the columns there are, where none of that name holds strings.
func Texts(path, column string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		any := false
		err := open(path, func(f *parquet.File) error {
			leaf, ok := f.Schema().Lookup(column)
			if !ok || leaf.Node.Type().Kind() != parquet.ByteArray || leaf.MaxRepetitionLevel > 0 {
				return fmt.Errorf("%w: no column %q of strings; it has %s", ErrColumn, column, stringColumns(f))
			}
			for _, group := range f.RowGroups() {
				err := pagesOf(group.ColumnChunks()[leaf.ColumnIndex], func(v parquet.Value) error {
					if v.IsNull() {
						return nil
					}
					text := strings.TrimSpace(string(v.ByteArray()))
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
		if ok && len(path) == 1 && leaf.Node.Type().Kind() == parquet.ByteArray && leaf.MaxRepetitionLevel == 0 {
			names = append(names, path[0])
		}
	}
	if names == nil {
		return "none of strings"
	}
	return strings.Join(names, ", ")
}
