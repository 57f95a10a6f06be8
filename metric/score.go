package metric

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/row"
)

// Errors of scoring one answer.
var (
	// ErrUnfit is returned when an answer does not belong to the probe: other numbers of targets or of tokens than asked.
	ErrUnfit = errors.New("answer does not fit the probe")
	// ErrOtherTokens is returned when edited and unedited model were asked with different target tokens, so that positions cannot be compared.
	ErrOtherTokens = errors.New("target tokens differ from those of the unedited model")
)

// Question is the query whose answer Score reads. A question with choices asks
// all choices in order. Any other asks the probe's first answer, followed by its
// contrast if it has one. Further spellings matter to generated answers only.
func Question(p dataset.Probe) ask.Query {
	q := ask.Query{ID: string(p.ID), Prompt: p.Prompt}
	if p.Format == dataset.Choice {
		q.Targets = p.Choices
		return q
	}
	if a := accepted(p); len(a) > 0 {
		q.Targets = append(q.Targets, a[0])
		if p.Contrast != "" {
			q.Targets = append(q.Targets, p.Contrast)
		}
	}
	return q
}

// accepted lists every spelling that answers the probe, the scored one first.
func accepted(p dataset.Probe) []string {
	all := slices.Clone(p.Answers)
	for _, set := range p.AnswerSets {
		all = append(all, set...)
	}
	return all
}

// TakeBaseline reads the unedited model's answer to Question(p).
func TakeBaseline(p dataset.Probe, a ask.Answer) (row.Baseline, error) {
	var b row.Baseline
	if err := check(p, a); err != nil {
		return b, err
	}
	if p.Format == dataset.Choice {
		for _, t := range a.Targets {
			b.ChoiceLogP = append(b.ChoiceLogP, sum(t.LogProbs))
		}
		return b, nil
	}
	first := a.Targets[0]
	b.TargetIDs, b.ArgmaxIDs = narrow(first.IDs), narrow(first.Argmax)
	b.LogPs = slices.Clone(first.LogProbs)
	b.FirstRank, b.MinGap, b.Repaired = &first.FirstRank, &first.MinGap, first.BoundaryRepair
	if p.Contrast != "" {
		b.LogPAltMean = ptr(mean(a.Targets[1].LogProbs))
	}
	return b, nil
}

// Score gives the numbers of one answer of the edited model. pre is the
// unedited model's answer to the same probe; without it (nil) the pre columns,
// agreement and flips are nil. post holds the answer to Question(p), a generated
// text (StoppedBy set), or both. An answer with Err set gives that error.
//
// A probe that asks only for unchanged behaviour has no right answer: metrics
// of correctness are nil for it.
func Score(p dataset.Probe, pre *row.Baseline, post ask.Answer) (row.Scores, error) {
	generated := post.Err == nil && post.StoppedBy != ""
	var s row.Scores
	if pre != nil {
		var err error
		if s, err = Before(p, *pre); err != nil {
			return row.Scores{}, err
		}
		s.Tokens = nil
	}
	if len(post.Targets) > 0 || !generated {
		if err := check(p, post); err != nil {
			return row.Scores{}, err
		}
		if post.KL != nil {
			if !finite(*post.KL) {
				return row.Scores{}, fmt.Errorf("metric: probe %s: divergence: %w", p.ID, ask.ErrNotFinite)
			}
			s.KL = ptr(*post.KL)
		}
		var err error
		if p.Format == dataset.Choice {
			err = choose(&s, p, pre, post)
		} else {
			err = force(&s, p, pre, post)
		}
		if err != nil {
			return row.Scores{}, err
		}
	}
	if generated {
		s.GenText, s.GenStop = ptr(post.Text), ptr(post.StoppedBy)
		if all := accepted(p); len(all) > 0 && p.AnswerMode != dataset.Unchanged {
			s.GenEM = ptr(slices.ContainsFunc(all, func(a string) bool { return sameText(post.Text, a) }))
			s.GenContains = ptr(slices.ContainsFunc(all, func(a string) bool { return containsText(post.Text, a) }))
		}
	}
	return s, nil
}

// Before gives the columns that are known without the edited model: those of
// the unedited one, and the number of target tokens. They are the numbers of a
// row whose edit failed.
func Before(p dataset.Probe, pre row.Baseline) (row.Scores, error) {
	var s row.Scores
	if p.Format == dataset.Choice {
		if len(pre.ChoiceLogP) != len(p.Choices) || len(p.Choices) == 0 {
			return s, fmt.Errorf("metric: probe %s: unedited model has %d of %d choices: %w", p.ID, len(pre.ChoiceLogP), len(p.Choices), ErrUnfit)
		}
		choice := argmax(pre.ChoiceLogP)
		s.PreChoice, s.PreAcc = ptr(choice), ptr(choice == p.ChoiceLabel)
		return s, nil
	}
	n := len(pre.TargetIDs)
	if n == 0 || len(pre.ArgmaxIDs) != n || len(pre.LogPs) != n {
		return s, fmt.Errorf("metric: probe %s: unedited model has %d target tokens, %d most probable tokens, %d log-probabilities: %w",
			p.ID, n, len(pre.ArgmaxIDs), len(pre.LogPs), ErrUnfit)
	}
	s.Tokens = ptr(int32(n))
	s.PreArgmaxIDs = pre.ArgmaxIDs
	s.PreLogPMean, s.PreLogPAltMean = ptr(mean(pre.LogPs)), pre.LogPAltMean
	if p.AnswerMode != dataset.Unchanged {
		right := matches(pre.ArgmaxIDs, pre.TargetIDs)
		s.PreTokenAcc, s.PreExact = ptr(float64(right)/float64(n)), ptr(right == n)
		if pre.LogPAltMean != nil {
			s.PreSuccess = ptr(*s.PreLogPMean > *pre.LogPAltMean)
		}
	}
	return s, nil
}

