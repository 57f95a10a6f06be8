package stages

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"editpipe/models/arch"
	"editpipe/store"
)

// rowBytes is what a result row takes on disk, compressed, measured on rows of
// short prompts; base rows are counted the same.
const rowBytes = 160

// Plan says what an evaluation would do, without doing it.
type Plan struct {
	Model   string      `json:"model"`
	Dataset string      `json:"dataset"`
	Edits   int         `json:"edits"`
	Probes  int         `json:"probes"` // of the records under test, each counted once
	Train   int         `json:"train"`  // records left to learn from
	Stages  []PlanStage `json:"stages"`
	Combos  []PlanCombo `json:"combos"`
	Weights int64       `json:"weight_bytes"` // of the model's files, resident while it runs
	Disk    int64       `json:"disk_bytes"`   // estimate for the run folder
}

// PlanStage counts a stage's units in this shard.
type PlanStage struct {
	Name  string `json:"name"`
	Units int    `json:"units"`
	Done  int    `json:"done"`
}

// PlanCombo is a method under a schedule.
type PlanCombo struct {
	Method  string `json:"method"`
	Config  string `json:"config"`
	Setting string `json:"setting"`
	Units   int    `json:"units"`
	Refused string `json:"refused,omitempty"` // why its rows will have status unsupported
}

// Plan lists units, finished units, refused combinations and sizes. It reads
// the run folder, if there is one, and writes nothing.
func (e *Eval) Plan(ctx context.Context) (*Plan, error) {
	j, err := e.build(ctx)
	if err != nil {
		return nil, err
	}
	t := j.trial
	p := &Plan{Model: t.lm.Name(), Dataset: t.data, Edits: len(t.test), Train: len(t.left), Probes: len(questions(t.test))}
	done := func(string, string) (bool, error) { return false, nil }
	if run, err := store.OpenRun(e.Out); err == nil && !e.Fresh {
		done = run.Ledger().Done
	} else if err != nil && !errors.Is(err, store.ErrNotRun) {
		return nil, err
	}
	for _, s := range j.stages() {
		units, err := s.Plan(ctx)
		if err != nil {
			return nil, err
		}
		ps := PlanStage{Name: s.Name()}
		for _, u := range units {
			if !e.Shard.Holds(u.ID) {
				continue
			}
			finished, err := done(s.Name(), u.ID)
			if err != nil {
				return nil, err
			}
			ps.Units++
			if finished {
				ps.Done++
			}
		}
		p.Stages = append(p.Stages, ps)
	}
	for _, c := range t.combos {
		pc := PlanCombo{Method: c.method.Name, Config: c.config.String(), Setting: c.schedule.String(), Units: len(c.units(len(t.test)))}
		if c.refused != nil {
			pc.Refused = c.refused.Error()
		}
		p.Combos = append(p.Combos, pc)
	}
	p.Disk = int64(p.Probes) * int64(1+len(t.combos)) * rowBytes
	p.Weights, err = modelBytes(t.lm.Info())
	return p, err
}

// modelBytes sums up the graphs in use and the weight files beside them, which
// bear the graph's name with an ending.
func modelBytes(info *arch.Info) (int64, error) {
	var sum int64
	for _, graph := range info.Files {
		files, err := filepath.Glob(filepath.Join(info.Dir, graph) + "*")
		if err != nil {
			return 0, fmt.Errorf("stages: sizing the model: %w", err)
		}
		for _, f := range files {
			st, err := os.Stat(f)
			if err != nil {
				return 0, fmt.Errorf("stages: sizing the model: %w", err)
			}
			sum += st.Size()
		}
	}
	return sum, nil
}
