package models

import (
	"fmt"
	"slices"
	"strings"

	"editpipe/models/arch"
	"editpipe/token"
)

// readTokenizer opens the tokenizer of a model folder, if it has one, and checks
// that it fits the model. Tokens that were added to it may lie beyond the model's
// vocabulary, as the ones for padding of several published checkpoints do: that is
// a warning, and only a text with such a token cannot be asked.
func readTokenizer(info *arch.Info) (*token.Tokenizer, texts, error) {
	if info.TokenizerFile == "" {
		return nil, texts{}, nil
	}
	tok, err := token.Open(info.TokenizerFile)
	if err != nil {
		return nil, texts{}, err
	}
	own, added := tok.Beyond(info.Vocab)
	if info.Vocab > 0 && len(own) > 0 {
		return nil, texts{}, fmt.Errorf("%w: %s has %d tokens, the model's vocabulary %d; use the tokenizer of the same checkpoint", ErrTokenizer, info.TokenizerFile, tok.VocabSize(), info.Vocab)
	}
	framing, err := frame(tok)
	if err != nil {
		return nil, texts{}, err
	}
	for _, id := range slices.Concat(framing.before, framing.behind) {
		if id >= int64(info.Vocab) {
			t, _ := tok.Token(id)
			return nil, texts{}, fmt.Errorf("%w: %s puts the token %q, id %d, around every text, and the model's vocabulary is %d", ErrTokenizer, info.TokenizerFile, t, id, info.Vocab)
		}
	}
	if len(added) > 0 {
		const few = 5
		list := fmt.Sprintf("%q", added[:min(few, len(added))])
		if len(added) > few {
			list = strings.TrimSuffix(list, "]") + " …]"
		}
		info.Warnings = append(info.Warnings, fmt.Sprintf("the tokenizer has added tokens beyond the model's vocabulary of %d (%d: %s); a text that holds one cannot be asked", info.Vocab, len(added), list))
	}
	return tok, framing, nil
}

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
