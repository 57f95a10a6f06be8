package tinylm

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"editpipe/onnx"
)

// What torch.onnx.export(dynamo=True) writes otherwise than its predecessor:
// whole operators where the opset has them, boolean masks, and names of values
// instead of scopes.

// fusedRotary says whether rotary positions are one operator.
func (e *emitter) fusedRotary() bool { return e.Exporter == Dynamo && e.Opset >= 23 }

// rotaryEmbedding turns queries and keys, [batch, heads, length, width], by the
// operator of opset 23.
func (e *emitter) rotaryEmbedding(s *state, layer int, q, k string) (string, string) {
	n, theta := e.a.rotated, e.layerTheta(layer)
	cos := e.constant(e.table(e.angles(n, theta, math.Cos)))
	sin := e.constant(e.table(e.angles(n, theta, math.Sin)))
	positions := s.positions
	if e.NoPositionIDs { // counted once for all rows
		positions = e.op("Expand", positions, e.op("Shape", "input_ids"))
	}
	turn := func(x string) string {
		args := []any{x, cos, sin, positions}
		if e.a.positions == rotaryPairs {
			args = append(args, onnx.AttrInt("interleaved", 1))
		}
		if n < e.HeadWidth {
			args = append(args, onnx.AttrInt("rotary_embedding_dim", int64(n)))
		}
		return e.op("RotaryEmbedding", args...)
	}
	return turn(q), turn(k)
}

// rmsNormalization is RMSNorm with gain w.
func (e *emitter) rmsNormalization(x, w string) string {
	if e.Opset >= 23 {
		return e.op("RMSNormalization", x, w, onnx.AttrInt("axis", -1), onnx.AttrFloat("epsilon", float32(e.a.epsilon)), onnx.AttrInt("stash_type", 1))
	}
	f := x
	if e.Float16 {
		f = e.to(x, onnx.Float)
	}
	square := e.mean(e.op("Pow", f, e.float32(2)))
	root := e.op("Reciprocal", e.op("Sqrt", e.op("Add", square, e.float32(e.a.epsilon))))
	scaled := e.op("Mul", f, root)
	if e.Float16 {
		scaled = e.to(scaled, onnx.Float16)
	}
	return e.op("Mul", scaled, w)
}

// seen is the boolean mask of what queries may look at, [batch, 1, length, keys].
func (e *emitter) seen(f form, window int) string {
	before := e.pastLength(f)
	keys := e.op("Add", before, e.dim("input_ids", 1))
	key := e.op("Range", e.int(0), keys, e.int(1))
	query := e.unsqueeze(e.op("Range", before, keys, e.int(1)), 1)
	seen := e.op("LessOrEqual", key, query)
	if window > 0 {
		seen = e.op("And", seen, e.op("Greater", key, e.op("Sub", query, e.int(int64(window)))))
	}
	real := e.op("Unsqueeze", e.to("attention_mask", onnx.Bool), e.ints(1, 2))
	return e.op("And", real, seen)
}

// asBias turns a boolean mask into what is added to scores; a bias stays.
func (e *emitter) asBias(mask string) string {
	if e.Exporter != Dynamo {
		return mask
	}
	return e.op("Where", mask, e.float(0), e.float(e.lowest()))
}

// dotProduct is torch's scaled_dot_product_attention: Attention from opset 23
// on, and before what torch makes of it, with the scale's root on either side
// and zeros where softmax saw no key at all.
func (e *emitter) dotProduct(s *state, layer int, q, k, v string) string {
	a := e.a
	mask := s.biases[e.window(layer)]
	if s.alibi != "" {
		bias := s.alibi
		if a.alibiScaled {
			bias = e.op("Mul", bias, e.float(a.scale))
		}
		mask = e.op("Add", bias, e.asBias(mask))
	}
	if e.Opset >= 23 {
		return e.op("Attention", q, k, v, mask, onnx.AttrFloat("scale", float32(a.scale)))
	}
	k, v = e.repeat(k), e.repeat(v)
	root := math.Sqrt(a.scale)
	scores := e.op("MatMul", e.op("Mul", q, e.float(root)), e.op("Mul", e.transpose(k, 0, 1, 3, 2), e.float(root)))
	if s.alibi == "" {
		mask = e.op("Where", mask, e.float(0), e.float(math.Inf(-1)))
	}
	weights := e.op("Softmax", e.op("Add", scores, mask), onnx.AttrInt("axis", -1))
	weights = e.op("Where", e.op("IsNaN", weights), e.float(0), weights)
	return e.op("MatMul", weights, v)
}

// exportedNames are the names of values behind operators that stand for one
// call of the traced program.
var exportedNames = map[string]string{
	"Add": "add", "Mul": "mul", "Div": "div", "Sub": "sub", "Gather": "embedding", "MatMul": "linear", "Gemm": "addmm",
	"Reshape": "view", "Transpose": "transpose", "Slice": "slice", "Concat": "cat", "LayerNormalization": "layer_norm",
	"Gelu": "gelu", "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Softmax": "softmax", "Split": "split",
	"Attention": "scaled_dot_product_attention", "And": "and",
}

// dynamoNames gives nodes and values the names of that exporter: numbered
// after what was called, "val" for everything that it only computes with.
func dynamoNames(g *onnx.Graph) {
	fixed := map[string]bool{}
	for _, v := range slices.Concat(g.Inputs, g.Outputs) {
		fixed[v.Name] = true
	}
	to, count := map[string]string{}, map[string]int{}
	fresh := func(stem string) string {
		n := count[stem]
		count[stem]++
		if n == 0 && stem != "val" {
			return stem
		}
		return fmt.Sprintf("%s_%d", stem, n)
	}
	for _, t := range g.Initializers {
		if strings.HasPrefix(t.Name, "onnx::") { // folded
			to[t.Name] = fresh("val")
			t.Name = to[t.Name]
		}
	}
	for _, n := range g.Nodes {
		stem := exportedNames[n.OpType]
		if stem == "" {
			stem = "val"
		}
		for i, in := range n.Inputs {
			if name, ok := to[in]; ok {
				n.Inputs[i] = name
			}
		}
		for i, out := range n.Outputs {
			if out != "" && !fixed[out] {
				to[out] = fresh(stem)
				n.Outputs[i] = to[out]
			}
		}
		n.Name = "node_" + n.OpType + "_" + n.Outputs[0]
	}
}
