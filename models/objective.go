package models

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"editpipe/ask"
	"editpipe/models/arch"
	"editpipe/onnx"
	"editpipe/onnx/grad"
	"editpipe/tensor"
)

// ErrNoGradient is returned when a model cannot be differentiated: its form, its
// number format or an operator on the way is not supported.
var ErrNoGradient = errors.New("model cannot be differentiated")

// LossTerm is a loss at one position of a sequence. With the next-token
// distribution p there, its logarithm s and the reference q it is worth
//
//	NLL (-s_t) + Prob p_t + KL KL(p || e^q) + Reverse KL(e^q || p)
type LossTerm struct {
	Position int
	Target   int64 // t
	// Weights; Reference is needed where KL or Reverse is not 0.
	NLL, Prob, KL, Reverse float64
	Reference              []float32 // [V] natural log-probabilities, finite
}

// LossRow is a sequence, asked through a patch, with its losses.
type LossRow struct {
	IDs   []int64 // template tokens included
	Patch *Patch
	// Shift is added to the site's value at position At, behind what the patch
	// does; nil stands for zeros.
	At    int
	Shift []float32 // [width]
	// Everywhere adds Shift at every position instead, which at FFNOut is a change
	// of the bias, and gives Loss.Gradient a row for each of them.
	Everywhere bool
	Terms      []LossTerm
	// Distributions asks for Loss.Distributions.
	Distributions bool
}

// Loss is the outcome of a LossRow.
type Loss struct {
	Loss     float64   // weighted sum over the terms, nats
	LogProbs []float64 // of each term's target
	Gradient []float32 // d Loss / d Shift, [width]; by position with LossRow.Everywhere, [len(IDs), width]
	// Distributions are log-probabilities at the terms' positions, [terms, V].
	Distributions *tensor.Tensor
	Err           error // why this row has none
}

// Names of the inputs and outputs of a graph with a loss. The first four are
// those that grad.AddHead chooses in a graph that does not use them itself.
const (
	lossPositions = "loss_positions"
	lossTargets   = "loss_targets"
	lossWeights   = "loss_weights"
	lossReference = "loss_reference"

	shiftInput     = "editpipe.shift"          // [N, width]
	shiftPositions = "editpipe.shift_at"       // [N, 2]
	shiftGradient  = "editpipe.shift_gradient" // [N, width]
	termsOutput    = "editpipe.loss_terms"     // [P, 4]
	logProbOutput  = "editpipe.log_prob"       // [P]
	logProbsOutput = "editpipe.log_probs"      // [P, V]
)

// backwardBlocks is how many times the activations of a block, as in cost.bytes,
// a differentiated block holds: those of the way there, until the way back.
const backwardBlocks = 2

// differentiated is the site of a graph with a loss.
type differentiated struct {
	on bool
	at Site
}

// places lists the positions of the row's shift.
func (r LossRow) places() []int {
	if !r.Everywhere {
		return []int{r.At}
	}
	at := make([]int, len(r.IDs))
	for i := range at {
		at[i] = i
	}
	return at
}

// Losses computes losses and their gradients with respect to a shift of the
// value at a site, one shift per row. Many rows share a run; rows do not
// influence each other. All are padded to the longest, in whatever runs they
// end, since a search repeats roundings on a scale of its own: rows that are
// padded alike give alike bits. The results are parallel to rows. Wraps of a
// patch do not take part.
//
// Decoder-only models in float32 can be differentiated; ErrNoGradient is
// returned for others and ErrSite for a site that the graph does not show.
func (lm *LM) Losses(ctx context.Context, at Site, rows []LossRow) ([]Loss, error) {
	f := lm.info.FFN(at.Side, at.Layer)
	switch {
	case lm.anatomy.Encoder != nil:
		return nil, fmt.Errorf("models: computing losses: %w: it has an encoder", ErrNoGradient)
	case lm.info.DType != "float32":
		return nil, fmt.Errorf("models: computing losses: %w: it is %s, want float32", ErrNoGradient, lm.info.DType)
	case f == nil:
		return nil, fmt.Errorf("models: computing losses: %w: %s: the model has no such layer", ErrSite, at)
	}
	if value, why := f.Value(at.Point); value == "" {
		return nil, fmt.Errorf("models: computing losses: %w: %s: %s", ErrSite, at, why)
	}
	out := make([]Loss, len(rows))
	w := lm.newWave()
	var todo []int
	T := 0
	for i, r := range rows {
		if out[i].Err = w.checkLoss(r, siteWidth(f, at.Point)); out[i].Err == nil {
			todo = append(todo, i)
			T = max(T, len(r.IDs))
		}
	}
	for len(todo) > 0 {
		n := lm.lossRun(rows, todo, T)
		if err := lm.runLosses(ctx, at, rows, todo[:n], T, out); err != nil {
			return nil, err
		}
		todo = todo[n:]
	}
	return out, nil
}

