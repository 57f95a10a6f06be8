//go:build shared

package ftl

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/edittest"
	"editpipe/models"
	"editpipe/tensor"
	"editpipe/train"
)

const (
	// Losses of another framework in float32 over 25 updates that divide
	// gradients by their own size.
	traceTolerance = 1e-3
	traced         = 12 // edits that are followed with the bias
	// Agreement of outcomes with the reference, per edit and on average; a mean
	// may differ by one of the edits.
	leastAgreement = 0.95
	mostPoints     = 0.02
	mostNorm       = 0.02 // relative difference of the changes' norms; in the median without the bias
)

// world is the reference's model with what the authors' code made of it.
type world struct{ edittest.World }

// pair holds mean negative log-probabilities.
type pair struct {
	New  float64 `json:"target_new"`
	True float64 `json:"target_true"`
}

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
			Rewrite []pair `json:"rewrite_prompts_probs"`
			Para    []pair `json:"paraphrase_prompts_probs"`
			Near    []pair `json:"neighborhood_prompts_probs"`
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

// biased trains the bias as well, which is a shift at every position behind the
// projection.
type biased struct{ *objective }

func (o biased) Evaluate(ctx context.Context, _ []int, at []train.Values) ([]float64, []train.Values, error) {
	for i := range o.rows {
		o.rows[i].Shift = at[0]["bias"].Float32s()
	}
	sums, gradients, err := o.objective.Evaluate(ctx, nil, at)
	if err != nil {
		return nil, nil, err
	}
	rows := slices.Clone(o.rows)
	for i := range rows {
		rows[i].Patch = o.with(at[0][variable])
	}
	losses, err := o.lm.Losses(ctx, models.Site{Layer: o.at.Layer, Point: models.FFNOut}, rows)
	if err != nil {
		return nil, nil, err
	}
	g := tensor.New(tensor.F32, at[0]["bias"].Shape...)
	for _, l := range losses {
		for i, x := range l.Gradient {
			g.Float32s()[i%g.Len()] += x
		}
	}
	gradients[0]["bias"] = g
	return sums, gradients, nil
}

