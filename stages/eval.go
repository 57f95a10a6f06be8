package stages

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/models"
	"editpipe/pipeline"
	"editpipe/store"
)

// Eval is an evaluation: what is edited with what, and asked how. Its fields
// are not changed while it runs.
type Eval struct {
	LM      *models.LM
	Runtime string // version of the runtime library
	Data    Data
	Select  Selection
	Train   dataset.Source // records to learn from; nil for those of Data not under test

	Methods   []edit.Method
	Overrides map[string]map[string]string // by method, then key
	Settings  []edit.Setting
	Artifacts string // holds a folder for each prepared method; empty for none
	Seed      int64
	When      When // zero is final
	MaxNew    int  // tokens to generate for a text; 0 for none

	Out         string // run folder; made if need be
	Run         string // name in rows; empty for that of the folder
	Shard       pipeline.Shard
	RetryErrors bool // do units again that have rows with status error
	Fresh       bool // forget the rows the folder has
	MaxErrors   int
	Progress    func(pipeline.Event)
}

// Report is what an evaluation came to.
type Report struct {
	Run     string
	Dir     string
	Rows    map[store.Status]int // result rows in the folder, by status
	Units   pipeline.Report
	Summary []store.Summary
}

// Failed says whether rows have status error: the run is complete, but not clean.
func (r *Report) Failed() bool { return r.Rows[store.Failed] > 0 }