// checkLoss says what is wrong with a row.
func (w *wave) checkLoss(r LossRow, width int) error {
	if len(r.IDs) == 0 || len(r.Terms) == 0 {
		return errors.New("models: computing losses: a row needs tokens and terms")
	}
	if _, err := w.admit(r.Patch); err != nil {
		return err
	}
	if err := w.lm.inVocabulary(r.IDs); err != nil {
		return err
	}
	if err := w.lm.fits(len(r.IDs), 0); err != nil {
		return err
	}
	if r.At < 0 || r.At >= len(r.IDs) {
		return fmt.Errorf("models: computing losses: %w: position %d of a sequence of %d tokens", ErrSite, r.At, len(r.IDs))
	}
	if r.Shift != nil && len(r.Shift) != width {
		return fmt.Errorf("models: computing losses: the shift has %d elements, the site %d", len(r.Shift), width)
	}
	for _, t := range r.Terms {
		if t.Position < 0 || t.Position >= len(r.IDs) {
			return fmt.Errorf("models: computing losses: a term at position %d of a sequence of %d tokens", t.Position, len(r.IDs))
		}
		if err := w.lm.inVocabulary([]int64{t.Target}); err != nil {
			return err
		}
		if n := len(t.Reference); (t.KL != 0 || t.Reverse != 0) && n != w.lm.info.Vocab {
			return fmt.Errorf("models: computing losses: a reference of %d log-probabilities, vocabulary of %d", n, w.lm.info.Vocab)
		}
	}
	return nil
}

// lossRun is how many of the rows, in order, share the next run: all with one
// dense patch or none, within the memory budget.
func (lm *LM) lossRun(rows []LossRow, todo []int, T int) int {
	c, most, P := lm.cost(forward), lm.maxRows(), 0
	for n, i := range todo {
		r, first := rows[i], rows[todo[0]]
		P += len(r.Terms)
		// Logits, their distribution, the reference and four terms of both.
		bytes := int64(lm.info.Layers*backwardBlocks+1)*c.bytes(n+1, T, 0, 0, lm.factorBytes(r.Patch.ranks())*int64(n+1)) + 40*int64(P)*int64(lm.info.Vocab)
		dense := r.Patch.Binding() == BindDense || first.Patch.Binding() == BindDense
		if n > 0 && (n >= most || bytes > lm.opts.MemoryBudget || dense && r.Patch != first.Patch) {
			return n
		}
	}
	return len(todo)
}

