package train_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"editpipe/ort"
	"editpipe/ort/orttest"
	"editpipe/tensor"
	"editpipe/train"
)

// regression is softmax regression: examples X [n, s, width] and labels
// Y [n, s, classes] of each problem.
type regression struct{ x, y, start []*tensor.Tensor }

func (q regression) objective(s *ort.Session) *train.Graph {
	return &train.Graph{
		Session: s, Loss: "loss", Gradients: map[string]string{"W": "gradient"},
		Batch: func(p []int) (train.Batch, error) {
			return train.Batch{In: map[string]*tensor.Tensor{"X": stacked(q.x, p), "Y": stacked(q.y, p)}}, nil
		},
	}
}

func (q regression) problems() []train.Problem {
	var list []train.Problem
	for _, w := range q.start {
		list = append(list, train.Problem{"W": {Start: w}})
	}
	return list
}

func regressions(n, examples, width, classes int) regression {
	r := rand.New(rand.NewPCG(5, 6))
	var q regression
	for range n {
		y := tensor.New(tensor.F32, examples, classes)
		for i := range examples {
			y.Float32s()[i*classes+r.IntN(classes)] = 1
		}
		q.x = append(q.x, random(r, -1, 1, examples, width))
		q.y = append(q.y, y)
		q.start = append(q.start, random(r, -1, 1, width, classes))
	}
	return q
}

// closed is loss and gradient of softmax regression in float64: the gradient is
// X^T (p - Y) / s.
func closed(x, y, w *tensor.Tensor) (loss float64, gradient []float64) {
	s, width, classes := x.Shape[0], x.Shape[1], w.Shape[1]
	xs, ys, ws := x.Float64s(), y.Float64s(), w.Float64s()
	gradient = make([]float64, width*classes)
	for i := range s {
		z, sum := make([]float64, classes), 0.0
		for k := range classes {
			for j := range width {
				z[k] += xs[i*width+j] * ws[j*classes+k]
			}
			sum += math.Exp(z[k])
		}
		for k := range classes {
			p := math.Exp(z[k]) / sum
			loss -= ys[i*classes+k] * math.Log(p) / float64(s)
			for j := range width {
				gradient[j*classes+k] += xs[i*width+j] * (p - ys[i*classes+k]) / float64(s)
			}
		}
	}
	return loss, gradient
}

// batched bounds what matrix products of other sizes do to losses and variables
// in 20 steps.
const batched = 2e-6

