package models

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"editpipe/internal/tinylm"
	"editpipe/tensor"
)

func cpu() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(0, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func TestZZ(t *testing.T) {
	env := runtimeEnv(t)
	for _, c := range []tinylm.Config{{Family: tinylm.GPT2, Layers: 8, Width: 512, Heads: 8}, {Family: tinylm.LLaMA, Layers: 8, Width: 512, Heads: 8, FFN: 1408}} {
		lm := tiny(t, env, c, Options{Threads: 1})
		r := rand.New(rand.NewPCG(1, 1))
		for _, B := range []int{1, 8, 32} {
			patch := func(rank, layers int) *Patch {
				p := &Patch{}
				for l := range layers {
					w := lm.info.FFNs[l].Down
					p.Changes = append(p.Changes, LowRank{At: w.ID, U: randn(r, 0.1, w.In, rank), V: randn(r, 0.1, rank, w.Out)})
				}
				return p
			}
			jobs := func(p func() *Patch) []*job {
				var js []*job
				for range B {
					_, all, _ := lm.joinAll(randomQuery(lm, r, 18, 2))
					js = append(js, &job{joined: all[0], patch: p()})
				}
				return js
			}
			w := lm.info.FFNs[0].Down
			none := func() *Patch { return nil }
			dense := &Patch{Changes: []Change{Dense{At: w.ID, Delta: tensor.New(tensor.F32, w.In, w.Out)}}}
			type cs struct {
				name string
				jobs []*job
				only *Patch
				set  func(*variant)
				best time.Duration
			}
			cases := []*cs{
				{"plain", jobs(none), nil, func(v *variant) { v.slots = noSlots }, 0},
				{"down idle", jobs(none), nil, func(v *variant) {}, 0},
				{"all idle", jobs(none), nil, func(v *variant) { v.slots = allSlots }, 0},
				{"r1 row 1 layer", jobs(func() *Patch { return patch(1, 1) }), nil, func(*variant) {}, 0},
				{"r4 row all layers", jobs(func() *Patch { return patch(4, 8) }), nil, func(*variant) {}, 0},
				{"dense 1 layer", jobs(func() *Patch { return dense }), dense, func(*variant) {}, 0},
				{"taps", jobs(none), nil, func(v *variant) { v.taps = true }, 0},
			}
			for rep := range 12 {
				for _, k := range cases {
					start := cpu()
					n := 1 + 8/B
					for range n {
						in := lm.newInput(forward, k.jobs, k.only)
						k.set(&in.v)
						if in.v.taps {
							in.tapped = []int64{0}
						}
						for row, j := range k.jobs {
							in.want(row, j.fed()-1)
						}
						if _, err := in.run(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					d := (cpu() - start) / time.Duration(n)
					if rep > 0 && (k.best == 0 || d < k.best) {
						k.best = d
					}
				}
			}
			for _, k := range cases {
				fmt.Printf("%s B=%d %-20s %8.2fms  %.3f\n", c.Family, B, k.name, float64(k.best.Microseconds())/1000, float64(k.best)/float64(cases[0].best))
			}
		}
	}
}
