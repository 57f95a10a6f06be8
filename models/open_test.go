package models

import (
	"context"
	"editpipe/ask"
	"editpipe/internal/tinylm"
	"editpipe/models/arch"
	"editpipe/onnx"
	"editpipe/ort/orttest"
	"editpipe/tensor"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestOpenChecksTheTokenizer(t *testing.T) {
	env := orttest.Open(t)
	dir := tinyFolder(t, tinylm.Config{Family: tinylm.GPT2})
	path := filepath.Join(dir, "tokenizer.json")
	var tok map[string]any
	b, err := os.ReadFile(path)
	must(t, err)
	must(t, json.Unmarshal(b, &tok))
	vocab := tok["model"].(map[string]any)["vocab"].(map[string]any)
	for i := range 5 {
		vocab[fmt.Sprintf("extra%d", i)] = 283 + len(vocab) + i
	}
	b, err = json.Marshal(tok)
	must(t, err)
	must(t, os.WriteFile(path, b, 0o644))
	if _, err := Open(t.Context(), env, dir, Options{}); !errors.Is(err, ErrTokenizer) || !strings.Contains(fmt.Sprint(err), "tokenizer.json") {
		t.Errorf("a tokenizer larger than the model was accepted: %v", err)
	}
	// Without a tokenizer ids still work, texts are refused.
	must(t, os.Remove(path))
	lm := openModel(t, env, dir, Options{Name: "bare"})
	a := answersOf(t, lm, Row{Query: ask.Query{Prompt: "x", Targets: []string{"y"}}}, Row{Query: ask.Query{PromptIDs: []int64{1}, TargetIDs: [][]int64{{2}}}})
	if !errors.Is(a[0].Err, ErrTokenizer) || a[1].Err != nil {
		t.Errorf("errors %v, %v", a[0].Err, a[1].Err)
	}
	if lm.Tokenizer() != nil || lm.TokenizerHash() != "" || lm.Name() != "bare" {
		t.Error("what a model without tokenizer says of itself")
	}
}

func TestHashAndProtocol(t *testing.T) {
	env := orttest.Open(t)
	c := tinylm.Config{Family: tinylm.GPT2, ExternalData: true}
	a, b := tiny(t, env, c, Options{}), tiny(t, env, c, Options{})
	c.Seed = 1
	other := tiny(t, env, c, Options{})
	if a.Hash() != b.Hash() || len(a.Hash()) != 64 {
		t.Error("the same model in two folders has two hashes")
	}
	if a.Hash() == other.Hash() {
		t.Error("other weights in the external file have the same hash")
	}
	p := &Patch{Weights: []Weight{{At: down(0), U: tensor.New(tensor.F32, a.Info().FFNWidth, 1), V: tensor.New(tensor.F32, 1, a.Info().Width)}}}
	meta := PatchMeta{ModelHash: a.Hash(), TokenizerHash: a.TokenizerHash()}
	var misfit *MisfitError
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
	lm := tiny(t, env, tinylm.Config{Family: tinylm.GPTJ}, Options{})
	r := rand.New(rand.NewPCG(10, 10))
	rows := []Row{{Query: randomQuery(lm, r, 8, 2)}, {Query: randomQuery(lm, r, 5, 2), Patch: randomPatch(lm, r, 0.3)}}
	var wg sync.WaitGroup
	got := make([][]ask.Answer, 4)
	for i := range got {
		wg.Go(func() { got[i], _ = lm.Score(context.Background(), rows) })
	}
	wg.Wait()
	for _, g := range got {
		if g == nil || worstLogProb(t, g, got[0]) != 0 {
			t.Error("concurrent calls differ")
		}
	}
	if sessionsOf(lm) != 1 {
		t.Errorf("%d sessions were built for one graph", sessionsOf(lm))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := lm.Score(ctx, rows); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled call: %v", err)
	}
	must(t, lm.Close())
	if _, err := lm.Score(context.Background(), rows); !errors.Is(err, ErrClosed) {
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
			dir := tinyFolder(t, c)
			lm := openModel(t, env, dir, Options{})
			r := rand.New(rand.NewPCG(1, 9))
			p := &Patch{}
			for _, part := range []arch.Part{arch.FFNDown, arch.FFNUp, arch.FFNGate} {
				if w := lm.Info().FFNs[1].Weight(part); w != nil {
					p.Weights = append(p.Weights, Weight{At: w.ID, U: randn(r, 0.3, w.In, 3), V: randn(r, 0.3, 3, w.Out)})
				}
			}
			w := lm.Info().FFNs[0].Down
			p.Weights = append(p.Weights, Weight{At: w.ID, U: randn(r, 0.3, w.In, 1), V: randn(r, 0.3, 1, w.Out)})
			mixed := p.Then(&Patch{Weights: []Weight{{At: w.ID, Delta: randn(r, 0.1, w.In, w.Out)}}})
			for name, p := range map[string]*Patch{"low rank": p, "with dense": mixed} {
				changed := openModel(t, env, bake(t, dir, lm, p), Options{})
				var rows, plain []Row
				for range 4 {
					q := randomQuery(lm, r, 3+r.IntN(8), 2)
					rows, plain = append(rows, Row{Query: q, Patch: p}), append(plain, Row{Query: q})
				}
				got := answersOf(t, lm, rows...)
				if d := worstLogProb(t, got, answersOf(t, lm, plain...)); d < 0.05 {
					t.Fatalf("%s: the patch moves nothing: %g", name, d)
				}
				if d := worstLogProb(t, got, answersOf(t, changed, plain...)); d > logProbTolerance {
					t.Errorf("%s: patched model and changed file differ by %g", name, d)
				}
			}
			if n := sessionsOf(lm); n > 3 {
				t.Errorf("%d sessions; slots at the down-projections, at all weights, and replaced weights make three", n)
			}
		})
	}
}