func TestGradient(t *testing.T) {
	e := orttest.Open(t)
	q := regressions(3, 4, 5, 6)
	for _, whole := range []bool{false, true} {
		o := q.objective(session(t, e, softmax(t, 5, 6, whole)))
		if o.Whole = whole; whole {
			o.Batch = q.single
		}
		losses, gradients, err := o.Evaluate(t.Context(), []int{0, 1, 2}, []train.Values{{"W": q.start[0]}, {"W": q.start[1]}, {"W": q.start[2]}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			loss, gradient := closed(q.x[i], q.y[i], q.start[i])
			if d := math.Abs(losses[i] - loss); !(d <= batched) {
				t.Errorf("whole %v, problem %d: loss %v, want %v", whole, i, losses[i], loss)
			}
			if d := apart(gradients[i]["W"].Float32s(), gradient); d > batched {
				t.Errorf("whole %v, problem %d: gradient is %.2g off", whole, i, d)
			}
		}
	}
}

// single feeds one problem without its axis.
func (q regression) single(p []int) (train.Batch, error) {
	return train.Batch{In: map[string]*tensor.Tensor{"X": q.x[p[0]], "Y": q.y[p[0]]}}, nil
}

// Problems of matrix products: together, alone and as whole weights.
func TestRegressionsAreIndependent(t *testing.T) {
	e := orttest.Open(t)
	const n = 8
	q := regressions(n, 4, 5, 6)
	s, one := session(t, e, softmax(t, 5, 6, false)), session(t, e, softmax(t, 5, 6, true))
	c := train.Config{Optimiser: train.NewAdam(0.1), Steps: 20}
	together := minimise(t, q.objective(s), q.problems(), c)
	whole := q.objective(one)
	whole.Whole, whole.Batch = true, q.single
	for i, r := range minimise(t, whole, q.problems(), c) {
		sameReport(t, i, r, together[i], batched)
		alone := regression{q.x[i : i+1], q.y[i : i+1], q.start[i : i+1]}
		sameReport(t, i, minimise(t, alone.objective(s), alone.problems(), c)[0], together[i], batched)
	}
}

// With a single example that has label frequencies f the least loss is the
// entropy of f, and the probabilities are f.
func TestEntropy(t *testing.T) {
	s := session(t, orttest.Open(t), softmax(t, 1, 3, false))
	f := []float32{0.5, 0.3, 0.2}
	q := regression{
		x:     []*tensor.Tensor{tensor.FromFloat32s([]float32{1}, 1, 1)},
		y:     []*tensor.Tensor{tensor.FromFloat32s(f, 1, 3)},
		start: []*tensor.Tensor{tensor.New(tensor.F32, 1, 3)},
	}
	r := minimise(t, q.objective(s), q.problems(), train.Config{Optimiser: train.NewAdam(0.02), Steps: 400})[0]
	entropy, w := 0.0, r.Values["W"].Float64s()
	sum := math.Exp(w[0]) + math.Exp(w[1]) + math.Exp(w[2])
	for i, p := range double(f) {
		entropy -= p * math.Log(p)
		if got := math.Exp(w[i]) / sum; math.Abs(got-p) > 1e-3 {
			t.Errorf("probability %d is %v, want %v", i, got, p)
		}
	}
	if got := r.Losses[len(r.Losses)-1]; math.Abs(got-entropy) > converged {
		t.Errorf("loss %v, want the entropy %v", got, entropy)
	}
}

// One variable for several rows, as ROME has one vector for all of its contexts:
// a problem with curvatures a1.. and centres c1.. on its rows has its minimum at
// the weighted mean of the centres. Rows of the problems are interleaved, and one
// problem has more of them than the other.
func TestRows(t *testing.T) {
	s := session(t, orttest.Open(t), quadratic(t))
	q := bowls{}
	for _, v := range [][2]float32{{0.1, 10}, {0.3, -2}, {0.2, 4}, {0.2, 1}, {0.4, 3}} {
		q.add(vector(v[0]), vector(v[1]), vector(0))
	}
	owner := []int{0, 1, 0, 1, 0}
	want := []float64{(0.1*10 + 0.2*4 + 0.4*3) / 0.7, (0.3*-2 + 0.2*1) / 0.5}
	var seen []float32
	o := q.objective(s)
	o.Batch = func(problems []int) (train.Batch, error) {
		var rows, which []int
		for i, p := range problems {
			for row, belongs := range owner {
				if belongs == p {
					rows, which = append(rows, row), append(which, i)
				}
			}
		}
		return train.Batch{
			In:   map[string]*tensor.Tensor{"a": stacked(q.a, rows), "c": stacked(q.c, rows)},
			Rows: which, Terms: which,
			Fetch: []string{"loss"},
			Use: func(out map[string]*tensor.Tensor) error {
				if seen == nil {
					seen = out["loss"].Float32s()
				}
				return nil
			},
		}, nil
	}
	p := []train.Problem{{"x": {Start: vector(0)}}, {"x": {Start: vector(0)}}}
	for i, r := range minimise(t, o, p, train.Config{Optimiser: train.SGD{Rate: 1}, Steps: 30}) {
		if d := apart(r.Values["x"].Float32s(), want[i:i+1]); d > converged {
			t.Errorf("problem %d ends at %v, want %v", i, r.Values["x"].Float32s(), want[i])
		}
		if i == 0 && math.Abs(r.Losses[0]-(0.1*100+0.2*16+0.4*9)/2) > converged {
			t.Errorf("loss at 0 is %v", r.Losses[0])
		}
	}
	// In order of the problems: rows 0, 2, 4 and then 1, 3.
	if d := apart(seen, []float64{5, 1.6, 1.8, 0.6, 0.1}); d > converged {
		t.Errorf("fetched %v", seen)
	}
}

func TestGraphRefuses(t *testing.T) {
	e := orttest.Open(t)
	s := session(t, e, quadratic(t))
	q := scattered(2, 1)
	for name, c := range map[string]struct {
		change func(*train.Graph, *train.Batch)
		want   string
	}{
		"owner":    {func(_ *train.Graph, b *train.Batch) { b.Rows = []int{0, 2} }, "rows to problem 2 of 2"},
		"no row":   {func(_ *train.Graph, b *train.Batch) { b.Rows = []int{0, 0} }, "no rows of problem 1 of 2"},
		"no term":  {func(_ *train.Graph, b *train.Batch) { b.Terms = []int{1, 1} }, "no loss terms of problem 0 of 2"},
		"terms":    {func(_ *train.Graph, b *train.Batch) { b.Terms = []int{0, 1, 1} }, "must have length 3"},
		"fed":      {func(_ *train.Graph, b *train.Batch) { b.In["x"] = vector(1) }, `feeds the variable "x"`},
		"input":    {func(_ *train.Graph, b *train.Batch) { delete(b.In, "a") }, `"a"`},
		"output":   {func(g *train.Graph, _ *train.Batch) { g.Loss = "lost" }, `no output "lost"`},
		"gradient": {func(g *train.Graph, _ *train.Batch) { g.Gradients["x"] = "loss" }, `gradient "loss" is float32 [2]`},
		"rows":     {func(g *train.Graph, b *train.Batch) { g.Whole, b.Rows = true, []int{0} }, "has neither"},
		"use fails": {func(_ *train.Graph, b *train.Batch) {
			b.Use = func(map[string]*tensor.Tensor) error { return errors.New("oh") }
		}, "using outputs: oh"},
	} {
		t.Run(name, func(t *testing.T) {
			o := q.objective(s)
			var b train.Batch
			b.In = map[string]*tensor.Tensor{"a": stacked(q.a, []int{0, 1}), "c": stacked(q.c, []int{0, 1})}
			c.change(o, &b)
			o.Batch = func([]int) (train.Batch, error) { return b, nil }
			_, err := train.Minimise(t.Context(), o, q.problems(), train.Config{Optimiser: train.NewAdam(1), Steps: 1})
			wantError(t, err, c.want, "train: step 1")
		})
	}
	o := q.objective(s)
	o.Batch = func([]int) (train.Batch, error) { return train.Batch{}, errors.New("no data") }
	_, err := train.Minimise(t.Context(), o, q.problems(), train.Config{Optimiser: train.NewAdam(1), Steps: 1})
	wantError(t, err, "making a batch: no data")
	p := q.problems()
	p[1]["x"] = train.Variable{Start: vector(1, 2)}
	_, err = train.Minimise(t.Context(), q.objective(s), p, train.Config{Optimiser: train.NewAdam(1), Steps: 1})
	wantError(t, err, "shapes [1] and [2]")
}
