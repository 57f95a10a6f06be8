package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"editpipe/tensor"

	"google.golang.org/protobuf/encoding/protowire"
)

// externalLocation is the data_location value of a tensor stored elsewhere.
const externalLocation = 1

// Tensor is a named constant. Its data are raw bytes, typed protobuf fields or
// a reference into an external file; [Tensor.Value] resolves all three.
type Tensor struct {
	Name     string
	DType    DataType
	Dims     []int64
	External *External // nil when the data are inside the model file

	hasRaw  bool
	raw     []byte
	typed   []byte // float_data, int32_data, ... verbatim with their tags
	unknown []byte
}

// NewTensor names t for use in a model. The data are shared, not copied.
func NewTensor(name string, t *tensor.Tensor) *Tensor {
	dims := make([]int64, len(t.Shape))
	for i, d := range t.Shape {
		dims[i] = int64(d)
	}
	return &Tensor{Name: name, DType: TypeOf(t.DType), Dims: dims, hasRaw: true, raw: t.Data}
}

// Len is the number of elements, or ErrSize when the dimensions are negative
// or their product overflows.
func (t *Tensor) Len() (int64, error) {
	n := uint64(1)
	zero := false
	for _, d := range t.Dims {
		if d < 0 {
			return 0, fmt.Errorf("%w: dimensions %v", ErrSize, t.Dims)
		}
		if d == 0 {
			zero = true
			continue
		}
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > math.MaxInt64/16 { // 16: the widest element has 16 bytes
			return 0, fmt.Errorf("%w: dimensions %v overflow", ErrSize, t.Dims)
		}
		n = lo
	}
	if zero {
		return 0, nil
	}
	return int64(n), nil
}

// Size is the number of bytes that the elements take. Strings have no size of
// their own: it is 0 for them.
func (t *Tensor) Size() (int64, error) {
	n, err := t.Len()
	if err != nil {
		return 0, err
	}
	b := t.DType.bits()
	if b == 0 && t.DType != String {
		return 0, fmt.Errorf("%w: %s", ErrDataType, t.DType)
	}
	if b < 8 {
		return (n*b + 7) / 8, nil
	}
	return n * (b / 8), nil
}

// Value returns the tensor's elements. Raw and external data are views of the
// mapped file and must not be written to.
func (t *Tensor) Value() (*tensor.Tensor, error) {
	dt, err := t.DType.Tensor()
	if err != nil {
		return nil, fmt.Errorf("onnx: tensor %q: %w", t.Name, err)
	}
	data, err := t.bytes()
	if err != nil {
		return nil, fmt.Errorf("onnx: tensor %q: %w", t.Name, err)
	}
	shape := make([]int, len(t.Dims))
	for i, d := range t.Dims {
		shape[i] = int(d)
	}
	return &tensor.Tensor{DType: dt, Shape: shape, Data: data}, nil
}

// bytes returns the elements as little-endian bytes, after checking that there
// are as many as the dimensions say.
func (t *Tensor) bytes() ([]byte, error) {
	size, err := t.Size()
	if err != nil {
		return nil, err
	}
	if t.External != nil {
		if err := t.External.check(size); err != nil {
			return nil, err
		}
		return t.External.read(size)
	}
	if err := t.checkInline(size); err != nil {
		return nil, err
	}
	if t.hasRaw || size == 0 {
		return t.raw, nil
	}
	return t.decodeTyped(size)
}

// check verifies that dimensions, type and data agree, without reading the data.
func (t *Tensor) check() error {
	size, err := t.Size()
	if err != nil {
		return err
	}
	if t.External != nil {
		return t.External.check(size)
	}
	return t.checkInline(size)
}

func (t *Tensor) checkInline(size int64) error {
	if t.hasRaw {
		if len(t.typed) > 0 {
			return fmt.Errorf("%w: both raw and typed data", ErrSize)
		}
		if t.DType == String {
			return fmt.Errorf("%w: raw data for strings", ErrSize)
		}
		if int64(len(t.raw)) != size {
			return fmt.Errorf("%w: %s %v needs %d bytes, has %d", ErrSize, t.DType, t.Dims, size, len(t.raw))
		}
		return nil
	}
	n, err := t.Len()
	if err != nil {
		return err
	}
	switch {
	case t.DType == Complex64 || t.DType == Complex128:
		n *= 2
	case t.DType != String && t.DType.bits() < 8:
		n = size // int32_data holds one byte per entry
	}
	have, err := t.countTyped()
	if err != nil {
		return err
	}
	if have != n {
		return fmt.Errorf("%w: %s %v needs %d elements, has %d", ErrSize, t.DType, t.Dims, n, have)
	}
	return nil
}

// typedField is the number of the field that holds elements of type d when
// they are not raw.
func typedField(d DataType) protowire.Number {
	switch d {
	case Float, Complex64:
		return 4
	case String:
		return 6
	case Int64:
		return 7
	case Double, Complex128:
		return 10
	case Uint32, Uint64:
		return 11
	}
	return 5 // int32_data: all the small types, 16-bit floats as bit patterns
}

// typedWire is the wire type of one element in a typed data field.
func typedWire(num protowire.Number) protowire.Type {
	switch num {
	case 4:
		return protowire.Fixed32Type
	case 6:
		return protowire.BytesType
	case 10:
		return protowire.Fixed64Type
	}
	return protowire.VarintType
}

// countTyped counts the elements in typed data.
func (t *Tensor) countTyped() (n int64, err error) {
	err = t.eachTyped(func(v uint64) { n++ })
	return n, err
}

// eachTyped calls f with the bit pattern of every element in typed data. For
// strings the pattern is meaningless.
func (t *Tensor) eachTyped(f func(v uint64)) error {
	want := typedField(t.DType)
	d := &decoder{}
	d.walk("tensor data", t.typed, func(fd field) bool {
		if fd.num != want {
			d.fail("%s data in field %d", t.DType, fd.num)
			return true
		}
		if fd.typ != protowire.BytesType || want == 6 {
			if d.want(fd, typedWire(want)) {
				f(fd.v)
			}
			return true
		}
		for b := fd.b; len(b) > 0; {
			var v uint64
			var n int
			switch typedWire(want) {
			case protowire.Fixed32Type:
				var w uint32
				w, n = protowire.ConsumeFixed32(b)
				v = uint64(w)
			case protowire.Fixed64Type:
				v, n = protowire.ConsumeFixed64(b)
			default:
				v, n = protowire.ConsumeVarint(b)
			}
			if n < 0 {
				d.fail("tensor data: %v", protowire.ParseError(n))
				break
			}
			f(v)
			b = b[n:]
		}
		return true
	})
	return d.err
}

// decodeTyped turns typed data into size little-endian bytes.
func (t *Tensor) decodeTyped(size int64) ([]byte, error) {
	width := int(max(t.DType.bits(), 8) / 8)
	if t.DType == Complex64 || t.DType == Complex128 {
		width /= 2
	}
	out := make([]byte, 0, size)
	err := t.eachTyped(func(v uint64) {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], v)
		out = append(out, b[:width]...)
	})
	return out, err
}
