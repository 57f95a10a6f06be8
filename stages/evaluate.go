package stages

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/models/patch"
	"editpipe/pipeline"
	"editpipe/row"
	"editpipe/store"
)

// evaluate is the stage that edits and asks. A unit edits and asks in one go,
// so that patches need not be kept.
type evaluate struct {
	*trial
	base  *base
	tasks []task
	place map[string]int // of a unit in tasks
}

// task is one unit of evaluate.
type task struct {
	id    string
	combo *combo
	chunk chunk
}

func newEvaluate(t *trial, b *base) *evaluate {
	e := &evaluate{trial: t, base: b, place: map[string]int{}}
	for _, c := range t.combos {
		when := "" // it matters to chains only
		if c.schedule.Kind == edit.Sequential {
			when = t.when.String()
		}
		for _, part := range c.units(len(t.test)) {
			unit := id("evaluate", t.identity, c.hash, c.schedule.String(), when, t.order, store.HashRecords(t.test[part.lo:part.hi]))
			e.place[unit] = len(e.tasks)
			e.tasks = append(e.tasks, task{unit, c, part})
		}
	}
	return e
}

// Name is the stage's name in the ledger.
func (e *evaluate) Name() string { return "evaluate" }

// Plan lists the units: methods and schedules in the order given, then records.
func (e *evaluate) Plan(context.Context) ([]pipeline.Unit, error) {
	units := make([]pipeline.Unit, len(e.tasks))
	for i, t := range e.tasks {
		units[i] = pipeline.Unit{ID: t.id, Label: fmt.Sprintf("%s, %s", t.combo, t.chunk), Weight: t.chunk.hi - t.chunk.lo}
	}
	return units, nil
}

// Do runs one unit and writes its rows: results last, so that a unit with
// results is whole.
func (e *evaluate) Do(ctx context.Context, u pipeline.Unit) error {
	i, ok := e.place[u.ID]
	if !ok {
		return fmt.Errorf("stages: evaluate has no unit %s", u.ID)
	}
	t := e.tasks[i]
	pre, err := e.base.rows(ctx, t.chunk)
	if err != nil {
		return err
	}
	s := newSession(e.trial, t, pre)
	meter := e.lm.StartMeter()
	switch {
	case t.combo.refused != nil:
		s.refuse()
	case t.combo.schedule.Kind == edit.Single:
		err = s.single(ctx)
	default:
		err = s.chain(ctx)
	}
	usage := meter.Stop()
	if err != nil {
		return fmt.Errorf("stages: %s, %s: %w", t.combo, t.chunk, err)
	}
	cost := e.cost(t.id, "evaluate", usage)
	cost.Method, cost.Setting = t.combo.method.Name, t.combo.schedule.String()
	cost.Edits, cost.Probes = int32(len(s.edits)), int32(len(s.results))
	if t.combo.refused == nil {
		cost.TEdit, cost.TAsk = &s.tEdit, &s.tAsk
	}
	err = errors.Join(
		store.Write(e.folder.ShardPath(store.TableCosts, t.id), []row.Cost{cost}, nil),
		store.Write(e.folder.ShardPath(store.TableApplied, t.id), s.applied, nil),
		store.Write(e.folder.ShardPath(store.TableResults, t.id), s.results, nil),
	)
	if err == nil {
		err = s.forget(0)
	}
	return err
}

// session is one unit while it runs.
type session struct {
	*trial
	task
	edits  []dataset.Edit
	asks   [][]question   // by edit
	pre    [][]row.Base   // by edit, parallel to asks
	errs   []error        // by edit: why it was not made
	effort []*edit.Effort // by edit: what it took to make, where the method searches
	inside int            // edits in force in a chain

	applied     []row.Applied
	results     []row.Result
	tEdit, tAsk float64 // seconds
}

func newSession(t *trial, k task, pre []row.Base) *session {
	s := &session{trial: t, task: k}
	for _, r := range t.test[k.chunk.lo:k.chunk.hi] {
		qs := questions([]dataset.Record{r})
		s.edits, s.asks = append(s.edits, r.Edit), append(s.asks, qs)
		s.pre, pre = append(s.pre, pre[:len(qs)]), pre[len(qs):]
	}
	s.errs, s.effort = make([]error, len(s.edits)), make([]*edit.Effort, len(s.edits))
	return s
}

