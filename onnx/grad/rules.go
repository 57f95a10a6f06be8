package grad

import (
	"fmt"

	"editpipe/onnx"
)

// rule adds the nodes that turn the cotangents of a node's outputs into those
// of its inputs, as far as they are wanted.
type rule func(s *step)

// microsoft is the domain of ONNX Runtime's own operators.
const microsoft = "com.microsoft."

// table maps operators to their rules.
func table() map[string]rule {
	return map[string]rule{
		"Add": add, "Sub": sub, "Mul": mul, "Div": div, "Pow": pow, "Sum": sumAll, "Mean": meanAll,
		"Min": extremum, "Max": extremum, "Where": where, "Clip": clip,

		"Neg": neg, "Sqrt": sqrt, "Reciprocal": reciprocal, "Exp": exp, "Log": log, "Abs": abs, "Sin": sin, "Cos": cos,
		"Identity": identity, "Dropout": identity, "Cast": cast, "CastLike": cast,

		"Tanh": tanh, "Sigmoid": sigmoid, "Erf": erf, "Relu": relu, "Softplus": softplus, "Gelu": gelu, "Swish": quickGelu,
		"LeakyRelu": leakyRelu, "PRelu": composed(pRelu), "Elu": elu, "HardSwish": hardSwish, "HardSigmoid": hardSigmoid, "Mish": composed(mish),
		microsoft + "Gelu": gelu, microsoft + "FastGelu": fastGelu, microsoft + "BiasGelu": biasGelu, microsoft + "QuickGelu": quickGelu,

		"MatMul": matMul, microsoft + "FusedMatMul": matMul, "Gemm": gemm, "Einsum": einsum,

		"Reshape": relayout, "Flatten": relayout, "Squeeze": relayout, "Unsqueeze": relayout, "Transpose": transpose,
		"Concat": concat, "Split": split, "Slice": slice, "Expand": expand, "Tile": tile, "Pad": pad, "Trilu": trilu,

		"Gather": gather, "GatherND": gatherND, "GatherElements": gatherElements,
		"ScatterND": scatterND, "ScatterElements": scatterElements, "TensorScatter": composed(tensorScatter), "TopK": topK,

		"ReduceSum": reduceSum, "ReduceMean": reduceMean, "ReduceMax": reduceExtremum, "ReduceMin": reduceExtremum,
		"ReduceL1": reduceL1, "ReduceL2": reduceL2, "ReduceSumSquare": reduceSumSquare, "ReduceProd": reduceProd,
		"ReduceLogSum": reduceLogSum, "ReduceLogSumExp": reduceLogSumExp,
		"Softmax": softmax, "LogSoftmax": logSoftmax, "CumSum": cumSum,

		"Conv": composed(conv),

		"LpNormalization": composed(lpNorm), "LayerNormalization": layerNorm, "SimplifiedLayerNormalization": rmsNorm, "RMSNormalization": rmsNorm,
		microsoft + "SkipLayerNormalization": skipNorm, microsoft + "SkipSimplifiedLayerNormalization": skipNorm,

		"RotaryEmbedding": rotary, microsoft + "RotaryEmbedding": rotary,
		"Attention": composed(standardAttention), microsoft + "MultiHeadAttention": composed(multiHead),
		microsoft + "GroupQueryAttention": composed(groupQuery), microsoft + "Attention": composed(projected),
	}
}

// step is the application of a rule to a node.
type step struct {
	*walk
	n   *onnx.Node
	dys []string
	why string // why the node cannot be differentiated after all
}

// in is input i, "" if it is left out.
func (s *step) in(i int) string {
	if i < len(s.n.Inputs) {
		return s.n.Inputs[i]
	}
	return ""
}

// out is output 0.
func (s *step) out() string { return s.n.Outputs[0] }

// dy is the cotangent of output 0, zeros if none reached it.
func (s *step) dy() string { return s.dyOf(0) }

func (s *step) dyOf(i int) string {
	if s.dys[i] == "" {
		s.dys[i] = s.filled(0, s.n.Outputs[i])
	}
	return s.dys[i]
}

// wants says whether the cotangent of input i leads to a wanted value.
func (s *step) wants(i int) bool { return s.in(i) != "" && s.marked[s.in(i)] }

// give adds to the cotangent of input i.
func (s *step) give(i int, cotangent string) {
	if s.wants(i) {
		s.parts[s.in(i)] = append(s.parts[s.in(i)], cotangent)
	}
}

// giveReduced is give for a cotangent with the shape of output 0, along which
// input i was broadcast.
func (s *step) giveReduced(i int, cotangent string) {
	if s.wants(i) {
		v := s.in(i)
		s.give(i, s.reduce(cotangent, s.shape(s.out()), v, s.shape(v)))
	}
}

func (s *step) fail(format string, args ...any) {
	if s.why == "" {
		s.why = fmt.Sprintf(format, args...)
	}
}

func (s *step) shape(v string) shape { return s.fact(v).shape }

// dtype is the element type of a value of the model.
func (s *step) dtype(v string) onnx.DataType {
	dt := s.fact(v).dtype
	if dt == onnx.Undefined {
		s.fail("the element type of %q is not known", v)
	}
	return dt
}

// scalar is a constant of the type of input 0.
func (s *step) scalar(v float64) string { return s.constant(v, s.in(0)) }

// constant is a number of the type of a value.
func (s *step) constant(v float64, like string) string {
	s.typed(like)
	return s.graph.constant(v, like)
}

// castLike gives x the type of a value.
func (s *step) castLike(x, like string) string {
	s.typed(like)
	return s.graph.castLike(x, like)
}

// typed refuses values of unknown type where the model has no CastLike yet.
func (s *step) typed(v string) {
	if s.opset < castLikeOpset {
		s.dtype(v)
	}
}

// times scales by a number.
func (s *step) times(x string, v float64) string {
	if v == 1 {
		return x
	}
	return s.op("Mul", x, s.scalar(v))
}

func (s *step) mul(a, b string) string { return s.op("Mul", a, b) }
func (s *step) add(a, b string) string { return s.op("Add", a, b) }
func (s *step) sub(a, b string) string { return s.op("Sub", a, b) }
