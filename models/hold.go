package models

import (
	"context"
	"editpipe/models/arch"
	"errors"
	"fmt"
	"maps"
	"slices"

	"editpipe/ort"
	"editpipe/tensor"
)

// Held computes the losses of the same sequences time after time, for searches
// of shifts. What no shift reaches is computed once:
//
//   - the layers below the sites, and whatever else depends on no shift;
//   - the positions before a row's first shift and term, whose keys and values
//     stand in for them. This takes a graph with past keys and values that keeps
//     rows of unequal length apart.
//
// What lies behind a row's last term is left out, and without a patch the graph
// has no slots. A model whose graph cannot be divided is asked through
// [LM.LossesAt]. The results are those of LossesAt, but for the order in which
// products are added up.
//
// A Held is for one goroutine and must be closed before its model.
type Held struct {
	lm     *LM
	sites  differentiated
	widths []int
	rows   []LossRow
	beside int
	saves  saving
	runs   []*heldRun // nil where nothing is saved
}

// saving says what a Held computes once.
type saving uint8

const (
	savesNothing saving = iota
	savesLayers         // what no shift reaches
	savesBoth           // and the positions before it
)

// shortcut is the saving by name.
func (s saving) shortcut() shortcut {
	if s == savesBoth {
		return heldPositions
	}
	return heldLayers
}

// errUndivided is returned when a graph does not allow a saving.
var errUndivided = errors.New("the graph cannot be divided")

// paddedTo is what numbers of positions are rounded up to, so that more searches
// are padded alike.
const paddedTo = 4

// Side is how many Helds are best used side by side, given enough rows: one per
// thread of the processor, since most kernels of a search are too short to be
// divided; other providers take one after another.
func (lm *LM) Side() int {
	if lm.opts.Provider.Name != "cpu" {
		return 1
	}
	if lm.opts.Threads > 0 {
		return lm.opts.Threads
	}
	return ort.DefaultThreads()
}

// Hold prepares losses of rows. Their shifts and terms may change from call to
// call; terms stay within the positions that the rows' own terms span. beside is
// how many Helds are in use at one time, 1 or more: each has its share of the
// threads and of the memory budget. Errors are those of LossesAt, and those of
// rows.
func (lm *LM) Hold(ctx context.Context, at []arch.Site, rows []LossRow, beside int) (*Held, error) {
	var failed func() // takes note of a saving that failed in a run
	for s := savesBoth; ; s-- {
		if s != savesNothing && lm.without(s.shortcut()) {
			continue
		}
		h, err := lm.hold(ctx, at, rows, beside, s)
		switch {
		case err == nil || s == savesNothing:
			if err == nil && failed != nil && h.runs != nil { // else nothing shows yet what is at fault
				failed()
			}
			return h, err
		case ctx.Err() != nil:
			return nil, fmt.Errorf("models: preparing losses: %w", ctx.Err())
		case !errors.Is(err, errUndivided) && !errors.Is(err, ErrNoGradient) && failed == nil:
			failed = func() { lm.abandon(s.shortcut(), err) }
		}
	}
}

// hold is Hold with a choice of what is saved.
func (lm *LM) hold(ctx context.Context, at []arch.Site, rows []LossRow, beside int, s saving) (*Held, error) {
	sites, widths, err := lm.shiftable(at)
	if err != nil {
		return nil, err
	}
	w := lm.newWave()
	for i, r := range rows {
		if err := w.checkLoss(r, widths); err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
	}
	h := &Held{lm: lm, sites: sites, widths: widths, rows: rows, beside: beside, saves: s}
	if s == savesNothing || len(rows) == 0 {
		return h, nil
	}
	if err := h.plan(ctx, s); err != nil {
		return nil, err
	}
	for _, r := range h.runs {
		if err := r.start(ctx); err != nil {
			return nil, errors.Join(err, h.Close())
		}
	}
	return h, nil
}

