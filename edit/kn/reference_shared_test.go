//go:build shared

package kn

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/edittest"
	"editpipe/models/answer"
	"editpipe/models/patch"
	"editpipe/tensor"
	"editpipe/tensor/npz"
)

const (
	// Agreement of outcomes with the reference, per edit and on average; a mean
	// may differ by one of the edits.
	leastAgreement = 0.95
	mostPoints     = 0.02
	mostNorm       = 1e-3 // median relative difference of the changes' norms
	// Sums of a few embeddings in float32, as the reference adds them up one by one.
	rowTolerance = 1e-5
	// A mean negative log-probability of the edited model: another framework in
	// float32, behind changes twice as large as the weight.
	nllTolerance = 1e-3
)

// world is the reference's model with what the authors' code made of it.
type world struct{ edittest.World }

// reference is one run of the authors' code.
type reference struct {
	Summary struct {
		Settings struct {
			Steps     int     `json:"steps"`
			Threshold float64 `json:"adaptive_threshold"`
			Refine    bool    `json:"refine"`
			Share     float64 `json:"p"`
		} `json:"hparams"`
		Rewrite float64 `json:"rewrite_success"`
		Para    float64 `json:"paraphrase_success"`
		Near    float64 `json:"neighborhood_success"`
	} `json:"summary"`
	Edits []struct {
		ID      int    `json:"case_id"`
		Prompt  string `json:"prompt"`
		Subject string `json:"subject"`
		New     string `json:"target_new"`
		True    string `json:"target_true"`
		// By the weight's name; only those that changed.
		Norm    map[string]float64 `json:"delta_norm"`
		Neurons float64            `json:"n_neurons"`
		Post    struct {
			Rewrite []edittest.Pair `json:"rewrite_prompts_probs"`
			Para    []edittest.Pair `json:"paraphrase_prompts_probs"`
			Near    []edittest.Pair `json:"neighborhood_prompts_probs"`
		} `json:"post"`
	} `json:"edits"`
}

func (w world) editor(t *testing.T, set map[string]string) edit.Editor {
	t.Helper()
	c, err := Method().Configure(w.LM.Info(), set)
	if err != nil {
		t.Fatal(err)
	}
	ed, err := Method().Open(context.Background(), c, edit.Env{LM: w.LM})
	if err != nil {
		t.Fatal(err)
	}
	return ed
}

// record is a case as a data set has it: the subject's place, and paraphrases.
func record(c edittest.Case) dataset.Record {
	e := c.Edit()
	place := func(text string) (start, end int32) {
		at := strings.LastIndex(text, e.Subject)
		return int32(at), int32(at + len(e.Subject))
	}
	e.SubjectStart, e.SubjectEnd = place(e.Prompt)
	var probes []dataset.Probe
	for _, text := range c.Para {
		p := dataset.Probe{Axis: dataset.AxisGeneralization, Prompt: text}
		p.SubjectStart, p.SubjectEnd = place(text)
		probes = append(probes, p)
	}
	return dataset.Record{Edit: e, Probes: probes}
}

// weightOf names the reference's weight of a change.
func weightOf(c patch.Weight) string {
	return fmt.Sprintf("transformer.h.%d.mlp.c_proj.weight", c.At.Layer)
}

