package grad_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"editpipe/onnx"
	"editpipe/onnx/grad"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

const (
	// exact bounds the difference of two float64 computations of the same formula.
	exact = 1e-12
	// rounded allows for sums of shifts, which are float32.
	rounded = 1e-7
)

// linearDecoder is the smallest decoder: logits = hidden W, in float64.
func linearDecoder(w *tensor.Tensor) *onnx.Model {
	m := onnx.New(7, 14)
	b := m.Builder()
	b.Input("hidden", onnx.Double, []onnx.Dim{onnx.Symbolic("batch"), onnx.Symbolic("length"), {Value: int64(w.Shape[0])}})
	b.Initializer("W", w)
	b.Output(b.Op("MatMul", []string{"hidden", "W"}), "logits", onnx.Double,
		[]onnx.Dim{onnx.Symbolic("batch"), onnx.Symbolic("length"), {Value: int64(w.Shape[1])}})
	return m
}

// TestHead compares loss, terms and gradient with the closed forms
//
//	dL/dz = w_nll (p - 1_t) + w_prob p_t (1_t - p) + w_kl1 p (s - q - KL1) + w_kl2 (p - e^q)
//
// for rows taken out before the head and after it. One position occurs twice.
func TestHead(t *testing.T) {
	const batch, length, width, vocabulary, positions = 2, 3, 4, 5, 4
	r := rand.New(rand.NewPCG(5, 6))
	w := random(r, tensor.F64, -1, 1, width, vocabulary)
	hidden := random(r, tensor.F64, -1, 1, batch, length, width)
	weights := random(r, tensor.F64, -1, 1, positions, 4)
	reference := random(r, tensor.F64, -3, 0, 1, vocabulary)
	places := []int64{0, 2, 1, 0, 0, 2, 1, 1}
	targets := []int64{4, 0, 2, 2}

	// The closed forms. q need not be normalised for the terms or, except in
	// the last summand, for the gradient.
	h, q := floats(hidden), floats(reference)
	eq := 0.0
	for _, v := range q {
		eq += math.Exp(v)
	}
	wantTerms, wantLogProb := make([]float64, 4*positions), make([]float64, positions)
	wantGrad := make([]float64, len(h))
	wantLoss := 0.0
	for i := range positions {
		row := int(places[2*i])*length + int(places[2*i+1])
		s, sum := make([]float64, vocabulary), 0.0
		for v := range s {
			for k := range width {
				s[v] += h[row*width+k] * floats(w)[k*vocabulary+v]
			}
			sum += math.Exp(s[v])
		}
		target := int(targets[i])
		var kl1, kl2 float64
		for v := range s {
			s[v] -= math.Log(sum)
			kl1 += math.Exp(s[v]) * (s[v] - q[v])
			kl2 += math.Exp(q[v]) * (q[v] - s[v])
		}
		c := floats(weights)[4*i : 4*i+4]
		pt := math.Exp(s[target])
		wantLogProb[i] = s[target]
		for j, term := range []float64{-s[target], pt, kl1, kl2} {
			wantTerms[4*i+j] = term
			wantLoss += c[j] * term
		}
		for v := range s {
			p, hit := math.Exp(s[v]), 0.0
			if v == target {
				hit = 1
			}
			dz := c[0]*(p-hit) + c[1]*pt*(hit-p) + c[2]*p*(s[v]-q[v]-kl1) + c[3]*(eq*p-math.Exp(q[v]))
			for k := range width {
				wantGrad[row*width+k] += dz * floats(w)[k*vocabulary+v]
			}
		}
	}

	e := orttest.Open(t)
	for _, rows := range []string{"", "hidden"} {
		t.Run("rows="+rows, func(t *testing.T) {
			m := linearDecoder(w)
			head, err := grad.AddHead(m, "logits", rows)
			if err != nil {
				t.Fatal(err)
			}
			got, err := grad.Gradients(m, head.Loss, "hidden")
			if err != nil {
				t.Fatal(err)
			}
			names := []string{got[0], head.Loss, head.Terms, head.LogProb, head.LogProbs}
			for _, n := range names {
				if err := m.Expose(n, onnx.Double, nil); err != nil {
					t.Fatal(err)
				}
				m.Graph.Outputs[len(m.Graph.Outputs)-1].HasShape = false
			}
			out := run(t, session(t, e, m), feeds{
				"hidden":       hidden,
				head.Positions: tensor.FromInt64s(places, positions, 2),
				head.Targets:   tensor.FromInt64s(targets, positions),
				head.Weights:   weights,
				head.Reference: reference,
			}, append(names, "logits")...)
			for name, want := range map[string][]float64{
				got[0]: wantGrad, head.Loss: {wantLoss}, head.Terms: wantTerms, head.LogProb: wantLogProb,
			} {
				if err := relative(floats(out[name]), want); err > exact {
					t.Errorf("%s is off by %.2g", name, err)
				}
			}
			wantRows := batch
			if rows != "" {
				wantRows = positions
			}
			if got := out["logits"].Shape[0]; got != wantRows {
				t.Errorf("logits have %d rows, want %d", got, wantRows)
			}
			if got := out[head.LogProbs].Shape; got[0] != positions || got[1] != vocabulary {
				t.Errorf("log-probabilities have shape %v", got)
			}
		})
	}
}

