package loss

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
	"editpipe/models/run"
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
// [At]. The results are those of At, but for the order in which
// products are added up.
//
// A Held is for one goroutine and must be closed before its model.
type Held struct {
	lm     *models.LM
	sites  graph.Losses
	widths []int
	rows   []Row
	lanes  int
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

// The shortcuts of this file.
const (
	heldPositions models.Shortcut = "computing once what stands before the tokens of a search"
	heldLayers    models.Shortcut = "computing once the layers below a search"
)

// shortcut is the saving by name.
func (s saving) shortcut() models.Shortcut {
	if s == savesBoth {
		return heldPositions
	}
	return heldLayers
}

// paddedTo is what numbers of positions are rounded up to, so that more searches
// are padded alike.
const paddedTo = 4

// Hold prepares losses of rows. Their shifts and terms may change from call to
// call; terms stay within the positions that the rows' own terms span. lanes is
// how many Helds are in use at one time, 1 or more: each has its share of the
// threads and of the memory budget. Errors are those of At, and those of
// rows.
func Hold(ctx context.Context, lm *models.LM, at []arch.Site, rows []Row, lanes int) (*Held, error) {
	var failed func() // takes note of a saving that failed in a run
	for s := savesBoth; ; s-- {
		if s != savesNothing && lm.Without(s.shortcut()) {
			continue
		}
		h, err := hold(ctx, lm, at, rows, lanes, s)
		switch {
		case err == nil || s == savesNothing:
			if err == nil && failed != nil && h.runs != nil { // else nothing shows yet what is at fault
				failed()
			}
			return h, err
		case ctx.Err() != nil:
			return nil, fmt.Errorf("models: preparing losses: %w", ctx.Err())
		case !errors.Is(err, graph.ErrUndivided) && !errors.Is(err, arch.ErrNoGradient) && failed == nil:
			failed = func() { lm.Abandon(s.shortcut(), err) }
		}
	}
}

// hold is Hold with a choice of what is saved.
func hold(ctx context.Context, lm *models.LM, at []arch.Site, rows []Row, lanes int, s saving) (*Held, error) {
	sites, widths, err := shiftable(lm, at)
	if err != nil {
		return nil, err
	}
	in := run.NewIntake(lm)
	for i, r := range rows {
		if err := checkLoss(lm, in, r, widths); err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
	}
	h := &Held{lm: lm, sites: sites, widths: widths, rows: rows, lanes: lanes, saves: s}
	if s == savesNothing || len(rows) == 0 {
		return h, nil
	}
	if err := h.prepare(ctx, s); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// HoldRows is how many of the rows, in order, one run of a Held takes: those
// within its share of the memory budget, all of one dense patch or of none.
func HoldRows(lm *models.LM, at []arch.Site, rows []Row, lanes int) int {
	blocks := 0 // that are differentiated
	for _, s := range at {
		blocks = max(blocks, lm.Info().Layers-s.Layer)
	}
	before, behind := Span(rows)
	c, most, terms := run.CostOf(lm, arch.Forward), run.MaxRows(lm), 0
	for n, r := range rows {
		terms += len(r.Terms)
		B := n + 1
		load := run.LoadOf(lm, r.Patch)
		block := c.With(load).Bytes(B, behind, 0, 0, load.Bytes()*int64(B)) + 8*int64(B*c.Heads*behind*before)
		kept := int64(B)*pastBytes(lm, before) + block
		bytes := kept + int64(blocks*backwardBlocks+1)*block + lossBytes*int64(terms)*int64(lm.Info().Vocab)
		dense := r.Patch.Binding() == patch.BindDense || rows[0].Patch.Binding() == patch.BindDense
		if n > 0 && (n >= most || bytes > lm.Budget()/int64(lanes) || dense && r.Patch != rows[0].Patch) {
			return n
		}
	}
	return len(rows)
}

// pastBytes is the size of one row's keys and values of some positions.
func pastBytes(lm *models.LM, positions int) int64 {
	if lm.Anatomy().Step == nil {
		return 0
	}
	var n int64
	for _, c := range lm.Anatomy().Step.Ports.Past {
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
func (r Row) reach() (first, end int) {
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
func Span(rows []Row) (before, behind int) {
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
	if c := h.lm.Context(); c > 0 {
		return min(before+behind, c)
	}
	return before + behind
}

// prepare makes the runs and computes what stays.
func (h *Held) prepare(ctx context.Context, s saving) error {
	lm, from := h.lm, make([]int, len(h.rows))
	before, T := Span(h.rows)
	if s == savesBoth {
		st := lm.Anatomy().Step
		switch c := lm.Context(); {
		case st == nil:
			return fmt.Errorf("%w: no graph takes keys and values", graph.ErrUndivided)
		case before == 0:
			return fmt.Errorf("%w: no position is before the shifts", graph.ErrUndivided)
		case c > 0 && before+T > c:
			return fmt.Errorf("%w: with padding a row is longer than the context", graph.ErrUndivided)
		case !run.TakesPadding(ctx, lm, h.unpatched(), h.lanes, before+T):
			return fmt.Errorf("%w: padding before keys and values is not without effect", graph.ErrUndivided)
		}
		for i, r := range h.rows {
			from[i], _ = r.reach()
		}
	} else {
		before, T = 0, h.length()
	}
	for k := 0; k < len(h.rows); {
		n := HoldRows(lm, h.sites.Sites(), h.rows[k:], h.lanes)
		r := &heldRun{h: h, first: k, rows: h.rows[k : k+n], from: from[k : k+n]}
		h.runs = append(h.runs, r)
		if err := r.start(ctx, before, T, s); err != nil {
			return err
		}
		k += n
	}
	return nil
}

// unpatched is how nothing comes into the graph with past that most runs use.
func (h *Held) unpatched() graph.Take {
	if slices.ContainsFunc(h.rows, func(r Row) bool { return r.Patch.Binding() != patch.BindNone }) {
		return graph.Take{Slots: graph.DownSlots}
	}
	return graph.Take{}
}

// heldRun is the rows of one run.
type heldRun struct {
	h     *Held
	first int // of h.rows
	rows  []Row
	from  []int // position from which each row is computed
	spec  graph.Spec
	feeds map[string]*tensor.Tensor // inputs that stay as they are
	kept  map[string]*ort.Resident  // likewise, computed
}

// start computes what stays: the patch, and T positions of each row behind as many
// as before says.
func (r *heldRun) start(ctx context.Context, before, T int, s saving) error {
	lm, of := r.h.lm, arch.Forward
	if s == savesBoth {
		of = arch.Step
	}
	questions, only := questionsOf(r.rows)
	for b, row := range r.rows {
		_, end := row.reach()
		questions[b].Prompt = row.IDs[:end]
	}
	rest := run.New(lm, of, questions, only)
	if !slices.ContainsFunc(r.rows, func(row Row) bool { return row.Patch.Binding() != patch.BindNone }) {
		rest.Spec.Take.Slots = graph.NoSlots
	}
	r.spec, rest.Lanes = rest.Spec, r.h.lanes
	r.spec.Give = r.h.sites
	rest.Follow(run.NewPast(r.from, before))
	rest.T = T
	var err error
	if r.feeds, err = rest.Feeds(ctx); err != nil {
		return err
	}
	r.kept = map[string]*ort.Resident{}
	if of == arch.Step {
		if err := r.remember(ctx, rest, before); err != nil {
			return err
		}
	}
	half := r.spec
	half.Half = graph.Standing
	session, err := lm.Session(ctx, half, r.h.lanes)
	if err != nil {
		return err
	}
	var keep []string
	for _, o := range session.Outputs() {
		keep = append(keep, o.Name)
	}
	feeds, held := r.inputs(session)
	kept, err := session.RunResident(ctx, feeds, held, nil, keep...)
	if err != nil {
		return fmt.Errorf("models: preparing losses of %s on %d rows: %w", lm.Name(), len(r.rows), err)
	}
	maps.Copy(r.kept, kept)
	return nil
}

// remember computes keys and values of the n positions before the rows' own, which
// of computes, and takes them to where runs read them, once for all of these.
func (r *heldRun) remember(ctx context.Context, of *run.Run, n int) error {
	lm := r.h.lm
	questions, only := questionsOf(r.rows)
	for b, row := range r.rows {
		questions[b].Prompt = row.IDs[:r.from[b]]
	}
	heads := run.New(lm, arch.Step, questions, only)
	heads.Spec.Take, heads.Lanes, heads.Patches, heads.T = of.Spec.Take, of.Lanes, of.Patches, n
	// A row of nothing but padding would have no key to attend to.
	heads.Unmasked = true
	p, err := heads.Remember(ctx)
	if err != nil {
		return fmt.Errorf("models: computing keys and values: %w", err)
	}
	carrier, err := lm.Session(ctx, graph.Spec{Role: arch.Step, Give: graph.Carried{}}, 1)
	if err != nil {
		return err
	}
	var keep []string
	for in := range p.Values {
		keep = append(keep, graph.CarriedOut(in))
	}
	kept, err := carrier.RunResident(ctx, p.Values, nil, nil, keep...)
	if err != nil {
		return fmt.Errorf("models: keeping keys and values of %s: %w", lm.Name(), err)
	}
	for in := range p.Values {
		r.kept[in] = kept[graph.CarriedOut(in)]
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

// Losses computes losses as At does, in the order of which: rows[i] is the
// held row which[i] with its present shift and terms. Rows that are not named
// have none.
func (h *Held) Losses(ctx context.Context, which []int, rows []Row) ([]Loss, error) {
	if h.runs == nil {
		return losses(ctx, h.lm, h.sites, h.widths, rows, h.length())
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
		if errors.Is(err, run.ErrRun) && ctx.Err() == nil {
			return h.plainly(ctx, rows, err)
		} else if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// plainly computes losses without the saving, from now on, where a run of it
// failed.
func (h *Held) plainly(ctx context.Context, rows []Row, failed error) ([]Loss, error) {
	out, err := losses(ctx, h.lm, h.sites, h.widths, rows, h.length())
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(out, func(l Loss) bool { return l.Err != nil }) {
		h.lm.Abandon(h.saves.shortcut(), failed)
	}
	err = h.Close()
	h.runs = nil
	return out, err
}

// losses makes the run, if any of its rows has a place.
func (r *heldRun) losses(ctx context.Context, place []int, rows []Row, out []Loss) error {
	lm, now, wanted := r.h.lm, slices.Clone(r.rows), false
	in := run.NewIntake(lm)
	for b := range now {
		first, end := r.rows[b].reach()
		now[b].Shift, now[b].Terms, now[b].Distributions = nil, nil, false
		k := place[b]
		if k < 0 {
			continue
		}
		wanted = true
		now[b].Shift, now[b].Terms, now[b].Distributions = rows[k].Shift, rows[k].Terms, rows[k].Distributions
		if err := checkLoss(lm, in, now[b], r.h.widths); err != nil {
			return fmt.Errorf("row %d: %w", r.first+b, err)
		}
		if from, to := now[b].reach(); from < first || to > end {
			return fmt.Errorf("models: computing losses: row %d: terms from position %d to %d, those held reach from %d to %d", r.first+b, from, to-1, first, end-1)
		}
	}
	if !wanted {
		return nil
	}
	half := r.spec
	half.Half = graph.Moving
	s, err := lm.Session(ctx, half, r.h.lanes)
	if err != nil {
		return err
	}
	feeds, held := r.inputs(s)
	got := map[string]*tensor.Tensor{}
	feedLosses(lm, feeds, got, now, r.from, r.h.widths)
	if _, err := s.RunResident(ctx, feeds, held, got); err != nil {
		return fmt.Errorf("models: computing losses of %s on %d rows: %w: %w", lm.Name(), len(now), run.ErrRun, err)
	}
	for b, l := range readLosses(lm, got, now, r.h.widths) {
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
