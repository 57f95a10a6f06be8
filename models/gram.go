package models

import (
	"context"
	"editpipe/models/arch"
	"fmt"
	"slices"

	"editpipe/onnx"
	"editpipe/ort"
	"editpipe/tensor"
)

// Names of the inputs and outputs of the graph that adds up products.
const (
	gramRows = "editpipe.gram.rows" // [Q] rows of the flattened [B*T] positions that are tokens
	gramNext = ".next"              // suffix of the output that follows a state
)

func gramOf(s arch.Site) string { return "editpipe.gram." + s.String() }

// Gram adds up x x' of the activations x at chosen sites over every token of
// many sequences, all sites in one pass. The sums stay where the provider
// computes and nothing above the highest site is computed. The sums are
// float32; what they add up to is the caller's to bound, by calling Take often
// enough (float32 has 24 bits, so some 1e5 tokens).
//
// It is for one goroutine and must be closed before its model.
type Gram struct {
	lm    *LM
	sites []arch.Site
	width []int
	run   *ort.Session
	state map[string]*ort.Resident // by input name; nil when all are zero
	zero  map[string]*tensor.Tensor
}

// OpenGram opens sums at sites of a decoder-only model. It returns ErrSite,
// with the reason, for a site that the graph does not show.
func (lm *LM) OpenGram(ctx context.Context, at ...arch.Site) (*Gram, error) {
	g := &Gram{lm: lm, sites: slices.Clone(at), zero: map[string]*tensor.Tensor{}}
	if lm.anatomy.Encoder != nil {
		return nil, fmt.Errorf("models: adding up products: %w: sums are taken in decoder-only models", ErrSite)
	}
	m := lm.anatomy.Forward.Model.Clone()
	lm.anatomy.Forward.Reveal(m)
	m.Graph.Outputs = nil
	b := m.Builder()
	rows := b.Input(gramRows, onnx.Int64, symbolic("tokens"))
	for _, s := range at {
		f := lm.info.FFN(s.Side, s.Layer)
		if f == nil {
			return nil, fmt.Errorf("models: adding up products: %w: %s: the model has no such layer", ErrSite, s)
		}
		value, why := f.Value(s.Point)
		if value == "" {
			return nil, fmt.Errorf("models: adding up products: %w: %s: %s", ErrSite, s, why)
		}
		n := siteWidth(f, s.Point)
		square := []onnx.Dim{{Value: int64(n)}, {Value: int64(n)}}
		x := b.Op("Reshape", []string{value, b.Int64s(-1, int64(n))})
		x = b.Op("Gather", []string{x, rows}, onnx.AttrInt("axis", 0))
		x = b.Op("Cast", []string{x}, onnx.AttrInt("to", int64(onnx.Float)))
		before := b.Input(gramOf(s), onnx.Float, square)
		after := b.Op("Gemm", []string{x, x, before}, onnx.AttrInt("transA", 1))
		b.Output(after, gramOf(s)+gramNext, onnx.Float, square)
		g.width = append(g.width, n)
		g.zero[gramOf(s)] = tensor.New(tensor.F32, n, n)
	}
	m.Prune()
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("models: adding up products: %w", err)
	}
	var err error
	if g.run, err = lm.start(ctx, m, lm.anatomy.Forward.Path); err != nil {
		return nil, err
	}
	return g, nil
}

// Add runs sequences of token ids through the model, several at a time within
// its memory budget, and adds all their tokens. Sequences longer than the
// model's context are ErrTooLong.
func (g *Gram) Add(ctx context.Context, sequences [][]int64) error {
	jobs := make([]*job, 0, len(sequences))
	for _, ids := range sequences {
		if len(ids) == 0 {
			continue
		}
		if err := g.lm.fits(len(ids), 0); err != nil {
			return fmt.Errorf("models: adding up products: %w", err)
		}
		// The last id of a job is a target, which is never fed.
		jobs = append(jobs, &job{joined: joined{ids: append(slices.Clone(ids), 0), first: len(ids)}})
	}
	for _, b := range g.lm.plan(jobs, 0) {
		if err := g.add(ctx, b.jobs); err != nil {
			return fmt.Errorf("models: adding up products: %w", err)
		}
	}
	return nil
}

func (g *Gram) add(ctx context.Context, jobs []*job) error {
	in := g.lm.newInput(forward, jobs, nil)
	feeds := map[string]*tensor.Tensor{}
	in.tokens(feeds)
	var rows []int64
	for b, j := range jobs {
		for t := range j.fed() {
			rows = append(rows, int64(b*in.T+t))
		}
	}
	feeds[gramRows] = tensor.FromInt64s(rows, len(rows))
	if g.state == nil {
		for name, t := range g.zero {
			feeds[name] = t
		}
	}
	next := make([]string, len(g.sites))
	for i, s := range g.sites {
		next[i] = gramOf(s) + gramNext
	}
	kept, err := g.run.RunResident(ctx, feeds, g.state, nil, next...)
	if err != nil {
		return fmt.Errorf("running %s on %d rows of %d tokens: %w", g.lm.Name(), in.rows, in.T, err)
	}
	g.drop()
	g.state = map[string]*ort.Resident{}
	for _, s := range g.sites {
		g.state[gramOf(s)] = kept[gramOf(s)+gramNext]
	}
	return nil
}

// Take returns the sums, [width, width] float32 and parallel to the sites, and
// starts again at zero.
func (g *Gram) Take(ctx context.Context) ([]*tensor.Tensor, error) {
	out := make([]*tensor.Tensor, len(g.sites))
	for i, s := range g.sites {
		out[i] = tensor.New(tensor.F32, g.width[i], g.width[i])
		if g.state == nil {
			continue
		}
		var err error
		if out[i], err = g.state[gramOf(s)].Tensor(ctx); err != nil {
			return nil, fmt.Errorf("models: reading sums of products: %w", err)
		}
	}
	g.drop()
	return out, nil
}

// drop frees the sums.
func (g *Gram) drop() {
	for _, r := range g.state {
		r.Close()
	}
	g.state = nil
}

// Close frees the sums and the session.
func (g *Gram) Close() error {
	g.drop()
	return g.run.Close()
}
