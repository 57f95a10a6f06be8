package models

import (
	"editpipe/models/arch"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"editpipe/ask"
	"editpipe/internal/tinylm"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

const (
	// Central differences of probabilities of order 1e-3, in float32, over a step
	// of 0.05 along directions of length 1: rounding gives 1e-8, the third
	// derivative less.
	probStep       = 0.05
	probDifference = 2e-7
	// One probability p through two graphs, and its gradient p d(log p), relative
	// to p: a logit of order 10 is rounded to 1e-6, and that is what log p moves by.
	probTolerance = 1e-5
)

// layerRows shift both layers, plain and through patches, at several lengths.
func layerRows(lm *LM, r *rand.Rand, p arch.Point) []LayerShift {
	patch := randomPatch(lm, r, 0.3)
	var rows []LayerShift
	for i := range 6 {
		row := LayerShift{IDs: randomQuery(lm, r, 3+2*i, 1).PromptIDs, Layer: i % 2, Target: int64(3 + i)}
		if i != 2 {
			row.Shift = randn(r, 0.5, lm.Info().FFN(arch.Decoder, row.Layer).Width(p)).Float32s()
		}
		if i > 3 {
			row.Patch = patch
		}
		rows = append(rows, row)
	}
	return rows
}

// TestLayerShifts compares gradients with central differences, probabilities
// with those that Score gives, and both with the graph of one site.
func TestLayerShifts(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{{Family: tinylm.GPT2}, {Family: tinylm.GPTJ}, {Family: tinylm.LLaMA}, {Family: tinylm.LLaMA, NamedWeights: true, NoScopes: true}} {
		t.Run(fmt.Sprintf("%s %v", c.Family, c.NoScopes), func(t *testing.T) {
			lm := tiny(t, env, c, Options{Threads: 1})
			for _, p := range []arch.Point{arch.FFNAct, arch.FFNPre} {
				r := rand.New(rand.NewPCG(7, 7))
				rows := layerRows(lm, r, p)
				got, err := lm.LayerShifts(t.Context(), p, rows)
				must(t, err)
				for i, row := range rows {
					must(t, got[i].Err)
					one, err := lm.Losses(t.Context(), arch.Site{Layer: row.Layer, Point: p}, []LossRow{{
						IDs: row.IDs, Patch: row.Patch, At: len(row.IDs) - 1, Shift: row.Shift,
						Terms: []LossTerm{{Position: len(row.IDs) - 1, Target: row.Target, Prob: 1}},
					}})
					must(t, err)
					if d := max(math.Abs(one[0].Loss-got[i].Prob), maxDiff(one[0].Gradient, got[i].Gradient)); d > probTolerance*one[0].Loss {
						t.Errorf("%s row %d: differs by %g from the graph of one site", p, i, d)
					}
					direction := randn(r, 1, len(got[i].Gradient))
					length, slope := direction.Norm(), 0.0
					for k, x := range direction.Float32s() {
						slope += float64(x) / length * float64(got[i].Gradient[k])
					}
					moved := func(by float64) float64 {
						to := row
						to.Shift = make([]float32, len(direction.Float32s()))
						copy(to.Shift, row.Shift)
						for k, x := range direction.Float32s() {
							to.Shift[k] += float32(by * float64(x) / length)
						}
						l, err := lm.LayerShifts(t.Context(), p, []LayerShift{to})
						must(t, err)
						must(t, l[0].Err)
						return l[0].Prob
					}
					if want := (moved(probStep) - moved(-probStep)) / (2 * probStep); math.Abs(slope-want) > probDifference || slope == 0 {
						t.Errorf("%s row %d: slope %g, by differences %g", p, i, slope, want)
					}
					if row.Shift == nil {
						answers, err := lm.Score(t.Context(), []Row{{Patch: row.Patch, Query: ask.Query{PromptIDs: row.IDs, TargetIDs: [][]int64{{row.Target}}}}})
						must(t, err)
						if want := math.Exp(answers[0].Targets[0].LogProbs[0]); math.Abs(want-got[i].Prob) > probTolerance*want {
							t.Errorf("%s row %d: probability %g, asked %g", p, i, got[i].Prob, want)
						}
					}
				}
			}
		})
	}
}

// TestLayerShiftsRefused: bad rows leave the others alone, and models that
// cannot be differentiated are refused.
func TestLayerShiftsRefused(t *testing.T) {
	env := orttest.Open(t)
	lm := tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, Options{Threads: 1})
	good := LayerShift{IDs: []int64{1, 2, 3}, Target: 4}
	far, wide, outside, empty := good, good, good, good
	far.Layer, wide.Shift, outside.Target, empty.IDs = 2, make([]float32, 3), 1<<40, nil
	got, err := lm.LayerShifts(t.Context(), arch.FFNAct, []LayerShift{far, good, wide, outside, empty})
	must(t, err)
	for i, g := range got {
		if (g.Err == nil) != (i == 1) {
			t.Errorf("row %d: %v", i, g.Err)
		}
	}
	if !errors.Is(got[0].Err, ErrSite) || !errors.Is(got[3].Err, ErrVocabulary) {
		t.Errorf("got %v and %v", got[0].Err, got[3].Err)
	}
	for _, c := range []tinylm.Config{{Family: tinylm.T5}, {Family: tinylm.GPT2, Float16: true}} {
		if _, err := tiny(t, env, c, Options{}).LayerShifts(t.Context(), arch.FFNAct, []LayerShift{good}); !errors.Is(err, ErrNoGradient) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestLayerShiftsInPieces: the memory budget decides how many rows share a run,
// not what they give.
func TestLayerShiftsInPieces(t *testing.T) {
	env := orttest.Open(t)
	c := tinylm.Config{Family: tinylm.GPT2}
	lm, small := tiny(t, env, c, Options{Threads: 1}), tiny(t, env, c, Options{Threads: 1, MemoryBudget: 1})
	rows := layerRows(lm, rand.New(rand.NewPCG(8, 8)), arch.FFNAct)
	a, err := lm.LayerShifts(t.Context(), arch.FFNAct, rows)
	must(t, err)
	b, err := small.LayerShifts(t.Context(), arch.FFNAct, rows)
	must(t, err)
	for i := range rows {
		if d := max(math.Abs(a[i].Prob-b[i].Prob), maxDiff(a[i].Gradient, b[i].Gradient)); d > probTolerance*a[i].Prob {
			t.Errorf("row %d alone differs by %g", i, d)
		}
	}
}

// TestActivationInput: the activation function of the value at FFNPre is, times
// the up-projection in gated blocks, the value at FFNAct.
func TestActivationInput(t *testing.T) {
	env := orttest.Open(t)
	gelu := func(x float64) float64 {
		return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	}
	relu := func(x float64) float64 { return max(x, 0) }
	silu := func(x float64) float64 { return x / (1 + math.Exp(-x)) }
	for _, c := range []struct {
		model tinylm.Config
		f     func(float64) float64
	}{
		{tinylm.Config{Family: tinylm.GPT2}, gelu}, {tinylm.Config{Family: tinylm.GPTJ}, gelu}, {tinylm.Config{Family: tinylm.LLaMA}, silu},
		{tinylm.Config{Family: tinylm.LLaMA, NamedWeights: true, NoScopes: true}, silu},
		{tinylm.Config{Family: tinylm.T5}, relu}, {tinylm.Config{Family: tinylm.T5, Gated: true}, gelu},
	} {
		t.Run(fmt.Sprintf("%s %v %v", c.model.Family, c.model.Gated, c.model.NoScopes), func(t *testing.T) {
			lm := tiny(t, env, c.model, Options{})
			q := randomQuery(lm, rand.New(rand.NewPCG(9, 9)), 6, 2)
			at := func(p arch.Point) arch.Site { return arch.Site{Layer: 1, Point: p} }
			got, err := lm.Trace(t.Context(), []TraceRow{{Query: q, Positions: []int{-1, 0}}}, at(arch.FFNPre), at(arch.FFNAct), at(arch.FFNIn))
			must(t, err)
			must(t, got[0].Err)
			pre, act := got[0].Values[0].Float32s(), got[0].Values[1].Float32s()
			up := slices.Repeat([]float32{1}, len(pre))
			if f := lm.Info().FFN(arch.Decoder, 1); f.Gate != nil {
				w, err := lm.Weight(f.Up.ID)
				must(t, err)
				product, err := tensor.MatMul(got[0].Values[2], w)
				must(t, err)
				up = product.Float32s()
			}
			for i, x := range pre {
				pre[i] = float32(c.f(float64(x)) * float64(up[i]))
			}
			if d := maxDiff(pre, act); d > logProbTolerance {
				t.Errorf("differs by %g", d)
			}
		})
	}
}
