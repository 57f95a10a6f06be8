package token

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// match is one stretch of a text cut by a pattern: either a match (hit) or what
// lies between two matches.
type match struct {
	start, end int
	hit        bool
}

// matcher cuts a whole text into contiguous matches and gaps.
type matcher interface {
	matches(text string) ([]match, error)
}

// literal matches a fixed string.
type literal string

func (l literal) matches(text string) ([]match, error) {
	if l == "" {
		return []match{{0, len(text), false}}, nil
	}
	var out []match
	at := 0
	for {
		i := strings.Index(text[at:], string(l))
		if i < 0 {
			break
		}
		if i > 0 {
			out = append(out, match{at, at + i, false})
		}
		at += i + len(l)
		out = append(out, match{at - len(l), at, true})
	}
	if at < len(text) {
		out = append(out, match{at, len(text), false})
	}
	return out, nil
}

// expression matches a regular expression with lookahead, as Oniguruma would.
type expression struct{ re *regexp2.Regexp }

func newExpression(pattern string) (expression, error) {
	re, err := regexp2.Compile(pattern, regexp2.None)
	if err != nil {
		return expression{}, fmt.Errorf("regular expression %q: %w", pattern, err)
	}
	return expression{re}, nil
}

func (e expression) matches(text string) ([]match, error) {
	var out []match
	at, runes := 0, 0 // byte offset, and the same place counted in runes
	m, err := e.re.FindStringMatch(text)
	for ; m != nil && err == nil; m, err = e.re.FindNextMatch(m) {
		start := at + runeBytes(text[at:], m.Index-runes)
		end := start + runeBytes(text[start:], m.Length)
		if at < start {
			out = append(out, match{at, start, false})
		}
		out = append(out, match{start, end, true})
		at, runes = end, m.Index+m.Length
	}
	if err != nil {
		return nil, fmt.Errorf("matching %q: %w", e.re.String(), err)
	}
	if at < len(text) {
		out = append(out, match{at, len(text), false})
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

// class matches every single character that it accepts.
type class func(rune) bool

func (c class) matches(text string) ([]match, error) {
	var out []match
	last := 0
	for i, r := range text {
		if !c(r) {
			continue
		}
		if last < i {
			out = append(out, match{last, i, false})
		}
		last = i + utf8.RuneLen(r)
		out = append(out, match{i, last, true})
	}
	if last < len(text) {
		out = append(out, match{last, len(text), false})
	}
	return out, nil
}

// words matches runs of one class, for classes that split a text into words.
type words func(rune) int

func (w words) matches(text string) ([]match, error) {
	var out []match
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		kind, j := w(r), i+n
		for j < len(text) {
			if r, n = utf8.DecodeRuneInString(text[j:]); w(r) != kind {
				break
			}
			j += n
		}
		out = append(out, match{i, j, kind != 0})
		i = j
	}
	return out, nil
}

// inverted swaps matches and gaps.
type inverted struct{ matcher }

func (v inverted) matches(text string) ([]match, error) {
	out, err := v.matcher.matches(text)
	for i := range out {
		out[i].hit = !out[i].hit
	}
	return out, err
}

// parsePattern reads {"String": "..."} or {"Regex": "..."}.
func parsePattern(data json.RawMessage) (matcher, error) {
	var c struct{ String, Regex *string }
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	switch {
	case c.String != nil:
		return literal(*c.String), nil
	case c.Regex != nil:
		return newExpression(*c.Regex)
	}
	return nil, fmt.Errorf("pattern has neither String nor Regex")
}
