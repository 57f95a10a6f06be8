// Package rows cuts a file of records into rows, the texts of the single
// records: from a JSON array, one JSON object of records by name, JSON records
// on one or several lines each, or a table (CSV, TSV). If a record is damaged,
// only that record is lost.
package rows

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
)

// ErrEmpty is returned when a file holds no records.
var ErrEmpty = errors.New("file holds no records")

// maxRecord bounds one record, so that a file with an unclosed string or bracket
// ends in an error rather than in memory. The largest real record seen is 4 kB.
const maxRecord = 16 << 20

// Row is one record, cut out of its file but not yet parsed.
type Row struct {
	Index  int
	Offset int64  // byte at which the record starts
	Name   string // its key in a file that is one object of records, else empty
	Raw    []byte // JSON text; of a table row an object of strings without the empty cells
	Err    error  // what is wrong with this row alone; Raw is then of no use
}

// JSON cuts a JSON array, a file with one JSON record per line, or records written
// over several lines one behind the other. It only counts brackets and quotes: a record that is no valid JSON inside is still cut out
// whole, so that the ones after it can be read. A non-nil error ends the sequence.
func JSON(r io.Reader) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		c := &cutter{r: bufio.NewReaderSize(r, 1<<16)}
		first, err := c.start()
		switch {
		case err != nil:
			yield(Row{}, err)
		case first == '[':
			c.list(']', yield)
		default:
			c.lines(yield)
		}
	}
}

// Named cuts one JSON object whose values are the records and whose keys name
// them. It cuts by brackets and quotes like JSON.
func Named(r io.Reader) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		c := &cutter{r: bufio.NewReaderSize(r, 1<<16)}
		first, err := c.start()
		if err == nil && first == '{' {
			_, err = c.r.Discard(1)
			c.off++
		} else if err == nil {
			err = errors.New("want one object of records, have a list")
		}
		if err != nil {
			yield(Row{}, err)
			return
		}
		c.list('}', func(row Row, err error) bool {
			if err == nil {
				row.Name, row.Raw, row.Err = cutName(row.Raw)
			}
			return yield(row, err)
		})
	}
}

// cutName takes the key off a member of an object.
func cutName(member []byte) (name string, value []byte, err error) {
	dec := json.NewDecoder(bytes.NewReader(member))
	key, err := dec.Token()
	name, ok := key.(string)
	if err != nil || !ok {
		return "", nil, errors.New("want a record behind its name")
	}
	value, ok = bytes.CutPrefix(bytes.TrimSpace(member[dec.InputOffset():]), []byte(":"))
	if !ok {
		return "", nil, fmt.Errorf("no colon behind the name %q", name)
	}
	return name, bytes.TrimSpace(value), nil
}

type cutter struct {
	r   *bufio.Reader
	off int64
}

// start skips a byte order mark and white space and returns the first byte,
// which is left unread unless it opens a list.
func (c *cutter) start() (byte, error) {
	head, err := c.r.Peek(256)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if bytes.HasPrefix(head, []byte(mark)) {
		c.off = int64(len(mark))
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
		if what := foreign(head); what != "" {
			return 0, fmt.Errorf("not JSON: %s", what)
		}
		start := bytes.TrimSpace(head)
		return 0, fmt.Errorf("not JSON: it starts with %q where [ or { is expected", start[:min(20, len(start))])
	}
	if first == '[' {
		c.off++
	}
	_, err = c.r.Discard(int(c.off))
	return first, err
}

const mark = "\xef\xbb\xbf" // byte order mark

// foreign names a file that is no text of records by its first bytes, or is empty.
func foreign(head []byte) string {
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
	case bytes.HasPrefix(bytes.TrimSpace(head), []byte("<")):
		return "it looks like HTML or XML, perhaps the error page of a download"
	}
	return ""
}

