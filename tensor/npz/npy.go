package npz

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"editpipe/tensor"
)

const magic = "\x93NUMPY"

// maxHeader bounds the header's text; real ones have about 120 bytes.
const maxHeader = 1 << 16

// decode reads an array from r, which holds size bytes.
func decode(r io.Reader, size int64) (*tensor.Tensor, error) {
	var start [8]byte
	if _, err := io.ReadFull(r, start[:]); err != nil || string(start[:6]) != magic {
		return nil, fmt.Errorf("%w: it does not start as an .npy file", ErrFormat)
	}
	lenSize := 2
	if v := start[6]; v == 2 || v == 3 { // 3 differs from 2 in allowing UTF-8 in field names
		lenSize = 4
	} else if v != 1 {
		return nil, fmt.Errorf("%w: .npy version %d", ErrFormat, v)
	}
	var length [4]byte
	if _, err := io.ReadFull(r, length[:lenSize]); err != nil {
		return nil, fmt.Errorf("%w: truncated header: %w", ErrFormat, err)
	}
	n := int64(binary.LittleEndian.Uint32(length[:])) // the upper bytes of a version 1 length are zero
	if n > maxHeader {
		return nil, fmt.Errorf("%w: header of %d bytes", ErrFormat, n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, fmt.Errorf("%w: truncated header: %w", ErrFormat, err)
	}
	h, err := parseHeader(string(text))
	if err != nil {
		return nil, fmt.Errorf("%w: header %q: %w", ErrFormat, strings.TrimSpace(string(text)), err)
	}
	dt, swap, err := elementType(h.descr)
	if err != nil {
		return nil, err
	}
	count, err := tensor.Elements(h.shape)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	have := size - int64(len(start)+lenSize) - n
	if want := int64(count) * int64(dt.Size()); want != have {
		return nil, fmt.Errorf("%w: %v %v takes %d bytes, the file has %d", ErrFormat, dt, h.shape, want, have)
	}
	t := tensor.New(dt, h.shape...)
	if _, err := io.ReadFull(r, t.Data); err != nil {
		return nil, fmt.Errorf("%w: truncated data: %w", ErrFormat, err)
	}
	if swap {
		for i := 0; i < len(t.Data); i += dt.Size() {
			slices.Reverse(t.Data[i : i+dt.Size()])
		}
	}
	if h.fortran {
		return rowMajor(t), nil
	}
	return t, nil
}

// elementType reads a type description such as <f4 or |b1.
func elementType(descr string) (dt tensor.DType, swap bool, err error) {
	if strings.HasSuffix(descr, "O") {
		return 0, false, fmt.Errorf("%w: object arrays hold pickled Python and are refused; save numbers instead", ErrFormat)
	}
	order, kind := "", descr
	if descr != "" {
		order, kind = descr[:1], descr[1:]
	}
	switch kind {
	case "f4":
		dt = tensor.F32
	case "f8":
		dt = tensor.F64
	case "f2":
		dt = tensor.F16
	case "i8":
		dt = tensor.I64
	case "i4":
		dt = tensor.I32
	case "i1":
		dt = tensor.I8
	case "u1":
		dt = tensor.U8
	case "b1":
		dt = tensor.Bool
	}
	if dt == 0 || !strings.Contains("<>|", order) || order == "|" && dt.Size() > 1 {
		return 0, false, fmt.Errorf("%w: element type %q; float16, float32, float64, int8, int32, int64, uint8 and bool are read", ErrFormat, descr)
	}
	return dt, order == ">", nil
}

// rowMajor reorders a tensor whose bytes are in Fortran order, the first index
// running fastest.
func rowMajor(t *tensor.Tensor) *tensor.Tensor {
	out := tensor.New(t.DType, t.Shape...)
	size := t.DType.Size()
	stride := make([]int, len(t.Shape)) // of each index in Fortran order
	step := 1
	for i, d := range t.Shape {
		stride[i] = step
		step *= d
	}
	at := make([]int, len(t.Shape))
	from := 0
	for to := range out.Len() {
		copy(out.Data[to*size:][:size], t.Data[from*size:][:size])
		for i := len(at) - 1; i >= 0; i-- {
			at[i]++
			from += stride[i]
			if at[i] < t.Shape[i] {
				break
			}
			from -= at[i] * stride[i]
			at[i] = 0
		}
	}
	return out
}

// arrayHeader is the dictionary at the start of an array.
type arrayHeader struct {
	descr   string
	fortran bool
	shape   []int
}

// parseHeader reads the header's Python literal, a dictionary of exactly
// descr, fortran_order and shape.
func parseHeader(s string) (arrayHeader, error) {
	var h arrayHeader
	p := literal(s)
	if !p.take("{") {
		return h, fmt.Errorf("no dictionary")
	}
	seen := map[string]bool{}
	for !p.take("}") {
		key, ok := p.quoted()
		if !ok || !p.take(":") || seen[key] {
			return h, fmt.Errorf("malformed at %q", string(p))
		}
		seen[key] = true
		switch key {
		case "descr":
			if h.descr, ok = p.quoted(); !ok {
				return h, fmt.Errorf("structured element types are not read")
			}
		case "fortran_order":
			if h.fortran = p.take("True"); !h.fortran && !p.take("False") {
				return h, fmt.Errorf("malformed at %q", string(p))
			}
		case "shape":
			if h.shape, ok = p.tuple(); !ok {
				return h, fmt.Errorf("malformed at %q", string(p))
			}
		default:
			return h, fmt.Errorf("unknown key %q", key)
		}
		if !p.take(",") {
			if !p.take("}") {
				return h, fmt.Errorf("malformed at %q", string(p))
			}
			break
		}
	}
	if len(seen) != 3 || strings.TrimSpace(string(p)) != "" {
		return h, fmt.Errorf("descr, fortran_order and shape are wanted")
	}
	return h, nil
}

// literal is the rest of a Python literal.
type literal string

func (p *literal) take(word string) bool {
	rest, ok := strings.CutPrefix(strings.TrimLeft(string(*p), " \n"), word)
	if ok {
		*p = literal(rest)
	}
	return ok
}

func (p *literal) quoted() (string, bool) {
	for _, q := range []string{"'", `"`} {
		if p.take(q) {
			word, rest, ok := strings.Cut(string(*p), q)
			*p = literal(rest)
			return word, ok
		}
	}
	return "", false
}

// tuple reads (), (3,) or (3, 4).
func (p *literal) tuple() ([]int, bool) {
	if !p.take("(") {
		return nil, false
	}
	inner, rest, ok := strings.Cut(string(*p), ")")
	*p = literal(rest)
	shape := []int{}
	for i, part := range strings.Split(inner, ",") {
		part = strings.TrimSuffix(strings.TrimSpace(part), "L") // Python 2 wrote long integers
		if part == "" && (i > 0 || strings.TrimSpace(inner) == "") {
			continue
		}
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, false
		}
		shape = append(shape, n)
	}
	return shape, ok
}

