package grad_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"editpipe/onnx"
	"editpipe/onnx/grad"
	"editpipe/ort"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// Central differences are off by step^2 times the third derivative and by
// rounding over step. With these steps both are far below the tolerances, which
// a wrong factor or a forgotten term exceeds by orders of magnitude.
const (
	step64, tolerance64 = 1e-5, 1e-7
	step32, tolerance32 = 1e-2, 2e-3
)

// arg is an input of the tested node: floats between low and high to
// differentiate with respect to, or given integers or truth values.
type arg struct {
	shape     []int
	low, high float64
	ints      []int64
	short     bool // int32
	bools     []bool
	fed       bool // integers as graph input instead of a constant
	constant  bool // a float scalar, low, that the graph holds
	missing   bool
	given     bool
}

func x(shape ...int) arg        { return arg{shape: shape, low: -2, high: 2} }
func positive(shape ...int) arg { return arg{shape: shape, low: 0.5, high: 2} }
func ints(v ...int64) arg       { return arg{shape: []int{len(v)}, ints: v} }
func index(v []int64, shape ...int) arg {
	return arg{shape: shape, ints: v}
}
func fed(a arg) arg    { a.fed = true; return a }
func int32s(a arg) arg { a.short, a.fed = true, true; return a }
func truths(v string, shape ...int) arg {
	a := arg{shape: shape}
	for _, c := range v {
		a.bools = append(a.bools, c == '1')
	}
	return a
}

// given are floats that are not differentiated with respect to.
func given(a arg) arg { a.given = true; return a }

var missing = arg{missing: true}

type ruleCase struct {
	op     string
	in     []arg
	attrs  []*onnx.Attribute
	domain string
	opset  int64 // 17
	but127 bool  // ONNX Runtime 1.27 computes something else than ONNX says
	single bool  // the runtime has no float64 kernel
	outs   int   // 1
	use    []int // outputs that the loss depends on; all
	keep   bool  // outputs that are not used stay
	rows   []int // lengths of the rows of output 0: what stands behind is not in the loss
	fixed  bool  // the rule must know the shape
	ranked bool  // the rule must know ranks: it has to refuse without
}

func attrs(a ...*onnx.Attribute) []*onnx.Attribute { return a }

var (
	integer = onnx.AttrInt
	list    = onnx.AttrInts
	number  = onnx.AttrFloat
	text    = onnx.AttrString
)

