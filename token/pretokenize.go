package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// splitter is one pre-tokenizer: it cuts one piece of text and may change the
// parts. Pieces that are added tokens are never given to it.
type splitter interface {
	split(out []piece, p *piece) ([]piece, error)
}

// patternSplit cuts at a pattern (types Split, Digits, Punctuation, Whitespace,
// WhitespaceSplit, CharDelimiterSplit).
type patternSplit struct {
	m matcher
	b behaviour
}

func (s patternSplit) split(out []piece, p *piece) ([]piece, error) {
	return splitPiece(out, p, s.m, s.b)
}

// byteLevel cuts with GPT-2's pattern and writes every byte as one printable
// character (Radford et al. 2019, encoder.py).
type byteLevel struct {
	addPrefixSpace, useRegex bool
	// raw leaves the bytes as they are because the model reads bytes.
	raw bool
}

func (s *byteLevel) split(out []piece, p *piece) ([]piece, error) {
	if s.addPrefixSpace && !strings.HasPrefix(p.text, " ") {
		p.prepend(" ")
	}
	first := len(out)
	if s.useRegex {
		out, _ = splitPiece(out, p, gpt2Pattern{}, isolated)
	} else {
		out = append(out, *p)
	}
	if !s.raw {
		for i := first; i < len(out); i++ {
			mapBytes(&out[i])
		}
	}
	return out, nil
}

// byteRune returns the printable character that stands for b.
func byteRune(b byte) rune {
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

// runeByte is the inverse of byteRune.
func runeByte(r rune) (b byte, ok bool) {
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
	return b, r >= 0 && byteRune(b) == r
}

// mapBytes rewrites p with one character for each byte.
func mapBytes(p *piece) {
	dest := make([]change, 0, len(p.text))
	for i := range len(p.text) {
		n := 0
		if !utf8.RuneStart(p.text[i]) {
			n = 1
		}
		dest = append(dest, change{byteRune(p.text[i]), n})
	}
	p.transform(dest, 0)
}

// gpt2Pattern matches
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// written out by hand, because nearly all text of the supported models passes
// through it. It covers every text without gaps.
type gpt2Pattern struct{}

func (gpt2Pattern) matches(text string) ([]match, error) {
	out := make([]match, 0, len(text)/4+1)
	for i := 0; i < len(text); {
		n := gpt2Next(text[i:])
		out = append(out, match{i, i + n, true})
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

func gpt2Class(r rune) int {
	switch {
	case unicode.IsSpace(r):
		return spaceClass
	case unicode.IsLetter(r):
		return letterClass
	case unicode.IsNumber(r):
		return numberClass
	}
	return otherClass
}

// gpt2Next returns the length of the match at the beginning of s, s not empty.
func gpt2Next(s string) int {
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
		if kind := gpt2Class(r); kind != spaceClass {
			for i := start + n; ; i += n {
				if i >= len(s) {
					return len(s)
				}
				if r, n = utf8.DecodeRuneInString(s[i:]); gpt2Class(r) != kind {
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

// metaspace writes spaces as a visible character (U+2581) and cuts before it.
type metaspace struct {
	replacement string
	scheme      string // always, first or never
	cut         bool
}

func (s metaspace) split(out []piece, p *piece) ([]piece, error) {
	// The scheme "first" asks whether the piece begins the original text.
	begins := p.base == 0
	if err := p.replace(literal(" "), s.replacement); err != nil {
		return nil, err
	}
	if s.scheme == "always" || s.scheme == "first" && begins {
		if !strings.HasPrefix(p.text, s.replacement) {
			p.prepend(s.replacement)
		}
	}
	if s.cut {
		return splitPiece(out, p, literal(s.replacement), mergedWithNext)
	}
	return append(out, *p), nil
}

func parseMetaspace(data json.RawMessage) (metaspace, error) {
	c := struct {
		Replacement    string
		AddPrefixSpace *bool  `json:"add_prefix_space"`
		PrependScheme  string `json:"prepend_scheme"`
		Split          *bool
	}{PrependScheme: "always"}
	if err := json.Unmarshal(data, &c); err != nil {
		return metaspace{}, err
	}
	if c.AddPrefixSpace != nil && !*c.AddPrefixSpace {
		c.PrependScheme = "never"
	}
	if utf8.RuneCountInString(c.Replacement) != 1 {
		return metaspace{}, fmt.Errorf("replacement %q is not one character", c.Replacement)
	}
	switch c.PrependScheme {
	case "always", "first", "never":
	default:
		return metaspace{}, fmt.Errorf("prepend_scheme %q is not supported", c.PrependScheme)
	}
	return metaspace{c.Replacement, c.PrependScheme, c.Split == nil || *c.Split}, nil
}

// parseSplitters reads a pre-tokenizer; a Sequence is flattened.
func parseSplitters(data json.RawMessage) ([]splitter, error) {
	var c struct {
		Type             string
		PreTokenizers    []json.RawMessage `json:"pretokenizers"`
		AddPrefixSpace   *bool             `json:"add_prefix_space"`
		UseRegex         *bool             `json:"use_regex"`
		Pattern          json.RawMessage
		Behaviour        string `json:"behavior"`
		Invert           bool
		IndividualDigits bool `json:"individual_digits"`
		Delimiter        string
	}
	if isNull(data) {
		return nil, nil
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	fail := func(err error) ([]splitter, error) { return nil, fmt.Errorf("type %s: %w", c.Type, err) }
	pattern := func(m matcher, def behaviour) ([]splitter, error) {
		b, err := parseBehaviour(c.Behaviour, def)
		if err != nil {
			return fail(err)
		}
		return []splitter{patternSplit{m, b}}, nil
	}
	switch c.Type {
	case "Sequence":
		var out []splitter
		for _, d := range c.PreTokenizers {
			s, err := parseSplitters(d)
			if err != nil {
				return nil, err
			}
			out = append(out, s...)
		}
		return out, nil
	case "ByteLevel":
		return []splitter{&byteLevel{
			addPrefixSpace: c.AddPrefixSpace == nil || *c.AddPrefixSpace,
			useRegex:       c.UseRegex == nil || *c.UseRegex,
		}}, nil
	case "Metaspace":
		m, err := parseMetaspace(data)
		if err != nil {
			return fail(err)
		}
		return []splitter{m}, nil
	case "Split":
		m, err := parsePattern(c.Pattern)
		if err != nil {
			return fail(err)
		}
		if c.Invert {
			m = inverted{m}
		}
		if c.Behaviour == "" {
			return fail(errors.New("behaviour is missing"))
		}
		return pattern(m, isolated)
	case "Digits":
		c.Behaviour = string(contiguous)
		if c.IndividualDigits {
			c.Behaviour = string(isolated)
		}
		return pattern(class(unicode.IsNumber), isolated)
	case "Punctuation":
		return pattern(class(isPunctuation), isolated)
	case "WhitespaceSplit":
		return pattern(class(unicode.IsSpace), removed)
	case "Whitespace":
		return pattern(inverted{words(wordKind)}, removed)
	case "BertPreTokenizer":
		return []splitter{
			patternSplit{class(unicode.IsSpace), removed},
			patternSplit{class(isPunctuation), isolated},
		}, nil
	case "CharDelimiterSplit":
		if utf8.RuneCountInString(c.Delimiter) != 1 {
			return fail(fmt.Errorf("delimiter %q is not one character", c.Delimiter))
		}
		return pattern(literal(c.Delimiter), removed)
	}
	return nil, unsupported(c.Type)
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
