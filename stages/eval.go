package stages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/models"
	"editpipe/pipeline"
	"editpipe/row"
	"editpipe/store"
)

// Eval is an evaluation: what is edited with what, and asked how. Its fields
// are not changed while it runs.
type Eval struct {
	LM     *models.LM
	Data   dataset.Data
	Select dataset.Selection
	Train  dataset.Source // records to learn from; nil for those of Data not under test

	Methods   []edit.Method
	Overrides map[string]map[string]string // by method, then key
	Schedules []edit.Schedule
	Artifacts string // holds a folder for each prepared method; empty for none
	Seed      int64
	When      When // zero is final
	MaxNew    int  // tokens to generate for a text; 0 for none

	Out string // run folder; made if need be
	// Manifest holds what only the caller knows: tool and runtime version,
	// provider, device, host, command, path of the data, and the run id where it
	// is not to be derived. The rest is filled in.
	Manifest    store.Manifest
	Shard       pipeline.Shard
	RetryErrors bool // do units again that have rows with status error
	Fresh       bool // remove what the folder has first
	MaxErrors   int  // failed units to tolerate; a failed edit or answer is a row, not a failed unit
	Observe     func(pipeline.Event)
}

// Report is what an evaluation came to.
type Report struct {
	Run     string
	Dir     string
	Rows    map[row.Status]int // result rows in the folder, by status
	Nothing bool               // none of the rows of this command's methods and schedules has numbers
	// Replaced are rows of earlier commands that this one's, or a later one's, stand
	// in for: kept, but not counted.
	Replaced int
	Edits    int              // under test
	Unasked  []dataset.EditID // those of them that have no question, and no row
	Units    pipeline.Report
	Summary  []row.Summary
}

// Failed says whether the run is complete but not clean: units failed, or rows
// have status error.
func (r *Report) Failed() bool { return r.Rows[row.Failed] > 0 || len(r.Units.Failed) > 0 }

// job is an evaluation with everything resolved.
type job struct {
	*trial
	base     *base
	evaluate *evaluate
}

func (j *job) stages() []pipeline.Stage { return []pipeline.Stage{j.base, j.evaluate} }

// build resolves everything and reports all faults it finds, before anything
// is run or written.
func (e *Eval) build(ctx context.Context) (*job, error) {
	test, left, err := e.Data.Choose(e.Select)
	if err == nil && len(unasked(test)) == len(test) {
		err = fmt.Errorf("stages: data set %s: none of the %d edits under test has a question, first %s: make the set again", e.Data.Name, len(test), test[0].Edit.ID)
	}
	faults := append(e.faults(), err)
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	t := &trial{
		lm: e.LM, data: e.Data.Name, test: test, left: left,
		when: e.When, maxNew: e.MaxNew, order: e.Select.OrderSeed, protocol: e.LM.ProtocolID(),
		redo: map[string]bool{},
	}
	if t.when == (When{}) {
		t.when = When{Final: true}
	}
	t.identity = id(schema, e.LM.Hash(), e.LM.TokenizerHash(), t.protocol, e.Manifest.RuntimeVersion, t.maxNew)
	train := e.Train
	if train == nil {
		train = dataset.List(e.Data.Name, left)
	}
	in := edit.Env{LM: e.LM, Train: train, Shown: dataset.List(e.Data.Name, e.Data.Shown()), Seed: e.Seed}
	for _, m := range e.Methods {
		combos, err := e.combos(ctx, m, in, len(test))
		faults = append(faults, err)
		t.combos = append(t.combos, combos...)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	b := newBase(t)
	return &job{t, b, newEvaluate(t, b)}, nil
}

// unasked lists the edits that have no question.
func unasked(recs []dataset.Record) []dataset.EditID {
	var ids []dataset.EditID
	for _, r := range recs {
		if len(r.Probes) == 0 {
			ids = append(ids, r.Edit.ID)
		}
	}
	return ids
}

// faults lists what is wrong with the fields.
func (e *Eval) faults() []error {
	var faults []error
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf("stages: "+format, args...)) }
	if e.Out == "" {
		add("no run folder given")
	}
	if len(e.Methods) == 0 {
		add("no method given")
	}
	if len(e.Schedules) == 0 {
		add("no setting given")
	}
	if e.MaxNew < 0 {
		add("%d tokens to generate: want 0 or more", e.MaxNew)
	}
	known := map[string]bool{}
	for _, m := range e.Methods {
		if known[m.Name] {
			add("method %s is given twice", m.Name)
		}
		known[m.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(e.Overrides)) {
		if !known[name] {
			add("a key of method %s is given, but the method is not part of the run", name)
		}
	}
	for i, s := range e.Schedules {
		if slices.Contains(e.Schedules[:i], s) {
			add("setting %s is given twice", s)
		}
	}
	return faults
}

