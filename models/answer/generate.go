package answer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"editpipe/ask"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
	"editpipe/models/run"
	"editpipe/tensor"
)

// cachedGeneration is the shortcut of this file.
const cachedGeneration models.Shortcut = "generating with cached keys and values"

// continuation is one distinct prompt under one patch while it is continued. The
// tokens found so far stand behind the question's prompt.
type continuation struct {
	question *run.Question
	prompt   int // tokens of the decoder's prompt
	text     string
	ids      []int64 // what Answer.TextIDs will hold
	stopped  string
	err      error
}

func (c *continuation) found() []int64 { return c.question.Prompt[c.prompt:] }

// Generate continues the prompts greedily. It keeps keys and values of earlier
// positions where the folder has a graph that takes them, and re-runs the whole
// sequence for every token where it has none; the tokens are the same. Rows
// that have finished leave the run.
func Generate(ctx context.Context, lm *models.LM, rows []Row, o ask.Sampling) ([]ask.Answer, error) {
	if o.MaxNew <= 0 {
		return nil, errors.New("models: generating: MaxNew must be positive")
	}
	rows, faults, err := route(ctx, lm, rows, o.MaxNew)
	if err != nil {
		return nil, err
	}
	answers := make([]ask.Answer, len(rows))
	in := run.NewIntake(lm)
	byQuestion := map[*run.Question]*continuation{}
	of := map[int]*continuation{}
	prompts := map[int]int{}
	for i, r := range rows {
		if faults[i] != nil {
			answers[i] = ask.Answer{Err: faults[i]}
			continue
		}
		q, n, err := toContinue(lm, in, r)
		if err != nil {
			answers[i] = ask.Answer{Err: err}
			continue
		}
		if byQuestion[q] == nil {
			byQuestion[q] = &continuation{question: q, prompt: len(q.Prompt)}
		}
		of[i], prompts[i] = byQuestion[q], n
	}
	for _, b := range run.Plan(lm, in.Questions, o.MaxNew) {
		for _, part := range aligned(ctx, lm, b, o.MaxNew) {
			active := make([]*continuation, len(part.Questions))
			for k, q := range part.Questions {
				active[k] = byQuestion[q]
			}
			again := func(b run.Batch, active []*continuation) error { return continueBatch(ctx, lm, b, active, o) }
			if err := continueAlone(ctx, lm, again(part, active), part, active, again); err != nil {
				return nil, err
			}
		}
	}
	for i, c := range of {
		a := ask.Answer{PromptTokens: prompts[i]}
		if a.Err = c.err; a.Err == nil {
			a.Text, a.TextIDs, a.StoppedBy = c.text, c.ids, c.stopped
		}
		answers[i] = a
	}
	return answers, nil
}

// toContinue files the sequence of a row that is to be continued, and counts the
// tokens of its prompt.
func toContinue(lm *models.LM, in *run.Intake, r Row) (*run.Question, int, error) {
	p, err := in.Admit(r.Patch)
	if err != nil {
		return nil, 0, err
	}
	prompt, err := run.PromptIDs(lm, r.Query)
	if err != nil {
		return nil, 0, err
	}
	s := run.Unanswered(lm, prompt)
	for _, n := range []int{len(s.Prompt), len(s.Encoder)} {
		if err := run.Within(lm, n, 1); err != nil {
			return nil, 0, err
		}
	}
	s.Prompt = slices.Clone(s.Prompt) // it grows
	return in.File(p, s), len(prompt), nil
}

// aligned splits a batch into parts of equal length where rows of the cached graph
// must not be padded.
func aligned(ctx context.Context, lm *models.LM, b run.Batch, more int) []run.Batch {
	if lm.Anatomy().Encoder != nil || lm.Anatomy().Step == nil {
		return []run.Batch{b}
	}
	var parts []run.Batch
	at, longest := map[int]int{}, 0
	for _, q := range b.Questions {
		i, ok := at[q.Fed()]
		if !ok {
			i = len(parts)
			at[q.Fed()] = i
			parts = append(parts, run.Batch{Only: b.Only})
		}
		parts[i].Questions = append(parts[i].Questions, q)
		longest = max(longest, q.Fed())
	}
	if len(parts) > 1 && run.TakesPadding(ctx, lm, graph.Take{Slots: graph.DownSlots}, 1, longest+more) {
		return []run.Batch{b}
	}
	return parts
}

