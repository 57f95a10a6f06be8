package dump

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxLine is the longest line that Blocks accepts. The largest Wikidata entities
// are a few megabytes.
const maxLine = 256 << 20

// ErrLongLine is returned for a line longer than 256 MiB.
var ErrLongLine = errors.New("a line is longer than 256 MiB: this is no dump with one entity a line")

// Block is a part of a dump that begins and ends with a line.
type Block struct {
	Text []byte
	Line int   // number of its first line, from 1
	At   int64 // bytes of the dump before it
}

// Blocks cuts a text into blocks. Where it cuts depends on the text and on the
// place at which it began, not on how the text arrives.
type Blocks struct {
	in    io.Reader
	size  int
	line  int
	at    int64
	carry []byte // the beginning of a line whose end was not read yet
	end   bool
}

// NewBlocks cuts what in yields from here on; before it came bytes and lines. A
// block is of the size, less a part of a line, or as long as a line that is
// longer.
func NewBlocks(in io.Reader, size int, bytes int64, lines int) *Blocks {
	return &Blocks{in: in, size: size, at: bytes, line: lines + 1}
}

// Next returns the next block, whose text lies in buf if that is large enough.
// After the last one it returns io.EOF. What was read before an error of the
// reader is not returned: a line may be cut short in it.
func (b *Blocks) Next(buf []byte) (Block, error) {
	if b.end && len(b.carry) == 0 {
		return Block{}, io.EOF
	}
	text := append(buf[:0], b.carry...)
	b.carry = b.carry[:0]
	cut := 0
	for cut == 0 && !b.end {
		if len(text) > maxLine {
			return Block{}, fmt.Errorf("dump: line %d: %w", b.line, ErrLongLine)
		}
		var err error
		if text, err = b.fill(text, (len(text)/b.size+1)*b.size); err != nil {
			return Block{}, fmt.Errorf("dump: after line %d: %w", b.line+bytes.Count(text, []byte{'\n'})-1, err)
		}
		cut = bytes.LastIndexByte(text, '\n') + 1
	}
	if b.end {
		cut = len(text)
	}
	b.carry = append(b.carry, text[cut:]...)
	out := Block{Text: text[:cut], Line: b.line, At: b.at}
	b.line += bytes.Count(out.Text, []byte{'\n'})
	b.at += int64(cut)
	if cut == 0 {
		return Block{}, io.EOF
	}
	return out, nil
}

// fill reads until the text has the size, or has come to its end.
func (b *Blocks) fill(text []byte, size int) ([]byte, error) {
	if cap(text) < size {
		text = append(make([]byte, 0, size), text...)
	}
	for len(text) < size {
		n, err := b.in.Read(text[len(text):size])
		text = text[:len(text)+n]
		if errors.Is(err, io.EOF) {
			b.end = true
			break
		}
		if err != nil {
			return text, err
		}
	}
	return text, nil
}