func ruleCases() []ruleCase {
	const big = 1 << 62
	cases := []ruleCase{
		{op: "Add", in: []arg{x(2, 3), x(2, 3)}},
		{op: "Add", in: []arg{x(2, 3), x(3)}},
		{op: "Add", in: []arg{x(3), x(2, 1, 3)}},
		{op: "Sub", in: []arg{x(2, 1, 3), x(4, 1)}},
		{op: "Sub", in: []arg{x(), x(2, 2)}},
		{op: "Mul", in: []arg{x(2, 3), x(2, 1)}},
		{op: "Mul", in: []arg{x(1, 3), x(2, 1)}},
		{op: "Div", in: []arg{x(2, 3), positive(3)}},
		{op: "Div", in: []arg{x(), positive(2, 3)}},
		{op: "Pow", in: []arg{positive(2, 3), x(3)}},
		{op: "Pow", in: []arg{x(2, 3), {constant: true, low: 1}}},
		{op: "Pow", in: []arg{x(2, 3), {constant: true, low: 2}}},
		{op: "Pow", in: []arg{x(2, 3), {constant: true, low: 3}}},
		{op: "Pow", in: []arg{positive(2, 3), {constant: true, low: -0.5}}},
		{op: "Sum", in: []arg{x(2, 3), x(3), x(2, 1)}},
		{op: "Min", in: []arg{x(2, 3), x(3), x(1)}},
		{op: "Max", in: []arg{x(2, 3), x(3)}},
		{op: "Where", in: []arg{{shape: []int{3}, bools: []bool{true, false, true}}, x(2, 3), x(2, 1)}},
		{op: "Clip", in: []arg{x(3, 4), {low: -1, high: -0.9}, {low: 0.7, high: 0.8}}},
		{op: "Clip", in: []arg{x(3, 4), {missing: true}, {low: 0.7, high: 0.8}}},
		{op: "Clip", in: []arg{x(3, 4), {low: -1, high: -0.9}, missing}},
		{op: "Clip", in: []arg{x(3, 4), {low: 0.7, high: 0.8}, {low: -1, high: -0.9}}},
		{op: "CastLike", in: []arg{x(2, 3), {constant: true}}},

		{op: "Neg", in: []arg{x(2, 3)}},
		{op: "Sqrt", in: []arg{positive(2, 3)}},
		{op: "Reciprocal", in: []arg{positive(2, 3)}},
		{op: "Exp", in: []arg{x(2, 3)}},
		{op: "Log", in: []arg{positive(2, 3)}},
		{op: "Abs", in: []arg{x(2, 3)}},
		{op: "Sin", in: []arg{x(2, 3)}, single: true},
		{op: "Cos", in: []arg{x(2, 3)}, single: true},
		{op: "Identity", in: []arg{x(2, 3)}},
		{op: "Dropout", in: []arg{x(2, 3)}},
		{op: "Cast", in: []arg{x(2, 3)}, attrs: attrs(integer("to", int64(onnx.Double)))},
		{op: "Tanh", in: []arg{x(2, 3)}},
		{op: "Sigmoid", in: []arg{x(2, 3)}},
		{op: "Erf", in: []arg{x(2, 3)}, single: true},
		{op: "Relu", in: []arg{x(3, 4)}},
		{op: "Softplus", in: []arg{x(2, 3)}, single: true},
		{op: "Gelu", in: []arg{x(2, 3)}, opset: 20, single: true},
		{op: "Gelu", in: []arg{x(2, 3)}, opset: 20, single: true, attrs: attrs(text("approximate", "tanh"))},
		{op: "Gelu", domain: "com.microsoft", in: []arg{x(2, 3)}, single: true},
		{op: "FastGelu", domain: "com.microsoft", in: []arg{x(2, 3)}, single: true},
		{op: "FastGelu", domain: "com.microsoft", in: []arg{x(2, 3), x(3)}, single: true},
		{op: "BiasGelu", domain: "com.microsoft", in: []arg{x(2, 3), x(3)}, single: true},
		{op: "QuickGelu", domain: "com.microsoft", in: []arg{x(2, 3)}, single: true, attrs: attrs(number("alpha", 1.5))},

		{op: "Swish", in: []arg{x(3, 4)}, opset: 24, single: true},
		{op: "Swish", in: []arg{x(3, 4)}, opset: 24, single: true, attrs: attrs(number("alpha", 1.5))},
		{op: "LeakyRelu", in: []arg{x(3, 4)}, single: true, attrs: attrs(number("alpha", 0.3))},
		{op: "PRelu", in: []arg{x(3, 4), x(4)}, single: true},
		{op: "Elu", in: []arg{x(3, 4)}, single: true, attrs: attrs(number("alpha", 1.5))},
		{op: "HardSwish", in: []arg{{shape: []int{3, 4}, low: -5, high: 5}}, single: true},
		{op: "HardSigmoid", in: []arg{{shape: []int{3, 4}, low: -5, high: 5}}, single: true, attrs: attrs(number("alpha", 0.3), number("beta", 0.4))},
		{op: "Mish", in: []arg{x(3, 4)}, opset: 18, single: true},
		{op: "Mean", in: []arg{x(2, 3), x(3), x(2, 1)}, single: true},

		{op: "FusedMatMul", domain: "com.microsoft", in: []arg{x(2, 4, 3), x(2, 5, 4)}, single: true, attrs: attrs(integer("transA", 1), integer("transB", 1), number("alpha", 0.5))},
		{op: "Gemm", in: []arg{x(2, 3), x(3, 4)}},
		{op: "Einsum", in: []arg{x(2, 3, 4), x(2, 5, 4)}, attrs: attrs(text("equation", "bid, bjd -> bij"))},
		{op: "Einsum", in: []arg{x(2, 3), x(4)}, attrs: attrs(text("equation", "ij,k->kij"))},
		{op: "Einsum", in: []arg{x(2, 3)}, attrs: attrs(text("equation", "ij->ji"))},

		{op: "Reshape", in: []arg{x(2, 3, 4), ints(0, -1)}},
		{op: "Reshape", in: []arg{x(2, 3, 4), fed(ints(4, 6))}},
		{op: "Flatten", in: []arg{x(2, 3, 4)}},
		{op: "Squeeze", in: []arg{x(2, 1, 3, 1), ints(-1, 1)}},
		{op: "Squeeze", in: []arg{x(2, 1, 3, 1)}},
		{op: "Unsqueeze", in: []arg{x(2, 3), ints(-1, 1)}},
		{op: "Transpose", in: []arg{x(2, 3, 4)}},
		{op: "Transpose", in: []arg{x(2, 3, 4)}, attrs: attrs(list("perm", 1, 2, 0))},
		{op: "Concat", in: []arg{x(2, 3), x(2, 1), x(2, 2)}, attrs: attrs(integer("axis", -1))},
		{op: "Concat", in: []arg{x(2, 3), x(1, 3)}, attrs: attrs(integer("axis", 0))},
		{op: "Split", in: []arg{x(2, 6)}, outs: 3, attrs: attrs(integer("axis", -1))},
		{op: "Split", in: []arg{x(2, 6)}, outs: 3, attrs: attrs(integer("axis", 1)), use: []int{1}},
		{op: "Split", in: []arg{x(6, 2), ints(1, 5)}, outs: 2},
		{op: "Split", in: []arg{x(2, 5)}, outs: 2, opset: 18, attrs: attrs(integer("axis", 1), integer("num_outputs", 2))},
		{op: "Slice", in: []arg{x(4, 6), ints(1), ints(big), ints(-1)}, ranked: true},
		{op: "Slice", in: []arg{x(4, 6), ints(-5, 0), ints(-1, 2), ints(1, 0)}, ranked: true},
		{op: "Slice", in: []arg{x(4, 6), ints(0), ints(big), ints(1), ints(2)}, ranked: true},
		{op: "Slice", in: []arg{x(4, 6), ints(1), ints(big), ints(1), ints(2)}, ranked: true},
		{op: "Slice", in: []arg{x(4, 6), ints(big), ints(-big), ints(0), ints(-1)}, ranked: true},
		{op: "Slice", in: []arg{x(4, 6), ints(-100), ints(-big), ints(1), ints(-2)}, ranked: true},
		{op: "Slice", in: []arg{x(4, 6), fed(ints(1, 2)), fed(ints(3, 5))}, ranked: true},
		{op: "Slice", in: []arg{x(4, 6), fed(ints(-2)), fed(ints(100)), ints(-1), fed(ints(1))}, ranked: true},
		{op: "Slice", in: []arg{x(4, 6), fed(ints(3)), fed(ints(3)), ints(1)}, ranked: true},
		{op: "Expand", in: []arg{x(3, 1), ints(2, 1, 4)}},
		{op: "Expand", in: []arg{x(3, 1), fed(ints(2, 3, 4))}},
		{op: "Tile", in: []arg{x(2, 3), ints(2, 3)}, ranked: true},
		{op: "Tile", in: []arg{x(2, 3), fed(ints(1, 2))}, ranked: true},
		{op: "Pad", in: []arg{x(2, 3), ints(0, 1, 2, 0)}},
		{op: "Pad", in: []arg{x(2, 3), fed(ints(-1, 2, 1, -1)), x()}},
		{op: "Pad", in: []arg{x(2, 3), ints(2, 1), x(), ints(-1)}, opset: 18},
		{op: "Pad", in: []arg{x(3, 4), ints(0, 1, 2, 3)}, attrs: attrs(text("mode", "reflect")), ranked: true},
		{op: "Pad", in: []arg{x(3, 4), fed(ints(0, 1, 2, 1))}, attrs: attrs(text("mode", "edge")), ranked: true},
		{op: "Pad", in: []arg{x(3, 4), ints(2, 1), missing, ints(-1)}, opset: 19, attrs: attrs(text("mode", "wrap")), ranked: true},
		{op: "Trilu", in: []arg{x(3, 4)}, single: true},
		{op: "Trilu", in: []arg{x(3, 4), index([]int64{1})}, single: true, attrs: attrs(integer("upper", 0))},
		{op: "CumSum", in: []arg{x(2, 4), index([]int64{1})}},
		{op: "CumSum", in: []arg{x(2, 4), index([]int64{-2})}, attrs: attrs(integer("reverse", 1), integer("exclusive", 1))},

		{op: "Gather", in: []arg{x(4, 3), index([]int64{1, 3, 1, -1, 0, 1}, 2, 3)}},
		{op: "Gather", in: []arg{x(2, 4, 3), fed(index([]int64{1, 1, -1}, 3))}, attrs: attrs(integer("axis", 1))},
		{op: "Gather", in: []arg{x(2, 4, 3), index([]int64{-1})}, attrs: attrs(integer("axis", -2)), ranked: true},
		{op: "GatherND", in: []arg{x(2, 4, 3), index([]int64{0, 1, 1, -1, 0, 1}, 3, 2)}},
		{op: "GatherND", in: []arg{x(2, 4), fed(index([]int64{0, 1, 1, 3, 0, 1, 1, 1}, 2, 2, 2))}},
		{op: "GatherElements", in: []arg{x(3, 4), index([]int64{0, 0, 1, -1, 3, 2}, 3, 2)}, attrs: attrs(integer("axis", 1))},
		{op: "ScatterND", in: []arg{x(2, 4, 3), index([]int64{0, 1, 1, 3}, 2, 2), x(2, 3)}},
		{op: "ScatterND", in: []arg{x(2, 4, 3), index([]int64{0, 1, 0, 1}, 2, 2), x(2, 3)}, attrs: attrs(text("reduction", "add"))},
		{op: "ScatterElements", in: []arg{x(3, 4), index([]int64{0, 2, 1, -1, 3, 2}, 3, 2), x(3, 2)}, attrs: attrs(integer("axis", -1))},

		{op: "TopK", in: []arg{x(3, 5), ints(2)}, outs: 2, use: []int{0}, keep: true},
		{op: "TopK", in: []arg{x(3, 5), fed(ints(2))}, outs: 2, use: []int{0}, keep: true, attrs: attrs(integer("axis", 0), integer("largest", 0))},
		{op: "TensorScatter", in: []arg{x(2, 6, 3), x(2, 2, 3), fed(ints(1, 4))}, opset: 24, single: true, ranked: true},
		{op: "TensorScatter", in: []arg{x(2, 2, 6, 3), x(2, 2, 3, 3), fed(ints(1, 5))}, opset: 24, single: true, ranked: true, attrs: attrs(text("mode", "circular"))},
		{op: "TensorScatter", in: []arg{x(2, 6, 3), x(2, 2, 3)}, opset: 24, single: true, ranked: true, attrs: attrs(integer("axis", 1))},

		{op: "Conv", in: []arg{x(2, 3, 7), x(4, 3, 3), x(4)}, single: true, attrs: attrs(list("pads", 2, 0)), fixed: true},
		{op: "Conv", in: []arg{x(1, 4, 6), x(4, 1, 2)}, single: true, attrs: attrs(integer("group", 4), list("kernel_shape", 2), text("auto_pad", "SAME_LOWER"))},
		{op: "Conv", in: []arg{x(1, 2, 5, 6), x(4, 1, 3, 2), x(4)}, single: true, attrs: attrs(integer("group", 2), list("kernel_shape", 3, 2), list("strides", 2, 1), list("dilations", 1, 2), list("pads", 1, 0, 1, 1))},
		{op: "Conv", in: []arg{x(1, 2, 5, 6), x(3, 2, 3, 3)}, single: true, attrs: attrs(list("kernel_shape", 3, 3), list("strides", 2, 2), text("auto_pad", "SAME_UPPER"))},
		{op: "Conv", in: []arg{x(1, 2, 5), x(3, 2, 3)}, single: true, attrs: attrs(list("kernel_shape", 3), text("auto_pad", "VALID"))},

		{op: "LpNormalization", in: []arg{x(2, 3, 4)}},
		{op: "LpNormalization", in: []arg{x(2, 3, 4)}, attrs: attrs(integer("p", 1), integer("axis", 1))},
		{op: "Softmax", in: []arg{x(2, 3, 4)}},
		{op: "Softmax", in: []arg{x(2, 3, 4)}, attrs: attrs(integer("axis", 1))},
		{op: "LogSoftmax", in: []arg{x(2, 4)}},
		{op: "LayerNormalization", in: []arg{x(2, 3, 4), x(4), x(4)}},
		{op: "LayerNormalization", in: []arg{x(2, 3, 4), x(3, 4)}, attrs: attrs(integer("axis", 1), number("epsilon", 0.1)), ranked: true},
		{op: "SimplifiedLayerNormalization", in: []arg{x(2, 3, 4), x(4)}, single: true},
		{op: "RMSNormalization", in: []arg{x(2, 3, 4), x(4)}, opset: 23, single: true, attrs: attrs(integer("axis", -1))},
		{op: "SkipLayerNormalization", domain: "com.microsoft", in: []arg{x(2, 3, 4), x(2, 3, 4), x(4), x(4), x(4)}, single: true, outs: 4, use: []int{0, 3}},
		{op: "SkipLayerNormalization", domain: "com.microsoft", in: []arg{x(2, 3, 4), x(2, 3, 4), x(4)}, single: true},
		{op: "SkipLayerNormalization", domain: "com.microsoft", in: []arg{x(2, 3, 4), x(3, 4), x(4)}, single: true},
		{op: "SkipSimplifiedLayerNormalization", domain: "com.microsoft", in: []arg{x(2, 3, 4), x(1, 3, 4), x(4)}, single: true, outs: 4, use: []int{0, 3}},
		{op: "SkipSimplifiedLayerNormalization", domain: "com.microsoft", in: []arg{x(2, 3, 4), x(2, 3, 4), x(4), x(4)}, single: true, outs: 4, use: []int{0, 3}},
		{op: "SkipSimplifiedLayerNormalization", domain: "com.microsoft", in: []arg{x(2, 3, 4), x(2, 3, 4), x(4)}, single: true, outs: 4, use: []int{3}},
	}
	cases = append(cases, attentionCases()...)
	for _, shapes := range [][2][]int{
		{{2, 3}, {3, 4}}, {{2, 5, 3}, {3, 4}}, {{2, 5, 3}, {2, 3, 4}}, {{5, 3}, {2, 3, 4}}, {{2, 1, 5, 3}, {4, 3, 2}},
		{{1, 2, 3}, {2, 3, 2}}, {{3}, {3, 4}}, {{3}, {2, 3, 4}}, {{2, 3}, {3}}, {{2, 2, 3}, {3}}, {{3}, {3}},
	} {
		cases = append(cases, ruleCase{op: "MatMul", in: []arg{x(shapes[0]...), x(shapes[1]...)}})
	}
	for i := range 4 {
		ta, tb := i&1 != 0, i&2 != 0
		a, b := []int{2, 3}, []int{3, 4}
		var options []*onnx.Attribute
		if ta {
			slices.Reverse(a)
			options = append(options, integer("transA", 1))
		}
		if tb {
			slices.Reverse(b)
			options = append(options, integer("transB", 1))
		}
		cases = append(cases, ruleCase{op: "Gemm", in: []arg{x(a...), x(b...), x(2, 1)}, attrs: append(options, number("alpha", 0.5), number("beta", 2))})
	}
	more := []string{"ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceProd", "ReduceLogSum", "ReduceLogSumExp"}
	for _, op := range append([]string{"ReduceSum", "ReduceMean", "ReduceMax"}, more...) { // over no axes
		cases = append(cases, ruleCase{op: op, in: []arg{positive(2, 3)}, opset: 18, single: !strings.HasSuffix(op, "Sum"), attrs: attrs(integer("noop_with_empty_axes", 1))})
	}
	for i, op := range more {
		in := []arg{x(2, 3, 4)}
		if op == "ReduceLogSum" {
			in = []arg{positive(2, 3, 4)}
		}
		keep := integer("keepdims", int64(i%2))
		cases = append(cases,
			ruleCase{op: op, in: in, single: true, opset: 13, attrs: attrs(list("axes", 0, -1), keep)},
			ruleCase{op: op, in: append(in, fed(ints(1))), single: true, opset: 18, attrs: attrs(keep)},
			ruleCase{op: op, in: in, single: true, opset: 18})
	}
	for _, opset := range []int64{13, 18} {
		for _, keep := range []int64{0, 1} {
			for _, op := range []string{"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"} {
				options := attrs(integer("keepdims", keep))
				in := []arg{x(2, 3, 4)}
				cases = append(cases, ruleCase{op: op, in: in, opset: opset, attrs: options}) // all axes
				switch {
				case opset >= 18:
					cases = append(cases, ruleCase{op: op, in: append(in, fed(ints(0, 2))), opset: opset, attrs: options})
					fallthrough
				case op == "ReduceSum":
					in = append(in, ints(-1, 0))
				default:
					options = append(options, list("axes", -1, 0))
				}
				cases = append(cases, ruleCase{op: op, in: in, opset: opset, attrs: options})
			}
		}
	}
	return cases
}

