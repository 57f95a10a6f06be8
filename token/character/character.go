// Package character classifies characters as the official implementation does.
// Its parts were built at different times, each with the tables of the Unicode
// version of that time; a character newer than a part is unassigned for it.
// internal/tokencheck compares every character with version 0.23.2:
//
//	Unicode 8.0   punctuation and what BertNormalizer removes (crate unicode_categories 0.1)
//	Unicode 9.0   normalisation forms and StripAccents (crate unicode-normalization-alignments 0.1)
//	Unicode 16.0  regular expressions (Oniguruma 6.9.10 and crate regex)
//	Unicode 17.0  digits and lower case (Rust's standard library), graphemes
package character

import (
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/rangetable"

	"editpipe/token/oniguruma"
)

var (
	of8  = sync.OnceValue(func() *unicode.RangeTable { return rangetable.Assigned("8.0.0") })
	of9  = sync.OnceValue(func() *unicode.RangeTable { return rangetable.Assigned("9.0.0") })
	of16 = func(property string) func() oniguruma.Set {
		return sync.OnceValue(func() oniguruma.Set { return oniguruma.Property(property) })
	}
	letters16, numbers16, marks16, words16 = of16("l"), of16("n"), of16("m"), of16("word")
)

// IsLetter and IsNumber are \p{L} and \p{N} of Unicode 16.0.
func IsLetter(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r|0x20 && r|0x20 <= 'z'
	}
	return letters16().Has(r)
}

// IsNumber is described with [IsLetter].
func IsNumber(r rune) bool {
	if r < utf8.RuneSelf {
		return '0' <= r && r <= '9'
	}
	return numbers16().Has(r)
}

// IsDigit reports what the pre-tokenizer Digits cuts out: all numbers of Unicode 17.0.
func IsDigit(r rune) bool {
	return IsNumber(r) || r >= 0x11DE0 && r <= 0x11DE9 || r >= 0x16FF4 && r <= 0x16FF6
}

// IsWord is \w of Unicode Technical Standard 18, annex C: the pattern of the
// pre-tokenizer Whitespace and the ends of single words. Unlike Oniguruma's it has
// the two joiners and no superior digits.
func IsWord(r rune) bool {
	if r < utf8.RuneSelf {
		return isASCIIAlnum(r) || r == '_'
	}
	switch r {
	case '²', '³', '¹', '¼', '½', '¾':
		return false
	case 0x200C, 0x200D:
		return true
	}
	return words16().Has(r)
}

func isASCIIAlnum(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}

// IsPunctuation reports punctuation of Unicode 8.0 and all ASCII punctuation, which
// includes symbols such as $ and +.
func IsPunctuation(r rune) bool {
	if r < utf8.RuneSelf {
		return r > ' ' && r < 0x7F && !isASCIIAlnum(r)
	}
	// Two were punctuation then and are not now.
	return r == 0x166D || r == 0x111C9 || unicode.IsPunct(r) && unicode.Is(of8(), r)
}

// IsOther reports the control, format and private-use characters of Unicode 8.0;
// unassigned ones are not among them.
func IsOther(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co) && (unicode.Is(of8(), r) || unicode.Is(unicode.Co, r))
}

// IsNonspacing reports the non-spacing marks of Unicode 8.0.
func IsNonspacing(r rune) bool {
	switch r {
	case 0x1734: // a spacing mark since
		return true
	case 0x1885, 0x1886, 0xA9BD, 0x111C9: // non-spacing marks since
		return false
	}
	return unicode.Is(unicode.Mn, r) && unicode.Is(of8(), r)
}

// IsCombining reports the marks of Unicode 9.0.
func IsCombining(r rune) bool {
	switch r {
	case 0x1CF2, 0x1CF3: // letters since
		return true
	case 0x111C9: // a mark since
		return false
	}
	return unicode.IsMark(r) && unicode.Is(of9(), r)
}

// Normalises reports whether the normalisation forms know a character: it is of
// Unicode 9.0. To them any other has no decomposition, composes with nothing and
// has the combining class 0.
func Normalises(r rune) bool { return r < 0x300 || unicode.Is(of9(), r) }

// marks17 are the marks that Unicode 17.0 added.
var marks17 = [...][2]rune{{0x1ACF, 0x1ADD}, {0x1AE0, 0x1AEB}, {0x10EFA, 0x10EFB}, {0x11B60, 0x11B67},
	{0x1E6E3, 0x1E6E3}, {0x1E6E6, 0x1E6E6}, {0x1E6EE, 0x1E6EF}, {0x1E6F5, 0x1E6F5}}

// IsNewMark reports the marks of Unicode 17.0 that package unicode does not have.
func IsNewMark(r rune) bool {
	for _, m := range marks17 {
		if r >= m[0] && r <= m[1] {
			return true
		}
	}
	return marks16().Has(r) && !unicode.IsMark(r)
}

// newLower are the capitals that are newer than package unicode: the first, the
// last, and how far from them their small letters are.
var newLower = [...][3]rune{
	{0x1C89, 0x1C89, 1}, {0xA7CB, 0xA7CB, 0x264 - 0xA7CB}, {0xA7CC, 0xA7CC, 1}, {0xA7CE, 0xA7CE, 1}, {0xA7D2, 0xA7D2, 1},
	{0xA7D4, 0xA7D4, 1}, {0xA7DA, 0xA7DA, 1}, {0xA7DC, 0xA7DC, 0x19B - 0xA7DC}, {0x10D50, 0x10D65, 0x20}, {0x16EA0, 0x16EB8, 0x1B},
}

// ToLower gives the small letter of a capital of Unicode 17.0; İ alone has one of
// two characters, which it does not give.
func ToLower(r rune) rune {
	if l := unicode.ToLower(r); l != r || r < newLower[0][0] {
		return l
	}
	for _, n := range newLower {
		if r >= n[0] && r <= n[1] {
			return r + n[2]
		}
	}
	return r
}
