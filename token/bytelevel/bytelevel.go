// Package bytelevel is the byte level of GPT-2 (Radford et al. 2019,
// encoder.py): the alphabet of 256 printable characters in which its
// vocabularies write the bytes of a text, the conversion back to text, and the
// pattern that first cuts a text into words.
package bytelevel

import (
	"strings"
	"unicode/utf8"
)

// Rune returns the printable character that stands for b.
func Rune(b byte) rune {
	switch {
	case b >= '!' && b <= '~', b >= 0xA1 && b <= 0xAC, b >= 0xAE:
		return rune(b)
	case b <= ' ':
		return 256 + rune(b)
	case b == 0xAD:
		return 256 + 67
	}
	return 256 + 33 + rune(b) - 0x7F
}

// Byte is the inverse of [Rune]; ok is false when r stands for no byte.
func Byte(r rune) (b byte, ok bool) {
	switch {
	case r < 256:
		b = byte(r)
	case r <= 256+' ':
		b = byte(r - 256)
	case r == 256+67:
		b = 0xAD
	case r < 256+67:
		b = byte(r - 256 - 33 + 0x7F)
	default:
		return 0, false
	}
	return b, r >= 0 && Rune(b) == r
}

// Bytes turns printable characters back into the bytes they stand for; ok is
// false when a character stands for none.
func Bytes(s string) (b []byte, ok bool) {
	b = make([]byte, 0, len(s))
	for _, r := range s {
		c, ok := Byte(r)
		if !ok {
			return nil, false
		}
		b = append(b, c)
	}
	return b, true
}

// Text joins tokens written with byte characters. A token with any other
// character, such as an added token, stands for itself. Bytes that are not UTF-8
// become U+FFFD.
func Text(tokens []string) string {
	var all []byte
	for _, t := range tokens {
		if b, ok := Bytes(t); ok {
			all = append(all, b...)
		} else {
			all = append(all, t...)
		}
	}
	return toValid(all)
}

// toValid replaces every maximal part of an ill-formed sequence by U+FFFD, as
// Rust and the WHATWG encoding standard do. (strings.ToValidUTF8 replaces whole
// runs, ranging over the string replaces single bytes.)
func toValid(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var out strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			// The longest prefix that some continuation would make a character.
			for n < len(b) && n < utf8.UTFMax && couldBegin(b[:n+1]) {
				n++
			}
		}
		out.WriteRune(r)
		b = b[n:]
	}
	return out.String()
}

// couldBegin reports whether more bytes could make b a character.
func couldBegin(b []byte) bool { return !utf8.FullRune(b) }
