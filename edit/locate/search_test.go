package locate

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/arch"
)

// Roundings of float32 sums in another order, over some tens of updates that
// divide gradients by their own size.
const searchTolerance = 1e-3

// Terms of a loss added up in float32 by the graph and in float64 here: 16 roundings
// (2^-24).
const termTolerance = 1e-6

// reached is a log-probability of the target that the searches of the tiny models
// pass at different steps.
const reached = -4

// searched searches the values of facts of unequal lengths, some of which end
// early.
func searched(t *testing.T, lm *models.LM, facts []int, at ...arch.Site) []Found {
	t.Helper()
	ctx := context.Background()
	var list []*Fact
	var starts [][]float32
	for i, e := range []dataset.Edit{
		{Prompt: "Ada works as a", Subject: "Ada", Target: "pilot"},
		{Prompt: "Zoe works as a", Subject: "Zoe", Target: "judge"},
		{Prompt: "Bob works as a", Subject: "Bob", Target: "cook"},
		{Prompt: "The mayor of Rome is", Subject: "Rome", Target: "Cleo"},
		{Prompt: "Who is the mayor of Rome", Subject: "mayor of Rome", Target: "Bob"},
	} {
		if !slices.Contains(facts, i) {
			continue
		}
		f, err := NewFact(lm, e, []string{"{}", "Yes. {}", "Once and then. {}"}, SubjectLast, false)
		if err != nil {
			t.Fatal(err)
		}
		traces, err := activation.Trace(ctx, lm, []activation.Row{{Query: ask.Query{PromptIDs: f.Prompts[0].IDs}, Positions: []int{f.Prompts[0].At}}}, at...)
		if err != nil {
			t.Fatal(err)
		}
		var start []float32
		for _, v := range traces[0].Values {
			start = append(start, v.Float32s()...)
		}
		list, starts = append(list, f), append(starts, start)
	}
	found, err := OptimiseAt(ctx, lm, nil, at, list, starts, Search{
		Steps: 12, Rate: 0.5, Decay: 0.01, Clamp: 100, KL: 0.0625,
		Weigh: func(s Standing) (float64, bool) { return 1, s.LogProbs[0][0] > reached },
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range found {
		if f.Err != nil {
			t.Fatal(i, f.Err)
		}
	}
	return found
}

// TestSearchesSaveExactly: a search ends where it ends without keys and values
// of earlier positions, alone or in company, on one thread or two side by side.
func TestSearchesSaveExactly(t *testing.T) {
	site := arch.Site{Layer: 0, Point: arch.FFNOut}
	for _, c := range []tinylm.Config{{Family: tinylm.GPT2}, {Family: tinylm.GPTJ}, {Family: tinylm.LLaMA}, {Family: tinylm.LLaMA, KVHeads: 2}} {
		t.Run(fmt.Sprint(c.Family, c.KVHeads), func(t *testing.T) {
			all, results := []int{0, 1, 2, 3, 4}, map[string][]Found{}
			for _, cache := range []tinylm.Cache{tinylm.NoCache, tinylm.WithPast} {
				for _, threads := range []int{1, 2} {
					t.Run(fmt.Sprintf("%q %d", cache, threads), func(t *testing.T) {
						c.Cache = cache
						lm := openWith(t, c, models.Options{Threads: threads})
						found := searched(t, lm, all, site)
						for i, f := range found {
							if threads == 1 {
								break
							}
							if alone := searched(t, lm, all[i:i+1], site); !slices.Equal(alone[0].Shift, f.Shift) || !slices.Equal(alone[0].Losses, f.Losses) {
								t.Errorf("fact %d ends elsewhere in company", i)
							}
						}
						results[fmt.Sprint(cache, threads)] = found
					})
				}
			}
			ends := map[int]bool{}
			for label, found := range results {
				for i, f := range found {
					ends[len(f.Losses)] = true
					want := results["1"][i]
					if d := distance(f.Shift, want.Shift); !(d < searchTolerance) || len(f.Losses) != len(want.Losses) {
						t.Errorf("%s: fact %d: %d evaluations, the shift is off by %g of its norm; plainly %d", label, i, len(f.Losses), d, len(want.Losses))
					}
				}
			}
			if len(ends) < 2 {
				t.Errorf("all searches ended after the same number of evaluations, %v", ends)
			}
		})
	}
}

// distance is the norm of the difference over that of b, 0 where both are equal.
func distance(a, b []float32) float64 {
	if slices.Equal(a, b) {
		return 0
	}
	var d, n float64
	for i, x := range b {
		d += (float64(a[i]) - float64(x)) * (float64(a[i]) - float64(x))
		n += float64(x) * float64(x)
	}
	return math.Sqrt(d / n)
}

// TestWeigh: after each evaluation a method says how much the likelihood weighs
// in the next one, and when the search ends; it is told of every prompt and of the
// divergence.
func TestWeigh(t *testing.T) {
	ctx := context.Background()
	lm := open(t, tinylm.Config{Family: tinylm.GPT2})
	f, err := NewFact(lm, dataset.Edit{Prompt: "Ada works as a", Subject: "Ada", Target: "pilot"}, []string{"{}", "Yes. {}"}, SubjectLast, false)
	if err != nil {
		t.Fatal(err)
	}
	at := arch.Site{Layer: 0, Point: arch.FFNOut}
	_, values, err := Recall(ctx, lm, nil, 0, f)
	if err != nil {
		t.Fatal(err)
	}
	var seen []Standing
	found, err := Optimise(ctx, lm, nil, at, []*Fact{f}, values[:1], Search{
		Steps: 9, Rate: 0.1, Clamp: 100, KL: 0.5,
		Weigh: func(s Standing) (float64, bool) {
			seen = append(seen, s)
			return 0.25, len(seen) == 4
		},
	})
	if err != nil || found[0].Err != nil {
		t.Fatal(err, found[0].Err)
	}
	if len(seen) != 4 || len(found[0].Losses) != 4 {
		t.Fatalf("told of %d evaluations of %d, want 4", len(seen), len(found[0].Losses))
	}
	for i, s := range seen {
		if len(s.LogProbs) != 2 || len(s.Best) != 2 || len(s.LogProbs[0]) != len(f.Target) {
			t.Fatalf("evaluation %d: %+v", i, s)
		}
		nll := 0.0
		for k, prompt := range s.LogProbs {
			for j, l := range prompt {
				if l > s.Best[k][j] {
					t.Errorf("evaluation %d: %g is more than the best, %g", i, l, s.Best[k][j])
				}
				nll -= l / float64(2*len(prompt))
			}
		}
		weight := 0.25
		if i == 0 {
			weight = 1
		}
		if want := weight*nll + s.KL; math.Abs(found[0].Losses[i]-want) > termTolerance*math.Abs(want) {
			t.Errorf("evaluation %d: loss %g, want %g", i, found[0].Losses[i], want)
		}
	}
	if seen[3].KL <= 0 {
		t.Errorf("the divergence is %g after three updates", seen[3].KL)
	}
}