// list cuts at the commas of the outermost list, whose opening bracket is read.
func (c *cutter) list(closer byte, yield func(Row, error) bool) {
	var p Row
	var n nesting
	p.Offset = -1 // no byte of the record seen
	for {
		b, err := c.r.ReadByte()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("file ends inside record %d, which starts at byte %d: %w", p.Index, max(p.Offset, 0), io.ErrUnexpectedEOF)
			}
			yield(Row{}, err)
			return
		}
		at := c.off
		c.off++
		if n.depth == 0 && !n.quoted && (b == ',' || b == closer) {
			last := b == closer
			if !(last && p.Offset < 0 && p.Index == 0) { // [] has no records
				if p.Offset < 0 {
					p.Offset = at
				}
				p.Raw = bytes.TrimSpace(p.Raw)
				if !yield(p, nil) {
					return
				}
			}
			if last {
				break
			}
			p = Row{Index: p.Index + 1, Offset: -1}
			continue
		}
		if p.Offset < 0 {
			if isSpace(b) {
				continue
			}
			p.Offset = at
		}
		if len(p.Raw) == maxRecord {
			yield(Row{}, tooLong(p))
			return
		}
		p.Raw = append(p.Raw, b)
		n.see(b)
	}
	for {
		b, err := c.r.ReadByte()
		if errors.Is(err, io.EOF) {
			return
		}
		if err == nil && !isSpace(b) {
			err = fmt.Errorf("text after the end of the %s, at byte %d", map[byte]string{']': "array", '}': "object"}[closer], c.off)
		}
		if err != nil {
			yield(Row{}, err)
			return
		}
		c.off++
	}
}

// lines cuts at line ends; blank lines are no records. Where the first line is
// the beginning of an object only and no other begins on the next line, objects
// are written over several lines each: then it cuts where they end.
func (c *cutter) lines(yield func(Row, error) bool) {
	for index := 0; ; {
		line, err := c.r.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			yield(Row{}, err)
			return
		}
		raw := bytes.TrimSpace(line)
		if index == 0 && len(raw) > 0 && depthOf(raw) > 0 && c.goesOn() {
			c.objects(line, yield)
			return
		}
		if len(raw) > 0 {
			if !yield(Row{Index: index, Offset: c.off, Raw: raw}, nil) {
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

// depthOf counts the brackets that a text leaves open.
func depthOf(text []byte) int {
	var n nesting
	for _, b := range text {
		n.see(b)
	}
	return n.depth
}

// goesOn says whether what comes next is no new object.
func (c *cutter) goesOn() bool {
	head, _ := c.r.Peek(256) // an error comes back when it is read
	head = bytes.TrimLeft(head, " \t\r\n")
	return len(head) > 0 && head[0] != '{'
}

// objects cuts objects that stand one behind the other, over as many lines as
// they like; of the first one the beginning is read already.
func (c *cutter) objects(begun []byte, yield func(Row, error) bool) {
	in := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(begun), c.r), 1<<16)
	row := Row{Offset: -1}
	var n nesting
	for {
		b, err := in.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			if row.Offset >= 0 {
				yield(Row{}, fmt.Errorf("file ends inside record %d, which starts at byte %d: %w", row.Index, row.Offset, io.ErrUnexpectedEOF))
			}
			return
		case err != nil:
			yield(Row{}, err)
			return
		case row.Offset < 0 && (isSpace(b) || b == ','):
			c.off++
			continue
		case row.Offset < 0:
			row.Offset = c.off
		}
		if len(row.Raw) == maxRecord {
			yield(Row{}, tooLong(row))
			return
		}
		row.Raw = append(row.Raw, b)
		c.off++
		n.see(b)
		ended := n.depth == 0 && !n.quoted
		if row.Raw[0] != '{' && row.Raw[0] != '[' { // no record: all up to the next one is one piece
			next, err := in.Peek(1) // an error comes back when it is read
			ended = err != nil || next[0] == '{'
		}
		if ended {
			if !yield(row, nil) {
				return
			}
			row, n = Row{Index: row.Index + 1, Offset: -1}, nesting{}
		}
	}
}

func tooLong(row Row) error {
	return fmt.Errorf("record %d, which starts at byte %d, is longer than %d MiB: a quote or bracket in it is not closed", row.Index, row.Offset, maxRecord>>20)
}

// nesting is how deep in brackets a place of a JSON text lies.
type nesting struct {
	depth           int
	quoted, escaped bool
}

func (n *nesting) see(b byte) {
	switch {
	case n.escaped:
		n.escaped = false
	case n.quoted:
		n.quoted, n.escaped = b != '"', b == '\\'
	case b == '"':
		n.quoted = true
	case b == '{' || b == '[':
		n.depth++
	case (b == '}' || b == ']') && n.depth > 0:
		n.depth--
	}
}

func isSpace(b byte) bool { return b == ' ' || b == '\n' || b == '\r' || b == '\t' }
