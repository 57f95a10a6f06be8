package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
)

// Objects yields the rows of any Parquet file as JSON objects by the names of
// its columns, a batch in memory at a time: lists as arrays, structs and maps as
// objects, NULL and NaN as null. An error names the file and ends the sequence; it
// is ErrColumn for text that is not UTF-8.
func Objects(path string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		err := open(path, func(f *parquet.File) error {
			if err := checkPacking(f, nil); err != nil {
				return err
			}
			r := parquet.NewGenericReader[map[string]any](f, f.Schema())
			defer r.Close()
			rows := make([]map[string]any, min(readBatch/16, max(f.NumRows(), 1)))
			for n := int64(0); ; {
				for i := range rows {
					rows[i] = map[string]any{}
				}
				k, err := r.Read(rows)
				for _, row := range rows[:k] {
					object, err := plain(row)
					if err != nil {
						return fmt.Errorf("%w: row %d: %w", ErrColumn, n, err)
					}
					text, err := json.Marshal(object)
					if err != nil {
						return fmt.Errorf("%w: row %d: %w", ErrColumn, n, err)
					}
					if n++; !yield(text, nil) {
						return errStop
					}
				}
				if errors.Is(err, io.EOF) && n == f.NumRows() {
					return nil
				}
				if errors.Is(err, io.EOF) {
					return fmt.Errorf("%w: %d rows, the footer says %d", ErrCorrupt, n, f.NumRows())
				}
				if err != nil {
					return fmt.Errorf("%w: row %d: %w", ErrCorrupt, n, err)
				}
			}
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(nil, fmt.Errorf("store: reading %s: %w", path, err))
		}
	}
}

// plain is a value without what JSON does not have; text must be UTF-8, which
// encoding/json would mend in silence.
func plain(v any) (any, error) {
	switch v := v.(type) {
	case string:
		if !utf8.ValidString(v) {
			return nil, fmt.Errorf("%.20q is not UTF-8 text", v)
		}
	case []byte:
		return plain(string(v))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, nil
		}
	case float32:
		return plain(float64(v))
	case []any:
		for i := range v {
			var err error
			if v[i], err = plain(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range v {
			var err error
			if v[k], err = plain(v[k]); err != nil {
				return nil, fmt.Errorf("column %s: %w", k, err)
			}
		}
	}
	return v, nil
}
