package ports

import (
	"editpipe/models/linear"
	"editpipe/onnx"
)

// Table is a constant with a row for each position, which a graph cannot read
// beyond its end.
type Table struct {
	Name string // initializer, or output of a Constant
	Rows int    // positions: rows without those that come before the first
}

// Positions finds the shortest table of positions in a graph: learned
// embeddings, sines and cosines of rotary positions, causal masks. ok is false if
// it has none.
func Positions(maps *linear.Graph, p Ports) (least Table, ok bool) {
	g := graph{maps}
	shorter := func(name string, rows int64) {
		if rows > 1 && (!ok || int(rows) < least.Rows) {
			least, ok = Table{name, int(rows)}, true
		}
	}
	found := func(value string, first int64) {
		name, dims := g.stored(value)
		for len(dims) > 2 && dims[0] == 1 {
			dims = dims[1:]
		}
		if len(dims) == 2 {
			shorter(name, dims[0]-first)
		}
	}
	for _, n := range g.Nodes {
		in := func(i int) string {
			if i < len(n.Inputs) {
				return n.Inputs[i]
			}
			return ""
		}
		switch n.OpType {
		case "Gather":
			if first, is := g.position(in(1), p); is && n.Int("axis", 0) == 0 {
				found(in(0), first)
			}
		case "GatherElements": // of a table that every row of the batch has a copy of
			if first, is := g.position(in(1), p); is && n.Int("axis", 0) == 1 {
				found(in(0), first)
			}
		case "EmbedLayerNormalization":
			found(in(3), 0)
		case "RotaryEmbedding": // X, then caches and positions in the order of the domain
			if n.Domain == msDomain {
				found(in(2), 0)
			} else {
				found(in(1), 0)
			}
		case "GroupQueryAttention":
			found(in(7), 0)
		case "Slice": // to a length that the graph computes
			if g.Constant(in(2)) {
				continue
			}
			name, dims := g.stored(in(0))
			if axis, is := g.integer(in(3)); is && len(dims) > 1 && axis >= 0 && axis < int64(len(dims)) {
				shorter(name, dims[axis])
			}
		}
	}
	return least, ok
}

// stored follows a value to the constant of which it is all, a part or a
// repetition, and returns the dimensions of the constant as the value has them:
// with axes of length 1 put in front or taken away.
func (g graph) stored(value string) (name string, dims []int64) {
	if t := g.literal(value); t != nil {
		return value, t.Dims
	}
	n := g.Index.Producer(value)
	switch {
	case n == nil || len(n.Inputs) == 0:
	case n.OpType == "Identity", n.OpType == "Cast", n.OpType == "DequantizeLinear", n.OpType == "Slice", n.OpType == "Expand", n.OpType == "Tile":
		return g.stored(n.Inputs[0])
	case n.OpType == "Unsqueeze" && len(n.Inputs) == 2:
		name, dims = g.stored(n.Inputs[0])
		if axis, ok := g.integer(n.Inputs[1]); ok && axis == 0 {
			return name, append([]int64{1}, dims...)
		}
	case n.OpType == "Squeeze" && len(n.Inputs) == 2:
		name, dims = g.stored(n.Inputs[0])
		if axis, ok := g.integer(n.Inputs[1]); ok && axis == 0 && len(dims) > 1 && dims[0] == 1 {
			return name, dims[1:]
		}
	}
	return "", nil
}

// position says whether a value counts positions, and the number it gives the
// first one: it comes from the graph's input of positions, from a range or from
// a running sum over the mask, with nothing but constants added. Distances
// between positions, which T5 counts, are none.
func (g graph) position(value string, p Ports) (first int64, ok bool) {
	type count struct {
		first int64
		ok    bool
	}
	known := map[string]count{} // so that what several operands share is followed once
	var follow func(value string) count
	operation := func(n *onnx.Node) count {
		switch n.OpType {
		case "Range":
			start, _ := g.integer(n.Inputs[0]) // else what the cache holds
			return count{start, true}
		case "CumSum":
			return count{1 - n.Int("exclusive", 0), true}
		case "Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Expand", "Tile", "Slice":
			return follow(n.Inputs[0])
		case "Add", "Sub", "Mul", "Where":
			operands := n.Inputs
			if n.OpType == "Where" {
				operands = n.Inputs[1:]
			}
			if len(operands) != 2 {
				return count{}
			}
			a, b := follow(operands[0]), operands[1]
			if n.OpType != "Sub" && !a.ok {
				a, b = follow(operands[1]), operands[0]
			}
			c, constant := g.integer(b)
			switch {
			case !a.ok || !constant && follow(b).ok:
				return count{}
			case constant && n.OpType == "Add":
				a.first += c
			case constant && n.OpType == "Sub":
				a.first -= c
			}
			return a
		}
		return count{}
	}
	follow = func(value string) count {
		if value != "" && value == p.Positions {
			return count{0, true}
		}
		if c, is := known[value]; is {
			return c
		}
		known[value] = count{}
		if n := g.Index.Producer(value); n != nil && len(n.Inputs) > 0 {
			known[value] = operation(n)
		}
		return known[value]
	}
	c := follow(value)
	return c.first, c.ok
}

// literal is the tensor of an initializer or of a Constant; nil if a value is
// neither.
func (g graph) literal(value string) *onnx.Tensor {
	if t := g.Index.Initializer(value); t != nil {
		return t
	}
	if n := g.Index.Producer(value); n != nil && n.OpType == "Constant" {
		if a := n.Attr("value"); a != nil {
			return a.T
		}
	}
	return nil
}

// integer is the one element of a constant.
func (g graph) integer(value string) (int64, bool) {
	t := g.literal(value)
	if n := g.Index.Producer(value); t == nil && n != nil {
		switch {
		case len(n.Inputs) > 0 && linear.Passes(n):
			return g.integer(n.Inputs[0])
		case n.OpType == "Constant" && n.Attr("value_int") != nil:
			return n.Int("value_int", 0), true
		}
	}
	if t == nil {
		return 0, false
	}
	if n, err := t.Len(); err != nil || n != 1 {
		return 0, false
	}
	v, err := t.Value()
	if err != nil {
		return 0, false
	}
	if v.IsFloat() {
		return int64(v.Float32s()[0]), true
	}
	return v.Int64s()[0], true
}
