// Package edittest is the conformance suite of editing methods. A method's test
// calls Run, which checks what package stages relies on.
package edittest

import (
	"context"
	"errors"
	"flag"
	"iter"
	"path/filepath"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/internal/leak"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/models/patch"
	"editpipe/ort/orttest"
)

// What task test:processors varies.
var (
	threads  = flag.Int("threads", 1, "threads of the runtime")
	patterns = flag.Bool("patterns", true, "let the runtime keep memory patterns")
	answers  = flag.String("answers", "", "add the log-probabilities of edits made alone to this `FILE`, one a line behind the test and the prompt")
)

// Options adapt the suite to a method. The zero value suits a method that works
// with its defaults on a tiny GPT-2.
type Options struct {
	Model     tinylm.Config     // zero: GPT-2
	Set       map[string]string // overrides of the configuration
	Train     dataset.Source    // nil: Train()
	Artifacts string            // folder the method prepared
	// Kinds are the schedules that work with this configuration; nil: the method's.
	Kinds []edit.Kind
	// Unchanged is true for a method whose patches need not move any answer.
	Unchanged bool
}

// Open writes a tiny model into a temporary folder and opens it. Where no
// runtime library is installed, see orttest.
func Open(t testing.TB, c tinylm.Config) *models.LM {
	t.Helper()
	if c.Family == "" {
		c.Family = tinylm.GPT2
	}
	dir := t.TempDir()
	if err := errors.Join(tinylm.Write(dir, c), leak.Into(dir)); err != nil {
		t.Fatal(err)
	}
	env := orttest.Open(t)
	lm, err := models.Open(context.Background(), env, dir, models.Options{Threads: *threads, NoMemoryPatterns: !*patterns, Name: "tiny"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closing(t, lm.Close) })
	return lm
}

// Prepared prepares a method for a tiny model over Texts and returns the folder
// of its artifacts. The model is closed by then, since a process has one
// environment at a time.
func Prepared(t *testing.T, m edit.Method, c tinylm.Config, set map[string]string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), m.Name)
	t.Run("prepare", func(t *testing.T) {
		lm := Open(t, c)
		config, err := m.Configure(lm.Info(), set)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Prepare(context.Background(), config, edit.PrepareEnv{LM: lm, Texts: Texts, Seed: 7}, out); err != nil {
			t.Fatal(err)
		}
	})
	return out
}

func closing(t testing.TB, close func() error) {
	if err := close(); err != nil {
		t.Error(err)
	}
}

// Records are three records with probes, under test.
func Records() []dataset.Record {
	return []dataset.Record{
		record("e1", "Ada", "works as a", "pilot", "judge"),
		record("e2", "Boris", "works as a", "cook", "judge"),
		record("e3", "Cleo", "lives in", "Rome", "Oslo"),
	}
}

// Edits are the edits of Records.
func Edits() []dataset.Edit {
	var edits []dataset.Edit
	for _, r := range Records() {
		edits = append(edits, r.Edit)
	}
	return edits
}

// Train is a source of records that are not under test.
func Train() dataset.Source {
	var l list
	for i, name := range []string{"Dora", "Emil", "Fay", "Gus", "Hedda", "Ivo", "Jana", "Kai"} {
		l = append(l, record(dataset.EditID("t"+string(rune('0'+i))), name, "was born in", "Lima", "Cairo"))
	}
	return l
}

type list []dataset.Record

func (list) Name() string { return "edittest" }

func (l list) Records() iter.Seq2[dataset.Record, error] {
	return func(yield func(dataset.Record, error) bool) {
		for _, r := range l {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func record(id dataset.EditID, subject, relation, target, truth string) dataset.Record {
	prompt := subject + " " + relation
	e := dataset.Edit{
		ID: id, Subject: subject, Prompt: prompt, Target: target, GroundTruth: truth, RelationID: relation,
		SubjectStart: 0, SubjectEnd: int32(len(subject)), PromptTemplate: "{s} " + relation, PromptCloze: prompt,
	}
	probe := func(axis dataset.Axis, prompt, gold, contrast string) dataset.Probe {
		return dataset.Probe{
			ID: dataset.ProbeID(string(id) + "-" + string(axis)), EditID: id, Family: axis.Family(), Axis: axis,
			Prompt: prompt, Format: dataset.Cloze, AnswerMode: dataset.Single,
			Answers: []string{gold}, Contrast: contrast, ChoiceLabel: -1, SubjectStart: -1, SubjectEnd: -1,
		}
	}
	return dataset.Record{Edit: e, Probes: []dataset.Probe{
		probe(dataset.AxisReliability, prompt, target, truth),
		probe(dataset.AxisGeneralization, "They say "+prompt, target, truth),
		probe(dataset.AxisNeighbourhood, "Zoe "+relation, truth, target),
	}}
}

// rows asks every probe of a record through a patch.
func rows(r dataset.Record, p *patch.Patch) []answer.Row {
	var out []answer.Row
	for _, q := range r.Probes {
		out = append(out, answer.Row{Patch: p, Query: ask.Query{Prompt: q.Prompt, Targets: []string{q.Answers[0], q.Contrast}}})
	}
	return out
}

// editor makes a fresh editor with the options' configuration.
func editor(t *testing.T, m edit.Method, o Options, lm *models.LM) edit.Editor {
	t.Helper()
	c, err := m.Configure(lm.Info(), o.Set)
	if err != nil {
		t.Fatal(err)
	}
	train := o.Train
	if train == nil {
		train = Train()
	}
	ed, err := m.Open(context.Background(), c, edit.Env{LM: lm, Artifacts: o.Artifacts, Train: train, Shown: train, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	return ed
}

// Together makes edits as one group; an error of the call is the group's.
func Together(ctx context.Context, ed edit.Editor, on *patch.Patch, edits ...dataset.Edit) edit.Made {
	made, err := ed.Make(ctx, on, [][]dataset.Edit{edits})
	if err != nil {
		return edit.Made{Err: err}
	}
	return made[0]
}

// Apart makes every edit as a group of its own.
func Apart(t testing.TB, ed edit.Editor, on *patch.Patch, edits []dataset.Edit) []edit.Made {
	t.Helper()
	made, err := ed.Make(context.Background(), on, edit.Apart(edits))
	if err != nil {
		t.Fatal(err)
	}
	return made
}
