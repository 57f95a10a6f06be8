package store

import (
	"bufio"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"editpipe/file"
)

// rowGroup bounds the rows of a row group, which is held in memory until it is full.
const rowGroup = 50_000

// ownKeys starts the metadata keys of this package, of which schemaKey holds SchemaVersion.
const (
	ownKeys   = "editpipe."
	schemaKey = ownKeys + "schema"
)

// Write writes rows to a file, whole. Equal rows and metadata give equal bytes.
// It returns ErrNotFinite, before anything is written, naming row and column
// of a number that is NaN or infinite. The folder must exist.
func Write[T any](path string, rows []T, meta map[string]string) error {
	w, err := NewWriter[T](path, meta)
	if err != nil {
		return err
	}
	defer w.Abort()
	if err := w.Append(rows...); err != nil {
		return err
	}
	return w.Close()
}

// Writer writes a file row by row. The file appears at Close; a Writer that is
// aborted, or fails, leaves nothing.
type Writer[T any] struct {
	path  string
	draft *file.Draft
	buf   *bufio.Writer
	rows  *parquet.GenericWriter[T]
	guard guard
	n     int64
	err   error // the first one; it stands
}

// NewWriter starts a file. The metadata keys are stored in the file's footer;
// keys that start with "editpipe." are taken.
func NewWriter[T any](path string, meta map[string]string) (*Writer[T], error) {
	for k := range meta {
		if strings.HasPrefix(k, ownKeys) {
			return nil, fmt.Errorf("store: writing %s: metadata key %q: keys that start with %s are taken", path, k, ownKeys)
		}
	}
	d, err := file.CreateDraft(path)
	if err != nil {
		return nil, fmt.Errorf("store: writing %s: %w", path, err)
	}
	w := &Writer[T]{path: path, draft: d, buf: bufio.NewWriterSize(d, 1<<18), guard: guardOf[T]()}
	options := []parquet.WriterOption{
		parquet.Compression(&zstd.Codec{}),
		parquet.MaxRowsPerRowGroup(rowGroup),
		parquet.CreatedBy("editpipe", SchemaVersion, ""),
		parquet.KeyValueMetadata(schemaKey, SchemaVersion),
	}
	for _, k := range slices.Sorted(maps.Keys(meta)) {
		options = append(options, parquet.KeyValueMetadata(k, meta[k]))
	}
	w.rows = parquet.NewGenericWriter[T](w.buf, options...)
	return w, nil
}

// Append adds rows. It returns ErrNotFinite where one holds NaN or an infinity,
// in which case none of these rows is added and the writer can only be aborted.
func (w *Writer[T]) Append(rows ...T) error {
	if w.err != nil {
		return w.err
	}
	if err := guardRows(w.guard, rows, w.n); err != nil {
		return w.fail(err)
	}
	if _, err := w.rows.Write(rows); err != nil {
		return w.fail(err)
	}
	w.n += int64(len(rows))
	return nil
}

// Close finishes the file and puts it in its place.
func (w *Writer[T]) Close() error {
	if w.err != nil {
		return w.err
	}
	if err := w.rows.Close(); err != nil {
		return w.fail(err)
	}
	if err := w.buf.Flush(); err != nil {
		return w.fail(err)
	}
	if err := w.draft.Commit(); err != nil {
		return w.fail(err)
	}
	w.err = fmt.Errorf("store: writing %s: the writer is closed", w.path)
	return nil
}

// Abort drops what was written. After Close or Abort it does nothing, so that
// it can be deferred. A draft that cannot be removed is no table and harms
// nobody; the error that led here is the one to report.
func (w *Writer[T]) Abort() {
	if w.err == nil {
		w.err = fmt.Errorf("store: writing %s: the writer is aborted", w.path)
	}
	_ = w.draft.Abort()
}

func (w *Writer[T]) fail(err error) error {
	w.err = fmt.Errorf("store: writing %s: %w", w.path, err)
	return w.err
}
