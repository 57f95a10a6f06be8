package models

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"editpipe/ask"
	"editpipe/internal/tinylm"
	"editpipe/onnx"
	"editpipe/ort/orttest"
)

// TestExport: the exported folder answers and generates as the patched model
// does, in every form; unchanged it is the model.
func TestExport(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{
		{Family: tinylm.GPT2, Cache: tinylm.WithPast, ExternalData: true},
		{Family: tinylm.LLaMA, Cache: tinylm.Merged, NamedWeights: true}, {Family: tinylm.LLaMA, Float16: true, Cache: tinylm.WithPast},
		{Family: tinylm.T5, Gated: true, Cache: tinylm.WithPast}, {Family: tinylm.T5, Cache: tinylm.Merged},
	} {
		t.Run(fmt.Sprintf("%s %s half=%v", c.Family, c.Cache, c.Float16), func(t *testing.T) {
			from := tinyFolder(t, c)
			lm := openModel(t, env, from, Options{})
			r := rand.New(rand.NewPCG(5, 1))
			p := &Patch{}
			for i, f := range lm.Info().FFNs { // both sides, low rank and dense, up and down
				d, u := f.Down, f.Up
				p.Weights = append(p.Weights, Weight{At: d.ID, U: randn(r, 0.3, d.In, 2), V: randn(r, 0.3, 2, d.Out)})
				if i%2 == 0 {
					p.Weights = append(p.Weights, Weight{At: u.ID, Delta: randn(r, 0.1, u.In, u.Out)})
				}
			}
			to := filepath.Join(t.TempDir(), "new", "folder")
			must(t, lm.Export(t.Context(), p, to))
			exported := openModel(t, env, to, Options{})
			same := filepath.Join(t.TempDir(), "same")
			must(t, os.Mkdir(same, 0o755))
			must(t, lm.Export(t.Context(), nil, same))
			copied := openModel(t, env, same, Options{})

			var rows, plain []Row
			for range 5 {
				q := randomQuery(lm, r, 3+r.IntN(9), 3)
				rows, plain = append(rows, Row{Query: q, Patch: p}), append(plain, Row{Query: q})
			}
			patched := answersOf(t, lm, rows...)
			if d := worstLogProb(t, patched, answersOf(t, lm, plain...)); d < 0.05 {
				t.Fatalf("the patch moves nothing: %g", d)
			}
			tolerance := logProbTolerance
			if c.Float16 {
				tolerance = halfTolerance
			}
			if d := worstLogProb(t, patched, answersOf(t, exported, plain...)); d > tolerance {
				t.Errorf("patched and exported model differ by %g", d)
			}
			if d := worstLogProb(t, answersOf(t, lm, plain...), answersOf(t, copied, plain...)); d != 0 {
				t.Errorf("model and copy differ by %g", d)
			}
			if c.Float16 {
				return // a rounded weight may turn an argmax
			}
			o := ask.Sampling{MaxNew: 5}
			want, err := lm.Generate(t.Context(), rows, o)
			must(t, err)
			got, err := exported.Generate(t.Context(), plain, o)
			must(t, err)
			for i := range got {
				if !slices.Equal(got[i].TextIDs, want[i].TextIDs) {
					t.Errorf("generated %v, patched %v", got[i].TextIDs, want[i].TextIDs)
				}
			}
			if (exported.Anatomy().Step == nil) != (lm.Anatomy().Step == nil) || exported.TokenizerHash() != lm.TokenizerHash() || exported.Hash() == lm.Hash() {
				t.Error("graphs, tokenizer or hash of the exported folder")
			}
		})
	}
}

// TestExportCarriesEveryGraph: graphs that are not in use are changed as well,
// checkpoints and other exports stay behind.
func TestExportCarriesEveryGraph(t *testing.T) {
	env := orttest.Open(t)
	from := tinyFolder(t, tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.WithPast})
	merged := tinyFolder(t, tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.Merged})
	must(t, os.Rename(filepath.Join(merged, "decoder_model_merged.onnx"), filepath.Join(from, "decoder_model_merged.onnx")))
	for _, name := range []string{"model_quantized.onnx", "model.safetensors", "model.safetensors.index.json"} {
		must(t, os.WriteFile(filepath.Join(from, name), []byte("{}"), 0o644))
	}
	lm := openModel(t, env, from, Options{})
	r := rand.New(rand.NewPCG(5, 2))
	p := randomPatch(lm, r, 0.3)
	to := filepath.Join(t.TempDir(), "to")
	must(t, lm.Export(t.Context(), p, to))
	var names []string
	entries, err := os.ReadDir(to)
	must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	for _, name := range []string{"config.json", "tokenizer.json", "model.onnx", "model_with_past.onnx", "decoder_model_merged.onnx"} {
		if !slices.Contains(names, name) {
			t.Errorf("no %s in %v", name, names)
		}
	}
	for _, name := range []string{"model_quantized.onnx", "model.safetensors", "model.safetensors.index.json"} {
		if slices.Contains(names, name) {
			t.Errorf("%s in %v", name, names)
		}
	}
	q := randomQuery(lm, r, 6, 3)
	want := answersOf(t, lm, Row{Query: q, Patch: p})
	for _, name := range []string{"model.onnx", "model_with_past.onnx", "decoder_model_merged.onnx"} {
		one := openModel(t, env, filepath.Join(to, name), Options{})
		if d := worstLogProb(t, want, answersOf(t, one, Row{Query: q})); d > logProbTolerance {
			t.Errorf("%s differs from the patched model by %g", name, d)
		}
		if info, err := Inspect(filepath.Join(to, name)); err != nil || info.Opset == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExportRefuses(t *testing.T) {
	env := orttest.Open(t)
	from := tinyFolder(t, tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.WithPast})
	lm := openModel(t, env, from, Options{})
	r := rand.New(rand.NewPCG(5, 3))
	p := randomPatch(lm, r, 0.3)
	to := filepath.Join(t.TempDir(), "to")
	if err := lm.Export(t.Context(), p.Then(&Patch{Routes: []Route{suffix{Text: "x"}}}), to); !errors.Is(err, ErrRouted) {
		t.Errorf("a patch with routes: %v", err)
	}
	if err := lm.Export(t.Context(), p, from); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over the model itself: %v", err)
	}
	w := lm.Info().FFNs[0].Down
	var misfit *MisfitError
	if err := lm.Export(t.Context(), &Patch{Weights: []Weight{{At: w.ID, Delta: randn(r, 1, w.In, w.Out+1)}}}, to); !errors.As(err, &misfit) {
		t.Errorf("a patch of another model: %v", err)
	}
	// A graph of another checkpoint beside the model's own.
	other := tinyFolder(t, tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.Merged, Seed: 9})
	m, err := onnx.Open(filepath.Join(other, "decoder_model_merged.onnx"))
	must(t, err)
	must(t, m.Save(filepath.Join(from, "decoder_model_merged.onnx"), onnx.SaveOptions{}))
	must(t, m.Close())
	if err := lm.Export(t.Context(), p, to); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("graphs of two checkpoints: %v", err)
	}
	left, err := os.ReadDir(filepath.Dir(to))
	must(t, err)
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
