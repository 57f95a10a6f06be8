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

var errClosed = errors.New("train: the descent is closed")

// A Descent makes the steps of an [Update]. Weights and moments stay in the
// memory of the session's provider; for a time it holds them twice, before and
// after a step. It is not safe for concurrent use and must be closed before its
// session.
type Descent struct {
	update  *Update
	session *ort.Session
	steps   int
	// The state by the names of the inputs it is fed to: in main memory before the
	// first update, in the provider's since.
	start map[string]*tensor.Tensor
	held  map[string]*ort.Resident
}

// Steps is the number of updates made, those before [Update.Begin] included.
func (d *Descent) Steps() int { return d.steps }

// Step runs the graph, feeding in besides weights and moments, and fetches out,
// which may be empty: see [ort.Session.Run]. What it fetches, such as the loss,
// belongs to the weights before the update. accept then decides whether the
// update takes place; nil stands for yes. So a loop that stops once the loss is
// small keeps the weights that have this loss. If the Run fails, too, weights and
// moments stay as they were.
func (d *Descent) Step(ctx context.Context, in, out map[string]*tensor.Tensor, accept func() bool) error {
	if d.held == nil {
		return errClosed
	}
	u := d.update
	feed := maps.Clone(in)
	if feed == nil {
		feed = map[string]*tensor.Tensor{}
	}
	size, root := u.adam.corrections(d.steps + 1)
	for name, v := range map[string]float64{u.size: size, u.root: root} {
		feed[name] = tensor.FromFloat32s([]float32{float32(v)})
	}
	maps.Copy(feed, d.start)
	next := map[string]string{} // input to output
	for w, s := range u.weights {
		if in[w] != nil {
			return fmt.Errorf("train: update %d: weight %q is fed, but the descent has it", d.steps+1, w)
		}
		next[w], next[s.mean], next[s.square] = s.nextWeight, s.nextMean, s.nextSquare
		if u.boxed && d.start != nil {
			next[s.origin] = s.nextOrigin
		}
	}
	kept, err := d.session.RunResident(ctx, feed, d.held, out, slices.Sorted(maps.Values(next))...)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("train: update %d: %w", d.steps+1, err)
	}
	if accept != nil && !accept() {
		return release(kept)
	}
	old := map[string]*ort.Resident{}
	for input, output := range next {
		if r := d.held[input]; r != nil {
			old[input] = r
		}
		d.held[input] = kept[output]
	}
	d.start = nil
	d.steps++
	return release(old)
}

// State copies weights, moments and origins to main memory.
func (d *Descent) State(ctx context.Context) (State, error) {
	s := State{Steps: d.steps, Weights: Values{}, Means: Values{}, Squares: Values{}, Origins: Values{}}
	for w, names := range d.update.weights {
		for input, values := range map[string]Values{w: s.Weights, names.mean: s.Means, names.square: s.Squares, names.origin: s.Origins} {
			if input == "" {
				continue
			}
			v, err := d.value(ctx, input)
			if err != nil {
				return State{}, err
			}
			values[w] = v
		}
	}
	if d.steps == 0 {
		s.Means, s.Squares = nil, nil
	}
	if !d.update.boxed {
		s.Origins = nil
	}
	return s, nil
}

// Weights copies the weights alone to main memory.
func (d *Descent) Weights(ctx context.Context) (Values, error) {
	values := Values{}
	for w := range d.update.weights {
		v, err := d.value(ctx, w)
		if err != nil {
			return nil, err
		}
		values[w] = v
	}
	return values, nil
}

// value copies one part of the state.
func (d *Descent) value(ctx context.Context, input string) (*tensor.Tensor, error) {
	if v := d.start[input]; v != nil {
		return v.Clone(), nil
	}
	r := d.held[input]
	if r == nil {
		return nil, errClosed
	}
	v, err := r.Tensor(ctx)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("train: reading %q: %w", input, err)
	}
	return v, err
}

// Close frees weights and moments. Closing twice does nothing.
func (d *Descent) Close() error {
	held := d.held
	d.start, d.held = nil, nil
	return release(held)
}

func release(residents map[string]*ort.Resident) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(residents)) {
		errs = append(errs, residents[name].Close())
	}
	return errors.Join(errs...)
}
