// Package loss computes losses of sequences and their gradients with respect to
// shifts of activations: at one or two sites, in every layer at once, or
// repeatedly in a search.
package loss

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
	"editpipe/models/run"
	"editpipe/tensor"
)

// Term is a loss at one position of a sequence. With the next-token
// distribution p there, its logarithm s and the reference q it is worth
//
//	NLL (-s_t) + Prob p_t + KL KL(p || e^q) + Reverse KL(e^q || p)
type Term struct {
	Position int
	Target   int64 // t
	// Weights; Reference is needed where KL or Reverse is not 0.
	NLL, Prob, KL, Reverse float64
	Reference              []float32 // [V] natural log-probabilities, finite
}

// Row is a sequence, asked through a patch, with its losses.
type Row struct {
	IDs   []int64 // template tokens included
	Patch *patch.Patch
	// Shift is added to the site's value at position At, behind what the patch
	// does; nil stands for zeros. Where there are several sites it holds their
	// shifts one behind the other.
	At    int
	Shift []float32 // [width]
	// Everywhere adds Shift at every position instead, which at FFNOut is a change
	// of the bias, or one for each position, [len(IDs) width], position by position,
	// as a change of the weight has there. Loss.Gradient has a row for each position.
	Everywhere bool
	Terms      []Term
	// Distributions asks for Loss.Distributions.
	Distributions bool
}

// Loss is the outcome of a Row.
type Loss struct {
	Loss     float64   // weighted sum over the terms, nats
	LogProbs []float64 // of each term's target
	Best     []float64 // of the most probable token at each term's position
	Gradient []float32 // d Loss / d Shift, [width]; by position with Row.Everywhere, [len(IDs), width]
	// Distributions are log-probabilities at the terms' positions, [terms, V].
	Distributions *tensor.Tensor
	Err           error // why this row has none
}

// backwardBlocks is how many times the activations of a block, as in run.Cost,
// a differentiated block holds: those of the way there, until the way back.
const backwardBlocks = 2

// lossBytes is what a run holds for each term and word of the vocabulary:
// logits, their distribution, the reference and four terms of both.
const lossBytes = 40

// places lists the positions of the row's shift.
func (r Row) places() []int {
	if !r.Everywhere {
		return []int{r.At}
	}
	at := make([]int, len(r.IDs))
	for i := range at {
		at[i] = i
	}
	return at
}

// At computes losses and their gradients with respect to shifts of the values at
// one or two sites, one shift of each per row, all at the row's positions: shifts
// and gradients hold those of the sites one after the other, [width of the first +
// width of the second]. Many rows share a run; rows do not influence each other. All
// are padded to the longest, in whatever runs they end, since a search repeats
// roundings on a scale of its own: rows that are padded alike give alike bits. The
// results are parallel to rows. Routes of a patch do not take part.
//
// Decoder-only models in float32 can be differentiated; arch.ErrNoGradient is
// returned for others and arch.ErrSite for a site that the graph does not show.
func At(ctx context.Context, lm *models.LM, at []arch.Site, rows []Row) ([]Loss, error) {
	sites, widths, err := shiftable(lm, at)
	if err != nil {
		return nil, err
	}
	return losses(ctx, lm, sites, widths, rows, 0)
}

// losses computes losses with rows of at least T positions.
func losses(ctx context.Context, lm *models.LM, sites graph.Losses, widths []int, rows []Row, T int) ([]Loss, error) {
	out := make([]Loss, len(rows))
	in := run.NewIntake(lm)
	var todo []int
	for i, r := range rows {
		if out[i].Err = checkLoss(lm, in, r, widths); out[i].Err == nil {
			todo = append(todo, i)
			T = max(T, len(r.IDs))
		}
	}
	err := inRuns(ctx, lm, rows, todo, T, func(list []int) error {
		return runLosses(ctx, lm, sites, widths, rows, list, T, out)
	}, func(i int, err error) { out[i].Err = err })
	if err != nil {
		return nil, err
	}
	return out, nil
}

// inRuns makes runs of T positions of the rows listed in todo, as many at a time as the
// memory budget takes; once makes one of some of them. What concerns one row alone is
// blamed on it, see run.Alone.
func inRuns(ctx context.Context, lm *models.LM, rows []Row, todo []int, T int, once func(list []int) error, blame func(row int, err error)) error {
	for len(todo) > 0 {
		n := lossRun(lm, rows, todo, T)
		err := run.Alone(ctx, once(todo[:n]), n,
			func(k int) error { return once(todo[k : k+1]) }, func(k int, err error) { blame(todo[k], err) })
		if err != nil {
			return err
		}
		todo = todo[n:]
	}
	return nil
}

