package onnx

import (
	"fmt"

	"editpipe/tensor"
)

// DataType is the element type of a tensor, numbered as in the format.
type DataType int32

// Element types.
const (
	Undefined  DataType = 0
	Float      DataType = 1
	Uint8      DataType = 2
	Int8       DataType = 3
	Uint16     DataType = 4
	Int16      DataType = 5
	Int32      DataType = 6
	Int64      DataType = 7
	String     DataType = 8
	Bool       DataType = 9
	Float16    DataType = 10
	Double     DataType = 11
	Uint32     DataType = 12
	Uint64     DataType = 13
	Complex64  DataType = 14
	Complex128 DataType = 15
	BFloat16   DataType = 16

	// The 8-bit floats are 17 to 20 and 24; 21, 22 and 23 have 4 bits, 25 and
	// 26 have 2. They are carried through, never computed with.
	float8e4m3fn DataType = 17
	float8e5m2z  DataType = 20
	uint4        DataType = 21
	float4e2m1   DataType = 23
	float8e8m0   DataType = 24
	uint2        DataType = 25
	int2         DataType = 26
)

// bits is the storage of one element, 0 for strings and unknown types.
func (d DataType) bits() int64 {
	switch d {
	case Uint8, Int8, Bool, float8e8m0:
		return 8
	case Uint16, Int16, Float16, BFloat16:
		return 16
	case Float, Int32, Uint32:
		return 32
	case Double, Int64, Uint64, Complex64:
		return 64
	case Complex128:
		return 128
	case uint2, int2:
		return 2
	}
	switch {
	case d >= float8e4m3fn && d <= float8e5m2z:
		return 8
	case d >= uint4 && d <= float4e2m1:
		return 4
	}
	return 0
}

func (d DataType) String() string {
	names := [...]string{"undefined", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64",
		"string", "bool", "float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16"}
	if d >= 0 && int(d) < len(names) {
		return names[d]
	}
	return fmt.Sprintf("type %d", int32(d))
}

// TypeOf returns the element type that stores a tensor of type d.
func TypeOf(d tensor.DType) DataType {
	switch d {
	case tensor.F32:
		return Float
	case tensor.F64:
		return Double
	case tensor.F16:
		return Float16
	case tensor.BF16:
		return BFloat16
	case tensor.I64:
		return Int64
	case tensor.I32:
		return Int32
	case tensor.I8:
		return Int8
	case tensor.U8:
		return Uint8
	case tensor.Bool:
		return Bool
	}
	return Undefined
}

// Tensor returns the corresponding type of package tensor, ErrDataType if
// there is none.
func (d DataType) Tensor() (tensor.DType, error) {
	switch d {
	case Float:
		return tensor.F32, nil
	case Double:
		return tensor.F64, nil
	case Float16:
		return tensor.F16, nil
	case BFloat16:
		return tensor.BF16, nil
	case Int64:
		return tensor.I64, nil
	case Int32:
		return tensor.I32, nil
	case Int8:
		return tensor.I8, nil
	case Uint8:
		return tensor.U8, nil
	case Bool:
		return tensor.Bool, nil
	}
	return 0, fmt.Errorf("%w: %s", ErrDataType, d)
}
