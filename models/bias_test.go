package models_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// biasPatch changes the bias of every down-projection.
func biasPatch(lm *models.LM, r *rand.Rand) *patch.Patch {
	p := &patch.Patch{}
	for _, f := range lm.Info().FFNs {
		p.Weights = append(p.Weights, patch.Weight{At: f.Down.ID, Bias: true, Delta: modeltest.Randn(r, 0.5, f.Down.Out)})
	}
	return p
}

// TestBias: a changed bias does what the same numbers written into the file do,
// alone, beside rows with other patches, and together with changes of the
// weights, fed or replaced; generation goes on with it.
func TestBias(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{
		{Family: tinylm.GPT2, Cache: tinylm.WithPast}, {Family: tinylm.GPTJ, Cache: tinylm.Merged}, {Family: tinylm.GPT2, Float16: true, ExternalData: true},
	} {
		t.Run(fmt.Sprintf("%s %s half=%v", c.Family, c.Cache, c.Float16), func(t *testing.T) {
			lm := modeltest.Tiny(t, env, c, models.Options{Threads: 1})
			r := rand.New(rand.NewPCG(7, 7))
			tolerance := modeltest.LogProbTolerance
			if c.Float16 {
				tolerance = modeltest.HalfTolerance
			}
			bias, w := biasPatch(lm, r), lm.Info().FFNs[1].Down
			dense := &patch.Patch{Weights: []patch.Weight{{At: w.ID, Delta: modeltest.Randn(r, 0.1, w.In, w.Out)}}}
			patches := []*patch.Patch{bias, bias.Then(modeltest.RandomPatch(lm, r, 0.3)), bias.Then(dense), bias.Then(bias)}
			var queries []ask.Query
			for range 4 {
				queries = append(queries, modeltest.RandomQuery(lm, r, 3+r.IntN(9), 3))
			}
			ask1 := func(lm *models.LM, p *patch.Patch) []ask.Answer {
				var rows []answer.Row
				for _, q := range queries {
					rows = append(rows, answer.Row{Query: q, Patch: p})
				}
				return score(t, lm, rows...)
			}
			plain := ask1(lm, nil)
			for i, p := range patches {
				alone := ask1(lm, p)
				if d := modeltest.WorstLogProb(t, alone, plain); d < 0.05 {
					t.Fatalf("patch %d moves nothing: %g", i, d)
				}
				to := filepath.Join(t.TempDir(), "to")
				modeltest.Must(t, lm.Export(t.Context(), p, to))
				exported := modeltest.Open(t, env, to, models.Options{Threads: 1})
				if d := modeltest.WorstLogProb(t, alone, ask1(exported, nil)); d > tolerance {
					t.Errorf("patch %d: patched and exported model differ by %g", i, d)
				}
				var mixed []answer.Row
				for _, q := range queries {
					mixed = append(mixed, answer.Row{Query: q}, answer.Row{Query: q, Patch: p}, answer.Row{Query: q, Patch: modeltest.RandomPatch(lm, r, 0.3)})
				}
				for k, a := range score(t, lm, mixed...) {
					want := [][]ask.Answer{plain, alone}
					if k%3 < 2 {
						if d := modeltest.WorstLogProb(t, []ask.Answer{a}, want[k%3][k/3:k/3+1]); d > tolerance {
							t.Errorf("patch %d, row %d differs in company by %g", i, k, d)
						}
					}
				}
				if c.Float16 {
					continue // a rounded weight may turn an argmax
				}
				got, err := answer.Generate(t.Context(), lm, []answer.Row{{Query: queries[0], Patch: p}}, ask.Sampling{MaxNew: 5})
				modeltest.Must(t, err)
				want, err := answer.Generate(t.Context(), exported, []answer.Row{{Query: queries[0]}}, ask.Sampling{MaxNew: 5})
				modeltest.Must(t, err)
				if !slices.Equal(got[0].TextIDs, want[0].TextIDs) {
					t.Errorf("patch %d: generated %v, exported %v", i, got[0].TextIDs, want[0].TextIDs)
				}
			}
		})
	}
}

