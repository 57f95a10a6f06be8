// Package train minimises a scalar output of an ONNX graph over some of its
// inputs.
//
// A problem is a set of named variables together with a loss of its own. An
// [Objective] evaluates losses and gradients, of many problems in one Run:
// [Graph] does so on a session whose graph package grad has differentiated. An
// [Optimiser] turns a gradient into a step, and [Minimise] is the loop around
// them. Its problems share nothing but the Runs: each has its own moments and
// its own stopping rule, and one that has stopped leaves the batch, so the
// result of a problem is the same as alone, up to the rounding of kernels that
// work differently on batches of other sizes.
//
// [Minimise] keeps variables and moments in main memory, which suits the vectors
// of the locate-then-edit methods. For whole weights [AddAdam] puts the step into
// the graph, and a [Descent] keeps weights and moments where the graph runs.
package train

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"editpipe/tensor"
)

// ErrNotFinite is wrapped in the Err of a [Report] whose problem met a loss, a
// gradient or a variable that is infinite or not a number.
var ErrNotFinite = errors.New("not finite")

// Values are the variables of one problem by name, float32.
type Values map[string]*tensor.Tensor

// An Objective evaluates problems, which it knows by number.
type Objective interface {
	// Evaluate returns the loss of every listed problem and its gradient with
	// respect to each variable in at, in the shape of the variable. at[i] belongs
	// to problems[i]; it may be neither written to nor kept, for it changes after
	// the call. The gradients become the caller's. A loss need not be finite; an
	// error is one that concerns all of the problems.
	Evaluate(ctx context.Context, problems []int, at []Values) (losses []float64, gradients []Values, err error)
}

// A Problem is its variables by name.
type Problem map[string]Variable

// A Variable is a float32 tensor that is optimised. Its functions see the
// elements in row-major order.
type Variable struct {
	Start *tensor.Tensor
	// Penalty, if not nil, is a term of the loss that the graph knows nothing of:
	// it returns its value at x and adds its derivative to gradient.
	Penalty func(x, gradient []float32) float64
	// Project, if not nil, moves x to where it is allowed to be, after each
	// update. The moments of the optimiser are not touched, as in the reference
	// implementations of FT-L and ROME.
	Project func(x []float32)
}

// Config says how to minimise.
type Config struct {
	Optimiser Optimiser
	// Steps is the largest number of evaluations of a problem.
	Steps int
	// UpdateLast lets an update follow the last evaluation, as fine-tuning loops
	// do; 20 steps are then 20 updates, of which the last is never evaluated.
	// Without it they are 19, as in ROME and MEMIT, and the last loss is that of
	// the result.
	UpdateLast bool
	// Stop, if not nil, is asked after each evaluation whether a problem is good
	// enough with the loss it has, penalties included; it then stops before the
	// update.
	Stop func(problem int, loss float64) bool
}

// Below is a [Config.Stop] for all problems: a loss less than limit.
func Below(limit float64) func(int, float64) bool {
	return func(_ int, loss float64) bool { return loss < limit }
}

func (c Config) check() error {
	var errs []error
	if c.Optimiser == nil {
		errs = append(errs, errors.New("no optimiser"))
	} else if err := c.Optimiser.Check(); err != nil {
		errs = append(errs, err)
	}
	if c.Steps < 1 {
		errs = append(errs, fmt.Errorf("%d steps asked for, want at least 1", c.Steps))
	}
	return errors.Join(errs...)
}

// A Reason says why a problem stopped.
type Reason uint8

// The reasons.
const (
	Interrupted Reason = iota // the whole minimisation ended early
	Converged                 // Config.Stop said so
	Exhausted                 // Config.Steps
	Failed                    // Report.Err
)