// bake writes a model folder whose weight really is W + Delta.
func bake(t *testing.T, dir string, lm *LM, p *Patch) string {
	t.Helper()
	out := t.TempDir()
	must(t, os.CopyFS(out, os.DirFS(dir)))
	m, err := onnx.Open(filepath.Join(dir, "model.onnx"))
	must(t, err)
	defer m.Close()
	for _, at := range p.weights() {
		w := lm.Info().Weight(at)
		value, err := lm.Weight(at)
		must(t, err)
		d, err := p.sum(at, false)
		must(t, err)
		for i, x := range d.Float32s() {
			value.Float32s()[i] += x
		}
		if w.Transposed {
			value, err = value.Transpose2D()
			must(t, err)
		}
		for i, init := range m.Graph.Initializers {
			if init.Name == w.Initializer {
				m.Graph.Initializers[i] = onnx.NewTensor(init.Name, value)
			}
		}
	}
	must(t, m.Save(filepath.Join(out, "model.onnx"), onnx.SaveOptions{}))
	return out
}

// TestWeightsThatCannotBeReplaced: low-rank patches go through slots, and so do
// sets of weights beyond the bound on sessions.
func TestWeightsThatCannotBeReplaced(t *testing.T) {
	env := orttest.Open(t)
	r := rand.New(rand.NewPCG(3, 2))
	dense := func(lm *LM, ids ...arch.WeightID) *Patch {
		p := &Patch{}
		for _, id := range ids {
			w := lm.Info().Weight(id)
			p.Weights = append(p.Weights, Weight{At: id, Delta: randn(r, 0.1, w.In, w.Out)})
		}
		return p
	}
	lm := tiny(t, env, tinylm.Config{Family: tinylm.GPT2, Layers: replacedSets + 2, Width: 16, FFN: 16}, Options{})
	var rows, plain []Row
	for l := range replacedSets + 2 {
		q, p := randomQuery(lm, r, 5, 2), dense(lm, down(l))
		rows, plain = append(rows, Row{Query: q, Patch: p}), append(plain, Row{Query: q})
	}
	got := answersOf(t, lm, rows...)
	if n := sessionsOf(lm); n != replacedSets+1 {
		t.Errorf("%d sessions for %d sets of weights", n, len(rows))
	}
	for i, row := range rows {
		w := &row.Patch.Weights[0]
		eye := tensor.New(tensor.F32, w.Delta.Shape[1], w.Delta.Shape[1])
		for k := range eye.Shape[0] {
			eye.Float32s()[k*eye.Shape[0]+k] = 1
		}
		through := Row{Query: row.Query, Patch: &Patch{Weights: []Weight{{At: w.At, U: w.Delta, V: eye}}}}
		if d := worstLogProb(t, got[i:i+1], answersOf(t, lm, through)); d > logProbTolerance {
			t.Errorf("layer %d differs by %g", i, d)
		}
	}
	if d := worstLogProb(t, got, answersOf(t, lm, plain...)); d < 0.05 {
		t.Fatalf("the patches move nothing: %g", d)
	}
}