// refuse writes rows without running anything.
func (s *session) refuse() {
	for i := range s.edits {
		s.errs[i] = s.combo.refused
		s.apply(i, row.Applied{})
		for j := range s.asks[i] {
			s.row(asked{question: s.asks[i][j], err: s.errs[i], index: i}, s.pre[i][j])
		}
	}
}

// single makes every edit alone and asks all of them together. An edit that
// has to come on top of another one is not made.
func (s *session) single(ctx context.Context) error {
	var alone []int
	var edits []dataset.Edit
	for i, e := range s.edits {
		if s.errs[i] = s.onTop(i); s.errs[i] == nil {
			alone, edits = append(alone, i), append(edits, e)
		}
	}
	start := time.Now()
	made, err := s.combo.editor.Make(ctx, nil, edit.Apart(edits))
	s.tEdit = time.Since(start).Seconds()
	if err != nil {
		return err
	}
	patches := make([]*patch.Patch, len(s.edits))
	measured := make([]row.Applied, len(s.edits))
	for k, i := range alone {
		if patches[i], s.errs[i] = made[k].Patch, made[k].Err; s.errs[i] == nil {
			measured[i] = s.take(made[k], []int{i})
		}
	}
	var list []asked
	for i := range s.edits {
		s.apply(i, measured[i])
		for _, q := range s.asks[i] {
			list = append(list, asked{question: q, patch: patches[i], err: s.errs[i], index: i, after: 1, force: 1})
		}
	}
	return s.ask(ctx, list)
}

// chain makes the edits step by step on top of each other; a batch is a chain
// of one step.
func (s *session) chain(ctx context.Context) error {
	n := len(s.edits)
	size, when := n, When{Final: true}
	if s.combo.schedule.Kind == edit.Sequential {
		size, when = max(1, s.combo.schedule.Step), s.when
	}
	p, made, err := s.resume()
	if err != nil {
		return err
	}
	for _, step := range chunks(n, size) {
		if step.hi <= made {
			continue
		}
		together, of, err := s.together(ctx, p, step)
		if err != nil {
			return err
		}
		var measured row.Applied
		if len(of) > 0 {
			p, measured = together.Patch, s.take(together, of)
		}
		for i := step.lo; i < step.hi; i++ {
			s.apply(i, measured)
		}
		from, to := when.due(step.lo, step.hi, n)
		if err := s.askChain(ctx, p, step.hi, from, to); err != nil {
			return err
		}
		if step.hi < n && step.hi/CheckpointEdits > step.lo/CheckpointEdits {
			if err := s.save(p, step.hi); err != nil {
				return err
			}
		}
	}
	return nil
}

// together makes the edits of a step at once on top of p, and says which those
// are. Where the method blames a single edit, that one is left out and the others
// are tried again. An edit that has to come on top of another one that was not made
// is left out, too.
func (s *session) together(ctx context.Context, p *patch.Patch, step chunk) (edit.Made, []int, error) {
	var left []int
	for i := step.lo; i < step.hi; i++ {
		if s.errs[i] = s.onTop(i); s.errs[i] == nil {
			left = append(left, i)
		}
	}
	start := time.Now()
	defer func() { s.tEdit += time.Since(start).Seconds() }()
	for len(left) > 0 {
		edits := make([]dataset.Edit, len(left))
		for k, i := range left {
			edits[k] = s.edits[i]
		}
		made, err := s.combo.editor.Make(ctx, p, [][]dataset.Edit{edits})
		if err != nil {
			return edit.Made{}, nil, err
		}
		err = made[0].Err
		if err == nil {
			s.inside += len(left)
			return made[0], left, nil
		}
		var blame *edit.Error
		bad := -1
		if errors.As(err, &blame) {
			bad = slices.IndexFunc(left, func(i int) bool { return s.edits[i].ID == blame.Edit })
		}
		if bad < 0 {
			for _, i := range left {
				s.errs[i] = err
			}
			break
		}
		s.errs[left[bad]] = err
		left = slices.Delete(left, bad, bad+1)
	}
	return edit.Made{}, nil, nil
}

