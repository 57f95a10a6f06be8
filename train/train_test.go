package train_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"editpipe/ort"
	"editpipe/ort/orttest"
	"editpipe/tensor"
	"editpipe/train"
)

// bowls are problems on the graph quadratic: problem i has curvatures a[i] and
// its minimum at c[i].
type bowls struct{ a, c, start []*tensor.Tensor }

func (q bowls) objective(s *ort.Session) *train.Graph {
	return &train.Graph{
		Session: s, Loss: "loss", Gradients: map[string]string{"x": "gradient"},
		Batch: func(problems []int) (train.Batch, error) {
			return train.Batch{In: map[string]*tensor.Tensor{"a": stacked(q.a, problems), "c": stacked(q.c, problems)}}, nil
		},
	}
}

func (q bowls) problems() []train.Problem {
	var list []train.Problem
	for _, x := range q.start {
		list = append(list, train.Problem{"x": {Start: x}})
	}
	return list
}

func (q *bowls) add(a, c, start *tensor.Tensor) {
	q.a, q.c, q.start = append(q.a, a), append(q.c, c), append(q.start, start)
}

func (q bowls) only(i int) bowls {
	return bowls{q.a[i : i+1], q.c[i : i+1], q.start[i : i+1]}
}

// scattered are problems of differing difficulty.
func scattered(n, width int) bowls {
	r := rand.New(rand.NewPCG(3, 4))
	var q bowls
	for i := range n {
		size := 0.2 + float64(i)
		q.add(random(r, 0.1, 1, width), random(r, -size, size, width), random(r, -1, 1, width))
	}
	return q
}

func minimise(t *testing.T, o train.Objective, p []train.Problem, c train.Config) []train.Report {
	t.Helper()
	reports, err := train.Minimise(t.Context(), o, p, c)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range reports {
		if r.Err != nil {
			t.Errorf("problem %d: %v", i, r.Err)
		}
	}
	return reports
}

// converged is how near to a minimum that is known these loops come, in float32.
const converged = 1e-5

// One curvature and plain steps: the distance from the minimum shrinks by 1/2
// each time, so that losses and stops are known beforehand: 8, 2, 1/2, 1/8, 1/32.
func TestOrder(t *testing.T) {
	s := session(t, orttest.Open(t), quadratic(t))
	q := bowls{}
	q.add(vector(1), vector(3), vector(7))
	losses := []float64{8, 2, 0.5, 0.125, 0.03125}
	for name, c := range map[string]struct {
		steps      int
		updateLast bool
		stop       func(int, float64) bool
		want       train.Report // without Values
		at         float32
	}{
		// ROME: the loss is looked at before the update, the last of S steps has none.
		"steps":             {4, false, nil, train.Report{Losses: losses[:4], Updates: 3, Reason: train.Exhausted}, 3.5},
		"one step":          {1, false, nil, train.Report{Losses: losses[:1], Reason: train.Exhausted}, 7},
		"update last":       {4, true, nil, train.Report{Losses: losses[:4], Updates: 4, Reason: train.Exhausted}, 3.25},
		"loss":              {20, false, train.Below(0.05), train.Report{Losses: losses, Updates: 4, Reason: train.Converged}, 3.25},
		"loss in last step": {5, true, train.Below(0.05), train.Report{Losses: losses, Updates: 4, Reason: train.Converged}, 3.25},
		"equal is not less": {3, true, train.Below(0.5), train.Report{Losses: losses[:3], Updates: 3, Reason: train.Exhausted}, 3.5},
		"good at the start": {3, true, train.Below(9), train.Report{Losses: losses[:1], Reason: train.Converged}, 7},
	} {
		t.Run(name, func(t *testing.T) {
			r := minimise(t, q.objective(s), q.problems(), train.Config{Optimiser: train.SGD{Rate: 0.5}, Steps: c.steps, UpdateLast: c.updateLast, Stop: c.stop})[0]
			if !slices.Equal(r.Losses, c.want.Losses) || r.Updates != c.want.Updates || r.Reason != c.want.Reason {
				t.Errorf("got %+v, want %+v", r, c.want)
			}
			if got := r.Values["x"].Float32s()[0]; got != c.at {
				t.Errorf("stopped at %v, want %v", got, c.at)
			}
			if q.start[0].Float32s()[0] != 7 {
				t.Error("the start value was written to")
			}
		})
	}
}

