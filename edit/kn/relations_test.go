package kn

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/edittest"
	"editpipe/internal/tinylm"
	"editpipe/models/patch"
)

// training is a source of facts of one relation that are not under test, each
// with two paraphrases.
type training []string

func (training) Name() string { return "training" }

func (l training) Records() iter.Seq2[dataset.Record, error] {
	return func(yield func(dataset.Record, error) bool) {
		for i, subject := range l {
			n := int32(len(subject))
			e := dataset.Edit{
				ID: dataset.EditID(subject), RelationID: "works as a", Subject: subject, Prompt: subject + " works as a",
				SubjectStart: 0, SubjectEnd: n, Target: "cook", GroundTruth: []string{"judge", "pilot"}[i%2],
			}
			probe := func(before, behind string, axis dataset.Axis) dataset.Probe {
				return dataset.Probe{Axis: axis, Prompt: before + subject + behind, SubjectStart: int32(len(before)), SubjectEnd: int32(len(before)) + n}
			}
			r := dataset.Record{Edit: e, Probes: []dataset.Probe{
				probe("The job of ", " is", dataset.AxisGeneralization), probe("Ask ", " for the", dataset.AxisGeneralization), probe("Not ", " but", dataset.AxisNeighbourhood),
			}}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// TestPrepare learns a relation and edits with what was learned.
func TestPrepare(t *testing.T) {
	lm, ctx, out := edittest.Open(t, tinylm.Config{}), context.Background(), t.TempDir()
	c, err := Method().Configure(lm.Info(), map[string]string{"steps": "4", "relation_facts": "5"})
	if err != nil {
		t.Fatal(err)
	}
	train := training{"Dora", "Emil", "Fay", "Gus", "Hedda", "Ivo"}
	if err := Method().Prepare(ctx, c, edit.PrepareEnv{LM: lm, Train: train}, out); err != nil {
		t.Fatal(err)
	}
	var all map[string]relation
	data, err := os.ReadFile(filepath.Join(out, relationsFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	r := all["works as a"]
	if want := []string{"{s} works as a", "The job of {s} is", "Ask {s} for the"}; len(all) != 1 || !slices.Equal(r.Templates, want) || r.Facts != 5 {
		t.Fatalf("learned %+v", all)
	}
	total := 0
	for _, n := range r.Neurons {
		total += n
	}
	// Rounds move the share until facts have 2 to 5 neurons, or stop.
	moved := int((r.Agreement-paperAgreement)/agreementStep*1.0001 + 100.5)
	if mean := float64(total) / 5; mean < fewNeurons && moved > 100-agreementRounds+1 || mean > manyNeurons && moved < 100+agreementRounds-1 {
		t.Errorf("%g neurons per fact at p %g", mean, r.Agreement)
	}
	made, err := open(ctx, c.Value().(Config), edit.Env{LM: lm, Artifacts: out})
	if err != nil {
		t.Fatal(err)
	}
	ed := made.(*editor)
	e := edittest.Edits()[0] // of the same relation
	f, err := ed.newFact(e)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.prompts) != 3 {
		t.Errorf("%d prompts, want those of the three templates", len(f.prompts))
	}
	scores, err := ed.attribute(ctx, &patch.Patch{}, []*fact{f}, make([]error, 1))
	if err != nil {
		t.Fatal(err)
	}
	free := (&editor{c: ed.c}).choose(scores[0], &relation{Agreement: r.Agreement})
	chosen := ed.choose(scores[0], ed.relation(e))
	for _, n := range free {
		if got, want := slices.Contains(chosen, n), r.Neurons[n.String()] == 0; got != want { // one of five facts is more than a tenth
			t.Errorf("neuron %s of %d facts is chosen: %v", n, r.Neurons[n.String()], got)
		}
	}
	if other, err := ed.newFact(edittest.Edits()[2]); err != nil || len(other.prompts) != 1 {
		t.Errorf("a fact of another relation: %v, %v", other, err)
	}
}

// TestOneBadRelation: a relation whose facts cannot be put to the model is passed
// over, unless it is the only one.
func TestOneBadRelation(t *testing.T) {
	lm, ctx, out := edittest.Open(t, tinylm.Config{}), context.Background(), t.TempDir()
	c, err := Method().Configure(lm.Info(), map[string]string{"steps": "2", "relation_facts": "2"})
	if err != nil {
		t.Fatal(err)
	}
	long := dataset.Record{Edit: dataset.Edit{
		ID: "long", RelationID: "is far", Subject: "Ada", Prompt: "Ada" + strings.Repeat(" and on", 60), SubjectEnd: 3, Target: "cook", GroundTruth: "judge",
	}}
	good := edittest.Records()[0]
	list := dataset.List("training", []dataset.Record{long, good})
	if err := Method().Prepare(ctx, c, edit.PrepareEnv{LM: lm, Train: list}, out); err != nil {
		t.Fatal(err)
	}
	all, err := readRelations(out)
	if err != nil || len(all) != 1 || all[good.Edit.RelationID] == nil {
		t.Errorf("learned %v, %v", all, err)
	}
	alone := dataset.List("training", []dataset.Record{long})
	if err := Method().Prepare(ctx, c, edit.PrepareEnv{LM: lm, Train: alone}, t.TempDir()); !errors.Is(err, ask.ErrTooLong) || !strings.Contains(err.Error(), "is far") {
		t.Errorf("nothing else to learn from: %v", err)
	}
}

// TestPrepareRefused: what cannot be learned from, and what was damaged.
func TestPrepareRefused(t *testing.T) {
	lm, ctx := edittest.Open(t, tinylm.Config{}), context.Background()
	for label, c := range map[string]struct {
		set  map[string]string
		in   edit.PrepareEnv
		want string
	}{
		"nothing to refine": {map[string]string{"variant": Port}, edit.PrepareEnv{Train: training{"Dora"}}, "needs no preparation"},
		"no records":        {nil, edit.PrepareEnv{}, "give a data set"},
		"no facts":          {nil, edit.PrepareEnv{Train: training{}}, "no edit with a relation"},
	} {
		config, err := Method().Configure(lm.Info(), c.set)
		if err != nil {
			t.Fatal(err)
		}
		c.in.LM = lm
		err = Method().Prepare(ctx, config, c.in, t.TempDir())
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, edit.ErrUnsupported) != (c.set != nil) {
			t.Errorf("%s: %v", label, err)
		}
	}
	for _, text := range []string{"{", `{"r": null}`, `{"r": {"facts": 0, "p": 0.7}}`, `{"r": {"facts": 3, "p": 7}}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, relationsFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		config, err := Method().Configure(lm.Info(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Method().Open(ctx, config, edit.Env{LM: lm, Artifacts: dir}); err == nil || !strings.Contains(err.Error(), relationsFile) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