// runLosses makes one run of T positions.
func (lm *LM) runLosses(ctx context.Context, at Site, rows []LossRow, list []int, T int, out []Loss) error {
	var jobs []*job
	only := rows[list[0]].Patch
	width, vocab := siteWidth(lm.info.FFN(at.Side, at.Layer), at.Point), lm.info.Vocab
	var shifts []float32
	var shiftAt, positions, targets []int64
	var weights []float32
	distributions, referred := false, false
	for b, i := range list {
		r := rows[i]
		jobs = append(jobs, &job{joined: joined{ids: append(slices.Clone(r.IDs), 0), first: len(r.IDs)}, patch: r.Patch})
		if r.Patch != only {
			only = nil
		}
		shift := r.Shift
		if shift == nil {
			shift = make([]float32, width)
		}
		for _, t := range r.places() {
			shifts = append(shifts, shift...)
			shiftAt = append(shiftAt, int64(b), int64(t))
		}
		distributions = distributions || r.Distributions
		for _, t := range r.Terms {
			positions = append(positions, int64(b), int64(t.Position))
			targets = append(targets, t.Target)
			weights = append(weights, float32(t.NLL), float32(t.Prob), float32(t.KL), float32(t.Reverse))
			referred = referred || t.KL != 0 || t.Reverse != 0
		}
	}
	reference := make([]float32, vocab)
	if referred {
		reference = make([]float32, len(targets)*vocab)
		p := 0
		for _, i := range list {
			for _, t := range rows[i].Terms {
				copy(reference[p*vocab:(p+1)*vocab], t.Reference)
				p++
			}
		}
	}
	in := lm.newInput(forward, jobs, only)
	in.v.loss, in.T = differentiated{on: true, at: at}, T
	feeds, err := lm.patchFeeds(in.v, jobs, only)
	if err != nil {
		return err
	}
	in.tokens(feeds)
	feeds[shiftInput] = tensor.FromFloat32s(shifts, len(shiftAt)/2, width)
	feeds[shiftPositions] = tensor.FromInt64s(shiftAt, len(shiftAt)/2, 2)
	feeds[lossPositions] = tensor.FromInt64s(positions, len(targets), 2)
	feeds[lossTargets] = tensor.FromInt64s(targets, len(targets))
	feeds[lossWeights] = tensor.FromFloat32s(weights, len(targets), 4)
	feeds[lossReference] = tensor.FromFloat32s(reference, len(reference)/vocab, vocab)
	got := map[string]*tensor.Tensor{shiftGradient: nil, termsOutput: nil, logProbOutput: nil}
	if distributions {
		got[logProbsOutput] = nil
	}
	s, err := lm.session(ctx, in.v)
	if err != nil {
		return err
	}
	if err := s.Run(ctx, feeds, got); err != nil {
		return fmt.Errorf("models: computing losses of %s on %d rows of %d tokens: %w", lm.Name(), in.rows, in.T, err)
	}
	gradient, terms, logProb := got[shiftGradient].Float32s(), got[termsOutput].Float32s(), got[logProbOutput].Float32s()
	p := 0
	for _, i := range list {
		l, n := &out[i], len(rows[i].Terms)
		size := len(rows[i].places()) * width
		l.Gradient, gradient = slices.Clone(gradient[:size]), gradient[size:]
		for k := p; k < p+n; k++ {
			for j, weight := range weights[4*k : 4*k+4] {
				if weight != 0 { // an unused term may be infinite
					l.Loss += float64(weight) * float64(terms[4*k+j])
				}
			}
			l.LogProbs = append(l.LogProbs, float64(logProb[k]))
		}
		if rows[i].Distributions {
			l.Distributions = tensor.FromFloat32s(slices.Clone(got[logProbsOutput].Float32s()[p*vocab:(p+n)*vocab]), n, vocab)
		}
		p += n
	}
	return nil
}

// Continuation returns the ids of a prompt, template included, and those of a
// target behind it, by the join rule that Score follows. For decoder-only models.
func (lm *LM) Continuation(prompt, target string) (before, behind []int64, err error) {
	q := ask.Query{Prompt: prompt, Targets: []string{target}}
	if before, err = lm.promptIDs(q); err != nil {
		return nil, nil, err
	}
	j, err := lm.join(q, before, 0)
	if err != nil {
		return nil, nil, err
	}
	return before, j.gold(), nil
}

// addShift makes the value of a site read a shift.
func addShift(m *onnx.Model, g *arch.Graph, at Site) error {
	for _, f := range g.FFNs {
		if f.Side == at.Side && f.Layer == at.Layer {
			value, _ := f.Value(at.Point)
			if err := grad.AddDelta(m, value, shiftInput, shiftPositions); err != nil {
				return fmt.Errorf("%w: %w", ErrNoGradient, err)
			}
		}
	}
	return nil
}

// addLoss puts a loss in the place of the logits, with its gradient.
func (lm *LM) addLoss(m *onnx.Model, g *arch.Graph) error {
	h, err := grad.AddHead(m, g.Ports.Logits, g.Head.X)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoGradient, err)
	}
	if names := []string{h.Positions, h.Targets, h.Weights, h.Reference}; !slices.Equal(names, []string{lossPositions, lossTargets, lossWeights, lossReference}) {
		return fmt.Errorf("%w: it has values of the names that the loss needs; the loss got %v", ErrNoGradient, names)
	}
	d, err := grad.Gradients(m, h.Loss, shiftInput)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoGradient, err)
	}
	b := m.Builder()
	terms, vocab := onnx.Symbolic("terms"), onnx.Dim{Value: int64(lm.info.Vocab)}
	b.Output(d[0], shiftGradient, onnx.Float, symbolic("shifts", "shift_width"))
	b.Output(h.Terms, termsOutput, onnx.Float, []onnx.Dim{terms, {Value: 4}})
	b.Output(h.LogProb, logProbOutput, onnx.Float, []onnx.Dim{terms})
	b.Output(h.LogProbs, logProbsOutput, onnx.Float, []onnx.Dim{terms, vocab})
	return nil
}
