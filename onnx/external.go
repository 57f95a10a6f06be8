package onnx

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"editpipe/lfs"
)

// pointerSize is how much of a data file is looked at for a Git LFS pointer.
const pointerSize = 1024

// mapAbove is the file size from which files are mapped; smaller ones are read.
const mapAbove = 1 << 20

// External refers to data in another file of the model folder.
type External struct {
	Location string // path relative to the folder
	Offset   int64  // bytes from the start of the file
	Length   int64  // bytes, -1 when the file does not say

	more  []Property // checksum and entries of later versions
	store *store
}

// check verifies that the reference holds size bytes inside the folder.
func (e *External) check(size int64) error {
	if e.Length >= 0 && e.Length != size {
		return fmt.Errorf("%w: external length is %d bytes, dimensions need %d", ErrSize, e.Length, size)
	}
	have, err := e.store.size(e.Location)
	if err != nil {
		return err
	}
	if e.Offset < 0 || e.Offset > have || size > have-e.Offset {
		return fmt.Errorf("%w: %s has %d bytes, need %d from offset %d (incomplete download?)",
			ErrExternal, e.Location, have, size, e.Offset)
	}
	return nil
}

func (e *External) read(size int64) ([]byte, error) {
	data, err := e.store.file(e.Location)
	if err != nil {
		return nil, err
	}
	if e.Offset > int64(len(data)) || size > int64(len(data))-e.Offset {
		return nil, fmt.Errorf("%w: %s became shorter while in use", ErrExternal, e.Location)
	}
	return data[e.Offset : e.Offset+size : e.Offset+size], nil
}

// ExternalFiles lists the external data files that the model refers to,
// relative to its folder, sorted.
func (m *Model) ExternalFiles() []string {
	var files []string
	m.tensors(func(t *Tensor) {
		if t.External != nil {
			files = append(files, filepath.Clean(filepath.FromSlash(t.External.Location)))
		}
	})
	slices.Sort(files)
	return slices.Compact(files)
}

// store opens the files of one model folder, each once, and keeps them mapped
// until closed. It is shared by a model and its clones.
type store struct {
	dir string
	// beside is the folder of the model's own file where that is reached by a link
	// out of dir, as in the local cache of a model hub; "" otherwise.
	beside string
	mu     sync.Mutex
	files  map[string]*mapping
	sizes  map[string]int64
}

type mapping struct {
	data  []byte
	unmap func() error
}

func newStore(dir string) *store {
	return &store{dir: dir, files: map[string]*mapping{}, sizes: map[string]int64{}}
}

// where finds an external file: inside the folder or, where the model's own file
// is reached by a link, beside that one. An absolute path, ".." and a link that
// leads elsewhere are refused.
func (s *store) where(location string) (folder, name string, err error) {
	name = filepath.FromSlash(location)
	switch {
	case s.dir == "":
		return "", "", fmt.Errorf("%w: %q: the model was read without a folder", ErrExternal, location)
	case location == "":
		return "", "", fmt.Errorf("%w: no location given", ErrExternal)
	case !filepath.IsLocal(name):
		return "", "", fmt.Errorf("%w: %q lies outside the model folder", ErrExternal, location)
	}
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return "", "", fmt.Errorf("%w: %w", ErrExternal, err)
	}
	defer func() { _ = root.Close() }() // read only
	if _, err = root.Stat(name); err == nil {
		return s.dir, name, nil
	}
	missing := fmt.Errorf("%w: file %q is missing from the model folder", ErrExternal, location)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", missing
	}
	real, linkErr := filepath.EvalSymlinks(filepath.Join(s.dir, name))
	switch {
	case errors.Is(linkErr, fs.ErrNotExist):
		return "", "", missing
	case linkErr != nil:
		return "", "", fmt.Errorf("%w: %q cannot be reached: %w", ErrExternal, location, err)
	case s.beside != "" && sameFolder(filepath.Dir(real), s.beside):
		return s.beside, filepath.Base(real), nil
	case s.beside != "":
		return "", "", fmt.Errorf("%w: %q is a link to a file that lies neither in the model folder nor beside the model's own file; copy the folder with links resolved", ErrExternal, location)
	}
	return "", "", fmt.Errorf("%w: %q is a link that leaves the model folder; copy the folder with links resolved", ErrExternal, location)
}

