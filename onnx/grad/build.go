package grad

import (
	"fmt"
	"math"

	"editpipe/onnx"
	"editpipe/tensor"
)

// graph adds nodes to a model, knowing the facts of the values that were there
// before.
type graph struct {
	b      *onnx.Builder
	facts  *facts
	opset  int64
	before int               // nodes that were there before
	made   map[string]string // constants and shapes that exist already

	nodes, constants int // of which the facts are known
}

func newGraph(m *onnx.Model) graph {
	return graph{
		b:      m.Builder(),
		facts:  newFacts(m),
		opset:  m.Opset(""),
		before: len(m.Graph.Nodes),
		made:   map[string]string{},

		nodes:     len(m.Graph.Nodes),
		constants: len(m.Graph.Initializers),
	}
}

// fact is what is known of a value, which may be one that was added just now.
func (g *graph) fact(v string) fact {
	t, ok := g.facts.of[v]
	if !ok {
		g.learn()
		t = g.facts.of[v]
	}
	return t
}

// learn derives the facts of what has been added since the last time.
func (g *graph) learn() {
	all := g.b.Graph()
	for ; g.constants < len(all.Initializers); g.constants++ {
		t := all.Initializers[g.constants]
		g.facts.of[t.Name] = constant(t)
	}
	for ; g.nodes < len(all.Nodes); g.nodes++ {
		g.facts.node(all.Nodes[g.nodes])
	}
}

// op adds a node without attributes.
func (g *graph) op(opType string, inputs ...string) string { return g.b.Op(opType, inputs) }

func (g *graph) once(key string, make func() string) string {
	if g.made[key] == "" {
		g.made[key] = make()
	}
	return g.made[key]
}

// ints is a one-dimensional constant.
func (g *graph) ints(v ...int64) string {
	return g.once(fmt.Sprint("ints", v), func() string { return g.b.Int64s(v...) })
}

// number is a constant of rank 0.
func (g *graph) number(v float64, dt onnx.DataType) string {
	return g.once(fmt.Sprint("number", v, dt), func() string {
		t := tensor.FromFloat32s([]float32{float32(v)})
		switch dt {
		case onnx.Double: // not by way of float32, which would round
			t = tensor.New(tensor.F64)
			bits := math.Float64bits(v)
			for i := range t.Data {
				t.Data[i] = byte(bits >> (8 * i))
			}
		case onnx.Float16, onnx.BFloat16:
			to, err := dt.Tensor()
			if err != nil {
				panic(err) // both are types of package tensor
			}
			if t, err = t.Convert(to); err != nil {
				panic(err) // floats always convert
			}
		}
		return g.b.Const(t)
	})
}

// integer is an int64 constant of rank 0.
func (g *graph) integer(v int64) string {
	return g.once(fmt.Sprint("integer", v), func() string { return g.b.Const(tensor.FromInt64s([]int64{v})) })
}

// constant is a number of the type of a value, which need not be known.
func (g *graph) constant(v float64, like string) string {
	if dt := g.fact(like).dtype; dt != onnx.Undefined {
		return g.number(v, dt)
	}
	return g.once(fmt.Sprint("constant", v, like), func() string { return g.castLike(g.number(v, onnx.Float), like) })
}

func (g *graph) cast(x string, dt onnx.DataType) string {
	return g.b.Op("Cast", []string{x}, onnx.AttrInt("to", int64(dt)))
}

// castLike gives x the type of a value.
func (g *graph) castLike(x, like string) string {
	if dt := g.fact(like).dtype; dt != onnx.Undefined {
		return g.cast(x, dt)
	}
	return g.op("CastLike", x, like)
}

// shapeOf is the shape of a value of the model, as a constant if possible.
func (g *graph) shapeOf(v string) string {
	s := g.fact(v).shape
	if d := total(s); d.known() {
		dims := make([]int64, len(s))
		for i := range s {
			dims[i] = s[i].n
		}
		return g.ints(dims...)
	}
	return g.once("shape "+v, func() string { return g.op("Shape", v) })
}

// dimOf is dimension axis of a value as a tensor of shape [1]; a negative axis
// counts from the end.
func (g *graph) dimOf(v string, axis int) string {
	if d := g.fact(v).shape.at(axis); d.known() {
		return g.ints(d.n)
	}
	return g.part(g.shapeOf(v), int64(axis))
}

// part is element i of a one-dimensional tensor, of shape [1].
func (g *graph) part(list string, i int64) string {
	end := i + 1
	if end == 0 {
		end = math.MaxInt64
	}
	return g.op("Slice", list, g.ints(i), g.ints(end), g.ints(0))
}

func (g *graph) concat(axis int64, parts ...string) string {
	if len(parts) == 1 {
		return parts[0]
	}
	return g.b.Op("Concat", parts, onnx.AttrInt("axis", axis))
}

func (g *graph) transpose(x string, perm ...int64) string {
	return g.b.Op("Transpose", []string{x}, onnx.AttrInts("perm", perm...))
}

