package neuron_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/edittest"
	"editpipe/edit/edittest/neuron"
	"editpipe/internal/tinylm"
	"editpipe/models/answer"
	"editpipe/models/patch"
)

// TestNeuronsSayTheTarget: edits raise the probability of their targets, made one by
// one, together or in a sequence, and a question that no neuron hears is answered as
// before, to the bit.
func TestNeuronsSayTheTarget(t *testing.T) {
	for _, family := range []tinylm.Family{tinylm.GPT2, tinylm.GPTJ, tinylm.LLaMA} {
		t.Run(string(family), func(t *testing.T) {
			lm := edittest.Open(t, tinylm.Config{Family: family})
			m := neuron.Method()
			c, err := m.Configure(lm.Info(), nil)
			must(t, err)
			must(t, m.Lacks(c, lm.Info()))
			ed, err := m.Open(t.Context(), c, edit.Env{LM: lm})
			must(t, err)
			make := func(on *patch.Patch, edits ...dataset.Edit) *patch.Patch {
				made, err := ed.Make(t.Context(), on, [][]dataset.Edit{edits})
				must(t, err)
				must(t, made[0].Err)
				return made[0].Patch
			}
			edits := edittest.Edits()
			together, chain := make(nil, edits...), (*patch.Patch)(nil)
			for _, e := range edits {
				chain = make(chain, e)
			}
			for i, e := range edits {
				alone := make(nil, e)
				for name, p := range map[string]*patch.Patch{"alone": alone, "together": together, "in a sequence": chain} {
					rows := []answer.Row{
						{Query: ask.Query{Prompt: e.Prompt, Targets: []string{e.Target}}}, {Query: ask.Query{Prompt: e.Prompt, Targets: []string{e.Target}}, Patch: p},
						{Query: ask.Query{Prompt: "#!", TargetIDs: [][]int64{{5}}}}, {Query: ask.Query{Prompt: "#!", TargetIDs: [][]int64{{5}}}, Patch: p},
					}
					got, err := answer.Score(t.Context(), lm, rows)
					must(t, err)
					said := func(k int) float64 {
						must(t, got[k].Err)
						sum := 0.0
						for _, p := range got[k].Targets[0].LogProbs {
							sum += p
						}
						return sum
					}
					if said(1) < said(0)+1 {
						t.Errorf("edit %d made %s: the target's log-probability is %g, was %g", i, name, said(1), said(0))
					}
					if a, b := got[2].Targets[0].LogProbs, got[3].Targets[0].LogProbs; name == "alone" && !slices.Equal(a, b) {
						t.Errorf("edit %d made %s: another question is answered with %v, was %v", i, name, b, a)
					}
				}
			}
		})
	}
}

// TestWithoutPlace: a model that lacks the layer, or cannot be differentiated, is
// refused before any work, with the reason.
func TestWithoutPlace(t *testing.T) {
	m := neuron.Method()
	for says, c := range map[string]struct {
		model tinylm.Config
		set   map[string]string
	}{
		"0 to 1":  {tinylm.Config{Family: tinylm.GPT2}, map[string]string{"below": "2"}},
		"float16": {tinylm.Config{Family: tinylm.GPT2, Float16: true}, nil},
	} {
		t.Run(says, func(t *testing.T) {
			lm := edittest.Open(t, c.model)
			config, err := m.Configure(lm.Info(), c.set)
			must(t, err)
			if err := m.Lacks(config, lm.Info()); !errors.Is(err, edit.ErrUnsupported) || !strings.Contains(err.Error(), says) {
				t.Errorf("%v: %v", c, err)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
