package arch

import (
	"cmp"
	"fmt"
	"slices"

	"editpipe/onnx"
)

// Activation is the activation function of a feed-forward block, as the nodes that
// the model computes it by.
type Activation struct {
	in, out string
	nodes   []*onnx.Node // in execution order; each acts on every element alone
}

// Copy appends the function of another value of the block's type and any shape, to
// the graph that the block is in, and returns the result.
func (a Activation) Copy(b *onnx.Builder, x string) string {
	now := map[string]string{a.in: x}
	for _, n := range a.nodes {
		inputs := slices.Clone(n.Inputs)
		for i, in := range inputs {
			if v, computed := now[in]; computed {
				inputs[i] = v
			}
		}
		for i, v := range b.OpN(n.OpType, n.Domain, inputs, len(n.Outputs), n.Attrs...) {
			now[n.Outputs[i]] = v
		}
	}
	return now[a.out]
}

// Activation returns the block's activation function, without the bias that a
// fused operator adds before it, or the reason why it cannot be told.
func (f *FFN) Activation() (a Activation, why string) {
	if len(f.activation.nodes) == 0 {
		return a, cmp.Or(f.inactive, f.Missing[FFNPre], "the activation function was not found")
	}
	return f.activation, ""
}

// reshaping lists the elementwise operations that need not keep the shape or the
// numbers of a value.
var reshaping = []string{
	"Reshape", "Squeeze", "Unsqueeze", "Split", "Slice", "BiasSplitGelu",
	"DynamicQuantizeLinear", "QuantizeLinear", "DequantizeLinear",
}

// activate finds the activation function of a block, which begins at a value: the
// nodes from there on that act on every element alone, as far as nothing else that
// is computed comes in.
func (g graph) activate(f *FFN, value string) {
	a := Activation{in: value}
	inside, left := map[string]bool{value: true}, []string(nil)
	from := g.Index.Producer(value)
	if from == nil {
		return
	}
	for _, n := range g.Nodes[g.At(from)+1:] {
		if n.OpType == "Shape" || !slices.ContainsFunc(n.Inputs, func(in string) bool { return inside[in] }) {
			continue
		}
		if c := g.pointwise(n, inside); c != nil {
			a.nodes = append(a.nodes, c)
			for _, o := range n.Outputs {
				inside[o] = o != ""
			}
			continue
		}
		for _, in := range n.Inputs {
			if inside[in] && !slices.Contains(left, in) {
				left = append(left, in)
			}
		}
	}
	if len(left) != 1 || len(a.nodes) == 0 {
		f.inactive = fmt.Sprintf("the activation function behind %s was not found", value)
		return
	}
	a.out = left[0]
	f.activation = a
}

// pointwise is a node that acts on every element of values alone, without the bias
// that it may add; nil for another.
func (g graph) pointwise(n *onnx.Node, values map[string]bool) *onnx.Node {
	if _, known := elementwise[n.OpType]; !known || slices.Contains(reshaping, n.OpType) {
		return nil
	}
	if biased := n.OpType == "BiasGelu" || n.OpType == "FastGelu" && len(n.Inputs) == 2; biased {
		c := *n
		c.Inputs = n.Inputs[:1]
		if n.OpType == "BiasGelu" {
			c.OpType = "Gelu"
		}
		return &c
	}
	for _, in := range n.Inputs {
		if in != "" && !values[in] && !g.scalar(in) {
			return nil
		}
	}
	return n
}

// scalar says whether a value is a constant of one element, or made of such.
func (g graph) scalar(value string) bool {
	t, n := g.Index.Initializer(value), g.Index.Producer(value)
	if t == nil && n != nil && n.OpType == "Constant" {
		a := n.Attr("value")
		if a == nil {
			return n.Attr("value_float") != nil || n.Attr("value_int") != nil
		}
		t = a.T
	}
	if t != nil {
		size, err := t.Len()
		return err == nil && size == 1
	}
	if n == nil || len(n.Inputs) == 0 {
		return false
	}
	_, known := elementwise[n.OpType]
	return (known || n.OpType == "Sqrt" || n.OpType == "Reciprocal") && !slices.ContainsFunc(n.Inputs, func(in string) bool { return !g.scalar(in) })
}
