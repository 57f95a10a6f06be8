package onnx

import "slices"

// Clone copies the model's structure; weight bytes and open files are shared.
func (m *Model) Clone() *Model {
	c := *m
	c.Opsets = slices.Clone(m.Opsets)
	c.Metadata = slices.Clone(m.Metadata)
	c.Graph = m.Graph.clone()
	c.functions = each(m.functions, func(fn *function) *function {
		c := *fn
		c.nodes = each(fn.nodes, (*Node).clone)
		return &c
	})
	return &c
}

// The verbatim byte slices are shared: nothing ever writes into them.

func (g *Graph) clone() *Graph {
	c := *g
	c.Nodes = each(g.Nodes, (*Node).clone)
	c.Initializers = each(g.Initializers, (*Tensor).clone)
	c.Inputs = each(g.Inputs, (*ValueInfo).clone)
	c.Outputs = each(g.Outputs, (*ValueInfo).clone)
	c.ValueInfos = each(g.ValueInfos, (*ValueInfo).clone)
	c.sparse = slices.Clone(g.sparse)
	return &c
}

func (n *Node) clone() *Node {
	c := *n
	c.Inputs = slices.Clone(n.Inputs)
	c.Outputs = slices.Clone(n.Outputs)
	c.Attrs = each(n.Attrs, (*Attribute).clone)
	return &c
}

func (a *Attribute) clone() *Attribute {
	c := *a
	if a.T != nil {
		c.T = a.T.clone()
	}
	if a.G != nil {
		c.G = a.G.clone()
	}
	c.Floats = slices.Clone(a.Floats)
	c.Ints = slices.Clone(a.Ints)
	c.Strings = slices.Clone(a.Strings)
	c.Tensors = each(a.Tensors, (*Tensor).clone)
	c.Graphs = each(a.Graphs, (*Graph).clone)
	return &c
}

func (t *Tensor) clone() *Tensor {
	c := *t
	c.Dims = slices.Clone(t.Dims)
	if t.External != nil {
		e := *t.External
		c.External = &e
	}
	return &c
}

func (v *ValueInfo) clone() *ValueInfo {
	c := *v
	c.Shape = slices.Clone(v.Shape)
	return &c
}

func each[T any](list []T, f func(T) T) []T {
	if list == nil {
		return nil
	}
	out := make([]T, len(list))
	for i, x := range list {
		out[i] = f(x)
	}
	return out
}
