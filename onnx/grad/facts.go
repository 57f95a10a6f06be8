package grad

import (
	"math"
	"slices"

	"editpipe/onnx"
)

// num is an integer as far as it is known before the model runs: a number, a
// dimension (some number >= 0 that is the same wherever its symbol occurs), or
// nothing.
type num struct {
	n   int64 // the number, if sym is 0
	sym int   // > 0: the dimension of this symbol; < 0: unknown
}

var unknown = num{sym: -1}

func known(n int64) num { return num{n: n} }

func (a num) known() bool { return a.sym == 0 }
func (a num) is(n int64) bool {
	return a.sym == 0 && a.n == n
}

// equal says that two numbers are surely the same.
func (a num) equal(b num) bool { return a.sym >= 0 && a == b }

// shape is a list of dimensions, nil when not even the rank is known.
type shape []num

func (s shape) equal(t shape) bool {
	return s != nil && t != nil && slices.EqualFunc(s, t, num.equal)
}

// at returns dimension i, which counts from the end if negative.
func (s shape) at(i int) num {
	if i < 0 {
		i += len(s)
	}
	if s == nil || i < 0 || i >= len(s) {
		return unknown
	}
	return s[i]
}

// axis makes a possibly negative axis count from the front; false if it needs
// a rank that is not known or lies outside of it.
func (s shape) axis(a int64) (int, bool) {
	if a < 0 && s != nil {
		a += int64(len(s))
	}
	return int(a), a >= 0 && (s == nil || a < int64(len(s)))
}

// fact is what is known of a value without running the model.
type fact struct {
	dtype onnx.DataType // Undefined if not known
	shape shape
	// elems are the elements of an integer or boolean tensor of rank 0 or 1,
	// nil if their number is not known.
	elems []num
	// scalar is the one element of a constant float tensor.
	scalar *float64
}

// facts derives the facts of all values by walking the graph forwards. It
// knows the operators that exporters use for shapes and on the way from the
// embeddings to the logits; of anything else it knows what the file says.
type facts struct {
	opset   int64
	of      map[string]fact
	symbols map[string]int
	last    int // symbol
}

func newFacts(m *onnx.Model) *facts {
	f := &facts{opset: m.Opset(""), of: map[string]fact{}, symbols: map[string]int{}}
	f.graph(m.Graph)
	return f
}

// symbol is a new dimension.
func (f *facts) symbol() num {
	f.last++
	return num{sym: f.last}
}

// dim turns an element of a shape tensor into a dimension.
func (f *facts) dim(n num) num {
	if n.sym < 0 || n.sym == 0 && n.n < 0 {
		return f.symbol()
	}
	return n
}

// ranked is a shape of which only the rank is known.
func (f *facts) ranked(rank int) shape {
	s := make(shape, rank)
	for i := range s {
		s[i] = f.symbol()
	}
	return s
}

func (f *facts) info(v *onnx.ValueInfo) fact {
	t := fact{dtype: v.DType}
	if !v.HasShape {
		return t
	}
	t.shape = shape{}
	for _, d := range v.Shape {
		switch {
		case d.Value >= 0:
			t.shape = append(t.shape, known(d.Value))
		case d.Param != "":
			if f.symbols[d.Param] == 0 {
				f.symbols[d.Param] = f.symbol().sym
			}
			t.shape = append(t.shape, num{sym: f.symbols[d.Param]})
		default:
			t.shape = append(t.shape, f.symbol())
		}
	}
	return t
}

