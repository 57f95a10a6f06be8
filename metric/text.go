package metric

import (
	"slices"
	"strings"
	"unicode"
)

// sameText compares after SQuAD's normalisation (Rajpurkar et al. 2016):
// lower case, no punctuation or symbols, no articles, single spaces.
func sameText(a, b string) bool {
	return slices.Equal(squad(a), squad(b))
}

func squad(s string) []string {
	s = strings.ToLower(s)
	bare := strings.Map(func(r rune) rune {
		if unicode.IsPunct(r) || unicode.IsSymbol(r) {
			return -1
		}
		return r
	}, s)
	for _, words := range [][]string{withoutArticles(strings.Fields(bare)), strings.Fields(bare)} {
		if len(words) > 0 {
			return words
		}
	}
	return strings.Fields(s) // nothing but punctuation: compared as it stands
}

// containsText looks for the words of part, in a row, among those of text.
// Punctuation ends a word here, so that "Paris,France" contains "Paris".
func containsText(text, part string) bool {
	t, p := words(text), words(part)
	if bare := withoutArticles(p); len(bare) > 0 { // the answer may be the blood type A
		t, p = withoutArticles(t), bare
	}
	if len(p) == 0 {
		return false
	}
	for i := 0; i+len(p) <= len(t); i++ {
		if slices.Equal(t[i:i+len(p)], p) {
			return true
		}
	}
	return false
}

// words splits at everything that is no letter, digit or mark. Scripts written
// without spaces give one word per character.
func words(s string) []string {
	var out []string
	var word strings.Builder
	end := func() {
		if word.Len() > 0 {
			out = append(out, word.String())
			word.Reset()
		}
	}
	for _, r := range strings.ToLower(s) {
		switch {
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar):
			end()
			out = append(out, string(r))
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r):
			word.WriteRune(r)
		default:
			end()
		}
	}
	end()
	return out
}

// withoutArticles drops the English articles.
func withoutArticles(words []string) []string {
	var out []string
	for _, w := range words {
		if w != "a" && w != "an" && w != "the" {
			out = append(out, w)
		}
	}
	return out
}
