//go:build shared

package ftl

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/edit/edittest"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/train"
)

const (
	// Losses of another framework in float32 over 25 updates that divide
	// gradients by their own size.
	traceTolerance = 1e-4
	traced         = 12 // edits that are followed loss by loss
	// Rewrites agree one and all; a mean may differ by one of some hundred
	// questions whose answers are all but equally probable.
	mostPoints = 5e-3
	// Relative difference of norms: elements whose gradient is about as small as
	// Adam's epsilon move by rounding.
	mostNorm = 5e-4
)

// world is the reference's model with what the authors' code made of it.
type world struct{ edittest.World }

type hyper struct {
	Layers []int   `json:"layers"`
	Steps  int     `json:"num_steps"`
	Rate   float64 `json:"lr"`
	Decay  float64 `json:"weight_decay"`
	Bound  float64 `json:"norm_constraint"`
}

func (h hyper) overrides() map[string]string {
	return map[string]string{
		"layer": fmt.Sprint(h.Layers[0]), "num_steps": fmt.Sprint(h.Steps), "lr": fmt.Sprint(h.Rate),
		"weight_decay": fmt.Sprint(h.Decay), "norm_constraint": fmt.Sprint(h.Bound),
	}
}

// reference is one run of the authors' code.
type reference struct {
	Summary struct {
		Settings hyper `json:"hparams"`
	} `json:"summary"`
	Edits []struct {
		ID      int                `json:"case_id"`
		Prompt  string             `json:"prompt"`
		Subject string             `json:"subject"`
		New     string             `json:"target_new"`
		True    string             `json:"target_true"`
		Norm    map[string]float64 `json:"delta_norm"` // of weight and bias
		Losses  []float64          `json:"ft_losses"`
		Post    struct {
			Rewrite []edittest.Pair `json:"rewrite_prompts_probs"`
			Para    []edittest.Pair `json:"paraphrase_prompts_probs"`
			Near    []edittest.Pair `json:"neighborhood_prompts_probs"`
		} `json:"post"`
	} `json:"edits"`
}

func (w world) reference(t *testing.T, run string) (reference, []dataset.Edit, *editor) {
	t.Helper()
	var ref reference
	w.JSON(t, &ref, "reference", run+".json")
	ed := open1(t, w.LM, promptLast, ref.Summary.Settings.overrides())
	var edits []dataset.Edit
	for _, e := range ref.Edits {
		edits = append(edits, dataset.Edit{
			ID: dataset.EditID(fmt.Sprint(e.ID)), Prompt: strings.Replace(e.Prompt, "{}", e.Subject, 1),
			Subject: e.Subject, SubjectStart: -1, SubjectEnd: -1, Target: e.New,
		})
	}
	return ref, edits, ed
}

// TestTraces follows the reference loss by loss.
func TestTraces(t *testing.T) {
	w := world{edittest.OpenWorld(t)}
	for _, run := range []string{"ft_l0", "ft_l0_loose"} {
		ref, edits, ed := w.reference(t, run)
		at := arch.WeightID{Layer: ed.c.Layer, Part: arch.FFNDown}
		weight := w.LM.Info().Weight(at)
		worst := 0.0
		for i, e := range ref.Edits[:traced] {
			o := objectiveOf(t, promptLast, w.LM, &patch.Patch{}, at, edits[i:i+1])
			p, err := ed.problem(&patch.Patch{}, at, weight)
			if err != nil {
				t.Fatal(err)
			}
			r, err := train.Minimise(context.Background(), o, []train.Problem{p}, train.Config{
				Optimiser: train.NewAdam(ed.c.Rate), Steps: ed.c.Steps, UpdateLast: true, Stop: train.Below(enough),
			})
			if err != nil || r[0].Err != nil {
				t.Fatal(err, r[0].Err)
			}
			if len(r[0].Losses) != len(e.Losses) {
				t.Errorf("%s case %d: %d evaluations, reference %d", run, e.ID, len(r[0].Losses), len(e.Losses))
				continue
			}
			for k, l := range e.Losses {
				worst = max(worst, math.Abs(r[0].Losses[k]-l))
			}
		}
		t.Logf("%s: losses of %d edits within %.2g", run, traced, worst)
		if worst > traceTolerance {
			t.Errorf("%s: losses differ by %g", run, worst)
		}
	}
}

// TestOutcomes makes the reference's edits and asks its questions.
func TestOutcomes(t *testing.T) {
	for _, run := range []string{"ft_l0", "ft_l0_loose"} {
		t.Run(run, func(t *testing.T) { outcomes(t, run) })
	}
}

