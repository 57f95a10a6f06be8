package models

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"editpipe/ask"
	"editpipe/token"
)

// texts says how a tokenizer frames a text: the ids that its template puts
// before (BOS) and behind (EOS) every text.
type texts struct {
	before, behind []int64
}

// frame finds the template's ids by comparing a text with and without them.
func frame(tok *token.Tokenizer) (texts, error) {
	const probe = "a"
	plain, err := tok.Encode(probe)
	if err != nil {
		return texts{}, fmt.Errorf("trying the tokenizer: %w", err)
	}
	framed, err := tok.EncodeWithSpecial(probe)
	if err != nil {
		return texts{}, fmt.Errorf("trying the tokenizer: %w", err)
	}
	for i := 0; i+len(plain.IDs) <= len(framed.IDs); i++ {
		if slices.Equal(framed.IDs[i:i+len(plain.IDs)], plain.IDs) {
			return texts{before: slices.Clone(framed.IDs[:i]), behind: slices.Clone(framed.IDs[i+len(plain.IDs):])}, nil
		}
	}
	return texts{}, fmt.Errorf("%w: its template rewrites texts (%v becomes %v)", ErrTokenizer, plain.IDs, framed.IDs)
}

// joined is a prompt with one target as token ids.
type joined struct {
	encoder  []int64 // encoder input; nil for decoder-only models
	ids      []int64 // decoder input with the target behind it
	first    int     // index in ids of the first target token; > 0
	ends     bool    // the last id is the end token behind the target
	repaired bool
}

// gold is the target.
func (j joined) gold() []int64 { return j.ids[j.first : len(j.ids)-j.extra()] }

// extra is 1 where an end token stands behind the target.
func (j joined) extra() int {
	if j.ends {
		return 1
	}
	return 0
}

// ended puts the end token behind a target that stands alone. It is scored but
// does not belong to the target.
func (lm *LM) ended(j joined) joined {
	eos := lm.anatomy.Config.EOS
	if lm.anatomy.Encoder == nil || len(eos) == 0 || lm.inVocabulary(eos[:1]) != nil || slices.Contains(eos, j.ids[len(j.ids)-1]) {
		return j
	}
	j.ids, j.ends = append(slices.Clone(j.ids), eos[0]), true
	return j
}

// Prompt returns the ids that a model sees of a prompt, template included, with
// the byte span of the prompt behind each id; template ids have empty spans at
// its ends. For encoder-decoder models these are the encoder's ids.
func (lm *LM) Prompt(prompt string) ([]int64, []token.Span, error) {
	if lm.tok == nil {
		return nil, nil, fmt.Errorf("models: %w: the folder has no tokenizer; ask with PromptIDs and TargetIDs", ErrTokenizer)
	}
	e, err := lm.tok.Encode(prompt)
	if err != nil {
		return nil, nil, fmt.Errorf("models: tokenising the prompt: %w", err)
	}
	ids, spans := slices.Clone(lm.text.before), make([]token.Span, len(lm.text.before))
	ids, spans = append(ids, e.IDs...), append(spans, e.Spans...)
	if lm.anatomy.Encoder != nil {
		for _, id := range lm.text.behind {
			ids, spans = append(ids, id), append(spans, token.Span{Start: len(prompt), End: len(prompt)})
		}
	}
	return ids, spans, nil
}

// promptIDs are the ids of a query's prompt.
func (lm *LM) promptIDs(q ask.Query) ([]int64, error) {
	ids := q.PromptIDs
	if ids == nil {
		var err error
		if ids, _, err = lm.Prompt(q.Prompt); err != nil {
			return nil, err
		}
	}
	if len(ids) == 0 {
		return nil, ask.ErrNoPrompt
	}
	return ids, lm.inVocabulary(ids)
}

func (lm *LM) inVocabulary(ids []int64) error {
	for _, id := range ids {
		if id < 0 || id >= int64(lm.info.Vocab) {
			what := fmt.Sprintf("id %d", id)
			if lm.tok != nil {
				if t, ok := lm.tok.Token(id); ok {
					what = fmt.Sprintf("the token %q, id %d", t, id)
				}
			}
			return fmt.Errorf("models: %w: %s, vocabulary of %d", ErrVocabulary, what, lm.info.Vocab)
		}
	}
	return nil
}

// targets is the number of continuations a query asks for.
func targets(q ask.Query) int { return max(len(q.Targets), len(q.TargetIDs)) }

