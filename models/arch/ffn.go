package arch

import (
	"fmt"
	"slices"
	"strings"

	"editpipe/models/linear"
	"editpipe/onnx"
)

// Operations that act on every element alone, or only reshape, and may
// therefore stand between the up- and the down-projection. The value says
// whether the operation is an activation function. Fused forms of the ONNX
// Runtime contrib domain count like their parts.
var elementwise = map[string]bool{
	"Add": false, "Sub": false, "Mul": false, "Div": false, "Pow": false, "Neg": false, "Exp": false,
	"Cast": false, "Identity": false, "Dropout": false, "Reshape": false, "Squeeze": false, "Unsqueeze": false,
	"Split": false, "Slice": false, "DynamicQuantizeLinear": false, "QuantizeLinear": false, "DequantizeLinear": false,
	"Tanh": true, "Erf": true, "Sigmoid": true, "Relu": true, "LeakyRelu": true, "Elu": true, "Selu": true,
	"Gelu": true, "FastGelu": true, "BiasGelu": true, "QuickGelu": true, "Silu": true, "Swish": true, "Mish": true,
	"HardSigmoid": true, "HardSwish": true, "Softplus": true, "Clip": true, "Max": true, "Abs": true,
	"BiasSplitGelu": true,
}

// firstInputOnly lists operations whose further inputs are shapes or bounds.
var firstInputOnly = map[string]bool{
	"Cast": true, "Identity": true, "Dropout": true, "Reshape": true, "Squeeze": true, "Unsqueeze": true,
	"Split": true, "Slice": true, "DynamicQuantizeLinear": true, "QuantizeLinear": true, "DequantizeLinear": true, "Clip": true,
}

// graph is a model's graph with its linear maps, in which the parts of a model are
// looked for.
type graph struct{ *linear.Graph }

// maxWalk bounds a walk from a down-projection back to its up-projection; the
// longest activation exporters write has about a dozen nodes.
const maxWalk = 64

// source is a linear map found behind a value and whether an activation
// function stands between.
type source struct {
	l         *linear.Map
	activated bool
}

// sources walks back from a value through element-wise operations to the
// linear maps it is made of; ok is false when anything else is met.
func (g graph) sources(value string) (found []source, activated, ok bool) {
	type visit struct {
		value string
		act   bool
	}
	seen := map[visit]bool{}
	stack := []visit{{value, false}}
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[v] || g.Constant(v.value) {
			continue
		}
		if seen[v] = true; len(seen) > maxWalk {
			return nil, false, false
		}
		if l := g.Of(v.value); l != nil {
			i := slices.IndexFunc(found, func(s source) bool { return s.l == l })
			if i < 0 {
				found = append(found, source{l: l})
				i = len(found) - 1
			}
			found[i].activated = found[i].activated || v.act
			continue
		}
		n := g.Index.Producer(v.value)
		if n == nil {
			return nil, false, false
		}
		act, allowed := elementwise[n.OpType]
		if !allowed {
			return nil, false, false
		}
		if n.OpType == "DynamicQuantizeLinear" && v.value != n.Outputs[0] {
			continue // scale and zero point
		}
		activated = activated || act
		inputs := n.Inputs
		if firstInputOnly[n.OpType] {
			inputs = inputs[:1]
		}
		for _, in := range inputs {
			stack = append(stack, visit{in, v.act || act})
		}
	}
	return found, activated, len(found) > 0
}

// root strips operations that only pass a value on.
func (g graph) root(value string) string {
	for {
		n := g.Index.Producer(value)
		if n == nil || !linear.Passes(n) || len(n.Inputs) == 0 {
			return value
		}
		value = n.Inputs[0]
	}
}

// ffns finds the feed-forward blocks in execution order.
func (g graph) ffns(side Side) []FFN {
	var out []FFN
	var downs []*linear.Map
	for _, down := range g.Maps {
		src, activated, ok := g.sources(down.X)
		if !ok || !activated || len(src) > 2 {
			continue
		}
		up := src[0]
		var gate *source
		if len(src) == 2 {
			gate = &src[1]
			if up.activated {
				up, gate = *gate, &src[0]
			}
			if g.root(up.l.X) != g.root(gate.l.X) || gate.l.In != up.l.In || gate.l.Out != up.l.Out {
				continue
			}
		}
		// A matrix twice as wide holds gate and up side by side, split after.
		joined := gate == nil && up.l.Out == 2*down.In
		if up.l.In != down.Out || up.l.Out != down.In && !joined {
			continue
		}
		layer := len(out)
		f := FFN{Side: side, Layer: layer, Missing: map[Point]string{}}
		f.Down = g.describe(down, WeightID{side, layer, FFNDown})
		f.Up = g.describe(up.l, WeightID{side, layer, FFNUp})
		if gate != nil {
			w := g.describe(gate.l, WeightID{side, layer, FFNGate})
			f.Gate = &w
			if gate.activated == up.activated {
				f.Up.refuse("cannot tell the gate from the up-projection")
				f.Gate.refuse("cannot tell the gate from the up-projection")
			}
		}
		if joined {
			f.Up.refuse("gate and up-projection are one matrix")
		}
		if down.Integer {
			for _, p := range []Point{FFNIn, FFNPre, FFNAct, FFNOut, Hidden} {
				f.Missing[p] = "activations are quantised (" + down.Node.OpType + ")"
			}
		} else {
			f.In, f.Act = up.l.X, g.unflattened(down.X)
			g.outputs(&f, down)
			switch {
			case joined:
				g.gateHalf(&f, down.X)
			case gate == nil:
				g.activationInput(&f, up.l)
			case gate.activated == up.activated:
				f.Missing[FFNPre] = "cannot tell the gate from the up-projection"
			default:
				g.activationInput(&f, gate.l)
			}
		}
		downs, out = append(downs, down), append(out, f)
	}
	g.attentions(out, downs)
	return out
}

