package tensor

import (
	"fmt"
	"math"
)

// Finite reports whether no element is NaN or infinite; integers always are.
func (t *Tensor) Finite() bool {
	if !t.IsFloat() {
		return true
	}
	if t.DType == F64 {
		for _, x := range t.Float64s() {
			if x-x != 0 {
				return false
			}
		}
		return true
	}
	for _, x := range t.Float32s() {
		if x-x != 0 { // NaN for NaN and infinities only
			return false
		}
	}
	return true
}

// Norm returns the Frobenius norm, accumulated in float64.
func (t *Tensor) Norm() float64 {
	sum := 0.0
	switch {
	case !t.IsFloat():
		for _, x := range t.Int64s() {
			sum += float64(x) * float64(x)
		}
	case t.DType == F64:
		for _, x := range t.Float64s() {
			sum += x * x
		}
	default:
		for _, x := range t.Float32s() {
			sum += float64(x) * float64(x)
		}
	}
	return math.Sqrt(sum)
}

// Transpose2D returns the transpose of a matrix of any type, as a copy, and
// ErrShape where t is not a matrix.
func (t *Tensor) Transpose2D() (*Tensor, error) {
	if len(t.Shape) != 2 {
		return nil, fmt.Errorf("%w: transpose of shape %v", ErrShape, t.Shape)
	}
	rows, cols, size := t.Shape[0], t.Shape[1], t.DType.Size()
	out := New(t.DType, cols, rows)
	// Square tiles keep both sides within the cache; 32 of the widest elements
	// are four lines of 64 bytes.
	const tile = 32
	for r0 := 0; r0 < rows; r0 += tile {
		for c0 := 0; c0 < cols; c0 += tile {
			for r := r0; r < min(r0+tile, rows); r++ {
				for c := c0; c < min(c0+tile, cols); c++ {
					copy(out.Data[(c*rows+r)*size:][:size], t.Data[(r*cols+c)*size:][:size])
				}
			}
		}
	}
	return out, nil
}

// MatMul returns the product of float32 matrices a (m, k) and b (k, n),
// accumulated in float64 and rounded once. It is meant for checks and for
// merging small changes; models multiply in the runtime. It returns ErrDType or
// ErrShape where the operands are not such matrices.
func MatMul(a, b *Tensor) (*Tensor, error) {
	if a.DType != F32 || b.DType != F32 {
		return nil, fmt.Errorf("%w: product of %v and %v", ErrDType, a.DType, b.DType)
	}
	if len(a.Shape) != 2 || len(b.Shape) != 2 || a.Shape[1] != b.Shape[0] {
		return nil, fmt.Errorf("%w: product of %v and %v", ErrShape, a.Shape, b.Shape)
	}
	m, k, n := a.Shape[0], a.Shape[1], b.Shape[1]
	out := New(F32, m, n)
	av, bv, ov := a.Float32s(), b.Float32s(), out.Float32s()
	sums := make([]float64, n)
	for i := range m {
		clear(sums)
		// Rows of b are walked in order, which is far faster than its columns.
		for p, x := range av[i*k : (i+1)*k] {
			x := float64(x)
			for j, y := range bv[p*n : (p+1)*n] {
				sums[j] += x * float64(y)
			}
		}
		for j, s := range sums {
			ov[i*n+j] = float32(s)
		}
	}
	return out, nil
}