// combos gives a method under every schedule; they share the editor. A method
// that does not support the model or the schedule is a combo that is refused.
func (e *Eval) combos(ctx context.Context, m edit.Method, in edit.Env, n int) ([]*combo, error) {
	config, err := m.Configure(e.LM.Info(), e.Overrides[m.Name])
	if err != nil {
		return nil, err
	}
	if e.Artifacts != "" {
		in.Artifacts = filepath.Join(e.Artifacts, m.Name)
	}
	files, err := m.Files(config)
	if err != nil {
		return nil, err
	}
	drawn, err := hashFiles(in.Artifacts, files)
	if err != nil {
		return nil, err
	}
	for _, from := range []struct {
		used bool
		dataset.Source
	}{{m.UsesTrain, in.Train}, {m.UsesShown, in.Shown}} {
		if !from.used {
			continue
		}
		hash, err := hashSource(from)
		if err != nil {
			return nil, err
		}
		drawn = append(drawn, hash)
	}
	var list []*combo
	var editor edit.Editor
	for _, s := range e.Schedules {
		c := &combo{method: m, config: config, schedule: s, hash: id(m.Name, m.Version, config.String(), drawn, e.Seed)}
		list = append(list, c)
		if c.refused = m.Supports(s, e.LM.Info()); c.refused == nil {
			c.refused = m.Lacks(config, e.LM.Info())
		}
		if c.refused == nil && s.Kind == edit.Single {
			c.refused = m.Apart(config)
		}
		if c.refused == nil && s.N > n {
			c.refused = fmt.Errorf("%w %s, as only %d edits are under test", edit.ErrSchedule, s, n)
		}
		if c.refused != nil {
			continue
		}
		if editor == nil {
			switch editor, err = m.Open(ctx, config, in); {
			case errors.Is(err, edit.ErrUnsupported):
				c.refused = err
			case err != nil:
				return nil, err
			}
		}
		c.editor = editor
	}
	return list, nil
}

// Do runs the evaluation. What the folder has is kept, what is missing is done,
// then the summary is written. On an interruption it returns the context's
// error; whole units are kept.
func (e *Eval) Do(ctx context.Context) (*Report, error) {
	j, err := e.build(ctx)
	if err != nil {
		return nil, err
	}
	if e.Fresh {
		if err := store.Fresh(e.Out); err != nil {
			return nil, err
		}
	}
	if j.folder, err = store.CreateRun(e.Out, j.manifest(e)); err != nil {
		return nil, err
	}
	lock, err := j.folder.Lock(max(1, e.Shard.Index), max(1, e.Shard.Of))
	if err != nil {
		return nil, err
	}
	report, err := j.run(ctx, e)
	return report, errors.Join(err, lock.Close())
}

func (j *job) run(ctx context.Context, e *Eval) (*Report, error) {
	if err := j.restore(); err != nil {
		return nil, err
	}
	// Before anything is run: rows that stand twice in the tables would be neither
	// averaged nor told apart, should this command not come to its end.
	if err := j.setReplacedAside(); err != nil {
		return nil, err
	}
	if e.RetryErrors {
		if err := j.findFailed(); err != nil {
			return nil, err
		}
	}
	units, err := pipeline.Run(ctx, j.stages(), j.folder.Ledger(), pipeline.Options{
		Shard: e.Shard, MaxErrors: e.MaxErrors, Redo: j.redo, Observe: e.Observe,
	})
	if err != nil {
		return nil, err
	}
	rows, err := store.ReadDir[row.Result](j.folder.TableDir(store.TableResults))
	if err != nil {
		return nil, fmt.Errorf("stages: summarising: %w", err)
	}
	replaced, err := store.ReadReplaced[row.Result](j.folder, store.TableResults)
	if err != nil {
		return nil, fmt.Errorf("stages: summarising: %w", err)
	}
	r := &Report{Run: j.folder.Manifest.RunID, Dir: e.Out, Rows: map[row.Status]int{}, Replaced: len(replaced), Edits: len(j.test), Unasked: unasked(j.test), Units: units}
	asked, answered := 0, 0
	for _, of := range rows {
		r.Rows[of.Status]++
		if slices.ContainsFunc(j.combos, func(c *combo) bool { return c.method.Name == of.Method && c.schedule.String() == of.Setting }) {
			asked++
			if of.Status == row.OK {
				answered++
			}
		}
	}
	r.Nothing = answered == 0 && (asked > 0 || e.Shard.Of <= 1) // a shard may hold no unit
	if r.Summary, err = Summarise(rows); err != nil {
		return nil, err
	}
	return r, store.WriteSummary(j.folder, r.Summary, len(rows))
}

// manifest completes what the caller gave.
func (j *job) manifest(e *Eval) store.Manifest {
	m := e.Manifest
	if m.Created.IsZero() {
		m.Created = time.Now().UTC()
	}
	info := j.lm.Info()
	m.Model = store.ModelInfo{Name: j.lm.Name(), Path: cmp.Or(m.Model.Path, info.Dir), Family: info.Family, Hash: j.lm.Hash(), TokenizerHash: j.lm.TokenizerHash()}
	m.Dataset = store.DatasetInfo{Name: e.Data.Name, Path: m.Dataset.Path, Hash: store.HashRecords(e.Data.Records), Edits: len(e.Data.Records), Probes: len(questions(e.Data.Records))}
	m.ProtocolID, m.DType, m.Seed = j.protocol, info.DType, e.Seed
	for _, c := range j.combos {
		if n := len(m.Methods); n == 0 || m.Methods[n-1].Name != c.method.Name {
			m.Methods = append(m.Methods, store.MethodInfo{Name: c.method.Name, Config: c.config.Map(), ConfigHash: c.config.Hash()})
		}
	}
	for _, s := range e.Schedules {
		m.Settings = append(m.Settings, s.String())
	}
	return m
}
