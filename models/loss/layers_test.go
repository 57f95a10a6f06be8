package loss

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/answer"
	"editpipe/models/arch"
	"editpipe/models/run"
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
func layerRows(lm *models.LM, r *rand.Rand, p arch.Point) []LayerRow {
	patch := modeltest.RandomPatch(lm, r, 0.3)
	var rows []LayerRow
	for i := range 6 {
		row := LayerRow{IDs: modeltest.RandomQuery(lm, r, 3+2*i, 1).PromptIDs, Layer: i % 2, Target: int64(3 + i)}
		if i != 2 {
			row.Shift = modeltest.Randn(r, 0.5, lm.Info().FFN(arch.Decoder, row.Layer).Width(p)).Float32s()
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
			lm := modeltest.Tiny(t, env, c, models.Options{Threads: 1})
			for _, p := range []arch.Point{arch.FFNAct, arch.FFNPre} {
				r := rand.New(rand.NewPCG(7, 7))
				rows := layerRows(lm, r, p)
				got, err := EachLayer(t.Context(), lm, p, rows)
				modeltest.Must(t, err)
				for i, row := range rows {
					modeltest.Must(t, got[i].Err)
					one, err := At(t.Context(), lm, []arch.Site{{Layer: row.Layer, Point: p}}, []Row{{
						IDs: row.IDs, Patch: row.Patch, At: len(row.IDs) - 1, Shift: row.Shift,
						Terms: []Term{{Position: len(row.IDs) - 1, Target: row.Target, Prob: 1}},
					}})
					modeltest.Must(t, err)
					if d := max(math.Abs(one[0].Loss-got[i].Prob), modeltest.MaxDiff(one[0].Gradient, got[i].Gradient)); d > probTolerance*one[0].Loss {
						t.Errorf("%s row %d: differs by %g from the graph of one site", p, i, d)
					}
					direction := modeltest.Randn(r, 1, len(got[i].Gradient))
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
						l, err := EachLayer(t.Context(), lm, p, []LayerRow{to})
						modeltest.Must(t, err)
						modeltest.Must(t, l[0].Err)
						return l[0].Prob
					}
					if want := (moved(probStep) - moved(-probStep)) / (2 * probStep); math.Abs(slope-want) > probDifference || slope == 0 {
						t.Errorf("%s row %d: slope %g, by differences %g", p, i, slope, want)
					}
					if row.Shift == nil {
						answers, err := answer.Score(t.Context(), lm, []answer.Row{{Patch: row.Patch, Query: ask.Query{PromptIDs: row.IDs, TargetIDs: [][]int64{{row.Target}}}}})
						modeltest.Must(t, err)
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
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, models.Options{Threads: 1})
	good := LayerRow{IDs: []int64{1, 2, 3}, Target: 4}
	far, wide, outside, empty := good, good, good, good
	far.Layer, wide.Shift, outside.Target, empty.IDs = 2, make([]float32, 3), 1<<40, nil
	got, err := EachLayer(t.Context(), lm, arch.FFNAct, []LayerRow{far, good, wide, outside, empty})
	modeltest.Must(t, err)
	for i, g := range got {
		if (g.Err == nil) != (i == 1) {
			t.Errorf("row %d: %v", i, g.Err)
		}
	}
	if !errors.Is(got[0].Err, arch.ErrSite) || !errors.Is(got[3].Err, run.ErrVocabulary) {
		t.Errorf("got %v and %v", got[0].Err, got[3].Err)
	}
	for _, c := range []tinylm.Config{{Family: tinylm.T5}, {Family: tinylm.GPT2, Float16: true}} {
		if _, err := EachLayer(t.Context(), modeltest.Tiny(t, env, c, models.Options{}), arch.FFNAct, []LayerRow{good}); !errors.Is(err, arch.ErrNoGradient) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestLayerShiftsInPieces: the memory budget decides how many rows share a run,
// not what they give.
func TestLayerShiftsInPieces(t *testing.T) {
	env := orttest.Open(t)
	c := tinylm.Config{Family: tinylm.GPT2}
	lm, small := modeltest.Tiny(t, env, c, models.Options{Threads: 1}), modeltest.Tiny(t, env, c, models.Options{Threads: 1, MemoryBudget: 1})
	rows := layerRows(lm, rand.New(rand.NewPCG(8, 8)), arch.FFNAct)
	a, err := EachLayer(t.Context(), lm, arch.FFNAct, rows)
	modeltest.Must(t, err)
	b, err := EachLayer(t.Context(), small, arch.FFNAct, rows)
	modeltest.Must(t, err)
	for i := range rows {
		if d := max(math.Abs(a[i].Prob-b[i].Prob), modeltest.MaxDiff(a[i].Gradient, b[i].Gradient)); d > probTolerance*a[i].Prob {
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
			lm := modeltest.Tiny(t, env, c.model, models.Options{})
			q := modeltest.RandomQuery(lm, rand.New(rand.NewPCG(9, 9)), 6, 2)
			at := func(p arch.Point) arch.Site { return arch.Site{Layer: 1, Point: p} }
			got, err := activation.Trace(t.Context(), lm, []activation.Row{{Query: q, Positions: []int{-1, 0}}}, at(arch.FFNPre), at(arch.FFNAct), at(arch.FFNIn))
			modeltest.Must(t, err)
			modeltest.Must(t, got[0].Err)
			pre, act := got[0].Values[0].Float32s(), got[0].Values[1].Float32s()
			up := slices.Repeat([]float32{1}, len(pre))
			if f := lm.Info().FFN(arch.Decoder, 1); f.Gate != nil {
				w, err := lm.Weight(f.Up.ID)
				modeltest.Must(t, err)
				product, err := tensor.MatMul(got[0].Values[2], w)
				modeltest.Must(t, err)
				up = product.Float32s()
			}
			for i, x := range pre {
				pre[i] = float32(c.f(float64(x)) * float64(up[i]))
			}
			if d := modeltest.MaxDiff(pre, act); d > modeltest.LogProbTolerance {
				t.Errorf("differs by %g", d)
			}
		})
	}
}
