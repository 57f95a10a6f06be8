package arch

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"editpipe/file"
	"editpipe/onnx"
	"editpipe/tensor"
)

// GraphFile is one graph of a model folder.
type GraphFile struct {
	Path string
	Side Side
}

// GraphFiles lists all forms of the model that stand beside the graphs in use:
// the plain decoder, those with past keys and values, the encoder. Files under
// names that no exporter gives are only listed where they are in use.
func (l Layout) GraphFiles() []GraphFile {
	var files []GraphFile
	add := func(path string, side Side) {
		f := GraphFile{path, side}
		if path != "" && file.IsRegular(path) && !slices.Contains(files, f) {
			files = append(files, f)
		}
	}
	add(l.Forward, Decoder)
	add(l.Step, Decoder)
	add(l.Encoder, Encoder)
	if ending, known := endingOf(l.Forward); known {
		for _, n := range slices.Concat(decoderNames, mergedNames, stepNames) {
			add(filepath.Join(filepath.Dir(l.Forward), variant(n, ending)), Decoder)
		}
	}
	return files
}

// Place is a weight of a graph, or its bias.
type Place struct {
	ID   WeightID
	Bias bool
}

// String is the weight's, "bias of " before it for a bias.
func (p Place) String() string {
	if p.Bias {
		return "bias of " + p.ID.String()
	}
	return p.ID.String()
}

// Rewrite opens a graph file and replaces weights and biases. change gets each
// with its value as stored, weights [In, Out] or transposed, and returns the
// value to store instead. A merged decoder has its weights changed in both
// branches, for which change is called twice. The caller closes the model.
func Rewrite(f GraphFile, places []Place, change func(at Place, w Weight, stored *tensor.Tensor) (*tensor.Tensor, error)) (*onnx.Model, error) {
	m, err := onnx.Open(f.Path)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", f.Path, err)
	}
	if err := rewrite(m, f, places, change); err != nil {
		return nil, errors.Join(fmt.Errorf("changing %s: %w", f.Path, err), m.Close())
	}
	return m, nil
}

func rewrite(m *onnx.Model, f GraphFile, places []Place, change func(Place, Weight, *tensor.Tensor) (*tensor.Tensor, error)) error {
	forms := []*onnx.Model{m}
	if m.Graph.Index().Input(branchInput) != nil {
		forms = nil
		for _, past := range []bool{false, true} {
			c := m.Clone()
			if err := c.SelectBranch(branchInput, past); err != nil {
				return err
			}
			forms = append(forms, c)
		}
	}
	// Replacements wait until all forms have been read.
	fresh := map[*onnx.Tensor]*onnx.Tensor{}
	for _, form := range forms {
		g, err := analyse(f.Path, form, f.Side)
		if err != nil {
			return err
		}
		ix := form.Graph.Index()
		for _, at := range places {
			id := at.ID
			i := slices.IndexFunc(g.FFNs, func(b FFN) bool { return b.Side == id.Side && b.Layer == id.Layer })
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
	visit(m.Graph, func(g *onnx.Graph) {
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
	visit(g, func(g *onnx.Graph) {
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

// visit calls f for a graph and the graphs within it, outermost first.
func visit(g *onnx.Graph, f func(*onnx.Graph)) {
	f(g)
	for _, n := range g.Nodes {
		for _, a := range n.Attrs {
			if a.G != nil {
				visit(a.G, f)
			}
			for _, sub := range a.Graphs {
				visit(sub, f)
			}
		}
	}
}
