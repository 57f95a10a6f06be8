package answer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/patch"
	"editpipe/models/run"
	"editpipe/ort/orttest"
)

// behindBeginnings asks a number of questions behind each of some beginnings, of different
// lengths, and one question without.
func behindBeginnings(lm *models.LM, r *rand.Rand, patches []*patch.Patch, lengths ...int) []Row {
	rows := []Row{{Query: modeltest.RandomQuery(lm, r, 9, 2)}}
	for i, n := range lengths {
		before := modeltest.RandomQuery(lm, r, n, 1).PromptIDs
		for range leastShare + 1 {
			q := modeltest.RandomQuery(lm, r, 1+r.IntN(6), 1+r.IntN(3))
			q.PromptIDs = slices.Concat(before, q.PromptIDs)
			rows = append(rows, Row{Query: q, Patch: patches[i%len(patches)]})
		}
	}
	return rows
}

// TestBeginnings: rows that share a beginning are answered as they are alone, under
// no patch, low-rank and dense ones, and whatever the budget and the context leave
// room for.
func TestBeginnings(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{
		{Family: tinylm.GPT2, Cache: tinylm.WithPast, Context: 64}, {Family: tinylm.GPTJ, Cache: tinylm.WithPast}, {Family: tinylm.LLaMA, KVHeads: 2, Cache: tinylm.Merged},
	} {
		t.Run(fmt.Sprintf("%s %s", c.Family, c.Cache), func(t *testing.T) {
			dir := modeltest.Folder(t, c)
			lm := modeltest.Open(t, env, dir, models.Options{})
			r := rand.New(rand.NewPCG(8, 1))
			edit, w := modeltest.RandomPatch(lm, r, 0.3), lm.Info().FFNs[0].Down
			dense := &patch.Patch{Weights: []patch.Weight{{At: w.ID, Delta: modeltest.Randn(r, 0.1, w.In, w.Out)}}}
			rows := behindBeginnings(lm, r, []*patch.Patch{nil, edit, nil, dense}, 30, leastBeginning, 53, 20, 40)
			s := newScoring(lm)
			for i, row := range rows {
				if err := s.add(i, row); err != nil {
					t.Fatal(err)
				}
			}
			found, rest := beginnings(lm, run.Share(s.intake.Questions))
			if len(found) != 5 || len(rest) == 0 {
				t.Fatalf("%d beginnings and %d questions without, want 5 and some", len(found), len(rest))
			}
			alone := make([]Row, 1)
			together := score(t, lm, rows...)
			small := score(t, modeltest.Open(t, env, dir, models.Options{MemoryBudget: 1}), rows...)
			for i := range rows {
				alone[0] = rows[i]
				want := score(t, lm, alone...)
				if d := modeltest.WorstLogProb(t, together[i:i+1], want); d > modeltest.LogProbTolerance {
					t.Errorf("row %d: together and alone differ by %g", i, d)
				}
				if d := modeltest.WorstLogProb(t, small[i:i+1], want); d > modeltest.LogProbTolerance {
					t.Errorf("row %d: in small runs and alone differ by %g", i, d)
				}
			}
		})
	}
}

// TestNoBeginnings: without a graph that keeps keys and values, with too few rows,
// or behind an encoder, nothing is shared.
func TestNoBeginnings(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{{Family: tinylm.GPT2}, {Family: tinylm.T5}} {
		lm := modeltest.Open(t, env, modeltest.Folder(t, c), models.Options{})
		s := newScoring(lm)
		for i, row := range behindBeginnings(lm, rand.New(rand.NewPCG(8, 2)), []*patch.Patch{nil}, 30) {
			if err := s.add(i, row); err != nil {
				t.Fatal(err)
			}
		}
		if found, _ := beginnings(lm, run.Share(s.intake.Questions)); len(found) > 0 {
			t.Errorf("%s: %d beginnings", c.Family, len(found))
		}
	}
	lm := modeltest.Open(t, env, modeltest.Folder(t, tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.WithPast}), models.Options{})
	s := newScoring(lm)
	rows := behindBeginnings(lm, rand.New(rand.NewPCG(8, 3)), []*patch.Patch{nil}, leastBeginning-8)[:leastShare]
	for i, row := range rows {
		if err := s.add(i, row); err != nil {
			t.Fatal(err)
		}
	}
	if found, _ := beginnings(lm, run.Share(s.intake.Questions)); len(found) > 0 {
		t.Errorf("%d beginnings of too few tokens", len(found))
	}
}