func (w *Weight) refuse(why string) {
	if w.Editable {
		w.Editable, w.Why = false, why
	}
}

// describe turns a linear map into a public description.
func (g graph) describe(l *linear.Map, id WeightID) Weight {
	w := Weight{
		ID: id, Initializer: l.W.Name, In: l.In, Out: l.Out, Transposed: l.W.Transposed,
		DType: l.W.DType, Compute: l.W.Compute, Editable: l.W.Why == "", Why: l.W.Why,
		Bias: l.Bias, Input: l.X, Output: l.Y,
	}
	if w.Bias == "" {
		_, w.Bias = g.biasAfter(l.Y, l.Out)
	}
	return w
}

// biasAfter follows a value to the addition of a constant vector; result is
// the sum, or the value itself (past reshapes) when there is no bias.
func (g graph) biasAfter(value string, width int) (result, bias string) {
	v := value
	for range 6 {
		r := g.Readers(v)
		if len(r) != 1 {
			break
		}
		n := r[0]
		switch {
		case n.OpType == "Reshape" && n.Inputs[0] == v, n.OpType == "Identity":
			v = n.Outputs[0]
			continue
		case n.OpType == "Add" || n.OpType == "BiasGelu" || n.OpType == "FastGelu":
			for i, in := range n.Inputs {
				t := g.Index.Initializer(in)
				if t != nil && n.Inputs[1-i] == v && len(t.Dims) == 1 && int(t.Dims[0]) == width {
					if n.OpType == "Add" {
						return n.Outputs[0], in
					}
					return v, in
				}
			}
		}
		break
	}
	return v, ""
}

// unflattened is a value before rows and positions were put into one axis, as
// they are for operations that take matrices only.
func (g graph) unflattened(value string) string {
	if n := g.Index.Producer(value); n != nil && n.OpType == "Reshape" && g.Index.Producer(n.Inputs[0]) != nil {
		return n.Inputs[0]
	}
	return value
}

// gateHalf finds the value behind FFNPre where one matrix holds gate and
// up-projection: the half of its output that goes through the activation
// function.
func (g graph) gateHalf(f *FFN, value string) {
	halves := map[string]bool{}
	var walk func(value string, act bool, steps int)
	walk = func(value string, act bool, steps int) {
		n := g.Index.Producer(value)
		if n == nil || steps == 0 || g.Of(value) != nil || g.Constant(value) {
			return
		}
		if n.OpType == "Split" || n.OpType == "Slice" {
			if act {
				halves[value] = true
			}
			return
		}
		inputs := n.Inputs
		if firstInputOnly[n.OpType] {
			inputs = inputs[:1]
		}
		for _, in := range inputs {
			walk(in, act || elementwise[n.OpType], steps-1)
		}
	}
	const longest = 12 // from the product back to the halves
	walk(value, false, longest)
	if len(halves) != 1 {
		f.Missing[FFNPre] = "gate and up-projection are one matrix"
		return
	}
	for v := range halves {
		f.Pre = v
		g.activate(f, v)
	}
}

// activationInput finds the value behind FFNPre: the output, bias included, of
// the projection that the activation function reads.
func (g graph) activationInput(f *FFN, l *linear.Map) {
	v, bias := g.biasAfter(l.Y, l.Out)
	g.activate(f, v)
	if n := g.Index.Producer(v); bias != "" && n.OpType != "Add" {
		f.Missing[FFNPre] = "the bias is added inside the activation function"
		return
	}
	f.Pre = v
}