// open opens a regular file that where finds.
func (s *store) open(location string) (*os.File, int64, error) {
	folder, name, err := s.where(location)
	if err != nil {
		return nil, 0, err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrExternal, err)
	}
	defer func() { _ = root.Close() }() // read only
	// Stat first: opening a pipe or device would block or have effects.
	info, err := root.Stat(name)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %q cannot be reached: %w", ErrExternal, location, err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%w: %q is not a regular file", ErrExternal, location)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrExternal, err)
	}
	return f, info.Size(), nil
}

// Located returns the model, with the names under which its external files
// really lie in one folder, and that folder. ONNX Runtime follows no link out of
// the folder it is given, so a model whose files are links is written with the
// names of what they lead to. The result is for serialising: its own external
// data cannot be read.
func (m *Model) Located() (*Model, string, error) {
	dir, names, linked := m.Dir, map[string]string{}, false
	for i, file := range m.ExternalFiles() {
		folder, name, err := m.store.where(file)
		if err != nil {
			return nil, "", fmt.Errorf("onnx: locating the data of %s: %w", m.label(), err)
		}
		if i > 0 && folder != dir {
			return nil, "", fmt.Errorf("onnx: locating the data of %s: %w: some files lie in the model folder, others beside the model's own file; copy the folder with links resolved", m.label(), ErrExternal)
		}
		dir, names[file] = folder, filepath.ToSlash(name)
		linked = linked || folder != m.Dir
	}
	if !linked {
		return m, dir, nil
	}
	c := m.Clone()
	c.Dir = dir
	c.tensors(func(t *Tensor) {
		if t.External != nil {
			t.External.Location = names[filepath.Clean(filepath.FromSlash(t.External.Location))]
		}
	})
	return c, dir, nil
}

// size is the length of an external file.
func (s *store) size(location string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.sizes[location]; ok {
		return n, nil
	}
	f, n, err := s.open(location)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // read only
	head := make([]byte, min(n, pointerSize))
	if _, err := f.ReadAt(head, 0); err != nil {
		return 0, fmt.Errorf("%w: reading %s: %w", ErrExternal, location, err)
	}
	if err := lfs.Check(head); err != nil {
		return 0, fmt.Errorf("%w: %s: %w", ErrExternal, location, err)
	}
	s.sizes[location] = n
	return n, nil
}

// file is the content of an external file.
func (s *store) file(location string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, ok := s.files[location]; ok {
		return m.data, nil
	}
	f, n, err := s.open(location)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only; a mapping outlives it
	return s.load(location, f, n)
}

// openModel is the content of the model file itself, which may be a link out
// of the folder: the user named it.
func (s *store) openModel(name string) ([]byte, error) {
	path := filepath.Join(s.dir, name)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil && !sameFolder(filepath.Dir(real), s.dir) {
		s.beside = filepath.Dir(real)
	}
	defer func() { _ = f.Close() }() // read only; a mapping outlives it
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: not a regular file", ErrFormat)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	data, err := s.load("", f, info.Size())
	if err != nil {
		return nil, err
	}
	return data, lfs.Check(data)
}

// load maps or reads f and files it under key. The lock is held.
func (s *store) load(key string, f *os.File, size int64) ([]byte, error) {
	if uint64(size) > math.MaxInt {
		return nil, fmt.Errorf("%w: %s is too large for this machine's addresses", ErrExternal, f.Name())
	}
	m := &mapping{unmap: func() error { return nil }}
	var err error
	if size >= mapAbove {
		m.data, m.unmap, err = mapFile(f, int(size))
	} else {
		m.data = make([]byte, size)
		_, err = f.ReadAt(m.data, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.Name(), err)
	}
	s.files[key] = m
	return m.data, nil
}

func (s *store) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []error
	for key, m := range s.files {
		all = append(all, m.unmap())
		delete(s.files, key)
	}
	return errors.Join(all...)
}
