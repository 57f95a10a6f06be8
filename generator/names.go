package generator

import (
	"slices"
	"strings"
	"unicode"

	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// mentions tells whether the text contains the name as whole words.
func mentions(text, name string) bool { return mentionsAny(text, []string{name}) }

// mentionsAny tells whether the text contains one of the names.
func mentionsAny(text string, names []string) bool {
	padded := " " + kb.Normalise(text) + " "
	for _, n := range names {
		if n = kb.Normalise(n); n != "" && strings.Contains(padded, " "+n+" ") {
			return true
		}
	}
	return false
}

// sameAsAny tells whether the name equals one of the names once normalised.
func sameAsAny(name string, names []string) bool {
	n := kb.Normalise(name)
	return slices.ContainsFunc(names, func(other string) bool { return kb.Normalise(other) == n })
}

// leakShare is the share of an answer that may occur in a name of the subject
// (the filter of UniEdit).
const leakShare = 0.6

// leaks tells whether more than leakShare of the answer stands in one piece in
// one of the names.
func leaks(answer string, names []string) bool {
	a := []rune(kb.Normalise(answer))
	if len(a) == 0 {
		return false
	}
	for _, n := range names {
		if float64(longestCommon(a, []rune(kb.Normalise(n)))) > leakShare*float64(len(a)) {
			return true
		}
	}
	return false
}

// longestCommon is the length of the longest common substring.
func longestCommon(a, b []rune) int {
	best := 0
	row := make([]int, len(b)+1)
	for i := range a {
		diagonal := 0
		for j := range b {
			above := row[j+1]
			row[j+1] = 0
			if a[i] == b[j] {
				row[j+1] = diagonal + 1
				best = max(best, row[j+1])
			}
			diagonal = above
		}
	}
	return best
}

// Limits of a name that is put into a prompt.
const (
	maxLabelRunes = 60
	maxLabelWords = 8
)

func tooLong(label string) bool {
	return len([]rune(label)) > maxLabelRunes || len(strings.Fields(label)) > maxLabelWords
}

// aliasForm returns why a spelling cannot stand for a name in a sentence:
// alias_script, alias_code or "".
func aliasForm(alias string) string {
	letters, upper := 0, 0
	for _, r := range alias {
		switch {
		case unicode.Is(unicode.Latin, r):
			letters++
			if unicode.IsUpper(r) {
				upper++
			}
		case unicode.IsLetter(r):
			return RejectAliasScript
		case unicode.IsSymbol(r):
			return RejectAliasCode // emoji, flags, signs
		}
	}
	if letters < 3 || (upper == letters && letters <= 4) {
		return RejectAliasCode
	}
	return ""
}

// render puts the name into the template's place and returns the text with the
// byte span of the name. A text that begins with a phrase (not a name) gets a
// capital letter.
func render(t catalogue.Template, place, name string, capitalise bool) (text string, start, end int) {
	i := strings.Index(t.Text, place)
	text = t.Text[:i] + name + t.Text[i+len(place):]
	if capitalise && text != "" {
		text = upperFirst(text)
	}
	return text, i, i + len(name)
}

func upperFirst(s string) string {
	r := []rune(s)
	r[0] = unicode.ToUpper(r[0])
	return string(r)
}
