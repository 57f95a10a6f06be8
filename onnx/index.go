package onnx

import (
	"maps"
	"slices"
)

// Index answers questions about the values of one graph. It is a snapshot:
// take a new one after changing the graph.
type Index struct {
	producer     map[string]*Node
	consumers    map[string][]*Node
	initializers map[string]*Tensor
	inputs       map[string]*ValueInfo
	outputs      map[string]*ValueInfo
	infos        map[string]*ValueInfo
}

// Index takes a snapshot of the graph's values.
func (g *Graph) Index() *Index {
	x := &Index{
		producer:     make(map[string]*Node, len(g.Nodes)),
		consumers:    make(map[string][]*Node, len(g.Nodes)),
		initializers: make(map[string]*Tensor, len(g.Initializers)),
		inputs:       infoMap(g.Inputs),
		outputs:      infoMap(g.Outputs),
		infos:        infoMap(g.ValueInfos),
	}
	for _, t := range g.Initializers {
		x.initializers[t.Name] = t
	}
	for _, n := range g.Nodes {
		for _, o := range n.Outputs {
			if o != "" {
				x.producer[o] = n
			}
		}
		seen := map[string]bool{}
		n.reads(func(v string) {
			if !seen[v] {
				seen[v] = true
				x.consumers[v] = append(x.consumers[v], n)
			}
		})
	}
	return x
}

func infoMap(infos []*ValueInfo) map[string]*ValueInfo {
	m := make(map[string]*ValueInfo, len(infos))
	for _, v := range infos {
		m[v.Name] = v
	}
	return m
}

// Producer returns the node that computes value, nil if none does.
func (x *Index) Producer(value string) *Node { return x.producer[value] }

// Consumers returns the nodes that read value, each once, in graph order. A
// node whose branch or body reads it from outside counts.
func (x *Index) Consumers(value string) []*Node { return x.consumers[value] }

// Initializer returns the initializer called name, nil if there is none.
func (x *Index) Initializer(name string) *Tensor { return x.initializers[name] }

// Input returns the graph input called name, nil if there is none. A name that
// is both input and initializer is an overridable initializer.
func (x *Index) Input(name string) *ValueInfo { return x.inputs[name] }

// Output returns the graph output called name, nil if there is none.
func (x *Index) Output(name string) *ValueInfo { return x.outputs[name] }

// Info returns what the graph says of the type and shape of value, nil if it
// says nothing.
func (x *Index) Info(value string) *ValueInfo {
	for _, m := range []map[string]*ValueInfo{x.inputs, x.outputs, x.infos} {
		if v := m[value]; v != nil {
			return v
		}
	}
	return nil
}

// Reach is the set of values that some values lead to, these included.
func (x *Index) Reach(from ...string) map[string]bool {
	set := map[string]bool{}
	queue := slices.Clone(from)
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		if v == "" || set[v] {
			continue
		}
		set[v] = true
		for _, n := range x.consumers[v] {
			queue = append(queue, n.Outputs...)
		}
	}
	return set
}

// IsConst says whether value is an initializer (overridable or not) or the
// output of a Constant node.
func (x *Index) IsConst(value string) bool {
	if x.initializers[value] != nil {
		return true
	}
	n := x.producer[value]
	return n != nil && n.OpType == "Constant" && plainDomain(n.Domain) == ""
}

// reads calls f for every value that the node needs from its graph: its inputs
// and what its branches or bodies capture. Values may come up repeatedly.
func (n *Node) reads(f func(value string)) {
	for _, v := range n.Inputs {
		if v != "" {
			f(v)
		}
	}
	n.graphs(func(g *Graph) { g.captures(f) })
}

// captures calls f for every value that g reads but does not define.
func (g *Graph) captures(f func(value string)) {
	own := g.defined()
	outer := func(v string) {
		if !own[v] {
			f(v)
		}
	}
	for _, n := range g.Nodes {
		n.reads(outer)
	}
	for _, o := range g.Outputs {
		outer(o.Name)
	}
}

// defined is the set of value names that g itself defines.
func (g *Graph) defined() map[string]bool {
	own := make(map[string]bool, len(g.Nodes)+len(g.Initializers))
	for _, v := range g.Inputs {
		own[v.Name] = true
	}
	for _, t := range g.Initializers {
		own[t.Name] = true
	}
	for _, s := range g.sparse {
		own[s.name] = true
	}
	for _, n := range g.Nodes {
		for _, o := range n.Outputs {
			own[o] = true
		}
	}
	return own
}

// tensors calls f for every tensor of the model: initializers and attributes, at
// every level and in the functions it brings along. Sparse ones are left out.
func (m *Model) tensors(f func(*Tensor)) {
	m.Graph.tensors(f)
	for _, fn := range m.functions {
		for _, n := range fn.nodes {
			n.tensors(f)
		}
	}
}

func (g *Graph) tensors(f func(*Tensor)) {
	for _, t := range g.Initializers {
		f(t)
	}
	for _, n := range g.Nodes {
		n.tensors(f)
	}
}

func (n *Node) tensors(f func(*Tensor)) {
	for _, a := range n.Attrs {
		if a.T != nil {
			f(a.T)
		}
		for _, t := range a.Tensors {
			f(t)
		}
	}
	n.graphs(func(sub *Graph) { sub.tensors(f) })
}

// rename replaces value names, all at once, wherever the node reads them: among
// its inputs and inside its branches and bodies, unless those define the name
// themselves.
func (n *Node) rename(to map[string]string) {
	for i, v := range n.Inputs {
		if name, ok := to[v]; ok {
			n.Inputs[i] = name
		}
	}
	n.graphs(func(g *Graph) {
		own := g.defined()
		inner := maps.Clone(to)
		maps.DeleteFunc(inner, func(v, _ string) bool { return own[v] })
		for _, n := range g.Nodes {
			n.rename(inner)
		}
		for _, o := range g.Outputs {
			if name, ok := inner[o.Name]; ok {
				o.Name = name
			}
		}
	})
}
