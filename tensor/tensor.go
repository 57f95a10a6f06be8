// Package tensor defines a tensor, an array of numbers as models store it: an
// element type, a shape and little-endian bytes in row-major order.
//
// A Tensor is a plain value, whose numbers can be read, converted and hashed;
// the graph code, the runtime binding and the editors pass tensors to each
// other. Data may alias a mapped file or another tensor and is read-only by
// convention: a tensor that is to be written into is made with New or Clone.
//
// The machine must be little-endian, so that bytes can be viewed as numbers;
// on any other the package does not compile.
package tensor

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"
)

// Errors of this package. Both describe input, not programmer faults.
var (
	// ErrShape is returned when shapes, or a shape and its bytes, do not fit together.
	ErrShape = errors.New("tensor: shapes do not fit")
	// ErrDType is returned when an operation is not defined for an element type.
	ErrDType = errors.New("tensor: element type not supported here")
)

// DType is the type of a tensor's elements. The zero DType is none of them.
type DType uint8

// The element types.
const (
	F32  DType = iota + 1 // IEEE 754 binary32
	F64                   // IEEE 754 binary64
	F16                   // IEEE 754 binary16
	BF16                  // upper half of a binary32
	I64
	I32
	I8
	U8
	Bool // one byte, 0 or 1
)

// Size returns the bytes of one element, 0 for an unknown type.
func (d DType) Size() int {
	switch d {
	case F64, I64:
		return 8
	case F32, I32:
		return 4
	case F16, BF16:
		return 2
	case I8, U8, Bool:
		return 1
	}
	return 0
}

// String returns the type's name: float32, float64, float16, bfloat16, int64,
// int32, int8, uint8 or bool.
func (d DType) String() string {
	switch d {
	case F32:
		return "float32"
	case F64:
		return "float64"
	case F16:
		return "float16"
	case BF16:
		return "bfloat16"
	case I64:
		return "int64"
	case I32:
		return "int32"
	case I8:
		return "int8"
	case U8:
		return "uint8"
	case Bool:
		return "bool"
	}
	return fmt.Sprintf("dtype(%d)", uint8(d))
}

// IsFloat reports whether the type is one of the four floating-point types.
func (d DType) IsFloat() bool { return d == F32 || d == F64 || d == F16 || d == BF16 }

// Tensor is an array: len(Data) is the product of Shape times DType.Size. An
// empty Shape is a single number; a zero in Shape makes an empty array.
type Tensor struct {
	DType DType
	Shape []int
	Data  []byte // little endian, row-major; read-only by convention
}

// New returns a zeroed tensor whose bytes are aligned for its elements. It
// panics on an unknown type or a negative dimension.
func New(dt DType, shape ...int) *Tensor {
	n, err := Elements(shape)
	if err != nil || dt.Size() == 0 {
		panic(fmt.Sprintf("tensor: New(%v, %v): not a tensor", dt, shape))
	}
	return &Tensor{DType: dt, Shape: slices.Clone(shape), Data: aligned(n * dt.Size())}
}

// Elements returns the product of a shape's dimensions, 1 for an empty shape,
// and an ErrShape where one is negative or the product is out of range.
func Elements(shape []int) (int, error) {
	n := 1
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("%w: negative dimension in %v", ErrShape, shape)
		}
		// A later zero would hide an overflow, so that huge shapes are refused
		// even where they are empty. The bound leaves room for 8-byte elements.
		if d != 0 && n > math.MaxInt/8/d {
			return 0, fmt.Errorf("%w: %v has too many elements", ErrShape, shape)
		}
		n *= d
	}
	return n, nil
}

// aligned returns n zero bytes that start at a multiple of 8.
func aligned(n int) []byte {
	words := make([]uint64, (n+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), len(words)*8)[:n:n]
}

// FromFloat32s returns a float32 tensor that shares memory with v. It panics
// where the shape does not have len(v) elements.
func FromFloat32s(v []float32, shape ...int) *Tensor { return from(F32, v, shape) }

// FromInt64s returns an int64 tensor that shares memory with v. It panics where
// the shape does not have len(v) elements.
func FromInt64s(v []int64, shape ...int) *Tensor { return from(I64, v, shape) }

func from[E float32 | int64](dt DType, v []E, shape []int) *Tensor {
	if n, err := Elements(shape); err != nil || n != len(v) {
		panic(fmt.Sprintf("tensor: %d values do not have shape %v", len(v), shape))
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*dt.Size())
	return &Tensor{DType: dt, Shape: slices.Clone(shape), Data: b}
}

// Check returns an error unless the type is known and the bytes are as many as
// type and shape ask for. Readers of files call it; everything else may rely on it.
func (t *Tensor) Check() error {
	if t.DType.Size() == 0 {
		return fmt.Errorf("%w: %v", ErrDType, t.DType)
	}
	n, err := Elements(t.Shape)
	if err != nil {
		return err
	}
	if want := n * t.DType.Size(); want != len(t.Data) {
		return fmt.Errorf("%w: %v %v takes %d bytes, has %d", ErrShape, t.DType, t.Shape, want, len(t.Data))
	}
	return nil
}

// Len returns the number of elements.
func (t *Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Bytes returns the size of the elements in bytes.
func (t *Tensor) Bytes() int { return t.Len() * t.DType.Size() }

// IsFloat reports whether the elements are floating-point numbers.
func (t *Tensor) IsFloat() bool { return t.DType.IsFloat() }

// Clone returns a copy that shares nothing with t.
func (t *Tensor) Clone() *Tensor {
	c := &Tensor{DType: t.DType, Shape: slices.Clone(t.Shape), Data: aligned(len(t.Data))}
	copy(c.Data, t.Data)
	return c
}

// Hash returns a SHA-256 over element type, shape and data. Tensors of equal
// numbers in different types have different hashes.
func (t *Tensor) Hash() [32]byte {
	h := sha256.New()
	head := append([]byte(t.DType.String()), 0)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(t.Shape)))
	for _, d := range t.Shape {
		head = binary.LittleEndian.AppendUint64(head, uint64(d))
	}
	h.Write(head)
	h.Write(t.Data)
	return [32]byte(h.Sum(nil))
}
