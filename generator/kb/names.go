package kb

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Normalise brings a name into the form in which names are compared: composed
// (NFC), case folded, without punctuation and without a leading article.
func Normalise(name string) string {
	var b strings.Builder
	folded := strings.ToLower(name)
	if strings.ContainsFunc(name, func(r rune) bool { return r > unicode.MaxASCII }) {
		folded = cases.Fold().String(norm.NFC.String(name)) // slower, and the same for ASCII
	}
	for _, r := range folded {
		switch {
		case unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r):
			b.WriteRune(r)
		case r == '\'' || r == '’' || r == '.':
			// joins: O'Neil, U.S.
		default:
			b.WriteByte(' ')
		}
	}
	words := strings.Fields(b.String())
	if len(words) > 1 && (words[0] == "the" || words[0] == "a" || words[0] == "an") {
		words = words[1:]
	}
	return strings.Join(words, " ")
}

// Mentions tells whether the text contains the name as whole words.
func Mentions(text, name string) bool { return MentionsAny(text, []string{name}) }

// MentionsAny tells whether the text contains one of the names as whole words.
func MentionsAny(text string, names []string) bool { return Mentioned(text, names) != "" }

// Mentioned returns the first of the names that the text contains as whole
// words, or "".
func Mentioned(text string, names []string) string {
	padded := " " + Normalise(text) + " "
	for _, name := range names {
		if n := Normalise(name); n != "" && strings.Contains(padded, " "+n+" ") {
			return name
		}
	}
	return ""
}

// SameAsAny tells whether the name equals one of the names once normalised.
func SameAsAny(name string, names []string) bool {
	n := Normalise(name)
	return slices.ContainsFunc(names, func(other string) bool { return Normalise(other) == n })
}

// leakShare is the share of an answer that may occur in a name of the subject.
const leakShare = 0.6

// Leaks tells whether more than 60 % of the answer stands in one piece in one of
// the names (the filter of UniEdit).
func Leaks(answer string, names []string) bool {
	a := []rune(Normalise(answer))
	if len(a) == 0 {
		return false
	}
	for _, n := range names {
		if float64(longestCommon(a, []rune(Normalise(n)))) > leakShare*float64(len(a)) {
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

// Why a spelling cannot stand for a name in an English sentence.
const (
	AliasScript = "alias_script" // not in Latin script
	AliasCode   = "alias_code"   // a code, sign or emoji, or too short
)

// AliasForm returns why a spelling cannot stand for a name in an English
// sentence: AliasScript, AliasCode or "".
func AliasForm(alias string) string {
	letters, upper := 0, 0
	for _, r := range alias {
		switch {
		case unicode.Is(unicode.Latin, r):
			letters++
			if unicode.IsUpper(r) {
				upper++
			}
		case unicode.IsLetter(r):
			return AliasScript
		case unicode.IsSymbol(r):
			return AliasCode // emoji, flags, signs
		}
	}
	if letters < 3 || (upper == letters && letters <= 4) {
		return AliasCode
	}
	return ""
}

// dominance is how many times as many sitelinks an entity needs as the next
// bearer of an alias for the alias to count as its own.
const dominance = 20

// Owns tells whether a normalised name belongs to the entity alone, or mostly:
// it then has 20 times the sitelinks of every other bearer, and no class in
// common with it.
func (kb *Base) Owns(e *Entity, name string) (unique, dominant bool) {
	unique, dominant = true, true
	for _, id := range kb.Bearers(name) {
		if id == e.ID {
			continue
		}
		unique = false
		other := kb.Entity(id)
		shared := slices.ContainsFunc(kb.Classes(other), func(c string) bool { return slices.Contains(kb.Classes(e), c) })
		if shared || e.Sitelinks < dominance*max(other.Sitelinks, 1) {
			dominant = false
		}
	}
	return unique, dominant && !unique
}
