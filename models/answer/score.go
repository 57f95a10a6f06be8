// Package answer gives a model's answers: it scores the targets of questions
// and continues prompts, each question through its own patch.
//
// First the routes of patches replace questions by others. Those then share
// runs with everything else, and a target whose tokens are the beginning of
// another target's shares its row. Rows that begin alike under one patch, such
// as all questions after one text of an in-context method, share one run of
// their beginning: its keys and values are put before each of them, cut to the
// same length. This needs a graph with past keys and values whose attention has
// no input of lengths (GroupQueryAttention has one).
package answer

import (
	"context"
	"fmt"
	"slices"

	"editpipe/ask"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/models/run"
)

// Row is one question, asked through a patch.
type Row struct {
	Query ask.Query
	Patch *patch.Patch // nil asks the unedited model
	// Versus, where set, asks for Answer.KL as well: the unedited model answers
	// *Versus, and the two distributions are compared at the positions of the
	// first targets. KL stays nil when these differ in tokens.
	Versus *ask.Query
}

// asked is one row on its way through Score.
type asked struct {
	row       int
	prompt    int             // tokens
	questions []*run.Question // by target
	apart     []bool          // of each: prompt and target were tokenised apart
	kl        *comparison
}

// scored is what Score wants of a question, and finds.
type scored struct {
	compare []*comparison
	keep    bool      // other questions are compared with this one
	dist    []float32 // then: log-probabilities [targets, V]

	out ask.Continuation
	err error
}

// comparison is KL(base || question) over the target positions.
type comparison struct {
	base *run.Question
	kl   float64
}

// Score asks every row by teacher forcing. The result does not depend on the
// order or number of rows. An error is returned only when the runtime fails or
// ctx ends.
func Score(ctx context.Context, lm *models.LM, rows []Row) ([]ask.Answer, error) {
	rows, faults, err := route(ctx, lm, rows, 0)
	if err != nil {
		return nil, err
	}
	answers := make([]ask.Answer, len(rows))
	s := newScoring(lm)
	for i, r := range rows {
		err := faults[i]
		if err == nil {
			err = s.add(i, r)
		}
		if err != nil {
			answers[i] = ask.Answer{Err: err}
		}
		if s.held > lm.Budget()/2 {
			if err := s.run(ctx, answers); err != nil {
				return nil, err
			}
			s = newScoring(lm)
		}
	}
	if err := s.run(ctx, answers); err != nil {
		return nil, err
	}
	return answers, nil
}

// scoring is a set of rows that is planned and run together. Rows that want KL
// make the base model's distributions be held until they are compared, so the
// memory for these ends the set.
type scoring struct {
	lm     *models.LM
	eos    []int64
	intake *run.Intake
	rows   []asked
	of     map[*run.Question]*scored
	held   int64 // bytes
}

func newScoring(lm *models.LM) *scoring {
	return &scoring{lm: lm, eos: lm.EOS(), intake: run.NewIntake(lm), of: map[*run.Question]*scored{}}
}

// add tokenises a row and files its sequences.
func (s *scoring) add(i int, r Row) error {
	p, err := s.intake.Admit(r.Patch)
	if err != nil {
		return err
	}
	prompt, all, err := run.JoinAll(s.lm, r.Query)
	if err != nil {
		return err
	}
	a := asked{row: i, prompt: len(prompt)}
	var base run.Sequence
	if r.Versus != nil {
		vp, err := run.PromptIDs(s.lm, *r.Versus)
		var j run.Joined
		if err == nil {
			j, err = run.Join(s.lm, *r.Versus, vp, 0)
		}
		if err != nil {
			return fmt.Errorf("the question to compare with: %w", err)
		}
		base = run.Ended(s.lm, j.Sequence)
	}
	for _, j := range all {
		a.questions = append(a.questions, s.file(p, run.Ended(s.lm, j.Sequence)))
		a.apart = append(a.apart, j.Apart)
	}
	if r.Versus != nil && slices.Equal(base.Gold(), all[0].Target) {
		a.kl = s.versus(a.questions[0], s.file(nil, base))
	}
	s.rows = append(s.rows, a)
	return nil
}

// file files a sequence under a patch.
func (s *scoring) file(p *patch.Patch, seq run.Sequence) *run.Question {
	q := s.intake.File(p, seq)
	if s.of[q] == nil {
		s.of[q] = &scored{}
	}
	return q
}

