//go:build shared

package run

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"editpipe/internal/modeltest"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// BenchmarkInstrumentation measures what slots, factors, promoted weights and
// taps cost on the world fixture, per run of B rows of 20 tokens.
func BenchmarkInstrumentation(b *testing.B) {
	dir, env := modeltest.Fixtures(b), orttest.Open(b)
	lm := modeltest.Open(b, env, filepath.Join(dir, "world"), models.Options{})
	ctx := context.Background()
	r := rand.New(rand.NewPCG(1, 1))
	for _, B := range []int{1, 8, 64} {
		edit := func(rank, layers int) *patch.Patch {
			p := &patch.Patch{}
			for l := range layers {
				w := lm.Info().FFNs[l].Down
				p.Weights = append(p.Weights, patch.Weight{At: w.ID, U: modeltest.Randn(r, 0.1, w.In, rank), V: modeltest.Randn(r, 0.1, rank, w.Out)})
			}
			return p
		}
		questions := func(p func() *patch.Patch) []*Question {
			var qs []*Question
			for range B {
				q := modeltest.RandomQuery(lm, r, 18, 2)
				_, all, err := JoinAll(lm, q)
				if err != nil {
					b.Fatal(err)
				}
				qs = append(qs, &Question{Sequence: all[0].Sequence, Patch: p()})
			}
			return qs
		}
		none := func() *patch.Patch { return nil }
		same := edit(4, 1)
		w := lm.Info().FFNs[0].Down
		dense := &patch.Patch{Weights: []patch.Weight{{At: w.ID, Delta: tensor.New(tensor.F32, w.In, w.Out)}}}
		for _, c := range []struct {
			name      string
			questions []*Question
			only      *patch.Patch
			set       func(*graph.Spec)
		}{
			{"plain", questions(none), nil, func(*graph.Spec) {}},
			{"down slots, nothing fed", questions(none), nil, func(s *graph.Spec) { s.Take.Slots = graph.DownSlots }},
			{"all slots, nothing fed", questions(none), nil, func(s *graph.Spec) { s.Take.Slots = graph.AllSlots }},
			{"rank 1 per row, one layer", questions(func() *patch.Patch { return edit(1, 1) }), nil, func(*graph.Spec) {}},
			{"rank 4 per row, all layers", questions(func() *patch.Patch { return edit(4, 5) }), nil, func(*graph.Spec) {}},
			{"rank 4 shared, one layer", questions(func() *patch.Patch { return same }), same, func(*graph.Spec) {}},
			{"dense, one layer", questions(func() *patch.Patch { return dense }), dense, func(*graph.Spec) {}},
			{"taps", questions(none), nil, func(s *graph.Spec) { s.Give = graph.Taps{Top: lm.Info().Layers} }},
		} {
			b.Run(fmt.Sprintf("rows=%d/%s", B, c.name), func(b *testing.B) {
				for range b.N {
					run := New(lm, arch.Forward, c.questions, c.only)
					c.set(&run.Spec)
					if _, taps := run.Spec.Give.(graph.Taps); taps {
						run.Inputs[graph.TapRows] = tensor.FromInt64s([]int64{0}, 1)
						if err := run.Compute(ctx); err != nil {
							b.Fatal(err)
						}
						continue
					}
					for row, q := range c.questions {
						run.Want(row, q.Fed()-1)
					}
					if _, err := run.Logits(ctx); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "us/run")
			})
		}
	}
}
