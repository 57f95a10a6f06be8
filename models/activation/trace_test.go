package activation

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// TestTrace checks traced values against each other: the block's input through
// the up- and down-projections is its output, and rows do not mix.
func TestTrace(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{
		{Family: tinylm.LLaMA}, {Family: tinylm.LLaMA, NamedWeights: true, NoScopes: true}, {Family: tinylm.T5}, {Family: tinylm.T5, Gated: true},
	} {
		t.Run(fmt.Sprintf("%s gated=%v", c.Family, c.Gated), func(t *testing.T) {
			lm := modeltest.Tiny(t, env, c, models.Options{})
			r := rand.New(rand.NewPCG(1, 1))
			sides := []arch.Side{arch.Decoder}
			if c.Family == tinylm.T5 {
				sides = append(sides, arch.Encoder)
			}
			for _, side := range sides {
				f := lm.Info().FFN(side, 1)
				at := func(p arch.Point) arch.Site { return arch.Site{Side: side, Layer: 1, Point: p} }
				low := patch.Weight{At: f.Down.ID, U: modeltest.Randn(r, 0.3, f.Down.In, 2), V: modeltest.Randn(r, 0.3, 2, f.Down.Out)}
				rows := []Row{
					{Query: modeltest.RandomQuery(lm, r, 9, 3), Positions: []int{0, -1}},
					{Query: modeltest.RandomQuery(lm, r, 4, 2), Positions: []int{0}, Patch: &patch.Patch{Weights: []patch.Weight{low}}},
					{Query: modeltest.RandomQuery(lm, r, 4, 2)},
				}
				rows = append(rows, rows[0])
				rows[3].Positions = []int{-1}
				got, err := Trace(t.Context(), lm, rows, at(arch.FFNAct), at(arch.FFNOut), at(arch.FFNIn))
				modeltest.Must(t, err)
				weight, err := lm.Weight(f.Down.ID)
				modeltest.Must(t, err)
				up, err := lm.Weight(f.Up.ID)
				modeltest.Must(t, err)
				for i, tr := range got {
					modeltest.Must(t, tr.Err)
					act, out, in := tr.Values[0], tr.Values[1], tr.Values[2]
					if len(rows[i].Positions) != act.Shape[0] || act.Shape[1] != f.Down.In || out.Shape[1] != f.Down.Out {
						t.Fatalf("row %d: shapes %v, %v", i, act.Shape, out.Shape)
					}
					if act.Shape[0] == 0 {
						continue
					}
					want, err := tensor.MatMul(act, weight)
					modeltest.Must(t, err)
					v := want.Float32s()
					if rows[i].Patch != nil {
						d, err := tensor.MatMul(low.U, low.V)
						modeltest.Must(t, err)
						more, err := tensor.MatMul(act, d)
						modeltest.Must(t, err)
						for k, x := range more.Float32s() {
							v[k] += x
						}
					}
					if d := modeltest.MaxDiff(v, out.Float32s()); d > modeltest.LogProbTolerance {
						t.Errorf("%s row %d: output differs from act W by %g", side, i, d)
					}
					if c.Family == tinylm.T5 && !c.Gated {
						pre, err := tensor.MatMul(in, up)
						modeltest.Must(t, err)
						for k, x := range pre.Float32s() {
							pre.Float32s()[k] = max(x, 0)
						}
						if d := modeltest.MaxDiff(pre.Float32s(), act.Float32s()); d > modeltest.LogProbTolerance {
							t.Errorf("%s row %d: act differs from relu(in W) by %g", side, i, d)
						}
					}
				}
				w := f.Down.In
				if d := modeltest.MaxDiff(got[0].Values[0].Float32s()[w:], got[3].Values[0].Float32s()); d > modeltest.LogProbTolerance {
					t.Errorf("two rows of one sequence differ by %g", d)
				}
				if want := rows[0].Query.PromptIDs; !slices.Equal(got[0].IDs[:got[0].Prompt], want) && side == arch.Encoder {
					t.Errorf("traced ids %v, want %v", got[0].IDs, want)
				}
			}
		})
	}
}

