package onnx

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"editpipe/file"
)

// dataAlign is the alignment of external tensors, so that readers can map them.
const dataAlign = 4096

// SaveOptions says where weights go. The zero value puts everything into the
// one model file.
type SaveOptions struct {
	// ExternalOver moves initializers larger than this many bytes into
	// <name>.data beside the model; 0 moves none.
	ExternalOver int64
	// KeepReferences leaves tensors that are external already where they are,
	// which needs no copy but requires saving into the model's own folder.
	// Without it the saved model depends on no other file than its own.
	KeepReferences bool
}

// Save writes the model to path, whole or not at all. m keeps reading from the
// files it was opened from; if Save replaced one of those, open the result
// instead.
func (m *Model) Save(path string, o SaveOptions) error {
	if err := m.save(path, o); err != nil {
		return fmt.Errorf("onnx: saving %s: %w", path, err)
	}
	return nil
}

func (m *Model) save(path string, o SaveOptions) (err error) {
	if o.KeepReferences && !sameFolder(m.Dir, filepath.Dir(path)) {
		return fmt.Errorf("%w: references into %q do not hold in another folder", ErrExternal, m.Dir)
	}
	if name := m.Graph.externalSparse(); name != "" && !sameFolder(m.Dir, filepath.Dir(path)) {
		return fmt.Errorf("%w: the data of sparse initializer %q cannot be moved from %q to another folder", ErrExternal, name, m.Dir)
	}
	c := m.Clone()
	location := filepath.Base(path) + ".data"
	if o.KeepReferences {
		for kept := m.ExternalFiles(); slices.Contains(kept, location); {
			location += "1"
		}
	}
	var files []*file.Draft
	defer func() {
		for _, f := range files {
			err = errors.Join(err, f.Abort())
		}
	}()
	var data *file.Draft
	move := map[*Tensor]bool{}
	c.Graph.initializers(func(t *Tensor) { move[t] = o.ExternalOver > 0 })
	err = nil
	c.tensors(func(t *Tensor) {
		if err != nil || t.External != nil && o.KeepReferences {
			return
		}
		size, e := t.Size()
		if e != nil {
			err = fmt.Errorf("tensor %q: %w", t.Name, e)
			return
		}
		large := move[t] && size > o.ExternalOver
		if t.External == nil && !large {
			return
		}
		b, e := t.bytes()
		if e != nil {
			err = fmt.Errorf("tensor %q: %w", t.Name, e)
			return
		}
		t.External, t.typed, t.hasRaw, t.raw = nil, nil, true, b
		if !large {
			return
		}
		if data == nil {
			if data, err = file.CreateDraft(filepath.Join(filepath.Dir(path), location)); err != nil {
				return
			}
			files = append(files, data)
		}
		var at int64
		if at, err = put(data.File, b); err == nil {
			t.External = &External{Location: location, Offset: at, Length: size}
		}
	})
	if err != nil {
		return err
	}
	r, err := c.rope()
	if err != nil {
		return err
	}
	model, err := file.CreateDraft(path)
	if err != nil {
		return err
	}
	files = append(files, model)
	for _, p := range r.parts {
		if _, err := model.Write(p); err != nil {
			return err
		}
	}
	// The data first: a model must not appear before what it refers to.
	for _, f := range files {
		if err := f.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// initializers calls f for the initializers of g at every level.
func (g *Graph) initializers(f func(*Tensor)) {
	for _, t := range g.Initializers {
		f(t)
	}
	for _, n := range g.Nodes {
		n.graphs(func(sub *Graph) { sub.initializers(f) })
	}
}

// externalSparse is the name of a sparse initializer whose data are in another
// file, "" if there is none.
func (g *Graph) externalSparse() (name string) {
	for _, s := range g.sparse {
		if s.external {
			return s.name
		}
	}
	for _, n := range g.Nodes {
		n.graphs(func(sub *Graph) { name = cmp.Or(name, sub.externalSparse()) })
	}
	return name
}

func sameFolder(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// put appends b to f at the next aligned offset and returns that offset.
func put(f *os.File, b []byte) (int64, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	at := (end + dataAlign - 1) / dataAlign * dataAlign
	_, err = f.WriteAt(b, at)
	return at, err
}
