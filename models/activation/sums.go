package activation

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/run"
	"editpipe/ort"
	"editpipe/tensor"
)

// Sums adds up x x' of the activations x at chosen sites over every token of
// many sequences, all sites in one pass. The sums stay where the provider
// computes and nothing above the highest site is computed. The sums are
// float32; what they add up to is the caller's to bound, by calling Take often
// enough (float32 has 24 bits, so some 1e5 tokens).
//
// It is for one goroutine and must be closed before its model.
type Sums struct {
	lm    *models.LM
	sites []arch.Site
	width []int
	run   *ort.Session
	state map[string]*ort.Resident // by input name; nil when all are zero
	zero  map[string]*tensor.Tensor
}

// OpenSums opens sums at sites of a decoder-only model. It returns ErrSite,
// with the reason, for a site that the graph does not show.
func OpenSums(ctx context.Context, lm *models.LM, at ...arch.Site) (*Sums, error) {
	g := &Sums{lm: lm, sites: slices.Clone(at), zero: map[string]*tensor.Tensor{}}
	if lm.Anatomy().Encoder != nil {
		return nil, fmt.Errorf("models: adding up products: %w: sums are taken in decoder-only models", arch.ErrSite)
	}
	for _, s := range at {
		_, n, err := lm.Info().Site(s)
		if err != nil {
			return nil, fmt.Errorf("models: adding up products: %w", err)
		}
		g.width = append(g.width, n)
		g.zero[graph.Sum(s)] = tensor.New(tensor.F32, n, n)
	}
	var err error
	g.run, err = lm.OwnSession(ctx, graph.Spec{Role: arch.Forward, Give: graph.SumsAt(at...)})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// Add runs sequences of token ids through the model, several at a time within
// its memory budget, and adds all their tokens. Sequences longer than the
// model's context are ErrTooLong.
func (g *Sums) Add(ctx context.Context, sequences [][]int64) error {
	questions := make([]*run.Question, 0, len(sequences))
	for _, ids := range sequences {
		if len(ids) == 0 {
			continue
		}
		if err := run.Within(g.lm, len(ids), 0); err != nil {
			return fmt.Errorf("models: adding up products: %w", err)
		}
		questions = append(questions, &run.Question{Sequence: run.Sequence{Prompt: ids}})
	}
	for _, b := range run.Plan(g.lm, questions, 0) {
		if err := g.add(ctx, b.Questions); err != nil {
			return fmt.Errorf("models: adding up products: %w", err)
		}
	}
	return nil
}

func (g *Sums) add(ctx context.Context, questions []*run.Question) error {
	r := run.New(g.lm, arch.Forward, questions, nil)
	r.Spec.Take = graph.Take{}
	var tokens []int64
	for b, q := range questions {
		for t := range q.Fed() {
			tokens = append(tokens, int64(b*r.T+t))
		}
	}
	r.Inputs[graph.SumRows] = tensor.FromInt64s(tokens, len(tokens))
	if g.state == nil {
		maps.Copy(r.Inputs, g.zero)
	}
	feeds, err := r.Feeds(ctx)
	if err != nil {
		return err
	}
	next := make([]string, len(g.sites))
	for i, s := range g.sites {
		next[i] = graph.NextSum(s)
	}
	kept, err := g.run.RunResident(ctx, feeds, g.state, nil, next...)
	if err != nil {
		return fmt.Errorf("running %s on %d rows of %d tokens: %w", g.lm.Name(), len(questions), r.T, err)
	}
	g.drop()
	g.state = map[string]*ort.Resident{}
	for _, s := range g.sites {
		g.state[graph.Sum(s)] = kept[graph.NextSum(s)]
	}
	return nil
}

// Take returns the sums, [width, width] float32 and parallel to the sites, and
// starts again at zero.
func (g *Sums) Take(ctx context.Context) ([]*tensor.Tensor, error) {
	out := make([]*tensor.Tensor, len(g.sites))
	for i, s := range g.sites {
		out[i] = tensor.New(tensor.F32, g.width[i], g.width[i])
		if g.state == nil {
			continue
		}
		var err error
		if out[i], err = g.state[graph.Sum(s)].Tensor(ctx); err != nil {
			return nil, fmt.Errorf("models: reading sums of products: %w", err)
		}
	}
	g.drop()
	return out, nil
}

// drop frees the sums.
func (g *Sums) drop() {
	for _, r := range g.state {
		r.Close()
	}
	g.state = nil
}

// Close frees the sums and the session.
func (g *Sums) Close() error {
	g.drop()
	return g.run.Close()
}
