package train

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"editpipe/ort"
	"editpipe/tensor"
)

// Graph is the [Objective] of a graph with outputs for loss and gradients, as
// package grad adds them. Several problems share a Run: the values of a variable
// lie beneath each other along a first axis of rows, and the loss has an axis of
// its own along which its terms belong to the problems. The gradient must be that
// of the sum of all terms, and no row may influence terms of another problem.
type Graph struct {
	Session *ort.Session
	// Loss is an output of shape [L, ...], a term or several for each of L places.
	Loss string
	// Gradients maps each variable, a graph input of shape [R, ...], to the output
	// of its gradient, which has the same shape.
	Gradients map[string]string
	// Batch, called before each Run, tells how to evaluate problems together. Nil
	// stands for a function that returns the zero Batch.
	Batch func(problems []int) (Batch, error)
	// Most is the largest number of problems in one Run; 0: no limit.
	Most int
	// Whole says that the variables have no axis of rows, such as weights: each
	// Run evaluates a single problem and feeds its variables as they are. Loss may
	// have any shape.
	Whole bool
}

// A Batch is what a Run of some problems needs. A problem is called by its place
// in the list that the batch was made for, counted from 0.
type Batch struct {
	// In feeds all inputs but the variables.
	In map[string]*tensor.Tensor
	// Rows says which problem each row of the variables belongs to; nil: each
	// problem has one row, in order. Rows of a problem hold the same values, and
	// their gradients are added up.
	Rows []int
	// Terms says which problem each of the L places of the loss belongs to; nil:
	// each problem has one, in order. The terms of a problem are added up.
	Terms []int
	// Fetch names further outputs, and Use receives them after the Run.
	Fetch []string
	Use   func(out map[string]*tensor.Tensor) error
}

// Evaluate implements [Objective].
func (g *Graph) Evaluate(ctx context.Context, problems []int, at []Values) ([]float64, []Values, error) {
	most := len(problems)
	if g.Most > 0 {
		most = min(most, g.Most)
	}
	if g.Whole {
		most = 1
	}
	var losses []float64
	var gradients []Values
	for low := 0; low < len(problems); low += most {
		high := min(low+most, len(problems))
		l, d, err := g.run(ctx, problems[low:high], at[low:high])
		if err != nil {
			return nil, nil, err
		}
		losses, gradients = append(losses, l...), append(gradients, d...)
	}
	return losses, gradients, nil
}

// run evaluates problems in one Run.
func (g *Graph) run(ctx context.Context, problems []int, at []Values) ([]float64, []Values, error) {
	var b Batch
	var err error
	if g.Batch != nil {
		if b, err = g.Batch(slices.Clone(problems)); err != nil {
			return nil, nil, fmt.Errorf("making a batch: %w", err)
		}
	}
	if g.Whole && (b.Rows != nil || b.Terms != nil) {
		return nil, nil, errors.New("the batch has rows or terms, a whole problem has neither")
	}
	rows, err := owners(b.Rows, len(problems), "rows")
	if err != nil {
		return nil, nil, err
	}
	terms, err := owners(b.Terms, len(problems), "loss terms")
	if err != nil {
		return nil, nil, err
	}
	in := maps.Clone(b.In)
	if in == nil {
		in = map[string]*tensor.Tensor{}
	}
	out := map[string]*tensor.Tensor{g.Loss: nil}
	for name, gradient := range g.Gradients {
		if in[name] != nil {
			return nil, nil, fmt.Errorf("the batch feeds the variable %q", name)
		}
		if in[name], err = g.stack(name, at, rows); err != nil {
			return nil, nil, err
		}
		out[gradient] = nil
	}
	for _, name := range b.Fetch {
		out[name] = nil
	}
	if err := g.Session.Run(ctx, in, out); err != nil {
		return nil, nil, err
	}
	losses, err := g.losses(out[g.Loss], terms, len(problems))
	if err != nil {
		return nil, nil, err
	}
	gradients := make([]Values, len(problems))
	for i := range gradients {
		gradients[i] = Values{}
	}
	for name, output := range g.Gradients {
		d := out[output]
		if !d.IsFloat() || !slices.Equal(d.Shape, in[name].Shape) {
			return nil, nil, fmt.Errorf("gradient %q is %s %v, its variable %q has shape %v", output, d.DType, d.Shape, name, in[name].Shape)
		}
		g.unstack(name, d, rows, gradients)
	}
	if b.Use == nil {
		return losses, gradients, nil
	}
	extra := map[string]*tensor.Tensor{}
	for _, name := range b.Fetch {
		extra[name] = out[name]
	}
	if err := b.Use(extra); err != nil {
		return nil, nil, fmt.Errorf("using outputs: %w", err)
	}
	return losses, gradients, nil
}

