package run

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"editpipe/ask"
	"editpipe/models"
	"editpipe/token"
)

// ErrVocabulary is returned when a token id lies outside the model's vocabulary.
var ErrVocabulary = errors.New("token id outside the vocabulary")

// Ended puts the end token behind a target that stands alone.
func Ended(lm *models.LM, s Sequence) Sequence {
	eos := lm.Anatomy().Config.EOS
	if lm.Anatomy().Encoder == nil || len(eos) == 0 || InVocabulary(lm, eos[:1]) != nil || slices.Contains(eos, s.Target[len(s.Target)-1]) {
		return s
	}
	s.Target, s.Ends = append(slices.Clone(s.Target), eos[0]), true
	return s
}

// Prompt returns the ids that a model sees of a prompt, template included, with
// the byte span of the prompt behind each id; template ids have empty spans at
// its ends. For encoder-decoder models these are the encoder's ids.
func Prompt(lm *models.LM, prompt string) ([]int64, []token.Span, error) {
	if lm.Tokenizer() == nil {
		return nil, nil, fmt.Errorf("models: %w: the folder has no tokenizer; ask with PromptIDs and TargetIDs", models.ErrTokenizer)
	}
	e, err := lm.Tokenizer().Encode(prompt)
	if err != nil {
		return nil, nil, fmt.Errorf("models: tokenising the prompt: %w", err)
	}
	before, after := lm.Tokenizer().Template()
	ids, spans := slices.Clone(before), make([]token.Span, len(before))
	ids, spans = append(ids, e.IDs...), append(spans, e.Spans...)
	if lm.Anatomy().Encoder != nil {
		for _, id := range after {
			ids, spans = append(ids, id), append(spans, token.Span{Start: len(prompt), End: len(prompt)})
		}
	}
	return ids, spans, nil
}

// PromptIDs are the ids of a query's prompt.
func PromptIDs(lm *models.LM, q ask.Query) ([]int64, error) {
	ids := q.PromptIDs
	if ids == nil {
		var err error
		if ids, _, err = Prompt(lm, q.Prompt); err != nil {
			return nil, err
		}
	}
	if len(ids) == 0 {
		return nil, ask.ErrNoPrompt
	}
	return ids, InVocabulary(lm, ids)
}

// InVocabulary returns ErrVocabulary for an id that the model does not know.
func InVocabulary(lm *models.LM, ids []int64) error {
	for _, id := range ids {
		if id < 0 || id >= int64(lm.Info().Vocab) {
			what := fmt.Sprintf("id %d", id)
			if lm.Tokenizer() != nil {
				if t, ok := lm.Tokenizer().Token(id); ok {
					what = fmt.Sprintf("the token %q, id %d", t, id)
				}
			}
			return fmt.Errorf("models: %w: %s, vocabulary of %d", ErrVocabulary, what, lm.Info().Vocab)
		}
	}
	return nil
}

// Targets is the number of continuations a query asks for.
func Targets(q ask.Query) int { return max(len(q.Targets), len(q.TargetIDs)) }

// Joined is a prompt with one of its query's targets.
type Joined struct {
	Sequence
	Apart bool // prompt and target were tokenised apart
}

// JoinAll joins a query's prompt with each of its targets, and returns the
// prompt's ids as well.
func JoinAll(lm *models.LM, q ask.Query) (prompt []int64, all []Joined, err error) {
	if prompt, err = PromptIDs(lm, q); err != nil {
		return nil, nil, err
	}
	if Targets(q) == 0 {
		return nil, nil, fmt.Errorf("%w: the query lists none", ask.ErrNoTarget)
	}
	for i := range Targets(q) {
		j, err := Join(lm, q, prompt, i)
		if err != nil {
			return nil, nil, fmt.Errorf("target %d: %w", i, err)
		}
		all = append(all, j)
	}
	return prompt, all, nil
}

// Unanswered is the sequence of a prompt without a target.
func Unanswered(lm *models.LM, prompt []int64) Sequence {
	if lm.Anatomy().Encoder != nil {
		return Sequence{Encoder: prompt, Prompt: []int64{*lm.Anatomy().Config.DecoderStart}}
	}
	return Sequence{Prompt: prompt}
}

