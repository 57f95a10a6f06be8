package component

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"editpipe/token/character"
	"editpipe/token/piece"
)

// Splitter is the pre-tokenizer of one tokenizer; a Sequence is flattened. The
// zero value cuts nothing.
type Splitter struct{ steps []splitStep }

// splitStep cuts one piece of text, appends the parts to out and may change them.
type splitStep interface {
	split(out []piece.Piece, p *piece.Piece) ([]piece.Piece, error)
}

// Split cuts every piece that is not an added token. The error is that of a
// regular expression that takes too long.
func (s Splitter) Split(pieces []piece.Piece) ([]piece.Piece, error) {
	for _, x := range s.steps {
		parts := make([]piece.Piece, 0, len(pieces))
		for i := range pieces {
			if pieces[i].Token != nil {
				parts = append(parts, pieces[i])
				continue
			}
			var err error
			if parts, err = x.split(parts, &pieces[i]); err != nil {
				return nil, err
			}
		}
		pieces = parts
	}
	return pieces, nil
}

// EndsInBytes reports whether the last step writes text in the byte-level alphabet.
func (s Splitter) EndsInBytes() bool {
	if len(s.steps) == 0 {
		return false
	}
	_, ok := s.steps[len(s.steps)-1].(*byteLevel)
	return ok
}

// KeepBytes makes a byte-level step that comes last hand over bytes as they are,
// for a model that reads bytes.
func (s Splitter) KeepBytes() {
	if n := len(s.steps); n > 0 {
		if b, ok := s.steps[n-1].(*byteLevel); ok {
			b.raw = true
		}
	}
}

// ParseSplitter reads the component "pre_tokenizer" of a tokenizer.json, which may be
// absent.
func ParseSplitter(data json.RawMessage) (Splitter, error) {
	var s Splitter
	list, err := List(data)
	if err != nil {
		return s, err
	}
	for _, d := range list {
		steps, err := parseSplitSteps(d)
		if err != nil {
			return s, err
		}
		s.steps = append(s.steps, steps...)
	}
	return s, nil
}

func parseSplitSteps(data json.RawMessage) ([]splitStep, error) {
	var c struct {
		Type             string
		AddPrefixSpace   *bool `json:"add_prefix_space"`
		UseRegex         *bool `json:"use_regex"`
		Pattern          json.RawMessage
		Behaviour        string `json:"behavior"`
		Invert           bool
		IndividualDigits bool `json:"individual_digits"`
		Delimiter        string
		Length           *int
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	fail := func(err error) ([]splitStep, error) { return nil, fmt.Errorf("type %s: %w", c.Type, err) }
	cut := func(m piece.Pattern, def behaviour) ([]splitStep, error) {
		b, err := parseBehaviour(c.Behaviour, def)
		if err != nil {
			return fail(err)
		}
		return []splitStep{patternSplit{m, b}}, nil
	}
	switch c.Type {
	case "ByteLevel":
		return []splitStep{&byteLevel{
			addPrefixSpace: c.AddPrefixSpace == nil || *c.AddPrefixSpace,
			useRegex:       c.UseRegex == nil || *c.UseRegex,
		}}, nil
	case "Metaspace":
		m, err := parseMetaspace(data)
		if err != nil {
			return fail(err)
		}
		return []splitStep{m}, nil
	case "Split":
		m, err := piece.ParsePattern(c.Pattern)
		if err != nil {
			return fail(err)
		}
		if c.Invert {
			m = piece.Inverted{Pattern: m}
		}
		if c.Behaviour == "" {
			return fail(errors.New("behaviour is missing"))
		}
		return cut(m, isolated)
	case "Digits":
		c.Behaviour = string(contiguous)
		if c.IndividualDigits {
			c.Behaviour = string(isolated)
		}
		return cut(piece.Class(character.IsDigit), isolated)
	case "Punctuation":
		return cut(piece.Class(character.IsPunctuation), isolated)
	case "WhitespaceSplit":
		return cut(piece.Class(unicode.IsSpace), removed)
	case "Whitespace":
		return cut(piece.Inverted{Pattern: piece.Words(wordKind)}, removed)
	case "BertPreTokenizer":
		return []splitStep{
			patternSplit{piece.Class(unicode.IsSpace), removed},
			patternSplit{piece.Class(character.IsPunctuation), isolated},
		}, nil
	case "CharDelimiterSplit":
		if utf8.RuneCountInString(c.Delimiter) != 1 {
			return fail(fmt.Errorf("delimiter %q is not one character", c.Delimiter))
		}
		return cut(piece.Literal(c.Delimiter), removed)
	case "FixedLength":
		length := 5
		if c.Length != nil {
			length = *c.Length
		}
		if length < 1 {
			return fail(fmt.Errorf("length %d is not positive", length))
		}
		return []splitStep{fixedLength(length)}, nil
	}
	return nil, Unsupported(c.Type)
}
