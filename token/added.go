package token

import (
	"fmt"

	"github.com/sugarme/tokenizer"

	"editpipe/token/component"
	"editpipe/token/piece"
	"editpipe/token/subword"
)

// addedToken is one entry of added_tokens.
type addedToken struct {
	tokenizer.TokenConfig
	pattern string // what is looked for: Content, or its normalised form
}

// resolveAdded gives the added tokens their ids and patterns. The model's own
// id wins over a declared one, as in the official implementation; a token that
// the model does not have keeps its declared id.
func resolveAdded(config []addedToken, vocab map[string]int64, n component.Normaliser) ([]addedToken, error) {
	owner := make(map[int64]string, len(vocab)+len(config))
	for t, id := range vocab {
		owner[id] = t
	}
	index := make(map[string]int, len(config))
	var out []addedToken
	for _, t := range config {
		if t.Content == "" {
			continue
		}
		if id, ok := vocab[t.Content]; ok {
			t.Id = id
		} else if o, taken := owner[t.Id]; taken && o != t.Content || t.Id < 0 || t.Id > subword.MaxID {
			return nil, fmt.Errorf("added_tokens: %q has id %d, which is out of range or belongs to %q", t.Content, t.Id, o)
		}
		owner[t.Id] = t.Content
		t.pattern = t.Content
		if t.Normalized {
			p := piece.Piece{Text: t.Content}
			if err := n.Normalise(&p); err != nil {
				return nil, fmt.Errorf("added_tokens: %q: %w", t.Content, err)
			}
			t.pattern = p.Text
		}
		if i, again := index[t.Content]; again {
			out[i] = t
			continue
		}
		index[t.Content] = len(out)
		out = append(out, t)
	}
	return out, nil
}