// Join puts target i behind the prompt.
//
// The text is prompt + " " + target, tokenised as a whole; where the prompt's
// own tokens are not a prefix of the result, prompt and target are tokenised
// apart and the continuation is marked. No space is added to a target that
// starts with one. Tokenizers that put a space before the first word by
// themselves get the bare target when it is tokenised apart.
//
// Encoder-decoder models read the prompt in the encoder; the decoder starts
// from the configured start token and the target stands alone.
func Join(lm *models.LM, q ask.Query, prompt []int64, i int) (Joined, error) {
	j := Joined{Sequence: Unanswered(lm, prompt)}
	switch {
	case i < len(q.TargetIDs) && q.TargetIDs[i] != nil:
		j.Target = q.TargetIDs[i]
	case lm.Tokenizer() == nil:
		return j, fmt.Errorf("models: %w: the folder has no tokenizer; ask with PromptIDs and TargetIDs", models.ErrTokenizer)
	case i >= len(q.Targets) || q.Targets[i] == "":
		return j, ask.ErrNoTarget
	default:
		var err error
		if j.Target, j.Apart, err = targetIDs(lm, q, prompt, q.Targets[i]); err != nil {
			return j, err
		}
	}
	if len(j.Target) == 0 {
		return j, ask.ErrNoTarget
	}
	if err := InVocabulary(lm, j.Target); err != nil {
		return j, err
	}
	if err := Within(lm, len(j.Encoder), 0); err != nil {
		return j, err
	}
	return j, Within(lm, len(j.Prompt), len(j.Target))
}

// Within returns ask.ErrTooLong when a prompt with more tokens behind it exceeds the
// context.
func Within(lm *models.LM, prompt, more int) error {
	if c := lm.Context(); c > 0 && prompt+more > c {
		return fmt.Errorf("%w: %d + %d tokens, context of %d", ask.ErrTooLong, prompt, more, c)
	}
	return nil
}

// targetIDs tokenises a target text as the continuation of a prompt.
func targetIDs(lm *models.LM, q ask.Query, prompt []int64, target string) (ids []int64, repaired bool, err error) {
	encode := func(text string) []int64 {
		if err != nil {
			return nil
		}
		var e token.Encoding
		e, err = lm.Tokenizer().Encode(text)
		return e.IDs
	}
	if lm.Anatomy().Encoder != nil {
		return encode(target), false, err
	}
	spaced := target
	if r, _ := utf8.DecodeRuneInString(target); !unicode.IsSpace(r) {
		spaced = " " + target
	}
	if q.PromptIDs == nil {
		before, _ := lm.Tokenizer().Template()
		whole := slices.Concat(before, encode(q.Prompt+spaced))
		if err == nil && len(whole) > len(prompt) && slices.Equal(whole[:len(prompt)], prompt) {
			return whole[len(prompt):], false, nil
		}
		repaired = true
	}
	if lm.Tokenizer().AddsPrefixSpace() {
		spaced = strings.TrimPrefix(target, " ")
	}
	return encode(spaced), repaired, err
}

// PromptTokens is the number of tokens that a prompt with a target occupies,
// template included; for encoder-decoder models that of the prompt. An empty
// target counts the prompt alone.
func PromptTokens(lm *models.LM, prompt, target string) (int, error) {
	q := ask.Query{Prompt: prompt}
	ids, err := PromptIDs(lm, q)
	if err != nil {
		return 0, err
	}
	if target == "" || lm.Anatomy().Encoder != nil {
		return len(ids), nil
	}
	more, _, err := targetIDs(lm, q, ids, target)
	return len(ids) + len(more), err
}

// Continuation returns the ids of a prompt, template included, and those of a
// target behind it, by the join rule that Score follows. For decoder-only models.
func Continuation(lm *models.LM, prompt, target string) (before, behind []int64, err error) {
	q := ask.Query{Prompt: prompt, Targets: []string{target}}
	if before, err = PromptIDs(lm, q); err != nil {
		return nil, nil, err
	}
	j, err := Join(lm, q, before, 0)
	if err != nil {
		return nil, nil, err
	}
	return before, j.Target, nil
}