// versus makes q be compared with base.
func (s *scoring) versus(q, base *run.Question) *comparison {
	of := s.of[q]
	for _, c := range of.compare {
		if c.base == base {
			return c
		}
	}
	c := &comparison{base: base}
	if q == base {
		return c // a distribution does not diverge from itself
	}
	if !s.of[base].keep {
		s.of[base].keep = true
		s.held += 4 * int64(len(base.Gold())) * int64(s.lm.Info().Vocab)
	}
	of.compare = append(of.compare, c)
	return c
}

// run asks everything in the set and fills the answers. Questions that others are
// compared with go first.
func (s *scoring) run(ctx context.Context, answers []ask.Answer) error {
	var bases, rest []*run.Question
	for _, q := range s.intake.Questions {
		if s.of[q].keep {
			bases = append(bases, q)
		} else {
			rest = append(rest, q)
		}
	}
	for _, questions := range [][]*run.Question{bases, rest} {
		found, rest := beginnings(s.lm, run.Share(questions))
		var unshared []*run.Question
		var failed error
		for _, g := range groups(s.lm, found) {
			if err := s.scoreGroup(ctx, g); err != nil {
				if ctx.Err() != nil {
					return err
				}
				unshared, failed = append(unshared, g.questions...), err
			}
		}
		rest = append(rest, unshared...)
		var last *run.Run // batches of one patch follow each other and share its factors
		for _, b := range run.Plan(s.lm, rest, 0) {
			r := run.New(s.lm, arch.Forward, b.Questions, b.Only)
			if last != nil && b.Only != nil && last.Only == b.Only && last.Spec == r.Spec {
				r.Patches = last.Patches
			}
			if err := s.alone(ctx, s.score(ctx, r), b); err != nil {
				return err
			}
			last = r
		}
		// A row that fails either way is not the fault of sharing.
		if failed != nil && !slices.ContainsFunc(unshared, s.failed) {
			s.lm.Abandon(sharedBeginnings, failed)
		}
	}
	for _, a := range s.rows {
		answers[a.row] = s.answer(a)
	}
	return nil
}

// failed says whether a question, or one that shares its run, has no answer.
func (s *scoring) failed(q *run.Question) bool {
	return slices.ContainsFunc(q.All(), func(k *run.Question) bool { return s.of[k].err != nil })
}

func (s *scoring) answer(a asked) ask.Answer {
	ans := ask.Answer{PromptTokens: a.prompt}
	for i, q := range a.questions {
		of := s.of[q]
		if of.err != nil {
			return ask.Answer{PromptTokens: a.prompt, Err: of.err}
		}
		out := of.out
		out.BoundaryRepair = a.apart[i]
		ans.Targets = append(ans.Targets, out)
	}
	if a.kl != nil {
		if err := s.of[a.kl.base].err; err != nil {
			return ask.Answer{PromptTokens: a.prompt, Err: fmt.Errorf("the question to compare with: %w", err)}
		}
		kl := a.kl.kl
		ans.KL = &kl
	}
	return ans
}

// score runs the target positions of a run's questions and reduces their logits.
func (s *scoring) score(ctx context.Context, r *run.Run) error {
	type part struct {
		question *run.Question
		at       int // its first row of logits
	}
	var parts []part
	for row, q := range r.Questions {
		positions := q.Positions()
		for _, k := range q.All() {
			i, _ := slices.BinarySearch(positions, len(k.Prompt)-1)
			parts = append(parts, part{k, r.Wanted() + i})
		}
		for _, t := range positions {
			r.Want(row, t)
		}
	}
	logits, err := r.Logits(ctx)
	if err != nil {
		return err
	}
	values, vocab := logits.Float32s(), s.lm.Info().Vocab
	inParallel(len(parts), func(i int) {
		p := parts[i]
		s.reduce(p.question, values[p.at*vocab:(p.at+len(p.question.Target))*vocab], vocab)
	})
	return nil
}

// alone goes on after for a batch whose target positions could not be run. Questions
// that share another one's run are run by themselves, too.
func (s *scoring) alone(ctx context.Context, failed error, b run.Batch) error {
	if failed == nil {
		return nil
	}
	var all []*run.Question
	for _, q := range b.Questions {
		all = append(all, q.All()...)
		q.Shares = nil
	}
	return run.Alone(ctx, failed, len(all),
		func(i int) error { return s.score(ctx, run.New(s.lm, arch.Forward, all[i:i+1], b.Only)) },
		func(i int, err error) { s.of[all[i]].err = err })
}