// HoldRows is how many of the rows, in order, one run of a Held takes: those
// within its share of the memory budget, all of one dense patch or of none.
func (lm *LM) HoldRows(at []arch.Site, rows []LossRow, beside int) int {
	blocks := 0 // that are differentiated
	for _, s := range at {
		blocks = max(blocks, lm.info.Layers-s.Layer)
	}
	before, behind := Span(rows)
	c, most, terms := lm.cost(forward), lm.maxRows(), 0
	for n, r := range rows {
		terms += len(r.Terms)
		B := n + 1
		block := c.bytes(B, behind, 0, 0, lm.factorBytes(r.Patch.ranks())*int64(B)) + 8*int64(B*c.heads*behind*before)
		kept := int64(B)*lm.pastBytes(before) + block
		bytes := kept + int64(blocks*backwardBlocks+1)*block + lossBytes*int64(terms)*int64(lm.info.Vocab)
		dense := r.Patch.Binding() == BindDense || rows[0].Patch.Binding() == BindDense
		if n > 0 && (n >= most || bytes > lm.opts.MemoryBudget/int64(beside) || dense && r.Patch != rows[0].Patch) {
			return n
		}
	}
	return len(rows)
}

// pastBytes is the size of one row's keys and values of some positions.
func (lm *LM) pastBytes(positions int) int64 {
	if lm.anatomy.Step == nil {
		return 0
	}
	var n int64
	for _, c := range lm.anatomy.Step.Ports.Past {
		size := int64(positions) * 4
		for i, d := range c.Shape {
			if i != c.Rows && i != c.Length {
				size *= max(d, 1)
			}
		}
		n += size
	}
	return n
}

// reach is the first position of a row that a shift or a term is at, and the one
// behind the last.
func (r LossRow) reach() (first, end int) {
	if r.Everywhere {
		return 0, len(r.IDs)
	}
	first, end = r.At, r.At+1
	for _, t := range r.Terms {
		first, end = min(first, t.Position), max(end, t.Position+1)
	}
	return first, end
}

// Span is the number of positions that a Held of rows keeps in front of each row,
// rounded up, and of those that it computes every time; these are rounded up where
// shifts are everywhere, since few texts have one length. Rows of Helds that agree
// in both are padded alike and get alike bits.
func Span(rows []LossRow) (before, behind int) {
	everywhere := false
	for _, r := range rows {
		first, end := r.reach()
		before, behind = max(before, first), max(behind, end-first)
		everywhere = everywhere || r.Everywhere
	}
	up := func(n int) int { return (n + paddedTo - 1) / paddedTo * paddedTo }
	if everywhere {
		behind = up(behind)
	}
	return up(before), behind
}

// length is the number of positions that rows are padded to as a whole.
func (h *Held) length() int {
	before, behind := Span(h.rows)
	if c := h.lm.info.Context; c > 0 {
		return min(before+behind, c)
	}
	return before + behind
}

// plan lays out the runs.
func (h *Held) plan(ctx context.Context, s saving) error {
	lm, from := h.lm, make([]int, len(h.rows))
	before, T := Span(h.rows)
	if s == savesBoth {
		st := lm.anatomy.Step
		switch c := lm.info.Context; {
		case st == nil:
			return fmt.Errorf("%w: no graph takes keys and values", errUndivided)
		case before == 0:
			return fmt.Errorf("%w: no position is before the shifts", errUndivided)
		case c > 0 && before+T > c:
			return fmt.Errorf("%w: with padding a row is longer than the context", errUndivided)
		case !lm.keepsApart(ctx, h.unpatched(), before+T):
			return fmt.Errorf("%w: padding before keys and values is not without effect", errUndivided)
		}
		for i, r := range h.rows {
			from[i], _ = r.reach()
		}
	} else {
		before, T = 0, h.length()
	}
	for k := 0; k < len(h.rows); {
		n := lm.HoldRows(h.sites.sites(), h.rows[k:], h.beside)
		r := &heldRun{h: h, first: k, rows: h.rows[k : k+n], from: from[k : k+n]}
		if err := r.layOut(before, T, s); err != nil {
			return err
		}
		h.runs = append(h.runs, r)
		k += n
	}
	return nil
}

// unpatched is the graph with past that most runs use, asked without a patch.
func (h *Held) unpatched() variant {
	v := h.lm.newVariant(step, nil, nil)
	if !slices.ContainsFunc(h.rows, func(r LossRow) bool { return r.Patch.Binding() != BindNone }) {
		v.slots = noSlots
	}
	if h.beside > 1 {
		v.beside = h.beside
	}
	return v
}

// heldRun is the rows of one run.
type heldRun struct {
	h     *Held
	first int // of h.rows
	rows  []LossRow
	from  []int // position from which each row is computed
	v     variant
	feeds map[string]*tensor.Tensor // inputs that stay as they are
	kept  map[string]*ort.Resident  // likewise, computed
}

