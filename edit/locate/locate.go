// Package locate finds what the locate-then-edit methods need: the place where
// a fact enters the model, and the value there that would express it.
//
// The place is the down-projection of a layer at the last token of the subject.
// Its input there is the key of the subject, its output the value. A [Fact] is
// a requested change with the sequences in which subject and prompt are shown;
// a context is a text that is put before the prompt, so that key and value
// belong to the subject and not to one position. [Optimise] searches for the
// value with which the model predicts the new object.
package locate

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/models/run"
	"editpipe/token"
)

// ErrSubject is returned when the subject of an edit does not occur in its prompt.
var ErrSubject = errors.New("the subject does not occur in the prompt")

// ErrNoSubject is returned for an edit that names no subject, by methods that need
// one: they do not define such edits.
var ErrNoSubject = fmt.Errorf("the edit names no subject, which the method needs: %w", edit.ErrUnsupported)

// Which token of the prompt a fact enters at.
const (
	SubjectLast = "subject_last" // the last one of the subject
	Last        = "last"         // the last one
)

// essence is what follows the subject in the sequence whose next-token
// distribution an edit shall not move (Meng et al. 2022, equation 4).
const essence = " is a"

// Sequence is a text as the model sees it, with a position in it.
type Sequence struct {
	IDs []int64
	At  int // of the token where the fact enters
}

// Fact is an edit as token ids.
type Fact struct {
	Prompts []Sequence // one per context, without the target
	Essence Sequence   // the subject with what it is left open
	Target  []int64
}

// NewFact builds the sequences of an edit. at is SubjectLast or Last; for bare see
// Object. It returns ErrNoSubject, ErrSubject, ask.ErrNoTarget or ask.ErrTooLong
// where these apply.
func NewFact(lm *models.LM, e dataset.Edit, contexts []string, at string, bare bool) (*Fact, error) {
	start, end, err := subject(e)
	if err != nil {
		return nil, err
	}
	f := &Fact{}
	if f.Target, err = Object(lm, e.Prompt, e.Target, bare); err != nil {
		return nil, err
	}
	for _, c := range contexts {
		before, behind, ok := strings.Cut(c, slot)
		if !ok {
			return nil, fmt.Errorf("locate: context %q has no %s for the prompt", c, slot)
		}
		s, err := sequence(lm, before+e.Prompt+behind, len(before)+end, at)
		if err != nil {
			return nil, err
		}
		if n := len(s.IDs) + len(f.Target); lm.Context() > 0 && n > lm.Context() {
			return nil, fmt.Errorf("locate: prompt behind %q: %w: %d tokens, context of %d", before, ask.ErrTooLong, n, lm.Context())
		}
		f.Prompts = append(f.Prompts, s)
	}
	name := e.Prompt[start:end]
	if f.Essence, err = sequence(lm, name+essence, len(name), at); err != nil {
		return nil, err
	}
	if n := len(f.Essence.IDs); lm.Context() > 0 && n > lm.Context() {
		return nil, fmt.Errorf("locate: %q: %w: %d tokens, context of %d", name+essence, ask.ErrTooLong, n, lm.Context())
	}
	return f, nil
}

// Object is an object as token ids: those that are asked for behind a prompt or,
// bare, those of the text as it stands, without the space that would part it from
// the prompt. It returns ask.ErrNoTarget where there are none.
func Object(lm *models.LM, prompt, text string, bare bool) ([]int64, error) {
	_, ids, err := run.Continuation(lm, prompt, text)
	if err != nil || !bare {
		return ids, err
	}
	alone, err := lm.Tokenizer().Encode(text)
	if err != nil {
		return nil, fmt.Errorf("locate: tokenising %q: %w", text, err)
	}
	if len(alone.IDs) == 0 {
		return nil, ask.ErrNoTarget
	}
	return alone.IDs, nil
}

// subject is the byte span of the subject in the prompt: the one that the edit
// names, if it is right, or else the first occurrence.
func subject(e dataset.Edit) (start, end int, err error) {
	if err := NeedSubject(e); err != nil {
		return 0, 0, err
	}
	start, end = int(e.SubjectStart), int(e.SubjectEnd)
	if start >= 0 && start < end && end <= len(e.Prompt) && dataset.SameName(e.Prompt[start:end], e.Subject) {
		return start, end, nil
	}
	m := dataset.FindName(e.Prompt, e.Subject)
	if !m.Found() {
		return 0, 0, fmt.Errorf("locate: %w: subject %q, prompt %q", ErrSubject, e.Subject, e.Prompt)
	}
	return int(m.Start), int(m.End), nil
}

// NeedSubject returns ErrNoSubject where an edit names no subject.
func NeedSubject(e dataset.Edit) error {
	if strings.TrimSpace(e.Subject) == "" {
		return ErrNoSubject
	}
	return nil
}

// sequence tokenises a text in which the subject ends before byte end.
func sequence(lm *models.LM, text string, end int, at string) (Sequence, error) {
	ids, spans, err := run.Prompt(lm, text)
	if err != nil {
		return Sequence{}, err
	}
	if at == Last {
		return Sequence{ids, len(ids) - 1}, nil
	}
	i := lastToken(spans, end)
	if i < 0 {
		return Sequence{}, fmt.Errorf("locate: %w: no token of %q ends at or behind byte %d", ErrSubject, text, end)
	}
	return Sequence{ids, i}, nil
}

// lastToken is the token that holds the last byte before end, -1 if there is
// none; several can, where the bytes of a character are tokens of their own.
func lastToken(spans []token.Span, end int) int {
	at := -1
	for i, s := range spans {
		if s.Start < end && s.End >= end {
			at = i
		}
	}
	return at
}

// Recall reads the keys and the values of a layer for every prompt of a fact,
// through a patch: [prompt][width].
func Recall(ctx context.Context, lm *models.LM, on *patch.Patch, layer int, f *Fact) (keys, values [][]float32, err error) {
	var rows []activation.Row
	for _, s := range f.Prompts {
		rows = append(rows, activation.Row{Query: ask.Query{PromptIDs: s.IDs}, Patch: on, Positions: []int{s.At}})
	}
	traces, err := activation.Trace(ctx, lm, rows, arch.Site{Layer: layer, Point: arch.FFNAct}, arch.Site{Layer: layer, Point: arch.FFNOut})
	if err != nil {
		return nil, nil, err
	}
	for _, t := range traces {
		if t.Err != nil {
			return nil, nil, t.Err
		}
		keys = append(keys, t.Values[0].Float32s())
		values = append(values, t.Values[1].Float32s())
	}
	return keys, values, nil
}

// Mean is the mean of vectors of one length, in float64.
func Mean(vectors [][]float32) []float64 {
	sum := make([]float64, len(vectors[0]))
	for _, v := range vectors {
		for i, x := range v {
			sum[i] += float64(x)
		}
	}
	for i := range sum {
		sum[i] /= float64(len(vectors))
	}
	return sum
}

// Dot is the inner product.
func Dot(a, b []float64) float64 {
	sum := 0.0
	for i, x := range a {
		sum += x * b[i]
	}
	return sum
}

// wide converts to float64.
func wide(v []float32) []float64 {
	return Mean([][]float32{v})
}
