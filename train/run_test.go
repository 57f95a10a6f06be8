package train_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"editpipe/onnx"
	"editpipe/onnx/grad"
	"editpipe/ort"
	"editpipe/tensor"
)

func session(t testing.TB, e *ort.Env, m *onnx.Model) *ort.Session {
	t.Helper()
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	data, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.NewSession(t.Context(), data, ort.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

const opset = 17

// quadratic has loss[r] = 1/2 sum_j a[r,j] (x[r,j] - c[r,j])^2, which is least
// at x = c, and the gradient of x. All operators work on rows one by one.
func quadratic(t testing.TB) *onnx.Model {
	t.Helper()
	m := onnx.New(8, opset)
	b := m.Builder()
	dims := []onnx.Dim{onnx.Symbolic("rows"), onnx.Symbolic("width")}
	for _, name := range []string{"x", "a", "c"} {
		b.Input(name, onnx.Float, dims)
	}
	d := b.Op("Sub", []string{"x", "c"})
	terms := b.Op("Mul", []string{b.Op("Mul", []string{d, d}), b.Op("Mul", []string{"a", b.Scalar(0.5)})})
	loss := b.Op("ReduceSum", []string{terms, b.Int64s(1)}, onnx.AttrInt("keepdims", 0))
	finish(t, m, loss, "x", dims[:1], dims)
	return m
}

// finish names the loss and the gradient of a variable.
func finish(t testing.TB, m *onnx.Model, loss, variable string, lossDims, dims []onnx.Dim) {
	t.Helper()
	g, err := grad.Gradients(m, loss, variable)
	if err != nil {
		t.Fatal(err)
	}
	b := m.Builder()
	b.Output(loss, "loss", onnx.Float, lossDims)
	b.Output(g[0], "gradient", onnx.Float, dims)
}

// softmax is softmax regression: n problems with weights W [n, width, classes],
// examples X [n, s, width], labels Y [n, s, classes] as distributions and
// loss[i] = -mean_s sum Y log softmax(X W). If whole is set, the axis of
// problems is missing and the loss is a scalar.
func softmax(t testing.TB, width, classes int64, whole bool) *onnx.Model {
	t.Helper()
	m := onnx.New(8, opset)
	b := m.Builder()
	axes := func(d ...onnx.Dim) []onnx.Dim {
		if whole {
			return d
		}
		return append([]onnx.Dim{onnx.Symbolic("problems")}, d...)
	}
	one, many, in, out := onnx.Symbolic("problems"), onnx.Symbolic("examples"), onnx.Dim{Value: width}, onnx.Dim{Value: classes}
	b.Input("W", onnx.Float, axes(in, out))
	b.Input("X", onnx.Float, axes(many, in))
	b.Input("Y", onnx.Float, axes(many, out))
	s := b.Op("LogSoftmax", []string{b.Op("MatMul", []string{"X", "W"})}, onnx.AttrInt("axis", -1))
	nll := b.Op("ReduceSum", []string{b.Op("Mul", []string{"Y", s}), b.Int64s(-1)}, onnx.AttrInt("keepdims", 0))
	mean := b.Op("ReduceMean", []string{nll}, onnx.AttrInts("axes", -1), onnx.AttrInt("keepdims", 0))
	lossDims := []onnx.Dim{one}
	if whole {
		lossDims = nil
	}
	finish(t, m, b.Op("Neg", []string{mean}), "W", lossDims, axes(in, out))
	return m
}

// vector is a float32 tensor of one axis.
func vector(v ...float32) *tensor.Tensor { return tensor.FromFloat32s(v, len(v)) }

// random is a tensor of values from low to high.
func random(r *rand.Rand, low, high float64, shape ...int) *tensor.Tensor {
	x := tensor.New(tensor.F32, shape...)
	for i := range x.Float32s() {
		x.Float32s()[i] = float32(low + (high-low)*r.Float64())
	}
	return x
}

// stacked lays the listed ones of some tensors beneath each other.
func stacked(list []*tensor.Tensor, which []int) *tensor.Tensor {
	all := tensor.New(tensor.F32, append([]int{len(which)}, list[0].Shape...)...)
	for i, p := range which {
		copy(all.Data[i*len(list[p].Data):], list[p].Data)
	}
	return all
}

// apart is the largest deviation of two lists.
func apart(got []float32, want []float64) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	worst := 0.0
	for i := range want {
		d := math.Abs(float64(got[i]) - want[i])
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		worst = max(worst, d)
	}
	return worst
}

func double(v []float32) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}
