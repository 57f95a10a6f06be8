package models

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"editpipe/models/arch"
	"editpipe/models/folder"
	"editpipe/onnx"
	"editpipe/tensor"
)

// graphFile is one graph of a model folder.
type graphFile struct {
	path string
	side arch.Side
}

// graphFiles lists all forms of the model that stand beside the graphs in use:
// the plain decoder, those with past keys and values, the encoder.
func graphFiles(l folder.Layout) []graphFile {
	var files []graphFile
	for _, path := range l.Decoders() {
		files = append(files, graphFile{path, arch.Decoder})
	}
	if l.Encoder != "" {
		files = append(files, graphFile{l.Encoder, arch.Encoder})
	}
	return files
}

// rewritten opens a graph file and replaces weights and biases. change gets each
// with its value as stored, weights [In, Out] or transposed, and returns the
// value to store instead. A merged decoder has its weights changed in both
// branches, for which change is called twice. The caller closes the model.
func rewritten(f graphFile, places []arch.Place, change func(at arch.Place, w arch.Weight, stored *tensor.Tensor) (*tensor.Tensor, error)) (*onnx.Model, error) {
	m, err := onnx.Open(f.path)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", f.path, err)
	}
	if err := rewrite(m, f, places, change); err != nil {
		return nil, errors.Join(fmt.Errorf("changing %s: %w", f.path, err), m.Close())
	}
	return m, nil
}

func rewrite(m *onnx.Model, f graphFile, places []arch.Place, change func(arch.Place, arch.Weight, *tensor.Tensor) (*tensor.Tensor, error)) error {
	forms, err := arch.Branches(m)
	if err != nil {
		return err
	}
	// Replacements wait until all forms have been read.
	fresh := map[*onnx.Tensor]*onnx.Tensor{}
	for _, form := range forms {
		g, err := arch.Analyse(f.path, form, f.side)
		if err != nil {
			return err
		}
		ix := form.Graph.Index()
		for _, at := range places {
			id := at.ID
			i := slices.IndexFunc(g.FFNs, func(b arch.FFN) bool { return b.Side == id.Side && b.Layer == id.Layer })
			if i < 0 {
				return fmt.Errorf("it has no %s", id)
			}
			w := g.FFNs[i].Weight(id.Part)
			switch {
			case w == nil:
				return fmt.Errorf("it has no %s", id)
			case !w.Editable:
				return fmt.Errorf("%s: %s", id, w.Why)
			}
			name := w.Initializer
			if at.Bias {
				if name = w.Bias; ix.Initializer(name) == nil || len(ix.Consumers(name)) != 1 {
					return fmt.Errorf("%s: it is shared with other places, or there is none", at)
				}
			}
			stored, err := ix.Initializer(name).Value()
			if err != nil {
				return fmt.Errorf("reading %s: %w", at, err)
			}
			value, err := change(at, *w, stored)
			if err != nil {
				return err
			}
			copies := stand(m.Graph, name, stored)
			if len(copies) == 0 {
				return fmt.Errorf("%s: initializer %q of a branch was not found in the merged graph", at, name)
			}
			for _, t := range copies {
				fresh[t] = onnx.NewTensor(t.Name, value)
			}
		}
	}
	m.Graph.Visit(func(g *onnx.Graph) {
		for i, t := range g.Initializers {
			if n := fresh[t]; n != nil {
				g.Initializers[i] = n
			}
		}
	})
	return nil
}

// stand finds the initializer that became one of a chosen branch. Choosing may
// give it a new name, so the value must be the same as well. Small ones are not
// always shared by the branches: each then has its own, of one name and value.
func stand(g *onnx.Graph, name string, value *tensor.Tensor) (found []*onnx.Tensor) {
	g.Visit(func(g *onnx.Graph) {
		for _, t := range g.Initializers {
			if t.Name != name {
				continue
			}
			if v, err := t.Value(); err == nil && v.DType == value.DType && slices.Equal(v.Shape, value.Shape) && bytes.Equal(v.Data, value.Data) {
				found = append(found, t)
			}
		}
	})
	return found
}
