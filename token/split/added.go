package split

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"editpipe/token/character"
	"editpipe/token/piece"
)

// Added is a token that is cut out of the text before the model sees it.
type Added struct {
	ID         int64
	Pattern    string // what is looked for; a token without one is never found
	SingleWord bool   // not inside a word
	LeftStrip  bool   // takes the white space before it
	RightStrip bool   // takes the white space after it
}

// Finder finds added tokens in a text: the leftmost, of those the longest.
type Finder struct {
	byFirst [256][]*Added // by first byte of the pattern, longest first
	any     bool
}

// NewFinder returns a finder of tokens.
func NewFinder(tokens []Added) *Finder {
	a := new(Finder)
	for i := range tokens {
		t := &tokens[i]
		if t.Pattern == "" {
			continue
		}
		l := &a.byFirst[t.Pattern[0]]
		*l = append(*l, t)
		a.any = true
	}
	for i := range a.byFirst {
		slices.SortStableFunc(a.byFirst[i], func(x, y *Added) int { return len(y.Pattern) - len(x.Pattern) })
	}
	return a
}

// at returns the longest added token at the beginning of s, or nil.
func (a *Finder) at(s string) *Added {
	for _, t := range a.byFirst[s[0]] {
		if strings.HasPrefix(s, t.Pattern) {
			return t
		}
	}
	return nil
}

// Cut appends the parts of p: ordinary text and added tokens.
func (a *Finder) Cut(out []piece.Piece, p *piece.Piece) []piece.Piece {
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
		start, stop := i, i+len(t.Pattern)
		i = stop
		if t.SingleWord && (endsWithWord(text[:start]) || startsWithWord(text[stop:])) {
			continue
		}
		if t.LeftStrip {
			start = max(len(strings.TrimRightFunc(text[:start], unicode.IsSpace)), done)
		}
		if t.RightStrip {
			stop = len(text) - len(strings.TrimLeftFunc(text[stop:], unicode.IsSpace))
		}
		if done < start {
			out = append(out, p.Slice(done, start))
		}
		q := p.Slice(start, stop)
		q.Token = &t.ID
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
