package answer

import (
	"math"
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
)

// TestEncoderDecoderGenerates: every generated token is the argmax under teacher
// forcing, also where the encoder is patched.
func TestEncoderDecoderGenerates(t *testing.T) {
	env := orttest.Open(t)
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.T5, Gated: true}, models.Options{})
	r := rand.New(rand.NewPCG(2, 2))
	w := lm.Info().FFN(arch.Encoder, 0).Down
	var rows []Row
	for i := range 5 {
		rows = append(rows, Row{Query: modeltest.RandomQuery(lm, r, 3+2*i, 1)})
		if i > 2 {
			rows[i].Patch = &patch.Patch{Weights: []patch.Weight{{At: w.ID, U: modeltest.Randn(r, 0.5, w.In, 2), V: modeltest.Randn(r, 0.5, 2, w.Out)}}}
		}
	}
	got, err := Generate(t.Context(), lm, rows, ask.Sampling{MaxNew: 5})
	modeltest.Must(t, err)
	for i, a := range got {
		modeltest.Must(t, a.Err)
		if len(a.TextIDs) == 0 {
			continue
		}
		s := score(t, lm, Row{Query: ask.Query{PromptIDs: rows[i].Query.PromptIDs, TargetIDs: [][]int64{a.TextIDs}}, Patch: rows[i].Patch})[0]
		modeltest.Must(t, s.Err)
		if !slices.Equal(s.Targets[0].Argmax, a.TextIDs) {
			t.Errorf("row %d: generated %v, scored %v", i, a.TextIDs, s.Targets[0].Argmax)
		}
	}
}

// TestEndTokenIsScored: the token that ends an encoder-decoder's target has the
// probability it has as a target token of its own, and nothing else changes.
func TestEndTokenIsScored(t *testing.T) {
	env := orttest.Open(t)
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.T5}, models.Options{})
	eos := lm.EOS()[0]
	r := rand.New(rand.NewPCG(3, 3))
	edited := modeltest.RandomPatch(lm, r, 0.3)
	var rows []Row
	for i := range 4 {
		q := modeltest.RandomQuery(lm, r, 3+i, 3)
		for k := range q.TargetIDs { // no end token by chance, and one that ends by itself
			for n, id := range q.TargetIDs[k] {
				if id == eos {
					q.TargetIDs[k][n] = eos + 1
				}
			}
			q.TargetIDs = append(q.TargetIDs, append(slices.Clone(q.TargetIDs[k]), eos))
		}
		rows = append(rows, Row{Query: q, Versus: &q})
		if i%2 == 1 {
			rows[i].Patch = edited
		}
	}
	for i, a := range score(t, lm, rows...) {
		modeltest.Must(t, a.Err)
		for k := range 2 {
			bare, whole := a.Targets[k], a.Targets[k+2]
			n := len(bare.IDs)
			if bare.EOSLogProb == nil || whole.EOSLogProb != nil || len(bare.LogProbs) != n || len(whole.IDs) != n+1 {
				t.Fatalf("row %d: %+v, with the end %+v", i, bare, whole)
			}
			if math.Abs(*bare.EOSLogProb-whole.LogProbs[n]) > modeltest.LogProbTolerance || bare.EOSArgmax != (whole.Argmax[n] == eos) || modeltest.MaxDiff64(bare.LogProbs, whole.LogProbs) > modeltest.LogProbTolerance {
				t.Errorf("row %d: %+v, with the end %+v", i, bare, whole)
			}
		}
		if a.KL == nil || (*a.KL > 0) != (rows[i].Patch != nil) {
			t.Errorf("row %d: divergence %v", i, a.KL)
		}
	}
	decoder := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, models.Options{})
	if c := score(t, decoder, Row{Query: modeltest.RandomQuery(decoder, r, 3, 2)})[0].Targets[0]; c.EOSLogProb != nil || c.EOSArgmax {
		t.Errorf("end token behind a decoder's target: %+v", c)
	}
}
