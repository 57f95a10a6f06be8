package models

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"editpipe/ask"
)

// patience bounds how long an asked question waits for wraps that are still
// busy. Wraps need milliseconds; only one that holds a lock others need while
// it asks takes longer.
const patience = time.Second

// gathering lets the wraps of many patches work at the same time and puts what
// they ask into common calls. An in-context method gives every edit a wrap of
// its own; one call per wrap would leave the runs nearly empty.
//
// A call is made once every wrap that has not answered yet waits for one, so
// which rows share it does not depend on the scheduler. A wrap may ask any
// number of times, also from several goroutines.
type gathering struct {
	core Scorer
	asks chan *request
	over chan struct{} // closed when every wrap has answered
}

// request is what one wrap asks at one time.
type request struct {
	member   int
	rows     []Row
	sampling *ask.Sampling // nil scores
	reply    chan reply    // holds one, so that replying never waits
}

type reply struct {
	answers []ask.Answer
	err     error
}

// gather runs one function per wrap, each with a scorer that asks through core,
// until all have returned. The first error ends the others.
func gather(ctx context.Context, core Scorer, wraps []func(context.Context, gathered) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	g := &gathering{core: core, asks: make(chan *request), over: make(chan struct{})}
	returned := make(chan int)
	var wg sync.WaitGroup
	for i, wrap := range wraps {
		wg.Go(func() {
			if err := wrap(ctx, gathered{g, i}); err != nil {
				cancel(err)
			}
			returned <- i
		})
	}
	g.serve(ctx, len(wraps), returned)
	wg.Wait()
	return context.Cause(ctx)
}

// serve collects requests and answers them until every wrap has returned.
func (g *gathering) serve(ctx context.Context, wraps int, returned <-chan int) {
	busy := map[int]bool{} // wraps that have neither returned nor asked
	for i := range wraps {
		busy[i] = true
	}
	gone := map[int]bool{}
	var waiting []*request
	stalled := time.NewTimer(patience)
	defer stalled.Stop()
	for len(gone) < wraps {
		select {
		case r := <-g.asks:
			waiting = append(waiting, r)
			delete(busy, r.member)
			stalled.Reset(patience)
		case i := <-returned:
			gone[i] = true
			delete(busy, i)
		case <-stalled.C:
			stalled.Reset(patience)
			if len(waiting) == 0 {
				continue
			}
			clear(busy)
		}
		if len(busy) > 0 || len(waiting) == 0 {
			continue
		}
		for _, r := range waiting {
			if !gone[r.member] { // it may have left a goroutine behind
				busy[r.member] = true
			}
		}
		g.answer(ctx, waiting)
		waiting = nil
		stalled.Reset(patience)
	}
	close(g.over)
	g.answer(ctx, waiting) // of goroutines that their wrap did not wait for
}

// answer makes one call for all requests of a kind and hands the answers out.
func (g *gathering) answer(ctx context.Context, list []*request) {
	slices.SortStableFunc(list, func(a, b *request) int { return cmp.Compare(a.member, b.member) })
	for len(list) > 0 {
		var same, others []*request
		var rows []Row
		for _, r := range list {
			if r.alike(list[0]) {
				same, rows = append(same, r), append(rows, r.rows...)
			} else {
				others = append(others, r)
			}
		}
		answers, err := list[0].put(ctx, g.core, rows)
		if err == nil && len(answers) != len(rows) {
			err = fmt.Errorf("models: %d answers to %d rows", len(answers), len(rows))
		}
		for _, r := range same {
			if err != nil {
				r.reply <- reply{err: err}
				continue
			}
			n := len(r.rows)
			r.reply <- reply{answers: answers[:n:n]}
			answers = answers[n:]
		}
		list = others
	}
}

// alike says whether two requests can share a call.
func (r *request) alike(s *request) bool {
	if r.sampling == nil || s.sampling == nil {
		return r.sampling == s.sampling
	}
	return r.sampling.MaxNew == s.sampling.MaxNew && slices.Equal(r.sampling.Stop, s.sampling.Stop)
}

// put asks rows in the way of the request.
func (r *request) put(ctx context.Context, s Scorer, rows []Row) ([]ask.Answer, error) {
	if r.sampling == nil {
		return s.Score(ctx, rows)
	}
	return s.Generate(ctx, rows, *r.sampling)
}

// gathered is the scorer of one wrap within a gathering.
type gathered struct {
	g      *gathering
	member int
}

func (m gathered) Score(ctx context.Context, rows []Row) ([]ask.Answer, error) {
	return m.ask(ctx, rows, nil)
}

func (m gathered) Generate(ctx context.Context, rows []Row, o ask.Sampling) ([]ask.Answer, error) {
	return m.ask(ctx, rows, &o)
}

func (m gathered) ask(ctx context.Context, rows []Row, o *ask.Sampling) ([]ask.Answer, error) {
	// The rows are copied: a caller that gives up may change its own.
	r := &request{member: m.member, rows: slices.Clone(rows), sampling: o, reply: make(chan reply, 1)}
	select {
	case m.g.asks <- r:
	case <-m.g.over: // a wrap that asks on after it has answered
		return r.put(ctx, m.g.core, rows)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case a := <-r.reply:
		return a.answers, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// within is the scorer that wraps are given: it asks together with others, and
// counts tokens and tokenises as the model does.
type within struct {
	*LM
	gathered
}

func (w within) Score(ctx context.Context, rows []Row) ([]ask.Answer, error) {
	return w.gathered.Score(ctx, rows)
}

func (w within) Generate(ctx context.Context, rows []Row, o ask.Sampling) ([]ask.Answer, error) {
	return w.gathered.Generate(ctx, rows, o)
}

// unwrap answers the rows whose patch has wraps through these, and returns the
// indices of the others. call asks a scorer in the way of the caller.
func (lm *LM) unwrap(ctx context.Context, rows []Row, answers []ask.Answer, call func(context.Context, Scorer, []Row) ([]ask.Answer, error)) (bare []int, err error) {
	var order []*Patch
	members := map[*Patch][]int{}
	for i, r := range rows {
		if r.Patch == nil || len(r.Patch.Wraps) == 0 {
			bare = append(bare, i)
			continue
		}
		if members[r.Patch] == nil {
			order = append(order, r.Patch)
		}
		members[r.Patch] = append(members[r.Patch], i)
	}
	if len(order) == 0 {
		return bare, nil
	}
	var wraps []func(context.Context, gathered) error
	for _, p := range order {
		last := len(p.Wraps) - 1
		wrap, inner := p.Wraps[last], *p
		inner.Wraps = p.Wraps[:last:last]
		inside := make([]Row, len(members[p]))
		for k, i := range members[p] {
			inside[k] = rows[i]
			inside[k].Patch = &inner
		}
		wraps = append(wraps, func(ctx context.Context, g gathered) error {
			got, err := call(ctx, wrap.Around(within{lm, g}), inside)
			if err != nil {
				return fmt.Errorf("models: asking through wrap %s: %w", wrap.Kind(), err)
			}
			if len(got) != len(inside) {
				return fmt.Errorf("models: wrap %s gave %d answers to %d rows", wrap.Kind(), len(got), len(inside))
			}
			for k, i := range members[p] {
				answers[i] = got[k]
			}
			return nil
		})
	}
	return bare, gather(ctx, lm, wraps)
}
