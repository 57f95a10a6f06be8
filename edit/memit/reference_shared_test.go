//go:build shared

package memit

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
	"editpipe/edit/spread"
	"editpipe/models/patch"
	"editpipe/tensor"
	"editpipe/tensor/npz"
)

const (
	// Agreement of outcomes with the reference, per edit and on average; a mean
	// may differ by one of the edits.
	leastAgreement = 0.95
	mostPoints     = 0.02
	mostBatch      = 0.05 // of edits made together
	// Median relative differences of norms and of found values: another
	// framework's float32 over 19 updates that divide gradients by their size.
	mostNorm  = 1e-3
	mostValue = 1e-3
)

// world is the reference's model with what the authors' code made of it.
type world struct{ edittest.World }

// reference is one run of the authors' code.
type reference struct {
	Summary struct {
		Settings hyper              `json:"hparams"`
		Norm     map[string]float64 `json:"delta_norm"` // batches only
		Rewrite  float64            `json:"rewrite_success"`
		Para     float64            `json:"paraphrase_success"`
		Near     float64            `json:"neighborhood_success"`
	} `json:"summary"`
	Contexts [][]string `json:"context_templates"`
	Edits    []struct {
		ID      int                `json:"case_id"`
		Norm    map[string]float64 `json:"delta_norm"` // single edits only
		Rewrite []float64          `json:"rewrite_success"`
	} `json:"edits"`
}

type hyper struct {
	Layers []int   `json:"layers"`
	Steps  int     `json:"v_num_grad_steps"`
	Rate   float64 `json:"v_lr"`
	Decay  float64 `json:"v_weight_decay"`
	Clamp  float64 `json:"clamp_norm_factor"`
	KL     float64 `json:"kl_factor"`
	Weight float64 `json:"mom2_update_weight"`
}

// weightName is the reference's name of a layer's down-projection.
func weightName(layer int) string { return fmt.Sprintf("transformer.h.%d.mlp.c_proj.weight", layer) }

// editor has the reference's settings, contexts and covariance; the latter goes
// through files in the reference's layout.
func (w world) editor(t *testing.T, ref reference) *spread.Editor {
	t.Helper()
	h := ref.Summary.Settings
	var layers []string
	for _, l := range h.Layers {
		layers = append(layers, fmt.Sprint(l))
	}
	list := filepath.Join(t.TempDir(), locate.ContextsFile)
	if err := locate.WriteContexts(list, slices.Concat(ref.Contexts...)); err != nil {
		t.Fatal(err)
	}
	c, err := Method().Configure(w.LM.Info(), map[string]string{
		"covariance": strings.Join(w.Moments(t, h.Layers), ","), "contexts": list, "layers": strings.Join(layers, ","), "v_num_grad_steps": fmt.Sprint(h.Steps),
		"v_lr": fmt.Sprint(h.Rate), "v_weight_decay": fmt.Sprint(h.Decay), "clamp_norm_factor": fmt.Sprint(h.Clamp),
		"kl_factor": fmt.Sprint(h.KL), "mom2_update_weight": fmt.Sprint(h.Weight),
	})
	if err != nil {
		t.Fatal(err)
	}
	ed, err := open(c.Value().(Config), edit.Env{LM: w.LM})
	if err != nil {
		t.Fatal(err)
	}
	return ed
}

// cases are the data of a reference's edits, in its order.
func (w world) cases(t *testing.T, ref reference) (cases []edittest.Case, edits []dataset.Edit) {
	t.Helper()
	byID := w.Cases(t)
	for _, e := range ref.Edits {
		cases, edits = append(cases, byID[e.ID]), append(edits, byID[e.ID].Edit())
	}
	return cases, edits
}

// axes asks for rewrite, paraphrase and neighbourhood success of a case.
func (w world) axes(t *testing.T, p *patch.Patch, c edittest.Case) (success [3]float64) {
	t.Helper()
	for axis, prompts := range c.Questions() {
		success[axis] = edittest.Success(w.Pairs(t, p, prompts, c), axis == 2)
	}
	return success
}

// relative is the norm of a - b over that of b.
func relative(a, b []float32) float64 {
	d := make([]float32, len(a))
	for i := range a {
		d[i] = a[i] - b[i]
	}
	return tensor.FromFloat32s(d, len(d)).Norm() / tensor.FromFloat32s(b, len(b)).Norm()
}

// norms compares the changes of a patch, one per layer, with norms by weight.
func norms(p *patch.Patch, want map[string]float64) (differences []float64) {
	for _, c := range p.Weights {
		one := patch.Patch{Weights: []patch.Weight{c}}
		differences = append(differences, math.Abs(one.DeltaNorm()/want[weightName(c.At.Layer)]-1))
	}
	return differences
}

// TestSingle makes the reference's edits one by one and asks its questions. With
// the published settings this small model hardly moves; the other run has
// settings that edit it.
func TestSingle(t *testing.T) {
	for _, run := range []string{"memit_l012", "memit_l012_w"} {
		t.Run(run, func(t *testing.T) { single(t, run) })
	}
}

