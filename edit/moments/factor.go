package moments

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"gonum.org/v1/gonum/mat"

	"editpipe/file"
	"editpipe/tensor"
	"editpipe/tensor/npz"
)

// Factor is the Cholesky factor of second moments.
type Factor struct{ chol mat.Cholesky }

// Factor factorises the symmetric part of C in float64. It returns ErrSingular
// where C has no inverse.
func (m *Moments) Factor() (*Factor, error) {
	n := m.Width
	c := mat.NewSymDense(n, nil)
	largest := 0.0
	for i := range n {
		for j := i; j < n; j++ {
			c.SetSym(i, j, (m.C[i*n+j]+m.C[j*n+i])/2)
		}
		largest = max(largest, m.C[i*n+i])
	}
	f := &Factor{}
	ok := f.chol.Factorize(c) //nolint:misspell // the library's name
	if ok {
		// What is left of a pivot after cancellation is rounding.
		u := f.chol.RawU().(*mat.TriDense)
		for i := range n {
			x := u.At(i, i)
			ok = ok && x*x > float64(n)*0x1p-52*largest
		}
	}
	if !ok {
		return nil, fmt.Errorf("moments: %w: those of %d elements after %d tokens; collect from more text", ErrSingular, n, m.Count)
	}
	return f, nil
}

// Solve returns C^-1 b.
func (f *Factor) Solve(b []float64) []float64 {
	x := mat.NewVecDense(len(b), nil)
	// The error only warns of a large condition number, which Factor has bounded.
	_ = f.chol.SolveVecTo(x, mat.NewVecDense(len(b), b))
	return x.RawVector().Data
}

// Names of arrays in the file that keeps a factor beside its moments.
const (
	arrayFactor = "cholesky.upper"
	arrayOf     = "cholesky.of" // SHA-256 of the file of moments
)

// factorFile names the file that keeps the factor of a file of moments.
func factorFile(moments string) string {
	return strings.TrimSuffix(moments, ".npz") + "_cholesky.npz"
}

// keepFactor factorises the moments in a file and keeps the factor beside it:
// for keys of 16,384 elements that takes minutes.
func keepFactor(path string, m *Moments) error {
	f, err := m.Factor()
	if err != nil {
		return err
	}
	sum, err := fileHash(path)
	if err != nil {
		return err
	}
	raw := f.chol.RawU().(*mat.TriDense).RawTriangular()
	upper := tensor.New(tensor.F64, m.Width, m.Width)
	view := upper.Float64s()
	for i := range m.Width { // below the diagonal lie remains of C
		row := i * m.Width
		copy(view[row+i:row+m.Width], raw.Data[i*raw.Stride+i:i*raw.Stride+m.Width])
	}
	return npz.Write(factorFile(path), map[string]*tensor.Tensor{arrayFactor: upper, arrayOf: sum})
}

// ReadFactored reads second moments and their factor: the one kept beside them
// if it was taken of this very file, else it is computed.
func ReadFactored(path string) (*Moments, *Factor, error) {
	m, err := Read(path)
	if err != nil {
		return nil, nil, err
	}
	// Rounding to float32 can hide this from the factorisation.
	if m.Count < int64(m.Width) {
		return nil, nil, fmt.Errorf("%s: moments: %w: those of %d elements after %d tokens; collect from more text", path, ErrSingular, m.Width, m.Count)
	}
	f, err := keptFactor(path, m.Width)
	if err == nil && f == nil {
		f, err = m.Factor()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, f, nil
}

// keptFactor reads the factor kept beside a file of moments; nil if there is
// none of this content.
func keptFactor(path string, width int) (*Factor, error) {
	kept := factorFile(path)
	if _, err := os.Stat(kept); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("moments: reading a kept factor: %w", err)
	}
	arrays, err := npz.Read(kept, arrayFactor, arrayOf)
	if err != nil {
		return nil, fmt.Errorf("moments: reading a kept factor: %w; remove the file to have it computed again", err)
	}
	sum, err := fileHash(path)
	if err != nil {
		return nil, err
	}
	upper, of := arrays[arrayFactor], arrays[arrayOf]
	if of == nil || upper == nil || string(of.Data) != string(sum.Data) || upper.DType != tensor.F64 || len(upper.Shape) != 2 || upper.Shape[0] != width || upper.Shape[1] != width {
		return nil, nil
	}
	if !upper.Finite() {
		return nil, fmt.Errorf("moments: reading a kept factor: %s: %w: it holds numbers that are not finite; remove the file to have it computed again", kept, ErrMisfit)
	}
	tri := mat.NewTriDense(width, mat.Upper, upper.Float64s())
	f := &Factor{}
	f.chol.SetFromU(tri)
	return f, nil
}

// fileHash is the SHA-256 of a file's content, as an array.
func fileHash(path string) (*tensor.Tensor, error) {
	text, err := file.Hash(path)
	if err != nil {
		return nil, fmt.Errorf("moments: second moments: %w", err)
	}
	sum, err := hex.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("moments: second moments: %w", err)
	}
	t := tensor.New(tensor.U8, len(sum))
	copy(t.Data, sum)
	return t, nil
}
