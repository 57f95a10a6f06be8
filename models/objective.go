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
	// does; nil stands for zeros. Where there are several sites it holds their
	// shifts one behind the other.
	At    int
	Shift []float32 // [width]
	// Everywhere adds Shift at every position instead, which at FFNOut is a change
	// of the bias, or one for each position, [len(IDs) width], position by position,
	// as a change of the weight has there. Loss.Gradient has a row for each position.
	Everywhere bool
	Terms      []LossTerm
	// Distributions asks for Loss.Distributions.
	Distributions bool
}

// Loss is the outcome of a LossRow.
type Loss struct {
	Loss     float64   // weighted sum over the terms, nats
	LogProbs []float64 // of each term's target
	Best     []float64 // of the most probable token at each term's position
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

	shiftInput     = "editpipe.shift"          // [N, width]; of further sites with their number, see numbered
	shiftPositions = "editpipe.shift_at"       // [N, 2]
	shiftGradient  = "editpipe.shift_gradient" // [N, width]; likewise
	termsOutput    = "editpipe.loss_terms"     // [P, 4]
	logProbOutput  = "editpipe.log_prob"       // [P]
	bestOutput     = "editpipe.best"           // [P]
	logProbsOutput = "editpipe.log_probs"      // [P, V]
)

// backwardBlocks is how many times the activations of a block, as in cost.bytes,
// a differentiated block holds: those of the way there, until the way back.
const backwardBlocks = 2

// lossBytes is what a run holds for each term and word of the vocabulary:
// logits, their distribution, the reference and four terms of both.
const lossBytes = 40

// mostSites is how many sites can be shifted together.
const mostSites = 2

// differentiated is the sites of a graph with a loss.
type differentiated struct {
	n  int // 0: none
	at [mostSites]arch.Site
}

func (d differentiated) on() bool           { return d.n > 0 }
func (d differentiated) sites() []arch.Site { return d.at[:d.n] }

// changing lists the inputs that shifts and losses come in by.
func (d differentiated) changing() []string {
	list := []string{shiftPositions, lossPositions, lossTargets, lossWeights, lossReference}
	for k := range d.n {
		list = append(list, numbered(shiftInput, k))
	}
	return list
}

