package token

import (
	"encoding/json"
	"fmt"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// normalizer changes the text of a piece and keeps its alignment.
type normalizer interface {
	normalise(p *piece) error
}

// runeNormalizer is a normaliser that cannot fail.
type runeNormalizer func(p *piece)

func (f runeNormalizer) normalise(p *piece) error {
	f(p)
	return nil
}

type replaceNormalizer struct {
	m       matcher
	content string
}

func (n replaceNormalizer) normalise(p *piece) error { return p.replace(n.m, n.content) }

// parseNormalizers reads a normaliser; a Sequence is flattened.
func parseNormalizers(data json.RawMessage) ([]normalizer, error) {
	var c struct {
		Type        string
		Normalizers []json.RawMessage
		Prepend     string
		Content     string
		Pattern     json.RawMessage
		StripLeft   bool    `json:"strip_left"`
		StripRight  bool    `json:"strip_right"`
		Charsmap    *[]byte `json:"precompiled_charsmap"`
		bertNormalizer
	}
	if isNull(data) {
		return nil, nil
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	one := func(f func(p *piece)) ([]normalizer, error) { return []normalizer{runeNormalizer(f)}, nil }
	switch c.Type {
	case "Sequence":
		var out []normalizer
		for _, d := range c.Normalizers {
			n, err := parseNormalizers(d)
			if err != nil {
				return nil, err
			}
			out = append(out, n...)
		}
		return out, nil
	case "NFC":
		return one(func(p *piece) { unicodeForm(p, norm.NFC) })
	case "NFD":
		return one(func(p *piece) { unicodeForm(p, norm.NFD) })
	case "NFKC":
		return one(func(p *piece) { unicodeForm(p, norm.NFKC) })
	case "NFKD":
		return one(func(p *piece) { unicodeForm(p, norm.NFKD) })
	case "Lowercase":
		return one(lowercase)
	case "StripAccents":
		return one(func(p *piece) { p.filter(func(r rune) bool { return !unicode.IsMark(r) }) })
	case "Strip":
		return one(func(p *piece) { strip(p, c.StripLeft, c.StripRight) })
	case "Prepend":
		return one(func(p *piece) { p.prepend(c.Prepend) })
	case "ByteLevel":
		return one(mapBytes)
	case "Replace":
		m, err := parsePattern(c.Pattern)
		if err != nil {
			return nil, fmt.Errorf("type Replace: %w", err)
		}
		return []normalizer{replaceNormalizer{m, c.Content}}, nil
	case "Precompiled":
		if c.Charsmap == nil {
			return nil, fmt.Errorf("type Precompiled: precompiled_charsmap is missing")
		}
		n, err := newCharsmap(*c.Charsmap)
		if err != nil {
			return nil, fmt.Errorf("type Precompiled: %w", err)
		}
		return []normalizer{n}, nil
	case "BertNormalizer":
		return one(c.bertNormalizer.normalise)
	}
	return nil, unsupported(c.Type)
}

// strip removes white space from the ends of p.
func strip(p *piece, left, right bool) {
	start, end := 0, len(p.text)
	for i, r := range p.text {
		if !unicode.IsSpace(r) {
			break
		}
		if left {
			start = i + runeBytes(p.text[i:], 1)
		}
	}
	if right {
		end = start
		for i, r := range p.text {
			if i >= start && !unicode.IsSpace(r) {
				end = i + runeBytes(p.text[i:], 1)
			}
		}
	}
	if start == 0 && end == len(p.text) {
		return
	}
	p.materialise() // so that the piece still begins where it did
	p.text, p.align = p.text[start:end], p.align[start:end:end]
}

// lowercase is full case mapping, character by character and without context.
func lowercase(p *piece) {
	dest := make([]change, 0, len(p.text))
	same := true
	for _, r := range p.text {
		l := unicode.ToLower(r)
		same = same && l == r
		if r == 'İ' { // the only character whose lower case is two characters
			dest = append(dest, change{'i', 0}, change{'\u0307', 1})
			continue
		}
		dest = append(dest, change{l, 0})
	}
	if !same {
		p.transform(dest, 0)
	}
}

// bertNormalizer cleans text as BERT does (Devlin et al. 2019, tokenization.py).
type bertNormalizer struct {
	CleanText          bool  `json:"clean_text"`
	HandleChineseChars bool  `json:"handle_chinese_chars"`
	StripAccents       *bool `json:"strip_accents"`
	Lowercase          bool  `json:"lowercase"`
}

func (n bertNormalizer) normalise(p *piece) {
	if n.CleanText {
		p.filter(func(r rune) bool { return r != 0 && r != 0xFFFD && !isControl(r) })
		p.mapRunes(func(r rune) rune {
			if unicode.IsSpace(r) {
				return ' '
			}
			return r
		})
	}
	if n.HandleChineseChars {
		var dest []change
		for _, r := range p.text {
			if isHan(r) {
				dest = append(dest, change{' ', 0}, change{r, 1}, change{' ', 1})
			} else {
				dest = append(dest, change{r, 0})
			}
		}
		p.transform(dest, 0)
	}
	if n.StripAccents == nil && n.Lowercase || n.StripAccents != nil && *n.StripAccents {
		unicodeForm(p, norm.NFD)
		p.filter(func(r rune) bool { return !unicode.Is(unicode.Mn, r) })
	}
	if n.Lowercase {
		lowercase(p)
	}
}

// isControl reports control, format and private-use characters except tab,
// newline and return; unassigned ones are not among them.
func isControl(r rune) bool {
	switch r {
	case '\t', '\n', '\r':
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co)
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
