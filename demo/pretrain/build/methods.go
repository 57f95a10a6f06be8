package main

import (
	"context"
	"editpipe/models/answer"
	"editpipe/models/arch"
	"editpipe/models/patch"
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
	"editpipe/edit/ike"
	"editpipe/edit/rome"
	"editpipe/models"
	"editpipe/ort"
)

const (
	// romeEdits is how many edits ROME makes for its figures.
	romeEdits = 60
	// momentTexts is the running text that ROME's second moments are taken over.
	momentTexts = 15000
	// headroom is by how many points editing in context must beat the unedited
	// model for an axis of portability to tell methods apart.
	headroom = 30
	// regime bounds the median of the norms of ROME's changes, in norms of the
	// weight.
	regime = 0.3
)

// column is one way of answering all probes: right answers by axis.
type column map[dataset.Axis]pretrain.Score

// asked says whether a probe counts on its axis.
func asked(p dataset.Probe) bool {
	return !slices.Contains(p.Flags, dataset.FlagApart) && len(p.Answers) > 0
}

// fill asks the probes of the records; row gives what a probe's question becomes.
func fill(ctx context.Context, records []dataset.Record, score func(ctx context.Context, i int, rows []answer.Row) ([]ask.Answer, error)) (column, error) {
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
			probes, rows = append(probes, p), append(rows, answer.Row{Query: ask.Query{Prompt: p.Prompt, Targets: targets}})
		}
		answers, err := score(ctx, i, rows)
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
// after each edit in context (ICE) and after ROME, and the size of ROME's changes.
func methods(ctx context.Context, env *ort.Env, t *pretrain.Training, embedded string, threads int) (text string, err error) {
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
	plain, err := fill(ctx, records, func(ctx context.Context, _ int, rows []answer.Row) ([]ask.Answer, error) {
		return answer.Score(ctx, lm, rows)
	})
	if err != nil {
		return "", err
	}
	ice, err := fill(ctx, records, func(ctx context.Context, i int, rows []answer.Row) ([]ask.Answer, error) {
		e := records[i].Edit
		patch := &patch.Patch{Routes: []patch.Route{&ike.Context{Fact: e.Prompt + " " + e.Target}}}
		for k := range rows {
			rows[k].Patch = patch
		}
		return answer.Score(ctx, lm, rows)
	})
	if err != nil {
		return "", err
	}
	few := records[:min(romeEdits, len(records))]
	patches, ratios, layer, err := changes(ctx, lm, t, few)
	if err != nil {
		return "", err
	}
	changed, err := fill(ctx, few, func(ctx context.Context, i int, rows []answer.Row) ([]ask.Answer, error) {
		for k := range rows {
			rows[k].Patch = &patches[i]
		}
		return answer.Score(ctx, lm, rows)
	})
	if err != nil {
		return "", err
	}
	return figures(plain, ice, changed, ratios, layer, len(records), len(few)), nil
}

// changes makes ROME's edits; ratios are norms of the changes over that of the
// weight.
func changes(ctx context.Context, lm *models.LM, t *pretrain.Training, records []dataset.Record) (patches []patch.Patch, ratios []float64, at arch.WeightID, err error) {
	artifacts, err := os.MkdirTemp("", "demo-model-*")
	if err != nil {
		return nil, nil, at, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(artifacts)) }()
	m := rome.Method()
	c, err := m.Configure(lm.Info(), nil)
	if err != nil {
		return nil, nil, at, err
	}
	on := edit.Base{LM: lm}
	texts := func(yield func(string, error) bool) {
		r := rand.New(rand.NewPCG(t.Plan.Seed, momentTexts))
		for range momentTexts {
			if !yield(t.Facts.Document(r, pretrain.Second()).Text, nil) {
				return
			}
		}
	}
	if err := m.Prepare(ctx, on, c, edit.PrepareInput{Texts: texts, Seed: 1}, artifacts); err != nil {
		return nil, nil, at, err
	}
	ed, err := m.New(c, edit.Inputs{Artifacts: artifacts, Seed: 1})
	if err != nil {
		return nil, nil, at, err
	}
	var edits []dataset.Edit
	for _, r := range records {
		edits = append(edits, r.Edit)
	}
	patches, errs := edit.EachOf(ctx, m.Name, ed, on, edits)
	if err := errors.Join(errs...); err != nil {
		return nil, nil, at, err
	}
	for _, p := range patches {
		at = p.Weights[0].At
		w, err := lm.Weight(at)
		if err != nil {
			return nil, nil, at, err
		}
		ratios = append(ratios, p.DeltaNorm()/w.Norm())
	}
	slices.Sort(ratios)
	return patches, ratios, at, nil
}

func figures(plain, ice, changed column, ratios []float64, at arch.WeightID, all, few int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### What methods find\n\nRight answers in percent: of the new answer where the edit should change it, of the old one where it should not. "+
		"Unedited and ICE: all %d edits of the embedded data set that are under test; ROME with its defaults: the first %d.\n\n| axis | probes | unedited | ICE | ICE - unedited | | ROME |\n|---|---|---|---|---|---|---|\n", all, few)
	for _, a := range dataset.Axes() {
		p, i := plain[a], ice[a]
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
	fmt.Fprintf(&b, "\nNorm of ROME's change over the norm of the weight (%s): median %.3f, 90th percentile %.3f, largest %.3f. Required: median below %.1f: %s.\n",
		at, median, ratios[len(ratios)*9/10], ratios[len(ratios)-1], regime, verdict)
	return b.String()
}
