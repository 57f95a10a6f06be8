package component

import (
	"encoding/binary"
	"errors"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
	"github.com/sugarme/tokenizer/spm"

	"editpipe/token/character"
	"editpipe/token/piece"
)

// charsmap is the normaliser compiled into a SentencePiece model: a double-array
// trie from byte strings to replacements. The trie is read by sugarme's spm
// package; its NormalizeString is not used (it stops after the first mapped
// grapheme and has no alignment).
type charsmap struct {
	trie  *spm.DoubleArray
	texts string // the replacements, each ended by a zero byte
	ascii [utf8.RuneSelf]*string
}

func newCharsmap(data []byte) (*charsmap, error) {
	if len(data) < 4 {
		return nil, errors.New("charsmap is truncated")
	}
	if size := binary.LittleEndian.Uint32(data); size == 0 || size%4 != 0 || int64(size) > int64(len(data)-4) {
		return nil, errors.New("charsmap is truncated")
	}
	texts, array := spm.Parse(data)
	if !utf8.Valid(texts) {
		return nil, errors.New("charsmap is not valid UTF-8")
	}
	c := &charsmap{trie: spm.NewDoubleArrayFrom(array), texts: string(texts)}
	for b := range c.ascii {
		if s, ok := c.lookup(string(rune(b))); ok {
			c.ascii[b] = &s
		}
	}
	return c, nil
}

// lookup returns the replacement for the shortest mapped prefix of s: that is
// what the official implementation applies to a whole grapheme.
func (c *charsmap) lookup(s string) (string, bool) {
	found := c.trie.CommonPrefixSearch([]byte(s))
	if len(found) == 0 || found[0] >= len(c.texts) {
		return "", false
	}
	text := c.texts[found[0]:]
	for i := range len(text) {
		if text[i] == 0 {
			return text[:i], true
		}
	}
	return text, true
}

// maxGrapheme is the length in bytes from which graphemes are mapped character
// by character (precompiled.rs).
const maxGrapheme = 6

func (c *charsmap) normalise(p *piece.Piece) {
	dest := make([]piece.Change, 0, len(p.Text))
	modified := false
	rest := p.Text
	for rest != "" {
		// An ASCII character before another one is a grapheme unless it is \r.
		if b := rest[0]; b < utf8.RuneSelf && b != '\r' && (len(rest) == 1 || rest[1] < utf8.RuneSelf) {
			if s := c.ascii[b]; s != nil {
				modified = true
				dest = substitute(dest, 1, *s)
			} else {
				dest = append(dest, piece.Change{Rune: rune(b)})
			}
			rest = rest[1:]
			continue
		}
		var grapheme string
		grapheme, rest = firstGrapheme(rest)
		if len(grapheme) < maxGrapheme {
			if s, ok := c.lookup(grapheme); ok {
				modified = true
				dest = substitute(dest, utf8.RuneCountInString(grapheme), s)
				continue
			}
		}
		for _, r := range grapheme {
			if s, ok := c.lookup(string(r)); ok {
				modified = true
				dest = substitute(dest, 1, s)
			} else {
				dest = append(dest, piece.Change{Rune: r})
			}
		}
	}
	if modified {
		p.Transform(dest, 0)
	}
}

// firstGrapheme cuts the first grapheme off a text, by Unicode 17.0. uniseg has the
// tables of 15.0: to it a newer mark begins a grapheme.
func firstGrapheme(text string) (grapheme, rest string) {
	grapheme, rest, _, _ = uniseg.FirstGraphemeClusterInString(text, -1)
	for {
		last, _ := utf8.DecodeLastRuneInString(grapheme)
		mark, _ := utf8.DecodeRuneInString(rest)
		if mark < 0x300 || !character.IsNewMark(mark) || standsAlone(last) {
			return grapheme, text[len(grapheme):]
		}
		var more string
		more, rest, _, _ = uniseg.FirstGraphemeClusterInString(rest, -1)
		grapheme = text[:len(grapheme)+len(more)]
	}
}

// standsAlone reports the controls that nothing joins (Unicode Standard Annex #29,
// rule GB4): all but joiners, tags and the signs that stand before a number.
func standsAlone(r rune) bool {
	switch {
	case r == 0x200C || r == 0x200D || r >= 0xE0020 && r <= 0xE007F:
		return false
	case unicode.Is(unicode.Prepended_Concatenation_Mark, r):
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// substitute records that the next old characters become s. As in the official
// implementation, a removal at the very beginning is not recorded, which moves
// the spans of such a text.
func substitute(dest []piece.Change, old int, s string) []piece.Change {
	n := 0
	for _, r := range s {
		n++
		c := piece.Change{Rune: r}
		if n > old {
			c.N = 1
		}
		dest = append(dest, c)
	}
	if n < old && len(dest) > 0 {
		dest[len(dest)-1].N += n - old
	}
	return dest
}