func single(t *testing.T, run string) {
	w := world{edittest.OpenWorld(t)}
	var ref reference
	w.JSON(t, &ref, "reference", run+".json")
	var arrays map[string]*tensor.Tensor
	if run == "memit_l012_w" {
		var err error
		if arrays, err = npz.Read(filepath.Join(w.Dir, "reference", run+"_arrays.npz")); err != nil {
			t.Fatal(err)
		}
	}
	cases, edits := w.cases(t, ref)
	ed, ctx := w.editor(t, ref), context.Background()
	made := edittest.Apart(t, ed, &patch.Patch{}, edits)
	var differences, values, weights []float64
	agree, n := 0, len(edits)
	var mean [3]float64
	for i, e := range ref.Edits {
		if made[i].Err != nil {
			t.Fatal(made[i].Err)
		}
		got := w.axes(t, made[i].Patch, cases[i])
		for axis, s := range got {
			mean[axis] += s / float64(n)
		}
		if got[0] == e.Rewrite[0] {
			agree++
		}
		differences = append(differences, norms(made[i].Patch, e.Norm)...)
		for _, c := range made[i].Patch.Weights {
			l := c
			if a := arrays[fmt.Sprintf("dW_%d_%s", i, weightName(l.At.Layer))]; a != nil {
				delta, err := tensor.MatMul(l.U, l.V)
				if err != nil {
					t.Fatal(err)
				}
				weights = append(weights, relative(delta.Float32s(), a.Float32s()))
			}
		}
	}
	facts, _, err := ed.Search(ctx, &patch.Patch{}, edits)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range facts {
		if a := arrays[fmt.Sprintf("z_%d", i)]; a != nil {
			z := make([]float32, len(f.Value))
			for j, x := range f.Value {
				z[j] = float32(x)
			}
			values = append(values, relative(z, a.Float32s()))
		}
	}
	slices.Sort(differences)
	want := [3]float64{ref.Summary.Rewrite, ref.Summary.Para, ref.Summary.Near}
	t.Logf("%d edits: rewrite, paraphrase, neighbourhood %.4f, reference %.4f; %d rewrites agree; norms differ by %.2g in the median, %.2g at most",
		n, mean, want, agree, differences[len(differences)/2], differences[len(differences)-1])
	if float64(agree) < leastAgreement*float64(n) {
		t.Errorf("outcomes of %d of %d edits agree", agree, n)
	}
	for axis := range mean {
		if math.Abs(mean[axis]-want[axis]) > max(mostPoints, 1/float64(n))+1e-9 {
			t.Errorf("axis %d: mean success %g, reference %g", axis, mean[axis], want[axis])
		}
	}
	if differences[len(differences)/2] > mostNorm {
		t.Errorf("the median norm differs by %g", differences[len(differences)/2])
	}
	if arrays == nil {
		return
	}
	if len(values) == 0 || len(weights) == 0 {
		t.Fatal("the reference has no arrays to compare with")
	}
	slices.Sort(values)
	slices.Sort(weights)
	t.Logf("%d values differ by %.2g in the median, %.2g at most; %d weights by %.2g and %.2g", len(values), values[len(values)/2], values[len(values)-1],
		len(weights), weights[len(weights)/2], weights[len(weights)-1])
	if values[len(values)/2] > mostValue || weights[len(weights)/2] > mostNorm {
		t.Errorf("values differ by %g, weights by %g in the median", values[len(values)/2], weights[len(weights)/2])
	}
}

// TestBatch makes edits together and asks afterwards.
func TestBatch(t *testing.T) {
	for _, run := range []string{"batch_memit_10", "batch_memit_50"} {
		t.Run(run, func(t *testing.T) {
			w := world{edittest.OpenWorld(t)}
			var ref reference
			w.JSON(t, &ref, "reference", run+".json")
			cases, edits := w.cases(t, ref)
			made := edittest.Together(context.Background(), w.editor(t, ref), &patch.Patch{}, edits...)
			if made.Err != nil {
				t.Fatal(made.Err)
			}
			p := made.Patch
			var mean [3]float64
			for _, c := range cases {
				for axis, s := range w.axes(t, p, c) {
					mean[axis] += s / float64(len(cases))
				}
			}
			want := [3]float64{ref.Summary.Rewrite, ref.Summary.Para, ref.Summary.Near}
			differences := norms(p, ref.Summary.Norm)
			t.Logf("rewrite, paraphrase, neighbourhood %.4f, reference %.4f; norms differ by %.2g", mean, want, differences)
			for axis := range mean {
				if math.Abs(mean[axis]-want[axis]) > mostBatch+1e-9 {
					t.Errorf("axis %d: mean success %g, reference %g", axis, mean[axis], want[axis])
				}
			}
			if worst := slices.Max(differences); worst > mostNorm {
				t.Errorf("norms differ by %g", worst)
			}
		})
	}
}