// shiftable checks the sites of losses and returns their widths.
func shiftable(lm *models.LM, at []arch.Site) (graph.Losses, []int, error) {
	fail := func(err error) (graph.Losses, []int, error) {
		return graph.Losses{}, nil, fmt.Errorf("models: computing losses: %w", err)
	}
	if err := lm.Info().Differentiable(); err != nil {
		return fail(err)
	}
	if len(at) == 0 || len(at) > graph.MostSites || len(at) == 2 && at[0] == at[1] {
		return fail(fmt.Errorf("%w: %v: want one or two different sites", arch.ErrSite, at))
	}
	widths := make([]int, len(at))
	for i, s := range at {
		var err error
		if _, widths[i], err = lm.Info().Site(s); err != nil {
			return fail(err)
		}
	}
	return graph.LossesAt(at...), widths, nil
}

// checkLoss says what is wrong with a row.
func checkLoss(lm *models.LM, in *run.Intake, r Row, widths []int) error {
	width := 0
	for _, n := range widths {
		width += n
	}
	if len(r.IDs) == 0 || len(r.Terms) == 0 {
		return errors.New("models: computing losses: a row needs tokens and terms")
	}
	if _, err := in.Admit(r.Patch); err != nil {
		return err
	}
	if err := run.InVocabulary(lm, r.IDs); err != nil {
		return err
	}
	if err := run.Within(lm, len(r.IDs), 0); err != nil {
		return err
	}
	if r.At < 0 || r.At >= len(r.IDs) {
		return fmt.Errorf("models: computing losses: %w: position %d of a sequence of %d tokens", arch.ErrSite, r.At, len(r.IDs))
	}
	if n := len(r.Shift); r.Shift != nil && n != width && (!r.Everywhere || n != len(r.IDs)*width) {
		return fmt.Errorf("models: computing losses: the shift has %d elements, the sites %d", len(r.Shift), width)
	}
	for _, t := range r.Terms {
		if t.Position < 0 || t.Position >= len(r.IDs) {
			return fmt.Errorf("models: computing losses: a term at position %d of a sequence of %d tokens", t.Position, len(r.IDs))
		}
		if err := run.InVocabulary(lm, []int64{t.Target}); err != nil {
			return err
		}
		if n := len(t.Reference); (t.KL != 0 || t.Reverse != 0) && n != lm.Info().Vocab {
			return fmt.Errorf("models: computing losses: a reference of %d log-probabilities, vocabulary of %d", n, lm.Info().Vocab)
		}
	}
	return nil
}

// lossRun is how many of the rows, in order, share the next run: all with one
// dense patch or none, within the memory budget.
func lossRun(lm *models.LM, rows []Row, todo []int, T int) int {
	c, most, P := run.CostOf(lm, arch.Forward), run.MaxRows(lm), 0
	for n, i := range todo {
		r, first := rows[i], rows[todo[0]]
		P += len(r.Terms)
		load := run.LoadOf(lm, r.Patch)
		bytes := int64(lm.Info().Layers*backwardBlocks+1)*c.With(load).Bytes(n+1, T, 0, 0, load.Bytes()*int64(n+1)) + lossBytes*int64(P)*int64(lm.Info().Vocab)
		dense := r.Patch.Binding() == patch.BindDense || first.Patch.Binding() == patch.BindDense
		if n > 0 && (n >= most || bytes > lm.Budget() || dense && r.Patch != first.Patch) {
			return n
		}
	}
	return len(todo)
}

// runLosses makes one run of T positions.
func runLosses(ctx context.Context, lm *models.LM, sites graph.Losses, widths []int, rows []Row, list []int, T int, out []Loss) error {
	var of []Row
	for _, i := range list {
		of = append(of, rows[i])
	}
	questions, only := questionsOf(of)
	r := run.New(lm, arch.Forward, questions, only)
	r.Spec.Give, r.T = sites, T
	feedLosses(lm, r.Inputs, r.Outputs, of, make([]int, len(of)), widths)
	if err := r.Compute(ctx); err != nil {
		return fmt.Errorf("models: computing losses: %w", err)
	}
	for k, l := range readLosses(lm, r.Outputs, of, widths) {
		out[list[k]] = l
	}
	return nil
}

