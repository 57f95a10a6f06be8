package models_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/onnx"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

func TestOpenChecksTheTokenizer(t *testing.T) {
	env := orttest.Open(t)
	dir := modeltest.Folder(t, tinylm.Config{Family: tinylm.GPT2})
	path := filepath.Join(dir, "tokenizer.json")
	var tok map[string]any
	b, err := os.ReadFile(path)
	modeltest.Must(t, err)
	modeltest.Must(t, json.Unmarshal(b, &tok))
	vocab := tok["model"].(map[string]any)["vocab"].(map[string]any)
	for i := range 5 {
		vocab[fmt.Sprintf("extra%d", i)] = 283 + len(vocab) + i
	}
	b, err = json.Marshal(tok)
	modeltest.Must(t, err)
	modeltest.Must(t, os.WriteFile(path, b, 0o644))
	if _, err := models.Open(t.Context(), env, dir, models.Options{}); !errors.Is(err, models.ErrTokenizer) || !strings.Contains(fmt.Sprint(err), "tokenizer.json") {
		t.Errorf("a tokenizer larger than the model was accepted: %v", err)
	}
	// Without a tokenizer ids still work, texts are refused.
	modeltest.Must(t, os.Remove(path))
	lm := modeltest.Open(t, env, dir, models.Options{Name: "bare"})
	a := score(t, lm, answer.Row{Query: ask.Query{Prompt: "x", Targets: []string{"y"}}}, answer.Row{Query: ask.Query{PromptIDs: []int64{1}, TargetIDs: [][]int64{{2}}}})
	if !errors.Is(a[0].Err, models.ErrTokenizer) || a[1].Err != nil {
		t.Errorf("errors %v, %v", a[0].Err, a[1].Err)
	}
	if lm.Tokenizer() != nil || lm.TokenizerHash() != "" || lm.Name() != "bare" {
		t.Error("what a model without tokenizer says of itself")
	}
}

func TestHashAndProtocol(t *testing.T) {
	env := orttest.Open(t)
	c := tinylm.Config{Family: tinylm.GPT2, ExternalData: true}
	a, b := modeltest.Tiny(t, env, c, models.Options{}), modeltest.Tiny(t, env, c, models.Options{})
	c.Seed = 1
	other := modeltest.Tiny(t, env, c, models.Options{})
	if a.Hash() != b.Hash() || len(a.Hash()) != 64 {
		t.Error("the same model in two folders has two hashes")
	}
	if a.Hash() == other.Hash() {
		t.Error("other weights in the external file have the same hash")
	}
	p := &patch.Patch{Weights: []patch.Weight{{At: modeltest.Down(0), U: tensor.New(tensor.F32, a.Info().FFNWidth, 1), V: tensor.New(tensor.F32, 1, a.Info().Width)}}}
	meta := patch.Meta{ModelHash: a.Hash(), TokenizerHash: a.TokenizerHash()}
	var misfit *patch.MisfitError
	if err := b.Fits(p, meta); err != nil {
		t.Error(err)
	}
	if err := other.Fits(p, meta); !errors.As(err, &misfit) || misfit.What != "model hash" {
		t.Errorf("%v", err)
	}
	for _, part := range []string{"scorer=", "join=", "padding=right", "provider=cpu", "dtype=float32", "tf32=n/a"} {
		if !strings.Contains(a.ProtocolID(), part) {
			t.Errorf("%q lacks %q", a.ProtocolID(), part)
		}
	}
}

func TestConcurrentScores(t *testing.T) {
	env := orttest.Open(t)
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPTJ}, models.Options{})
	r := rand.New(rand.NewPCG(10, 10))
	rows := []answer.Row{{Query: modeltest.RandomQuery(lm, r, 8, 2)}, {Query: modeltest.RandomQuery(lm, r, 5, 2), Patch: modeltest.RandomPatch(lm, r, 0.3)}}
	var wg sync.WaitGroup
	got := make([][]ask.Answer, 4)
	for i := range got {
		wg.Go(func() { got[i], _ = answer.Score(context.Background(), lm, rows) })
	}
	wg.Wait()
	for _, g := range got {
		if g == nil || modeltest.WorstLogProb(t, g, got[0]) != 0 {
			t.Error("concurrent calls differ")
		}
	}
	if models.SessionsOf(lm) != 1 {
		t.Errorf("%d sessions were built for one graph", models.SessionsOf(lm))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := answer.Score(ctx, lm, rows); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled call: %v", err)
	}
	modeltest.Must(t, lm.Close())
	if _, err := answer.Score(context.Background(), lm, rows); !errors.Is(err, models.ErrClosed) {
		t.Errorf("closed model: %v", err)
	}
}

