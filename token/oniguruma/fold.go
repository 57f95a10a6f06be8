package oniguruma

import (
	"slices"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/text/cases"
)

// added16 are the pairs of letters that Unicode 16.0 has and package unicode of
// Unicode 15.0 does not: first letter, first partner, number of them. The first
// three are older letters that fold alike since 15.1.
var added16 = [][3]rune{{0x0390, 0x1FD3, 1}, {0x03B0, 0x1FE3, 1}, {0xFB05, 0xFB06, 1}, {0x0264, 0xA7CB, 1}, {0x019B, 0xA7DC, 1}, {0xA7CC, 0xA7CD, 1}, {0xA7DA, 0xA7DB, 1}, {0x1C89, 0x1C8A, 1}, {0x10D50, 0x10D70, 22}}

// orbit gives the characters that (?i) takes for r, r among them.
func orbit(r rune) []rune {
	out := []rune{r}
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		out = append(out, f)
	}
	for _, a := range added16 {
		if d := r - a[0]; d >= 0 && d < a[2] {
			out = append(out, a[1]+d)
		} else if d := r - a[1]; d >= 0 && d < a[2] {
			out = append(out, a[0]+d)
		}
	}
	return out
}

// lowest gives one character for all that (?i) takes for the same.
func lowest(r rune) rune { return slices.Min(orbit(r)) }

// folding are all characters that (?i) takes for others, in order.
var folding = sync.OnceValue(func() []rune {
	var out []rune
	for r := rune(0); r < 0x20000; r++ { // no script above has two cases
		if len(orbit(r)) > 1 {
			out = append(out, r)
		}
	}
	return out
})

// many are the characters whose full case folding is more than one character
// (status F in CaseFolding.txt of Unicode), and those foldings, of the lowest
// characters.
var many = sync.OnceValue(func() (m struct {
	chars     set
	sequences []string
}) {
	fold := cases.Fold()
	var list []span
	for r := rune(0x80); r < 0x10000; r++ {
		if r >= 0x600 && r < 0x1E00 || r >= 0x2000 && r < 0xFB00 { // nothing of the kind
			continue
		}
		full := []rune(fold.String(string(r)))
		if len(full) < 2 {
			continue
		}
		list = append(list, span{r, r})
		for i := range full {
			full[i] = lowest(full[i])
		}
		m.sequences = append(m.sequences, string(full))
	}
	m.chars = ofSpans(list...)
	return m
})

// foldsToMany reports whether the end of a run of lowest characters is one that
// (?i) also takes for another number of characters: "ss" is also "ß".
func foldsToMany(run []rune) bool {
	s := string(run)
	return slices.ContainsFunc(orbit(run[len(run)-1]), many().chars.has) ||
		slices.ContainsFunc(many().sequences, func(full string) bool { return strings.HasSuffix(s, full) })
}

// foldSet adds to s what (?i) takes for its characters.
func foldSet(s set) set {
	out := []set{s}
	for _, r := range folding() {
		if s.has(r) {
			for _, f := range orbit(r) {
				out = append(out, single(f))
			}
		}
	}
	return union(out...)
}

// foldClass is what (?i) makes of a class. The engine adds the characters that
// fold alike to those listed, and alternatives of several characters where a
// listed one folds to several; the second is not translated.
func foldClass(s set, f form) (set, error) {
	if f == excluded {
		return foldSet(s.not()).not(), nil
	}
	all := foldSet(s)
	if len(intersect(all, many().chars)) > 0 {
		return nil, unsupported("(?i) over a character class with letters that fold to more than one, such as ß,")
	}
	if f == composed && !slices.Equal(all, s) {
		return nil, unsupported("(?i) over a class inside a class")
	}
	return all, nil
}