// Minima with penalties and bounds that are known in closed form.
func TestConstraints(t *testing.T) {
	s := session(t, orttest.Open(t), quadratic(t))
	c := []float32{3, -4, 0}
	q := bowls{}
	q.add(vector(1, 1, 1), vector(c...), vector(0, 0, 0.5))
	for name, k := range map[string]struct {
		v    train.Variable
		want []float64
	}{
		"none": {train.Variable{}, []float64{3, -4, 0}},
		// |c| = 5: the nearest point of a ball, and c shortened by the weight.
		"ball":    {train.Variable{Project: train.Ball(nil, 2)}, []float64{1.2, -1.6, 0}},
		"wide":    {train.Variable{Project: train.Ball(nil, 6)}, []float64{3, -4, 0}},
		"centred": {train.Variable{Project: train.Ball([]float32{3, 0, 0}, 1)}, []float64{3, -1, 0}},
		"box":     {train.Variable{Project: train.Box([]float32{1, -3.5, 2}, 0.75)}, []float64{1.75, -4, 1.25}},
		"penalty": {train.Variable{Penalty: train.Norm(1.5)}, []float64{2.1, -2.8, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			k.v.Start = q.start[0]
			r := minimise(t, q.objective(s), []train.Problem{{"x": k.v}}, train.Config{Optimiser: train.SGD{Rate: 0.4}, Steps: 60})[0]
			x := r.Values["x"].Float32s()
			if d := apart(x, k.want); d > converged {
				t.Errorf("ended at %v, want %v", x, k.want)
			}
			loss := 0.0
			for i := range x {
				loss += math.Pow(k.want[i]-float64(c[i]), 2) / 2
			}
			if k.v.Penalty != nil {
				loss += 1.5 * math.Sqrt(2.1*2.1+2.8*2.8)
			}
			if got := r.Losses[len(r.Losses)-1]; math.Abs(got-loss) > converged*(1+loss) {
				t.Errorf("loss %v, want %v", got, loss)
			}
		})
	}
	// The penalty at 0 has no slope, and leaves what was there.
	g := []float32{1, 2}
	if v := train.Norm(3)([]float32{0, 0}, g); v != 0 || g[0] != 1 || g[1] != 2 {
		t.Errorf("penalty at 0 is %v with gradient %v", v, g)
	}
	bad := []float32{1, 2}
	if train.Ball(nil, math.NaN())(bad); bad[0] == bad[0] {
		t.Error("a radius that is not a number goes unnoticed")
	}
}

// Eight problems at once end as each does alone: the variables to the bit, since
// the gradient is elementwise; the losses up to rounding, since the runtime sums a
// single row in another order than several. They stop at different times.
func TestBatchIsIndependent(t *testing.T) {
	const n = 8
	s := session(t, orttest.Open(t), quadratic(t))
	q := scattered(n, 5)
	c := train.Config{Optimiser: train.NewAdam(0.3), Steps: 40, Stop: train.Below(0.05)}
	var active [][]int
	o := q.objective(s)
	batch := o.Batch
	o.Batch = func(p []int) (train.Batch, error) {
		active = append(active, p)
		return batch(p)
	}
	together := minimise(t, o, q.problems(), c)
	if first, last := len(active[0]), len(active[len(active)-1]); first != n || last >= n {
		t.Errorf("%d problems in the first Run, %d in the last; finished ones should have left", first, last)
	}
	ends := map[int]bool{}
	for i := range n {
		ends[together[i].Updates] = true
		sameReport(t, i, together[i], minimise(t, q.only(i).objective(s), q.only(i).problems(), c)[0], 0)
	}
	if len(ends) < 3 {
		t.Errorf("the problems made %v updates; they should differ", ends)
	}
	o = q.objective(s)
	o.Most = 3
	for i, r := range minimise(t, o, q.problems(), c) {
		sameReport(t, i, r, together[i], 0)
	}
}

