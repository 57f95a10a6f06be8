package component

import (
	"encoding/json"
	"fmt"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"editpipe/token/bytelevel"
	"editpipe/token/character"
	"editpipe/token/piece"
)

// Normaliser is the normaliser of one tokenizer; a Sequence is flattened. The
// zero value changes nothing.
type Normaliser struct{ steps []normalStep }

// normalStep changes the text of a piece and keeps its alignment.
type normalStep func(p *piece.Piece) error

// Normalise changes the text of p. The error is that of a regular expression
// that takes too long.
func (n Normaliser) Normalise(p *piece.Piece) error {
	for _, s := range n.steps {
		if err := s(p); err != nil {
			return err
		}
	}
	return nil
}

// ParseNormaliser reads the component "normalizer" of a tokenizer.json, which may be absent.
func ParseNormaliser(data json.RawMessage) (Normaliser, error) {
	var n Normaliser
	list, err := List(data)
	if err != nil {
		return n, err
	}
	for _, d := range list {
		s, err := parseNormalStep(d)
		if err != nil {
			return n, err
		}
		n.steps = append(n.steps, s)
	}
	return n, nil
}

func parseNormalStep(data json.RawMessage) (normalStep, error) {
	var c struct {
		Type       string
		Prepend    string
		Content    string
		Pattern    json.RawMessage
		StripLeft  bool    `json:"strip_left"`
		StripRight bool    `json:"strip_right"`
		Charsmap   *[]byte `json:"precompiled_charsmap"`
		bertNormalizer
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	// sure makes a step of a function that cannot fail.
	sure := func(f func(p *piece.Piece)) (normalStep, error) {
		return func(p *piece.Piece) error {
			f(p)
			return nil
		}, nil
	}
	switch c.Type {
	case "NFC":
		return sure(func(p *piece.Piece) { unicodeForm(p, norm.NFC) })
	case "NFD":
		return sure(func(p *piece.Piece) { unicodeForm(p, norm.NFD) })
	case "NFKC":
		return sure(func(p *piece.Piece) { unicodeForm(p, norm.NFKC) })
	case "NFKD":
		return sure(func(p *piece.Piece) { unicodeForm(p, norm.NFKD) })
	case "Lowercase":
		return sure(lowercase)
	case "StripAccents":
		return sure(func(p *piece.Piece) { p.Filter(func(r rune) bool { return !character.IsCombining(r) }) })
	case "Strip":
		return sure(func(p *piece.Piece) { strip(p, c.StripLeft, c.StripRight) })
	case "Prepend":
		return sure(func(p *piece.Piece) { p.Prepend(c.Prepend) })
	case "ByteLevel":
		return sure(func(p *piece.Piece) { p.MapBytes(bytelevel.Rune) })
	case "Replace":
		m, err := piece.ParsePattern(c.Pattern)
		if err != nil {
			return nil, fmt.Errorf("type Replace: %w", err)
		}
		return func(p *piece.Piece) error { return p.Replace(m, c.Content) }, nil
	case "Precompiled":
		if c.Charsmap == nil {
			return nil, fmt.Errorf("type Precompiled: precompiled_charsmap is missing")
		}
		m, err := newCharsmap(*c.Charsmap)
		if err != nil {
			return nil, fmt.Errorf("type Precompiled: %w", err)
		}
		return sure(m.normalise)
	case "BertNormalizer":
		return sure(c.bertNormalizer.normalise)
	case "Nmt":
		return sure(nmt)
	}
	return nil, Unsupported(c.Type)
}

// strip removes white space from the ends of p.
func strip(p *piece.Piece, left, right bool) {
	start, end := 0, len(p.Text)
	for i, r := range p.Text {
		if !unicode.IsSpace(r) {
			break
		}
		if left {
			start = i + utf8.RuneLen(r)
		}
	}
	if right {
		end = start
		for i, r := range p.Text {
			if i >= start && !unicode.IsSpace(r) {
				end = i + utf8.RuneLen(r)
			}
		}
	}
	if start == 0 && end == len(p.Text) {
		return
	}
	p.Trim(start, end)
}

// lowercase is full case mapping, character by character and without context.
func lowercase(p *piece.Piece) {
	dest := make([]piece.Change, 0, len(p.Text))
	same := true
	for _, r := range p.Text {
		l := character.ToLower(r)
		same = same && l == r
		if r == 'İ' { // the only character whose lower case is two characters
			dest = append(dest, piece.Change{Rune: 'i'}, piece.Change{Rune: '\u0307', N: 1})
			continue
		}
		dest = append(dest, piece.Change{Rune: l})
	}
	if !same {
		p.Transform(dest, 0)
	}
}

// nmt removes control characters and makes spaces of others, as the rules nmt_nfkc
// of SentencePiece do before NFKC.
func nmt(p *piece.Piece) {
	p.Filter(func(r rune) bool {
		return !(r >= 1 && r <= 8 || r == 0xB || r >= 0xE && r <= 0x1F || r == 0x7F || r == 0x8F || r == 0x9F)
	})
	p.MapRunes(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\f' || r == '\r', r == 0x1680, r >= 0x200B && r <= 0x200F,
			r == 0x2028, r == 0x2029, r == 0x2581, r == 0xFEFF, r == 0xFFFD:
			return ' '
		}
		return r
	})
}

// bertNormalizer cleans text as BERT does (Devlin et al. 2019, tokenization.py).
type bertNormalizer struct {
	CleanText          bool  `json:"clean_text"`
	HandleChineseChars bool  `json:"handle_chinese_chars"`
	StripAccents       *bool `json:"strip_accents"`
	Lowercase          bool  `json:"lowercase"`
}

func (n bertNormalizer) normalise(p *piece.Piece) {
	if n.CleanText {
		p.Filter(func(r rune) bool { return r != 0 && r != 0xFFFD && !isControl(r) })
		p.MapRunes(func(r rune) rune {
			if unicode.IsSpace(r) {
				return ' '
			}
			return r
		})
	}
	if n.HandleChineseChars {
		var dest []piece.Change
		for _, r := range p.Text {
			if isHan(r) {
				dest = append(dest, piece.Change{Rune: ' '}, piece.Change{Rune: r, N: 1}, piece.Change{Rune: ' ', N: 1})
			} else {
				dest = append(dest, piece.Change{Rune: r})
			}
		}
		p.Transform(dest, 0)
	}
	if n.StripAccents == nil && n.Lowercase || n.StripAccents != nil && *n.StripAccents {
		unicodeForm(p, norm.NFD)
		p.Filter(func(r rune) bool { return !character.IsNonspacing(r) })
	}
	if n.Lowercase {
		lowercase(p)
	}
}

// isControl reports what cleaning removes; tab, newline and return become spaces.
func isControl(r rune) bool {
	return r != '\t' && r != '\n' && r != '\r' && character.IsOther(r)
}

// isHan reports the blocks BERT counts as Chinese characters.
func isHan(r rune) bool {
	for _, b := range [...][2]rune{
		{0x4E00, 0x9FFF}, {0x3400, 0x4DBF}, {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F},
		{0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0xF900, 0xFAFF}, {0x2F800, 0x2FA1F},
	} {
		if r >= b[0] && r <= b[1] {
			return true
		}
	}
	return false
}
