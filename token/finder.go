package token

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"editpipe/token/character"
	"editpipe/token/piece"
)

// finder finds added tokens in a text: the leftmost, of those the longest.
type finder struct {
	byFirst [256][]*addedToken // by first byte of the pattern, longest first
	any     bool
}

// newFinder returns a finder of tokens.
func newFinder(tokens []addedToken) *finder {
	a := new(finder)
	for i := range tokens {
		t := &tokens[i]
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
func (a *finder) at(s string) *addedToken {
	for _, t := range a.byFirst[s[0]] {
		if strings.HasPrefix(s, t.pattern) {
			return t
		}
	}
	return nil
}

// cut appends the parts of p: ordinary text and added tokens.
func (a *finder) cut(out []piece.Piece, p *piece.Piece) []piece.Piece {
	if !a.any {
		if p.Text != "" {
			// A slice, as where there are tokens: it begins where its first character does.
			out = append(out, p.Slice(0, len(p.Text)))
		}
		return out
	}
	text, done := p.Text, 0
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
			out = append(out, p.Slice(done, start))
		}
		q := p.Slice(start, stop)
		q.Token = &t.Id
		out = append(out, q)
		done = stop
		i = max(i, stop)
	}
	if done < len(text) {
		out = append(out, p.Slice(done, len(text)))
	}
	return out
}

func endsWithWord(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && character.IsWord(r)
}

func startsWithWord(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && character.IsWord(r)
}