// String returns interrupted, converged, exhausted or failed.
func (r Reason) String() string {
	switch r {
	case Interrupted:
		return "interrupted"
	case Converged:
		return "converged"
	case Exhausted:
		return "exhausted"
	case Failed:
		return "failed"
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// A Report is the end of one problem.
type Report struct {
	Values  Values    // where it stopped
	Losses  []float64 // of every evaluation, penalties included; all finite
	Updates int
	Reason  Reason
	Err     error // nil unless Failed
}

// Minimise minimises problems, numbered as in the slice, and returns a report
// for each in the same order. What goes wrong within a problem stops that
// problem only. If an error is returned all the same, the reports are those of
// the work done until then; it is ctx.Err() if ctx was cancelled.
func Minimise(ctx context.Context, o Objective, problems []Problem, c Config) ([]Report, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("train: configuration: %w", err)
	}
	reports := make([]Report, len(problems))
	var active []*attempt
	for i, p := range problems {
		d, err := begin(i, p, c.Optimiser.Moments(), &reports[i])
		if err != nil {
			return nil, fmt.Errorf("train: problem %d: %w", i, err)
		}
		active = append(active, d)
	}
	for step := 1; len(active) > 0; step++ {
		if err := ctx.Err(); err != nil {
			return reports, err
		}
		losses, gradients, err := evaluate(ctx, o, active)
		if err != nil {
			if ctx.Err() != nil {
				return reports, ctx.Err()
			}
			return reports, fmt.Errorf("train: step %d: %w", step, err)
		}
		var rest []*attempt
		for i, d := range active {
			if d.advance(c, step, losses[i], gradients[i]) {
				rest = append(rest, d)
			}
		}
		active = rest
	}
	return reports, nil
}

// evaluate asks the objective and checks that the answer has the right form.
func evaluate(ctx context.Context, o Objective, active []*attempt) ([]float64, []Values, error) {
	numbers, at := make([]int, len(active)), make([]Values, len(active))
	for i, d := range active {
		numbers[i], at[i] = d.number, maps.Clone(d.report.Values)
	}
	losses, gradients, err := o.Evaluate(ctx, numbers, at)
	if err != nil {
		return nil, nil, err
	}
	if len(losses) != len(active) || len(gradients) != len(active) {
		return nil, nil, fmt.Errorf("%d losses and %d gradients came back for %d problems", len(losses), len(gradients), len(active))
	}
	for i, d := range active {
		for _, name := range d.names {
			g, x := gradients[i][name], d.report.Values[name]
			if g == nil {
				return nil, nil, fmt.Errorf("problem %d: no gradient of %q came back", d.number, name)
			}
			if g.DType != tensor.F32 || !slices.Equal(g.Shape, x.Shape) {
				return nil, nil, fmt.Errorf("problem %d: the gradient of %q is %s %v, the variable float32 %v", d.number, name, g.DType, g.Shape, x.Shape)
			}
		}
	}
	return losses, gradients, nil
}

// attempt is a problem under way.
type attempt struct {
	number  int
	problem Problem
	names   []string // of the variables, sorted
	moments map[string][][]float32
	report  *Report
}

func begin(number int, p Problem, moments int, r *Report) (*attempt, error) {
	if len(p) == 0 {
		return nil, errors.New("no variables")
	}
	r.Values = Values{}
	d := &attempt{number: number, problem: p, names: slices.Sorted(maps.Keys(p)), moments: map[string][][]float32{}, report: r}
	for _, name := range d.names {
		x := p[name].Start
		if x == nil {
			return nil, fmt.Errorf("variable %q has no start value", name)
		}
		if err := x.Check(); err != nil {
			return nil, fmt.Errorf("variable %q: %w", name, err)
		}
		if x.DType != tensor.F32 {
			return nil, fmt.Errorf("variable %q is %s; variables are float32", name, x.DType)
		}
		r.Values[name] = x.Clone()
		for range moments {
			d.moments[name] = append(d.moments[name], make([]float32, x.Len()))
		}
	}
	return d, nil
}

// advance uses an evaluation: it decides whether the problem goes on, in the
// order of the reference implementations, and if so updates it.
func (d *attempt) advance(c Config, step int, loss float64, gradient Values) (on bool) {
	r := d.report
	for _, name := range d.names {
		if penalty := d.problem[name].Penalty; penalty != nil {
			loss += penalty(r.Values[name].Float32s(), gradient[name].Float32s())
		}
	}
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return d.fail(fmt.Errorf("train: step %d: loss %v is %w", step, loss, ErrNotFinite))
	}
	r.Losses = append(r.Losses, loss)
	if c.Stop != nil && c.Stop(d.number, loss) {
		r.Reason = Converged
		return false
	}
	last := step >= c.Steps
	if last && !c.UpdateLast {
		r.Reason = Exhausted
		return false
	}
	for _, name := range d.names {
		if !gradient[name].Finite() {
			return d.fail(fmt.Errorf("train: step %d: gradient of %q is %w", step, name, ErrNotFinite))
		}
	}
	r.Updates++
	for _, name := range d.names {
		x := r.Values[name]
		c.Optimiser.Update(r.Updates, x.Float32s(), gradient[name].Float32s(), d.moments[name])
		if project := d.problem[name].Project; project != nil {
			project(x.Float32s())
		}
		if !x.Finite() {
			return d.fail(fmt.Errorf("train: step %d: %q after the update is %w", step, name, ErrNotFinite))
		}
	}
	if last {
		r.Reason = Exhausted
	}
	return !last
}

func (d *attempt) fail(err error) bool {
	d.report.Reason, d.report.Err = Failed, err
	return false
}
