//go:build shared

package rome

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
	"editpipe/edit/moments"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/tensor"
	"editpipe/tensor/npz"
)

const (
	// Losses, keys and directions of another framework in float32, over 19 updates
	// that divide gradients by their own size.
	lossTolerance = 1e-3
	keyTolerance  = 1e-4
	// Agreement of outcomes with the reference, per edit and on average; a mean
	// may differ by one of the edits.
	leastAgreement = 0.95
	mostPoints     = 0.02
	mostNorm       = 1e-3 // median relative difference of the changes' norms
)

// world is the reference's model with what the authors' code made of it.
type world struct{ edittest.World }

func (w world) npy(t testing.TB, name string) *tensor.Tensor {
	t.Helper()
	v, err := npz.ReadNPY(filepath.Join(w.Dir, "reference", name+".npy"))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// reference is one run of the authors' code.
type reference struct {
	Summary struct {
		Settings hyper   `json:"hparams"`
		Rewrite  float64 `json:"rewrite_success"`
		Para     float64 `json:"paraphrase_success"`
		Near     float64 `json:"neighborhood_success"`
	} `json:"summary"`
	Contexts []string `json:"context_templates"`
	Edits    []struct {
		ID      int    `json:"case_id"`
		Prompt  string `json:"prompt"`
		Subject string `json:"subject"`
		New     string `json:"target_new"`
		True    string `json:"target_true"`
		// By the weight's name; one weight is changed.
		Norm map[string]float64 `json:"delta_norm"`
		Post struct {
			Rewrite []edittest.Pair `json:"rewrite_prompts_probs"`
			Para    []edittest.Pair `json:"paraphrase_prompts_probs"`
			Near    []edittest.Pair `json:"neighborhood_prompts_probs"`
		} `json:"post"`
	} `json:"edits"`
}

type hyper struct {
	Layers []int   `json:"layers"`
	Steps  int     `json:"v_num_grad_steps"`
	Rate   float64 `json:"v_lr"`
	Decay  float64 `json:"v_weight_decay"`
	Clamp  float64 `json:"clamp_norm_factor"`
	KL     float64 `json:"kl_factor"`
}

// editor has the reference's settings, contexts and covariance; the latter goes
// through a file in the reference's layout.
func (w world) editor(t testing.TB, h hyper, contexts []string) *editor {
	t.Helper()
	layer := h.Layers[0]
	var info []struct {
		Count int64 `json:"count"`
	}
	w.JSON(t, &info, "reference", "cov", "info.json")
	mean := w.npy(t, fmt.Sprintf("cov/mom2_layer%d", layer))
	m := moments.Moments{Width: mean.Shape[0], Count: info[layer].Count, C: mean.Float64s()}
	path, list := filepath.Join(t.TempDir(), "mom2.npz"), filepath.Join(t.TempDir(), "contexts.json")
	if err := m.Write(path); err != nil {
		t.Fatal(err)
	}
	if err := locate.WriteContexts(list, contexts); err != nil {
		t.Fatal(err)
	}
	c, err := Method().Configure(w.LM.Info(), map[string]string{
		"key": Mixed, "covariance": path, "contexts": list, "layer": fmt.Sprint(layer), "v_num_grad_steps": fmt.Sprint(h.Steps),
		"v_lr": fmt.Sprint(h.Rate), "v_weight_decay": fmt.Sprint(h.Decay), "clamp_norm_factor": fmt.Sprint(h.Clamp), "kl_factor": fmt.Sprint(h.KL),
	})
	if err != nil {
		t.Fatal(err)
	}
	ed, err := open(context.Background(), c.Value().(Config), edit.Env{LM: w.LM})
	if err != nil {
		t.Fatal(err)
	}
	return ed.(*editor)
}

func request(id int, template, subject, target string) dataset.Edit {
	return dataset.Edit{ID: dataset.EditID(fmt.Sprint(id)), Prompt: strings.Replace(template, "{}", subject, 1), Subject: subject, SubjectStart: -1, SubjectEnd: -1, Target: target}
}

// TestTraces follows four edits step by step.
func TestTraces(t *testing.T) {
	w := world{edittest.OpenWorld(t)}
	var ref struct {
		Settings hyper    `json:"hparams"`
		Contexts []string `json:"context_templates"`
		Cases    []struct {
			ID      int     `json:"case_id"`
			Prompt  string  `json:"prompt"`
			Subject string  `json:"subject"`
			Target  string  `json:"target"`
			IDs     []int64 `json:"target_ids"`
			At      []int   `json:"lookup_idx"`
		} `json:"cases"`
	}
	w.JSON(t, &ref, "reference", "trace", "manifest.json")
	ed := w.editor(t, ref.Settings, ref.Contexts)
	ctx, layer := context.Background(), ref.Settings.Layers[0]
	for i, c := range ref.Cases {
		want := func(name string) []float32 { return w.npy(t, fmt.Sprintf("trace/case%d_%s", c.ID, name)).Float32s() }
		f, err := locate.NewFact(w.LM, request(c.ID, c.Prompt, c.Subject, strings.TrimSpace(c.Target)), ref.Contexts, locate.SubjectLast, false)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(f.Target, c.IDs) {
			t.Errorf("case %d: target %v, want %v", i, f.Target, c.IDs)
		}
		for k, s := range append(slices.Clone(f.Prompts), f.Essence) {
			if s.At != c.At[k] {
				t.Errorf("case %d row %d: the subject ends at %d, want %d", i, k, s.At, c.At[k])
			}
		}
		keys, values, err := locate.Recall(ctx, w.LM, nil, layer, f)
		if err != nil {
			t.Fatal(err)
		}
		if d := apart(slices.Concat(keys...), want("keys_per_context")); d > keyTolerance {
			t.Errorf("case %d: keys differ by %g", i, d)
		}
		if d := apart(values[0], want("cur_output")); d > keyTolerance {
			t.Errorf("case %d: the value differs by %g", i, d)
		}
		s := locate.Search{Steps: ref.Settings.Steps, Rate: ref.Settings.Rate, Decay: ref.Settings.Decay, Clamp: ref.Settings.Clamp, KL: ref.Settings.KL}
		found, err := locate.Optimise(ctx, w.LM, nil, arch.Site{Layer: layer, Point: arch.FFNOut}, []*locate.Fact{f}, [][]float32{values[0]}, s)
		if err != nil || found[0].Err != nil {
			t.Fatal(err, found[0].Err)
		}
		losses := want("loss")
		worst := 0.0
		for k, l := range losses {
			worst = max(worst, math.Abs(found[0].Losses[k]-float64(l)))
		}
		if worst > lossTolerance || len(found[0].Losses) != ref.Settings.Steps {
			t.Errorf("case %d: losses differ by %g over %d evaluations", i, worst, len(found[0].Losses))
		}
		change, err := ed.update(keys, values, found[0].Shift)
		if err != nil {
			t.Fatal(err)
		}
		u, v := apart(change.U.Float32s(), want("u")), relative(change.V.Float32s(), want("v"))
		t.Logf("case %d: losses within %.2g, u within %.2g, v within %.2g of its norm", i, worst, u, v)
		if u > keyTolerance || v > mostNorm {
			t.Errorf("case %d: u differs by %g, v by %g of its norm", i, u, v)
		}
	}
}

// apart is the largest difference; relative the norm of the difference over that of b.
func apart(a, b []float32) (worst float64) {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	for i := range a {
		worst = max(worst, math.Abs(float64(a[i])-float64(b[i])))
	}
	return worst
}

func relative(a, b []float32) float64 {
	d := make([]float32, len(a))
	for i := range a {
		d[i] = a[i] - b[i]
	}
	return tensor.FromFloat32s(d, len(d)).Norm() / tensor.FromFloat32s(b, len(b)).Norm()
}

// TestOutcomes makes the reference's edits and asks its questions.
func TestOutcomes(t *testing.T) {
	for _, run := range []string{"rome_l0", "rome_l1"} {
		t.Run(run, func(t *testing.T) { outcomes(t, run) })
	}
}

func outcomes(t *testing.T, run string) {
	w := world{edittest.OpenWorld(t)}
	var ref reference
	w.JSON(t, &ref, "reference", run+".json")
	cases := w.Cases(t)
	ed := w.editor(t, ref.Summary.Settings, ref.Contexts)
	var edits []dataset.Edit
	for _, e := range ref.Edits {
		edits = append(edits, cases[e.ID].Edit())
	}
	made := edittest.Apart(t, ed, &patch.Patch{}, edits)
	var u, v []float64
	var arrays map[string]*tensor.Tensor
	if run == "rome_l0" {
		var err error
		if arrays, err = npz.Read(filepath.Join(w.Dir, "reference", run+"_arrays.npz")); err != nil {
			t.Fatal(err)
		}
	}
	var norms []float64
	agree := 0
	var mean, want [3]float64
	for i, e := range ref.Edits {
		if made[i].Err != nil {
			t.Fatal(made[i].Err)
		}
		post := [3][]edittest.Pair{e.Post.Rewrite, e.Post.Para, e.Post.Near}
		for axis, prompts := range cases[e.ID].Questions() {
			got, theirs := edittest.Success(w.Pairs(t, made[i].Patch, prompts, cases[e.ID]), axis == 2), edittest.Success(post[axis], axis == 2)
			mean[axis] += got / float64(len(ref.Edits))
			want[axis] += theirs / float64(len(ref.Edits))
			if axis == 0 && got > 0 == (theirs > 0) {
				agree++
			}
		}
		for _, norm := range e.Norm {
			norms = append(norms, math.Abs(made[i].Patch.DeltaNorm()/norm-1))
		}
		if a := arrays[fmt.Sprintf("u_%d", i)]; a != nil {
			change := made[i].Patch.Weights[0]
			u = append(u, relative(change.U.Float32s(), a.Float32s()))
			v = append(v, relative(change.V.Float32s(), arrays[fmt.Sprintf("v_%d", i)].Float32s()))
		}
	}
	slices.Sort(norms)
	n := len(ref.Edits)
	share := float64(agree) / float64(n)
	t.Logf("%d edits: rewrite, paraphrase, neighbourhood %.4f, reference %.4f; agreement on rewrite %.3f; norms differ by %.2g in the median, %.2g at most", n, mean, want, share, norms[n/2], norms[n-1])
	if share < leastAgreement {
		t.Errorf("outcomes of %d of %d edits agree", agree, n)
	}
	for axis := range mean {
		if math.Abs(mean[axis]-want[axis]) > max(mostPoints, 1/float64(n))+1e-9 {
			t.Errorf("axis %d: mean success %g, reference %g", axis, mean[axis], want[axis])
		}
	}
	for axis, s := range []float64{ref.Summary.Rewrite, ref.Summary.Para, ref.Summary.Near} {
		if math.Abs(s-want[axis]) > 1e-9 {
			t.Errorf("axis %d: the reference says %g, its edits %g", axis, s, want[axis])
		}
	}
	if norms[n/2] > mostNorm {
		t.Errorf("the median norm differs by %g", norms[n/2])
	}
	if run == "rome_l0" {
		slices.Sort(u)
		slices.Sort(v)
		t.Logf("u differs by %.2g in the median, %.2g at most; v by %.2g and %.2g", u[n/2], u[n-1], v[n/2], v[n-1])
		if u[n-1] > keyTolerance || v[n/2] > mostNorm {
			t.Errorf("u differs by %g at most, v by %g in the median", u[n-1], v[n/2])
		}
	}
}

// TestSequence makes ten edits one after another and asks afterwards.
func TestSequence(t *testing.T) {
	w := world{edittest.OpenWorld(t)}
	var ref struct {
		Summary struct {
			Settings hyper              `json:"hparams"`
			Norm     map[string]float64 `json:"delta_norm"`
			Rewrite  float64            `json:"rewrite_success"`
			Para     float64            `json:"paraphrase_success"`
			Near     float64            `json:"neighborhood_success"`
		} `json:"summary"`
		Contexts []string `json:"context_templates"`
		Edits    []struct {
			ID int `json:"case_id"`
		} `json:"edits"`
	}
	w.JSON(t, &ref, "reference", "batch_rome_10.json")
	cases, ed := w.Cases(t), w.editor(t, ref.Summary.Settings, ref.Contexts)
	p := &patch.Patch{}
	for _, e := range ref.Edits {
		made := edittest.Together(context.Background(), ed, p, cases[e.ID].Edit())
		if made.Err != nil {
			t.Fatal(made.Err)
		}
		p = made.Patch
	}
	n := float64(len(ref.Edits))
	var mean [3]float64
	for _, e := range ref.Edits {
		c := cases[e.ID]
		for axis, prompts := range c.Questions() {
			mean[axis] += edittest.Success(w.Pairs(t, p, prompts, c), axis == 2) / n
		}
	}
	want := [3]float64{ref.Summary.Rewrite, ref.Summary.Para, ref.Summary.Near}
	t.Logf("%v edits in sequence: rewrite, paraphrase, neighbourhood %.4f, reference %.4f; norm %g, reference %v", n, mean, want, p.DeltaNorm(), ref.Summary.Norm)
	for axis := range mean {
		if math.Abs(mean[axis]-want[axis]) > max(mostPoints, 1/n)+1e-9 {
			t.Errorf("axis %d: mean success %g, reference %g", axis, mean[axis], want[axis])
		}
	}
	for _, norm := range ref.Summary.Norm {
		if math.Abs(p.DeltaNorm()/norm-1) > mostNorm {
			t.Errorf("norm %g, reference %g", p.DeltaNorm(), norm)
		}
	}
}
