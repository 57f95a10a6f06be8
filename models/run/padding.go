package run

import (
	"context"
	"math"
	"math/bits"
	"math/rand/v2"

	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
)

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

// TakesPadding says whether rows of unequal length may share a run behind cached
// keys and values, the shorter ones padded in front and masked there, of so many
// positions in all. Most graphs allow it; one that reads positions off the places
// in the cache, attends in blocks of them, or takes lengths in place of the mask
// does not. No file says which it is, so it is tried: a row alone and without a
// cache against the same row beside a longer one. What shows only with more
// positions than were tried is tried again when there are as many.
//
// The trial runs in the session of take and lanes, which the caller needs anyway.
func TakesPadding(ctx context.Context, lm *models.LM, take graph.Take, lanes, positions int) bool {
	if p := lm.Anatomy().Step.Ports; p.Mask == "" || p.Lengths || MaxRows(lm) == 1 {
		return false
	}
	n := max(leastTrial, 1<<bits.Len(uint(positions-1)))
	if c := lm.Context(); c > 0 {
		n = min(n, c)
	}
	return lm.TryPadding(n, func() (alike, settled bool) {
		if n < leastTrial || CostOf(lm, arch.Step).Bytes(3, n, 0, 2, 0) > lm.Budget() {
			return false, false
		}
		alike, err := tryPadding(ctx, lm, take, lanes, n)
		return err == nil && alike, ctx.Err() == nil // a graph that refuses such a run fails as well
	})
}

// tryPadding compares the logits behind two rows, of half as many positions as n and
// of a few, two tokens behind their pasts beside a row of n, with those of the rows
// alone. The first shows what is cut off or told apart by places; the second what
// comes with the number of places.
func tryPadding(ctx context.Context, lm *models.LM, take graph.Take, lanes, n int) (alike bool, err error) {
	const behind, few = 2, 3
	r := rand.New(rand.NewPCG(trialSeed, uint64(n)))
	var whole, heads []*Question
	for _, m := range []int{n - behind, (n - behind) / 2, few} {
		if len(heads) > 0 && (n-behind-m)%2 == 0 {
			m-- // blocks have even sizes, so padding of an odd one shifts them
		}
		ids := make([]int64, m+behind)
		for i := range ids {
			ids[i] = r.Int64N(int64(lm.Info().Vocab))
		}
		whole = append(whole, &Question{Sequence: Sequence{Prompt: ids}})
		heads = append(heads, &Question{Sequence: Sequence{Prompt: ids[:m]}})
	}
	step := func(questions ...*Question) *Run {
		r := New(lm, arch.Step, questions, nil)
		r.Spec.Take, r.Lanes = take, lanes
		return r
	}
	before, err := step(heads...).Remember(ctx)
	if err != nil {
		return false, err
	}
	beside := step(whole...)
	beside.Follow(before)
	var want []float32
	for row, q := range whole[1:] {
		beside.Want(row+1, q.Fed()-1)
		alone := step(q)
		alone.Want(0, q.Fed()-1)
		logits, err := alone.Logits(ctx)
		if err != nil {
			return false, err
		}
		want = append(want, logits.Float32s()...)
	}
	logits, err := beside.Logits(ctx)
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
	if lm.Info().DType == "float32" && lm.Provider().Name == "cpu" {
		tolerance = trialTolerance
	}
	return worst <= tolerance*largest, nil
}
