//go:build shared

package metric

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/row"
)

// reference reads one run of the reference code.
func reference(t *testing.T, name string, run any) {
	t.Helper()
	dir := cmp.Or(os.Getenv("EDITPIPE_SHARED"), filepath.Join("..", "..", "shared"))
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no shared data in %s: set EDITPIPE_SHARED", dir)
	}
	text, err := os.ReadFile(filepath.Join(dir, "fixtures", "world", "reference", name+".json"))
	if err == nil {
		err = json.Unmarshal(text, run)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// nll is one prompt's mean negative log-probability of both objects, as the
// reference code of ROME wrote it.
type nll struct {
	New  float64 `json:"target_new"`
	True float64 `json:"target_true"`
}

type asked struct {
	Rewrite       []nll `json:"rewrite_prompts_probs"`
	Paraphrase    []nll `json:"paraphrase_prompts_probs"`
	Neighbourhood []nll `json:"neighborhood_prompts_probs"`
}

// The reference code's CounterFact success, from its probabilities through our
// probes, Score and Summarise, for every run that has them.
func TestCounterFactReference(t *testing.T) {
	for name, want := range map[string][]float64{
		// As the run's README gives them, to its three digits.
		"rome_l0": {0.917, 0.817, 0.950}, "rome_l1": {0.960, 0.640, 0.900}, "memit_l012": {0, 0, 1}, "memit_l012_w": {0.940, 0.650, 0.966},
		"ft_l0": {0, 0, 1}, "ft_l0_loose": {1, 0.925, 0.846}, "kn": {0.533, 0.533, 0.658},
	} {
		t.Run(name, func(t *testing.T) {
			var run struct {
				Summary map[string]any
				Edits   []struct {
					CaseID    int `json:"case_id"`
					Pre, Post asked
				}
			}
			reference(t, name, &run)
			var rows []row.Result
			for _, e := range run.Edits {
				record := fmt.Sprintf("counterfact-%d", e.CaseID)
				add := func(axis dataset.Axis, pre, post []nll) {
					for i := range post {
						p := dataset.Probe{ID: dataset.ProbeID(fmt.Sprintf("%s-%s-%d", record, axis, i)), Axis: axis, Format: dataset.Cloze, Answers: []string{"new"}, Contrast: "true"}
						if axis == dataset.AxisNeighbourhood {
							p.Answers, p.Contrast = []string{"true"}, "new"
						}
						base, err := TakeBaseline(p, answerOf(p, pre[i]))
						if err != nil {
							t.Fatal(err)
						}
						s, err := Score(p, &base, answerOf(p, post[i]))
						if err != nil {
							t.Fatal(err)
						}
						rows = append(rows, row.Result{EditID: record, ProbeID: string(p.ID), Axis: string(axis), Status: row.OK, Alt: "other", Scores: s})
					}
				}
				add(dataset.AxisReliability, e.Pre.Rewrite, e.Post.Rewrite)
				add(dataset.AxisGeneralization, e.Pre.Paraphrase, e.Post.Paraphrase)
				add(dataset.AxisNeighbourhood, e.Pre.Neighbourhood, e.Post.Neighbourhood)
			}
			cells, err := Summarise(rows)
			if err != nil {
				t.Fatal(err)
			}
			for i, axis := range []dataset.Axis{dataset.AxisReliability, dataset.AxisGeneralization, dataset.AxisNeighbourhood} {
				field := []string{"rewrite_success", "paraphrase_success", "neighborhood_success"}[i]
				got := cell(t, cells, axis, "success_prob")
				if got.N != int64(len(run.Edits)) {
					t.Errorf("%s over %d records, want %d", axis, got.N, len(run.Edits))
				}
				within(t, string(axis)+" as documented", *got.Mean, want[i], 0.0005+closeTo)
				near(t, string(axis), got.Mean, run.Summary[field].(float64))
				near(t, string(axis)+" before", cell(t, cells, axis, "pre_success_prob").Mean, run.Summary["pre_"+field].(float64))
			}
		})
	}
}

// answerOf puts the reference's numbers into an answer to Question(p); the mean
// over tokens is all it recorded, so each target is one token.
func answerOf(p dataset.Probe, v nll) ask.Answer {
	var a ask.Answer
	for _, target := range Question(p).Targets {
		logp := -v.New
		if target == "true" {
			logp = -v.True
		}
		a.Targets = append(a.Targets, ask.Continuation{IDs: []int64{1}, Argmax: []int64{1}, LogProbs: []float64{logp}})
	}
	return a
}

// EasyEdit's means over records, from its numbers per probe through Summarise.
// Records without a kind of probe do not take part in its mean.
func TestEasyEditReference(t *testing.T) {
	for _, name := range []string{"ee_rome", "ee_rome_nocov", "ee_memit", "ee_pmet", "ee_ft_l", "ee_ft_m", "ee_kn"} {
		t.Run(name, func(t *testing.T) {
			var run struct {
				Summary map[string]any
				Edits   []struct {
					CaseID      int `json:"case_id"`
					Post        map[string][]float64
					Portability map[string][]float64 `json:"portability_post"`
					Locality    map[string][]float64
				}
			}
			reference(t, name, &run)
			axes := []struct {
				axis    dataset.Axis
				summary string
			}{
				{dataset.AxisReliability, "reliability"}, {dataset.AxisGeneralization, "generalization"},
				{dataset.AxisSubjectReplace, "portability_subject_replace"}, {dataset.AxisReversedRelation, "portability_reversed_relation"}, {dataset.AxisOneHop, "portability_one_hop"},
				{dataset.AxisOtherRelations, "locality_other_relations"}, {dataset.AxisDistractNeighbourhood, "locality_distract_neighborhood"}, {dataset.AxisOtherTasks, "locality_other_tasks"},
			}
			var rows []row.Result
			for _, e := range run.Edits {
				for i, values := range [][]float64{
					e.Post["rewrite_acc"], e.Post["rephrase_acc"],
					e.Portability["subject_replace_acc"], e.Portability["reversed_relation_acc"], e.Portability["one_hop_acc"],
					e.Locality["other_relations"], e.Locality["distract_neighborhood"], e.Locality["other_tasks"],
				} {
					for j, v := range values {
						r := row.Result{EditID: fmt.Sprint(e.CaseID), ProbeID: fmt.Sprint(axes[i].axis, j), Axis: string(axes[i].axis), Status: row.OK, Scores: row.Scores{TokenAcc: &v}}
						if axes[i].axis.Family() == dataset.Locality {
							r.Scores = row.Scores{AgreeTok: &v}
						}
						rows = append(rows, r)
					}
				}
			}
			cells, err := Summarise(rows)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range axes {
				near(t, string(a.axis), cell(t, cells, a.axis, Headline(a.axis)).Mean, run.Summary[a.summary].(float64))
			}
		})
	}
}
