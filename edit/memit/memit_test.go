package memit

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/edittest"
	"editpipe/edit/locate"
	"editpipe/edit/moments"
	"editpipe/edit/spread"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/arch"
	"editpipe/models/patch"
)

const (
	// A hidden state reached through changes in float32, over the norm of what it
	// was to move by. The weight of the second moments adds about as much.
	reachTolerance = 1e-3
	// faint is a weight of second moments that leaves the new keys alone.
	faint = "1e-6"
)

func config(t *testing.T, lm *models.LM, set map[string]string) edit.Config {
	t.Helper()
	c, err := Method().Configure(lm.Info(), set)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// with runs a test on a model that is closed afterwards, since a process has
// one environment at a time.
func with(t *testing.T, label string, c tinylm.Config, test func(t *testing.T, lm *models.LM)) {
	t.Helper()
	t.Run(label, func(t *testing.T) { test(t, edittest.Open(t, c)) })
}

// both are the layers that are changed, of a model with one more: behind the
// last layer of all, a token's hidden state says nothing to the tokens after it.
const both = "0,1"

func tiny() tinylm.Config { return tinylm.Config{Layers: 3} }

func prepared(t *testing.T, c tinylm.Config) string {
	t.Helper()
	return edittest.Prepared(t, Method(), c, map[string]string{"layers": both})
}

func open1(t *testing.T, lm *models.LM, artifacts string, set map[string]string) *spread.Editor {
	t.Helper()
	ed, err := open(config(t, lm, set).Value().(Config), edit.Env{LM: lm, Artifacts: artifacts, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	return ed
}

func TestConformance(t *testing.T) {
	for _, family := range []tinylm.Family{tinylm.GPT2, tinylm.LLaMA} {
		t.Run(string(family), func(t *testing.T) {
			c := tiny()
			c.Family = family
			edittest.Run(t, Method(), edittest.Options{
				Model: c, Artifacts: prepared(t, c),
				Set: map[string]string{"layers": both, "mom2_update_weight": "1", "clamp_norm_factor": "4", "v_num_grad_steps": "6"},
			})
		})
	}
}

// TestReachesValue: where second moments weigh next to nothing and the prompt
// stands alone, the hidden states become those wanted, for one edit and for
// several together, in one layer and in two, and on top of an earlier edit.
func TestReachesValue(t *testing.T) {
	ctx, list := context.Background(), filepath.Join(t.TempDir(), "bare.json")
	artifacts := prepared(t, tiny())
	if err := locate.WriteContexts(list, []string{"{}"}); err != nil {
		t.Fatal(err)
	}
	lm := edittest.Open(t, tiny())
	for layers, last := range map[string]int{"0": 0, "1": 1, both: 1} {
		ed := open1(t, lm, artifacts, map[string]string{"layers": layers, "contexts": list, "mom2_update_weight": faint, "v_num_grad_steps": "5"})
		on := &patch.Patch{}
		for _, edits := range [][]dataset.Edit{edittest.Edits()[:1], edittest.Edits()[1:]} {
			facts, _, err := ed.Search(ctx, on, edits)
			if err != nil {
				t.Fatal(err)
			}
			made := edittest.Together(ctx, ed, on, edits...)
			if made.Err != nil {
				t.Fatal(made.Err)
			}
			after := made.Patch
			for i, f := range facts {
				hidden := func(p *patch.Patch) []float32 {
					at := f.Fact.Prompts[0]
					traces, err := activation.Trace(ctx, lm, []activation.Row{{Query: ask.Query{PromptIDs: at.IDs}, Patch: p, Positions: []int{at.At}}}, arch.Site{Layer: last, Point: arch.Hidden})
					if err != nil || traces[0].Err != nil {
						t.Fatal(err, traces[0].Err)
					}
					return traces[0].Values[0].Float32s()
				}
				var missed, way float64
				before, now := hidden(on), hidden(after)
				for k, z := range f.Value {
					missed += (float64(now[k]) - z) * (float64(now[k]) - z)
					way += (float64(before[k]) - z) * (float64(before[k]) - z)
				}
				if way == 0 || math.Sqrt(missed/way) > reachTolerance {
					t.Errorf("layers %s, edit %s: missed by %g on a way of %g", layers, edits[i].ID, math.Sqrt(missed), math.Sqrt(way))
				}
				if effort := made.Efforts[i]; effort != f.Effort || effort.Steps < 1 {
					t.Errorf("edit %s: effort %+v, want %+v", f.ID, effort, f.Effort)
				}
			}
			on = after
		}
		if n := 2 * len(strings.Split(layers, ",")); len(on.Weights) != n || len(on.Edits) != 3 {
			t.Errorf("layers %s: %d changes and %d edits, want %d and 3", layers, len(on.Weights), len(on.Edits), n)
		}
	}
}

// TestOneBadEdit: an edit that cannot be made has its own error and leaves its
// neighbours alone; in a batch it is blamed.
func TestOneBadEdit(t *testing.T) {
	artifacts, ctx := prepared(t, tiny()), context.Background()
	lm := edittest.Open(t, tiny())
	ed := open1(t, lm, artifacts, map[string]string{"layers": both, "v_num_grad_steps": "3"})
	good := edittest.Edits()
	bad := []dataset.Edit{good[0], good[0], good[0], good[0]}
	bad[0].Subject, bad[0].SubjectEnd = "Zoe", -1
	bad[1].Target = ""
	bad[2].Prompt += strings.Repeat(" and on", 60)
	bad[3].Subject, bad[3].SubjectStart, bad[3].SubjectEnd = "", -1, -1
	made := edittest.Apart(t, ed, &patch.Patch{}, slices.Concat(bad, good))
	for i, want := range []error{locate.ErrSubject, ask.ErrNoTarget, ask.ErrTooLong, locate.ErrNoSubject} {
		if !errors.Is(made[i].Err, want) {
			t.Errorf("edit %d: %v, want %v", i, made[i].Err, want)
		}
	}
	for i := range good {
		if m := made[len(bad)+i]; m.Err != nil || len(m.Patch.Weights) != 2 {
			t.Errorf("good edit %d: %v", i, m.Err)
		}
	}
	bad[0].ID = "bad"
	err := edittest.Together(ctx, ed, &patch.Patch{}, good[1], bad[0], good[2]).Err
	var blamed *edit.Error
	if !errors.As(err, &blamed) || blamed.Edit != "bad" || !errors.Is(err, locate.ErrSubject) {
		t.Errorf("a batch with a bad edit: %v", err)
	}
}

func TestInputsAreChecked(t *testing.T) {
	ctx, edits := context.Background(), edittest.Edits()
	artifacts := prepared(t, tiny())
	own := filepath.Join(artifacts, moments.File(0))
	with(t, "own model", tiny(), func(t *testing.T, lm *models.LM) {
		for _, set := range []map[string]string{
			{"layers": ""}, {"layers": "1,0"}, {"layers": "1,1"}, {"layers": "-1"}, {"v_lr": "0"}, {"mom2_update_weight": "0"},
			{"kl_factor": "-1"}, {"layers": both, "covariance": own},
		} {
			if _, err := Method().Configure(lm.Info(), set); err == nil {
				t.Errorf("%v: accepted", set)
			}
		}
		if _, err := Method().Open(ctx, config(t, lm, nil), edit.Env{LM: lm}); err == nil || !strings.Contains(err.Error(), "memit.covariance") {
			t.Errorf("no covariance: %v", err)
		}
		m, err := moments.Read(own)
		if err != nil {
			t.Fatal(err)
		}
		for i := range m.C {
			m.C[i] = 1
		}
		singular := filepath.Join(t.TempDir(), "singular.npz")
		if err := m.Write(singular); err != nil {
			t.Fatal(err)
		}
		if _, err := Method().Open(ctx, config(t, lm, map[string]string{"layers": "0", "covariance": singular}), edit.Env{LM: lm}); !errors.Is(err, moments.ErrSingular) || !strings.Contains(err.Error(), singular) {
			t.Errorf("singular moments: %v", err)
		}
		if err := Method().Prepare(ctx, config(t, lm, nil), edit.PrepareEnv{LM: lm}, filepath.Join(t.TempDir(), "p")); err == nil {
			t.Error("prepared from no text")
		}
		if _, err := Method().Configure(lm.Info(), map[string]string{"layers": "0,9"}); err == nil || !strings.Contains(err.Error(), "layers=0,9: the model has") {
			t.Errorf("no such layer: %v", err)
		}
	})
	with(t, "another model", tinylm.Config{Layers: 3, LayerNormOp: true}, func(t *testing.T, lm *models.LM) {
		ed := open1(t, lm, "", map[string]string{"layers": "0", "covariance": own})
		if made := edittest.Together(ctx, ed, &patch.Patch{}, edits...); !errors.Is(made.Err, moments.ErrMisfit) {
			t.Errorf("got %v", made.Err)
		}
	})
}

// TestDefaults are the reference's published settings.
func TestDefaults(t *testing.T) {
	for _, c := range []struct {
		family string
		depth  int
		layers []int
		steps  int
		clamp  float64
		weight float64
	}{
		{"gpt2", 48, []int{13, 14, 15, 16, 17}, 20, 0.75, 20000}, {"gptj", 28, []int{3, 4, 5, 6, 7, 8}, 25, 0.75, 15000},
		{"llama", 32, []int{4, 5, 6, 7, 8}, 25, 4, 15000}, {"", 0, []int{0}, 20, 0.75, 20000},
		{"gpt2", 6, []int{0}, 20, 0.75, 50}, {"gpt2", 7, []int{1, 2}, 20, 0.75, 20000},
	} {
		config, err := Method().Configure(&arch.Info{Family: c.family, Layers: c.depth}, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := config.Value().(Config)
		if !slices.Equal(got.Layers, c.layers) || got.Steps != c.steps || got.Clamp != c.clamp || got.Weight != c.weight {
			t.Errorf("%s with %d layers: %+v", c.family, c.depth, got)
		}
	}
}
