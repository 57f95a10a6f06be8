package kb

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// scanner reads one JSON text from its start to its end and never goes back.
// It copies nothing but the values that are asked for: of a dump's bytes nine
// in ten are labels in other languages, sitelinks and references, which are
// only stepped over. Of what is stepped over it checks that quotes and brackets
// match, which shows a row that was cut short, and no more.
type scanner struct {
	b []byte
	i int
}

// maxDepth bounds the nesting of what is read; a dump's own is below 20.
const maxDepth = 100

var errEnd = errors.New("the text ends inside a value")

func (s *scanner) unexpected(want string) error {
	if s.i >= len(s.b) {
		return errEnd
	}
	return fmt.Errorf("byte %d is %q where %s is wanted", s.i+1, s.b[s.i], want)
}

// peek steps over white space and returns the byte behind it, 0 at the end.
func (s *scanner) peek() byte {
	if s.i < len(s.b) && s.b[s.i] > ' ' {
		return s.b[s.i]
	}
	return s.peekFurther()
}

func (s *scanner) peekFurther() byte {
	for ; s.i < len(s.b); s.i++ {
		if c := s.b[s.i]; c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c
		}
	}
	return 0
}

// take steps over one byte that must come next.
func (s *scanner) take(c byte) error {
	if s.peek() != c {
		return s.unexpected(strconv.QuoteRune(rune(c)))
	}
	s.i++
	return nil
}

// end checks that nothing is left.
func (s *scanner) end() error {
	if s.peek() != 0 || s.i < len(s.b) {
		return s.unexpected("the end")
	}
	return nil
}

// raw steps over a string and returns what stands between its quotes; plain is
// false where that holds escapes.
func (s *scanner) raw() (text []byte, plain bool, err error) {
	if s.peek() != '"' {
		return nil, false, s.unexpected("a quote")
	}
	from := s.i + 1
	at := mark(s.b, from)
	plain = at < len(s.b) && s.b[at] == '"'
	if !plain {
		at = pastEscapes(s.b, at)
	}
	if s.i = at; at == len(s.b) {
		return nil, false, errEnd
	}
	s.i++
	return s.b[from:at], plain, nil
}

// pastEscapes returns the place of the quote that ends a string, or the length,
// where mark has found a backslash at i.
func pastEscapes(b []byte, i int) int {
	for i < len(b) && b[i] == '\\' {
		i = mark(b, min(i+2, len(b)))
	}
	return i
}

// mark returns the place of the first quote or backslash from i on, or the
// length. It looks at eight bytes at a time: most strings are too short for a
// search by the library to be worth its call.
func mark(b []byte, i int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(b); i += 8 {
		word := binary.LittleEndian.Uint64(b[i:])
		quote, back := word^'"'*ones, word^'\\'*ones
		// The lowest top bit that is set belongs to the first byte that is zero.
		if found := ((quote-ones)&^quote | (back-ones)&^back) & tops; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(b); i++ {
		if b[i] == '"' || b[i] == '\\' {
			return i
		}
	}
	return i
}

// text reads a string; anything else is stepped over and reads as "".
func (s *scanner) text() (string, error) {
	if s.peek() != '"' {
		return "", s.skip()
	}
	from := s.i
	raw, plain, err := s.raw()
	if err != nil || plain && utf8.Valid(raw) {
		return string(raw), err
	}
	var out string
	if err := json.Unmarshal(s.b[from:s.i], &out); err != nil {
		return "", fmt.Errorf("string at byte %d: %w", from+1, err)
	}
	return out, nil
}

// number reads a whole number; anything else is stepped over and reads as 0.
func (s *scanner) number() (int64, error) {
	s.peek()
	from := s.i
	if err := s.skip(); err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(string(s.b[from:s.i]), 10, 64)
	if err != nil {
		return 0, nil //nolint:nilerr // of another type: as if it were not there
	}
	return n, nil
}

// members calls value for every member of an object; value must read or skip
// the member's value. The key is valid until then. Anything but an object, such
// as the [] that dumps write for an empty one, is stepped over.
func (s *scanner) members(value func(key []byte) error) error {
	if s.peek() != '{' {
		return s.skip()
	}
	s.i++
	if s.peek() == '}' {
		s.i++
		return nil
	}
	for {
		s.peek()
		key, _, err := s.raw()
		if err != nil {
			return err
		}
		if err := s.take(':'); err != nil {
			return err
		}
		if err := value(key); err != nil {
			return err
		}
		if s.peek() != ',' {
			return s.take('}')
		}
		s.i++
	}
}

// elements calls value for every element of an array; value must read or skip
// it. Anything but an array is stepped over.
func (s *scanner) elements(value func() error) error {
	if s.peek() != '[' {
		return s.skip()
	}
	s.i++
	if s.peek() == ']' {
		s.i++
		return nil
	}
	for {
		if err := value(); err != nil {
			return err
		}
		if s.peek() != ',' {
			return s.take(']')
		}
		s.i++
	}
}

// span steps over a value and returns its bytes.
func (s *scanner) span() ([]byte, error) {
	s.peek()
	from := s.i
	err := s.skip()
	return s.b[from:s.i], err
}

// skip steps over a value.
func (s *scanner) skip() error {
	switch s.peek() {
	case '"':
		_, _, err := s.raw()
		return err
	case '{', '[':
		return s.skipNested()
	}
	return s.skipWord()
}

// skipNested steps over an object or a list.
func (s *scanner) skipNested() error {
	b := s.b
	var lists [maxDepth/64 + 1]uint64 // a bit for each thing that is open: set for a list
	depth := 0
	for i := s.i; i < len(b); i++ {
		switch c := b[i]; c {
		case '"':
			i = pastEscapes(b, mark(b, i+1))
		case '{', '[':
			if depth == maxDepth {
				return fmt.Errorf("nested deeper than %d at byte %d", maxDepth, i+1)
			}
			bit := uint64(1) << (depth % 64)
			if lists[depth/64] &^= bit; c == '[' {
				lists[depth/64] |= bit
			}
			depth++
		case '}', ']':
			depth--
			if list := lists[depth/64]>>(depth%64)&1 == 1; list != (c == ']') {
				s.i = i
				if list {
					return s.unexpected("']'")
				}
				return s.unexpected("'}'")
			}
			if depth == 0 {
				s.i = i + 1
				return nil
			}
		}
	}
	s.i = len(b)
	return errEnd
}

// skipWord steps over a number, true, false or null.
func (s *scanner) skipWord() error {
	from := s.i
	for s.i < len(s.b) {
		c := s.b[s.i]
		if c != '-' && c != '+' && c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && c != 'E' {
			break
		}
		s.i++
	}
	switch word := s.b[from:s.i]; {
	case len(word) == 0:
		return s.unexpected("a value")
	case word[0] >= 'a':
		if w := string(word); w != "true" && w != "false" && w != "null" {
			return fmt.Errorf("byte %d: %q is no value", from+1, w)
		}
	case !bytes.ContainsAny(word, "0123456789"):
		return fmt.Errorf("byte %d: %q is no number", from+1, word)
	}
	return nil
}