// layOut makes the inputs that stay: the patch, and T positions of each row
// behind as many as before says.
func (r *heldRun) layOut(before, T int, s saving) (err error) {
	lm := r.h.lm
	var jobs []*job
	only, patched := r.rows[0].Patch, false
	for _, row := range r.rows {
		jobs = append(jobs, row.job())
		patched = patched || row.Patch.Binding() != BindNone
		if row.Patch != only {
			only = nil
		}
	}
	of := forward
	if s == savesBoth {
		of = step
	}
	if r.v = lm.newVariant(of, jobs, only); !patched {
		r.v.slots = noSlots
	}
	if r.h.beside > 1 {
		r.v.beside = r.h.beside
	}
	if r.feeds, err = lm.patchFeeds(r.v, jobs, only); err != nil {
		return err
	}
	B, ports := len(jobs), lm.graph(of).Ports
	ids, pos, mask := make([]int64, B*T), make([]int64, B*T), make([]int64, B*(before+T))
	for b, row := range r.rows {
		_, end := row.reach()
		seen := mask[b*(before+T):]
		for t := before - r.from[b]; t < before; t++ {
			seen[t] = 1
		}
		for t := range T {
			at := r.from[b] + t
			if at >= end {
				ids[b*T+t], pos[b*T+t] = lm.pad(), int64(t)
				if ports.Lengths { // see input.tokens
					seen[before+t] = 1
				}
				continue
			}
			ids[b*T+t], pos[b*T+t], seen[before+t] = row.IDs[at], int64(at), 1
		}
	}
	feedTokens(r.feeds, ports, B, T, ids, mask, pos)
	for _, c := range ports.Past {
		r.feeds[c.In] = emptyPast(c, B)
	}
	return nil
}

// start computes what stays.
func (r *heldRun) start(ctx context.Context) error {
	lm, v := r.h.lm, r.v
	r.kept = map[string]*ort.Resident{}
	if v.role == step {
		if err := r.remember(ctx); err != nil {
			return err
		}
	}
	v.loss, v.half = r.h.sites, standing
	s, err := lm.session(ctx, v)
	if err != nil {
		return err
	}
	var keep []string
	for _, o := range s.Outputs() {
		keep = append(keep, o.Name)
	}
	feeds, held := r.inputs(s)
	kept, err := s.RunResident(ctx, feeds, held, nil, keep...)
	if err != nil {
		return fmt.Errorf("models: preparing losses of %s on %d rows: %w", lm.Name(), len(r.rows), err)
	}
	maps.Copy(r.kept, kept)
	return nil
}

// remember computes keys and values of the positions before the rows' own.
func (r *heldRun) remember(ctx context.Context) error {
	lm := r.h.lm
	s, err := lm.session(ctx, r.v)
	if err != nil {
		return err
	}
	ports := lm.graph(step).Ports
	B, n := len(r.rows), r.feeds[ports.Mask].Shape[1]-r.feeds[ports.IDs].Shape[1]
	ids, pos, mask := make([]int64, B*n), make([]int64, B*n), make([]int64, B*n)
	for b, row := range r.rows {
		for t := range n {
			// Padding is not masked here: a row of nothing else would have no key to
			// attend to, and causal attention keeps it from the tokens.
			ids[b*n+t], pos[b*n+t], mask[b*n+t] = lm.pad(), int64(t), 1
			if t < r.from[b] {
				ids[b*n+t] = row.IDs[t]
			}
		}
	}
	feeds := maps.Clone(r.feeds)
	feedTokens(feeds, ports, B, n, ids, mask, pos)
	feeds[rowsInput] = tensor.FromInt64s([]int64{0}, 1) // logits that nobody reads
	got := map[string]*tensor.Tensor{}
	for _, c := range lm.caches(step) {
		got[c.out] = nil
	}
	if err := s.Run(ctx, feeds, got); err != nil {
		return fmt.Errorf("models: computing keys and values of %s on %d rows: %w", lm.Name(), B, err)
	}
	return r.carry(ctx, lm.settled(step, got, r.from, n))
}

