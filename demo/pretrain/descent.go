package pretrain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"

	"editpipe/ort"
	"editpipe/tensor"
	"editpipe/train"
)

// clipNorm bounds the Euclidean norm of the whole gradient.
const clipNorm = 1.0

// descent makes the updates. Each shard of a step has a session of one thread,
// and the sums of their gradients are taken in a fixed order: the result depends
// neither on the number of processors nor on what else they do, and threads wait
// for each other once a step rather than once a node.
type descent struct {
	train.State
	of       *Training
	names    []string
	sessions [shards]*ort.Session
}

func (t *Training) descent(ctx context.Context, env *ort.Env, from train.State, o Options) (*descent, error) {
	m, err := t.Plan.Size.gradient()
	if err != nil {
		return nil, err
	}
	data, err := m.Bytes()
	if err != nil {
		return nil, fmt.Errorf("pretrain: %w", err)
	}
	d := &descent{State: from, of: t, names: slices.Sorted(maps.Keys(from.Weights))}
	if d.Means == nil {
		d.Means, d.Squares = train.Values{}, train.Values{}
		for w, v := range from.Weights {
			d.Means[w], d.Squares[w] = tensor.New(tensor.F32, v.Shape...), tensor.New(tensor.F32, v.Shape...)
		}
	}
	for i := range d.sessions {
		if d.sessions[i], err = env.NewSession(ctx, data, ort.Options{Threads: 1, Provider: o.Provider}); err != nil {
			return nil, errors.Join(fmt.Errorf("pretrain: opening the training graph: %w", err), d.close())
		}
	}
	return d, nil
}

func (d *descent) close() error {
	var errs []error
	for _, s := range d.sessions {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// part is what a shard gives.
type part struct {
	out     map[string]*tensor.Tensor
	targets int
	used    int
	err     error
}

func (d *descent) shard(ctx context.Context, i int) part {
	t := d.of
	b, err := t.Facts.batch(t.Tokenizer, t.end, t.Plan, d.Steps, i)
	if err != nil {
		return part{err: err}
	}
	in := b.step()
	maps.Copy(in, d.Weights)
	out := map[string]*tensor.Tensor{outLoss: nil}
	for _, w := range d.names {
		out[outGradient+w] = nil
	}
	if err := d.sessions[i].Run(ctx, in, out); err != nil {
		return part{err: fmt.Errorf("pretrain: step %d: %w", d.Steps+1, err)}
	}
	return part{out, len(b.picked), b.used, nil}
}

// step makes one update with a learning rate. loss is the mean over the targets,
// norm that of the gradient before clipping.
func (d *descent) step(ctx context.Context, rate float64) (loss, norm float64, used int, err error) {
	var parts [shards]part
	var wait sync.WaitGroup
	for i := range parts {
		wait.Go(func() { parts[i] = d.shard(ctx, i) })
	}
	wait.Wait()
	targets := 0
	for _, p := range parts {
		if p.err != nil {
			return 0, 0, 0, p.err
		}
		loss += float64(p.out[outLoss].Float32s()[0])
		targets, used = targets+p.targets, used+p.used
	}
	loss /= float64(targets)
	if math.IsNaN(loss) {
		return 0, 0, 0, fmt.Errorf("pretrain: the loss of step %d is not a number: give a lower rate", d.Steps+1)
	}
	gradients := make([][]float32, len(d.names))
	squares := make([]float64, len(d.names))
	d.each(func(k int) {
		g := parts[0].out[outGradient+d.names[k]].Float32s()
		for _, p := range parts[1:] {
			for i, v := range p.out[outGradient+d.names[k]].Float32s() {
				g[i] += v
			}
		}
		for i := range g {
			g[i] /= float32(targets)
			squares[k] += float64(g[i]) * float64(g[i])
		}
		gradients[k] = g
	})
	for _, s := range squares {
		norm += s
	}
	norm = math.Sqrt(norm)
	factor := float32(clipNorm / max(norm, clipNorm))
	a := d.of.Plan.adam()
	a.Rate = rate
	d.each(func(k int) {
		w := d.names[k]
		for i := range gradients[k] {
			gradients[k][i] *= factor
		}
		a := a
		if len(d.Weights[w].Shape) < 2 { // biases and norms do not decay
			a.Decay = 0
		}
		a.Update(d.Steps+1, d.Weights[w].Float32s(), gradients[k], [][]float32{d.Means[w].Float32s(), d.Squares[w].Float32s()})
	})
	d.Steps++
	return loss, norm, used, nil
}

// each calls f for every weight, on two processors.
func (d *descent) each(f func(k int)) {
	var wait sync.WaitGroup
	for i := range shards {
		wait.Go(func() {
			for k := i; k < len(d.names); k += shards {
				f(k)
			}
		})
	}
	wait.Wait()
}