// continueBatch generates for one batch until every row has stopped.
func continueBatch(ctx context.Context, lm *models.LM, b run.Batch, active []*continuation, o ask.Sampling) error {
	d := &decoding{
		lm: lm, only: b.Only, cached: lm.Anatomy().Step != nil && !lm.Without(cachedGeneration),
		specs: map[arch.Role]graph.Spec{}, patches: map[arch.Role]map[string]*tensor.Tensor{},
	}
	for len(active) > 0 {
		questions := make([]*run.Question, len(active))
		for i, c := range active {
			questions[i] = c.question
		}
		logits, err := d.next(ctx, questions)
		if failed := err; err != nil && d.cached && ctx.Err() == nil {
			d.cached, d.past = false, nil
			if logits, err = d.next(ctx, questions); err == nil {
				lm.Abandon(cachedGeneration, failed)
			}
		}
		if err != nil {
			return err
		}
		values, vocab := logits.Float32s(), lm.Info().Vocab
		var keep []int
		var left []*continuation
		for i, c := range active {
			if more, err := advance(lm, c, values[i*vocab:(i+1)*vocab], o); err != nil {
				c.err = err
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
func advance(lm *models.LM, c *continuation, logits []float32, o ask.Sampling) (more bool, err error) {
	p := scan(logits, 0)
	if !p.finite {
		c.err = fmt.Errorf("%w: at generated token %d", ask.ErrNotFinite, len(c.found()))
		return false, nil
	}
	if slices.Contains(lm.EOS(), int64(p.best)) {
		c.stopped = "eos"
		return false, finish(lm, c, -1)
	}
	c.question.Prompt = append(c.question.Prompt, int64(p.best))
	if lm.Tokenizer() != nil && len(o.Stop) > 0 {
		text, err := lm.Tokenizer().Decode(c.found(), true)
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
			return false, finish(lm, c, cut)
		}
	}
	if len(c.found()) >= o.MaxNew || run.Within(lm, c.question.Fed(), 1) != nil {
		c.stopped = "length"
		return false, finish(lm, c, -1)
	}
	return true, nil
}

// finish sets the text, cut at a byte offset unless that is negative, and the
// shortest run of tokens that covers it.
func finish(lm *models.LM, c *continuation, cut int) error {
	c.ids = slices.Clone(c.found())
	if lm.Tokenizer() == nil {
		return nil
	}
	text, err := lm.Tokenizer().Decode(c.ids, true)
	if err != nil {
		return fmt.Errorf("models: decoding generated tokens: %w", err)
	}
	c.text = text
	if cut < 0 {
		return nil
	}
	c.text = text[:cut]
	for n := range c.ids {
		head, err := lm.Tokenizer().Decode(c.ids[:n], true)
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

// continueAlone is run.Alone for a batch that could not be continued: what has not
// stopped by then begins anew.
func continueAlone(ctx context.Context, lm *models.LM, failed error, b run.Batch, all []*continuation, again func(run.Batch, []*continuation) error) error {
	return run.Alone(ctx, failed, len(all),
		func(i int) error {
			c := all[i]
			if c.stopped != "" || c.err != nil {
				return nil
			}
			c.question.Prompt = c.question.Prompt[:c.prompt]
			return again(run.Batch{Questions: b.Questions[i : i+1], Only: b.Only}, all[i:i+1])
		},
		func(i int, err error) { all[i].err = err })
}

// decoding is the state of a batch between two tokens.
type decoding struct {
	lm     *models.LM
	only   *patch.Patch
	cached bool

	specs   map[arch.Role]graph.Spec                // fixed by the first run: rows that leave must not change the session
	patches map[arch.Role]map[string]*tensor.Tensor // inputs that carry the patches; empty after rows have left
	encoded *run.Encoded
	past    *run.Past // of all tokens but the newest; nil before the first token
}

// next returns the logits behind the last known token of every question, [B, V].
func (d *decoding) next(ctx context.Context, questions []*run.Question) (*tensor.Tensor, error) {
	// Padding of shorter prompts takes room in the cache. Where that room is
	// used up the cache is built anew: the longest row itself still fits.
	if c := d.lm.Context(); d.past != nil && c > 0 && d.past.Length() >= c {
		d.past = nil
	}
	// A decoder's graph with past computes the prompt as well, behind a past of
	// length 0. Behind an encoder it cannot: it takes the encoder's keys and
	// values, which the other graph computes.
	role := arch.Forward
	if d.past != nil || d.cached && d.lm.Anatomy().Encoder == nil {
		role = arch.Step
	}
	r := run.New(d.lm, role, questions, d.only)
	if s, known := d.specs[role]; known {
		r.Spec = s
	}
	d.specs[role] = r.Spec
	r.Patches, r.Encoded = d.patches[role], d.encoded
	if d.past != nil {
		r.Follow(d.past)
	}
	for row, q := range questions {
		r.Want(row, q.Fed()-1)
	}
	if d.cached {
		r.FetchCaches()
	}
	logits, err := r.Logits(ctx)
	if err != nil {
		return nil, err
	}
	d.patches[role], d.encoded = r.Patches, r.Encoded
	switch {
	case d.past != nil:
		d.past.Extend(r)
	case d.cached:
		d.past = r.Settled()
	}
	return logits, nil
}

// keep drops the rows that are not listed.
func (d *decoding) keep(rows []int) {
	if d.only == nil {
		clear(d.patches)
	}
	if d.encoded != nil {
		d.encoded = d.encoded.Take(rows)
	}
	if d.past != nil {
		d.past = d.past.Take(d.lm, rows)
	}
}
