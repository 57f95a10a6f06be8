package onnx

import (
	"fmt"
	"slices"
)

// Prune drops nodes, initializers and value descriptions that no output needs,
// at every level. Plain graph inputs stay, needed or not; an overridable
// initializer that nothing reads goes together with its input.
func (m *Model) Prune() { m.Graph.prune() }

func (g *Graph) prune() {
	for _, n := range g.Nodes {
		n.graphs((*Graph).prune)
	}
	need := g.needed(nil)
	g.drop(need)
}

// needed is the set of values that the outputs of g depend on, and the values
// themselves. The search does not go past the values in stop.
func (g *Graph) needed(stop map[string]bool) map[string]bool {
	need := map[string]bool{}
	for _, o := range g.Outputs {
		need[o.Name] = true
	}
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		n := g.Nodes[i]
		if slices.ContainsFunc(n.Outputs, func(o string) bool { return need[o] && !stop[o] }) {
			n.reads(func(v string) { need[v] = true })
		}
	}
	return need
}

// drop removes what computes or describes values outside need.
func (g *Graph) drop(need map[string]bool) {
	isConst := map[string]bool{}
	for _, t := range g.Initializers {
		isConst[t.Name] = true
	}
	g.Nodes = slices.DeleteFunc(g.Nodes, func(n *Node) bool {
		return !slices.ContainsFunc(n.Outputs, func(o string) bool { return o != "" && need[o] })
	})
	g.Initializers = slices.DeleteFunc(g.Initializers, func(t *Tensor) bool { return !need[t.Name] })
	g.sparse = slices.DeleteFunc(g.sparse, func(s sparse) bool { return !need[s.name] })
	g.Inputs = slices.DeleteFunc(g.Inputs, func(v *ValueInfo) bool { return isConst[v.Name] && !need[v.Name] })
	own := g.defined()
	g.ValueInfos = slices.DeleteFunc(g.ValueInfos, func(v *ValueInfo) bool { return !own[v.Name] })
}

// Cut returns a new model that computes outputs from inputs, which are values
// of the main graph: graph inputs, values computed by nodes, or initializers,
// which then lose their default. Initializers that were overridable stay so.
// It is an error if an output depends on a graph input that is not among
// inputs. The new model shares weight bytes and open files with m.
func (m *Model) Cut(inputs, outputs []*ValueInfo) (*Model, error) {
	c := m.Clone()
	if err := c.cut(inputs, outputs); err != nil {
		return nil, fmt.Errorf("onnx: cutting %s: %w", m.label(), err)
	}
	return c, nil
}

func (m *Model) cut(inputs, outputs []*ValueInfo) error {
	g := m.Graph
	own := g.defined()
	stop := map[string]bool{}
	for _, v := range inputs {
		if !own[v.Name] {
			return fmt.Errorf("%w: input %q", ErrUndefined, v.Name)
		}
		if stop[v.Name] {
			return fmt.Errorf("%w: input %q", ErrDuplicate, v.Name)
		}
		stop[v.Name] = true
	}
	for _, v := range outputs {
		if !own[v.Name] {
			return fmt.Errorf("%w: output %q", ErrUndefined, v.Name)
		}
		if stop[v.Name] {
			return fmt.Errorf("%w: %q is both input and output", ErrDuplicate, v.Name)
		}
	}
	g.Outputs = each(outputs, (*ValueInfo).clone)
	need := g.needed(stop)

	kept := each(inputs, (*ValueInfo).clone)
	isConst := map[string]bool{}
	for _, t := range g.Initializers {
		isConst[t.Name] = true
	}
	for _, v := range g.Inputs {
		switch {
		case stop[v.Name] || !need[v.Name]:
		case isConst[v.Name]:
			kept = append(kept, v)
		default:
			return fmt.Errorf("%w: an output depends on graph input %q, which is not among the inputs of the cut", ErrUndefined, v.Name)
		}
	}
	g.Inputs = kept
	g.Initializers = slices.DeleteFunc(g.Initializers, func(t *Tensor) bool { return stop[t.Name] })
	g.sparse = slices.DeleteFunc(g.sparse, func(s sparse) bool { return stop[s.name] })

	// A node may compute an input of the cut beside something still needed; it
	// stays, and its version of the input gets another name.
	b := m.Builder()
	g.Nodes = slices.DeleteFunc(g.Nodes, func(n *Node) bool {
		if !slices.ContainsFunc(n.Outputs, func(o string) bool { return need[o] && !stop[o] }) {
			return true
		}
		for i, o := range n.Outputs {
			if o != "" && stop[o] {
				n.Outputs[i] = b.Fresh(o + "_unused")
				need[n.Outputs[i]] = true
			}
		}
		return false
	})
	for name := range stop {
		need[name] = true
	}
	g.drop(need)
	g.prune()
	return m.check()
}
