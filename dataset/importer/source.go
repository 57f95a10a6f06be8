package importer

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"editpipe/dataset/importer/rows"
	"editpipe/generator/dump"
	"editpipe/lfs"
)

// ErrParquet is returned for a Parquet file where Options say nothing of how to
// read one.
var ErrParquet = errors.New("it is a Parquet file")

// cutter cuts a text into records.
type cutter func(io.Reader) iter.Seq2[rows.Row, error]

// rowsOf cuts a file into records: a Parquet file into its rows, any other one,
// unpacked where it is packed, with cut. An error names no file.
func rowsOf(path string, o Options, cut cutter) iter.Seq2[rows.Row, error] {
	return func(yield func(rows.Row, error) bool) {
		if parquet, err := isParquet(path); err != nil || parquet && o.Parquet == nil {
			if err == nil {
				err = ErrParquet
			}
			yield(rows.Row{}, err)
			return
		} else if parquet {
			index := 0
			for raw, err := range o.Parquet(path) {
				if !yield(rows.Row{Index: index, Raw: raw}, err) || err != nil {
					return
				}
				index++
			}
			if index == 0 {
				yield(rows.Row{}, ErrEmpty)
			}
			return
		}
		in, err := open(path)
		if err != nil {
			yield(rows.Row{}, err)
			return
		}
		defer in.Close()
		cut(in)(yield)
	}
}

// text is a file, unpacked.
type text struct {
	*dump.Reader
	file *os.File
}

// Close closes both. The file was only read, so that closing it loses nothing.
func (t text) Close() error {
	return errors.Join(t.Reader.Close(), t.file.Close())
}

// open opens a file of text, unpacking gzip, bzip2 and zstd.
func open(path string) (io.ReadCloser, error) {
	if err := lfs.CheckFile(path); err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := dump.Open(file, 1)
	if err != nil {
		return nil, fmt.Errorf("unpacking: %w", errors.Join(err, file.Close()))
	}
	return text{r, file}, nil
}

// isParquet tells a Parquet file by its first bytes. Text with such a beginning is
// none of our formats.
func isParquet(path string) (bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	head := make([]byte, 4)
	n, err := io.ReadFull(file, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	return string(head[:n]) == "PAR1", nil
}

// packed are the endings of packed files.
var packed = []string{".gz", ".zst", ".bz2"}

// unpackedName is a file's name without the ending that says how it is packed.
func unpackedName(path string) string {
	if ext := filepath.Ext(path); slices.Contains(packed, strings.ToLower(ext)) {
		return strings.TrimSuffix(path, ext)
	}
	return path
}
