//go:build shared

package pmet

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/edittest"
	"editpipe/edit/locate"
	"editpipe/models/patch"
)

const (
	// Accuracies are shares of a few tokens each: those of an edit agree or differ
	// by a token.
	sameAccuracy = 1e-9
	// Median and largest relative difference of norms: the contexts of EasyEdit's
	// run are not known, and those of another run stand for them.
	mostMedian = 0.02
	mostNorm   = 0.1
)

// TestEasyEdit makes the edits of EasyEdit's run, with its targets, which it
// tokenises without the space that its questions put before them: it edits
// towards other tokens than it asks for. With the space the same settings make
// most edits.
func TestEasyEdit(t *testing.T) {
	w := edittest.OpenWorld(t)
	var ref struct {
		Summary struct {
			Settings struct {
				Layers []int   `json:"layers"`
				Steps  int     `json:"v_num_grad_steps"`
				Rate   float64 `json:"v_lr"`
				Decay  float64 `json:"v_weight_decay"`
				Clamp  float64 `json:"clamp_norm_factor"`
				KL     float64 `json:"kl_factor"`
				Weight float64 `json:"mom2_update_weight"`
			} `json:"hparams"`
			Reliable float64 `json:"reliability"`
			General  float64 `json:"generalization"`
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
	w.JSON(t, &ref, "reference", "ee_pmet.json")
	var other struct {
		Contexts [][]string `json:"context_templates"`
	}
	w.JSON(t, &other, "reference", "memit_l012_w.json")
	list := filepath.Join(t.TempDir(), locate.ContextsFile)
	if err := locate.WriteContexts(list, slices.Concat(other.Contexts...)); err != nil {
		t.Fatal(err)
	}
	h := ref.Summary.Settings
	var layers []string
	for _, l := range h.Layers {
		layers = append(layers, fmt.Sprint(l))
	}
	cases, n := w.EasyCases(t), float64(len(ref.Edits))
	var edits []dataset.Edit
	for _, e := range ref.Edits {
		edits = append(edits, cases[e.ID].Edit())
	}
	moments := strings.Join(w.Moments(t, h.Layers), ",")
	for _, run := range []struct{ space, stop string }{{Never, Equal}, {Never, Argmax}, {Add, Argmax}} {
		c, err := Method().Configure(w.LM.Info(), map[string]string{
			"covariance": moments, "contexts": list, "layers": strings.Join(layers, ","), "v_num_grad_steps": fmt.Sprint(h.Steps),
			"v_lr": fmt.Sprint(h.Rate), "v_weight_decay": fmt.Sprint(h.Decay), "clamp_norm_factor": fmt.Sprint(h.Clamp),
			"kl_factor": fmt.Sprint(h.KL), "mom2_update_weight": fmt.Sprint(h.Weight), "space": run.space, "argmax_stop": run.stop,
		})
		if err != nil {
			t.Fatal(err)
		}
		ed, err := Method().Open(context.Background(), c, edit.Env{LM: w.LM})
		if err != nil {
			t.Fatal(err)
		}
		made := edittest.Apart(t, ed, &patch.Patch{}, edits)
		var mean [2]float64
		var norms []float64
		agree := 0
		for i, e := range ref.Edits {
			if made[i].Err != nil {
				t.Fatal(made[i].Err)
			}
			got := w.Accuracy(t, made[i].Patch, cases[e.ID])
			mean[0], mean[1] = mean[0]+got[0]/n, mean[1]+got[1]/n
			if math.Abs(got[0]-e.Post.Rewrite[0]) < sameAccuracy && math.Abs(got[1]-e.Post.Phrase[0]) < sameAccuracy {
				agree++
			}
			norms = append(norms, math.Abs(made[i].Patch.DeltaNorm()/e.Norm-1))
		}
		slices.Sort(norms)
		median, worst := norms[len(norms)/2], norms[len(norms)-1]
		t.Logf("space=%s argmax_stop=%s, %v edits: reliability, generalisation %.4f, reference %.4f %.4f; %d edits agree in both; norms differ by %.2g in the median, %.2g at most",
			run.space, run.stop, n, mean, ref.Summary.Reliable, ref.Summary.General, agree, median, worst)
		if run.space == Add {
			if mean[0] < 0.9 || mean[1] <= ref.Summary.General {
				t.Errorf("behind a space reliability and generalisation are %.4f", mean)
			}
			continue
		}
		if agree < len(edits) {
			t.Errorf("%d of %d edits agree", agree, len(edits))
		}
		if median > mostMedian || worst > mostNorm {
			t.Errorf("norms differ by %g in the median, %g at most", median, worst)
		}
	}
}