// TestRules compares every rule with finite differences of the operator itself,
// with known, symbolic and unknown shapes.
func TestRules(t *testing.T) {
	e := orttest.Open(t)
	for i, c := range ruleCases() {
		if c.opset == 0 {
			c.opset = 17
		}
		for _, shapes := range []string{"fixed", "symbolic", "unranked"} {
			t.Run(fmt.Sprintf("%d/%s/%s", i, c.op, shapes), func(t *testing.T) {
				c.test(t, e, shapes)
			})
		}
	}
}

func (c ruleCase) dtype() tensor.DType {
	if c.single {
		return tensor.F32
	}
	return tensor.F64
}

// model builds a graph of the one node and returns what is fed to it, the
// inputs to differentiate with respect to, and the outputs used.
func (c ruleCase) model(shapes string) (m *onnx.Model, in feeds, wrt, outs []string) {
	r := rand.New(rand.NewPCG(1, 2))
	m = onnx.New(8, c.opset)
	if c.domain != "" {
		m.Opsets = append(m.Opsets, onnx.Opset{Domain: c.domain, Version: 1})
	}
	b := m.Builder()
	in = feeds{}
	var names []string
	for i, a := range c.in {
		name := fmt.Sprintf("in%d", i)
		if a.missing {
			names = append(names, "")
			continue
		}
		names = append(names, name)
		var v *tensor.Tensor
		switch {
		case a.ints != nil:
			v = tensor.FromInt64s(a.ints, a.shape...)
			if a.short {
				v = shortInts(a.ints, a.shape...)
			}
		case a.constant:
			v = tensor.New(c.dtype())
			set(v, 0, a.low)
		case a.bools != nil:
			v = tensor.New(tensor.Bool, a.shape...)
			for j, yes := range a.bools {
				if yes {
					v.Data[j] = 1
				}
			}
		default:
			v = random(r, c.dtype(), a.low, a.high, a.shape...)
			if !a.given {
				wrt = append(wrt, name)
			}
		}
		if a.ints != nil && !a.fed || a.constant {
			b.Initializer(name, v)
			continue
		}
		in[name] = v
		var dims []onnx.Dim
		for j, d := range v.Shape {
			dim := onnx.Dim{Value: int64(d)}
			if shapes != "fixed" && a.ints == nil {
				dim = onnx.Symbolic(fmt.Sprintf("%s_%d", name, j))
			}
			dims = append(dims, dim)
		}
		b.Input(name, onnx.TypeOf(v.DType), dims)
		if shapes == "unranked" && a.ints == nil {
			m.Graph.Inputs[len(m.Graph.Inputs)-1].HasShape = false
		}
	}
	all := b.OpN(c.op, c.domain, names, max(c.outs, 1), c.attrs...)
	if c.use == nil {
		return m, in, wrt, all
	}
	for _, i := range c.use {
		outs = append(outs, all[i])
	}
	for i, o := range all { // optional outputs that nobody reads are left out
		if !slices.Contains(c.use, i) && c.op != "Split" && i > 0 && !c.keep {
			last := m.Graph.Nodes[len(m.Graph.Nodes)-1]
			last.Outputs[slices.Index(last.Outputs, o)] = ""
		}
	}
	return m, in, wrt, outs
}