// TestOutcomes makes the reference's edits and asks its questions.
func TestOutcomes(t *testing.T) {
	w := world{edittest.OpenWorld(t)}
	var ref reference
	w.JSON(t, &ref, "reference", "kn.json")
	cases := w.Cases(t)
	arrays, err := npz.Read(filepath.Join(w.Dir, "reference", "kn_arrays.npz"))
	if err != nil {
		t.Fatal(err)
	}
	h := ref.Summary.Settings
	if h.Refine {
		t.Fatal("the reference refines")
	}
	var edits []dataset.Edit
	for _, e := range ref.Edits {
		edits = append(edits, record(cases[e.ID]).Edit)
	}
	ed := w.editor(t, map[string]string{"variant": Port, "steps": fmt.Sprint(h.Steps), "adaptive_threshold": fmt.Sprint(h.Threshold)})
	made := edittest.Apart(t, ed, &patch.Patch{}, edits)
	var norms, probs []float64
	var mean, want [3]float64
	agree, counted, rows := 0, 0, 0
	for i, e := range ref.Edits {
		if made[i].Err != nil {
			t.Fatal(made[i].Err)
		}
		chosen, layers := 0, map[string]float64{}
		for _, c := range made[i].Patch.Weights {
			c := c
			for _, x := range c.U.Float32s() {
				if x != 0 {
					chosen++
				}
			}
			layers[weightOf(c)] = (&patch.Patch{Weights: []patch.Weight{c}}).DeltaNorm()
			if a := arrays[fmt.Sprintf("dW_%d_%s", i, weightOf(c))]; a != nil {
				rows += same(t, i, c, a)
			}
		}
		if chosen == int(e.Neurons) {
			counted++
		} else {
			t.Logf("edit %d: %d neurons, reference %v", i, chosen, e.Neurons)
		}
		if len(layers) != len(e.Norm) {
			t.Errorf("edit %d changes %v, the reference %v", i, layers, e.Norm)
		}
		for weight, norm := range e.Norm {
			norms = append(norms, math.Abs(layers[weight]/norm-1))
		}
		post := [3][]edittest.Pair{e.Post.Rewrite, e.Post.Para, e.Post.Near}
		for axis, prompts := range cases[e.ID].Questions() {
			ours := w.Pairs(t, made[i].Patch, prompts, cases[e.ID])
			got, theirs := edittest.Success(ours, axis == 2), edittest.Success(post[axis], axis == 2)
			mean[axis] += got / float64(len(ref.Edits))
			want[axis] += theirs / float64(len(ref.Edits))
			if axis == 0 && got == theirs {
				agree++
			}
			for k, p := range post[axis] {
				probs = append(probs, math.Abs(p.New-ours[k].New), math.Abs(p.True-ours[k].True))
			}
		}
	}
	n := len(ref.Edits)
	slices.Sort(norms)
	slices.Sort(probs)
	t.Logf("%d edits: rewrite, paraphrase, neighbourhood %.4f, reference %.4f; %d rewrites agree; as many neurons in %d edits; %d rows of the arrays are the same", n, mean, want, agree, counted, rows)
	t.Logf("norms differ by %.2g in the median, %.2g at most; negative log-probabilities by %.2g and %.2g", norms[len(norms)/2], norms[len(norms)-1], probs[len(probs)/2], probs[len(probs)-1])
	if float64(agree) < leastAgreement*float64(n) {
		t.Errorf("outcomes of %d of %d edits agree", agree, n)
	}
	for axis, s := range []float64{ref.Summary.Rewrite, ref.Summary.Para, ref.Summary.Near} {
		if math.Abs(s-want[axis]) > 1e-9 {
			t.Errorf("axis %d: the reference says %g, its edits %g", axis, s, want[axis])
		}
		if math.Abs(mean[axis]-want[axis]) > max(mostPoints, 1/float64(n))+1e-9 {
			t.Errorf("axis %d: mean success %g, reference %g", axis, mean[axis], want[axis])
		}
	}
	if norms[len(norms)/2] > mostNorm {
		t.Errorf("the median norm differs by %g", norms[len(norms)/2])
	}
	if probs[len(probs)-1] > nllTolerance {
		t.Errorf("a negative log-probability differs by %g", probs[len(probs)-1])
	}
	if counted != n {
		t.Errorf("%d of %d edits have as many neurons as in the reference", counted, n)
	}
	if rows == 0 {
		t.Error("no row of the arrays was compared")
	}
}