func (f *facts) graph(g *onnx.Graph) {
	for _, v := range g.Inputs {
		f.of[v.Name] = f.info(v)
	}
	for _, t := range g.Initializers {
		if _, overridable := f.of[t.Name]; !overridable {
			f.of[t.Name] = constant(t)
		}
	}
	said := map[string]*onnx.ValueInfo{}
	for _, v := range slices.Concat(g.ValueInfos, g.Outputs) {
		said[v.Name] = v
	}
	for _, n := range g.Nodes {
		f.node(n)
		for _, o := range n.Outputs {
			v := said[o]
			if v == nil || o == "" {
				continue
			}
			t := f.of[o]
			if t.dtype == onnx.Undefined {
				t.dtype = v.DType
			}
			if t.shape == nil {
				t.shape = f.info(v).shape
			}
			f.of[o] = t
		}
	}
}

// constant reads a tensor of the file: its elements only where they can be a
// shape, axes or the like.
func constant(t *onnx.Tensor) fact {
	c := fact{dtype: t.DType, shape: shape{}}
	for _, d := range t.Dims {
		c.shape = append(c.shape, known(d))
	}
	if n, err := t.Len(); err != nil || n > 64 || len(t.Dims) > 1 && n != 1 {
		return c
	}
	v, err := t.Value()
	if err != nil {
		return c
	}
	switch {
	case v.IsFloat() && v.Len() == 1:
		x := float64(v.Float32s()[0])
		c.scalar = &x
	case !v.IsFloat() && len(t.Dims) <= 1:
		c.elems = []num{}
		for _, x := range v.Int64s() {
			c.elems = append(c.elems, known(x))
		}
	}
	return c
}

// node derives the facts of a node's outputs from those of its inputs.
func (f *facts) node(n *onnx.Node) {
	out := f.result(n)
	for i, o := range n.Outputs {
		if o != "" && i < len(out) {
			f.of[o] = out[i]
		}
	}
}

func (f *facts) in(n *onnx.Node, i int) fact {
	if i < len(n.Inputs) {
		return f.of[n.Inputs[i]]
	}
	return fact{}
}

// official says whether a node's name means what ONNX or ONNX Runtime mean by it.
// A function of the model's own, or of another library, may be called anything.
func official(n *onnx.Node) bool {
	return n.Domain == "" || n.Domain == "ai.onnx" || n.Domain == "com.microsoft"
}

