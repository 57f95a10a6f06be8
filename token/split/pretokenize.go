package split

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"editpipe/token/bytelevel"
	"editpipe/token/pattern"
	"editpipe/token/piece"
)

// patternSplit cuts at a pattern (types Split, Digits, Punctuation, Whitespace,
// WhitespaceSplit, CharDelimiterSplit).
type patternSplit struct {
	m pattern.Pattern
	b behaviour
}

func (s patternSplit) split(out []piece.Piece, p *piece.Piece) ([]piece.Piece, error) {
	return splitPiece(out, p, s.m, s.b)
}

// byteLevel cuts with GPT-2's pattern and writes every byte as one printable
// character (Radford et al. 2019, encoder.py).
type byteLevel struct {
	addPrefixSpace, useRegex bool
	// raw leaves the bytes as they are because the model reads bytes.
	raw bool
}

func (s *byteLevel) split(out []piece.Piece, p *piece.Piece) ([]piece.Piece, error) {
	if s.addPrefixSpace && !strings.HasPrefix(p.Text, " ") {
		p.Prepend(" ")
	}
	first := len(out)
	if s.useRegex {
		out, _ = splitPiece(out, p, bytelevel.Pattern{}, isolated)
	} else {
		out = append(out, *p)
	}
	if !s.raw {
		for i := first; i < len(out); i++ {
			out[i].MapBytes(bytelevel.Rune)
		}
	}
	return out, nil
}

// isPunctuation reports Unicode punctuation and all ASCII punctuation, which
// includes symbols such as $ and +.
func isPunctuation(r rune) bool {
	if r < utf8.RuneSelf {
		return r > ' ' && r < 0x7F && !isASCIIAlnum(r)
	}
	return unicode.IsPunct(r)
}

func isASCIIAlnum(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}

// wordKind sorts characters for the pattern \w+|[^\w\s]+: 0 for white space, 1
// for \w, 2 for the rest.
func wordKind(r rune) int {
	switch {
	case isWord(r):
		return 1
	case unicode.IsSpace(r):
		return 0
	}
	return 2
}

// isWord is \w of Unicode TR 18, which the official implementation uses.
func isWord(r rune) bool {
	if r < utf8.RuneSelf {
		return isASCIIAlnum(r) || r == '_'
	}
	return unicode.IsLetter(r) || unicode.IsMark(r) ||
		unicode.In(r, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic, unicode.Join_Control)
}
