package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A footer is a FileMetaData structure in Thrift's compact protocol, its length in
// four bytes, and a magic. In it, metadata may have a key without a value (KeyValue.value is
// optional in parquet.thrift); the Parquet library wants one and refuses the file.
const (
	footerMagic    = "PAR1"
	encryptedMagic = "PARE"
)

var (
	errFooter    = errors.New("the footer is malformed")
	errEncrypted = errors.New("the file is encrypted; write it again without")
)

// isEncrypted says whether a file's footer is encrypted.
func isEncrypted(f io.ReaderAt, size int64) bool {
	var end [4]byte
	_, err := f.ReadAt(end[:], max(0, size-4))
	return err == nil && string(end[:]) == encryptedMagic
}

// completed is a file whose footer gives every key a value, an empty one where it
// had none. It is nil where nothing had to be added.
func completed(f io.ReaderAt, size int64) (io.ReaderAt, int64) {
	var end [8]byte
	if size < 12 {
		return nil, 0
	}
	if _, err := f.ReadAt(end[:], size-8); err != nil || string(end[4:]) != footerMagic {
		return nil, 0
	}
	length := int64(binary.LittleEndian.Uint32(end[:4]))
	if length > size-8 {
		return nil, 0
	}
	old := make([]byte, length)
	if _, err := f.ReadAt(old, size-8-length); err != nil {
		return nil, 0
	}
	c := completer{in: old}
	if err := c.structure(&fileMetaData); err != nil || c.added == 0 {
		return nil, 0
	}
	tail := append(c.out, old[c.at:]...) // a signature may follow
	tail = binary.LittleEndian.AppendUint32(tail, uint32(len(tail)))
	tail = append(tail, footerMagic...)
	head := size - 8 - length
	return joined{io.NewSectionReader(f, 0, head), tail, head}, head + int64(len(tail))
}

// joined is the beginning of a file with another end.
type joined struct {
	head io.ReaderAt
	tail []byte
	at   int64 // where the tail begins
}

func (j joined) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("reading at byte %d", off)
	}
	if off < j.at {
		k := min(int64(len(p)), j.at-off)
		if n, err = j.head.ReadAt(p[:k], off); int64(n) < k {
			return n, err
		}
	}
	if n == len(p) {
		return n, nil
	}
	if from := off + int64(n) - j.at; from < int64(len(j.tail)) {
		n += copy(p[n:], j.tail[from:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// layout says in which fields of a structure keys and values lie.
type layout struct {
	fields   map[int64]*layout // of structures, or of the structures of a list
	keyValue bool              // the structure is a KeyValue
}

// The ids are those of parquet.thrift.
var (
	keyValue     = layout{keyValue: true}
	fileMetaData = layout{fields: map[int64]*layout{
		4: {fields: map[int64]*layout{ // row groups
			1: {fields: map[int64]*layout{ // columns
				3: {fields: map[int64]*layout{8: &keyValue}}, // metadata
			}},
		}},
		5: &keyValue,
	}}
)

// The types of Thrift's compact protocol that matter here.
const (
	compactTrue, compactFalse        = 1, 2
	compactByte, compactDouble       = 3, 7
	compactI16, compactI64           = 4, 6
	compactBinary                    = 8
	compactList, compactSet          = 9, 10
	compactMap, compactStruct        = 11, 12
	keyValueValue              int64 = 2 // the id of a value in KeyValue
	maxDepth                         = 64
)

// completer copies a structure and adds what is missing.
type completer struct {
	in    []byte
	at    int
	out   []byte
	added int
	depth int
}

func (c *completer) take(n int) error {
	if n < 0 || n > len(c.in)-c.at {
		return errFooter
	}
	c.out = append(c.out, c.in[c.at:c.at+n]...)
	c.at += n
	return nil
}

func (c *completer) byte() (byte, error) {
	if err := c.take(1); err != nil {
		return 0, err
	}
	return c.in[c.at-1], nil
}

func (c *completer) varint() (uint64, error) {
	v, n := binary.Uvarint(c.in[c.at:])
	if n <= 0 {
		return 0, errFooter
	}
	return v, c.take(n)
}

func (c *completer) structure(l *layout) error {
	if c.depth++; c.depth > maxDepth {
		return errFooter
	}
	defer func() { c.depth-- }()
	var id int64
	complete := l == nil || !l.keyValue
	for {
		head, err := c.byte()
		if err != nil {
			return err
		}
		if head == 0 {
			if !complete {
				// An empty text with its id in the long form, before the end.
				c.out = append(c.out[:len(c.out)-1], compactBinary, byte(keyValueValue<<1), 0, 0)
				c.added++
			}
			return nil
		}
		if delta := int64(head >> 4); delta > 0 {
			id += delta
		} else {
			v, err := c.varint()
			if err != nil {
				return err
			}
			id = int64(v>>1) ^ -int64(v&1)
		}
		complete = complete || id == keyValueValue
		var inner *layout
		if l != nil {
			inner = l.fields[id]
		}
		if err := c.value(head&0xf, inner, false); err != nil {
			return err
		}
	}
}

func (c *completer) value(kind byte, l *layout, listed bool) error {
	switch kind {
	case compactTrue, compactFalse:
		if listed { // as a field, the kind is the value
			return c.take(1)
		}
		return nil
	case compactByte:
		return c.take(1)
	case compactDouble:
		return c.take(8)
	case compactBinary:
		n, err := c.varint()
		if err != nil || n > uint64(len(c.in)) {
			return errFooter
		}
		return c.take(int(n))
	case compactList, compactSet:
		head, err := c.byte()
		if err != nil {
			return err
		}
		n := uint64(head >> 4)
		if n == 15 {
			if n, err = c.varint(); err != nil {
				return err
			}
		}
		for range n {
			if err := c.value(head&0xf, l, true); err != nil {
				return err
			}
		}
		return nil
	case compactMap:
		n, err := c.varint()
		if err != nil || n == 0 {
			return err
		}
		kinds, err := c.byte()
		if err != nil {
			return err
		}
		for range n {
			if err := errors.Join(c.value(kinds>>4, nil, true), c.value(kinds&0xf, nil, true)); err != nil {
				return err
			}
		}
		return nil
	case compactStruct:
		return c.structure(l)
	}
	if kind < compactI16 || kind > compactI64 {
		return errFooter
	}
	_, err := c.varint()
	return err
}