// same compares a change with the reference's, row by row, and gives the number
// of rows that both change.
func same(t *testing.T, i int, c patch.Weight, want *tensor.Tensor) int {
	t.Helper()
	got, err := tensor.MatMul(c.U, c.V)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Shape, want.Shape) {
		t.Fatalf("edit %d: change of shape %v, reference %v", i, got.Shape, want.Shape)
	}
	rows, width := 0, want.Shape[1]
	for r := range want.Shape[0] {
		a, b := got.Float32s()[r*width:(r+1)*width], want.Float32s()[r*width:(r+1)*width]
		changed := slices.ContainsFunc(b, func(x float32) bool { return x != 0 })
		if changed != (c.U.Float32s()[r] != 0) {
			t.Errorf("edit %d: row %d changes in the reference: %v", i, r, changed)
			continue
		}
		for k := range a {
			if math.Abs(float64(a[k])-float64(b[k])) > rowTolerance {
				t.Fatalf("edit %d: row %d changes by %g, in the reference by %g", i, r, a[k], b[k])
			}
		}
		if changed {
			rows++
		}
	}
	return rows
}

// TestEasyEdit makes the edits of EasyEdit's run and takes the share of target
// tokens that are then the most probable, from gold tokens.
func TestEasyEdit(t *testing.T) {
	w := world{edittest.OpenWorld(t)}
	var ref struct {
		Summary struct {
			Reliable float64 `json:"reliability"`
			General  float64 `json:"generalization"`
			Norm     float64 `json:"mean_delta_norm"`
		} `json:"summary"`
		Edits []struct {
			ID   int     `json:"case_id"`
			Norm float64 `json:"delta_norm"`
			Post struct {
				Rewrite []float64 `json:"rewrite_acc"`
				Phrase  []float64 `json:"rephrase_acc"`
			} `json:"post"`
		} `json:"edits"`
	}
	w.JSON(t, &ref, "reference", "ee_kn.json")
	var list []struct {
		ID      int    `json:"case_id"`
		Prompt  string `json:"prompt"`
		Phrase  string `json:"rephrase_prompt"`
		Subject string `json:"subject"`
		New     string `json:"target_new"`
		True    string `json:"ground_truth"`
	}
	w.JSON(t, &list, "data", "easyedit_like.json")
	at := map[int]int{}
	for i, c := range list {
		at[c.ID] = i
	}
	var edits []dataset.Edit
	for _, e := range ref.Edits {
		c := list[at[e.ID]]
		edits = append(edits, dataset.Edit{ID: dataset.EditID(fmt.Sprint(c.ID)), Prompt: c.Prompt, Subject: c.Subject, Target: c.New, GroundTruth: c.True})
	}
	ed := w.editor(t, map[string]string{"variant": EasyEdit})
	made := edittest.Apart(t, ed, &patch.Patch{}, edits)
	var mean, norms []float64
	mean = make([]float64, 2)
	agree, n := 0, float64(len(edits))
	for i, e := range ref.Edits {
		if made[i].Err != nil {
			t.Fatal(made[i].Err)
		}
		norms = append(norms, math.Abs(made[i].Patch.DeltaNorm()/e.Norm-1))
		c := list[at[e.ID]]
		for k, prompt := range []string{c.Prompt, c.Phrase} {
			answers, err := answer.Score(context.Background(), w.LM, []answer.Row{{Patch: made[i].Patch, Query: ask.Query{Prompt: prompt, Targets: []string{c.New}}}})
			if err != nil || answers[0].Err != nil {
				t.Fatal(err, answers[0].Err)
			}
			target, right := answers[0].Targets[0], 0.0
			for j, token := range target.IDs {
				if target.Argmax[j] == token {
					right += 1 / float64(len(target.IDs))
				}
			}
			mean[k] += right / n
			if k == 0 && math.Abs(right-e.Post.Rewrite[0]) < 1e-9 {
				agree++
			}
		}
	}
	slices.Sort(norms)
	want := []float64{ref.Summary.Reliable, ref.Summary.General}
	t.Logf("%v edits: reliability, generalisation %.4f, reference %.4f; %d rewrites agree; norms differ by %.2g in the median, %.2g at most", n, mean, want, agree, norms[len(norms)/2], norms[len(norms)-1])
	if float64(agree) < leastAgreement*n {
		t.Errorf("outcomes of %d of %v edits agree", agree, n)
	}
	for k := range mean {
		if math.Abs(mean[k]-want[k]) > max(mostPoints, 1/n)+1e-9 {
			t.Errorf("axis %d: mean %g, reference %g", k, mean[k], want[k])
		}
	}
	if norms[len(norms)/2] > mostNorm {
		t.Errorf("the median norm differs by %g", norms[len(norms)/2])
	}
}

