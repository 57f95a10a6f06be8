package train_test

import (
	"context"
	"errors"
	"math"
	"testing"

	"editpipe/onnx"
	"editpipe/onnx/grad"
	"editpipe/ort"
	"editpipe/ort/orttest"
	"editpipe/tensor"
	"editpipe/train"
)

// inGraph bounds what float32 arithmetic in the graph drifts from the host's
// float64 arithmetic in 20 steps on numbers of size 1: a step makes about ten
// roundings, each of 2^-24 at most, and which way they go is the processor's.
const inGraph = 20 * 10 * 0x1p-24

// updated is softmax regression with the update of W in the graph.
func updated(t testing.TB, e *ort.Env, width, classes int64, a train.Adam, bound float64) (*train.Update, *ort.Session) {
	t.Helper()
	m := softmax(t, width, classes, true)
	u, err := train.AddAdam(m, a, bound, map[string]string{"W": "gradient"})
	if err != nil {
		t.Fatal(err)
	}
	return u, session(t, e, m)
}

func closeDescent(t testing.TB, d *train.Descent) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func begin(t testing.TB, u *train.Update, s *ort.Session, from train.State) *train.Descent {
	t.Helper()
	d, err := u.Begin(s, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeDescent(t, d) })
	return d
}

func TestInGraphAdam(t *testing.T) {
	e := orttest.Open(t)
	const steps = 20
	q := regressions(1, 4, 5, 6)
	in := map[string]*tensor.Tensor{"X": q.x[0], "Y": q.y[0]}
	plain := train.NewAdam(0.02)
	decay := train.Adam{Rate: 0.02, Beta1: 0.8, Beta2: 0.99, Epsilon: 1e-3, Decay: 0.1}
	decoupled := decay
	decoupled.Decoupled = true
	host := q.objective(session(t, e, softmax(t, 5, 6, true)))
	host.Whole, host.Batch = true, q.single
	for name, c := range map[string]struct {
		a     train.Adam
		bound float64
	}{"adam": {plain, 0}, "decay": {decay, 0}, "adamw": {decoupled, 0}, "box": {plain, 0.07}} {
		t.Run(name, func(t *testing.T) {
			v := train.Variable{Start: q.start[0]}
			if c.bound > 0 {
				v.Project = train.Box(q.start[0].Float32s(), c.bound)
			}
			want := minimise(t, host, []train.Problem{{"W": v}}, train.Config{Optimiser: c.a, Steps: steps, UpdateLast: true})[0]

			u, s := updated(t, e, 5, 6, c.a, c.bound)
			d := begin(t, u, s, train.State{Weights: train.Values{"W": q.start[0]}})
			for i := range steps {
				out := map[string]*tensor.Tensor{"loss": nil}
				if err := d.Step(t.Context(), in, out, nil); err != nil {
					t.Fatal(err)
				}
				if got := out["loss"].Float64s()[0]; !(math.Abs(got-want.Losses[i]) <= inGraph) {
					t.Errorf("loss %d is %v, on the host %v", i, got, want.Losses[i])
				}
				if i == steps/2 { // goes on elsewhere as if nothing had happened
					state, err := d.State(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					closeDescent(t, d)
					d = begin(t, u, s, state)
				}
			}
			w, err := d.Weights(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got, ref := w["W"].Float32s(), want.Values["W"]
			if off := apart(got, ref.Float64s()); off > inGraph || d.Steps() != steps {
				t.Errorf("after %d updates %.2g off, bound %g", d.Steps(), off, inGraph)
			} else {
				t.Logf("off by %.2g", off)
			}
			moved := apart(got, q.start[0].Float64s())
			if c.bound > 0 && (moved > c.bound+rounding || moved < c.bound-rounding) {
				t.Errorf("moved by up to %v, want the bound %v", moved, c.bound)
			}
		})
	}
}

// Two weights, one of them a promoted initializer, in float32; the other state
// names stay apart.
func TestInGraphTwoWeights(t *testing.T) {
	e := orttest.Open(t)
	m := onnx.New(8, opset)
	b := m.Builder()
	b.Input("p", onnx.Float, onnx.Fixed(2))
	b.Initializer("q", vector(5, 5, 5))
	if err := m.Promote("q"); err != nil {
		t.Fatal(err)
	}
	loss := b.Op("Add", []string{
		b.Op("ReduceSum", []string{b.Op("Mul", []string{"p", "p"})}, onnx.AttrInt("keepdims", 0)),
		b.Op("ReduceSum", []string{b.Op("Mul", []string{"q", "q"})}, onnx.AttrInt("keepdims", 0)),
	})
	g, err := grad.Gradients(m, loss, "p", "q")
	if err != nil {
		t.Fatal(err)
	}
	a := train.NewAdam(0.1)
	u, err := train.AddAdam(m, a, 0, map[string]string{"p": g[0], "q": g[1]})
	if err != nil {
		t.Fatal(err)
	}
	b = m.Builder()
	b.Output(loss, "loss", onnx.Float, nil)
	s := session(t, e, m)
	d := begin(t, u, s, train.State{Weights: train.Values{"p": vector(1, -1), "q": vector(2, 0, 3)}})
	want := map[string][]float32{"p": {1, -1}, "q": {2, 0, 3}}
	moments := map[string][][]float32{"p": {make([]float32, 2), make([]float32, 2)}, "q": {make([]float32, 3), make([]float32, 3)}}
	for step := 1; step <= 3; step++ {
		if err := d.Step(t.Context(), nil, nil, nil); err != nil {
			t.Fatal(err)
		}
		for name, x := range want {
			gradient := make([]float32, len(x))
			for i := range x {
				gradient[i] = 2 * x[i]
			}
			a.Update(step, x, gradient, moments[name])
		}
	}
	w, err := d.Weights(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range want {
		if off := apart(w[name].Float32s(), double(x)); off > inGraph {
			t.Errorf("%q is %v, want %v", name, w[name].Float32s(), x)
		}
	}
}

// What is fetched belongs to the weights before the update, which takes place
// only if accepted.
func TestDescentAccept(t *testing.T) {
	e := orttest.Open(t)
	q := regressions(1, 4, 5, 6)
	in := map[string]*tensor.Tensor{"X": q.x[0], "Y": q.y[0]}
	u, s := updated(t, e, 5, 6, train.NewAdam(0.1), 0.3)
	d := begin(t, u, s, train.State{Weights: train.Values{"W": q.start[0]}})
	loss := func(accept bool) float64 {
		t.Helper()
		out := map[string]*tensor.Tensor{"loss": nil}
		if err := d.Step(t.Context(), in, out, func() bool { return accept && out["loss"] != nil }); err != nil {
			t.Fatal(err)
		}
		return out["loss"].Float64s()[0]
	}
	start, _ := closed(q.x[0], q.y[0], q.start[0])
	first := loss(false)
	if math.Abs(first-start) > inGraph || loss(true) != first || d.Steps() != 1 {
		t.Errorf("loss %v, want %v, and once more; %d updates", first, start, d.Steps())
	}
	second := loss(false)
	if second >= first || loss(false) != second || d.Steps() != 1 {
		t.Errorf("losses %v and then %v", first, second)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Step(ctx, in, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	wantError(t, d.Step(t.Context(), nil, nil, nil), "update 2", "not fed")
	wantError(t, d.Step(t.Context(), map[string]*tensor.Tensor{"W": q.start[0]}, nil, nil), `weight "W" is fed`)
	if got := loss(true); got != second || d.Steps() != 2 {
		t.Errorf("failed steps changed the loss to %v", got)
	}
	closeDescent(t, d)
	closeDescent(t, d)
	wantError(t, d.Step(t.Context(), in, nil, nil), "closed")
	if _, err := d.Weights(t.Context()); err == nil {
		t.Error("weights of a closed descent")
	}
}

func TestAddAdamRefuses(t *testing.T) {
	m := softmax(t, 2, 2, true)
	size := func() [4]int {
		g := m.Graph
		return [4]int{len(g.Nodes), len(g.Inputs), len(g.Outputs), len(g.Initializers)}
	}
	before := size()
	add := func(a train.Adam, bound float64, weights map[string]string) error {
		_, err := train.AddAdam(m, a, bound, weights)
		return err
	}
	adam := train.NewAdam(1)
	ok := map[string]string{"W": "gradient"}
	wantError(t, add(train.Adam{}, -1, ok), "learning rate is 0", "bound is -1")
	wantError(t, add(adam, math.NaN(), ok), "bound is NaN")
	wantError(t, add(adam, 0, nil), "no weights")
	wantError(t, add(adam, 0, map[string]string{"V": "gradient"}), `no input "V"`, "promote")
	if err := add(adam, 0, map[string]string{"W": "no"}); !errors.Is(err, onnx.ErrUndefined) {
		t.Errorf("got %v", err)
	}
	if after := size(); after != before {
		t.Errorf("the model changed from %v to %v", before, after)
	}
	m.Builder().Input("H", onnx.Float16, nil)
	wantError(t, add(adam, 0, map[string]string{"H": "gradient"}), `"H" is float16`)

	u, err := train.AddAdam(m, adam, 0, ok)
	if err != nil {
		t.Fatal(err)
	}
	w := train.Values{"W": tensor.New(tensor.F32, 2, 2)}
	for name, from := range map[string]train.State{
		"no float32 value":    {},
		"go together":         {Steps: 1, Weights: w},
		"lacks a part of":     {Steps: 1, Weights: w, Means: w, Squares: train.Values{}},
		"no float32 value of": {Weights: train.Values{"W": tensor.New(tensor.F64, 2, 2)}},
	} {
		_, err := u.Begin(nil, from)
		wantError(t, err, name)
	}
}

// BenchmarkAdam makes updates of a weight of 1024 x 1024, the gradient of which
// is nearly free, in the graph with the state held and on the host.
func BenchmarkAdam(b *testing.B) {
	const width, classes = 1024, 1024
	e := orttest.Open(b)
	q := regressions(1, 1, width, classes)
	in := map[string]*tensor.Tensor{"X": q.x[0], "Y": q.y[0]}
	a := train.NewAdam(1e-3)
	b.Run("graph", func(b *testing.B) {
		u, s := updated(b, e, width, classes, a, 0)
		d := begin(b, u, s, train.State{Weights: train.Values{"W": q.start[0]}})
		b.SetBytes(4 * width * classes)
		for b.Loop() {
			if err := d.Step(b.Context(), in, map[string]*tensor.Tensor{"loss": nil}, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("host", func(b *testing.B) {
		o := q.objective(session(b, e, softmax(b, width, classes, true)))
		o.Whole, o.Batch = true, q.single
		w := q.start[0].Clone()
		moments := [][]float32{make([]float32, w.Len()), make([]float32, w.Len())}
		b.SetBytes(4 * width * classes)
		step := 0
		for b.Loop() {
			_, g, err := o.Evaluate(b.Context(), []int{0}, []train.Values{{"W": w}})
			if err != nil {
				b.Fatal(err)
			}
			step++
			a.Update(step, w.Float32s(), g[0]["W"].Float32s(), moments)
		}
	})
}
