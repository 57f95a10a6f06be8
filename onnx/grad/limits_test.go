package grad_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"editpipe/onnx"
	"editpipe/onnx/grad"
	"editpipe/ort"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// limitTolerance, relative, is for what a handful of float32 operations compute: each
// rounds by 6e-8, and the polynomials that processors have for tanh and log are off by
// a few times that. A wrong limit is off by its own size.
const limitTolerance = 1e-5

// The gradient of a small graph where a formula alone would give 0/0 or 0 inf.
// build adds the graph, which reads the inputs, and returns the value whose sum
// is differentiated.
func limit(t *testing.T, e *ort.Env, in feeds, build func(b *onnx.Builder) string, wrt ...string) feeds {
	t.Helper()
	m := onnx.New(8, 17)
	b := m.Builder()
	for name, v := range in {
		dims := make([]int64, len(v.Shape))
		for i, d := range v.Shape {
			dims[i] = int64(d)
		}
		b.Input(name, onnx.TypeOf(v.DType), onnx.Fixed(dims...))
	}
	loss := build(b)
	names, err := grad.Gradients(m, loss, wrt...)
	if err != nil {
		t.Fatal(err)
	}
	expose(t, m, names...)
	got := run(t, session(t, e, m), in, names...)
	out := feeds{}
	for i, w := range wrt {
		out[w] = got[names[i]]
	}
	return out
}

func want(t *testing.T, what string, got *tensor.Tensor, values ...float64) {
	t.Helper()
	if g := floats(got); len(g) != len(values) || !(relative(g, values) <= limitTolerance) {
		t.Errorf("%s: got %v, want %v", what, g, values)
	}
}

func f32s(v ...float32) *tensor.Tensor { return tensor.FromFloat32s(v, len(v)) }

// A row of attention that is masked whole is NaN, which exporters replace by 0.
// Its gradients are 0, and the keys that it shares with other rows get theirs.
func TestMaskedSoftmax(t *testing.T) {
	e := orttest.Open(t)
	for _, op := range []string{"Softmax", "LogSoftmax"} {
		inf := float32(math.Inf(-1))
		in := feeds{
			"x":    tensor.FromFloat32s([]float32{1, 2, 3, 4}, 2, 2),
			"keys": tensor.FromFloat32s([]float32{1, -1, 0.5, 2}, 2, 2),
			"mask": tensor.FromFloat32s([]float32{inf, inf, 0, 0}, 2, 2),
			"v":    tensor.FromFloat32s([]float32{1, 3}, 2, 1),
		}
		build := func(b *onnx.Builder) string {
			scores := b.Op("Add", []string{b.Op("MatMul", []string{"x", "keys"}), "mask"})
			w := b.Op(op, []string{scores}, onnx.AttrInt("axis", -1))
			w = b.Op("Where", []string{b.Op("IsNaN", []string{w}), b.Scalar(0), w})
			return b.Op("MatMul", []string{w, "v"})
		}
		got := limit(t, e, in, build, "x", "keys", "v")
		// The same without the masked row.
		in["x"] = tensor.FromFloat32s([]float32{3, 4}, 1, 2)
		in["mask"] = tensor.FromFloat32s([]float32{0, 0}, 1, 2)
		alone := limit(t, e, in, build, "x", "keys", "v")
		want(t, op+" x", got["x"], append([]float64{0, 0}, floats(alone["x"])...)...)
		for _, shared := range []string{"keys", "v"} {
			want(t, op+" "+shared, got[shared], floats(alone[shared])...)
			if slices.Max(floats(alone[shared])) == 0 {
				t.Errorf("%s: the gradient of %s is 0", op, shared)
			}
		}
	}
}

func TestPowAtZero(t *testing.T) {
	in := feeds{"x": f32s(0, 0, 0, 2), "p": f32s(2, 1, 0, 3)}
	got := limit(t, orttest.Open(t), in, func(b *onnx.Builder) string { return b.Op("Pow", []string{"x", "p"}) }, "x", "p")
	want(t, "base", got["x"], 0, 1, 0, 12)
	want(t, "exponent", got["p"], 0, 0, 0, 8*math.Ln2)
}