// result returns the facts of the outputs, or of the first few of them.
func (f *facts) result(n *onnx.Node) []fact {
	if !official(n) {
		return nil
	}
	x := f.in(n, 0)
	one := func(dt onnx.DataType, s shape) []fact { return []fact{{dtype: dt, shape: s}} }
	switch n.OpType {
	case "Constant", "Shape", "Size", "ConstantOfShape", "Range", "If":
		return f.source(n)
	case "Identity":
		return []fact{x}
	case "CastLike":
		t := fact{dtype: f.in(n, 1).dtype, shape: x.shape, scalar: x.scalar}
		if t.dtype == onnx.Int64 || t.dtype == onnx.Int32 {
			t.elems = x.elems
		}
		return []fact{t}
	case "IsNaN", "IsInf":
		return one(onnx.Bool, x.shape)
	case "Neg", "Sqrt", "Reciprocal", "Exp", "Log", "Tanh", "Sigmoid", "Erf", "Relu", "Gelu", "Softplus", "Abs", "Sign",
		"Sin", "Cos", "Floor", "Ceil", "Round", "Not", "Clip", "Softmax", "LogSoftmax", "CumSum", "Trilu", "Dropout",
		"LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization", "FastGelu", "BiasGelu", "QuickGelu",
		"ScatterND", "ScatterElements", "TensorScatter", "LeakyRelu", "PRelu", "Elu", "HardSwish", "HardSigmoid", "Mish", "Swish", "LpNormalization":
		return one(x.dtype, x.shape)
	case "SkipLayerNormalization", "SkipSimplifiedLayerNormalization":
		same := fact{dtype: x.dtype, shape: x.shape}
		return []fact{same, {dtype: onnx.Float}, {dtype: onnx.Float}, same}
	case "Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum", "Mean", "Mod", "And", "Or", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Where":
		return []fact{f.pointwise(n)}
	case "Cast":
		t := fact{dtype: onnx.DataType(n.Int("to", 0)), shape: x.shape, scalar: x.scalar}
		if t.dtype == onnx.Int64 || t.dtype == onnx.Int32 {
			t.elems = x.elems
		}
		return []fact{t}
	case "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Concat", "Split", "Slice", "Expand", "Tile", "Pad":
		return f.layout(n)
	case "Gather", "GatherND", "GatherElements":
		return []fact{f.gather(n)}
	case "MatMul", "FusedMatMul":
		return one(x.dtype, f.product(n))
	case "Gemm":
		a, b := x.shape, f.in(n, 1).shape
		rows, columns := a.at(0), b.at(1)
		if n.Int("transA", 0) != 0 {
			rows = a.at(1)
		}
		if n.Int("transB", 0) != 0 {
			columns = b.at(0)
		}
		return one(x.dtype, shape{f.dim(rows), f.dim(columns)})
	case "Einsum":
		e, err := parseEinsum(n.String("equation", ""))
		if err != nil {
			return one(x.dtype, nil)
		}
		return one(x.dtype, f.ranked(len(e.out)))
	case "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
		"ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp":
		return one(x.dtype, f.reduced(n, x.shape))
	case "RotaryEmbedding":
		return one(x.dtype, x.shape)
	case "Attention", "MultiHeadAttention", "GroupQueryAttention":
		return f.attended(n)
	case "TopK":
		t := fact{dtype: x.dtype}
		if axis, ok := x.shape.axis(n.Int("axis", -1)); ok && x.shape != nil {
			t.shape = slices.Clone(x.shape)
			t.shape[axis] = f.symbol()
			if k := f.in(n, 1).elems; len(k) == 1 {
				t.shape[axis] = f.dim(k[0])
			}
		}
		return []fact{t, {dtype: onnx.Int64, shape: t.shape}}
	case "Conv":
		if x.shape == nil {
			return one(x.dtype, nil)
		}
		s := f.ranked(len(x.shape))
		if len(s) > 1 {
			s[0], s[1] = x.shape[0], f.dim(f.in(n, 1).shape.at(0))
		}
		return one(x.dtype, s)
	case "ArgMax", "ArgMin", "NonZero":
		return one(onnx.Int64, nil)
	}
	return nil
}

// attended is the first output of an attention; the caches it returns have its
// type.
func (f *facts) attended(n *onnx.Node) []fact {
	q, v := f.in(n, 0), f.in(n, 2).shape
	y := fact{dtype: q.dtype}
	switch {
	case n.OpType == "GroupQueryAttention":
		heads, kv := n.Int("num_heads", 0), n.Int("kv_num_heads", 0)
		if y.shape = slices.Clone(q.shape); len(y.shape) == 3 && len(n.Inputs) > 1 && n.Inputs[1] == "" {
			y.shape[2] = f.symbol()
			if d := q.shape[2]; d.known() && heads > 0 && kv > 0 {
				y.shape[2] = known(d.n / (heads + 2*kv) * heads)
			}
		}
	case n.OpType == "MultiHeadAttention":
		if y.shape = slices.Clone(q.shape); len(y.shape) == 3 {
			y.shape[2] = f.symbol()
			if len(v) == 3 {
				y.shape[2] = v[2]
			}
		}
	case n.Domain == "com.microsoft":
		if y.shape = slices.Clone(q.shape); len(y.shape) == 3 {
			y.shape[2] = f.symbol()
			if d := f.in(n, 1).shape.at(1); d.known() && n.Ints("qkv_hidden_sizes", nil) == nil {
				y.shape[2] = known(d.n / 3)
			}
		}
	default:
		if y.shape = slices.Clone(q.shape); len(y.shape) == 3 {
			y.shape[2] = f.symbol()
			if a, b := n.Int("q_num_heads", 0), n.Int("kv_num_heads", 0); len(v) == 3 && v[2].known() && b > 0 {
				y.shape[2] = known(v[2].n / b * a)
			}
		} else if len(y.shape) == 4 {
			y.shape[3] = f.dim(v.at(3))
		}
	}
	if len(y.shape) != 3 && len(y.shape) != 4 {
		y.shape = nil
	}
	cache := fact{dtype: q.dtype}
	return []fact{y, cache, cache, cache}
}

