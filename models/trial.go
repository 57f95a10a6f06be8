package models

import (
	"context"
	"math"
	"math/bits"
	"math/rand/v2"
	"sync"
)

// trial is what is known of how a graph with past treats padding in front of the
// past of a row.
type trial struct {
	sync.Mutex
	passed int // with up to so many positions it makes no difference
	failed int // with so many it does; 0 if none was found
}

const (
	leastTrial = 16 // positions
	trialSeed  = 1
	// Parts of the largest logit that two ways of computing one differ by: by the
	// order of additions in float32, by that and rounding in what is narrower or
	// comes from another provider's kernels. Positions or keys that are taken for
	// others move logits by far more.
	trialTolerance       = 1e-4
	narrowTrialTolerance = 2e-2
)

// keepsApart says whether rows of unequal length may share a run behind cached
// keys and values, the shorter ones padded in front and masked there, of so many
// positions in all. Most graphs allow it; one that reads positions off the places
// in the cache, attends in blocks of them, or takes lengths in place of the mask
// does not. No file says which it is, so it is tried: a row alone and without a
// cache against the same row beside a longer one. What shows only with more
// positions than were tried is tried again when there are as many. The trial runs in
// the session of v, one of the graph with past that the caller needs anyway.
func (lm *LM) keepsApart(ctx context.Context, v variant, positions int) bool {
	if p := lm.anatomy.Step.Ports; p.Mask == "" || p.Lengths || lm.maxRows() == 1 {
		return false
	}
	n := max(leastTrial, 1<<bits.Len(uint(positions-1)))
	if c := lm.info.Context; c > 0 {
		n = min(n, c)
	}
	t := &lm.trial
	t.Lock()
	defer t.Unlock()
	switch {
	case n <= t.passed:
		return true
	case t.failed > 0 && n >= t.failed || n < leastTrial:
		return false
	case lm.cost(step).bytes(3, n, 0, 2, 0) > lm.opts.MemoryBudget:
		return false
	}
	alike, err := lm.tryApart(ctx, v, n)
	switch {
	case err == nil && alike:
		t.passed = n
		return true
	case ctx.Err() == nil:
		t.failed = n // a graph that refuses such a run as well
	}
	return false
}

// tryApart compares the logits behind two rows, of half as many positions as n and
// of a few, two tokens behind their pasts beside a row of n, with those of the rows
// alone. The first shows what is cut off or told apart by places; the second what
// comes with the number of places.
func (lm *LM) tryApart(ctx context.Context, v variant, n int) (alike bool, err error) {
	const behind, few = 2, 3
	r := rand.New(rand.NewPCG(trialSeed, uint64(n)))
	var whole, heads []*job
	for _, m := range []int{n - behind, (n - behind) / 2, few} {
		if len(heads) > 0 && (n-behind-m)%2 == 0 {
			m-- // blocks have even sizes, so padding of an odd one shifts them
		}
		ids := make([]int64, m+behind+1) // the last is never fed
		for i := range ids {
			ids[i] = r.Int64N(int64(lm.info.Vocab))
		}
		whole = append(whole, &job{joined: joined{ids: ids, first: len(ids) - 1}})
		heads = append(heads, &job{joined: joined{ids: ids[:m+1], first: m}})
	}
	run := func(jobs ...*job) *input {
		in := lm.newInput(step, jobs, nil)
		in.v = v
		return in
	}
	before, err := run(heads...).remember(ctx)
	if err != nil {
		return false, err
	}
	beside := run(whole...)
	beside.follow(before)
	var want []float32
	for row, j := range whole[1:] {
		beside.want(row+1, j.fed()-1)
		alone := run(j)
		alone.want(0, j.fed()-1)
		logits, err := alone.run(ctx)
		if err != nil {
			return false, err
		}
		want = append(want, logits.Float32s()...)
	}
	logits, err := beside.run(ctx)
	if err != nil {
		return false, err
	}
	var worst, largest float64
	for i, x := range logits.Float32s() {
		if math.IsNaN(float64(x)) {
			return false, nil
		}
		worst = max(worst, math.Abs(float64(x)-float64(want[i])))
		largest = max(largest, math.Abs(float64(want[i])))
	}
	tolerance := narrowTrialTolerance
	if lm.info.DType == "float32" && lm.opts.Provider.Name == "cpu" {
		tolerance = trialTolerance
	}
	return worst <= tolerance*largest, nil
}