// joinAll joins a query's prompt with each of its targets.
func (lm *LM) joinAll(q ask.Query) (prompt []int64, all []joined, err error) {
	if prompt, err = lm.promptIDs(q); err != nil {
		return nil, nil, err
	}
	if targets(q) == 0 {
		return nil, nil, fmt.Errorf("%w: the query lists none", ask.ErrNoTarget)
	}
	for i := range targets(q) {
		j, err := lm.join(q, prompt, i)
		if err != nil {
			return nil, nil, fmt.Errorf("target %d: %w", i, err)
		}
		all = append(all, j)
	}
	return prompt, all, nil
}

// join puts target i behind the prompt.
//
// The text is prompt + " " + target, tokenised as a whole; where the prompt's
// own tokens are not a prefix of the result, prompt and target are tokenised
// apart and the continuation is marked. No space is added to a target that
// starts with one. Tokenizers that put a space before the first word by
// themselves get the bare target when it is tokenised apart.
//
// Encoder-decoder models read the prompt in the encoder; the decoder starts
// from the configured start token and the target stands alone.
func (lm *LM) join(q ask.Query, prompt []int64, i int) (joined, error) {
	var j joined
	var target []int64
	switch {
	case i < len(q.TargetIDs) && q.TargetIDs[i] != nil:
		target = q.TargetIDs[i]
	case lm.tok == nil:
		return j, fmt.Errorf("models: %w: the folder has no tokenizer; ask with PromptIDs and TargetIDs", ErrTokenizer)
	case i >= len(q.Targets) || q.Targets[i] == "":
		return j, ask.ErrNoTarget
	default:
		var err error
		if target, j.repaired, err = lm.targetIDs(q, prompt, q.Targets[i]); err != nil {
			return j, err
		}
	}
	if len(target) == 0 {
		return j, ask.ErrNoTarget
	}
	if err := lm.inVocabulary(target); err != nil {
		return j, err
	}
	if lm.anatomy.Encoder != nil {
		j.encoder, prompt = prompt, []int64{*lm.anatomy.Config.DecoderStart}
		if err := lm.fits(len(j.encoder), 0); err != nil {
			return j, err
		}
	}
	if err := lm.fits(len(prompt), len(target)); err != nil {
		return j, err
	}
	j.ids, j.first = slices.Concat(prompt, target), len(prompt)
	return j, nil
}

// fits returns ErrTooLong when a sequence exceeds the context.
func (lm *LM) fits(prompt, more int) error {
	if c := lm.info.Context; c > 0 && prompt+more > c {
		return fmt.Errorf("%w: %d + %d tokens, context of %d", ask.ErrTooLong, prompt, more, c)
	}
	return nil
}

// targetIDs tokenises a target text as the continuation of a prompt.
func (lm *LM) targetIDs(q ask.Query, prompt []int64, target string) (ids []int64, repaired bool, err error) {
	encode := func(text string) []int64 {
		if err != nil {
			return nil
		}
		var e token.Encoding
		e, err = lm.tok.Encode(text)
		return e.IDs
	}
	if lm.anatomy.Encoder != nil {
		return encode(target), false, err
	}
	spaced := target
	if r, _ := utf8.DecodeRuneInString(target); !unicode.IsSpace(r) {
		spaced = " " + target
	}
	if q.PromptIDs == nil {
		whole := slices.Concat(lm.text.before, encode(q.Prompt+spaced))
		if err == nil && len(whole) > len(prompt) && slices.Equal(whole[:len(prompt)], prompt) {
			return whole[len(prompt):], false, nil
		}
		repaired = true
	}
	if lm.tok.AddsPrefixSpace() {
		spaced = strings.TrimPrefix(target, " ")
	}
	return encode(spaced), repaired, err
}

// PromptTokens is the number of tokens that a prompt with a target occupies,
// template included; for encoder-decoder models that of the prompt. An empty
// target counts the prompt alone.
func (lm *LM) PromptTokens(prompt, target string) (int, error) {
	q := ask.Query{Prompt: prompt}
	ids, err := lm.promptIDs(q)
	if err != nil {
		return 0, err
	}
	if target == "" || lm.anatomy.Encoder != nil {
		return len(ids), nil
	}
	more, _, err := lm.targetIDs(q, ids, target)
	return len(ids) + len(more), err
}