// owners checks which problem each place belongs to.
func owners(list []int, problems int, what string) ([]int, error) {
	if list == nil {
		for i := range problems {
			list = append(list, i)
		}
		return list, nil
	}
	count := make([]int, problems)
	for _, p := range list {
		if p < 0 || p >= problems {
			return nil, fmt.Errorf("the batch gives %s to problem %d of %d", what, p, problems)
		}
		count[p]++
	}
	if p := slices.Index(count, 0); p >= 0 {
		return nil, fmt.Errorf("the batch has no %s of problem %d of %d", what, p, problems)
	}
	return list, nil
}

// stack lays the values of a variable beneath each other.
func (g *Graph) stack(name string, at []Values, rows []int) (*tensor.Tensor, error) {
	for _, x := range at {
		switch {
		case x[name] == nil:
			return nil, fmt.Errorf("a problem has no variable %q", name)
		case !slices.Equal(x[name].Shape, at[0][name].Shape):
			return nil, fmt.Errorf("variable %q has shapes %v and %v; the problems of a Run need equal ones", name, at[0][name].Shape, x[name].Shape)
		}
	}
	one := at[0][name]
	if g.Whole {
		return one, nil
	}
	all := tensor.New(tensor.F32, append([]int{len(rows)}, one.Shape...)...)
	size := len(one.Data)
	for i, p := range rows {
		copy(all.Data[i*size:], at[p][name].Data)
	}
	return all, nil
}

// losses adds up the terms of each problem.
func (g *Graph) losses(loss *tensor.Tensor, terms []int, problems int) ([]float64, error) {
	if !loss.IsFloat() {
		return nil, fmt.Errorf("loss %q is %s", g.Loss, loss.DType)
	}
	each := loss.Len()
	if !g.Whole {
		if len(loss.Shape) == 0 || loss.Shape[0] != len(terms) {
			return nil, fmt.Errorf("loss %q has shape %v; the first of its axes must have length %d, the number of terms", g.Loss, loss.Shape, len(terms))
		}
		each /= len(terms)
	}
	sums := make([]float64, problems)
	v := loss.Float64s()
	for i, p := range terms {
		for _, x := range v[i*each : (i+1)*each] {
			sums[p] += x
		}
	}
	return sums, nil
}

// unstack adds up the rows of each problem, in float64.
func (g *Graph) unstack(name string, d *tensor.Tensor, rows []int, gradients []Values) {
	if g.Whole {
		gradients[0][name] = tensor.FromFloat32s(d.Float32s(), d.Shape...)
		return
	}
	shape := d.Shape[1:]
	v, size := d.Float32s(), d.Len()/len(rows)
	sum := make([]float64, size)
	for p := range gradients {
		clear(sum)
		for i, owner := range rows {
			if owner != p {
				continue
			}
			for j, x := range v[i*size : (i+1)*size] {
				sum[j] += float64(x)
			}
		}
		total := tensor.New(tensor.F32, shape...)
		for j, x := range sum {
			total.Float32s()[j] = float32(x)
		}
		gradients[p][name] = total
	}
}
