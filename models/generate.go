package models

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"editpipe/ask"
	"editpipe/tensor"
)

// continuation is one distinct prompt under one patch while it is continued.
// The job's ids are the prompt, the tokens found so far and one place for the
// token to come.
type continuation struct {
	job     *job
	prompt  int // tokens of the decoder's prompt
	text    string
	ids     []int64 // what Answer.TextIDs will hold
	stopped string
}

func (c *continuation) found() []int64 { return c.job.ids[c.prompt : len(c.job.ids)-1] }

// Generate continues the prompts greedily. It keeps keys and values of earlier
// positions where the folder has a graph that takes them, and re-runs the whole
// sequence for every token where it has none; the tokens are the same. Rows
// that have finished leave the run.
func (lm *LM) Generate(ctx context.Context, rows []Row, o ask.Sampling) ([]ask.Answer, error) {
	if o.MaxNew <= 0 {
		return nil, errors.New("models: generating: MaxNew must be positive")
	}
	rows, faults, err := lm.route(ctx, rows, o.MaxNew)
	if err != nil {
		return nil, err
	}
	answers := make([]ask.Answer, len(rows))
	w := lm.newWave()
	byJob := map[*job]*continuation{}
	of := map[int]*continuation{}
	prompts := map[int]int{}
	for i, r := range rows {
		if faults[i] != nil {
			answers[i] = ask.Answer{Err: faults[i]}
			continue
		}
		j, n, err := w.open(r)
		if err != nil {
			answers[i] = ask.Answer{Err: err}
			continue
		}
		if byJob[j] == nil {
			byJob[j] = &continuation{job: j, prompt: j.first}
		}
		of[i], prompts[i] = byJob[j], n
	}
	for _, b := range lm.plan(w.jobs, o.MaxNew) {
		for _, part := range lm.aligned(ctx, b, o.MaxNew) {
			active := make([]*continuation, len(part.jobs))
			for k, j := range part.jobs {
				active[k] = byJob[j]
			}
			again := func(b batch, active []*continuation) error { return lm.continueBatch(ctx, b, active, o) }
			if err := lm.continueApart(ctx, again(part, active), part, active, again); err != nil {
				return nil, err
			}
		}
	}
	for i, c := range of {
		a := ask.Answer{PromptTokens: prompts[i]}
		if a.Err = c.job.err; a.Err == nil {
			a.Text, a.TextIDs, a.StoppedBy = c.text, c.ids, c.stopped
		}
		answers[i] = a
	}
	return answers, nil
}

// open files the sequence of a row that is to be continued, and counts the
// tokens of its prompt.
func (w *wave) open(r Row) (*job, int, error) {
	patch, err := w.admit(r.Patch)
	if err != nil {
		return nil, 0, err
	}
	prompt, err := w.lm.promptIDs(r.Query)
	if err != nil {
		return nil, 0, err
	}
	var j joined
	ids := prompt
	if w.lm.anatomy.Encoder != nil {
		j.encoder, ids = prompt, []int64{*w.lm.anatomy.Config.DecoderStart}
	}
	for _, n := range []int{len(ids), len(j.encoder)} {
		if err := w.lm.fits(n, 1); err != nil {
			return nil, 0, err
		}
	}
	j.ids, j.first = append(slices.Clone(ids), 0), len(ids)
	return w.job(patch, j), len(prompt), nil
}

// aligned splits a batch into parts of equal length where rows of the cached graph
// must not be padded.
func (lm *LM) aligned(ctx context.Context, b batch, more int) []batch {
	if lm.anatomy.Encoder != nil || lm.anatomy.Step == nil {
		return []batch{b}
	}
	var parts []batch
	at, longest := map[int]int{}, 0
	for _, j := range b.jobs {
		i, ok := at[j.fed()]
		if !ok {
			i = len(parts)
			at[j.fed()] = i
			parts = append(parts, batch{only: b.only})
		}
		parts[i].jobs = append(parts[i].jobs, j)
		longest = max(longest, j.fed())
	}
	if len(parts) > 1 && lm.keepsApart(ctx, lm.newVariant(step, nil, nil), longest+more) {
		return []batch{b}
	}
	return parts
}

// continueBatch generates for one batch until every row has stopped.
func (lm *LM) continueBatch(ctx context.Context, b batch, active []*continuation, o ask.Sampling) error {
	d := &decoding{
		lm: lm, only: b.only, cached: lm.anatomy.Step != nil && !lm.without(cachedGeneration),
		v: map[role]variant{}, patches: map[role]map[string]*tensor.Tensor{},
	}
	for len(active) > 0 {
		jobs := make([]*job, len(active))
		for i, c := range active {
			jobs[i] = c.job
		}
		logits, err := d.next(ctx, jobs)
		if failed := err; err != nil && d.cached && ctx.Err() == nil {
			d.cached, d.past = false, nil
			if logits, err = d.next(ctx, jobs); err == nil {
				lm.abandon(cachedGeneration, failed)
			}
		}
		if err != nil {
			return err
		}
		values, vocab := logits.Float32s(), lm.info.Vocab
		var keep []int
		var left []*continuation
		for i, c := range active {
			if more, err := lm.advance(c, values[i*vocab:(i+1)*vocab], o); err != nil {
				c.job.err = err
			} else if more {
				keep, left = append(keep, i), append(left, c)
			}
		}
		if len(left) < len(active) {
			d.keep(keep)
		}
		active = left
	}
	return nil
}

