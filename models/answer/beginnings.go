package answer

import (
	"cmp"
	"context"
	"slices"

	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/models/run"
)

// Sequences that begin alike share what they begin with from this many tokens and
// sequences on. A short beginning saves less than the run for it costs.
const (
	leastBeginning = 16
	leastShare     = 4
)

// mostCut is how many tokens of a beginning may be left to its rows, so that it
// shares a run with shorter ones.
const mostCut = 2

// sharedBeginnings is the shortcut of this file.
const sharedBeginnings models.Shortcut = "computing once what questions begin with"

// beginning is what sequences under one patch begin with, such as the demonstrations
// and the new fact before every question of an edit. Its keys and values are
// computed once.
type beginning struct {
	ids       []int64
	questions []*run.Question
}

// beginnings finds the sequences that share a beginning, and the rest in their
// order. It takes a decoder's graph with past keys and values. Attention that counts
// the keys of each row does not take several tokens of several rows behind a past.
func beginnings(lm *models.LM, questions []*run.Question) (found []beginning, rest []*run.Question) {
	if s := lm.Anatomy().Step; lm.Anatomy().Encoder != nil || s == nil || s.Ports.Lengths || run.MaxRows(lm) == 1 || lm.Without(sharedBeginnings) {
		return nil, questions
	}
	order := map[*patch.Patch]int{}
	for _, q := range questions {
		if _, known := order[q.Patch]; !known {
			order[q.Patch] = len(order)
		}
	}
	sorted := slices.Clone(questions)
	slices.SortStableFunc(sorted, func(a, b *run.Question) int {
		if a.Patch != b.Patch {
			return order[a.Patch] - order[b.Patch]
		}
		return slices.Compare(a.Tokens(), b.Tokens())
	})
	taken := map[*run.Question]bool{}
	for lo := 0; lo < len(sorted); {
		first := sorted[lo]
		n, hi := separable(first), lo+1
		for ; hi < len(sorted) && sorted[hi].Patch == first.Patch; hi++ {
			// A sequence that would cost the others a quarter of what they share has
			// another beginning.
			common := min(n, agreed(first.Tokens(), sorted[hi].Tokens()), separable(sorted[hi]))
			if common < leastBeginning || hi > lo+1 && 4*common < 3*n {
				break
			}
			n = common
		}
		if hi-lo >= leastShare {
			found = append(found, beginning{first.Tokens()[:n], sorted[lo:hi]})
			for _, q := range sorted[lo:hi] {
				taken[q] = true
			}
		}
		lo = hi
	}
	return found, slices.DeleteFunc(slices.Clone(questions), func(q *run.Question) bool { return taken[q] })
}

// separable is how many of a question's first tokens may be computed apart: those
// before the first position whose logits are wanted.
func separable(q *run.Question) int { return q.Positions()[0] }

// agreed is the number of tokens in which two sequences begin alike.
func agreed(a, b []int64) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// group is a run's worth of questions with their beginnings, all cut to the length
// of the shortest: so no padding stands between a beginning and what follows, which
// attention with a window would count as positions.
type group struct {
	beginnings []beginning
	questions  []*run.Question
	of         []int // the beginning of each question
	only       *patch.Patch
}

// length is that of the beginnings.
func (g group) length() int { return len(g.beginnings[0].ids) }

// groups packs beginnings into runs, those of one patch together and in order of
// their lengths: as many as the memory budget takes and differ little.
func groups(lm *models.LM, found []beginning) []group {
	if len(found) == 0 {
		return nil
	}
	order := map[*patch.Patch]int{}
	for i, b := range found {
		if p := b.questions[0].Patch; order[p] == 0 {
			order[p] = i + 1
		}
	}
	found = slices.Clone(found)
	slices.SortStableFunc(found, func(a, b beginning) int {
		return cmp.Or(order[a.questions[0].Patch]-order[b.questions[0].Patch], len(a.ids)-len(b.ids))
	})
	c, most := run.CostOf(lm, arch.Step), run.MaxRows(lm)
	var out []group
	var now group
	var behind, wanted int // the longest rest, and the logits of now
	for _, b := range found {
		factors := run.FactorBytes(lm, b.questions[0].Patch.Ranks())
		for i, q := range b.questions {
			cut := len(b.ids)
			if len(now.questions) > 0 {
				cut = now.length()
			}
			rest, P, rows := max(behind, q.Fed()-cut), wanted+len(q.Positions()), len(now.questions)+1
			if rows > 1 && (rows > most || now.only != q.Patch || len(b.ids)-cut > mostCut || c.Bytes(rows, cut+rest, 0, P, factors) > lm.Budget()) {
				out = append(out, now)
				now, rest, P = group{}, q.Fed()-len(b.ids), len(q.Positions())
			}
			if i == 0 || len(now.questions) == 0 {
				now.beginnings = append(now.beginnings, b)
			}
			now.questions, now.of, now.only = append(now.questions, q), append(now.of, len(now.beginnings)-1), q.Patch
			behind, wanted = rest, P
		}
	}
	if len(now.questions) > 0 {
		out = append(out, now)
	}
	return out
}

// scoreGroup computes the beginnings and scores the questions behind them.
func (s *scoring) scoreGroup(ctx context.Context, g group) error {
	heads := make([]*run.Question, len(g.beginnings))
	for i, b := range g.beginnings {
		heads[i] = &run.Question{Sequence: run.Sequence{Prompt: b.ids[:g.length()]}, Patch: g.only}
	}
	heading := run.New(s.lm, arch.Step, heads, g.only)
	p, err := heading.Remember(ctx)
	if err != nil {
		return err
	}
	rest := run.New(s.lm, arch.Step, g.questions, g.only)
	rest.Follow(p.Take(s.lm, g.of))
	if g.only != nil { // one patch, fed once
		rest.Patches = heading.Patches
	}
	return s.score(ctx, rest)
}
