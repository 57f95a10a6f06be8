package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/demo"
	"editpipe/demo/pretrain"
	"editpipe/edit"
	"editpipe/edit/all"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/ort"
)

const (
	// fewEdits is how many edits are made in weights for the figures.
	fewEdits = 60
	// momentTexts is how many texts second moments are taken over.
	momentTexts = 15000
	// headroom is by how many points editing in context must beat the unedited
	// model for an axis of portability to tell methods apart.
	headroom = 30
	// regime bounds the median of the norms of changes, in norms of the weight.
	regime = 0.3
)

// column is one way of answering all probes: right answers by axis.
type column map[dataset.Axis]pretrain.Score

// asked says whether a probe counts on its axis.
func asked(p dataset.Probe) bool {
	return !slices.Contains(p.Flags, dataset.FlagApart) && len(p.Answers) > 0
}

// fill asks the probes of each record through its patch, nil for the unedited model.
func fill(ctx context.Context, lm *models.LM, records []dataset.Record, patches []*patch.Patch) (column, error) {
	c := column{}
	for i, r := range records {
		var probes []dataset.Probe
		var rows []answer.Row
		for _, p := range r.Probes {
			if !asked(p) {
				continue
			}
			targets := p.Answers
			if len(p.Choices) > 0 {
				targets = p.Choices
			}
			probes, rows = append(probes, p), append(rows, answer.Row{Patch: patches[i], Query: ask.Query{Prompt: p.Prompt, Targets: targets}})
		}
		answers, err := answer.Score(ctx, lm, rows)
		if err != nil {
			return nil, err
		}
		for k, a := range answers {
			if a.Err != nil {
				return nil, fmt.Errorf("probe %s: %w", probes[k].ID, a.Err)
			}
			s := c[probes[k].Axis]
			s.Of++
			if right(probes[k], a) {
				s.Right++
			}
			c[probes[k].Axis] = s
		}
	}
	return c, nil
}

// right: one of the answers is the most probable continuation token for token,
// or of a choice the right one has the highest mean log-probability.
func right(p dataset.Probe, a ask.Answer) bool {
	if len(p.Choices) == 0 {
		return slices.ContainsFunc(a.Targets, func(t ask.Continuation) bool { return slices.Equal(t.IDs, t.Argmax) })
	}
	best := 0
	for i, t := range a.Targets {
		if mean(t.LogProbs) > mean(a.Targets[best].LogProbs) {
			best = i
		}
	}
	return best == int(p.ChoiceLabel)
}

func mean(v []float64) float64 {
	s := 0.0
	for _, x := range v {
		s += x
	}
	return s / float64(len(v))
}

// methods measures what methods find in the model: the unedited answers, those
// after each edit in context and in weights, and the size of changes of weights.
func methods(ctx context.Context, env *ort.Env, t *pretrain.Training, embedded string, threads int, inContext, inWeights string) (text string, err error) {
	beside, err := edit.Find(all.Methods(), inContext)
	if err != nil {
		return "", err
	}
	weights, err := edit.Find(all.Methods(), inWeights)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "demo-model-*")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := demo.Expand(os.DirFS(embedded), dir); err != nil {
		return "", err
	}
	records, err := demo.Load(ctx, dir)
	if err != nil {
		return "", err
	}
	records = slices.DeleteFunc(records, func(r dataset.Record) bool { return r.Edit.Split != "test" })
	lm, err := models.Open(ctx, env, dir, models.Options{Threads: threads, Name: demo.Name})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lm.Close()) }()
	plain, err := fill(ctx, lm, records, make([]*patch.Patch, len(records)))
	if err != nil {
		return "", err
	}
	patches, err := edited(ctx, lm, t, beside, records)
	if err != nil {
		return "", err
	}
	shown, err := fill(ctx, lm, records, patches)
	if err != nil {
		return "", err
	}
	few := records[:min(fewEdits, len(records))]
	if patches, err = edited(ctx, lm, t, weights, few); err != nil {
		return "", err
	}
	ratios, layer, err := sizes(lm, patches)
	if err != nil {
		return "", err
	}
	changed, err := fill(ctx, lm, few, patches)
	if err != nil {
		return "", err
	}
	return figures(plain, shown, changed, ratios, layer, len(records), len(few), beside.Title, weights.Title), nil
}

// edited makes every record's edit apart, with a method that is prepared first
// where it has to be.
func edited(ctx context.Context, lm *models.LM, t *pretrain.Training, m edit.Method, records []dataset.Record) (patches []*patch.Patch, err error) {
	artifacts, err := os.MkdirTemp("", "demo-model-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(artifacts)) }()
	c, err := m.Configure(lm.Info(), nil)
	if err != nil {
		return nil, err
	}
	texts := func(yield func(string, error) bool) {
		r := rand.New(rand.NewPCG(t.Plan.Seed, momentTexts))
		for range momentTexts {
			if !yield(t.Facts.Document(r, pretrain.Second()).Text, nil) {
				return
			}
		}
	}
	if m.HasPrepare {
		if err := m.Prepare(ctx, c, edit.PrepareEnv{LM: lm, Texts: texts, Seed: 1}, artifacts); err != nil {
			return nil, err
		}
	}
	ed, err := m.Open(ctx, c, edit.Env{LM: lm, Artifacts: artifacts, Seed: 1})
	if err != nil {
		return nil, err
	}
	var edits []dataset.Edit
	for _, r := range records {
		edits = append(edits, r.Edit)
	}
	made, err := ed.Make(ctx, nil, edit.Apart(edits))
	if err != nil {
		return nil, err
	}
	for _, m := range made {
		if m.Err != nil {
			return nil, m.Err
		}
		patches = append(patches, m.Patch)
	}
	return patches, nil
}

// sizes are the norms of the patches' changes over that of the weight they change.
func sizes(lm *models.LM, patches []*patch.Patch) (ratios []float64, at arch.WeightID, err error) {
	for _, p := range patches {
		at = p.Weights[0].At
		w, err := lm.Weight(at)
		if err != nil {
			return nil, at, err
		}
		ratios = append(ratios, p.DeltaNorm()/w.Norm())
	}
	slices.Sort(ratios)
	return ratios, at, nil
}

func figures(plain, shown, changed column, ratios []float64, at arch.WeightID, every, few int, inContext, inWeights string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### What methods find\n\nRight answers in percent: of the new answer where the edit should change it, of the old one where it should not. "+
		"Unedited and %[1]s: all %[3]d edits of the embedded data set that are under test; %[2]s with its defaults: the first %[4]d.\n\n| axis | probes | unedited | %[1]s | %[1]s - unedited | | %[2]s |\n|---|---|---|---|---|---|---|\n", inContext, inWeights, every, few)
	for _, a := range dataset.Axes() {
		p, i := plain[a], shown[a]
		gain := 100 * (i.Share() - p.Share())
		verdict := ""
		if a.Family() == dataset.Portability {
			verdict = "headroom"
			if gain < headroom {
				verdict = "no headroom"
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %.1f | %.1f | %+.1f | %s | %.1f |\n", a, p.Of, 100*p.Share(), 100*i.Share(), gain, verdict, 100*changed[a].Share())
	}
	median, verdict := ratios[len(ratios)/2], "met"
	if median >= regime {
		verdict = "missed"
	}
	fmt.Fprintf(&b, "\nNorm of %s's change over the norm of the weight (%s): median %.3f, 90th percentile %.3f, largest %.3f. Required: median below %.1f: %s.\n",
		inWeights, at, median, ratios[len(ratios)*9/10], ratios[len(ratios)-1], regime, verdict)
	return b.String()
}
