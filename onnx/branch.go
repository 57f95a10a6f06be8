package onnx

import (
	"fmt"
	"maps"
	"slices"

	"editpipe/tensor"
)

// SelectBranch fixes a boolean graph input to value. Every If that depends on
// it alone is replaced by the branch it would take, and the input is dropped,
// together with inputs that only the other branches read. What a branch
// defines keeps its name unless the main graph uses that name already. It
// turns a merged decoder (use_cache_branch) into a plain one.
//
// On error the model is unchanged.
func (m *Model) SelectBranch(input string, value bool) error {
	c := m.Clone()
	if err := c.selectBranch(input, value); err != nil {
		return fmt.Errorf("onnx: selecting branch %q=%v of %s: %w", input, value, m.label(), err)
	}
	*m.Graph = *c.Graph
	return nil
}

func (m *Model) selectBranch(input string, value bool) error {
	g := m.Graph
	at := slices.IndexFunc(g.Inputs, func(v *ValueInfo) bool { return v.Name == input })
	if at < 0 {
		return fmt.Errorf("%w: no such graph input", ErrUndefined)
	}
	if g.Inputs[at].DType != Bool {
		return fmt.Errorf("%w: the input is %s, want bool", ErrDataType, g.Inputs[at].DType)
	}
	read := g.readSet()
	found := false
	// A chosen branch may hold a further If on the same input, so look again.
	for {
		i, taken := g.findIf(input, value)
		if i < 0 {
			break
		}
		found = true
		if err := m.inline(i, taken); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("%w: no If of the main graph depends on it", ErrUndefined)
	}

	// Whatever else reads the input sees the fixed value.
	shape := []int{}
	for _, d := range g.Inputs[at].Shape {
		shape = append(shape, int(max(d.Value, 1)))
	}
	fixed := tensor.New(tensor.Bool, shape...)
	if value {
		for i := range fixed.Data {
			fixed.Data[i] = 1
		}
	}
	g.Inputs = slices.Delete(g.Inputs, at, at+1)
	g.Initializers = append(g.Initializers, NewTensor(input, fixed))
	g.prune()

	still := g.readSet()
	g.Inputs = slices.DeleteFunc(g.Inputs, func(v *ValueInfo) bool { return read[v.Name] && !still[v.Name] })
	return m.check()
}

// readSet is the set of values that nodes or outputs of g read.
func (g *Graph) readSet() map[string]bool {
	set := map[string]bool{}
	for _, n := range g.Nodes {
		n.reads(func(v string) { set[v] = true })
	}
	for _, o := range g.Outputs {
		set[o.Name] = true
	}
	return set
}

// findIf returns the position of the first If whose condition is input, and
// the branch it takes; -1 if there is none.
func (g *Graph) findIf(input string, value bool) (at int, taken *Graph) {
	x := g.Index()
	for i, n := range g.Nodes {
		if n.OpType != "If" || plainDomain(n.Domain) != "" || len(n.Inputs) != 1 {
			continue
		}
		if depends, v := x.condition(n.Inputs[0], input, value); depends {
			name := "else_branch"
			if v {
				name = "then_branch"
			}
			if a := n.Attr(name); a != nil && a.G != nil {
				return i, a.G
			}
		}
	}
	return -1, nil
}

// condition follows cond back to input through nodes that only reshape or
// negate a boolean, and returns its value.
func (x *Index) condition(cond, input string, value bool) (depends, v bool) {
	for v = value; cond != input; {
		n := x.Producer(cond)
		if n == nil || len(n.Inputs) == 0 {
			return false, false
		}
		switch n.OpType {
		case "Identity", "Reshape", "Squeeze", "Unsqueeze":
		case "Not":
			v = !v
		default:
			return false, false
		}
		cond = n.Inputs[0]
	}
	return true, v
}

// inline replaces node i, an If, by the content of its branch.
func (m *Model) inline(i int, branch *Graph) error {
	g, node := m.Graph, m.Graph.Nodes[i]
	if len(branch.Outputs) != len(node.Outputs) {
		return fmt.Errorf("%w: node %s has %d outputs, its branch %d", ErrFormat, node.label(), len(node.Outputs), len(branch.Outputs))
	}
	// Names taken: everything the model uses outside this If. The branches of
	// the If leave the model, so their names are free again.
	g.Nodes = slices.Delete(g.Nodes, i, i+1)
	b := m.Builder()
	for _, o := range node.Outputs {
		b.used[o] = true
	}
	branch = branch.clone()
	nested := map[string]bool{}
	isNodeOutput := map[string]bool{}
	for _, n := range branch.Nodes {
		n.graphs(func(g *Graph) { g.names(nested) })
		for _, o := range n.Outputs {
			isNodeOutput[o] = true
		}
	}

	// The value that a branch output names becomes the output of the If. One
	// that is captured, constant or given twice needs a node of its own, and so
	// does one whose new name means something else deeper inside.
	to := map[string]string{}
	var copies []*Node
	for k, o := range branch.Outputs {
		out := node.Outputs[k]
		if out == "" {
			continue
		}
		if _, twice := to[o.Name]; twice || !isNodeOutput[o.Name] || nested[out] && out != o.Name {
			copies = append(copies, &Node{
				Name: b.Fresh(node.Name + "/Identity"), OpType: "Identity",
				Inputs: []string{o.Name}, Outputs: []string{out},
			})
			continue
		}
		to[o.Name] = out
	}
	own := branch.defined()
	delete(own, "")
	kept := maps.Clone(own) // a new name must not collide with one kept either
	branch.names(kept)
	for _, v := range slices.Sorted(maps.Keys(own)) {
		if _, done := to[v]; done {
			continue
		}
		name := v
		if b.used[v] {
			for name = b.Fresh(v); kept[name]; name = b.Fresh(v) {
			}
		}
		to[v] = name
		b.used[name] = true
	}
	nodes := slices.Concat(branch.Nodes, copies)
	for _, n := range nodes {
		n.rename(to)
	}
	for _, n := range branch.Nodes {
		for k, o := range n.Outputs {
			if o != "" {
				n.Outputs[k] = to[o]
			}
		}
		if n.Name != "" {
			n.Name = b.Fresh(n.Name)
		}
	}
	for _, t := range branch.Initializers {
		t.Name = to[t.Name]
	}
	for _, s := range branch.sparse {
		if to[s.name] != s.name {
			return fmt.Errorf("%w: sparse initializer %q of a branch", ErrDuplicate, s.name)
		}
	}
	known := infoMap(g.ValueInfos)
	for _, v := range branch.ValueInfos {
		if name, ok := to[v.Name]; ok {
			v.Name = name
		}
		if known[v.Name] == nil {
			g.ValueInfos = append(g.ValueInfos, v)
		}
	}
	g.Nodes = slices.Insert(g.Nodes, i, nodes...)
	g.Initializers = append(g.Initializers, branch.Initializers...)
	g.sparse = append(g.sparse, branch.sparse...)
	return nil
}