// summed bounds, relative to a loss and 1, what a sum of some ten float32 terms
// depends on their order, which is the processor's: a rounding of 2^-24 for each.
const summed = 10 * 0x1p-24

// sameReport compares reports: losses up to the order of their terms, values up to
// a tolerance.
func sameReport(t *testing.T, i int, got, want train.Report, tolerance float64) {
	t.Helper()
	if got.Updates != want.Updates || got.Reason != want.Reason || len(got.Losses) != len(want.Losses) {
		t.Fatalf("problem %d: %d updates, %d losses, %v; want %d, %d, %v", i,
			got.Updates, len(got.Losses), got.Reason, want.Updates, len(want.Losses), want.Reason)
	}
	for k := range got.Losses {
		if d := math.Abs(got.Losses[k] - want.Losses[k]); !(d <= max(tolerance, summed)*(1+math.Abs(want.Losses[k]))) {
			t.Errorf("problem %d: loss %d is %v, want %v", i, k, got.Losses[k], want.Losses[k])
		}
	}
	for name, v := range want.Values {
		if d := apart(got.Values[name].Float32s(), double(v.Float32s())); d > tolerance {
			t.Errorf("problem %d: %q is %.2g off", i, name, d)
		}
	}
}

// A problem that goes wrong fails alone.
func TestNotFinite(t *testing.T) {
	s := session(t, orttest.Open(t), quadratic(t))
	huge, nan, inf := float32(1e30), float32(math.NaN()), float32(math.Inf(1))
	q := bowls{}
	q.add(vector(1), vector(3), vector(7))
	q.add(vector(1), vector(nan), vector(7))     // loss NaN
	q.add(vector(inf), vector(3), vector(7))     // loss infinite
	q.add(vector(huge), vector(1), vector(2))    // finite until it is huge squared
	q.add(vector(huge), vector(0), vector(1e-3)) // finite, as the step is not
	q.add(vector(2), vector(-1), vector(1))
	c := train.Config{Optimiser: train.SGD{Rate: 0.5}, Steps: 6}
	rates := train.Config{Optimiser: train.SGD{Rate: 1e20}, Steps: 2}

	reports, err := train.Minimise(t.Context(), q.objective(s), q.problems(), c)
	if err != nil {
		t.Fatal(err)
	}
	for i, updates := range map[int]int{1: 0, 2: 0, 3: 1, 4: 1} {
		r := reports[i]
		if !errors.Is(r.Err, train.ErrNotFinite) || r.Reason != train.Failed || r.Updates != updates || len(r.Losses) != updates {
			t.Errorf("problem %d: %+v, want failure after %d updates", i, r, updates)
		}
	}
	for _, i := range []int{0, 5} {
		sameReport(t, i, reports[i], minimise(t, q.only(i).objective(s), q.only(i).problems(), c)[0], 0)
	}
	reports, err = train.Minimise(t.Context(), q.objective(s), q.problems(), rates)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, reports[4].Err, `step 1: "x" after the update is not finite`)
	p := q.only(0).problems()
	p[0]["x"] = train.Variable{Start: q.start[0], Penalty: func(_, g []float32) float64 { g[0] = inf; return 0 }}
	reports, err = train.Minimise(t.Context(), q.only(0).objective(s), p, c)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, reports[0].Err, `step 1: gradient of "x" is not finite`)
}

