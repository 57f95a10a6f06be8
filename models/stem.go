package models

import (
	"cmp"
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

// mostCut is how many tokens of a stem may be left to its rows, so that it shares
// a run with shorter ones.
const mostCut = 2

// stem is what sequences under one patch begin with, such as the demonstrations
// and the new fact before every question of an edit. Its keys and values are
// computed once.
type stem struct {
	ids  []int64
	jobs []*job
}

// stems finds the sequences that share a stem, and the rest in their order. It
// takes a decoder's graph with past keys and values. Attention that counts the
// keys of each row does not take several tokens of several rows behind a past.
func (lm *LM) stems(jobs []*job) (found []stem, rest []*job) {
	if s := lm.anatomy.Step; lm.anatomy.Encoder != nil || s == nil || s.Ports.Lengths || lm.maxRows() == 1 || lm.without(sharedBeginnings) {
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

// stalk is a run's worth of jobs with their stems, all cut to the length of the
// shortest: so no padding stands between a stem and what follows, which attention
// with a window would count as positions.
type stalk struct {
	stems []stem
	jobs  []*job
	of    []int // the stem of each job
	only  *Patch
}

// length is that of the stems.
func (s stalk) length() int { return len(s.stems[0].ids) }

// stalks packs stems into runs, those of one patch together and in order of
// their lengths: as many as the memory budget takes and differ little.
func (lm *LM) stalks(stems []stem) []stalk {
	if len(stems) == 0 {
		return nil
	}
	order := map[*Patch]int{}
	for i, s := range stems {
		if p := s.jobs[0].patch; order[p] == 0 {
			order[p] = i + 1
		}
	}
	stems = slices.Clone(stems)
	slices.SortStableFunc(stems, func(a, b stem) int {
		return cmp.Or(order[a.jobs[0].patch]-order[b.jobs[0].patch], len(a.ids)-len(b.ids))
	})
	c, most := lm.cost(step), lm.maxRows()
	var out []stalk
	var now stalk
	var behind, wanted int // the longest rest, and the logits of now
	for _, s := range stems {
		factors := lm.factorBytes(s.jobs[0].patch.ranks())
		for i, j := range s.jobs {
			cut := len(s.ids)
			if len(now.jobs) > 0 {
				cut = now.length()
			}
			q, P, rows := max(behind, j.fed()-cut), wanted+len(j.positions()), len(now.jobs)+1
			if rows > 1 && (rows > most || now.only != j.patch || len(s.ids)-cut > mostCut || c.bytes(rows, cut+q, 0, P, factors) > lm.opts.MemoryBudget) {
				out = append(out, now)
				now, q, P = stalk{}, j.fed()-len(s.ids), len(j.positions())
			}
			if i == 0 || len(now.jobs) == 0 {
				now.stems = append(now.stems, s)
			}
			now.jobs, now.of, now.only = append(now.jobs, j), append(now.of, len(now.stems)-1), j.patch
			behind, wanted = q, P
		}
	}
	if len(now.jobs) > 0 {
		out = append(out, now)
	}
	return out
}

// score computes the stems and scores the jobs behind them.
func (s stalk) score(ctx context.Context, lm *LM) error {
	n, heads := s.length(), make([]*job, len(s.stems))
	for i, st := range s.stems {
		heads[i] = &job{joined: joined{ids: append(slices.Clone(st.ids[:n]), 0), first: n}, patch: s.only}
	}
	in := lm.newInput(step, heads, s.only)
	p, err := in.remember(ctx)
	if err != nil {
		return err
	}
	rest := lm.newInput(step, s.jobs, s.only)
	rest.follow(p.take(lm, s.of))
	if s.only != nil { // one patch, fed once
		rest.patches = in.patches
	}
	return rest.score(ctx)
}

// remember runs the decoder on the input's jobs for the keys and values of their
// tokens.
func (in *input) remember(ctx context.Context) (*past, error) {
	in.want(0, 0) // logits that nobody reads
	in.outputs = map[string]*tensor.Tensor{}
	for _, c := range in.lm.caches(in.v.role) {
		in.outputs[c.out] = nil
	}
	if _, err := in.run(ctx); err != nil {
		return nil, err
	}
	lengths := make([]int, len(in.jobs))
	for b, j := range in.jobs {
		lengths[b] = j.fed()
	}
	return in.lm.settled(in.v.role, in.outputs, lengths, in.T), nil
}

// follow makes the rows begin behind a past.
func (in *input) follow(p *past) {
	in.past, in.T = p, 0
	for row, j := range in.jobs {
		in.T = max(in.T, j.fed()-p.start(row))
	}
}