// numbered is the name of a shift's input or output, by site.
func numbered(name string, site int) string {
	if site == 0 {
		return name
	}
	return fmt.Sprintf("%s_%d", name, site)
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
// padded alike give alike bits. The results are parallel to rows. Routes of a
// patch do not take part.
//
// Decoder-only models in float32 can be differentiated; ErrNoGradient is
// returned for others and ErrSite for a site that the graph does not show.
func (lm *LM) Losses(ctx context.Context, at arch.Site, rows []LossRow) ([]Loss, error) {
	return lm.LossesAt(ctx, []arch.Site{at}, rows)
}

// LossesAt is Losses with a shift at each of one or two sites, all at the row's
// positions: shifts and gradients hold those of the sites one behind the other,
// [width of the first + width of the second].
func (lm *LM) LossesAt(ctx context.Context, at []arch.Site, rows []LossRow) ([]Loss, error) {
	sites, widths, err := lm.shiftable(at)
	if err != nil {
		return nil, err
	}
	return lm.losses(ctx, sites, widths, rows, 0)
}

// losses computes losses with rows of at least T positions.
func (lm *LM) losses(ctx context.Context, sites differentiated, widths []int, rows []LossRow, T int) ([]Loss, error) {
	out := make([]Loss, len(rows))
	w := lm.newWave()
	var todo []int
	for i, r := range rows {
		if out[i].Err = w.checkLoss(r, widths); out[i].Err == nil {
			todo = append(todo, i)
			T = max(T, len(r.IDs))
		}
	}
	for len(todo) > 0 {
		n := lm.lossRun(rows, todo, T)
		run := func(list []int) error { return lm.runLosses(ctx, sites, widths, rows, list, T, out) }
		err := apart(ctx, run(todo[:n]), n, func(k int) error { return run(todo[k : k+1]) }, func(k int, err error) { out[todo[k]].Err = err })
		if err != nil {
			return nil, err
		}
		todo = todo[n:]
	}
	return out, nil
}

// shiftable checks the sites of losses and returns their widths.
func (lm *LM) shiftable(at []arch.Site) (differentiated, []int, error) {
	sites, widths := differentiated{n: len(at)}, make([]int, len(at))
	fail := func(err error) (differentiated, []int, error) {
		return sites, nil, fmt.Errorf("models: computing losses: %w", err)
	}
	switch {
	case lm.info.NoGradient != "":
		return fail(fmt.Errorf("%w: %s", ErrNoGradient, lm.info.NoGradient))
	case len(at) == 0 || len(at) > mostSites || len(at) == 2 && at[0] == at[1]:
		return fail(fmt.Errorf("%w: %v: want one or two different sites", ErrSite, at))
	}
	copy(sites.at[:], at)
	for i, s := range at {
		f := lm.info.FFN(s.Side, s.Layer)
		if f == nil {
			return fail(fmt.Errorf("%w: %s: the model has no such layer", ErrSite, s))
		}
		if value, why := f.Value(s.Point); value == "" {
			return fail(fmt.Errorf("%w: %s: %s", ErrSite, s, why))
		}
		widths[i] = siteWidth(f, s.Point)
	}
	return sites, widths, nil
}

// checkLoss says what is wrong with a row.
func (w *wave) checkLoss(r LossRow, widths []int) error {
	width := 0
	for _, n := range widths {
		width += n
	}
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
	if n := len(r.Shift); r.Shift != nil && n != width && (!r.Everywhere || n != len(r.IDs)*width) {
		return fmt.Errorf("models: computing losses: the shift has %d elements, the sites %d", len(r.Shift), width)
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
		bytes := int64(lm.info.Layers*backwardBlocks+1)*c.bytes(n+1, T, 0, 0, lm.factorBytes(r.Patch.ranks())*int64(n+1)) + lossBytes*int64(P)*int64(lm.info.Vocab)
		dense := r.Patch.Binding() == BindDense || first.Patch.Binding() == BindDense
		if n > 0 && (n >= most || bytes > lm.opts.MemoryBudget || dense && r.Patch != first.Patch) {
			return n
		}
	}
	return len(todo)
}

// runLosses makes one run of T positions.
func (lm *LM) runLosses(ctx context.Context, sites differentiated, widths []int, rows []LossRow, list []int, T int, out []Loss) error {
	var jobs []*job
	var of []LossRow
	only := rows[list[0]].Patch
	for _, i := range list {
		r := rows[i]
		of = append(of, r)
		jobs = append(jobs, r.job())
		if r.Patch != only {
			only = nil
		}
	}
	in := lm.newInput(forward, jobs, only)
	in.v.loss, in.T = sites, T
	feeds, err := lm.patchFeeds(in.v, jobs, only)
	if err != nil {
		return err
	}
	in.tokens(feeds)
	got := lm.feedLosses(feeds, of, make([]int, len(of)), widths)
	s, err := lm.session(ctx, in.v)
	if err != nil {
		return err
	}
	if err := s.Run(ctx, feeds, got); err != nil {
		return fmt.Errorf("models: computing losses of %s on %d rows of %d tokens: %w: %w", lm.Name(), in.rows, in.T, ErrRun, err)
	}
	for k, l := range lm.readLosses(got, of, widths) {
		out[list[k]] = l
	}
	return nil
}

// job is the row's sequence. A job's last id is a target, which is never fed.
func (r LossRow) job() *job {
	return &job{joined: joined{ids: append(slices.Clone(r.IDs), 0), first: len(r.IDs)}, patch: r.Patch}
}

// feedLosses adds the shifts and the terms of a run's rows to its inputs, and
// returns the outputs to fetch. The run computes each row from the position in
// from on.
func (lm *LM) feedLosses(feeds map[string]*tensor.Tensor, rows []LossRow, from []int, widths []int) (got map[string]*tensor.Tensor) {
	vocab, shifts := lm.info.Vocab, make([][]float32, len(widths)) // by site
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
	feeds[shiftPositions] = tensor.FromInt64s(shiftAt, len(shiftAt)/2, 2)
	feeds[lossPositions] = tensor.FromInt64s(positions, len(targets), 2)
	feeds[lossTargets] = tensor.FromInt64s(targets, len(targets))
	feeds[lossWeights] = tensor.FromFloat32s(weights, len(targets), 4)
	feeds[lossReference] = tensor.FromFloat32s(reference, len(reference)/vocab, vocab)
	got = map[string]*tensor.Tensor{termsOutput: nil, logProbOutput: nil, bestOutput: nil}
	for k, width := range widths {
		feeds[numbered(shiftInput, k)] = tensor.FromFloat32s(shifts[k], len(shiftAt)/2, width)
		got[numbered(shiftGradient, k)] = nil
	}
	if distributions {
		got[logProbsOutput] = nil
	}
	return got
}

// readLosses reads what feedLosses had fetched, by row.
func (lm *LM) readLosses(got map[string]*tensor.Tensor, rows []LossRow, widths []int) []Loss {
	gradients := make([][]float32, len(widths))
	for k := range widths {
		gradients[k] = got[numbered(shiftGradient, k)].Float32s()
	}
	vocab, terms, logProb, best := lm.info.Vocab, got[termsOutput].Float32s(), got[logProbOutput].Float32s(), got[bestOutput].Float32s()
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
			l.Distributions = tensor.FromFloat32s(slices.Clone(got[logProbsOutput].Float32s()[p*vocab:(p+n)*vocab]), n, vocab)
		}
		p += n
	}
	return out
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

