package models

import (
	"context"
	"fmt"
	"slices"

	"editpipe/ask"
)

// asked is one row on its way through Score.
type asked struct {
	row    int
	prompt int // tokens
	jobs   []*job
	kl     *comparison
}

// Score asks every row by teacher forcing. The result does not depend on the
// order or number of rows. An error is returned only when the runtime fails or
// ctx ends.
func (lm *LM) Score(ctx context.Context, rows []Row) ([]ask.Answer, error) {
	rows, faults, err := lm.route(ctx, rows, 0)
	if err != nil {
		return nil, err
	}
	answers := make([]ask.Answer, len(rows))
	w := lm.newWave()
	for i, r := range rows {
		err := faults[i]
		if err == nil {
			err = w.add(i, r)
		}
		if err != nil {
			answers[i] = ask.Answer{Err: err}
		}
		if w.held > lm.opts.MemoryBudget/2 {
			if err := w.run(ctx, answers); err != nil {
				return nil, err
			}
			w = lm.newWave()
		}
	}
	if err := w.run(ctx, answers); err != nil {
		return nil, err
	}
	return answers, nil
}

// wave is a set of rows that is planned and run together. Rows that want KL
// make the base model's distributions be held until they are compared, so the
// memory for these ends a wave.
type wave struct {
	lm    *LM
	rows  []asked
	jobs  []*job // in order of first use
	index map[*Patch]map[string]*job
	fits  map[*Patch]error
	held  int64
}

func (lm *LM) newWave() *wave {
	return &wave{lm: lm, index: map[*Patch]map[string]*job{}, fits: map[*Patch]error{}}
}

// add tokenises a row and files its sequences.
func (w *wave) add(i int, r Row) error {
	patch, err := w.admit(r.Patch)
	if err != nil {
		return err
	}
	prompt, all, err := w.lm.joinAll(r.Query)
	if err != nil {
		return err
	}
	a := asked{row: i, prompt: len(prompt)}
	var base joined
	if r.Versus != nil {
		vp, err := w.lm.promptIDs(*r.Versus)
		if err == nil {
			base, err = w.lm.join(*r.Versus, vp, 0)
		}
		if err == nil {
			base = w.lm.ended(base)
		}
		if err != nil {
			return fmt.Errorf("the question to compare with: %w", err)
		}
	}
	for _, j := range all {
		a.jobs = append(a.jobs, w.job(patch, w.lm.ended(j)))
	}
	if r.Versus != nil && slices.Equal(base.gold(), all[0].gold()) {
		a.kl = w.versus(a.jobs[0], w.job(nil, base))
	}
	w.rows = append(w.rows, a)
	return nil
}

// admit checks a patch against the model, once, and returns nil for one that
// changes nothing.
func (w *wave) admit(p *Patch) (*Patch, error) {
	if p.Binding() == BindNone {
		return nil, nil
	}
	if _, known := w.fits[p]; !known {
		w.fits[p] = w.lm.accepts(p)
	}
	return p, w.fits[p]
}

// job returns the job of a sequence under a patch, a new one if there is none.
func (w *wave) job(p *Patch, j joined) *job {
	if w.index[p] == nil {
		w.index[p] = map[string]*job{}
	}
	k := j.key()
	if w.index[p][k] == nil {
		w.index[p][k] = &job{joined: j, patch: p}
		w.jobs = append(w.jobs, w.index[p][k])
	}
	return w.index[p][k]
}

// versus makes j be compared with base.
func (w *wave) versus(j, base *job) *comparison {
	for _, c := range j.compare {
		if c.base == base {
			return c
		}
	}
	c := &comparison{base: base}
	if j == base {
		return c // a distribution does not diverge from itself
	}
	if !base.keep {
		base.keep = true
		w.held += 4 * int64(len(base.gold())) * int64(w.lm.info.Vocab)
	}
	j.compare = append(j.compare, c)
	return c
}

// run asks everything in the wave and fills the answers. Jobs that others are
// compared with go first.
func (w *wave) run(ctx context.Context, answers []ask.Answer) error {
	var bases, rest []*job
	for _, j := range w.jobs {
		if j.keep {
			bases = append(bases, j)
		} else {
			rest = append(rest, j)
		}
	}
	for _, jobs := range [][]*job{bases, rest} {
		stems, rest := w.lm.stems(share(jobs))
		var unshared []*job
		var failed error
		for _, s := range w.lm.stalks(stems) {
			if err := s.score(ctx, w.lm); err != nil {
				if ctx.Err() != nil {
					return err
				}
				unshared, failed = append(unshared, s.jobs...), err
			}
		}
		rest = append(rest, unshared...)
		var last *input // batches of one patch follow each other and share its factors
		for _, b := range w.lm.plan(rest, 0) {
			in := w.lm.newInput(forward, b.jobs, b.only)
			if last != nil && b.only != nil && last.only == b.only && last.v == in.v {
				in.patches = last.patches
			}
			if err := w.lm.scoreApart(ctx, in.score(ctx), b); err != nil {
				return err
			}
			last = in
		}
		// A row that fails either way is not the fault of sharing.
		if failed != nil && !slices.ContainsFunc(unshared, (*job).failed) {
			w.lm.abandon(sharedBeginnings, failed)
		}
	}
	for _, a := range w.rows {
		answers[a.row] = a.answer()
	}
	return nil
}

func (a asked) answer() ask.Answer {
	ans := ask.Answer{PromptTokens: a.prompt}
	for _, j := range a.jobs {
		if j.err != nil {
			return ask.Answer{PromptTokens: a.prompt, Err: j.err}
		}
		out := j.out
		out.BoundaryRepair = j.repaired
		ans.Targets = append(ans.Targets, out)
	}
	if a.kl != nil {
		if a.kl.base.err != nil {
			return ask.Answer{PromptTokens: a.prompt, Err: fmt.Errorf("the question to compare with: %w", a.kl.base.err)}
		}
		kl := a.kl.kl
		ans.KL = &kl
	}
	return ans
}

// score runs the target positions of the input's jobs and reduces their logits.
func (in *input) score(ctx context.Context) error {
	type part struct {
		job *job
		at  int // its first row of logits
	}
	var parts []part
	for row, host := range in.jobs {
		positions := host.positions()
		for _, j := range host.all() {
			i, _ := slices.BinarySearch(positions, j.first-1)
			parts = append(parts, part{j, len(in.wanted) + i})
		}
		for _, t := range positions {
			in.want(row, t)
		}
	}
	logits, err := in.run(ctx)
	if err != nil {
		return err
	}
	values, vocab := logits.Float32s(), in.lm.info.Vocab
	inParallel(len(parts), func(i int) {
		p := parts[i]
		p.job.reduce(values[p.at*vocab:(p.at+p.job.fed()-p.job.first+1)*vocab], vocab, in.lm.EOS())
	})
	return nil
}
