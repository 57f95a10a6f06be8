package onnx

import (
	"fmt"
	"slices"
)

// Check verifies the model's structure: versions in range, names defined once
// and before use, no cycles, tensors as long as their dimensions say, and
// external data inside the model folder. It does not read weights, check
// operator signatures or infer types.
func (m *Model) Check() error {
	if err := m.check(); err != nil {
		return fmt.Errorf("onnx: checking %s: %w", m.label(), err)
	}
	return nil
}

func (m *Model) check() error {
	if m.IRVersion < MinIR || m.IRVersion > MaxIR {
		return fmt.Errorf("%w: IR version %d, supported are %d to %d", ErrVersion, m.IRVersion, MinIR, MaxIR)
	}
	// ONNX Runtime takes two imports of one domain and any version of others.
	if v := m.Opset(""); (v < MinOpset || v > MaxOpset) && m.imports("") {
		return fmt.Errorf("%w: opset %d, supported are %d to %d", ErrVersion, v, MinOpset, MaxOpset)
	}
	if m.Graph == nil {
		return fmt.Errorf("%w: no graph", ErrFormat)
	}
	if err := m.checkGraph(m.Graph, nil); err != nil {
		return err
	}
	for _, fn := range m.functions {
		for _, n := range fn.nodes {
			if err := n.checkTensors(); err != nil {
				return fmt.Errorf("node %s of a function: %w", n.label(), err)
			}
		}
	}
	return nil
}

func (m *Model) imports(domain string) bool {
	return slices.ContainsFunc(m.Opsets, func(o Opset) bool { return plainDomain(o.Domain) == domain })
}

// checkTensors checks the tensors of a function's body; its values are the
// runtime's business.
func (n *Node) checkTensors() (err error) {
	n.tensors(func(t *Tensor) {
		if err == nil {
			err = t.check()
		}
	})
	return err
}

// checkGraph checks g, which lies inside the graphs whose names outer holds.
// For the main graph outer is nil: every value must be defined.
func (m *Model) checkGraph(g *Graph, outer map[string]bool) error {
	names := map[string]bool{}
	define := func(name, what string) error {
		if name == "" {
			return fmt.Errorf("%w: %s without a name", ErrFormat, what)
		}
		if names[name] {
			return fmt.Errorf("%w: %s %q", ErrDuplicate, what, name)
		}
		names[name] = true
		return nil
	}
	inputs := map[string]bool{}
	for _, v := range g.Inputs {
		if err := define(v.Name, "graph input"); err != nil {
			return err
		}
		inputs[v.Name] = true
	}
	constant := func(name string) error {
		if inputs[name] { // an overridable initializer; a second one is an error
			inputs[name] = false
			return nil
		}
		return define(name, "initializer")
	}
	for _, t := range g.Initializers {
		if err := constant(t.Name); err != nil {
			return err
		}
		if err := t.check(); err != nil {
			return fmt.Errorf("initializer %q: %w", t.Name, err)
		}
	}
	for _, s := range g.sparse {
		if err := constant(s.name); err != nil {
			return err
		}
	}
	for _, n := range g.Nodes {
		for _, o := range n.Outputs {
			if o == "" {
				continue
			}
			if err := define(o, "output of node "+n.label()); err != nil {
				return err
			}
		}
	}
	if n := g.firstEarly(); n != nil {
		if _, ok := g.sorted(); !ok {
			return fmt.Errorf("%w, found from node %s", ErrCycle, n.label())
		}
		return fmt.Errorf("%w: node %s", ErrOrder, n.label())
	}
	all := names
	if len(outer) > 0 {
		all = make(map[string]bool, len(outer)+len(names))
		for v := range outer {
			all[v] = true
		}
		for v := range names {
			all[v] = true
		}
	}
	for _, n := range g.Nodes {
		if err := m.checkNode(n, all); err != nil {
			return fmt.Errorf("node %s: %w", n.label(), err)
		}
	}
	for _, o := range g.Outputs {
		if !all[o.Name] {
			return fmt.Errorf("%w: graph output %q", ErrUndefined, o.Name)
		}
	}
	return nil
}

func (m *Model) checkNode(n *Node, known map[string]bool) error {
	if n.OpType == "" {
		return fmt.Errorf("%w: no operator", ErrFormat)
	}
	for _, v := range n.Inputs {
		if v != "" && !known[v] {
			return fmt.Errorf("%w: input %q", ErrUndefined, v)
		}
	}
	attrs := map[string]bool{}
	for _, a := range n.Attrs {
		if attrs[a.Name] {
			return fmt.Errorf("%w: attribute %q", ErrDuplicate, a.Name)
		}
		attrs[a.Name] = true
		if a.T != nil {
			if err := a.T.check(); err != nil {
				return fmt.Errorf("attribute %q: %w", a.Name, err)
			}
		}
		for _, t := range a.Tensors {
			if err := t.check(); err != nil {
				return fmt.Errorf("attribute %q: %w", a.Name, err)
			}
		}
	}
	var err error
	n.graphs(func(g *Graph) {
		if err == nil {
			err = m.checkGraph(g, known)
		}
	})
	return err
}
