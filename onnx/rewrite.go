package onnx

import (
	"fmt"
	"slices"
)

// minOverridable is the first IR version in which an initializer need not be a
// graph input, and one that is may be overridden at run time.
const minOverridable = 4

// Promote makes an initializer overridable: it becomes a graph input as well,
// with its value as the default. Promoting twice changes nothing.
//
// Models of IR 3 list every initializer as an input. Raising the IR version
// alone would make all of them overridable and stop constant folding, so the
// others are taken off the inputs.
func (m *Model) Promote(name string) error {
	i := slices.IndexFunc(m.Graph.Initializers, func(t *Tensor) bool { return t.Name == name })
	if i < 0 {
		return fmt.Errorf("onnx: promoting %q: %w as an initializer of the main graph", name, ErrUndefined)
	}
	t := m.Graph.Initializers[i]
	if m.IRVersion < minOverridable {
		constants := map[string]bool{}
		for _, t := range m.Graph.Initializers {
			constants[t.Name] = t.Name != name
		}
		m.Graph.Inputs = slices.DeleteFunc(m.Graph.Inputs, func(v *ValueInfo) bool { return constants[v.Name] })
		m.IRVersion = minOverridable
	}
	if slices.ContainsFunc(m.Graph.Inputs, func(v *ValueInfo) bool { return v.Name == name }) {
		return nil
	}
	m.Graph.Inputs = append(m.Graph.Inputs, NewValueInfo(name, t.DType, Fixed(t.Dims...)))
	return nil
}

// Expose makes the value that a node of the main graph computes a graph
// output. Exposing an output again changes nothing.
func (m *Model) Expose(value string, dt DataType, shape []Dim) error {
	if slices.ContainsFunc(m.Graph.Outputs, func(v *ValueInfo) bool { return v.Name == value }) {
		return nil
	}
	if value == "" || m.Graph.producerOf(value) == nil {
		return fmt.Errorf("onnx: exposing %q: %w by a node of the main graph", value, ErrUndefined)
	}
	m.Graph.Outputs = append(m.Graph.Outputs, NewValueInfo(value, dt, shape))
	return nil
}

// Splice inserts nodes behind a value of the main graph. build gets a builder
// and the name under which the value is to be read, and returns the value that
// takes its place. Every consumer of value, including branches and bodies that
// capture it, then reads the new value; the nodes added by build keep reading
// the old one. If value is a graph output, the output keeps its name and
// carries the new value; the old one is renamed, which is why build must use
// the name it is given.
//
// The new nodes stand right behind the producer, or as early as their other
// inputs allow. On error the model is unchanged.
func (m *Model) Splice(value string, build func(b *Builder, in string) (out string, err error)) error {
	backup := m.Graph.clone()
	if err := m.splice(value, build); err != nil {
		*m.Graph = *backup
		return fmt.Errorf("onnx: splicing behind %q: %w", value, err)
	}
	return nil
}

func (m *Model) splice(value string, build func(b *Builder, in string) (string, error)) error {
	g := m.Graph
	producer := g.producerOf(value)
	if value == "" || producer == nil && !g.defined()[value] {
		return ErrUndefined
	}
	isOutput := slices.ContainsFunc(g.Outputs, func(v *ValueInfo) bool { return v.Name == value })
	if isOutput && producer == nil {
		return fmt.Errorf("%w: it is passed from input to output without a node", ErrUndefined)
	}

	b := m.Builder()
	in := value
	if isOutput {
		in = b.Fresh(value + "_before")
		producer.Outputs[slices.Index(producer.Outputs, value)] = in
	}
	var added []*Node
	b.nodes = &added
	out, err := build(b, in)
	if err != nil {
		return err
	}
	for _, n := range g.Nodes {
		n.rename(map[string]string{value: out})
	}
	if isOutput {
		added = append(added, &Node{
			Name: b.Fresh(b.scope + "/Identity"), OpType: "Identity",
			Inputs: []string{out}, Outputs: []string{value},
		})
	}
	at := 0
	if producer != nil {
		at = slices.Index(g.Nodes, producer) + 1
	}
	g.Nodes = slices.Insert(g.Nodes, at, added...)
	if !g.defined()[out] {
		return fmt.Errorf("%w: build returned %q", ErrUndefined, out)
	}
	return g.settle()
}

// producerOf returns the node of g that computes value, nil if none does.
func (g *Graph) producerOf(value string) *Node {
	for _, n := range g.Nodes {
		if slices.Contains(n.Outputs, value) {
			return n
		}
	}
	return nil
}
