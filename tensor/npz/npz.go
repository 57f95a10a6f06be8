// Package npz reads and writes NumPy's array files: .npy, one array, and .npz,
// a zip archive of them, the form of published statistics and reference
// results.
//
// Arrays are returned in row-major order and little-endian, whatever the file
// has. Object arrays are refused: they hold pickled Python, which would have to
// be executed.
package npz

import (
	"archive/zip"
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"editpipe/file"
	"editpipe/lfs"
	"editpipe/tensor"
)

// ErrFormat is returned, wrapped with file and member, when a file is not a
// valid .npy or .npz file or holds what this package does not read.
var ErrFormat = errors.New("not a readable NumPy file")

// maxDeflate bounds how much deflate can shrink data, so that a small file
// cannot ask for all memory (zlib's technical note gives 1032:1).
const maxDeflate = 1040

// ReadNPY reads a .npy file.
func ReadNPY(path string) (*tensor.Tensor, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("npz: opening: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("npz: reading %s: %w", path, err)
	}
	t, err := decode(bufio.NewReader(f), info.Size())
	if pointer := lfs.CheckFile(path); err != nil && pointer != nil {
		err = pointer
	}
	if err != nil {
		return nil, fmt.Errorf("npz: reading %s: %w", path, err)
	}
	return t, nil
}

// Read reads arrays of a .npz archive, stored or deflated, by their names
// without the .npy ending: those listed, or every one. What is not wanted may
// hold anything. A listed array that is missing is left out.
func Read(path string, names ...string) (map[string]*tensor.Tensor, error) {
	z, err := zip.OpenReader(path)
	if pointer := lfs.CheckFile(path); err != nil && pointer != nil {
		err = pointer
	}
	if errors.Is(err, zip.ErrFormat) {
		return nil, fmt.Errorf("npz: reading %s: %w: no zip archive: %w", path, ErrFormat, err)
	}
	if err != nil {
		return nil, fmt.Errorf("npz: reading %s: %w", path, err)
	}
	defer z.Close()
	out := map[string]*tensor.Tensor{}
	for _, m := range z.File {
		name := strings.TrimSuffix(m.Name, ".npy")
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		t, err := member(m)
		if err != nil {
			return nil, fmt.Errorf("npz: reading %s: member %q: %w", path, m.Name, err)
		}
		if out[name] != nil {
			return nil, fmt.Errorf("npz: reading %s: %w: member %q comes twice", path, ErrFormat, m.Name)
		}
		out[name] = t
	}
	return out, nil
}

func member(m *zip.File) (*tensor.Tensor, error) {
	if !strings.HasSuffix(m.Name, ".npy") {
		return nil, fmt.Errorf("%w: not an .npy file", ErrFormat)
	}
	if m.UncompressedSize64/maxDeflate > m.CompressedSize64 {
		return nil, fmt.Errorf("%w: %d bytes cannot come from %d", ErrFormat, m.UncompressedSize64, m.CompressedSize64)
	}
	r, err := m.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	t, err := decode(r, int64(m.UncompressedSize64))
	if err != nil {
		return nil, err
	}
	// The archive's checksum is compared when the end is read.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	return t, nil
}

// Write writes an archive whole, uncompressed as numpy.savez does. Equal
// arguments give equal bytes. It refuses bfloat16, which NumPy lacks.
func Write(path string, tensors map[string]*tensor.Tensor) error {
	if err := write(path, tensors); err != nil {
		return fmt.Errorf("npz: writing %s: %w", path, err)
	}
	return nil
}

func write(path string, tensors map[string]*tensor.Tensor) error {
	d, err := file.CreateDraft(path)
	if err != nil {
		return err
	}
	defer d.Abort()
	buf := bufio.NewWriterSize(d, 1<<20)
	z := zip.NewWriter(buf)
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name + ".npy", Method: zip.Store})
		if err != nil {
			return err
		}
		if err := encode(w, tensors[name]); err != nil {
			return fmt.Errorf("array %q: %w", name, err)
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	if err := buf.Flush(); err != nil {
		return err
	}
	return d.Commit()
}
