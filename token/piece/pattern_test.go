package piece

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

// TestMatches checks by hand what each pattern finds: matches are bracketed.
func TestMatches(t *testing.T) {
	regex := func(s string) Pattern {
		e, err := newExpression(s, matchLimit)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	kind := Words(func(r rune) int {
		switch {
		case unicode.IsSpace(r):
			return 0
		case unicode.IsLetter(r):
			return 1
		}
		return 2
	})
	for _, c := range []struct {
		m          Pattern
		text, want string
	}{
		{Literal("ab"), "xababé", "x|[ab]|[ab]|é"},
		{Literal(""), "ab", "ab"},
		{Literal("a"), "", ""},
		{Class(unicode.IsNumber), "é12x", "é|[1]|[2]|x"},
		{kind, "ab, c", "[ab]|[,]| |[c]"},
		{Inverted{kind}, "ab c", "ab|[ ]|c"},
		{regex(`a+(?!b)`), "éaaab日a", "é|[aa]|ab日|[a]"}, // lookahead, offsets in bytes
		{regex(`x`), "ab", "ab"},
		{regex(`\p{L}+`), "", ""},
	} {
		matches, err := c.m.Matches(c.text)
		if err != nil {
			t.Fatal(err)
		}
		var parts []string
		at := 0
		for _, x := range matches {
			part := c.text[x.Start:x.End]
			if x.Hit {
				part = "[" + part + "]"
			}
			if x.Start != at {
				t.Errorf("%#v: %q: part %q does not begin at %d", c.m, c.text, part, at)
			}
			at = x.End
			parts = append(parts, part)
		}
		if got := strings.Join(parts, "|"); got != c.want || at != len(c.text) {
			t.Errorf("%#v: %q: %s, want %s", c.m, c.text, got, c.want)
		}
	}
}

func TestParsePattern(t *testing.T) {
	for data, want := range map[string]string{
		`{"Regex":"("}`: "regular expression",
		`{}`:            "neither String nor Regex",
		`[]`:            "pattern:",
	} {
		if _, err := ParsePattern([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", data, err)
		}
	}
	m, err := ParsePattern([]byte(`{"Regex":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := m.(expression); !ok || e.re.Limit() != matchLimit {
		t.Errorf("%v has no time limit", m)
	}
}

// TestHostile gives up on an expression that would need 2^40 steps and more.
func TestHostile(t *testing.T) {
	const (
		limit = 100 * time.Millisecond
		slack = 20 * time.Second // a busy machine; without a limit it takes days
	)
	text := "ok " + strings.Repeat("a", 40) + "!"
	for _, s := range []string{`(a+a?)+$`, `(a|aa)+\z`} {
		e, err := newExpression(s, limit)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, err = e.Matches(text)
		if err == nil || !strings.Contains(err.Error(), "no answer within 100ms") || strings.Contains(err.Error(), "aaaa") {
			t.Errorf("%s: error %v", s, err)
		}
		if d := time.Since(start); d > slack {
			t.Errorf("%s: gave up after %v", s, d)
		}
		// The limit is for one search; the expression stays of use.
		if matches, err := e.Matches("aa"); err != nil || !slices.Equal(matches, []Match{{0, 2, true}}) {
			t.Errorf("%s afterwards: %v, %v", s, matches, err)
		}
	}
}
