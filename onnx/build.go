package onnx

import (
	"fmt"
	"slices"

	"editpipe/tensor"
)

// Builder appends nodes and constants to a model's main graph under fresh
// names: no name it invents occurs anywhere in the model, including inside
// branches and bodies. Its methods return value names. Mistakes that only a
// programming error can make, such as a name given twice, are found by
// [Model.Check].
type Builder struct {
	g     *Graph
	used  map[string]bool
	scope string
	count map[string]int
	nodes *[]*Node // where new nodes go
}

// Builder returns a builder that appends to the main graph.
func (m *Model) Builder() *Builder {
	used := map[string]bool{}
	m.Graph.names(used)
	return &Builder{g: m.Graph, used: used, scope: "editpipe", count: map[string]int{}, nodes: &m.Graph.Nodes}
}

// Body returns a builder for a new graph that becomes an attribute of a node
// (the branch of an If). The two share their names, so the body may read what
// the outer graph defines and never redefines it.
func (b *Builder) Body(name string) *Builder {
	g := &Graph{Name: name}
	return &Builder{g: g, used: b.used, scope: b.scope, count: b.count, nodes: &g.Nodes}
}

// Graph is the graph being built.
func (b *Builder) Graph() *Graph { return b.g }

// Scope sets the prefix of the names that follow: a node's name is
// scope/OpType, numbered from the second on, and its outputs are called
// name_output_0 and so on, as PyTorch's exporter calls them.
func (b *Builder) Scope(prefix string) { b.scope = prefix }

// Fresh reserves a name that starts with hint and occurs nowhere in the model.
func (b *Builder) Fresh(hint string) string {
	name := hint
	for b.used[name] {
		b.count[hint]++
		name = fmt.Sprintf("%s_%d", hint, b.count[hint])
	}
	b.used[name] = true
	return name
}

// Op appends a node of the default domain with one output and returns that
// output's name.
func (b *Builder) Op(opType string, inputs []string, attrs ...*Attribute) string {
	return b.OpN(opType, "", inputs, 1, attrs...)[0]
}

// OpN appends a node with nOut outputs and returns their names.
func (b *Builder) OpN(opType, domain string, inputs []string, nOut int, attrs ...*Attribute) []string {
	n := &Node{
		Name:   b.Fresh(b.scope + "/" + opType),
		OpType: opType,
		Domain: domain,
		Inputs: slices.Clone(inputs),
		Attrs:  attrs,
	}
	for i := range nOut {
		n.Outputs = append(n.Outputs, b.Fresh(fmt.Sprintf("%s_output_%d", n.Name, i)))
	}
	*b.nodes = append(*b.nodes, n)
	return slices.Clone(n.Outputs) // the node's own list must not be written to
}

// Const adds an initializer under a fresh name. The data are shared.
func (b *Builder) Const(t *tensor.Tensor) string {
	return b.Initializer(b.Fresh(b.scope+"/Constant"), t)
}

// Initializer adds an initializer under a name of the caller's choice.
func (b *Builder) Initializer(name string, t *tensor.Tensor) string {
	b.used[name] = true
	b.g.Initializers = append(b.g.Initializers, NewTensor(name, t))
	return name
}

// Int64s adds a one-dimensional integer constant.
func (b *Builder) Int64s(v ...int64) string {
	return b.Const(tensor.FromInt64s(v, len(v)))
}

// Scalar adds a float32 constant of rank 0.
func (b *Builder) Scalar(v float32) string {
	return b.Const(tensor.FromFloat32s([]float32{v}))
}

// Input adds a graph input and returns its name.
func (b *Builder) Input(name string, dt DataType, shape []Dim) string {
	b.used[name] = true
	b.g.Inputs = append(b.g.Inputs, NewValueInfo(name, dt, shape))
	return name
}

// Output makes value a graph output called name. The name is given by an
// Identity node when it differs from value.
func (b *Builder) Output(value, name string, dt DataType, shape []Dim) {
	if value != name {
		b.used[name] = true
		*b.nodes = append(*b.nodes, &Node{
			Name: b.Fresh(b.scope + "/Identity"), OpType: "Identity",
			Inputs: []string{value}, Outputs: []string{name},
		})
	}
	b.g.Outputs = append(b.g.Outputs, NewValueInfo(name, dt, shape))
}

// names collects every name in use: values and nodes, at every level.
func (g *Graph) names(used map[string]bool) {
	for v := range g.defined() {
		used[v] = true
	}
	for _, o := range g.Outputs {
		used[o.Name] = true
	}
	for _, n := range g.Nodes {
		used[n.Name] = true
		for _, v := range n.Inputs {
			used[v] = true
		}
		n.graphs(func(sub *Graph) { sub.names(used) })
	}
}
