package models

import (
	"context"
	"slices"

	"editpipe/tensor"
)

// Sequences that begin alike share what they begin with, their stem, from this
// many tokens and sequences on. A short stem saves less than the run for it costs.
const (
	leastStem  = 16
	leastShare = 4
)

// stem is what sequences under one patch begin with, such as the demonstrations
// and the new fact before every question of an edit. Its keys and values are
// computed once.
type stem struct {
	ids  []int64
	jobs []*job
}

// stems finds the sequences that share a stem, and the rest in their order. It
// takes a decoder's graph that keeps keys and values apart from padding.
func (lm *LM) stems(jobs []*job) (found []stem, rest []*job) {
	if s := lm.anatomy.Step; lm.anatomy.Encoder != nil || s == nil || s.Ports.Mask == "" || s.Ports.Positions == "" || lm.maxRows() == 1 {
		return nil, jobs
	}
	order := map[*Patch]int{}
	for _, j := range jobs {
		if _, known := order[j.patch]; !known {
			order[j.patch] = len(order)
		}
	}
	sorted := slices.Clone(jobs)
	slices.SortStableFunc(sorted, func(a, b *job) int {
		if a.patch != b.patch {
			return order[a.patch] - order[b.patch]
		}
		return slices.Compare(a.ids, b.ids)
	})
	taken := map[*job]bool{}
	for lo := 0; lo < len(sorted); {
		first := sorted[lo]
		n, hi := first.stemmed(), lo+1
		for ; hi < len(sorted) && sorted[hi].patch == first.patch; hi++ {
			// A sequence that would cost the others a quarter of their stem has another.
			common := min(n, agreed(first.ids, sorted[hi].ids), sorted[hi].stemmed())
			if common < leastStem || hi > lo+1 && 4*common < 3*n {
				break
			}
			n = common
		}
		if hi-lo >= leastShare {
			found = append(found, stem{first.ids[:n], sorted[lo:hi]})
			for _, j := range sorted[lo:hi] {
				taken[j] = true
			}
		}
		lo = hi
	}
	return found, slices.DeleteFunc(slices.Clone(jobs), func(j *job) bool { return taken[j] })
}

// stemmed is how many of a job's first tokens may be computed apart: those before
// the first position whose logits are wanted.
func (j *job) stemmed() int { return j.positions()[0] }

// agreed is the number of tokens in which two sequences begin alike.
func agreed(a, b []int64) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// stalk is a run's worth of jobs with their stems.
type stalk struct {
	stems []stem
	jobs  []*job
	of    []int // the stem of each job
	only  *Patch
}

// stalks packs stems into runs, those of one patch together: as many as the
// memory budget takes and, with padding on both sides, the context.
func (lm *LM) stalks(stems []stem) []stalk {
	if len(stems) == 0 {
		return nil
	}
	c, most := lm.cost(step), lm.maxRows()
	var out []stalk
	var now stalk
	var before, behind, wanted int // the longest stem, the longest rest, and the logits of now
	for _, s := range stems {
		factors := lm.factorBytes(s.jobs[0].patch.ranks())
		for i, j := range s.jobs {
			p, q := max(before, len(s.ids)), max(behind, j.fed()-len(s.ids))
			P := wanted + len(j.positions())
			rows := len(now.jobs) + 1
			if rows > 1 && (rows > most || now.only != j.patch || c.bytes(rows, p+q, 0, P, factors) > lm.opts.MemoryBudget || lm.info.Context > 0 && p+q > lm.info.Context) {
				out = append(out, now)
				now, p, q, P = stalk{}, len(s.ids), j.fed()-len(s.ids), len(j.positions())
			}
			if i == 0 || len(now.jobs) == 0 {
				now.stems = append(now.stems, s)
			}
			now.jobs, now.of, now.only = append(now.jobs, j), append(now.of, len(now.stems)-1), j.patch
			before, behind, wanted = p, q, P
		}
	}
	if len(now.jobs) > 0 {
		out = append(out, now)
	}
	return out
}

// past is what stands in for the first positions of the rows of a run.
type past struct {
	values map[string]*tensor.Tensor // keys and values by input name, [B, ...]
	from   []int                     // how many tokens of each row it stands for
	length int                       // to which it is padded
}

// start is the first position of a row that is computed.
func (p *past) start(row int) int {
	if p == nil {
		return 0
	}
	return p.from[row]
}

// padded is the length of the past of every row.
func (p *past) padded() int {
	if p == nil {
		return 0
	}
	return p.length
}

// score computes the stems and scores the jobs behind them.
func (s stalk) score(ctx context.Context, lm *LM) error {
	heads := make([]*job, len(s.stems))
	for i, st := range s.stems {
		heads[i] = &job{joined: joined{ids: append(slices.Clone(st.ids), 0), first: len(st.ids)}, patch: s.only}
	}
	in := lm.newInput(step, heads, s.only)
	in.want(0, 0) // logits that nobody reads
	in.outputs = map[string]*tensor.Tensor{}
	for _, c := range lm.caches(step) {
		in.outputs[c.out] = nil
	}
	if _, err := in.run(ctx); err != nil {
		return err
	}
	p := &past{values: map[string]*tensor.Tensor{}, length: in.T}
	for _, c := range lm.caches(step) {
		p.values[c.in] = takeRows(in.outputs[c.out], s.of)
	}
	for _, i := range s.of {
		p.from = append(p.from, len(s.stems[i].ids))
	}
	rest := lm.newInput(step, s.jobs, s.only)
	rest.follow(p)
	if s.only != nil { // one patch, fed once
		rest.patches = in.patches
	}
	return rest.score(ctx)
}

// follow makes the rows begin behind a past.
func (in *input) follow(p *past) {
	in.past, in.T = p, 0
	for row, j := range in.jobs {
		in.T = max(in.T, j.fed()-p.start(row))
	}
}
