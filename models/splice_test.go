package models_test

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// TestSplicesRefused: a splice that a model has no place for is refused with the
// reason, where it is checked and where it is asked through; the rows beside it are
// answered.
func TestSplicesRefused(t *testing.T) {
	lm := modeltest.Tiny(t, orttest.Open(t), tinylm.Config{Family: tinylm.GPT2}, models.Options{Threads: 1})
	r := rand.New(rand.NewPCG(5, 5))
	width := lm.Info().Width
	sound := func() *patch.Patch {
		return &patch.Patch{Splices: []patch.Splice{{At: arch.Site{Layer: 1, Point: arch.FFNOut}, Kind: graph.Neurons, Params: map[string]*tensor.Tensor{
			"k": modeltest.Randn(r, 1, width, 2), "b": modeltest.Randn(r, 1, 2), "v": modeltest.Randn(r, 1, 2, width),
		}}}}
	}
	modeltest.Must(t, lm.Accepts(sound()))
	q := modeltest.RandomQuery(lm, r, 5, 2)
	for says, change := range map[string]func(s *patch.Splice){
		`kind "codebook" is unknown; known are neurons, neurons-relu`: func(s *patch.Splice) { s.Kind = "codebook" },
		"its place is ffn_out":               func(s *patch.Splice) { s.At.Point = arch.Hidden },
		"the model has 2 layers, 0 to 1":     func(s *patch.Splice) { s.At.Layer = 2 },
		"encoder.1.ffn_out":                  func(s *patch.Splice) { s.At.Side = arch.Encoder },
		`positions "prompt_end"`:             func(s *patch.Splice) { s.Where = patch.PromptEnd },
		`positions "from_target"`:            func(s *patch.Splice) { s.Where = patch.FromTarget },
		`parameter "b" of floats is missing`: func(s *patch.Splice) { delete(s.Params, "b") },
		`"b" of floats`:                      func(s *patch.Splice) { s.Params["b"] = tensor.FromInt64s([]int64{1, 2}, 2) },
		`parameter "gate" is not one of`:     func(s *patch.Splice) { s.Params["gate"] = s.Params["b"] },
		`"v" is [3 32], want [2 32]`:         func(s *patch.Splice) { s.Params["v"] = modeltest.Randn(r, 1, 3, width) },
		`"k" is [7 2], want [32 2]`:          func(s *patch.Splice) { s.Params["k"] = modeltest.Randn(r, 1, 7, 2) },
		`"k" is [32], want [32 units]`:       func(s *patch.Splice) { s.Params["k"] = modeltest.Randn(r, 1, width) },
	} {
		p := sound()
		change(&p.Splices[0])
		if err := lm.Accepts(p); !errors.Is(err, graph.ErrSplice) || !strings.Contains(err.Error(), says) {
			t.Errorf("want %q: %v", says, err)
		}
		got, err := answer.Score(t.Context(), lm, []answer.Row{{Query: q, Patch: p}, {Query: q}})
		modeltest.Must(t, err)
		if !errors.Is(got[0].Err, graph.ErrSplice) || got[1].Err != nil {
			t.Errorf("want %q: asked, %v; beside it %v", says, got[0].Err, got[1].Err)
		}
		if err := lm.Export(t.Context(), p, filepath.Join(t.TempDir(), "to")); !errors.Is(err, graph.ErrSplice) {
			t.Errorf("want %q: exported, %v", says, err)
		}
	}
}

// TestSpliceIntoMerged: a file that holds two graphs is refused by name, and nothing
// is written.
func TestSpliceIntoMerged(t *testing.T) {
	lm := modeltest.Tiny(t, orttest.Open(t), tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.Merged}, models.Options{Threads: 1})
	r := rand.New(rand.NewPCG(5, 6))
	width := lm.Info().Width
	p := &patch.Patch{Splices: []patch.Splice{{At: arch.Site{Layer: 0, Point: arch.FFNOut}, Kind: graph.Neurons, Params: map[string]*tensor.Tensor{
		"k": modeltest.Randn(r, 1, width, 2), "b": modeltest.Randn(r, 1, 2), "v": modeltest.Randn(r, 1, 2, width),
	}}}}
	to := filepath.Join(t.TempDir(), "to")
	if err := lm.Export(t.Context(), p, to); !errors.Is(err, models.ErrMerged) || !strings.Contains(err.Error(), "decoder_model_merged.onnx") {
		t.Errorf("%v", err)
	}
	if found, err := filepath.Glob(filepath.Join(filepath.Dir(to), "*")); len(found) > 0 {
		t.Errorf("left behind: %v, %v", found, err)
	}
	q := modeltest.RandomQuery(lm, r, 5, 2)
	got, err := answer.Score(t.Context(), lm, []answer.Row{{Query: q, Patch: p}, {Query: q}})
	modeltest.Must(t, err)
	if d := modeltest.WorstLogProb(t, got[:1], got[1:]); d < 0.01 {
		t.Errorf("asked, the neurons move nothing: %g", d)
	}
}