// questionsOf are the rows' sequences, and the patch of all of them, if it is one.
func questionsOf(rows []Row) (questions []*run.Question, only *patch.Patch) {
	only = rows[0].Patch
	for _, r := range rows {
		questions = append(questions, &run.Question{Sequence: run.Sequence{Prompt: r.IDs}, Patch: r.Patch})
		if r.Patch != only {
			only = nil
		}
	}
	return questions, only
}

// feedLosses adds the shifts and the terms of a run's rows to its inputs, and
// names the outputs to fetch in got. The run computes each row from the position in
// from on.
func feedLosses(lm *models.LM, feeds, got map[string]*tensor.Tensor, rows []Row, from []int, widths []int) {
	vocab, shifts := lm.Info().Vocab, make([][]float32, len(widths)) // by site
	var shiftAt, positions, targets []int64
	var weights []float32
	distributions, referred := false, false
	for b, r := range rows {
		at := 0
		for _, t := range r.places() {
			if at == len(r.Shift) {
				at = 0 // one shift for all positions
			}
			for k, width := range widths {
				shift := make([]float32, width)
				if r.Shift != nil {
					copy(shift, r.Shift[at:at+width])
					at += width
				}
				shifts[k] = append(shifts[k], shift...)
			}
			shiftAt = append(shiftAt, int64(b), int64(t-from[b]))
		}
		distributions = distributions || r.Distributions
		for _, t := range r.Terms {
			positions = append(positions, int64(b), int64(t.Position-from[b]))
			targets = append(targets, t.Target)
			weights = append(weights, float32(t.NLL), float32(t.Prob), float32(t.KL), float32(t.Reverse))
			referred = referred || t.KL != 0 || t.Reverse != 0
		}
	}
	reference := make([]float32, vocab)
	if referred {
		reference = make([]float32, len(targets)*vocab)
		p := 0
		for _, r := range rows {
			for _, t := range r.Terms {
				copy(reference[p*vocab:(p+1)*vocab], t.Reference)
				p++
			}
		}
	}
	feeds[graph.ShiftPlaces(0)] = tensor.FromInt64s(shiftAt, len(shiftAt)/2, 2)
	feeds[graph.LossPositions] = tensor.FromInt64s(positions, len(targets), 2)
	feeds[graph.LossTargets] = tensor.FromInt64s(targets, len(targets))
	feeds[graph.LossWeights] = tensor.FromFloat32s(weights, len(targets), 4)
	feeds[graph.LossReference] = tensor.FromFloat32s(reference, len(reference)/vocab, vocab)
	for _, name := range []string{graph.LossTerms, graph.LossLogProb, graph.LossBest} {
		got[name] = nil
	}
	for k, width := range widths {
		feeds[graph.Shift(k)] = tensor.FromFloat32s(shifts[k], len(shiftAt)/2, width)
		got[graph.ShiftGradient(k)] = nil
	}
	if distributions {
		got[graph.LossLogProbs] = nil
	}
}

// readLosses reads what feedLosses had fetched, by row.
func readLosses(lm *models.LM, got map[string]*tensor.Tensor, rows []Row, widths []int) []Loss {
	gradients := make([][]float32, len(widths))
	for k := range widths {
		gradients[k] = got[graph.ShiftGradient(k)].Float32s()
	}
	vocab, terms, logProb, best := lm.Info().Vocab, got[graph.LossTerms].Float32s(), got[graph.LossLogProb].Float32s(), got[graph.LossBest].Float32s()
	out, p := make([]Loss, len(rows)), 0
	for i, r := range rows {
		l, n := &out[i], len(r.Terms)
		for range r.places() {
			for k, width := range widths {
				l.Gradient, gradients[k] = append(l.Gradient, gradients[k][:width]...), gradients[k][width:]
			}
		}
		for k, t := range r.Terms {
			for j, w := range []float64{t.NLL, t.Prob, t.KL, t.Reverse} {
				if weight := float32(w); weight != 0 { // an unused term may be infinite
					l.Loss += float64(weight) * float64(terms[4*(p+k)+j])
				}
			}
			l.LogProbs = append(l.LogProbs, float64(logProb[p+k]))
			l.Best = append(l.Best, float64(best[p+k]))
		}
		if r.Distributions {
			l.Distributions = tensor.FromFloat32s(slices.Clone(got[graph.LossLogProbs].Float32s()[p*vocab:(p+n)*vocab]), n, vocab)
		}
		p += n
	}
	return out
}
