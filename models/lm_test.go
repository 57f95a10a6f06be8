package models

import (
	"context"
	"editpipe/models/arch"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"editpipe/ask"
	"editpipe/internal/leak"
	"editpipe/internal/tinylm"
	"editpipe/ort"
	"editpipe/tensor"
)

// Differences are relative to the size of what is compared, at least 1 (see
// relative), since a sum is rounded to a share of itself. The order of a kernel's
// sums is the processor's and follows the shapes of a run; a rounding of float32 is
// 2^-24.
const (
	// Two ways of computing one log-probability: 160 roundings.
	logProbTolerance = 1e-5
	// The same products, added up in another order: 80 roundings.
	heldTolerance = 5e-6
)

// relative is the difference of two numbers relative to the first, at least to 1;
// infinite where one is no number, so that no bound takes it.
func relative(x, y float64) float64 {
	d := math.Abs(x-y) / max(1, math.Abs(x))
	if math.IsNaN(d) {
		return math.Inf(1)
	}
	return d
}

func openModel(t testing.TB, env *ort.Env, path string, o Options) *LM {
	t.Helper()
	lm, err := Open(context.Background(), env, path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lm.Close(); err != nil {
			t.Error(err)
		}
	})
	return lm
}

// tiny writes a model and opens it.
func tiny(t testing.TB, env *ort.Env, c tinylm.Config, o Options) *LM {
	t.Helper()
	return openModel(t, env, tinyFolder(t, c), o)
}

func tinyFolder(t testing.TB, c tinylm.Config) string {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(tinylm.Write(dir, c), leak.Into(dir)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func maxDiff(a, b []float32) float64 {
	var worst float64
	for i, x := range a {
		worst = max(worst, relative(float64(x), float64(b[i])))
	}
	return worst
}

// randomPatch makes a low-rank patch of one or two down-projections.
func randomPatch(lm *LM, r *rand.Rand, scale float32) *Patch {
	p := &Patch{Method: "test"}
	var downs []arch.Weight
	for _, f := range lm.info.FFNs {
		downs = append(downs, f.Down)
	}
	for range 1 + r.IntN(2) {
		w := downs[r.IntN(len(downs))]
		k := 1 + r.IntN(5)
		p.Weights = append(p.Weights, Weight{At: w.ID, U: randn(r, scale, w.In, k), V: randn(r, scale, k, w.Out)})
	}
	return p
}

func randn(r *rand.Rand, scale float32, shape ...int) *tensor.Tensor {
	t := tensor.New(tensor.F32, shape...)
	v := t.Float32s()
	for i := range v {
		v[i] = scale * float32(r.NormFloat64())
	}
	return t
}

func randomQuery(lm *LM, r *rand.Rand, prompt, target int) ask.Query {
	ids := func(n int) []int64 {
		v := make([]int64, n)
		for i := range v {
			v[i] = r.Int64N(int64(lm.info.Vocab))
		}
		return v
	}
	return ask.Query{PromptIDs: ids(prompt), TargetIDs: [][]int64{ids(target), ids(1 + target/2)}}
}

func worstLogProb(t *testing.T, a, b []ask.Answer) float64 {
	t.Helper()
	var worst float64
	for i := range a {
		if a[i].Err != nil || b[i].Err != nil {
			t.Fatalf("row %d: %v, %v", i, a[i].Err, b[i].Err)
		}
		for k := range a[i].Targets {
			for p, x := range a[i].Targets[k].LogProbs {
				worst = max(worst, relative(x, b[i].Targets[k].LogProbs[p]))
			}
		}
	}
	return worst
}

// rawLogits runs an exported file as it is, [T*V] logits of one sequence.
func rawLogits(t *testing.T, env *ort.Env, path string, ids []int64) []float32 {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := env.NewSession(t.Context(), data, ort.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	T := len(ids)
	mask, pos := make([]int64, T), make([]int64, T)
	for i := range T {
		mask[i], pos[i] = 1, int64(i)
	}
	in := map[string]*tensor.Tensor{"input_ids": tensor.FromInt64s(ids, 1, T), "attention_mask": tensor.FromInt64s(mask, 1, T), "position_ids": tensor.FromInt64s(pos, 1, T)}
	out := map[string]*tensor.Tensor{"logits": nil}
	if err := s.Run(t.Context(), in, out); err != nil {
		t.Fatal(err)
	}
	return out["logits"].Float32s()
}

// distance is that of two vectors over the norm of the second.
func distance(got, want []float32) float64 {
	d := make([]float32, len(want))
	for i, w := range want {
		d[i] = got[i] - w
	}
	return norm(d) / norm(want)
}

func norm(v []float32) float64 {
	var n float64
	for _, x := range v {
		n += float64(x) * float64(x)
	}
	return math.Sqrt(n)
}
