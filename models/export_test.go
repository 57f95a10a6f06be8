package models_test

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
	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/models/patch"
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
			from := modeltest.Folder(t, c)
			lm := modeltest.Open(t, env, from, models.Options{})
			r := rand.New(rand.NewPCG(5, 1))
			p := &patch.Patch{}
			for i, f := range lm.Info().FFNs { // both sides, low rank and dense, up and down
				d, u := f.Down, f.Up
				p.Weights = append(p.Weights, patch.Weight{At: d.ID, U: modeltest.Randn(r, 0.3, d.In, 2), V: modeltest.Randn(r, 0.3, 2, d.Out)})
				if i%2 == 0 {
					p.Weights = append(p.Weights, patch.Weight{At: u.ID, Delta: modeltest.Randn(r, 0.1, u.In, u.Out)})
				}
			}
			to := filepath.Join(t.TempDir(), "new", "folder")
			modeltest.Must(t, lm.Export(t.Context(), p, to))
			exported := modeltest.Open(t, env, to, models.Options{})
			same := filepath.Join(t.TempDir(), "same")
			modeltest.Must(t, os.Mkdir(same, 0o755))
			modeltest.Must(t, lm.Export(t.Context(), nil, same))
			copied := modeltest.Open(t, env, same, models.Options{})

			var rows, plain []answer.Row
			for range 5 {
				q := modeltest.RandomQuery(lm, r, 3+r.IntN(9), 3)
				rows, plain = append(rows, answer.Row{Query: q, Patch: p}), append(plain, answer.Row{Query: q})
			}
			patched := score(t, lm, rows...)
			if d := modeltest.WorstLogProb(t, patched, score(t, lm, plain...)); d < 0.05 {
				t.Fatalf("the patch moves nothing: %g", d)
			}
			tolerance := modeltest.LogProbTolerance
			if c.Float16 {
				tolerance = modeltest.HalfTolerance
			}
			if d := modeltest.WorstLogProb(t, patched, score(t, exported, plain...)); d > tolerance {
				t.Errorf("patched and exported model differ by %g", d)
			}
			if d := modeltest.WorstLogProb(t, score(t, lm, plain...), score(t, copied, plain...)); d != 0 {
				t.Errorf("model and copy differ by %g", d)
			}
			if c.Float16 {
				return // a rounded weight may turn an argmax
			}
			o := ask.Sampling{MaxNew: 5}
			want, err := answer.Generate(t.Context(), lm, rows, o)
			modeltest.Must(t, err)
			got, err := answer.Generate(t.Context(), exported, plain, o)
			modeltest.Must(t, err)
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
	from := modeltest.Folder(t, tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.WithPast})
	merged := modeltest.Folder(t, tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.Merged})
	modeltest.Must(t, os.Rename(filepath.Join(merged, "decoder_model_merged.onnx"), filepath.Join(from, "decoder_model_merged.onnx")))
	for _, name := range []string{"model_quantized.onnx", "model.safetensors", "model.safetensors.index.json"} {
		modeltest.Must(t, os.WriteFile(filepath.Join(from, name), []byte("{}"), 0o644))
	}
	lm := modeltest.Open(t, env, from, models.Options{})
	r := rand.New(rand.NewPCG(5, 2))
	p := modeltest.RandomPatch(lm, r, 0.3)
	to := filepath.Join(t.TempDir(), "to")
	modeltest.Must(t, lm.Export(t.Context(), p, to))
	var names []string
	entries, err := os.ReadDir(to)
	modeltest.Must(t, err)
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
	q := modeltest.RandomQuery(lm, r, 6, 3)
	want := score(t, lm, answer.Row{Query: q, Patch: p})
	for _, name := range []string{"model.onnx", "model_with_past.onnx", "decoder_model_merged.onnx"} {
		one := modeltest.Open(t, env, filepath.Join(to, name), models.Options{})
		if d := modeltest.WorstLogProb(t, want, score(t, one, answer.Row{Query: q})); d > modeltest.LogProbTolerance {
			t.Errorf("%s differs from the patched model by %g", name, d)
		}
		if info, err := models.Inspect(filepath.Join(to, name)); err != nil || info.Opset == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestExportRefuses(t *testing.T) {
	env := orttest.Open(t)
	from := modeltest.Folder(t, tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.WithPast})
	lm := modeltest.Open(t, env, from, models.Options{})
	r := rand.New(rand.NewPCG(5, 3))
	p := modeltest.RandomPatch(lm, r, 0.3)
	to := filepath.Join(t.TempDir(), "to")
	if err := lm.Export(t.Context(), p.Then(&patch.Patch{Routes: []patch.Route{modeltest.Suffix{Text: "x"}}}), to); !errors.Is(err, models.ErrRouted) {
		t.Errorf("a patch with routes: %v", err)
	}
	if err := lm.Export(t.Context(), p, from); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over the model itself: %v", err)
	}
	w := lm.Info().FFNs[0].Down
	var misfit *patch.MisfitError
	if err := lm.Export(t.Context(), &patch.Patch{Weights: []patch.Weight{{At: w.ID, Delta: modeltest.Randn(r, 1, w.In, w.Out+1)}}}, to); !errors.As(err, &misfit) {
		t.Errorf("a patch of another model: %v", err)
	}
	// A graph of another checkpoint beside the model's own.
	other := modeltest.Folder(t, tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.Merged, Seed: 9})
	m, err := onnx.Open(filepath.Join(other, "decoder_model_merged.onnx"))
	modeltest.Must(t, err)
	modeltest.Must(t, m.Save(filepath.Join(from, "decoder_model_merged.onnx"), onnx.SaveOptions{}))
	modeltest.Must(t, m.Close())
	if err := lm.Export(t.Context(), p, to); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("graphs of two checkpoints: %v", err)
	}
	left, err := os.ReadDir(filepath.Dir(to))
	modeltest.Must(t, err)
	if len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
