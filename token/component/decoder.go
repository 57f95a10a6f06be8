package component

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"editpipe/token/bytelevel"
	"editpipe/token/piece"
)

// Decoder is the decoder of one tokenizer; a Sequence is flattened. The zero value
// joins tokens without anything between them.
type Decoder struct{ steps []decodeStep }

// decodeStep rewrites the list of all tokens.
type decodeStep func(tokens []string) ([]string, error)

// Decode gives the text of tokens, which are spelt as the vocabulary spells them.
// The error is that of a regular expression that takes too long.
func (d Decoder) Decode(tokens []string) (string, error) {
	for _, s := range d.steps {
		var err error
		if tokens, err = s(tokens); err != nil {
			return "", err
		}
	}
	return strings.Join(tokens, ""), nil
}

// ParseDecoder reads the component "decoder" of a tokenizer.json. An absent one joins
// tokens with spaces.
func ParseDecoder(data json.RawMessage) (Decoder, error) {
	if Absent(data) {
		return Decoder{[]decodeStep{func(tokens []string) ([]string, error) {
			return []string{strings.Join(tokens, " ")}, nil
		}}}, nil
	}
	var d Decoder
	list, err := List(data)
	if err != nil {
		return d, err
	}
	for _, x := range list {
		s, err := parseDecodeStep(x)
		if err != nil {
			return d, err
		}
		d.steps = append(d.steps, s)
	}
	return d, nil
}

func parseDecodeStep(data json.RawMessage) (decodeStep, error) {
	var c struct {
		Type        string
		Pattern     json.RawMessage
		Content     string
		Start, Stop int
		Suffix      *string
		Prefix      string
		Cleanup     *bool
		Pad         *string `json:"pad_token"`
		Delimiter   *string `json:"word_delimiter_token"`
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	switch c.Type {
	case "Fuse":
		return func(tokens []string) ([]string, error) { return []string{strings.Join(tokens, "")}, nil }, nil
	case "ByteLevel":
		return func(tokens []string) ([]string, error) { return []string{bytelevel.Text(tokens)}, nil }, nil
	case "ByteFallback":
		return func(tokens []string) ([]string, error) { return bytesOfTokens(tokens), nil }, nil
	case "Metaspace":
		m, err := parseMetaspace(data)
		if err != nil {
			return nil, fmt.Errorf("type Metaspace: %w", err)
		}
		return each(func(i int, t string) string { return m.undo(t, i == 0) }), nil
	case "Replace":
		m, err := piece.ParsePattern(c.Pattern)
		if err != nil {
			return nil, fmt.Errorf("type Replace: %w", err)
		}
		return replace(m, c.Content), nil
	case "Strip":
		return each(func(_ int, t string) string {
			for n := 0; n < c.Start && strings.HasPrefix(t, c.Content); n++ {
				t = t[len(c.Content):]
			}
			for n := 0; n < c.Stop && strings.HasSuffix(t, c.Content); n++ {
				t = t[:len(t)-len(c.Content)]
			}
			return t
		}), nil
	case "BPEDecoder":
		suffix := "</w>"
		if c.Suffix != nil {
			suffix = *c.Suffix
		}
		return func(tokens []string) ([]string, error) {
			out := make([]string, len(tokens))
			for i, t := range tokens {
				space := " "
				if i == len(tokens)-1 {
					space = ""
				}
				out[i] = strings.ReplaceAll(t, suffix, space)
			}
			return out, nil
		}, nil
	case "WordPiece":
		clean := c.Cleanup == nil || *c.Cleanup
		return each(func(i int, t string) string {
			if i > 0 {
				rest, continues := strings.CutPrefix(t, c.Prefix)
				if t = rest; !continues {
					t = " " + t
				}
			}
			if clean {
				t = cleanUp(t)
			}
			return t
		}), nil
	case "CTC":
		if c.Pad == nil || c.Delimiter == nil || c.Cleanup == nil {
			return nil, fmt.Errorf("type CTC: pad_token, word_delimiter_token or cleanup is missing")
		}
		return func(tokens []string) ([]string, error) {
			var out []string
			for i, t := range tokens {
				if i > 0 && t == tokens[i-1] {
					continue // a token said twice without a pad between is one
				}
				t = strings.ReplaceAll(t, *c.Pad, "")
				if *c.Cleanup {
					t = strings.ReplaceAll(cleanUp(t), *c.Delimiter, " ")
				}
				if t != "" {
					out = append(out, t)
				}
			}
			return out, nil
		}, nil
	}
	return nil, Unsupported(c.Type)
}

// artefacts are what cleaning up replaces, one pair after the other: the spaces
// that splitting English into words leaves before punctuation and short forms.
var artefacts = [][2]string{{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"},
	{" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}}

func cleanUp(s string) string {
	for _, a := range artefacts {
		s = strings.ReplaceAll(s, a[0], a[1])
	}
	return s
}

// each makes a step that looks at one token at a time.
func each(f func(i int, token string) string) decodeStep {
	return func(tokens []string) ([]string, error) {
		out := make([]string, len(tokens))
		for i, t := range tokens {
			out[i] = f(i, t)
		}
		return out, nil
	}
}

// replace makes a step that puts content in place of what m matches.
func replace(m piece.Pattern, content string) decodeStep {
	return func(tokens []string) ([]string, error) {
		out := make([]string, len(tokens))
		for i, t := range tokens {
			matches, err := m.Matches(t)
			if err != nil {
				return nil, fmt.Errorf("token %q: %w", t, err)
			}
			var b strings.Builder
			for _, x := range matches {
				if x.Hit {
					b.WriteString(content)
				} else {
					b.WriteString(t[x.Start:x.End])
				}
			}
			out[i] = b.String()
		}
		return out, nil
	}
}

// bytesOfTokens joins runs of byte tokens such as <0xE2> into text; a run that
// is not valid UTF-8 gives one U+FFFD for each byte.
func bytesOfTokens(tokens []string) []string {
	var out []string
	var run []byte
	flush := func() {
		if utf8.Valid(run) {
			if len(run) > 0 {
				out = append(out, string(run))
			}
		} else {
			for range run {
				out = append(out, "\uFFFD")
			}
		}
		run = run[:0]
	}
	for _, t := range tokens {
		if len(t) == 6 && strings.HasPrefix(t, "<0x") && t[5] == '>' {
			if b, err := strconv.ParseUint(t[3:5], 16, 8); err == nil {
				run = append(run, byte(b))
				continue
			}
		}
		flush()
		out = append(out, t)
	}
	flush()
	return out
}