// carry takes keys and values to where runs read them, once for all of these.
func (r *heldRun) carry(ctx context.Context, p *past) error {
	lm := r.h.lm
	s, err := lm.session(ctx, variant{role: step, carries: true})
	if err != nil {
		return err
	}
	var keep []string
	for _, c := range lm.caches(step) {
		keep = append(keep, c.out)
	}
	kept, err := s.RunResident(ctx, p.values, nil, nil, keep...)
	if err != nil {
		return fmt.Errorf("models: keeping keys and values of %s: %w", lm.Name(), err)
	}
	for _, c := range lm.caches(step) {
		r.kept[c.In] = kept[c.out]
	}
	return nil
}

// inputs are what stays, of the inputs of a session.
func (r *heldRun) inputs(s *ort.Session) (map[string]*tensor.Tensor, map[string]*ort.Resident) {
	feeds, held := map[string]*tensor.Tensor{}, map[string]*ort.Resident{}
	for _, in := range slices.Concat(s.Inputs(), s.Overridable()) {
		if x := r.kept[in.Name]; x != nil {
			held[in.Name] = x
		} else if t := r.feeds[in.Name]; t != nil {
			feeds[in.Name] = t
		}
	}
	return feeds, held
}

// Losses computes losses as LossesAt does, in the order of which: rows[i] is the
// held row which[i] with its present shift and terms. Rows that are not named
// have none.
func (h *Held) Losses(ctx context.Context, which []int, rows []LossRow) ([]Loss, error) {
	if h.runs == nil {
		return h.lm.losses(ctx, h.sites, h.widths, rows, h.length())
	}
	place := make([]int, len(h.rows))
	for i := range place {
		place[i] = -1
	}
	for k, i := range which {
		place[i] = k
	}
	out := make([]Loss, len(rows))
	for _, r := range h.runs {
		err := r.losses(ctx, place[r.first:r.first+len(r.rows)], rows, out)
		if errors.Is(err, ErrRun) && ctx.Err() == nil {
			return h.plainly(ctx, rows, err)
		} else if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// plainly computes losses without the saving, from now on, where a run of it
// failed.
func (h *Held) plainly(ctx context.Context, rows []LossRow, failed error) ([]Loss, error) {
	out, err := h.lm.losses(ctx, h.sites, h.widths, rows, h.length())
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(out, func(l Loss) bool { return l.Err != nil }) {
		h.lm.abandon(h.saves.shortcut(), failed)
	}
	err = h.Close()
	h.runs = nil
	return out, err
}

// losses makes the run, if any of its rows has a place.
func (r *heldRun) losses(ctx context.Context, place []int, rows []LossRow, out []Loss) error {
	lm, now, wanted := r.h.lm, slices.Clone(r.rows), false
	w := lm.newWave()
	for b := range now {
		first, end := r.rows[b].reach()
		now[b].Shift, now[b].Terms, now[b].Distributions = nil, nil, false
		k := place[b]
		if k < 0 {
			continue
		}
		wanted = true
		now[b].Shift, now[b].Terms, now[b].Distributions = rows[k].Shift, rows[k].Terms, rows[k].Distributions
		if err := w.checkLoss(now[b], r.h.widths); err != nil {
			return fmt.Errorf("row %d: %w", r.first+b, err)
		}
		if from, to := now[b].reach(); from < first || to > end {
			return fmt.Errorf("models: computing losses: row %d: terms from position %d to %d, those held reach from %d to %d", r.first+b, from, to-1, first, end-1)
		}
	}
	if !wanted {
		return nil
	}
	v := r.v
	v.loss, v.half = r.h.sites, moving
	s, err := lm.session(ctx, v)
	if err != nil {
		return err
	}
	feeds, held := r.inputs(s)
	got := lm.feedLosses(feeds, now, r.from, r.h.widths)
	if _, err := s.RunResident(ctx, feeds, held, got); err != nil {
		return fmt.Errorf("models: computing losses of %s on %d rows: %w: %w", lm.Name(), len(now), ErrRun, err)
	}
	for b, l := range lm.readLosses(got, now, r.h.widths) {
		if k := place[b]; k >= 0 {
			out[k] = l
		}
	}
	return nil
}

// Close frees what was kept.
func (h *Held) Close() error {
	var errs []error
	for _, r := range h.runs {
		for _, x := range r.kept {
			errs = append(errs, x.Close())
		}
		r.kept = nil
	}
	return errors.Join(errs...)
}