func outcomes(t *testing.T, run string) {
	w := world{edittest.OpenWorld(t)}
	ref, edits, ed := w.reference(t, run)
	cases := w.Cases(t)
	made := edittest.Apart(t, ed, &patch.Patch{}, edits)
	var mean, want [3]float64
	var norms []float64
	agree, steps, theirs := 0, 0, 0
	n := len(edits)
	for i, e := range ref.Edits {
		if made[i].Err != nil {
			t.Fatal(made[i].Err)
		}
		post := [3][]edittest.Pair{e.Post.Rewrite, e.Post.Para, e.Post.Near}
		for axis, prompts := range cases[e.ID].Questions() {
			got, good := edittest.Success(w.Pairs(t, made[i].Patch, prompts, cases[e.ID]), axis == 2), edittest.Success(post[axis], axis == 2)
			mean[axis] += got / float64(n)
			want[axis] += good / float64(n)
			if axis == 0 && got > 0 == (good > 0) {
				agree++
			}
		}
		for _, c := range made[i].Patch.Weights {
			part := "weight"
			if c.Bias {
				part = "bias"
			}
			norm := (&patch.Patch{Weights: []patch.Weight{c}}).DeltaNorm()
			norms = append(norms, math.Abs(norm/e.Norm[fmt.Sprintf("transformer.h.%d.mlp.c_proj.%s", ed.c.Layer, part)]-1))
		}
		steps += int(made[i].Efforts[0].Steps)
		theirs += len(e.Losses)
		if e.Losses[len(e.Losses)-1] < enough {
			theirs-- // the last evaluation was not followed by an update
		}
	}
	slices.Sort(norms)
	share := float64(agree) / float64(n)
	t.Logf("%d edits: rewrite, paraphrase, neighbourhood %.4f, reference %.4f; agreement on rewrite %.3f; norms differ by %.2g in the median, %.2g at most; %d updates, reference %d",
		n, mean, want, share, norms[n], norms[2*n-1], steps, theirs)
	if agree < n || steps != theirs {
		t.Errorf("outcomes of %d of %d edits agree, with %d updates for %d", agree, n, steps, theirs)
	}
	for axis := range mean {
		if math.Abs(mean[axis]-want[axis]) > mostPoints {
			t.Errorf("axis %d: mean success %g, reference %g", axis, mean[axis], want[axis])
		}
	}
	if norms[2*n-1] > mostNorm {
		t.Errorf("norms differ by up to %g", norms[2*n-1])
	}
}

// TestEasyEdit makes the edits of EasyEdit's runs of both methods and takes the
// share of target tokens that are then the most probable, from gold tokens.
func TestEasyEdit(t *testing.T) {
	for id, run := range map[string]string{promptLast: "ee_ft_l", masked: "ee_ft_m"} {
		t.Run(run, func(t *testing.T) { easyEdit(t, id, run) })
	}
}

func easyEdit(t *testing.T, id, run string) {
	w := world{edittest.OpenWorld(t)}
	var ref struct {
		Summary struct {
			Settings hyper   `json:"hparams"`
			Reliable float64 `json:"reliability"`
			General  float64 `json:"generalization"`
			Norm     float64 `json:"mean_delta_norm"`
		} `json:"summary"`
		Edits []struct {
			ID int `json:"case_id"`
		} `json:"edits"`
	}
	w.JSON(t, &ref, "reference", run+".json")
	ed := open1(t, w.LM, id, ref.Summary.Settings.overrides())
	var mean [2]float64
	norm, n := 0.0, float64(len(ref.Edits))
	cases := w.EasyCases(t)
	for _, e := range ref.Edits {
		c := cases[e.ID]
		made := edittest.Together(context.Background(), ed, &patch.Patch{}, c.Edit())
		if made.Err != nil {
			t.Fatal(made.Err)
		}
		norm += made.Patch.DeltaNorm() / n
		for k, share := range w.Accuracy(t, made.Patch, c) {
			mean[k] += share / n
		}
	}
	want := [2]float64{ref.Summary.Reliable, ref.Summary.General}
	t.Logf("%v edits: reliability, generalisation %.4f, reference %.4f; mean norm %.4f, reference %.4f", n, mean, want, norm, ref.Summary.Norm)
	if math.Abs(norm/ref.Summary.Norm-1) > mostNorm {
		t.Errorf("mean norm %g, reference %g", norm, ref.Summary.Norm)
	}
	for k := range mean {
		if math.Abs(mean[k]-want[k]) > mostPoints {
			t.Errorf("axis %d: mean %g, reference %g", k, mean[k], want[k])
		}
	}
}