// build resolves everything into a trial and its two stages, and reports every
// fault it finds before anything is run.
func (e *Eval) build() (*base, *evaluate, error) {
	var faults []error
	if len(e.Methods) == 0 {
		faults = append(faults, errors.New("stages: no method given"))
	}
	if len(e.Settings) == 0 {
		faults = append(faults, errors.New("stages: no setting given"))
	}
	if e.MaxNew < 0 {
		faults = append(faults, fmt.Errorf("stages: %d tokens to generate: want 0 or more", e.MaxNew))
	}
	test, train, err := e.Data.choose(e.Select)
	if err != nil {
		faults = append(faults, err)
	}
	known := map[string]bool{}
	for _, m := range e.Methods {
		if known[m.Name] {
			faults = append(faults, fmt.Errorf("stages: method %s is given twice", m.Name))
		}
		known[m.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(e.Overrides)) {
		if !known[name] {
			faults = append(faults, fmt.Errorf("stages: --set %s...: method %s is not part of the run", name, name))
		}
	}
	for i, s := range e.Settings {
		if slices.Contains(e.Settings[:i], s) {
			faults = append(faults, fmt.Errorf("stages: setting %s is given twice", s))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, nil, err
	}
	t := &trial{
		lm: e.LM, dir: e.Out, run: e.Run, data: e.Data.Name, test: test,
		when: e.When, maxNew: e.MaxNew, order: e.Select.OrderSeed, protocol: e.LM.ProtocolID(),
	}
	if t.run == "" {
		abs, err := filepath.Abs(e.Out)
		if err != nil {
			return nil, nil, fmt.Errorf("stages: run folder: %w", err)
		}
		t.run = filepath.Base(abs)
	}
	if t.when == (When{}) {
		t.when = When{Final: true}
	}
	t.identity = id(schema, e.LM.Hash(), e.LM.TokenizerHash(), t.protocol, e.Runtime, t.maxNew)
	source := e.Train
	if source == nil {
		source = records{e.Data.Name, train}
	}
	for _, m := range e.Methods {
		combos, err := e.combos(m, source, len(test))
		if err != nil {
			faults = append(faults, err)
		}
		t.combos = append(t.combos, combos...)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, nil, err
	}
	b := newBase(t)
	return b, newEvaluate(t, b), nil
}

// combos gives a method under every setting; they share the editor. A method
// that does not support the model or the setting is a combo that is refused.
func (e *Eval) combos(m edit.Method, train dataset.Source, n int) ([]*combo, error) {
	config, err := m.Configure(e.LM.Info(), e.Overrides[m.Name])
	if err != nil {
		return nil, err
	}
	in := edit.Inputs{Train: train, Seed: e.Seed}
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
	if m.UsesTrain {
		hash, err := hashRecords(train)
		if err != nil {
			return nil, err
		}
		drawn = append(drawn, hash)
	}
	var list []*combo
	var editor edit.Editor
	for _, s := range e.Settings {
		c := &combo{method: m, config: config, setting: s, hash: id(m.Name, m.Version, config.String(), drawn, e.Seed)}
		list = append(list, c)
		switch {
		case m.Supports(s, e.LM.Info()) != nil:
			c.refused = m.Supports(s, e.LM.Info())
		case s.N > n:
			c.refused = fmt.Errorf("%w: setting %s, as only %d edits are under test", edit.ErrUnsupported, s, n)
		case editor == nil:
			editor, err = m.New(config, in)
			if errors.Is(err, edit.ErrUnsupported) {
				c.refused = err
			} else if err != nil {
				return nil, err
			}
		}
		c.editor = editor
	}
	return list, nil
}

// Do runs the evaluation: what the folder has is kept, what is missing is done,
// and the summary is written. On an interruption it returns the context's error;
// whole units are kept.
func (e *Eval) Do(ctx context.Context) (*Report, error) {
	b, v, err := e.build()
	if err != nil {
		return nil, err
	}
	run, err := e.open(v)
	if err != nil {
		return nil, err
	}
	var ledger pipeline.Ledger = run
	if e.RetryErrors {
		if ledger, err = retry(run, b, v); err != nil {
			return nil, err
		}
	}
	units, err := pipeline.Run(ctx, []pipeline.Stage{b, v}, ledger, pipeline.Options{
		Shard: e.Shard, Progress: e.Progress, MaxErrors: e.MaxErrors,
	})
	if err != nil {
		return nil, err
	}
	return e.finish(v.trial, units)
}

func (e *Eval) finish(t *trial, units pipeline.Report) (*Report, error) {
	rows, err := store.ReadDir[store.Result](filepath.Join(e.Out, "results"))
	if err != nil {
		return nil, fmt.Errorf("stages: summarising: %w", err)
	}
	r := &Report{Run: t.run, Dir: e.Out, Rows: map[store.Status]int{}, Units: units}
	for _, row := range rows {
		r.Rows[row.Status]++
	}
	if r.Summary, err = Summarise(rows, t.when); err != nil {
		return nil, err
	}
	return r, store.Write(filepath.Join(e.Out, "summary.parquet"), r.Summary, nil)
}

// setup is what a run folder was made with. Rows made with another setup do not
// belong beside its rows, except that methods and settings may be added.
type setup struct {
	Run       string            `json:"run"`
	Model     string            `json:"model"`
	Dataset   string            `json:"dataset"`
	Records   int               `json:"records"`
	Selected  string            `json:"selected"` // hash over the records under test, in order
	Identity  string            `json:"identity"` // hash over model, tokenizer, protocol, runtime and generation
	Protocol  string            `json:"protocol"`
	Runtime   string            `json:"runtime"`
	EvalAt    string            `json:"eval_at"`
	MaxNew    int               `json:"max_new"`
	Seed      int64             `json:"seed"`
	OrderSeed int64             `json:"order_seed"`
	Methods   map[string]string `json:"methods"` // effective configuration by method
	hashes    map[string]string
}

func (e *Eval) setup(t *trial) setup {
	s := setup{
		Run: t.run, Model: t.lm.Name(), Dataset: t.data, Records: len(t.test), Selected: id(t.test),
		Identity: t.identity, Protocol: t.protocol, Runtime: e.Runtime, EvalAt: t.when.String(),
		MaxNew: t.maxNew, Seed: e.Seed, OrderSeed: t.order, Methods: map[string]string{},
	}
	for _, c := range t.combos {
		s.Methods[c.method.Name] = strings.TrimSpace(c.config.String() + " #" + c.hash)
	}
	return s
}
