// Package safetensors reads and writes the safetensors archive: a JSON header
// of names, element types, shapes and byte ranges, then the bytes.
//
// Reading is strict: the format's rules are checked (header within bounds,
// ranges that follow each other and cover the file, sizes that agree with type
// and shape, no name twice). Only what is unknown is allowed: a tensor of an
// unknown element type is refused when it is read, not when its archive is
// opened, and keys other than a tensor's type, shape and range are ignored.
package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"editpipe/lfs"
	"editpipe/tensor"
)

// ErrFormat is returned, wrapped with file and tensor, when a file is not a
// valid safetensors archive.
var ErrFormat = errors.New("not a valid safetensors file")

// MaxHeader is the longest header accepted, in bytes; it is the format's own bound.
const MaxHeader = 100_000_000

// Entry says where a tensor lies in an archive.
type Entry struct {
	Name  string
	Type  string // the archive's name of the element type, e.g. F32
	Shape []int
	Start int64 // first byte, counted from the end of the header
	End   int64 // behind the last byte
}

// File is an open archive whose tensors are read one by one.
type File struct {
	Entries []Entry // in the order of their bytes
	Meta    map[string]string

	f    *os.File
	base int64
	at   map[string]int
}

// types maps the file's element types to bytes per element, 0 for those that
// are not known, and, where this module has the type, to it.
func types(name string) (bytes int, dt tensor.DType) {
	switch name {
	case "F64":
		return 8, tensor.F64
	case "F32":
		return 4, tensor.F32
	case "F16":
		return 2, tensor.F16
	case "BF16":
		return 2, tensor.BF16
	case "I64":
		return 8, tensor.I64
	case "I32":
		return 4, tensor.I32
	case "I8":
		return 1, tensor.I8
	case "U8":
		return 1, tensor.U8
	case "BOOL":
		return 1, tensor.Bool
	case "U64", "C64":
		return 8, 0
	case "U32":
		return 4, 0
	case "I16", "U16":
		return 2, 0
	case "F8_E5M2", "F8_E4M3", "F8_E8M0":
		return 1, 0
	}
	return 0, 0
}

// typeName is the inverse of types.
func typeName(dt tensor.DType) string {
	for _, name := range []string{"F64", "F32", "F16", "BF16", "I64", "I32", "I8", "U8", "BOOL"} {
		if _, have := types(name); have == dt {
			return name
		}
	}
	return ""
}

// Open reads and checks an archive's header. The caller closes the file.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: opening: %w", err)
	}
	file, err := readHeader(f)
	if pointer := lfs.CheckFile(path); err != nil && pointer != nil {
		err = pointer
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("safetensors: reading %s: %w", path, err)
	}
	return file, nil
}

// Close closes the archive; tensors that were read stay valid.
func (f *File) Close() error { return f.f.Close() }

// Names returns the tensors' names in the order of their bytes.
func (f *File) Names() []string {
	names := make([]string, len(f.Entries))
	for i, e := range f.Entries {
		names[i] = e.Name
	}
	return names
}

// Entry returns the place of a tensor and whether the archive has it.
func (f *File) Entry(name string) (Entry, bool) {
	i, ok := f.at[name]
	if !ok {
		return Entry{}, false
	}
	return f.Entries[i], true
}

// Tensor reads one tensor into memory of its own.
func (f *File) Tensor(name string) (*tensor.Tensor, error) {
	e, ok := f.Entry(name)
	if !ok {
		return nil, fmt.Errorf("safetensors: %s has no tensor %q", f.f.Name(), name)
	}
	_, dt := types(e.Type)
	if dt == 0 {
		return nil, fmt.Errorf("safetensors: %s: tensor %q: %w %s", f.f.Name(), name, tensor.ErrDType, e.Type)
	}
	t := tensor.New(dt, e.Shape...)
	if _, err := f.f.ReadAt(t.Data, f.base+e.Start); err != nil && len(t.Data) > 0 {
		return nil, fmt.Errorf("safetensors: %s: tensor %q: %w", f.f.Name(), name, err)
	}
	return t, nil
}

// Read reads a whole archive: its tensors by name and its metadata, an empty
// map where there is none. Each tensor has memory of its own.
func Read(path string) (map[string]*tensor.Tensor, map[string]string, error) {
	f, err := Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	out := make(map[string]*tensor.Tensor, len(f.Entries))
	for _, e := range f.Entries {
		if out[e.Name], err = f.Tensor(e.Name); err != nil {
			return nil, nil, err
		}
	}
	return out, f.Meta, nil
}