func TestHeadRefuses(t *testing.T) {
	w := tensor.New(tensor.F64, 4, 5)
	for name, prepare := range map[string]func(m *onnx.Model) (logits, rows string){
		"logits that do not exist": func(*onnx.Model) (string, string) { return "missing", "" },
		"logits without positions": func(m *onnx.Model) (string, string) { return m.Builder().Op("Transpose", []string{"W"}), "" },
		"rows with two readers": func(m *onnx.Model) (string, string) {
			m.Builder().Op("Neg", []string{"hidden"})
			return "logits", "hidden"
		},
		"rows that the logits do not depend on": func(m *onnx.Model) (string, string) {
			b := m.Builder()
			v := b.Op("Neg", []string{"hidden"})
			b.Op("Neg", []string{v})
			return "logits", v
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := linearDecoder(w)
			logits, rows := prepare(m)
			unchanged(t, m, func() error {
				_, err := grad.AddHead(m, logits, rows)
				return err
			})
		})
	}
}

// TestDelta shifts rows, one of them twice, and compares output and gradient
// with the definition.
func TestDelta(t *testing.T) {
	const batch, length, width = 2, 3, 4
	r := rand.New(rand.NewPCG(7, 8))
	hidden := random(r, tensor.F64, -1, 1, batch, length, width)
	delta := random(r, tensor.F32, -1, 1, 3, width)
	seed := random(r, tensor.F64, -1, 1, batch, length, width)
	rows := []int{2, 4, 2} // b length + t

	m := onnx.New(7, 14)
	b := m.Builder()
	shape := []onnx.Dim{onnx.Symbolic("batch"), onnx.Symbolic("length"), {Value: width}}
	b.Input("hidden", onnx.Double, shape)
	b.Input("seed", onnx.Double, shape)
	v := b.Op("Neg", []string{"hidden"})
	b.Output(b.Op("Neg", []string{v}), "y", onnx.Double, shape)
	for _, name := range []string{"delta", "other"} { // both at the same positions
		if err := grad.AddDelta(m, v, name, "positions"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := grad.GradientsFrom(m, map[string]string{"y": "seed"}, "delta", "hidden")
	if err != nil {
		t.Fatal(err)
	}
	for i, dt := range []onnx.DataType{onnx.Float, onnx.Double} {
		if err := m.Expose(got[i], dt, nil); err != nil {
			t.Fatal(err)
		}
		m.Graph.Outputs[len(m.Graph.Outputs)-1].HasShape = false
	}
	out := run(t, session(t, orttest.Open(t), m), feeds{
		"hidden": hidden, "seed": seed, "delta": delta, "other": tensor.New(tensor.F32, 3, width),
		"positions": tensor.FromInt64s([]int64{0, 2, 1, 1, 0, 2}, 3, 2),
	}, append(got, "y")...)
	wantY, wantDelta := floats(hidden), make([]float64, 3*width)
	for i, row := range rows {
		for k := range width {
			wantY[row*width+k] -= floats(delta)[i*width+k]
			wantDelta[i*width+k] = -floats(seed)[row*width+k]
		}
	}
	for name, want := range map[string][]float64{"y": wantY, got[0]: wantDelta, got[1]: floats(seed)} {
		if err := relative(floats(out[name]), want); err > rounded {
			t.Errorf("%s is off by %.2g", name, err)
		}
	}
}

func TestDeltaRefuses(t *testing.T) {
	for name, c := range map[string]struct{ value, delta string }{
		"matrix":     {"W", "delta"},
		"unknown":    {"missing", "delta"},
		"name taken": {"logits", "hidden"},
	} {
		t.Run(name, func(t *testing.T) {
			m := linearDecoder(tensor.New(tensor.F64, 4, 5))
			unchanged(t, m, func() error { return grad.AddDelta(m, c.value, c.delta, "positions") })
		})
	}
}

// unchanged checks that f fails and leaves the model as it was.
func unchanged(t *testing.T, m *onnx.Model, f func() error) error {
	t.Helper()
	before, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	failure := f()
	if failure == nil {
		t.Fatal("no error")
	}
	after, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(after) {
		t.Errorf("the model changed in spite of: %v", failure)
	}
	return failure
}

func TestGradientsRefuses(t *testing.T) {
	model := func(opset int64) (*onnx.Model, *onnx.Builder) {
		m := onnx.New(8, opset)
		b := m.Builder()
		b.Input("x", onnx.Float, onnx.Fixed(2))
		b.Input("k", onnx.Int64, onnx.Fixed(2))
		return m, b
	}
	refused := func(op, node string) func(error) bool {
		return func(err error) bool {
			var u *grad.UnsupportedError
			return errors.As(err, &u) && u.Op == op && u.Node == node && u.Error() != ""
		}
	}
	is := func(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }
	for name, c := range map[string]struct {
		opset int64
		build func(b *onnx.Builder) (loss string)
		wrt   string
		want  func(error) bool
	}{
		"operator without a rule": {17, func(b *onnx.Builder) string {
			b.Scope("block.3")
			return b.Op("Neg", []string{b.Op("Hardmax", []string{"x"})})
		}, "x", refused("Hardmax", "block.3/Hardmax")},
		"operator of another domain": {17, func(b *onnx.Builder) string {
			return b.OpN("Neg", "com.example", []string{"x"}, 1)[0]
		}, "x", refused("com.example.Neg", "editpipe/Neg")},
		"branch that captures": {17, func(b *onnx.Builder) string {
			condition := b.Const(tensor.New(tensor.Bool))
			branch := func() *onnx.Graph {
				body := b.Body("branch")
				body.Output(body.Op("Neg", []string{"x"}), b.Fresh("y"), onnx.Float, onnx.Fixed(2))
				return body.Graph()
			}
			return b.Op("If", []string{condition}, onnx.AttrGraph("then_branch", branch()), onnx.AttrGraph("else_branch", branch()))
		}, "x", refused("If", "editpipe/If")},
		"mode of an operator": {17, func(b *onnx.Builder) string {
			return b.Op("ScatterElements", []string{"x", "k", "x"}, onnx.AttrString("reduction", "mul"))
		}, "x", refused("ScatterElements", "editpipe/ScatterElements")},
		"scattering before opset 16": {13, func(b *onnx.Builder) string {
			return b.Op("GatherElements", []string{"x", "k"})
		}, "x", refused("GatherElements", "editpipe/GatherElements")},
		"old opset":     {12, func(b *onnx.Builder) string { return b.Op("Neg", []string{"x"}) }, "x", is(grad.ErrOpset)},
		"unknown value": {17, func(b *onnx.Builder) string { return b.Op("Neg", []string{"x"}) }, "z", is(onnx.ErrUndefined)},
		"unknown loss":  {17, func(*onnx.Builder) string { return "z" }, "x", is(onnx.ErrUndefined)},
		"independent":   {17, func(b *onnx.Builder) string { b.Op("Neg", []string{"x"}); return b.Op("Neg", []string{b.Scalar(1)}) }, "x", is(grad.ErrIndependent)},
		"only by a jump": {17, func(b *onnx.Builder) string {
			return b.Op("Cast", []string{b.Op("Greater", []string{"x", b.Scalar(1)})}, onnx.AttrInt("to", int64(onnx.Float)))
		}, "x", is(grad.ErrIndependent)},
		"integers": {17, func(b *onnx.Builder) string { return b.Op("Neg", []string{"x"}) }, "k", func(err error) bool { return err != nil }},
	} {
		t.Run(name, func(t *testing.T) {
			m, b := model(c.opset)
			loss := c.build(b)
			err := unchanged(t, m, func() error {
				_, err := grad.Gradients(m, loss, c.wrt)
				return err
			})
			if !c.want(err) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestFanIn differentiates x x + 2 x + x with respect to x, to the shared
// product, twice, and to the loss itself.
func TestFanIn(t *testing.T) {
	m := onnx.New(8, 17)
	b := m.Builder()
	b.Input("x", onnx.Float, onnx.Fixed(2))
	square := b.Op("Mul", []string{"x", "x"})
	twice := b.Op("Mul", []string{"x", b.Scalar(2)})
	loss := b.Op("Sum", []string{square, twice, "x"})
	got, err := grad.Gradients(m, loss, "x", square, "x", loss)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range got {
		if err := m.Expose(n, onnx.Float, onnx.Fixed(2)); err != nil {
			t.Fatal(err)
		}
	}
	if len(m.Graph.Outputs) != 4 {
		t.Fatalf("the gradients are not values of their own: %v", got)
	}
	out := run(t, session(t, orttest.Open(t), m), feeds{"x": tensor.FromFloat32s([]float32{3, -1}, 2)}, got...)
	for i, want := range [][]float64{{9, 1}, {1, 1}, {9, 1}, {1, 1}} {
		if relative(floats(out[got[i]]), want) != 0 {
			t.Errorf("gradient %d is %v, want %v", i, floats(out[got[i]]), want)
		}
	}
}
