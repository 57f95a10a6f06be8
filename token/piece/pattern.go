package piece

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"editpipe/token/oniguruma"
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

// expression matches a regular expression as the official implementation does.
type expression struct{ re *oniguruma.Regexp }

func newExpression(source string, limit time.Duration) (expression, error) {
	re, err := oniguruma.Compile(source, limit)
	return expression{re}, err
}

func (e expression) Matches(text string) ([]Match, error) {
	hits, err := e.re.All(text)
	if err != nil {
		return nil, err
	}
	out := make([]Match, 0, 2*len(hits)+1)
	at := 0
	for _, h := range hits {
		if at < h[0] {
			out = append(out, Match{at, h[0], false})
		}
		out = append(out, Match{h[0], h[1], true})
		at = h[1]
	}
	if at < len(text) {
		out = append(out, Match{at, len(text), false})
	}
	return out, nil
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

// ParsePattern reads {"String": "..."} or {"Regex": "..."}.
func ParsePattern(data json.RawMessage) (Pattern, error) {
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