// outputs finds the values behind FFNOut and Hidden.
func (g graph) outputs(f *FFN, down *linear.Map) {
	v, bias := g.biasAfter(down.Y, down.Out)
	if bias != "" && f.Down.Bias != bias { // the node adds one itself as well
		f.Missing[FFNOut] = "two biases are added"
	}
	if f.Result = v; g.biasWithin(v) != nil {
		f.Result, f.Missing[FFNOut] = "", "the bias is added inside "+linear.Label(g.biasWithin(v))
	}
	for range 16 {
		readers := g.Readers(v)
		if len(readers) != 1 {
			break
		}
		n := readers[0]
		switch n.OpType {
		case "SkipLayerNormalization", "SkipSimplifiedLayerNormalization":
			g.within(f, n, v)
			return
		case "Add":
			other := n.Inputs[0]
			if other == v {
				other = n.Inputs[1]
			}
			if g.Constant(other) {
				v = n.Outputs[0]
				continue
			}
			g.sum(f, n)
			return
		case "Reshape", "Cast", "Identity", "Dropout", "Mul", "Div", "LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization":
			if n.Inputs[0] != v && !g.Constant(n.Inputs[0]) || len(n.Inputs) > 1 && n.Inputs[1] != v && !g.Constant(n.Inputs[1]) && n.OpType != "Reshape" {
				f.Missing[Hidden] = fmt.Sprintf("no residual addition found behind %s", linear.Label(down.Node))
				return
			}
			v = n.Outputs[0]
			continue
		}
		break
	}
	// A norm between the block and the residual stream, as Gemma has it, that is
	// written out in its parts.
	if n := g.pastNorm(v); n != nil {
		g.sum(f, n)
		return
	}
	f.Missing[Hidden] = fmt.Sprintf("no residual addition found behind %s", linear.Label(down.Node))
}

// normParts are the operations that norms are written out in.
var normParts = map[string]bool{
	"Pow": true, "ReduceMean": true, "Sub": true, "Mul": true, "Div": true, "Sqrt": true, "Reciprocal": true,
	"Cast": true, "Identity": true, "Abs": true,
}

// pastNorm follows a value through a norm in parts to the node that adds its
// result to something else; nil if anything else is met.
func (g graph) pastNorm(v string) *onnx.Node {
	from := map[string]bool{v: true}
	met := 0
	for _, n := range g.Nodes[g.At(g.Index.Producer(v))+1:] {
		own, foreign := 0, 0
		for _, in := range n.Inputs {
			switch {
			case from[in]:
				own++
			case !g.Constant(in):
				foreign++
			}
		}
		switch {
		case own == 0 || n.OpType == "Shape":
			continue
		case n.OpType == "Add" && foreign == 1:
			return n
		case foreign > 0 || !normParts[n.OpType] && n.OpType != "Add" || met == maxWalk:
			return nil
		}
		met++
		from[n.Outputs[0]] = true
	}
	return nil
}

// within sets Hidden to the sum that a fused norm computes of a value and the
// residual stream. The node need not hand it out, see Graph.Reveal.
func (g graph) within(f *FFN, n *onnx.Node, v string) {
	f.Summand, f.Hidden = v, hiddenSum(f.Side, f.Layer)
	if len(n.Outputs) > sumOutput && n.Outputs[sumOutput] != "" {
		f.Hidden = n.Outputs[sumOutput]
	}
}

// sumOutput is the output of a fused norm that is the sum before the norm.
const sumOutput = 3

// hiddenSum names the sum of a fused norm that does not hand it out.
func hiddenSum(s Side, layer int) string { return fmt.Sprintf("editpipe.hidden.%s.%d", s, layer) }

// Reveal makes fused norms of m, a copy of the graph's model, hand out the sums
// that are values behind Hidden.
func (g *Graph) Reveal(m *onnx.Model) {
	for _, f := range g.FFNs {
		if f.Summand == "" || f.Hidden != hiddenSum(f.Side, f.Layer) {
			continue
		}
		for _, n := range m.Graph.Nodes {
			if strings.HasPrefix(n.OpType, "Skip") && slices.Contains(n.Inputs[:2], f.Summand) {
				n.Outputs = append(n.Outputs, make([]string, max(sumOutput+1-len(n.Outputs), 0))...)
				n.Outputs[sumOutput] = f.Hidden
			}
		}
	}
}

// sum sets Hidden to the last of the additions that begin with a node: parallel
// blocks add attention, feed-forward and residual in two steps. The last may be
// within a fused norm.
func (g graph) sum(f *FFN, n *onnx.Node) {
	for {
		v := n.Outputs[0]
		r := g.Readers(v)
		switch {
		case len(r) == 1 && r[0].OpType == "Add":
			n = r[0]
			continue
		case len(r) == 1 && (r[0].OpType == "SkipLayerNormalization" || r[0].OpType == "SkipSimplifiedLayerNormalization"):
			g.within(f, r[0], v)
		default:
			f.Hidden = v
		}
		return
	}
}