// TestBiasOfPatch: bytes, norm, merging, saving and loading count biases.
func TestBiasOfPatch(t *testing.T) {
	lm := modeltest.Tiny(t, orttest.Open(t), tinylm.Config{Family: tinylm.GPT2}, models.Options{Threads: 1})
	r := rand.New(rand.NewPCG(1, 5))
	w := lm.Info().FFNs[0].Down
	a, b, d := modeltest.Randn(r, 1, w.Out), modeltest.Randn(r, 1, w.Out), modeltest.Randn(r, 1, w.In, w.Out)
	p := &patch.Patch{Method: "m", Edits: []string{"e"}, Weights: []patch.Weight{{At: w.ID, Bias: true, Delta: a}, {At: w.ID, Delta: d}, {At: w.ID, Bias: true, Delta: b}}}
	sum := tensor.New(tensor.F32, w.Out)
	for i := range sum.Float32s() {
		sum.Float32s()[i] = a.Float32s()[i] + b.Float32s()[i]
	}
	if want := math.Hypot(sum.Norm(), d.Norm()); math.Abs(p.DeltaNorm()-want) > modeltest.HostTolerance*want {
		t.Errorf("norm %g, want %g", p.DeltaNorm(), want)
	}
	if got, want := p.Bytes(), int64(4*(2*w.Out+w.In*w.Out)); got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
	if only := (&patch.Patch{Weights: p.Weights[:1]}); only.Binding() != patch.BindPerRow || len(only.Matrices()) != 0 || math.Abs(only.DeltaNorm()-a.Norm()) > modeltest.HostTolerance*a.Norm() {
		t.Errorf("a bias alone: %s, weights %v, norm %g", only.Binding(), only.Matrices(), only.DeltaNorm())
	}
	merged, err := p.Merge()
	modeltest.Must(t, err)
	if len(merged.Weights) != 2 || modeltest.MaxDiff(merged.Weights[1].Delta.Float32s(), sum.Float32s()) != 0 || modeltest.MaxDiff(merged.Weights[0].Delta.Float32s(), d.Float32s()) != 0 {
		t.Errorf("merged: %+v", merged.Weights)
	}
	path := filepath.Join(t.TempDir(), "p")
	meta := patch.Meta{ModelHash: lm.Hash(), TokenizerHash: lm.TokenizerHash()}
	modeltest.Must(t, p.Save(path, meta))
	q, had, err := patch.Load(path, nil)
	modeltest.Must(t, err)
	modeltest.Must(t, lm.Fits(q, had))
	if got := q.Weights[2]; got.At != w.ID || got.Delta.Hash() != b.Hash() {
		t.Errorf("came back as %+v", got)
	}
	stored, err := lm.Bias(w.ID)
	modeltest.Must(t, err)
	if stored.Len() != w.Out || stored.Norm() == 0 {
		t.Errorf("stored bias of %d elements, norm %g", stored.Len(), stored.Norm())
	}

	var misfit *patch.MisfitError
	for name, c := range map[string]patch.Weight{"short": {At: w.ID, Bias: true, Delta: modeltest.Randn(r, 1, w.Out-1)}, "matrix": {At: w.ID, Bias: true, Delta: d}, "none": {At: w.ID, Bias: true}} {
		if err := lm.Fits(&patch.Patch{Weights: []patch.Weight{c}}, meta); !errors.As(err, &misfit) {
			t.Errorf("%s: %v", name, err)
		}
	}
	up := lm.Info().FFNs[0].Up
	if err := lm.Fits(&patch.Patch{Weights: []patch.Weight{{At: up.ID, Bias: true, Delta: modeltest.Randn(r, 1, up.Out)}}}, meta); !errors.Is(err, arch.ErrNotEditable) {
		t.Errorf("bias of %s: %v", up.ID, err)
	}
}

// TestNoBias: a bias that is not there cannot be changed.
func TestNoBias(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 6))
	llama := modeltest.Tiny(t, orttest.Open(t), tinylm.Config{Family: tinylm.LLaMA}, models.Options{Threads: 1})
	if _, err := llama.Bias(modeltest.Down(0)); !errors.Is(err, arch.ErrNotEditable) {
		t.Errorf("a bias that is not there: %v", err)
	}
	answers, err := answer.Score(t.Context(), llama, []answer.Row{{Query: modeltest.RandomQuery(llama, r, 4, 2), Patch: biasPatch(llama, r)}})
	modeltest.Must(t, err)
	if !errors.Is(answers[0].Err, arch.ErrNotEditable) {
		t.Errorf("a bias that is not there: %v", answers[0].Err)
	}
}
