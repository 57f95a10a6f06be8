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
func readTokenizer(info *arch.Info) (*token.Tokenizer, error) {
	if info.TokenizerFile == "" {
		return nil, nil
	}
	tok, err := token.Open(info.TokenizerFile)
	if err != nil {
		return nil, err
	}
	own, added := tok.Beyond(info.Vocab)
	if info.Vocab > 0 && len(own) > 0 {
		return nil, fmt.Errorf("%w: %s has %d tokens, the model's vocabulary %d; use the tokenizer of the same checkpoint", ErrTokenizer, info.TokenizerFile, tok.VocabSize(), info.Vocab)
	}
	before, after := tok.Template()
	for _, id := range slices.Concat(before, after) {
		if id >= int64(info.Vocab) {
			t, _ := tok.Token(id)
			return nil, fmt.Errorf("%w: %s puts the token %q, id %d, around every text, and the model's vocabulary is %d", ErrTokenizer, info.TokenizerFile, t, id, info.Vocab)
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
	return tok, nil
}