// errSuperseded marks an edit that a later one in force contradicts: what is
// right after both is not what the record says.
var errSuperseded = errors.New("superseded by a later edit of the same fact")

// askChain asks about edits from up to before to after made edits of the chain.
func (s *session) askChain(ctx context.Context, p *patch.Patch, made, from, to int) error {
	later := superseded(s.edits[:made], s.errs[:made])
	var list []asked
	for i := from; i < to; i++ {
		err := s.errs[i]
		if err == nil && later[i] != "" {
			err = fmt.Errorf("%w: %s", errSuperseded, later[i])
		}
		for _, q := range s.asks[i] {
			list = append(list, asked{question: q, patch: p, err: err, index: i, after: made, force: s.inside})
		}
	}
	return s.ask(ctx, list)
}

// ask puts the questions and adds their rows; they come in the order of edits.
func (s *session) ask(ctx context.Context, list []asked) error {
	start := time.Now()
	err := put(ctx, s.lm, s.maxNew, list)
	s.tAsk += time.Since(start).Seconds()
	if err != nil {
		return err
	}
	seen := map[int]int{}
	for _, a := range list {
		s.row(a, s.pre[a.index][seen[a.index]])
		seen[a.index]++
	}
	return nil
}

func (s *session) row(a asked, pre row.Base) {
	r := a.result(pre)
	r.RunID, r.Model, r.ModelHash, r.Dataset = s.folder.Manifest.RunID, s.lm.Name(), s.lm.Hash(), s.data
	r.Method, r.Config, r.Setting = s.combo.method.Name, s.combo.config.Hash(), s.combo.schedule.String()
	r.OrderSeed, r.ProtocolID = s.order, s.protocol
	s.results = append(s.results, r)
}

// mostNormed bounds the weights whose norm is taken: it is a sum over pairs of
// them, which a long chain should not pay for at every step.
const mostNormed = 256

// prefixed is a route that puts a text before prompts.
type prefixed interface{ Prefix() string }

// effortBytes is what a row's size of a patch counts for each edit of the step
// whose effort is known: its number of steps, and its loss in float32.
const effortBytes = 8 + 4

// take keeps the efforts of the edits that were made, and fills in what all of
// them have in common: once for a step, as the norm of a batch costs the square of
// its edits.
func (s *session) take(made edit.Made, edits []int) row.Applied {
	for k := range made.Efforts {
		s.effort[edits[k]] = &made.Efforts[k]
	}
	p := made.Patch
	a := row.Applied{StateBytes: p.Bytes() + effortBytes*int64(len(made.Efforts))}
	if len(p.Weights) <= mostNormed {
		if norm := p.DeltaNorm(); !math.IsNaN(norm) && !math.IsInf(norm, 0) {
			a.DeltaNorm = &norm
		}
	}
	for _, r := range p.Routes {
		if t, ok := r.(prefixed); ok {
			a.Context += t.Prefix()
		}
	}
	return a
}

// apply adds the row of an edit that was made, or not, with what its step measured.
func (s *session) apply(i int, measured row.Applied) {
	var a row.Applied
	why := statusOf(s.errs[i])
	if why.status == row.OK {
		a = measured
		if effort := s.effort[i]; effort != nil {
			a.Steps = &effort.Steps
			if loss := float64(effort.FinalLoss); !math.IsNaN(loss) && !math.IsInf(loss, 0) {
				a.FinalLoss = &loss
			}
		}
	}
	a.RunID, a.Method, a.Setting, a.UnitID = s.folder.Manifest.RunID, s.combo.method.Name, s.combo.schedule.String(), s.id
	a.EditIndex, a.EditID = int32(i), string(s.edits[i].ID)
	a.Status, a.Fault, a.Detail = why.status, why.fault, why.detail
	s.applied = append(s.applied, a)
}
