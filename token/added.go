package token

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/sugarme/tokenizer"
)

// addedToken is a token that is cut out of the text before the model sees it.
type addedToken struct {
	tokenizer.TokenConfig
	pattern string // what is looked for: Content, or its normalised form
}

// addedTokens finds added tokens in a text: the leftmost, of those the longest.
type addedTokens struct {
	byFirst [256][]*addedToken // by first byte of the pattern, longest first
	any     bool
}

func newAddedTokens(tokens []*addedToken) *addedTokens {
	a := new(addedTokens)
	for _, t := range tokens {
		if t.pattern == "" {
			continue
		}
		l := &a.byFirst[t.pattern[0]]
		*l = append(*l, t)
		a.any = true
	}
	for i := range a.byFirst {
		slices.SortStableFunc(a.byFirst[i], func(x, y *addedToken) int { return len(y.pattern) - len(x.pattern) })
	}
	return a
}

// at returns the longest added token at the beginning of s, or nil.
func (a *addedTokens) at(s string) *addedToken {
	for _, t := range a.byFirst[s[0]] {
		if strings.HasPrefix(s, t.pattern) {
			return t
		}
	}
	return nil
}

// cut appends the parts of p: ordinary text and added tokens.
func (a *addedTokens) cut(out []piece, p *piece) []piece {
	if !a.any {
		if p.text != "" {
			out = append(out, *p)
		}
		return out
	}
	text, done := p.text, 0
	for i := 0; i < len(text); {
		t := a.at(text[i:])
		if t == nil {
			i++
			continue
		}
		start, stop := i, i+len(t.pattern)
		i = stop
		if t.SingleWord && (endsWithWord(text[:start]) || startsWithWord(text[stop:])) {
			continue
		}
		if t.Lstrip {
			start = max(len(strings.TrimRightFunc(text[:start], unicode.IsSpace)), done)
		}
		if t.Rstrip {
			stop = len(text) - len(strings.TrimLeftFunc(text[stop:], unicode.IsSpace))
		}
		if done < start {
			out = append(out, p.slice(done, start))
		}
		q := p.slice(start, stop)
		q.token = &t.Id
		out = append(out, q)
		done = stop
		i = max(i, stop)
	}
	if done < len(text) {
		out = append(out, p.slice(done, len(text)))
	}
	return out
}

func endsWithWord(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWord(r)
}

func startsWithWord(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWord(r)
}

// resolveAdded gives the added tokens their ids and patterns. The model's own
// id wins over a declared one, as in the official implementation; a token that
// the model does not have keeps its declared id.
func resolveAdded(config []tokenizer.TokenConfig, vocab map[string]int64, normalizers []normalizer) ([]*addedToken, error) {
	owner := make(map[int64]string, len(vocab)+len(config))
	for t, id := range vocab {
		owner[id] = t
	}
	index := make(map[string]int, len(config))
	var out []*addedToken
	for _, c := range config {
		if c.Content == "" {
			continue
		}
		if id, ok := vocab[c.Content]; ok {
			c.Id = id
		} else if t, taken := owner[c.Id]; taken && t != c.Content || c.Id < 0 || c.Id > maxID {
			return nil, fmt.Errorf("added_tokens: %q has id %d, which is out of range or belongs to %q", c.Content, c.Id, t)
		}
		owner[c.Id] = c.Content
		t := &addedToken{c, c.Content}
		if c.Normalized {
			p := piece{text: c.Content}
			for _, n := range normalizers {
				if err := n.normalise(&p); err != nil {
					return nil, fmt.Errorf("added_tokens: %q: %w", c.Content, err)
				}
			}
			t.pattern = p.text
		}
		if i, again := index[c.Content]; again {
			out[i] = t
			continue
		}
		index[c.Content] = len(out)
		out = append(out, t)
	}
	return out, nil
}
