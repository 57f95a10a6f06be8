package token

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sugarme/tokenizer"
	"github.com/sugarme/tokenizer/decoder"
)

// chain is a decoder made of a function over all tokens. It satisfies sugarme's
// Decoder through DecoderBase, so that it joins sugarme's own Fuse and Sequence.
type chain struct {
	decoder.DecoderBase
	decode func(tokens []string) []string
}

var _ tokenizer.Decoder = (*chain)(nil)

func (c *chain) DecodeChain(tokens []string) []string { return c.decode(tokens) }

func newChain(f func(tokens []string) []string) *chain {
	c := &chain{decode: f}
	c.Decoder = c
	return c
}

// eachToken is a chain that looks at one token at a time.
func eachToken(f func(i int, token string) string) *chain {
	return newChain(func(tokens []string) []string {
		out := make([]string, len(tokens))
		for i, t := range tokens {
			out[i] = f(i, t)
		}
		return out
	})
}

// parseDecoder reads a decoder; nil means that there is none.
func parseDecoder(data json.RawMessage) (tokenizer.Decoder, error) {
	if isNull(data) {
		return nil, nil
	}
	var c struct {
		Type        string
		Decoders    []json.RawMessage
		Pattern     json.RawMessage
		Content     string
		Start, Stop int
		Suffix      *string
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	switch c.Type {
	case "Sequence":
		var list []tokenizer.Decoder
		for _, d := range c.Decoders {
			x, err := parseDecoder(d)
			if err != nil {
				return nil, err
			}
			if x != nil {
				list = append(list, x)
			}
		}
		return decoder.NewSequence(list), nil
	case "Fuse":
		return decoder.NewFuse(), nil
	case "ByteLevel":
		return newChain(decodeBytes), nil
	case "ByteFallback":
		return newChain(decodeFallback), nil
	case "Metaspace":
		m, err := parseMetaspace(data)
		if err != nil {
			return nil, fmt.Errorf("type Metaspace: %w", err)
		}
		return eachToken(func(i int, t string) string {
			if i == 0 && m.scheme != "never" {
				return strings.ReplaceAll(t, m.replacement, "")
			}
			return strings.ReplaceAll(t, m.replacement, " ")
		}), nil
	case "Replace":
		m, err := parsePattern(c.Pattern)
		if err != nil {
			return nil, fmt.Errorf("type Replace: %w", err)
		}
		return eachToken(func(_ int, t string) string { return substituteAll(m, t, c.Content) }), nil
	case "Strip":
		return eachToken(func(_ int, t string) string {
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
		return newChain(func(tokens []string) []string {
			out := make([]string, len(tokens))
			for i, t := range tokens {
				space := " "
				if i == len(tokens)-1 {
					space = ""
				}
				out[i] = strings.ReplaceAll(t, suffix, space)
			}
			return out
		}), nil
	}
	return nil, unsupported(c.Type)
}

// substituteAll replaces what m matches in t. A pattern that fails to match in
// time leaves the token as it is: decoding has no other way to go on.
func substituteAll(m matcher, t, content string) string {
	matches, err := m.matches(t)
	if err != nil {
		return t
	}
	var b strings.Builder
	for _, x := range matches {
		if x.hit {
			b.WriteString(content)
		} else {
			b.WriteString(t[x.start:x.end])
		}
	}
	return b.String()
}

// decodeBytes joins tokens written with byte characters. A token with any other
// character, such as an added token, stands for itself.
func decodeBytes(tokens []string) []string {
	var all []byte
	for _, t := range tokens {
		if b, ok := fromByteRunes(t); ok {
			all = append(all, b...)
		} else {
			all = append(all, t...)
		}
	}
	return []string{toValid(all)}
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

// decodeFallback joins runs of byte tokens such as <0xE2> into text; a run that
// is not valid UTF-8 gives one U+FFFD for each byte.
func decodeFallback(tokens []string) []string {
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
