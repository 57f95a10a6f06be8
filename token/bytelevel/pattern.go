package bytelevel

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"editpipe/token/character"
	"editpipe/token/piece"
)

// Pattern is the [piece.Pattern] that matches
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// written out by hand, because nearly all text of the supported models passes
// through it. It covers every text without gaps.
type Pattern struct{}

// Matches gives the words of text; every one is a hit.
func (Pattern) Matches(text string) ([]piece.Match, error) {
	out := make([]piece.Match, 0, len(text)/4+1)
	for i := 0; i < len(text); {
		n := next(text[i:])
		out = append(out, piece.Match{Start: i, End: i + n, Hit: true})
		i += n
	}
	return out, nil
}

// Classes of characters in GPT-2's pattern.
const (
	spaceClass = iota
	letterClass
	numberClass
	otherClass
)

// asciiClasses are the classes of the characters of nearly all text.
var asciiClasses = func() (t [utf8.RuneSelf]int) {
	for r := range t {
		t[r] = lookUp(rune(r))
	}
	return t
}()

func classOf(r rune) int {
	if r < utf8.RuneSelf {
		return asciiClasses[r]
	}
	return lookUp(r)
}

func lookUp(r rune) int {
	switch {
	case unicode.IsSpace(r):
		return spaceClass
	case character.IsLetter(r):
		return letterClass
	case character.IsNumber(r):
		return numberClass
	}
	return otherClass
}

// next returns the length of the match at the beginning of s, s not empty.
func next(s string) int {
	if s[0] == '\'' {
		for _, c := range [...]string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"} {
			if strings.HasPrefix(s, c) {
				return len(c)
			}
		}
	}
	start := 0
	if s[0] == ' ' {
		start = 1
	}
	if start < len(s) {
		r, n := utf8.DecodeRuneInString(s[start:])
		if kind := classOf(r); kind != spaceClass {
			for i := start + n; ; i += n {
				if i >= len(s) {
					return len(s)
				}
				if r, n = utf8.DecodeRuneInString(s[i:]); classOf(r) != kind {
					return i
				}
			}
		}
	}
	// White space: all of it at the end of the text, else all but its last character.
	last := 0
	for i, r := range s {
		if !unicode.IsSpace(r) {
			if last == 0 {
				return i
			}
			return last
		}
		last = i
	}
	return len(s)
}