// blockSums checks that a block adds attention and feed-forward to the residual
// stream, which ties every site of a layer to the others; it returns the largest
// difference.
func blockSums(t *testing.T, lm *models.LM, side arch.Side, rows []Row) (worst float64) {
	t.Helper()
	for _, f := range lm.Info().FFNs {
		if f.Side != side || f.Layer == 0 {
			continue
		}
		at := func(layer int, p arch.Point) arch.Site { return arch.Site{Side: side, Layer: layer, Point: p} }
		got, err := Trace(t.Context(), lm, rows, at(f.Layer-1, arch.Hidden), at(f.Layer, arch.AttnOut), at(f.Layer, arch.FFNOut), at(f.Layer, arch.Hidden))
		modeltest.Must(t, err)
		for _, tr := range got {
			modeltest.Must(t, tr.Err)
			sum := make([]float32, tr.Values[0].Len())
			for i := range sum {
				for _, v := range tr.Values[:3] {
					sum[i] += v.Float32s()[i]
				}
			}
			if len(sum) == 0 || tr.Values[1].Norm() == 0 {
				t.Fatal("nothing was traced")
			}
			worst = max(worst, modeltest.MaxDiff(sum, tr.Values[3].Float32s()))
		}
	}
	return worst
}

func TestAttentionOutput(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []struct {
		tinylm.Config
		side arch.Side
	}{
		{tinylm.Config{Family: tinylm.GPT2}, arch.Decoder}, {tinylm.Config{Family: tinylm.GPTJ, NamedWeights: true}, arch.Decoder},
		{tinylm.Config{Family: tinylm.LLaMA, KVHeads: 2}, arch.Decoder}, {tinylm.Config{Family: tinylm.GPT2, Opset: 13, NoScopes: true}, arch.Decoder},
		{tinylm.Config{Family: tinylm.LLaMA, Cache: tinylm.Merged}, arch.Decoder}, {tinylm.Config{Family: tinylm.T5}, arch.Encoder},
	} {
		c.Layers = 3
		lm := modeltest.Tiny(t, env, c.Config, models.Options{})
		r := rand.New(rand.NewPCG(1, 4))
		rows := []Row{
			{Query: modeltest.RandomQuery(lm, r, 9, 3), Positions: []int{0, -1}},
			{Query: modeltest.RandomQuery(lm, r, 4, 2), Positions: []int{-2}, Patch: modeltest.RandomPatch(lm, r, 0.3)},
		}
		if d := blockSums(t, lm, c.side, rows); d > modeltest.LogProbTolerance {
			t.Errorf("%s %s: the parts of a block differ from its output by %g", c.Family, c.side, d)
		}
	}
	// A decoder that reads an encoder has two attentions in a block.
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.T5}, models.Options{})
	if _, err := Trace(t.Context(), lm, nil, arch.Site{Point: arch.AttnOut}); !errors.Is(err, arch.ErrSite) {
		t.Errorf("cross-attention: %v", err)
	}
}

func TestTraceErrors(t *testing.T) {
	env := orttest.Open(t)
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, models.Options{})
	row := Row{Query: ask.Query{PromptIDs: []int64{1, 2, 3}}, Positions: []int{0}}
	for name, sites := range map[string][]arch.Site{
		"none": {}, "no such layer": {{Layer: 9}}, "no such side": {{Side: arch.Encoder}}, "both sides": {{}, {Side: arch.Encoder}}, "no such point": {{Point: 99}},
	} {
		if _, err := Trace(t.Context(), lm, []Row{row}, sites...); !errors.Is(err, arch.ErrSite) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := row
	bad.Positions = []int{3}
	got, err := Trace(t.Context(), lm, []Row{bad, row, {Query: ask.Query{}}}, arch.Site{Point: arch.Hidden})
	modeltest.Must(t, err)
	if !errors.Is(got[0].Err, arch.ErrSite) || got[1].Err != nil || !errors.Is(got[2].Err, ask.ErrNoPrompt) && got[2].Err == nil {
		t.Errorf("%v, %v, %v", got[0].Err, got[1].Err, got[2].Err)
	}
}