// Cancelled after three evaluations: what was done until then is reported.
func TestCancelled(t *testing.T) {
	s := session(t, orttest.Open(t), quadratic(t))
	q := bowls{}
	q.add(vector(1), vector(3), vector(7))
	q.add(vector(1), vector(3), vector(3)) // at its minimum
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := q.objective(s)
	batch, runs := o.Batch, 0
	o.Batch = func(p []int) (train.Batch, error) {
		if runs++; runs == 4 {
			cancel()
		}
		return batch(p)
	}
	reports, err := train.Minimise(ctx, o, q.problems(), train.Config{Optimiser: train.SGD{Rate: 0.5}, Steps: 10, Stop: train.Below(1e-9)})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if r := reports[0]; r.Reason != train.Interrupted || r.Updates != 3 || r.Values["x"].Float32s()[0] != 3.5 {
		t.Errorf("%+v, want 3 updates to 3.5", r)
	}
	if reports[1].Reason != train.Converged {
		t.Errorf("%+v, want a finished problem", reports[1])
	}
	if _, err := train.Minimise(ctx, o, q.problems(), train.Config{Optimiser: train.SGD{Rate: 0.5}, Steps: 1}); !errors.Is(err, context.Canceled) || runs != 4 {
		t.Errorf("got %v after %d batches", err, runs)
	}
}

func TestMinimiseRefuses(t *testing.T) {
	s := session(t, orttest.Open(t), quadratic(t))
	q := bowls{}
	q.add(vector(1), vector(3), vector(7))
	ok := train.Config{Optimiser: train.NewAdam(0.5), Steps: 2}
	try := func(o train.Objective, p train.Problem, c train.Config) error {
		_, err := train.Minimise(t.Context(), o, []train.Problem{p}, c)
		return err
	}
	graph, fine := q.objective(s), q.problems()[0]
	wantError(t, try(graph, fine, train.Config{}), "no optimiser", "0 steps")
	wantError(t, try(graph, fine, train.Config{Optimiser: train.NewAdam(-1), Steps: 1}), "learning rate is -1")
	wantError(t, try(graph, nil, ok), "problem 0", "no variables")
	wantError(t, try(graph, train.Problem{"x": {}}, ok), `"x" has no start`)
	wantError(t, try(graph, train.Problem{"x": {Start: tensor.New(tensor.F64, 1)}}, ok), "float64")
	wantError(t, try(graph, train.Problem{"x": {Start: &tensor.Tensor{DType: tensor.F32, Shape: []int{2}}}}, ok), `"x"`, "shape")
	wantError(t, try(graph, train.Problem{"x": {Start: vector(1)}, "y": {Start: vector(1)}}, ok), `no gradient of "y"`)
	wantError(t, try(graph, train.Problem{"y": {Start: vector(1)}}, ok), `no variable "x"`)
	if reports, err := train.Minimise(t.Context(), graph, nil, ok); err != nil || len(reports) != 0 {
		t.Errorf("no problems: %v, %v", reports, err)
	}
}

// broken is an objective that answers for one problem whatever it is asked.
type broken struct{ gradient *tensor.Tensor }

func (b broken) Evaluate(context.Context, []int, []train.Values) ([]float64, []train.Values, error) {
	return []float64{1}, []train.Values{{"x": b.gradient}}, nil
}

func TestBrokenObjective(t *testing.T) {
	p := train.Problem{"x": {Start: vector(1, 2)}}
	c := train.Config{Optimiser: train.NewAdam(1), Steps: 1}
	_, err := train.Minimise(t.Context(), broken{vector(1, 2)}, []train.Problem{p, p}, c)
	wantError(t, err, "1 losses and 1 gradients came back for 2 problems")
	_, err = train.Minimise(t.Context(), broken{vector(1)}, []train.Problem{p}, c)
	wantError(t, err, `problem 0: the gradient of "x" is float32 [1], the variable float32 [2]`)
}

func TestReason(t *testing.T) {
	for r, want := range map[train.Reason]string{
		train.Interrupted: "interrupted", train.Converged: "converged", train.Exhausted: "exhausted", train.Failed: "failed", 9: "reason(9)",
	} {
		if r.String() != want {
			t.Errorf("%d is %q, want %q", r, r.String(), want)
		}
	}
}