// source lists records.
type source []dataset.Record

func (source) Name() string { return "other cases" }

func (s source) Records() iter.Seq2[dataset.Record, error] {
	return func(yield func(dataset.Record, error) bool) {
		for _, r := range s {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// paperRelation is the relation of the edits that TestPaper makes.
const paperRelation = "continent"

// TestPaper makes some of the reference's edits by the paper's rule, for which
// there is no reference on this model, with relations learned from other cases
// and without. Learning must leave fewer neurons and more of the neighbours.
func TestPaper(t *testing.T) {
	w := world{edittest.OpenWorld(t)}
	var ref reference
	w.JSON(t, &ref, "reference", "kn.json")
	cases := w.Cases(t)
	var of []edittest.Case
	var edits []dataset.Edit
	tested := map[int]bool{}
	for _, e := range ref.Edits {
		tested[e.ID] = true
		if c := cases[e.ID]; c.Request.Relation == paperRelation && len(edits) < 4 {
			of, edits = append(of, c), append(edits, record(c).Edit)
		}
	}
	var train source
	for _, id := range slices.Sorted(maps.Keys(cases)) {
		if c := cases[id]; !tested[id] && c.Request.Relation == paperRelation {
			train = append(train, record(c))
		}
	}
	artifacts := t.TempDir()
	c, err := Method().Configure(w.LM.Info(), map[string]string{"steps": "5", "relation_facts": "4"})
	if err != nil {
		t.Fatal(err)
	}
	if err := Method().Prepare(context.Background(), c, edit.PrepareEnv{LM: w.LM, Train: train}, artifacts); err != nil {
		t.Fatal(err)
	}
	var near, neurons []float64
	for _, folder := range []string{"", artifacts} {
		ed, err := Method().Open(context.Background(), c, edit.Env{LM: w.LM, Artifacts: folder})
		if err != nil {
			t.Fatal(err)
		}
		made := edittest.Apart(t, ed, &patch.Patch{}, edits)
		var mean [3]float64
		chosen, none := 0, 0
		for i := range edits {
			if made[i].Err != nil {
				t.Fatal(made[i].Err)
			}
			if len(made[i].Patch.Weights) == 0 {
				none++
			}
			for _, c := range made[i].Patch.Weights {
				for _, x := range c.U.Float32s() {
					if x != 0 {
						chosen++
					}
				}
			}
			for axis, prompts := range of[i].Questions() {
				mean[axis] += edittest.Success(w.Pairs(t, made[i].Patch, prompts, of[i]), axis == 2) / float64(len(edits))
			}
		}
		t.Logf("prepared %v: rewrite, paraphrase, neighbourhood %.4f; %.1f neurons; %d edits without", folder != "", mean, float64(chosen)/float64(len(edits)), none)
		near, neurons = append(near, mean[2]), append(neurons, float64(chosen))
	}
	if near[1] <= near[0] || neurons[1] >= neurons[0] {
		t.Errorf("neighbourhood success %g, neurons %g: without and with preparing", near, neurons)
	}
}