// TestTraces trains the bias too, as the reference does, and so follows it loss
// by loss: what is left of the difference in TestOutcomes is the bias.
func TestTraces(t *testing.T) {
	w := world{edittest.OpenWorld(t)}
	for _, run := range []string{"ft_l0", "ft_l0_loose"} {
		ref, edits, ed := w.reference(t, run)
		at := models.WeightID{Layer: ed.c.Layer, Part: models.FFNDown}
		weight := w.LM.Info().Weight(at)
		worst, norm := 0.0, 0.0
		for i, e := range ref.Edits[:traced] {
			o, err := newObjective(context.Background(), promptLast, edit.Base{LM: w.LM}, at, edits[i:i+1])
			if err != nil {
				t.Fatal(err)
			}
			p := train.Problem{}
			for name, shape := range map[string][]int{variable: {weight.In, weight.Out}, "bias": {weight.Out}} {
				start := tensor.New(tensor.F32, shape...)
				p[name] = train.Variable{Start: start, Project: train.Box(start.Float32s(), ed.c.Bound)}
			}
			r, err := train.Minimise(context.Background(), biased{o}, []train.Problem{p}, train.Config{
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
			for name, want := range e.Norm {
				v := r[0].Values[variable]
				if strings.HasSuffix(name, "bias") {
					v = r[0].Values["bias"]
				}
				norm = max(norm, math.Abs(v.Norm()/want-1))
			}
		}
		t.Logf("%s: with the bias losses of %d edits within %.2g, norms within %.2g", run, traced, worst, norm)
		if worst > traceTolerance || norm > mostNorm {
			t.Errorf("%s: losses differ by %g, norms by %g", run, worst, norm)
		}
	}
}

// TestOutcomes makes the reference's edits, of the weight alone, and asks its
// questions.
func TestOutcomes(t *testing.T) {
	for _, run := range []string{"ft_l0", "ft_l0_loose"} {
		t.Run(run, func(t *testing.T) { outcomes(t, run) })
	}
}

func outcomes(t *testing.T, run string) {
	w := world{edittest.OpenWorld(t)}
	ref, edits, ed := w.reference(t, run)
	var cases []struct {
		ID   int      `json:"case_id"`
		Para []string `json:"paraphrase_prompts"`
		Near []string `json:"neighborhood_prompts"`
	}
	w.JSON(t, &cases, "data", "counterfact_like.json")
	asked := map[int][2][]string{}
	for _, c := range cases {
		asked[c.ID] = [2][]string{c.Para, c.Near}
	}
	patches, errs := edit.EachOf(context.Background(), promptLast, ed, edit.Base{LM: w.LM}, edits)
	var mean, want [3]float64
	var norms []float64
	agree, steps, theirs := 0, 0, 0
	n := len(edits)
	for i, e := range ref.Edits {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		post := [3][]pair{e.Post.Rewrite, e.Post.Para, e.Post.Near}
		for axis, prompts := range [][]string{{edits[i].Prompt}, asked[e.ID][0], asked[e.ID][1]} {
			got := w.success(t, &patches[i], prompts, e.New, e.True, axis == 2)
			good := 0.0
			for _, p := range post[axis] {
				if p.New < p.True != (axis == 2) {
					good += 1 / float64(len(post[axis]))
				}
			}
			mean[axis] += got / float64(n)
			want[axis] += good / float64(n)
			if axis == 0 && got > 0 == (good > 0) {
				agree++
			}
		}
		for name, norm := range e.Norm {
			if strings.HasSuffix(name, "weight") {
				norms = append(norms, math.Abs(patches[i].DeltaNorm()/norm-1))
			}
		}
		effort, _ := edit.EffortOf(&patches[i], edits[i].ID)
		steps += int(effort.Steps)
		theirs += len(e.Losses)
		if e.Losses[len(e.Losses)-1] < enough {
			theirs-- // the last evaluation was not followed by an update
		}
	}
	slices.Sort(norms)
	share := float64(agree) / float64(n)
	t.Logf("%d edits: rewrite, paraphrase, neighbourhood %.4f, reference %.4f; agreement on rewrite %.3f; norms differ by %.2g in the median, %.2g at most; %d updates, reference %d",
		n, mean, want, share, norms[n/2], norms[n-1], steps, theirs)
	if share < leastAgreement {
		t.Errorf("outcomes of %d of %d edits agree", agree, n)
	}
	for axis := range mean {
		if math.Abs(mean[axis]-want[axis]) > max(mostPoints, 1/float64(n))+1e-9 {
			t.Errorf("axis %d: mean success %g, reference %g", axis, mean[axis], want[axis])
		}
	}
	if norms[n/2] > mostNorm {
		t.Errorf("the median norm differs by %g", norms[n/2])
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
	var cases []struct {
		ID      int    `json:"case_id"`
		Prompt  string `json:"prompt"`
		Phrase  string `json:"rephrase_prompt"`
		Subject string `json:"subject"`
		New     string `json:"target_new"`
	}
	w.JSON(t, &cases, "data", "easyedit_like.json")
	wanted := map[int]bool{}
	for _, e := range ref.Edits {
		wanted[e.ID] = true
	}
	ed := open1(t, w.LM, id, ref.Summary.Settings.overrides())
	var mean [2]float64
	norm, n := 0.0, float64(len(ref.Edits))
	for _, c := range cases {
		if !wanted[c.ID] {
			continue
		}
		p, err := ed.Edit(context.Background(), edit.Base{LM: w.LM}, []dataset.Edit{{ID: dataset.EditID(fmt.Sprint(c.ID)), Prompt: c.Prompt, Subject: c.Subject, Target: c.New}})
		if err != nil {
			t.Fatal(err)
		}
		norm += p.DeltaNorm() / n
		var rows []models.Row
		for _, prompt := range []string{c.Prompt, c.Phrase} {
			rows = append(rows, models.Row{Patch: &p, Query: ask.Query{Prompt: prompt, Targets: []string{c.New}}})
		}
		answers, err := w.LM.Score(context.Background(), rows)
		if err != nil {
			t.Fatal(err)
		}
		for k, a := range answers {
			if a.Err != nil {
				t.Fatal(a.Err)
			}
			target := a.Targets[0]
			for i, token := range target.IDs {
				if target.Argmax[i] == token {
					mean[k] += 1 / (n * float64(len(target.IDs)))
				}
			}
		}
	}
	want := [2]float64{ref.Summary.Reliable, ref.Summary.General}
	t.Logf("%v edits: reliability, generalisation %.4f, reference %.4f; mean norm %.4f, reference %.4f", n, mean, want, norm, ref.Summary.Norm)
	for k := range mean {
		if math.Abs(mean[k]-want[k]) > max(mostPoints, 1/n)+1e-9 {
			t.Errorf("axis %d: mean %g, reference %g", k, mean[k], want[k])
		}
	}
}

// success is the share of prompts at which the new object is more probable than
// the true one, or less probable if it should be.
func (w world) success(t *testing.T, p *models.Patch, prompts []string, target, truth string, less bool) float64 {
	t.Helper()
	var rows []models.Row
	for _, prompt := range prompts {
		rows = append(rows, models.Row{Patch: p, Query: ask.Query{Prompt: prompt, Targets: []string{target, truth}}})
	}
	answers, err := w.LM.Score(context.Background(), rows)
	if err != nil {
		t.Fatal(err)
	}
	good := 0.0
	for _, a := range answers {
		if a.Err != nil {
			t.Fatal(a.Err)
		}
		var nll [2]float64
		for k, c := range a.Targets {
			for _, l := range c.LogProbs {
				nll[k] -= l / float64(len(c.LogProbs))
			}
		}
		if nll[0] < nll[1] != less {
			good++
		}
	}
	return good / float64(len(prompts))
}