func (c ruleCase) test(t *testing.T, e *ort.Env, shapes string) {
	if c.but127 && strings.HasPrefix(e.Version(), "1.27.") {
		t.Skipf("ONNX Runtime %s computes something else here than ONNX says", e.Version())
	}
	m, in, wrt, outs := c.model(shapes)
	d := differences{m: m, in: in, wrt: wrt, outs: outs, step: step64, tolerance: tolerance64}
	if c.single {
		d.step, d.tolerance = step32, tolerance32
	}
	d.weigh = func(o string, w *tensor.Tensor) {
		if o != outs[0] || c.rows == nil {
			return
		}
		width := w.Len() / (w.Shape[0] * w.Shape[1])
		for b, n := range c.rows {
			for at := (b*w.Shape[1] + n) * width; at < (b+1)*w.Shape[1]*width; at++ {
				set(w, at, 0)
			}
		}
	}
	err := d.compare(t, e)
	if shapes == "unranked" && c.ranked || shapes != "fixed" && c.fixed {
		var refused *grad.UnsupportedError
		op := c.op
		if c.domain != "" {
			op = c.domain + "." + op
		}
		if !errors.As(err, &refused) || refused.Op != op || refused.Why == "" {
			t.Fatalf("got %v, want the operator to be refused with a reason", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
}
