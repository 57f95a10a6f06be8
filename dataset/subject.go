package dataset

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Mention is where a name stands in a text.
type Mention struct {
	Start, End int32 // bytes of the text as it stands; -1, -1 where the name does not occur
	Exact      bool  // the text has the name letter by letter
}

// Found says whether the name occurs.
func (m Mention) Found() bool { return m.Start >= 0 }

// FindName finds a name, as a rule an edit's subject, in a text. It looks for the
// name as it is written, then for one that differs in Unicode form, case,
// apostrophes or white space, and last for one that differs in where spaces stand
// at all (J.R.R. and J. R. R.), then as whole words only. Before it, the first occurrence
// as whole words comes before the first one inside a word.
func FindName(text, name string) Mention {
	name = strings.TrimSpace(name)
	for step, form := range []func(string) folded{verbatim, fold, squeeze} {
		// Without spaces, words run into each other: Lisa holds "is a".
		if start, end, words := form(text).find(text, form(name).text); start >= 0 && (step < 2 || words > 0) {
			return Mention{int32(start), int32(end), step == 0}
		}
	}
	return Mention{Start: -1, End: -1}
}

// CountName says how often a name that occurs stands in a text as whole words, in
// any spelling that FindName takes for the name; at least 1 where it occurs.
func CountName(text, name string) int {
	if !FindName(text, name).Found() {
		return 0
	}
	for _, form := range []func(string) folded{fold, squeeze} {
		if _, _, words := form(text).find(text, form(strings.TrimSpace(name)).text); words > 0 {
			return words
		}
	}
	return 1 // inside a word only
}

// SameName says whether two texts are one name to FindName.
func SameName(a, b string) bool {
	return bytes.Equal(squeeze(strings.TrimSpace(a)).text, squeeze(strings.TrimSpace(b)).text)
}

// folded is a text in the form in which it is compared.
type folded struct {
	text []byte
	// The part of the source that each byte of text was made from: all bytes made
	// from one part have its bounds. nil where text is the source itself.
	from, to []int
}

func verbatim(s string) folded { return folded{text: []byte(s)} }

// fold composes what NFC composes, and gives case, apostrophes, hyphens and runs of white
// space one form each.
func fold(s string) folded { return folding(s, " ") }

// squeeze is fold without any white space.
func squeeze(s string) folded { return folding(s, "") }

func folding(s, space string) folded {
	out := folded{text: make([]byte, 0, len(s)), from: make([]int, 0, len(s)), to: make([]int, 0, len(s))}
	lower := cases.Fold()
	for at := 0; at < len(s); {
		end := at + 1
		var part string
		if c := s[at]; c < utf8.RuneSelf && (end == len(s) || s[end] < utf8.RuneSelf) { // nothing that could combine follows
			part = string(asciiLower(c))
		} else {
			end = at + max(1, norm.NFC.NextBoundaryInString(s[at:], true))
			part = lower.String(norm.NFC.String(s[at:end]))
		}
		switch first, _ := utf8.DecodeRuneInString(part); {
		case unicode.IsSpace(first):
			part = space
			if n := len(out.text); n > 0 && out.text[n-1] == ' ' { // a run is one space
				part, out.to[n-1] = "", end
			}
		case strings.ContainsRune(apostrophes, first):
			part = "'"
		case strings.ContainsRune(hyphens, first):
			part = "-"
		case strings.ContainsRune(invisible, first):
			part = ""
		}
		for range len(part) {
			out.from, out.to = append(out.from, at), append(out.to, end)
		}
		out.text = append(out.text, part...)
		at = end
	}
	return out
}

func asciiLower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

const (
	apostrophes = "’‘ʼʻʹ′`´＇՚‛"
	hyphens     = "\u2010\u2011" // hyphen, and the one that does not break
	invisible   = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
)

// find returns the source bytes of the first occurrence of name as whole words,
// else of its first occurrence, and how many occurrences are whole words; -1, -1
// where there is none.
func (f folded) find(source string, name []byte) (start, end, words int) {
	start, end = -1, -1
	if len(name) == 0 {
		return start, end, 0
	}
	for at := 0; ; {
		i := bytes.Index(f.text[at:], name)
		if i < 0 {
			return start, end, words
		}
		i += at
		at = i + 1
		from, to, ok := f.source(i, i+len(name))
		if !ok {
			continue
		}
		before, _ := utf8.DecodeLastRuneInString(source[:from])
		after, _ := utf8.DecodeRuneInString(source[to:])
		whole := !wordRune(before) && !wordRune(after)
		if whole {
			words++
			at = i + len(name)
		}
		if start < 0 || whole && words == 1 {
			start, end = from, to
		}
	}
}

// source gives the source bytes that a part of the folded text was made from;
// false where it begins or ends inside what one part of the source became.
func (f folded) source(i, j int) (from, to int, ok bool) {
	if f.from == nil {
		return i, j, true
	}
	if i > 0 && f.from[i-1] == f.from[i] || j < len(f.text) && f.from[j-1] == f.from[j] {
		return 0, 0, false
	}
	return f.from[i], f.to[j-1], true
}

// wordRune says whether a rune belongs to the word beside it. Scripts that are
// written without spaces show no words.
func wordRune(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)) &&
		!unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}