// reshape gives x the shape in a tensor, in which 0 means 0 where the opset can
// say so.
func (g *graph) reshape(x, to string) string {
	if g.opset >= 14 {
		return g.b.Op("Reshape", []string{x, to}, onnx.AttrInt("allowzero", 1))
	}
	return g.op("Reshape", x, to)
}

// like gives x, which has as many elements as v, the shape of v.
func (g *graph) like(x, v string) string {
	s := g.fact(v).shape
	if s == nil {
		return g.reshape(x, g.shapeOf(v))
	}
	dims := make([]int64, len(s))
	open := 0
	for i, d := range s {
		dims[i] = d.n
		if !d.known() {
			dims[i] = -1
			open++
		}
		if d.is(0) {
			open = 2 // beside a 0 a -1 says nothing
		}
	}
	if open > 1 {
		return g.reshape(x, g.shapeOf(v))
	}
	return g.op("Reshape", x, g.ints(dims...))
}

// expand broadcasts x to the shape of v.
func (g *graph) expand(x, v string) string { return g.op("Expand", x, g.shapeOf(v)) }

// filled has the shape and type of v and one number everywhere.
func (g *graph) filled(x float64, v string) string {
	if s := g.fact(v).shape; s != nil && len(s) == 0 {
		return g.constant(x, v)
	}
	return g.expand(g.constant(x, v), v)
}

// reduce sums x, whose shape is xs as far as known, over the axes along which v,
// of shape vs, was broadcast to it. The result has the shape of v.
func (g *graph) reduce(x string, xs shape, v string, vs shape) string {
	if xs.equal(vs) {
		return x
	}
	if axes, ok := broadcastAxes(xs, vs); ok {
		lead := int64(len(xs) - len(vs))
		if int64(len(axes)) == lead {
			return g.sum(x, axes, false)
		}
		x = g.sum(x, axes, true)
		if lead > 0 {
			x = g.op("Squeeze", x, g.ints(axes[:lead]...))
		}
		return x
	}
	// Compare the shapes at run time.
	big, small := g.op("Shape", x), g.once("shape "+v, func() string { return g.op("Shape", v) })
	padded := small
	switch {
	case xs == nil || vs == nil:
		lead := g.op("Sub", g.op("Shape", big), g.op("Shape", small))
		one := onnx.NewTensor("", tensor.FromInt64s([]int64{1}, 1))
		ones := g.b.Op("ConstantOfShape", []string{lead}, onnx.AttrTensor("value", one))
		padded = g.concat(0, ones, small)
	case len(xs) > len(vs):
		ones := make([]int64, len(xs)-len(vs))
		for i := range ones {
			ones[i] = 1
		}
		padded = g.concat(0, g.ints(ones...), small)
	}
	axes := g.op("Squeeze", g.op("NonZero", g.op("Not", g.op("Equal", padded, big))), g.ints(0))
	x = g.b.Op("ReduceSum", []string{x, axes}, onnx.AttrInt("noop_with_empty_axes", 1))
	return g.reshape(x, small)
}

// broadcastAxes are the axes of xs that do not exist in vs or have length 1
// there; false if the dimensions do not say.
func broadcastAxes(xs, vs shape) (axes []int64, ok bool) {
	if xs == nil || vs == nil || len(xs) < len(vs) {
		return nil, false
	}
	lead := len(xs) - len(vs)
	for i, d := range xs {
		switch {
		case i < lead || vs[i-lead].is(1) && !d.is(1):
			axes = append(axes, int64(i))
		case !d.equal(vs[i-lead]):
			return nil, false
		}
	}
	return axes, true
}

// sum adds up along axes; no axes means all.
func (g *graph) sum(x string, axes []int64, keep bool) string {
	inputs := []string{x}
	if len(axes) > 0 {
		inputs = append(inputs, g.ints(axes...))
	}
	return g.b.Op("ReduceSum", inputs, onnx.AttrInt("keepdims", bit(keep)))
}

// mean averages along axes, which stay with length 1.
func (g *graph) mean(x string, axes ...int64) string {
	if g.opset >= 18 {
		return g.op("ReduceMean", x, g.ints(axes...))
	}
	return g.b.Op("ReduceMean", []string{x}, onnx.AttrInts("axes", axes...))
}

// hits has a row for each element of index, of shape [N], that is true in the
// column it names; depth, of shape [1], is the number of columns.
func (g *graph) hits(index, depth string) string {
	columns := g.op("Range", g.integer(0), g.op("Squeeze", depth, g.ints(0)), g.integer(1))
	return g.op("Equal", g.op("Unsqueeze", index, g.ints(1)), columns)
}

// scatter adds the rows x, of shape [..., N, Q], to [..., depth, Q] zeros, at
// the row numbers in index, of shape [N].
//
// It is a product with a one-hot matrix. ONNX Runtime's ScatterND adds with
// several threads at once and gives changing results where indices repeat, and
// before opset 16 scattering cannot add at all. On the way to the loss a few
// positions are picked, for which the product is small.
func (g *graph) scatter(x, index, depth string, dt onnx.DataType) string {
	return g.op("MatMul", g.transpose(g.cast(g.hits(index, depth), dt), 1, 0), x)
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