// source: operators that make values out of nothing or out of shapes.
func (f *facts) source(n *onnx.Node) []fact {
	x := f.in(n, 0)
	switch n.OpType {
	case "Constant":
		for _, a := range n.Attrs {
			switch {
			case a.Name == "value" && a.T != nil:
				return []fact{constant(a.T)}
			case a.Name == "value_int":
				return []fact{{dtype: onnx.Int64, shape: shape{}, elems: []num{known(a.I)}}}
			case a.Name == "value_float":
				v := float64(a.F)
				return []fact{{dtype: onnx.Float, shape: shape{}, scalar: &v}}
			case a.Name == "value_ints":
				t := fact{dtype: onnx.Int64, shape: shape{known(int64(len(a.Ints)))}, elems: []num{}}
				for _, v := range a.Ints {
					t.elems = append(t.elems, known(v))
				}
				return []fact{t}
			}
		}
	case "Shape":
		t := fact{dtype: onnx.Int64, shape: shape{f.symbol()}}
		if x.shape != nil {
			t.elems = []num{}
			for _, i := range places(n.Int("start", 0), n.Int("end", math.MaxInt64), 1, int64(len(x.shape))) {
				t.elems = append(t.elems, x.shape[i])
			}
			t.shape = shape{known(int64(len(t.elems)))}
		}
		return []fact{t}
	case "Size":
		return []fact{{dtype: onnx.Int64, shape: shape{}, elems: []num{total(x.shape)}}}
	case "ConstantOfShape":
		t := fact{dtype: onnx.Float}
		value := known(0)
		if a := n.Attr("value"); a != nil && a.T != nil {
			t.dtype = a.T.DType
			value = unknown
			if v, err := a.T.Value(); err == nil && !v.IsFloat() && v.Len() == 1 {
				value = known(v.Int64s()[0])
			}
		}
		t.shape = f.fromElems(x.elems)
		if len(t.shape) == 1 && t.dtype == onnx.Int64 && t.shape[0].known() && t.shape[0].n <= 64 {
			t.elems = slices.Repeat([]num{value}, int(t.shape[0].n))
		}
		return []fact{t}
	case "Range":
		length := f.symbol()
		from, to, by := x.elems, f.in(n, 1).elems, f.in(n, 2).elems
		if len(from) == 1 && len(to) == 1 && len(by) == 1 && from[0].is(0) && by[0].is(1) {
			length = f.dim(to[0])
		}
		return []fact{{dtype: x.dtype, shape: shape{length}}}
	case "If":
		if len(x.elems) != 1 || !x.elems[0].known() {
			return nil
		}
		name := "then_branch"
		if x.elems[0].n == 0 {
			name = "else_branch"
		}
		a := n.Attr(name)
		if a == nil || a.G == nil {
			return nil
		}
		f.graph(a.G)
		var out []fact
		for _, o := range a.G.Outputs {
			out = append(out, f.of[o.Name])
		}
		return out
	}
	return nil
}

func (f *facts) fromElems(elems []num) shape {
	if elems == nil {
		return nil
	}
	s := make(shape, len(elems))
	for i, e := range elems {
		s[i] = f.dim(e)
	}
	return s
}

// broadcast is the shape that two shapes are broadcast to.
func (f *facts) broadcast(a, b shape) shape {
	if a == nil || b == nil {
		return nil
	}
	if len(a) < len(b) {
		a, b = b, a
	}
	out := slices.Clone(a)
	for i := range b {
		x, y := a[len(a)-len(b)+i], b[i]
		z := &out[len(a)-len(b)+i]
		switch {
		case x.equal(y) || y.is(1):
		case x.is(1) || y.known():
			*z = y
		case !x.known():
			*z = f.symbol()
		}
	}
	return out
}

