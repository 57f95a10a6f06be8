package tensor

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"
)

// Float32s returns the values of a floating-point tensor. For a float32 tensor
// whose bytes are aligned (every tensor made by this module) it is a view:
// writing to it writes to the tensor, and it must not outlive a mapped file.
// For the other types it is a copy, rounded to the nearest even float32; so is
// it for unaligned float32 bytes of a foreign file. It panics on integer types,
// which is a programmer's fault: ask IsFloat first.
func (t *Tensor) Float32s() []float32 {
	if t.DType == F32 {
		if v, ok := view[float32](t.Data); ok {
			return v
		}
	}
	out := make([]float32, t.Len())
	switch t.DType {
	case F32:
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
		}
	case F64:
		for i := range out {
			out[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(t.Data[8*i:])))
		}
	case F16:
		for i := range out {
			out[i] = float16bits(binary.LittleEndian.Uint16(t.Data[2*i:])).float32()
		}
	case BF16:
		for i := range out {
			out[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(t.Data[2*i:])) << 16)
		}
	default:
		panic(fmt.Sprintf("tensor: Float32s of a %v tensor", t.DType))
	}
	return out
}

// Float64s returns the values of a floating-point tensor without loss: a view
// (see Float32s) of an aligned float64 tensor, else a copy. It panics on integer types.
func (t *Tensor) Float64s() []float64 {
	if t.DType != F64 {
		small := t.Float32s()
		out := make([]float64, len(small))
		for i, x := range small {
			out[i] = float64(x)
		}
		return out
	}
	if v, ok := view[float64](t.Data); ok {
		return v
	}
	out := make([]float64, t.Len())
	for i := range out {
		out[i] = math.Float64frombits(binary.LittleEndian.Uint64(t.Data[8*i:]))
	}
	return out
}

// Int64s returns the values of an integer or bool tensor: a view (see Float32s)
// of an aligned int64 tensor, else a copy. It panics on floating-point types.
func (t *Tensor) Int64s() []int64 {
	if t.DType == I64 {
		if v, ok := view[int64](t.Data); ok {
			return v
		}
	}
	out := make([]int64, t.Len())
	switch t.DType {
	case I64:
		for i := range out {
			out[i] = int64(binary.LittleEndian.Uint64(t.Data[8*i:]))
		}
	case I32:
		for i := range out {
			out[i] = int64(int32(binary.LittleEndian.Uint32(t.Data[4*i:])))
		}
	case I8:
		for i := range out {
			out[i] = int64(int8(t.Data[i]))
		}
	case U8:
		for i := range out {
			out[i] = int64(t.Data[i])
		}
	case Bool:
		for i := range out {
			if t.Data[i] != 0 {
				out[i] = 1
			}
		}
	default:
		panic(fmt.Sprintf("tensor: Int64s of a %v tensor", t.DType))
	}
	return out
}

// view returns data as elements in place, or false where it is not aligned.
func view[E float32 | float64 | int64](data []byte) ([]E, bool) {
	if len(data) == 0 {
		return []E{}, true
	}
	p := unsafe.Pointer(unsafe.SliceData(data))
	size := unsafe.Sizeof(E(0))
	if uintptr(p)%size != 0 {
		return nil, false
	}
	return unsafe.Slice((*E)(p), uintptr(len(data))/size), true
}

// Convert returns the tensor in another floating-point type, each value rounded
// to nearest, ties to even; too large ones become infinite. It returns t itself
// where the type is the same already, and ErrDType where either is no
// floating-point type.
func (t *Tensor) Convert(dt DType) (*Tensor, error) {
	if !t.IsFloat() || !dt.IsFloat() {
		return nil, fmt.Errorf("%w: converting %v to %v", ErrDType, t.DType, dt)
	}
	if t.DType == dt {
		return t, nil
	}
	out := New(dt, t.Shape...)
	switch dt {
	case F32:
		copy(out.Float32s(), t.Float32s())
	case F64:
		copy(out.Float64s(), t.Float64s())
	default:
		f := binary16
		if dt == BF16 {
			f = bfloat16
		}
		// float64 holds the values of every type, so that each is rounded once.
		if t.DType == F64 {
			for i, x := range t.Float64s() {
				binary.LittleEndian.PutUint16(out.Data[2*i:], f.round(x))
			}
			break
		}
		for i, x := range t.Float32s() {
			binary.LittleEndian.PutUint16(out.Data[2*i:], f.round(float64(x)))
		}
	}
	return out, nil
}

// float16bits is an IEEE 754 binary16 number.
type float16bits uint16

func (h float16bits) float32() float32 {
	sign := uint32(h>>15) << 31
	exp := uint32(h>>10) & 0x1f
	frac := uint32(h) & 0x3ff
	switch exp {
	case 0: // zero or subnormal: frac units of 2^-24, exact in float32
		return math.Float32frombits(sign | math.Float32bits(float32(frac)*0x1p-24))
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | frac<<13)
}

// smallFloat is the layout of a 16-bit floating-point type.
type smallFloat struct {
	frac int // explicit bits of the significand
	bias int // of the exponent
}

const (
	float64Frac = 52
	float64Bias = 1023
)

// The two 16-bit layouts.
var (
	binary16 = smallFloat{frac: 10, bias: 15}
	bfloat16 = smallFloat{frac: 7, bias: 127}
)

// round returns the bits nearest to x, ties to even.
func (f smallFloat) round(x float64) uint16 {
	b := math.Float64bits(x)
	sign := uint16(b>>63) << 15
	inf := uint16(1<<15 - 1<<f.frac) // all exponent bits set
	exp := int(b>>float64Frac&0x7ff) - float64Bias
	frac := b & (1<<float64Frac - 1)
	if exp == float64Bias+1 {
		if frac == 0 {
			return sign | inf
		}
		// The top of the payload is kept, with the quiet bit set so that a NaN
		// whose payload lies below cannot turn into an infinity.
		return sign | inf | 1<<(f.frac-1) | uint16(frac>>(float64Frac-f.frac))
	}
	if exp > f.bias {
		return sign | inf
	}
	shift := float64Frac - f.frac
	low := 1 - f.bias // exponent of the smallest normal number
	lift := exp - low
	if exp < low {
		shift += low - exp
		lift = 0
		if shift > float64Frac+1 {
			return sign // less than half of the smallest subnormal
		}
	}
	full := frac | 1<<float64Frac
	q, rest, half := full>>shift, full&(1<<shift-1), uint64(1)<<(shift-1)
	if rest > half || rest == half && q&1 == 1 {
		q++
	}
	// The leading bit of a normal q adds one to the exponent field; a carry out
	// of the significand does so too, up to infinity.
	return sign | uint16(lift<<f.frac) + uint16(q)
}
