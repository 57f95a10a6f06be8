//go:build shared

package models

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// BenchmarkInstrumentation measures what slots, factors, promoted weights and
// taps cost on the world fixture, per run of B rows of 20 tokens.
func BenchmarkInstrumentation(b *testing.B) {
	dir, env := fixtures(b), orttest.Open(b)
	lm := openModel(b, env, filepath.Join(dir, "world"), Options{})
	ctx := context.Background()
	r := rand.New(rand.NewPCG(1, 1))
	for _, B := range []int{1, 8, 64} {
		patch := func(rank, layers int) *Patch {
			p := &Patch{}
			for l := range layers {
				w := lm.info.FFNs[l].Down
				p.Weights = append(p.Weights, Weight{At: w.ID, U: randn(r, 0.1, w.In, rank), V: randn(r, 0.1, rank, w.Out)})
			}
			return p
		}
		jobs := func(p func() *Patch) []*job {
			var js []*job
			for range B {
				q := randomQuery(lm, r, 18, 2)
				_, all, err := lm.joinAll(q)
				if err != nil {
					b.Fatal(err)
				}
				js = append(js, &job{joined: all[0], patch: p()})
			}
			return js
		}
		none := func() *Patch { return nil }
		same := patch(4, 1)
		w := lm.info.FFNs[0].Down
		dense := &Patch{Weights: []Weight{{At: w.ID, Delta: tensor.New(tensor.F32, w.In, w.Out)}}}
		for _, c := range []struct {
			name string
			jobs []*job
			only *Patch
			set  func(*variant)
		}{
			{"plain", jobs(none), nil, func(*variant) {}},
			{"down slots, nothing fed", jobs(none), nil, func(v *variant) { v.slots = downSlots }},
			{"all slots, nothing fed", jobs(none), nil, func(v *variant) { v.slots = allSlots }},
			{"rank 1 per row, one layer", jobs(func() *Patch { return patch(1, 1) }), nil, func(*variant) {}},
			{"rank 4 per row, all layers", jobs(func() *Patch { return patch(4, 5) }), nil, func(*variant) {}},
			{"rank 4 shared, one layer", jobs(func() *Patch { return same }), same, func(*variant) {}},
			{"dense, one layer", jobs(func() *Patch { return dense }), dense, func(*variant) {}},
			{"taps", jobs(none), nil, func(v *variant) { v.taps, v.top = true, lm.info.Layers }},
		} {
			b.Run(fmt.Sprintf("rows=%d/%s", B, c.name), func(b *testing.B) {
				for range b.N {
					in := lm.newInput(forward, c.jobs, c.only)
					c.set(&in.v)
					if in.v.taps {
						in.tapped = []int64{0}
					}
					for row, j := range c.jobs {
						in.want(row, j.fed()-1)
					}
					if _, err := in.run(ctx); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "us/run")
			})
		}
	}
}
