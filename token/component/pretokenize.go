package component

import (
	"strings"
	"unicode"

	"editpipe/token/bytelevel"
	"editpipe/token/character"
	"editpipe/token/piece"
)

// patternSplit cuts at a pattern (types Split, Digits, Punctuation, Whitespace,
// WhitespaceSplit, CharDelimiterSplit).
type patternSplit struct {
	m piece.Pattern
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

// wordKind sorts characters for the pattern \w+|[^\w\s]+: 0 for white space, 1
// for \w, 2 for the rest.
func wordKind(r rune) int {
	switch {
	case character.IsWord(r):
		return 1
	case unicode.IsSpace(r):
		return 0
	}
	return 2
}

// fixedLength cuts after every so many characters.
type fixedLength int

func (n fixedLength) split(out []piece.Piece, p *piece.Piece) ([]piece.Piece, error) {
	start, count := 0, 0
	for i := range p.Text {
		if count == int(n) {
			out = append(out, p.Slice(start, i))
			start, count = i, 0
		}
		count++
	}
	if start < len(p.Text) {
		out = append(out, p.Slice(start, len(p.Text)))
	}
	return out, nil
}
