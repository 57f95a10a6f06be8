package loss

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/ort/orttest"
)

// TestSearchesInCompany: losses and slopes of a problem are to the bit those it has
// alone, beside problems of other lengths, and when those have left: Adam takes the
// same step for a slope of 1e-9 as for one of 1, so that a search would carry any
// other rounding as far as a step reaches.
func TestSearchesInCompany(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{{Family: tinylm.GPT2}, {Family: tinylm.LLaMA, Cache: tinylm.WithPast}} {
		for _, everywhere := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s everywhere=%v", c.Family, everywhere), func(t *testing.T) {
				lm := modeltest.Tiny(t, env, c, models.Options{Threads: 1})
				at, r := []arch.Site{{Layer: 0, Point: arch.FFNOut}}, rand.New(rand.NewPCG(6, 6))
				var problems [][]Row
				for _, n := range []int{5, 6, 13, 6, 21, 9} {
					var rows []Row
					for k := range 2 {
						ids := modeltest.RandomQuery(lm, r, n+k, 1).PromptIDs
						row := Row{IDs: ids, Everywhere: everywhere, At: len(ids) / 2, Terms: []Term{{Position: len(ids) - 1, Target: int64(n), NLL: 1}}}
						width := lm.Info().Width
						if everywhere {
							width *= len(ids)
						}
						row.Shift = modeltest.Randn(r, 0.1, width).Float32s()
						rows = append(rows, row)
					}
					problems = append(problems, rows)
				}
				losses := func(s *Searches, which ...int) [][]Loss {
					var rows [][]Row
					for _, p := range which {
						rows = append(rows, problems[p])
					}
					got, err := s.Losses(t.Context(), which, rows)
					modeltest.Must(t, err)
					return got
				}
				start := func() *Searches {
					s := NewSearches(lm, at, 1, func(p int) []Row { return problems[p] })
					t.Cleanup(func() { modeltest.Must(t, s.Close()) })
					return s
				}
				together := start()
				all, few := losses(together, 0, 1, 2, 3, 4, 5), losses(together, 1, 4)
				for p := range problems {
					want := losses(start(), p)[0]
					got := [][]Loss{all[p]}
					if k := slices.Index([]int{1, 4}, p); k >= 0 {
						got = append(got, few[k])
					}
					for _, rows := range got {
						for i := range rows {
							modeltest.Must(t, rows[i].Err)
							if rows[i].Loss != want[i].Loss || !slices.Equal(rows[i].Gradient, want[i].Gradient) {
								t.Errorf("problem %d row %d: loss %v and slopes off by %g, alone %v", p, i, rows[i].Loss, modeltest.MaxDiff(rows[i].Gradient, want[i].Gradient), want[i].Loss)
							}
						}
					}
				}
			})
		}
	}
}