// force fills the columns of teacher-forced targets.
func force(s *row.Scores, p dataset.Probe, pre *row.Baseline, post ask.Answer) error {
	t := post.Targets[0]
	ids, best := narrow(t.IDs), narrow(t.Argmax)
	n := len(ids)
	s.Tokens, s.ArgmaxIDs = ptr(int32(n)), best
	s.LogPSum, s.LogPMean = ptr(sum(t.LogProbs)), ptr(mean(t.LogProbs))
	s.FirstRank, s.MinGap, s.Repaired = ptr(t.FirstRank), ptr(t.MinGap), t.BoundaryRepair
	right := matches(best, ids)
	if p.AnswerMode != dataset.Unchanged {
		s.Correct, s.TokenAcc, s.Exact = ptr(int32(right)), ptr(float64(right)/float64(n)), ptr(right == n)
		if t.EOSLogProb != nil {
			s.ExactEOS = ptr(right == n && t.EOSArgmax)
		}
		if p.Contrast != "" {
			s.LogPAltMean = ptr(mean(post.Targets[1].LogProbs))
			s.Success = ptr(*s.LogPMean > *s.LogPAltMean)
			s.ProbDiff = ptr(math.Exp(*s.LogPMean) - math.Exp(*s.LogPAltMean))
		}
	}
	if pre == nil {
		return nil
	}
	if !slices.Equal(pre.TargetIDs, ids) {
		return fmt.Errorf("metric: probe %s: %d tokens %v, unedited %d tokens %v: %w", p.ID, n, ids, len(pre.TargetIDs), pre.TargetIDs, ErrOtherTokens)
	}
	agree := matches(best, pre.ArgmaxIDs)
	s.AgreeTok, s.AgreeExact = ptr(float64(agree)/float64(n)), ptr(agree == n)
	if s.Exact != nil {
		s.Flip = ptr(flipOf(*s.PreExact, *s.Exact, agree == n))
	}
	return nil
}

// choose fills the columns of questions with choices.
func choose(s *row.Scores, p dataset.Probe, pre *row.Baseline, post ask.Answer) error {
	sums, perByte := make([]float64, len(p.Choices)), make([]float64, len(p.Choices))
	for i, t := range post.Targets {
		sums[i] = sum(t.LogProbs)
		perByte[i] = sums[i] / float64(len(p.Choices[i]))
	}
	choice, norm := argmax(sums), argmax(perByte)
	s.Choice, s.ChoiceNorm = ptr(choice), ptr(norm)
	s.Acc, s.AccNorm = ptr(choice == p.ChoiceLabel), ptr(norm == p.ChoiceLabel)
	if pre != nil {
		same := choice == *s.PreChoice
		s.AgreeTok, s.AgreeExact = bit(&same), ptr(same)
		s.Flip = ptr(flipOf(*s.PreAcc, *s.Acc, same))
	}
	return nil
}

func flipOf(before, after, same bool) string {
	switch {
	case before && after:
		return KeptRight
	case before:
		return RightToWrong
	case after:
		return WrongToRight
	case same:
		return KeptWrong
	}
	return WrongToOther
}

// check refuses answers that are not to Question(p), or not numbers.
func check(p dataset.Probe, a ask.Answer) error {
	if a.Err != nil {
		return fmt.Errorf("metric: probe %s: %w", p.ID, a.Err)
	}
	want := len(Question(p).Targets)
	if want == 0 {
		return fmt.Errorf("metric: probe %s has no answer whose tokens could be scored: %w", p.ID, ask.ErrNoTarget)
	}
	if len(a.Targets) != want {
		return fmt.Errorf("metric: probe %s: %d targets answered, %d asked: %w", p.ID, len(a.Targets), want, ErrUnfit)
	}
	if p.Format == dataset.Choice && (p.ChoiceLabel < 0 || int(p.ChoiceLabel) >= want) {
		return fmt.Errorf("metric: probe %s: label %d of %d choices: %w", p.ID, p.ChoiceLabel, want, ErrUnfit)
	}
	for i, t := range a.Targets {
		n := len(t.IDs)
		if n == 0 {
			return fmt.Errorf("metric: probe %s: target %d: %w", p.ID, i, ask.ErrNoTarget)
		}
		if len(t.Argmax) != n || len(t.LogProbs) != n {
			return fmt.Errorf("metric: probe %s: target %d has %d tokens, %d most probable tokens, %d log-probabilities: %w", p.ID, i, n, len(t.Argmax), len(t.LogProbs), ErrUnfit)
		}
		if !finite(t.MinGap) || slices.ContainsFunc(t.LogProbs, func(v float64) bool { return !finite(v) }) {
			return fmt.Errorf("metric: probe %s: target %d: %w", p.ID, i, ask.ErrNotFinite)
		}
	}
	return nil
}

func matches(a, b []int32) int {
	n := 0
	for i := range a {
		if a[i] == b[i] {
			n++
		}
	}
	return n
}

// argmax is the position of the largest value, the first of several.
func argmax(v []float64) int32 {
	best := 0
	for i := range v {
		if v[i] > v[best] {
			best = i
		}
	}
	return int32(best)
}

func narrow(ids []int64) []int32 {
	out := make([]int32, len(ids))
	for i, id := range ids {
		out[i] = int32(id)
	}
	return out
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

func ptr[T any](v T) *T { return &v }