// addShifts makes the values of sites read shifts.
func addShifts(m *onnx.Model, g *arch.Graph, at []arch.Site) error {
	for k, s := range at {
		for _, f := range g.FFNs {
			if f.Side == s.Side && f.Layer == s.Layer {
				if err := grad.AddDeltaAlong(m, f.Shifted(s.Point), g.Ports.IDs, numbered(shiftInput, k), shiftPositions); err != nil {
					return fmt.Errorf("%w: %w", ErrNoGradient, err)
				}
			}
		}
	}
	return nil
}

// addLoss puts a loss in the place of the logits, with its gradient.
func (lm *LM) addLoss(m *onnx.Model, g *arch.Graph, sites int) error {
	h, err := addHead(m, g)
	if err != nil {
		return err
	}
	var shifts []string
	for k := range sites {
		shifts = append(shifts, numbered(shiftInput, k))
	}
	d, err := grad.Gradients(m, h.Loss, shifts...)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoGradient, err)
	}
	b := m.Builder()
	terms, vocab := onnx.Symbolic("terms"), onnx.Dim{Value: int64(lm.info.Vocab)}
	for k, name := range d {
		b.Output(name, numbered(shiftGradient, k), onnx.Float, symbolic("shifts", numbered("shift_width", k)))
	}
	b.Output(h.Terms, termsOutput, onnx.Float, []onnx.Dim{terms, {Value: 4}})
	b.Output(h.LogProb, logProbOutput, onnx.Float, []onnx.Dim{terms})
	b.Output(highest(b, m.Opset(""), h.LogProbs), bestOutput, onnx.Float, []onnx.Dim{terms})
	b.Output(h.LogProbs, logProbsOutput, onnx.Float, []onnx.Dim{terms, vocab})
	return nil
}

// addHead puts a loss in the place of the logits.
func addHead(m *onnx.Model, g *arch.Graph) (*grad.Head, error) {
	h, err := grad.AddHead(m, g.Ports.Logits, g.Head.X)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoGradient, err)
	}
	if names := []string{h.Positions, h.Targets, h.Weights, h.Reference}; !slices.Equal(names, []string{lossPositions, lossTargets, lossWeights, lossReference}) {
		return nil, fmt.Errorf("%w: it has values of the names that the loss needs; the loss got %v", ErrNoGradient, names)
	}
	return h, nil
}

// highest is the largest element of every row. From opset 18 on the axes of the
// operation are an input.
func highest(b *onnx.Builder, opset int64, value string) string {
	keep := onnx.AttrInt("keepdims", 0)
	if opset >= 18 {
		return b.Op("ReduceMax", []string{value, b.Int64s(-1)}, keep)
	}
	return b.Op("ReduceMax", []string{value}, keep, onnx.AttrInts("axes", -1))
}