// With a lower bound above the upper one every element is the upper one.
func TestClipOfCrossedBounds(t *testing.T) {
	in := feeds{"x": f32s(-5, 0, 5, 1.5), "min": tensor.FromFloat32s([]float32{2}), "max": tensor.FromFloat32s([]float32{1})}
	got := limit(t, orttest.Open(t), in, func(b *onnx.Builder) string { return b.Op("Clip", []string{"x", "min", "max"}) }, "x", "min", "max")
	want(t, "x", got["x"], 0, 0, 0, 0)
	want(t, "min", got["min"], 0)
	want(t, "max", got["max"], 4)
}

// CastLike has the type of its second input and the shape of its first.
func TestCastLikeTypes(t *testing.T) {
	in := feeds{"x": tensor.New(tensor.F64, 2), "like": f32s(7)}
	set(in["x"], 0, 0.5)
	set(in["x"], 1, -1)
	e := orttest.Open(t)
	m := onnx.New(8, 17)
	b := m.Builder()
	b.Input("x", onnx.Double, onnx.Fixed(2))
	b.Input("like", onnx.Float, onnx.Fixed(1))
	y := b.Op("CastLike", []string{"x", "like"})
	z := b.Op("Tanh", []string{y})
	names, err := grad.Gradients(m, z, "x")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range m.Graph.ValueInfos {
		if (v.Name == y || v.Name == z) && (v.DType != onnx.Float || len(v.Shape) != 1 || v.Shape[0].Value != 2) {
			t.Errorf("%s is said to be %s %v", v.Name, v.DType, v.Shape)
		}
	}
	if i := slices.IndexFunc(m.Graph.ValueInfos, func(v *onnx.ValueInfo) bool { return v.Name == y }); i < 0 {
		t.Error("nothing is known of the result of CastLike")
	}
	if err := m.Expose(names[0], onnx.Double, onnx.Fixed(2)); err != nil {
		t.Fatal(err)
	}
	square := func(x float64) float64 { return 1 - math.Tanh(x)*math.Tanh(x) }
	want(t, "x", run(t, session(t, e, m), in, names...)[names[0]], square(0.5), square(-1))
}

// A product's gradient is the product of the other elements, zeros or not.
func TestReduceProdOfZeros(t *testing.T) {
	in := feeds{"x": tensor.FromFloat32s([]float32{2, 3, 4, 0, 3, 4, 0, 0, 5}, 3, 3)}
	got := limit(t, orttest.Open(t), in, func(b *onnx.Builder) string {
		return b.Op("ReduceProd", []string{"x"}, onnx.AttrInts("axes", 1))
	}, "x")
	want(t, "x", got["x"], 12, 8, 6, 12, 0, 0, 0, 0, 0)
}

// Lengths have no gradient at 0; 0 is one of their slopes there. What has length 0
// is normalised by 1.
func TestNormsOfZero(t *testing.T) {
	e := orttest.Open(t)
	for op, slope := range map[string]float64{"ReduceL1": 0, "ReduceL2": 0, "LpNormalization": 1} {
		got := limit(t, e, feeds{"x": tensor.New(tensor.F32, 1, 3)}, func(b *onnx.Builder) string { return b.Op(op, []string{"x"}) }, "x")
		want(t, op, got["x"], slope, slope, slope)
	}
}

// A function of the model's own may bear the name of an operator; nothing is
// known of it.
func TestForeignOperators(t *testing.T) {
	for _, op := range []string{"Relu", "Floor"} {
		m := onnx.New(8, 17)
		m.Opsets = append(m.Opsets, onnx.Opset{Domain: "own", Version: 1})
		b := m.Builder()
		b.Input("x", onnx.Float, onnx.Fixed(2))
		y := b.OpN(op, "own", []string{"x"}, 1)[0]
		_, err := grad.Gradients(m, b.Op("Neg", []string{y}), "x")
		var refused *grad.UnsupportedError
		if !errors.As(err, &refused) || refused.Op != "own."+op {
			t.Errorf("%s: %v", op, err)
		}
	}
}

// A power has the type of its base, also where that is not known.
func TestPowOfUnknownType(t *testing.T) {
	e := orttest.Open(t)
	got := limit(t, e, feeds{"x": f32s(3, 2)}, func(b *onnx.Builder) string {
		at := b.Const(tensor.FromInt64s([]int64{0}))
		list := b.Op("SequenceConstruct", []string{"x"}) // of which nothing is known
		b.Op("SequenceAt", []string{list, at})
		b.Graph().Nodes[len(b.Graph().Nodes)-1].Outputs[0] = "hidden"
		return b.Op("Pow", []string{"hidden", b.Int64s(2, 3)})
	}, "hidden")
	want(t, "x", got["hidden"], 6, 12)
}
