package grad_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"editpipe/onnx"
	"editpipe/ort"
	"editpipe/tensor"
)

func session(t testing.TB, e *ort.Env, m *onnx.Model) *ort.Session {
	t.Helper()
	return sessionWith(t, e, m, 1)
}

func sessionWith(t testing.TB, e *ort.Env, m *onnx.Model, threads int) *ort.Session {
	t.Helper()
	s, err := open(t, e, m, threads)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t testing.TB, e *ort.Env, m *onnx.Model, threads int) (*ort.Session, error) {
	t.Helper()
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	data, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.NewSession(t.Context(), data, ort.Options{Threads: threads, ExternalDir: m.Dir})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, nil
}

// feeds are tensors by name.
type feeds map[string]*tensor.Tensor

func run(t testing.TB, s *ort.Session, in feeds, names ...string) feeds {
	t.Helper()
	out := feeds{}
	for _, n := range names {
		out[n] = nil
	}
	if err := s.Run(t.Context(), in, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// floats are the values of a float32 or float64 tensor.
func floats(x *tensor.Tensor) []float64 {
	v := make([]float64, x.Len())
	if x.DType != tensor.F64 {
		for i, f := range x.Float32s() {
			v[i] = float64(f)
		}
		return v
	}
	for i := range v {
		bits := uint64(0)
		for j := range 8 {
			bits |= uint64(x.Data[8*i+j]) << (8 * j)
		}
		v[i] = math.Float64frombits(bits)
	}
	return v
}

// set writes one element of a float32 or float64 tensor.
func set(x *tensor.Tensor, i int, v float64) {
	if x.DType != tensor.F64 {
		x.Float32s()[i] = float32(v)
		return
	}
	bits := math.Float64bits(v)
	for j := range 8 {
		x.Data[8*i+j] = byte(bits >> (8 * j))
	}
}

// random fills a tensor from the distribution low..high.
func random(r *rand.Rand, dt tensor.DType, low, high float64, shape ...int) *tensor.Tensor {
	x := tensor.New(dt, shape...)
	for i := range x.Len() {
		set(x, i, low+(high-low)*r.Float64())
	}
	return x
}

// relative is the largest deviation, in units of the largest value wanted.
func relative(got, want []float64) float64 {
	worst, size := 0.0, 1e-30
	for i := range want {
		d := math.Abs(got[i] - want[i])
		if math.IsNaN(got[i]) {
			d = math.Inf(1)
		}
		worst = max(worst, d)
		size = max(size, math.Abs(want[i]))
	}
	return worst / size
}

func load(t testing.TB, path string) *onnx.Model {
	t.Helper()
	m, err := onnx.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// findWeight finds the initializer that holds w or its transpose: exporters
// rename weights.
func findWeight(t testing.TB, m *onnx.Model, w *tensor.Tensor) (name string, transposed bool) {
	t.Helper()
	forms := []*tensor.Tensor{w}
	if len(w.Shape) == 2 {
		wt, err := w.Transpose2D()
		if err != nil {
			t.Fatal(err)
		}
		forms = append(forms, wt)
	}
	for _, init := range m.Graph.Initializers {
		v, err := init.Value()
		if err != nil {
			t.Fatal(err)
		}
		for i, form := range forms {
			if !v.IsFloat() || !slices.Equal(v.Shape, form.Shape) {
				continue
			}
			rounded, err := form.Convert(v.DType)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(v.Data, rounded.Data) {
				return init.Name, i == 1
			}
		}
	}
	return "", false
}

// expose makes float32 values graph outputs.
func expose(t testing.TB, m *onnx.Model, names ...string) {
	t.Helper()
	for _, n := range names {
		if err := m.Expose(n, onnx.Float, nil); err != nil {
			t.Fatal(err)
		}
		m.Graph.Outputs[len(m.Graph.Outputs)-1].HasShape = false
	}
}