// TestPatchEqualsChangedFile compares patches with a model whose file holds the
// changed weights, in every stored orientation.
func TestPatchEqualsChangedFile(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{
		{Family: tinylm.GPT2}, {Family: tinylm.GPTJ}, {Family: tinylm.LLaMA}, {Family: tinylm.LLaMA, NamedWeights: true},
	} {
		t.Run(fmt.Sprintf("%s named=%v", c.Family, c.NamedWeights), func(t *testing.T) {
			dir := modeltest.Folder(t, c)
			lm := modeltest.Open(t, env, dir, models.Options{})
			r := rand.New(rand.NewPCG(1, 9))
			p := &patch.Patch{}
			for _, part := range []arch.Part{arch.FFNDown, arch.FFNUp, arch.FFNGate} {
				if w := lm.Info().FFNs[1].Weight(part); w != nil {
					p.Weights = append(p.Weights, patch.Weight{At: w.ID, U: modeltest.Randn(r, 0.3, w.In, 3), V: modeltest.Randn(r, 0.3, 3, w.Out)})
				}
			}
			w := lm.Info().FFNs[0].Down
			p.Weights = append(p.Weights, patch.Weight{At: w.ID, U: modeltest.Randn(r, 0.3, w.In, 1), V: modeltest.Randn(r, 0.3, 1, w.Out)})
			mixed := p.Then(&patch.Patch{Weights: []patch.Weight{{At: w.ID, Delta: modeltest.Randn(r, 0.1, w.In, w.Out)}}})
			for name, p := range map[string]*patch.Patch{"low rank": p, "with dense": mixed} {
				changed := modeltest.Open(t, env, bake(t, dir, lm, p), models.Options{})
				var rows, plain []answer.Row
				for range 4 {
					q := modeltest.RandomQuery(lm, r, 3+r.IntN(8), 2)
					rows, plain = append(rows, answer.Row{Query: q, Patch: p}), append(plain, answer.Row{Query: q})
				}
				got := score(t, lm, rows...)
				if d := modeltest.WorstLogProb(t, got, score(t, lm, plain...)); d < 0.05 {
					t.Fatalf("%s: the patch moves nothing: %g", name, d)
				}
				if d := modeltest.WorstLogProb(t, got, score(t, changed, plain...)); d > modeltest.LogProbTolerance {
					t.Errorf("%s: patched model and changed file differ by %g", name, d)
				}
			}
			if n := models.SessionsOf(lm); n > 3 {
				t.Errorf("%d sessions; slots at the down-projections, at all weights, and replaced weights make three", n)
			}
		})
	}
}

// bake writes a model folder whose weight really is W + Delta.
func bake(t *testing.T, dir string, lm *models.LM, p *patch.Patch) string {
	t.Helper()
	out := t.TempDir()
	modeltest.Must(t, os.CopyFS(out, os.DirFS(dir)))
	m, err := onnx.Open(filepath.Join(dir, "model.onnx"))
	modeltest.Must(t, err)
	defer m.Close()
	for _, at := range p.Matrices() {
		w := lm.Info().Weight(at)
		value, err := lm.Weight(at)
		modeltest.Must(t, err)
		d, err := p.Sum(at, false)
		modeltest.Must(t, err)
		for i, x := range d.Float32s() {
			value.Float32s()[i] += x
		}
		if w.Transposed {
			value, err = value.Transpose2D()
			modeltest.Must(t, err)
		}
		for i, init := range m.Graph.Initializers {
			if init.Name == w.Initializer {
				m.Graph.Initializers[i] = onnx.NewTensor(init.Name, value)
			}
		}
	}
	modeltest.Must(t, m.Save(filepath.Join(out, "model.onnx"), onnx.SaveOptions{}))
	return out
}

// TestWeightsThatCannotBeReplaced: low-rank patches go through slots, and so do
// sets of weights beyond the bound on sessions.
func TestWeightsThatCannotBeReplaced(t *testing.T) {
	env := orttest.Open(t)
	r := rand.New(rand.NewPCG(3, 2))
	dense := func(lm *models.LM, ids ...arch.WeightID) *patch.Patch {
		p := &patch.Patch{}
		for _, id := range ids {
			w := lm.Info().Weight(id)
			p.Weights = append(p.Weights, patch.Weight{At: id, Delta: modeltest.Randn(r, 0.1, w.In, w.Out)})
		}
		return p
	}
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPT2, Layers: models.ReplacedSets + 2, Width: 16, FFN: 16}, models.Options{})
	var rows, plain []answer.Row
	for l := range models.ReplacedSets + 2 {
		q, p := modeltest.RandomQuery(lm, r, 5, 2), dense(lm, modeltest.Down(l))
		rows, plain = append(rows, answer.Row{Query: q, Patch: p}), append(plain, answer.Row{Query: q})
	}
	got := score(t, lm, rows...)
	if n := models.SessionsOf(lm); n != models.ReplacedSets+1 {
		t.Errorf("%d sessions for %d sets of weights", n, len(rows))
	}
	for i, row := range rows {
		w := &row.Patch.Weights[0]
		eye := tensor.New(tensor.F32, w.Delta.Shape[1], w.Delta.Shape[1])
		for k := range eye.Shape[0] {
			eye.Float32s()[k*eye.Shape[0]+k] = 1
		}
		through := answer.Row{Query: row.Query, Patch: &patch.Patch{Weights: []patch.Weight{{At: w.At, U: w.Delta, V: eye}}}}
		if d := modeltest.WorstLogProb(t, got[i:i+1], score(t, lm, through)); d > modeltest.LogProbTolerance {
			t.Errorf("layer %d differs by %g", i, d)
		}
	}
	if d := modeltest.WorstLogProb(t, got, score(t, lm, plain...)); d < 0.05 {
		t.Fatalf("the patches move nothing: %g", d)
	}
}

// score asks rows; the runtime must not fail.
func score(t *testing.T, lm *models.LM, rows ...answer.Row) []ask.Answer {
	t.Helper()
	answers, err := answer.Score(t.Context(), lm, rows)
	modeltest.Must(t, err)
	return answers
}