func readHeader(f *os.File) (*File, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var length [8]byte
	if _, err := io.ReadFull(f, length[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("%w: %d bytes are too few for a header", ErrFormat, info.Size())
		}
		return nil, err
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n < 2 || n > MaxHeader || int64(n) > info.Size()-8 {
		return nil, fmt.Errorf("%w: header of %d bytes in a file of %d", ErrFormat, n, info.Size())
	}
	head := make([]byte, n)
	if _, err := io.ReadFull(f, head); err != nil {
		return nil, err
	}
	out := &File{Meta: map[string]string{}, f: f, base: 8 + int64(n), at: map[string]int{}}
	if err := out.parse(head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if err := out.layout(info.Size() - out.base); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return out, nil
}

// parse reads the JSON header. It walks tokens, because decoding into a map
// would let the second of two equal names win silently.
func (f *File) parse(head []byte) error {
	if head[0] != '{' {
		return errors.New("the header does not start with {")
	}
	if !utf8.Valid(head) {
		return errors.New("the header is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(head))
	err := object(dec, func(key string) error {
		if key == "__metadata__" {
			return object(dec, func(key string) error {
				var s *string // a pointer tells null apart
				if err := dec.Decode(&s); err != nil || s == nil {
					return fmt.Errorf("metadata %q is not a string", key)
				}
				f.Meta[key] = *s
				return nil
			})
		}
		e := Entry{Name: key}
		seen := 0
		err := object(dec, func(key string) error {
			seen++
			switch key {
			case "dtype":
				return dec.Decode(&e.Type)
			case "shape":
				return dec.Decode(&e.Shape)
			case "data_offsets":
				var at []int64
				if err := dec.Decode(&at); err != nil {
					return err
				}
				if len(at) != 2 {
					return fmt.Errorf("data_offsets has %d numbers", len(at))
				}
				e.Start, e.End = at[0], at[1]
				return nil
			}
			var other json.RawMessage // a later version's, or a writer's own
			seen--
			return dec.Decode(&other)
		})
		if err == nil && (seen != 3 || e.Shape == nil || e.Type == "") {
			err = errors.New("dtype, shape and data_offsets are wanted")
		}
		if err != nil {
			return fmt.Errorf("tensor %q: %w", key, err)
		}
		f.Entries = append(f.Entries, e)
		return nil
	})
	if err != nil {
		return fmt.Errorf("header: %w", err)
	}
	rest := head[dec.InputOffset():]
	if strings.Trim(string(rest), " \t\r\n") != "" {
		return errors.New("header: text behind the closing brace")
	}
	return nil
}

// object reads a JSON object and calls read at each value; no key may come twice.
func object(dec *json.Decoder, read func(key string) error) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return fmt.Errorf("%v where an object is wanted", t)
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return fmt.Errorf("%v where a key is wanted", t)
		}
		if seen[key] {
			return fmt.Errorf("%q comes twice", key)
		}
		seen[key] = true
		if err := read(key); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

// layout checks every size and that the byte ranges lie end to end over the
// whole of the data.
func (f *File) layout(size int64) error {
	slices.SortFunc(f.Entries, func(a, b Entry) int {
		if a.Start != b.Start {
			return cmp.Compare(a.Start, b.Start)
		}
		if a.End != b.End {
			return cmp.Compare(a.End, b.End) // empty tensors come before the one that starts with them
		}
		return strings.Compare(a.Name, b.Name)
	})
	at := int64(0)
	for i, e := range f.Entries {
		each, _ := types(e.Type)
		n, err := tensor.Elements(e.Shape)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", e.Name, err)
		}
		if e.Start != at {
			return fmt.Errorf("tensor %q starts at byte %d where %d is wanted: ranges must lie end to end", e.Name, e.Start, at)
		}
		if e.End < e.Start {
			return fmt.Errorf("tensor %q ends at byte %d, before it starts", e.Name, e.End)
		}
		// Of a type that is not known, the size cannot be told.
		if want := int64(n) * int64(each); each > 0 && e.End-e.Start != want {
			return fmt.Errorf("tensor %q: %s %v takes %d bytes, its range has %d", e.Name, e.Type, e.Shape, want, e.End-e.Start)
		}
		if e.End > size {
			return fmt.Errorf("tensor %q ends at byte %d of %d: the file is truncated", e.Name, e.End, size)
		}
		at = e.End
		f.at[e.Name] = i
	}
	if at != size {
		return fmt.Errorf("%d bytes behind the last tensor", size-at)
	}
	return nil
}