// pointwise: operators with broadcasting.
func (f *facts) pointwise(n *onnx.Node) fact {
	var t fact
	ins := make([]fact, len(n.Inputs))
	for i := range ins {
		ins[i] = f.in(n, i)
	}
	if len(ins) == 0 {
		return t
	}
	values := ins
	switch n.OpType {
	case "And", "Or", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual":
		t.dtype = onnx.Bool
	case "Pow":
		t.dtype = ins[0].dtype
	case "Where":
		values = ins[1:]
	}
	for _, x := range values {
		if t.dtype == onnx.Undefined {
			t.dtype = x.dtype
		}
	}
	t.shape = ins[0].shape
	for _, x := range ins[1:] {
		t.shape = f.broadcast(t.shape, x.shape)
	}
	if t.dtype == onnx.Int64 || t.dtype == onnx.Int32 || t.dtype == onnx.Bool {
		t.elems = elementwise(n.OpType, ins)
	}
	return t
}

// product is the shape of a matrix product.
func (f *facts) product(n *onnx.Node) shape {
	a, b := f.in(n, 0).shape, f.in(n, 1).shape
	if n.Int("transBatchA", 0) != 0 || n.Int("transBatchB", 0) != 0 || a == nil || b == nil || len(a) == 0 || len(b) == 0 {
		return nil
	}
	if n.Int("transA", 0) != 0 && len(a) > 1 {
		a = swapped(a)
	}
	if n.Int("transB", 0) != 0 && len(b) > 1 {
		b = swapped(b)
	}
	return f.matMul(a, b)
}

func (f *facts) matMul(a, b shape) shape {
	switch {
	case len(a) == 1 && len(b) == 1:
		return shape{}
	case len(a) == 1:
		return slices.Delete(slices.Clone(b), len(b)-2, len(b)-1)
	case len(b) == 1:
		return slices.Clone(a[:len(a)-1])
	}
	batch := f.broadcast(a[:len(a)-2], b[:len(b)-2])
	return append(batch, a.at(-2), b.at(-1))
}

func swapped(s shape) shape {
	t := slices.Clone(s)
	t[len(t)-1], t[len(t)-2] = t[len(t)-2], t[len(t)-1]
	return t
}

// reduced is the shape of a reduction.
func (f *facts) reduced(n *onnx.Node, s shape) shape {
	if s == nil {
		return nil
	}
	keep := n.Int("keepdims", 1) != 0
	axes, ok := f.axes(n)
	if !ok {
		if keep {
			return f.ranked(len(s))
		}
		return nil
	}
	gone := map[int]bool{}
	for _, a := range axes {
		i, ok := s.axis(a)
		if !ok {
			return nil
		}
		gone[i] = true
	}
	out := shape{}
	for i, d := range s {
		switch {
		case len(axes) > 0 && !gone[i] || len(axes) == 0 && n.Int("noop_with_empty_axes", 0) != 0:
			out = append(out, d)
		case keep:
			out = append(out, known(1))
		}
	}
	return out
}

// axes are the axes given by a node's attribute or second input; none means
// the operator's default. false: they are computed.
func (f *facts) axes(n *onnx.Node) (axes []int64, ok bool) {
	if a := n.Ints("axes", nil); a != nil {
		return a, true
	}
	if len(n.Inputs) < 2 || n.Inputs[1] == "" {
		return nil, true
	}
	elems := f.of[n.Inputs[1]].elems
	if elems == nil {
		return nil, false
	}
	for _, e := range elems {
		if !e.known() {
			return nil, false
		}
		axes = append(axes, e.n)
	}
	return axes, true
}
