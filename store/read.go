package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"editpipe/lfs"
)

// readBatch is the number of rows decoded at a time. Memory grows with the rows
// that are really there, not with the count a damaged footer may claim.
const readBatch = 4096

// Read reads a file's rows. Columns that T does not have are left out, columns
// that are optional in T may be absent and then are zero. It returns ErrCorrupt for a file
// that is no whole Parquet file and ErrColumn, naming the column, where a
// required column is absent, has another type or holds NULL.
func Read[T any](path string) ([]T, error) {
	rows, err := read[T](path)
	if err != nil {
		return nil, fmt.Errorf("store: reading %s: %w", path, err)
	}
	return rows, nil
}

// ReadDir reads the rows of all .parquet files of a folder, in the order of
// their names, so that equal folders give equal rows.
func ReadDir[T any](dir string) ([]T, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("store: reading the files of a table: %w", err)
	}
	var all []T
	for _, e := range entries {
		// A name with a leading dot is a draft of a process that was killed.
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".parquet") || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		rows, err := Read[T](filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
	}
	return all, nil
}

// ReadMeta returns the metadata of a file's footer.
func ReadMeta(path string) (map[string]string, error) {
	out := map[string]string{}
	err := open(path, func(f *parquet.File) error {
		for _, kv := range f.Metadata().KeyValueMetadata {
			out[kv.Key] = kv.Value
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("store: reading %s: %w", path, err)
	}
	return out, nil
}

// open opens a file, checks its footer and hands it on. The Parquet library
// panics on some damaged files; that is bad input here and becomes an error.
func open(path string, use func(*parquet.File) error) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return errors.New("it is a folder")
	}
	if err := lfs.CheckFile(path); err != nil {
		return err
	}
	if isEncrypted(f, info.Size()) {
		return errEncrypted
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
	}()
	pf, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		if whole, size := completed(f, info.Size()); whole != nil {
			pf, err = parquet.OpenFile(whole, size)
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return use(pf)
}

// ErrPacking is returned for a column whose pages are compressed in a way that is
// not read.
var ErrPacking = errors.New("compression is not read")

// checkPacking refuses columns whose pages the Parquet library cannot unpack, or,
// as those in LZ4_RAW, unpacks wrongly: of a page that shrank to no less than a
// third it takes bytes that were never written for its text (parquet-go v0.32.0).
// wanted says which columns are read; nil stands for all.
func checkPacking(f *parquet.File, wanted func(path []string) bool) error {
	for _, g := range f.Metadata().RowGroups {
		for _, c := range g.Columns {
			path := c.MetaData.PathInSchema
			if wanted != nil && !wanted(path) {
				continue
			}
			switch c.MetaData.Codec {
			case format.Uncompressed, format.Snappy, format.Gzip, format.Brotli, format.Zstd:
			default:
				return fmt.Errorf("column %s: %s %w: write the file again with another one, for example zstd", strings.Join(path, "."), c.MetaData.Codec, ErrPacking)
			}
		}
	}
	return nil
}

func read[T any](path string) (rows []T, err error) {
	err = scan(path, func(batch []T) error {
		rows = append(rows, batch...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// Scan hands a file's rows on batch by batch, so that memory does not grow with
// the file. A batch is valid until use returns. Errors are those of Read; one of
// use ends the scan and is returned as it is, wrapped with the file.
func Scan[T any](path string, use func(rows []T) error) error {
	if err := scan(path, use); err != nil {
		return fmt.Errorf("store: reading %s: %w", path, err)
	}
	return nil
}

func scan[T any](path string, use func([]T) error) error {
	return open(path, func(f *parquet.File) error {
		want := schemaOf[T]()
		if err := checkColumns(want, f); err != nil {
			return err
		}
		if err := checkPacking(f, func(path []string) bool {
			_, ok := want.Lookup(path...)
			return ok
		}); err != nil {
			return err
		}
		r := parquet.NewGenericReader[T](f, want)
		defer r.Close()
		// One row more than the footer promises finds the end.
		rows := make([]T, min(readBatch, max(f.NumRows()+1, 1)))
		for n := int64(0); ; {
			clear(rows)
			k, err := r.Read(rows)
			n += int64(k)
			if k > 0 {
				if err := use(rows[:k]); err != nil {
					return err
				}
			}
			if errors.Is(err, io.EOF) {
				if n != f.NumRows() {
					return fmt.Errorf("%w: %d rows, the footer says %d", ErrCorrupt, n, f.NumRows())
				}
				return nil
			}
			if err != nil {
				return fmt.Errorf("%w: row %d: %w", ErrCorrupt, n, err)
			}
		}
	})
}

// schemaOf is the schema of a row type for reading. The library's own makes a
// pointer in an embedded struct point to zero where the column holds NULL
// (parquet-go v0.32.0: its Field.Value follows such a pointer).
func schemaOf[T any]() *parquet.Schema {
	s := parquet.SchemaOf(new(T))
	index := map[string][]int{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[T]()) {
		if !f.Anonymous {
			index[columnName(f)] = f.Index
		}
	}
	root := &columns{Node: s}
	for _, f := range s.Fields() {
		root.fields = append(root.fields, &column{f, index[f.Name()]})
	}
	return parquet.NewSchema(s.Name(), root)
}

// columns is a row type whose fields are found by their indices.
type columns struct {
	parquet.Node
	fields []parquet.Field
}

func (c *columns) Fields() []parquet.Field { return c.fields }

// column is a field of a row, maybe of a struct embedded in it. It is a pointer, as
// the library takes fields for keys of maps.
type column struct {
	parquet.Field
	index []int
}

func (c *column) Value(row reflect.Value) reflect.Value { return row.FieldByIndex(c.index) }

// checkColumns compares the columns wanted with those of a file. The library by
// itself would fill what is missing with zeros.
func checkColumns(want *parquet.Schema, f *parquet.File) error {
	required := map[string]bool{}
	if err := checkNode(want, f.Schema(), "", required); err != nil {
		return err
	}
	// Other writers make every column nullable; then only the statistics tell
	// whether a required one has NULLs.
	for _, g := range f.Metadata().RowGroups {
		for _, c := range g.Columns {
			name := strings.Join(c.MetaData.PathInSchema, ".")
			if n := c.MetaData.Statistics.NullCount; required[name] && n > 0 {
				return fmt.Errorf("%w: column %s is required and is NULL in %d rows", ErrColumn, name, n)
			}
		}
	}
	return nil
}

// checkNode compares one level of the schemas and notes required columns.
func checkNode(want, have parquet.Node, path string, required map[string]bool) error {
	fields := map[string]parquet.Field{}
	for _, f := range have.Fields() {
		fields[f.Name()] = f
	}
	for _, w := range want.Fields() {
		name := strings.TrimPrefix(path+"."+w.Name(), ".")
		h, ok := fields[w.Name()]
		switch {
		case !ok && w.Optional():
			continue
		case !ok:
			return fmt.Errorf("%w: column %s is missing", ErrColumn, name)
		case w.Leaf() != h.Leaf() || w.Repeated() != h.Repeated():
			return fmt.Errorf("%w: column %s is %s where %s is wanted", ErrColumn, name, describe(h), describe(w))
		case !w.Leaf():
			if err := checkNode(w, h, name, required); err != nil {
				return err
			}
		case w.Type().Kind() != h.Type().Kind(), !sameMeaning(w, h):
			return fmt.Errorf("%w: column %s is %s where %s is wanted", ErrColumn, name, describe(h), describe(w))
		case path == "" && w.Required():
			required[name] = true
		}
	}
	return nil
}

// sameMeaning says whether a column of the wanted physical type holds values of
// the wanted kind: an INT32 may be a number, but also a decimal in tenths or a day.
func sameMeaning(want, have parquet.Node) bool {
	logical := have.Type().LogicalType()
	if logical == nil || logical.Value == nil {
		return true
	}
	switch kind := want.Type().Kind(); kind {
	case parquet.Int32, parquet.Int64:
		number, ok := logical.Value.(*format.IntType)
		return ok && (number.IsSigned || kind == parquet.Int64 && number.BitWidth < 64 || number.BitWidth < 32)
	case parquet.ByteArray:
		return isText(have)
	}
	return false
}

// isText says whether a column of bytes holds text. One without a logical type does:
// older writers mark none.
func isText(n parquet.Node) bool {
	if !n.Leaf() || n.Type().Kind() != parquet.ByteArray {
		return false
	}
	logical := n.Type().LogicalType()
	if logical == nil {
		return true
	}
	switch logical.Value.(type) {
	case nil, *format.StringType, *format.EnumType, *format.JsonType:
		return true
	}
	return false
}

// describe says what a column is, for errors.
func describe(n parquet.Node) string {
	switch {
	case !n.Leaf():
		return "a group"
	case n.Repeated():
		return "a repeated " + n.Type().String()
	}
	return n.Type().String()
}