// encode writes a version 1 array.
func encode(w io.Writer, t *tensor.Tensor) error {
	if err := t.Check(); err != nil {
		return err
	}
	var descr string
	switch t.DType {
	case tensor.F32:
		descr = "<f4"
	case tensor.F64:
		descr = "<f8"
	case tensor.F16:
		descr = "<f2"
	case tensor.I64:
		descr = "<i8"
	case tensor.I32:
		descr = "<i4"
	case tensor.I8:
		descr = "|i1"
	case tensor.U8:
		descr = "|u1"
	case tensor.Bool:
		descr = "|b1"
	default:
		return fmt.Errorf("%w: NumPy has no %v; convert it to float32", tensor.ErrDType, t.DType)
	}
	var shape strings.Builder
	for _, d := range t.Shape {
		fmt.Fprintf(&shape, "%d, ", d)
	}
	dims := strings.TrimSuffix(shape.String(), " ") // (3,) keeps the comma that makes it a tuple
	if len(t.Shape) != 1 {
		dims = strings.TrimSuffix(dims, ",")
	}
	head := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, dims)
	pad := 63 - (len(magic)+4+len(head))%64 // the data start at a multiple of 64
	head += strings.Repeat(" ", pad) + "\n"
	out := append([]byte(magic), 1, 0)
	out = binary.LittleEndian.AppendUint16(out, uint16(len(head)))
	out = append(out, head...)
	if _, err := w.Write(out); err != nil {
		return err
	}
	_, err := w.Write(t.Data)
	return err
}
