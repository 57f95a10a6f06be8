package importer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
)

// maxRecord bounds one record, so that a file with an unclosed string or bracket
// ends in an error rather than in memory. The largest real record seen is 4 kB.
const maxRecord = 16 << 20

// piece is the text of one record, cut out of its file but not yet parsed.
type piece struct {
	index  int
	offset int64
	raw    []byte
}

// pieces cuts a JSON array or a file with one JSON record per line into its
// records. It only counts brackets and quotes: a record that is no valid JSON
// inside is still cut out whole, so that the ones after it can be read. A
// non-nil error ends the sequence.
func pieces(r io.Reader) iter.Seq2[piece, error] {
	return func(yield func(piece, error) bool) {
		c := &cutter{r: bufio.NewReaderSize(r, 1<<16)}
		first, err := c.start()
		switch {
		case err != nil:
			yield(piece{}, err)
		case first == '[':
			c.array(yield)
		default:
			c.lines(yield)
		}
	}
}

type cutter struct {
	r   *bufio.Reader
	off int64
}

// start skips a byte order mark and white space and returns the first byte,
// which is left unread if it opens a line of its own.
func (c *cutter) start() (byte, error) {
	head, err := c.r.Peek(256)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) {
		c.off = 3
	}
	for int(c.off) < len(head) && isSpace(head[c.off]) {
		c.off++
	}
	if int(c.off) == len(head) {
		if len(head) == 256 {
			return 0, errors.New("file starts with more than 250 blanks")
		}
		return 0, ErrEmpty
	}
	first := head[c.off]
	if first != '[' && first != '{' {
		return 0, fmt.Errorf("not JSON: %s", guess(head))
	}
	if first == '[' {
		c.off++
	}
	_, err = c.r.Discard(int(c.off))
	return first, err
}

// guess names a file by its first bytes.
func guess(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return "it is compressed with gzip; unpack it first"
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return "it is a zip archive; unpack it first"
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return "it is compressed with zstd; unpack it first"
	case bytes.HasPrefix(head, []byte("PAR1")):
		return "it is a Parquet file"
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}), bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return "it is UTF-16 text; save it as UTF-8"
	case bytes.HasPrefix(head, []byte("version ")) && bytes.Contains(head, []byte("git-lfs")):
		return "it is a Git LFS pointer, not the file it points to; fetch it with git lfs pull"
	case bytes.HasPrefix(bytes.TrimSpace(head), []byte("<")):
		return "it looks like HTML or XML, perhaps the error page of a download"
	}
	return fmt.Sprintf("it starts with %q where [ or { is expected", bytes.TrimSpace(head)[:min(20, len(bytes.TrimSpace(head)))])
}

// array cuts at the commas of the outermost array, whose bracket is read.
func (c *cutter) array(yield func(piece, error) bool) {
	var p piece
	var depth int
	var quoted, escaped bool
	p.offset = -1 // no byte of the record seen
	for {
		b, err := c.r.ReadByte()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("file ends inside record %d, which starts at byte %d: %w", p.index, max(p.offset, 0), io.ErrUnexpectedEOF)
			}
			yield(piece{}, err)
			return
		}
		at := c.off
		c.off++
		if depth == 0 && !quoted && (b == ',' || b == ']') {
			last := b == ']'
			if !(last && p.offset < 0 && p.index == 0) { // [] has no records
				if p.offset < 0 {
					p.offset = at
				}
				p.raw = bytes.TrimSpace(p.raw)
				if !yield(p, nil) {
					return
				}
			}
			if last {
				break
			}
			p = piece{index: p.index + 1, offset: -1}
			continue
		}
		if p.offset < 0 {
			if isSpace(b) {
				continue
			}
			p.offset = at
		}
		if len(p.raw) == maxRecord {
			yield(piece{}, fmt.Errorf("record %d, which starts at byte %d, is longer than %d MiB: a quote or bracket in it is not closed", p.index, p.offset, maxRecord>>20))
			return
		}
		p.raw = append(p.raw, b)
		switch {
		case escaped:
			escaped = false
		case quoted:
			quoted, escaped = b != '"', b == '\\'
		case b == '"':
			quoted = true
		case b == '{' || b == '[':
			depth++
		case (b == '}' || b == ']') && depth > 0:
			depth--
		}
	}
	for {
		b, err := c.r.ReadByte()
		if errors.Is(err, io.EOF) {
			return
		}
		if err == nil && !isSpace(b) {
			err = fmt.Errorf("text after the end of the array, at byte %d", c.off)
		}
		if err != nil {
			yield(piece{}, err)
			return
		}
		c.off++
	}
}

// lines cuts at line ends; blank lines are no records.
func (c *cutter) lines(yield func(piece, error) bool) {
	for index := 0; ; {
		line, err := c.r.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			yield(piece{}, err)
			return
		}
		if raw := bytes.TrimSpace(line); len(raw) > 0 {
			if !yield(piece{index: index, offset: c.off, raw: raw}, nil) {
				return
			}
			index++
		}
		c.off += int64(len(line))
		if err != nil {
			return
		}
	}
}

func isSpace(b byte) bool { return b == ' ' || b == '\n' || b == '\r' || b == '\t' }