// advance appends the most probable token, and says whether to go on.
func (lm *LM) advance(c *continuation, logits []float32, o ask.Sampling) (more bool, err error) {
	p := scan(logits, 0)
	if !p.finite {
		c.job.err = fmt.Errorf("%w: at generated token %d", ask.ErrNotFinite, len(c.found()))
		return false, nil
	}
	if slices.Contains(lm.anatomy.Config.EOS, int64(p.best)) {
		c.stopped = "eos"
		return false, lm.finish(c, -1)
	}
	ids := c.job.ids
	ids[len(ids)-1] = int64(p.best)
	c.job.ids = append(ids, 0)
	if lm.tok != nil && len(o.Stop) > 0 {
		text, err := lm.tok.Decode(c.found(), true)
		if err != nil {
			return false, fmt.Errorf("models: decoding generated tokens: %w", err)
		}
		cut, by := len(text), ""
		for _, s := range o.Stop {
			if i := strings.Index(text, s); s != "" && i >= 0 && i < cut {
				cut, by = i, s
			}
		}
		if by != "" {
			c.stopped = "stop"
			if by == "\n" {
				c.stopped = "newline"
			}
			return false, lm.finish(c, cut)
		}
	}
	if len(c.found()) >= o.MaxNew || lm.fits(c.job.fed(), 1) != nil {
		c.stopped = "length"
		return false, lm.finish(c, -1)
	}
	return true, nil
}

// finish sets the text, cut at a byte offset unless that is negative, and the
// shortest run of tokens that covers it.
func (lm *LM) finish(c *continuation, cut int) error {
	c.ids = slices.Clone(c.found())
	if lm.tok == nil {
		return nil
	}
	text, err := lm.tok.Decode(c.ids, true)
	if err != nil {
		return fmt.Errorf("models: decoding generated tokens: %w", err)
	}
	c.text = text
	if cut < 0 {
		return nil
	}
	c.text = text[:cut]
	for n := range c.ids {
		head, err := lm.tok.Decode(c.ids[:n], true)
		if err != nil {
			return fmt.Errorf("models: decoding generated tokens: %w", err)
		}
		if len(head) >= cut {
			c.ids = c.ids[:n]
			break
		}
	}
	return nil
}

// decoding is the state of a batch between two tokens.
type decoding struct {
	lm     *LM
	only   *Patch
	cached bool

	v       map[role]variant                   // fixed by the first run: rows that leave must not change the session
	patches map[role]map[string]*tensor.Tensor // inputs that carry the patches; empty after rows have left
	encoded *encoding
	past    *past // of all tokens but the newest; nil before the first token
}

// variant is the graph that the batch runs in a role, and its inputs that carry
// the patches.
func (d *decoding) variant(r role, jobs []*job) (variant, map[string]*tensor.Tensor, error) {
	v, known := d.v[r]
	if !known {
		v = d.lm.newVariant(r, jobs, d.only)
		d.v[r] = v
	}
	if d.patches[r] == nil {
		feeds, err := d.lm.patchFeeds(v, jobs, d.only)
		if err != nil {
			return v, nil, err
		}
		d.patches[r] = feeds
	}
	return v, d.patches[r], nil
}

// next returns the logits behind the last known token of every job, [B, V].
func (d *decoding) next(ctx context.Context, jobs []*job) (*tensor.Tensor, error) {
	// Padding of shorter prompts takes room in the cache. Where that room is
	// used up the cache is built anew: the longest row itself still fits.
	if c := d.lm.info.Context; d.past != nil && c > 0 && d.past.length >= c {
		d.past = nil
	}
	// A decoder's graph with past computes the prompt as well, behind a past of
	// length 0. Behind an encoder it cannot: it takes the encoder's keys and
	// values, which the other graph computes.
	r := forward
	if d.past != nil || d.cached && d.lm.anatomy.Encoder == nil {
		r = step
	}
	in := d.lm.newInput(r, jobs, d.only)
	var err error
	if in.v, in.patches, err = d.variant(r, jobs); err != nil {
		return nil, err
	}
	in.encoded = d.encoded
	if d.past != nil {
		in.follow(d.past)
	}
	for row, j := range jobs {
		in.want(row, j.fed()-1)
	}
	if d.cached {
		in.outputs = map[string]*tensor.Tensor{}
		for _, c := range d.lm.caches(r) {
			in.outputs[c.out] = nil
		}
	}
	logits, err := in.run(ctx)
	if err != nil {
		return nil, err
	}
	d.encoded = in.encoded
	switch {
	case d.past != nil:
		d.past.extend(d.lm.caches(r), in.outputs)
	case d.cached:
		lengths := make([]int, len(jobs))
		for b, j := range jobs {
			lengths[b] = j.fed()
		}
		d.past = d.lm.settled(r, in.outputs, lengths, in.T)
	}
	return logits, nil
}

// keep drops the rows that are not listed.
func (d *decoding) keep(rows []int) {
	if d.only == nil {
		clear(d.patches)
	}
	if e := d.encoded; e != nil {
		d.encoded = &encoding{states: takeRows(e.states, 0, rows), mask: takeRows(e.mask, 0, rows)}
	}
	if d.past != nil {
		d.past = d.past.take(d.lm, rows)
	}
}
