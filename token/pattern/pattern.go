// Package pattern cuts a text into matches and the gaps between them: by a fixed
// string, a class of characters, a run of one class, or a regular expression.
// Normalisers replace what a pattern matches, pre-tokenizers cut there.
package pattern

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// Match is one stretch of a text cut by a pattern: either a match (Hit) or what
// lies between two matches.
type Match struct {
	Start, End int
	Hit        bool
}

// Pattern cuts a whole text into contiguous matches and gaps. Only a regular
// expression can fail.
type Pattern interface {
	Matches(text string) ([]Match, error)
}

// Literal matches a fixed string.
type Literal string

// Matches finds the string from left to right.
func (l Literal) Matches(text string) ([]Match, error) {
	if l == "" {
		return []Match{{0, len(text), false}}, nil
	}
	var out []Match
	at := 0
	for {
		i := strings.Index(text[at:], string(l))
		if i < 0 {
			break
		}
		if i > 0 {
			out = append(out, Match{at, at + i, false})
		}
		at += i + len(l)
		out = append(out, Match{at - len(l), at, true})
	}
	if at < len(text) {
		out = append(out, Match{at, len(text), false})
	}
	return out, nil
}

// matchLimit is how long the search for one match may take. Backtracking can
// take time exponential in the length of the text, and the expression comes
// from a file: without a limit such a file stops the process for good. The
// patterns of published tokenizers need microseconds.
const matchLimit = 10 * time.Second

// expression matches a regular expression with lookahead, as Oniguruma would.
type expression struct{ re *regexp2.Regexp }

func newExpression(pattern string, limit time.Duration) (expression, error) {
	re, err := regexp2.Compile(pattern, regexp2.None)
	if err != nil {
		return expression{}, fmt.Errorf("regular expression %q: %w", pattern, err)
	}
	re.MatchTimeout = limit
	return expression{re}, nil
}

func (e expression) Matches(text string) ([]Match, error) {
	var out []Match
	at, runes := 0, 0 // byte offset, and the same place counted in runes
	m, err := e.re.FindStringMatch(text)
	for ; m != nil && err == nil; m, err = e.re.FindNextMatch(m) {
		start := at + runeBytes(text[at:], m.Index-runes)
		end := start + runeBytes(text[start:], m.Length)
		if at < start {
			out = append(out, Match{at, start, false})
		}
		out = append(out, Match{start, end, true})
		at, runes = end, m.Index+m.Length
	}
	if err != nil {
		if strings.HasPrefix(err.Error(), "match timeout") { // regexp2's message repeats the whole text
			err = fmt.Errorf("no answer within %v at byte %d of %d", e.re.MatchTimeout, at, len(text))
		}
		return nil, fmt.Errorf("regular expression %q: %w", e.re.String(), err)
	}
	if at < len(text) {
		out = append(out, Match{at, len(text), false})
	}
	return out, nil
}

// runeBytes returns the number of bytes in the first n runes of s.
func runeBytes(s string, n int) int {
	b := 0
	for ; n > 0; n-- {
		_, size := utf8.DecodeRuneInString(s[b:])
		b += size
	}
	return b
}

// Class matches every single character that it accepts.
type Class func(rune) bool

// Matches gives a match for each character that is accepted.
func (c Class) Matches(text string) ([]Match, error) {
	var out []Match
	last := 0
	for i, r := range text {
		if !c(r) {
			continue
		}
		if last < i {
			out = append(out, Match{last, i, false})
		}
		last = i + utf8.RuneLen(r)
		out = append(out, Match{i, last, true})
	}
	if last < len(text) {
		out = append(out, Match{last, len(text), false})
	}
	return out, nil
}

// Words matches runs of characters of one kind, for kinds that split a text into
// words. Kind 0 lies between the matches.
type Words func(rune) int

// Matches gives a match or a gap for each run.
func (w Words) Matches(text string) ([]Match, error) {
	var out []Match
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		kind, j := w(r), i+n
		for j < len(text) {
			if r, n = utf8.DecodeRuneInString(text[j:]); w(r) != kind {
				break
			}
			j += n
		}
		out = append(out, Match{i, j, kind != 0})
		i = j
	}
	return out, nil
}

// Inverted swaps matches and gaps.
type Inverted struct{ Pattern }

// Matches gives the gaps of the inner pattern.
func (v Inverted) Matches(text string) ([]Match, error) {
	out, err := v.Pattern.Matches(text)
	for i := range out {
		out[i].Hit = !out[i].Hit
	}
	return out, err
}

// Parse reads {"String": "..."} or {"Regex": "..."}.
func Parse(data json.RawMessage) (Pattern, error) {
	var c struct{ String, Regex *string }
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	switch {
	case c.String != nil:
		return Literal(*c.String), nil
	case c.Regex != nil:
		return newExpression(*c.Regex, matchLimit)
	}
	return nil, fmt.Errorf("pattern has neither String nor Regex")
}
