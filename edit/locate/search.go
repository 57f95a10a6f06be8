package locate

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/loss"
	"editpipe/models/patch"
	"editpipe/train"
)

// objective is the part of the loss that the model computes.
type objective struct {
	lm     *models.LM
	patch  *patch.Patch
	at     []arch.Site
	search Search
	facts  []*Fact

	references [][]float32 // log-distributions of the essence before the edit; nil until the first evaluation
	likelihood []float64   // what it weighs in the next evaluation, by fact
	ended      []bool      // what Search.Weigh said of the last one
	searches   *loss.Searches
}

// minimise searches the shifts of all facts. Searches of facts that are padded
// alike share runs, and as many searches as the model says go on side by side.
func (o *objective) minimise(ctx context.Context, problems []train.Problem) ([]train.Report, error) {
	parts, beside := o.parts()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	reports := make([]train.Report, len(problems))
	next := make(chan []int)
	var wg sync.WaitGroup
	for range beside {
		wg.Go(func() {
			for part := range next {
				found, err := o.only(part, beside).descend(ctx, pick(problems, part))
				if err != nil {
					cancel(err)
					continue
				}
				for k, i := range part {
					reports[i] = found[k]
				}
			}
		})
	}
	for _, part := range parts {
		next <- part
	}
	close(next)
	wg.Wait()
	return reports, context.Cause(ctx)
}

// parts puts facts together that share runs, the most work first, and says how
// many parts to search at one time.
func (o *objective) parts() (parts [][]int, beside int) {
	type shape struct{ before, behind int }
	alike := map[shape][]int{}
	for i := range o.facts {
		var s shape
		s.before, s.behind = loss.Span(o.rows(i, nil))
		alike[s] = append(alike[s], i)
	}
	side := o.lm.Lanes()
	work := map[int]int{} // by a part's first fact
	for s, facts := range alike {
		var rows []loss.Row
		for _, i := range facts {
			rows = append(rows, o.rows(i, nil)...)
		}
		each := len(rows) / len(facts)
		most := max(loss.HoldRows(o.lm, o.at, rows, side)/each, 1)
		most = min(most, (len(o.facts)+side-1)/side)
		n := (len(facts) + most - 1) / most
		for k := range n {
			part := facts[k*len(facts)/n : (k+1)*len(facts)/n]
			parts = append(parts, part)
			work[part[0]] = len(part) * s.behind
		}
	}
	slices.SortFunc(parts, func(a, b []int) int {
		return cmp.Or(cmp.Compare(work[b[0]], work[a[0]]), cmp.Compare(a[0], b[0]))
	})
	if 2*len(parts) <= side {
		side = 1 // too few: each gets all threads
	}
	return parts, side
}

// only is the objective of some of the facts, one of several that are searched
// side by side.
func (o *objective) only(facts []int, beside int) *objective {
	part := *o
	part.searches = loss.NewSearches(o.lm, o.at, beside, func(fact int) []loss.Row { return part.rows(fact, nil) })
	part.facts = pick(o.facts, facts)
	part.references, part.ended = make([][]float32, len(facts)), make([]bool, len(facts))
	part.likelihood = slices.Repeat([]float64{1}, len(facts))
	return &part
}

func pick[T any](all []T, list []int) []T {
	some := make([]T, len(list))
	for k, i := range list {
		some[k] = all[i]
	}
	return some
}

// descend searches the shifts together.
func (o *objective) descend(ctx context.Context, problems []train.Problem) (reports []train.Report, err error) {
	defer func() { err = errors.Join(err, o.searches.Close()) }()
	return train.Minimise(ctx, o, problems, train.Config{Optimiser: train.NewAdam(o.search.Rate), Steps: o.search.Steps, Stop: o.stop})
}

// stop says whether the search for a fact ends.
func (o *objective) stop(fact int, now float64) bool { return now < enough || o.ended[fact] }

// shift puts those of the sites one behind the other.
func (o *objective) shift(at train.Values) []float32 {
	var all []float32
	for k := range o.at {
		all = append(all, at[shiftName(k)].Float32s()...)
	}
	return all
}

// Evaluate implements train.Objective.
func (o *objective) Evaluate(ctx context.Context, problems []int, at []train.Values) ([]float64, []train.Values, error) {
	rows := make([][]loss.Row, len(problems))
	for k, p := range problems {
		rows[k] = o.rows(p, o.shift(at[k]))
	}
	losses, err := o.searches.Losses(ctx, problems, rows)
	if err != nil {
		return nil, nil, err
	}
	sums, slopes, standing := make([]float64, len(problems)), make([][]float64, len(problems)), make([]Standing, len(problems))
	for k, list := range losses {
		for _, l := range list {
			if l.Err != nil {
				return nil, nil, l.Err
			}
			if l.Distributions != nil {
				o.references[problems[k]] = l.Distributions.Float32s()
			}
			sums[k] += l.Loss
			standing[k].add(l, len(o.facts[problems[k]].Prompts))
			if slopes[k] == nil {
				slopes[k] = make([]float64, len(l.Gradient))
			}
			for j, x := range l.Gradient {
				slopes[k][j] += float64(x)
			}
		}
	}
	gradients := make([]train.Values, len(problems))
	for k, p := range problems {
		gradients[k] = train.Values{}
		for i, width := 0, len(slopes[k])/len(o.at); i < len(o.at); i++ {
			gradients[k][shiftName(i)] = narrow(slopes[k][i*width : (i+1)*width])
		}
		if o.search.Weigh != nil {
			o.likelihood[p], o.ended[p] = o.search.Weigh(standing[k])
		}
	}
	return sums, gradients, nil
}

// add takes up the next loss of a fact, those of its prompts first.
func (s *Standing) add(l loss.Loss, prompts int) {
	if len(s.LogProbs) == prompts {
		s.KL = l.Loss
		return
	}
	s.LogProbs, s.Best = append(s.LogProbs, l.LogProbs), append(s.Best, l.Best)
}

// rows are those of a fact with a shift. The first evaluation, without a shift,
// gives the reference: there the divergence and its slope are zero.
func (o *objective) rows(fact int, shift []float32) []loss.Row {
	f := o.facts[fact]
	likelihood, reference := 1.0, []float32(nil)
	if o.likelihood != nil {
		likelihood, reference = o.likelihood[fact], o.references[fact]
	}
	var rows []loss.Row
	each := likelihood / float64(len(f.Prompts)*len(f.Target))
	for _, s := range f.Prompts {
		r := loss.Row{IDs: slices.Concat(s.IDs, f.Target[:len(f.Target)-1]), Patch: o.patch, At: s.At, Shift: shift}
		for j, id := range f.Target {
			r.Terms = append(r.Terms, loss.Term{Position: len(s.IDs) - 1 + j, Target: id, NLL: each})
		}
		rows = append(rows, r)
	}
	essence := loss.Row{IDs: f.Essence.IDs, Patch: o.patch, At: f.Essence.At, Shift: shift, Terms: []loss.Term{{Position: f.Essence.At}}}
	if reference == nil {
		essence.Distributions = true
	} else {
		essence.Terms[0].KL, essence.Terms[0].Reference = o.search.KL, reference
	}
	return append(rows, essence)
}
