package models

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"editpipe/tensor"
)

// compositions asks a model in many random ways, each time several rows together:
// by Score, of which some share beginnings of unequal lengths, and token by token
// as Generate does, while rows leave. Every answer is compared with that of the
// row alone, uncached. The result is the largest difference of a log-probability,
// in nats, and how often each saving was made.
func compositions(t *testing.T, lm *LM, r *rand.Rand, n int) (worst float64, saved map[string]int) {
	t.Helper()
	saved = map[string]int{}
	context := lm.Context()
	if context == 0 {
		context = 64
	}
	for range n {
		if r.IntN(2) == 0 {
			rows := composedRows(lm, r, context)
			w := lm.newWave()
			for i, row := range rows {
				must(t, w.add(i, row))
			}
			if found, _ := lm.stems(share(w.jobs)); len(found) > 1 {
				saved["stems"]++
			}
			answers := score(t, lm, rows...)
			for i, row := range rows {
				must(t, answers[i].Err)
				for k, c := range answers[i].Targets {
					want := distributions(t, lm, row.Query.PromptIDs, row.Query.TargetIDs[k], row.Patch)
					for p, id := range c.IDs {
						worst = max(worst, math.Abs(c.LogProbs[p]-want[p][id]))
					}
				}
			}
		} else {
			worst = max(worst, decodeTogether(t, lm, r, context, saved))
		}
	}
	return worst, saved
}

// composedRows are some questions on their own and, mostly, some behind common
// beginnings of different lengths.
func composedRows(lm *LM, r *rand.Rand, context int) []Row {
	patches := []*Patch{nil, nil, randomPatch(lm, r, 0.3)}
	var rows []Row
	for range r.IntN(4) {
		rows = append(rows, Row{Query: randomQuery(lm, r, 1+r.IntN(context-8), 1+r.IntN(4)), Patch: patches[r.IntN(3)]})
	}
	for range r.IntN(4) {
		before, p := randomQuery(lm, r, leastStem+r.IntN(context-leastStem-16), 1).PromptIDs, patches[r.IntN(3)]
		for range leastShare + r.IntN(3) {
			q := randomQuery(lm, r, 1+r.IntN(8), 1+r.IntN(4))
			q.PromptIDs = slices.Concat(before, q.PromptIDs)
			rows = append(rows, Row{Query: q, Patch: p})
		}
	}
	r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	return rows
}

// decodeTogether continues prompts of random lengths by random tokens, in the runs
// of Generate, and compares the distributions behind each.
func decodeTogether(t *testing.T, lm *LM, r *rand.Rand, context int, saved map[string]int) (worst float64) {
	t.Helper()
	steps := 2 + r.IntN(6)
	patch := randomPatch(lm, r, 0.3)
	var b batch
	for range 1 + r.IntN(5) {
		ids := randomQuery(lm, r, 1+r.IntN(context-steps-1), 1).PromptIDs
		j := &job{joined: joined{ids: append(ids, 0), first: len(ids)}}
		if r.IntN(3) == 0 {
			j.patch = patch
		}
		b.jobs = append(b.jobs, j)
	}
	for _, part := range lm.aligned(t.Context(), b, steps) {
		d := &decoding{lm: lm, cached: lm.anatomy.Step != nil, v: map[role]variant{}, patches: map[role]map[string]*tensor.Tensor{}}
		jobs := slices.Clone(part.jobs)
		for range steps {
			logits, err := d.next(t.Context(), jobs)
			must(t, err)
			if d.past != nil && slices.Min(d.past.from) != slices.Max(d.past.from) {
				saved["uneven"]++
			}
			for i, j := range jobs {
				got := logSoftmax(logits.Float32s()[i*lm.info.Vocab : (i+1)*lm.info.Vocab])
				want := distributions(t, lm, j.ids[:j.fed()], []int64{0}, j.patch)[0]
				worst = max(worst, maxDiff64(got, want))
				j.ids[j.fed()] = r.Int64N(int64(lm.info.Vocab))
				j.ids = append(j.ids, 0)
			}
			if len(jobs) > 1 && r.IntN(3) == 0 {
				leaves := r.IntN(len(jobs))
				var keep []int
				for i := range jobs {
					if i != leaves {
						keep = append(keep, i)
					}
				}
				d.keep(keep)
				jobs = slices.Delete(jobs, leaves, leaves+1)
			}
		}
	}
	return worst
}

// distributions are log-probabilities at a target's positions behind a prompt, of
// one sequence in an uncached run of its own.
func distributions(t *testing.T, lm *LM, prompt, target []int64, p *Patch) [][]float64 {
	t.Helper()
	j := &job{joined: joined{ids: slices.Concat(prompt, target), first: len(prompt)}, patch: p}
	in := lm.newInput(forward, []*job{j}, p)
	for at := range target {
		in.want(0, j.first-1+at)
	}
	logits, err := in.run(t.Context())
	must(t, err)
	out := make([][]float64, len(target))
	for at := range target {
		out[at] = logSoftmax(logits.Float32s()[at*lm.info.Vocab : (at+1)*lm.info.Vocab])
	}
	return out
}

func logSoftmax(logits []float32) []float64 {
	top, sum := math.Inf(-1), 0.0
	for _, x := range logits {
		top = max(top, float64(x))
	}
	for _, x := range logits {
		sum += math.Exp(float64(x) - top)
	}
	out := make([]float64, len(logits))
	for i, x := range logits {
		out[i] = float64(x) - top - math.Log(sum)
	}
	return out
}
