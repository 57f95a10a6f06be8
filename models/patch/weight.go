package patch

import (
	"fmt"

	"editpipe/models/arch"
	"editpipe/tensor"
)

// Weight is what a patch adds to one weight, or to one bias: the product of two
// factors, W' = W + U V, or a whole matrix, W' = W + Delta, or with Bias a vector,
// y = x W + b + Delta. Orientation is that of y = x W, W [in, out], whatever the
// model's file stores. It has factors or Delta, never both.
type Weight struct {
	At    arch.WeightID
	Bias  bool           // adds to the bias of a down-projection, which the model must have, and not to its matrix
	U, V  *tensor.Tensor // [in, r] and [r, out]
	Delta *tensor.Tensor // [in, out]; [out] of a bias
}

// MisfitError is returned when a patch was made for something else than the
// model it is used on.
type MisfitError struct {
	What string // what does not fit: model hash, tokenizer hash, or a weight id
	Want string // what the patch needs
	Have string // what the model has
}

func (e *MisfitError) Error() string {
	return fmt.Sprintf("models: patch does not fit the model: %s: patch has %s, model has %s", e.What, e.Want, e.Have)
}

// Dense says that a whole matrix is added. Rows with different ones cannot share
// a run.
func (w Weight) Dense() bool { return !w.Bias && w.Delta != nil }

// Size is the size of the matrix that is added to; in is 0 of a bias.
func (w Weight) Size() (in, out int) {
	switch {
	case w.Bias:
		return 0, w.Delta.Shape[0]
	case w.Dense():
		return w.Delta.Shape[0], w.Delta.Shape[1]
	}
	return w.U.Shape[0], w.V.Shape[1]
}

// Rank is the rank at which the addition is fed as a product: that of the
// factors, or of a whole matrix that of the identity on its smaller side. It is
// 0 of a bias.
func (w Weight) Rank() int {
	if w.Delta == nil {
		return w.U.Shape[1]
	}
	return min(w.Size())
}

// Tensors lists what the addition is made of: U and V, or Delta.
func (w Weight) Tensors() []*tensor.Tensor {
	if w.Delta != nil {
		return []*tensor.Tensor{w.Delta}
	}
	return []*tensor.Tensor{w.U, w.V}
}

// Sum is what is added, [in, out] or of a bias [out], float32; it may share the
// addition's data.
func (w Weight) Sum() (*tensor.Tensor, error) {
	if w.Delta != nil {
		return tensor.FromFloat32s(w.Delta.Float32s(), w.Delta.Shape...), nil
	}
	u, v := tensor.FromFloat32s(w.U.Float32s(), w.U.Shape...), tensor.FromFloat32s(w.V.Float32s(), w.V.Shape...)
	d, err := tensor.MatMul(u, v)
	if err != nil {
		return nil, fmt.Errorf("models: patch: %s: multiplying factors: %w", w.Place(), err)
	}
	return d, nil
}

// AddRow adds row i of what is added to a matrix to sum, [out].
func (w Weight) AddRow(sum []float64, i int) {
	n := len(sum)
	if w.Delta != nil {
		for j, x := range w.Delta.Float32s()[i*n : (i+1)*n] {
			sum[j] += float64(x)
		}
		return
	}
	u, v := w.U.Float32s(), w.V.Float32s()
	for k, rank := 0, w.Rank(); k < rank; k++ {
		for j, x := range v[k*n : (k+1)*n] {
			sum[j] += float64(u[i*rank+k]) * float64(x)
		}
	}
}

// inner is <Ua Va, Ub Vb> = sum_kl (Ua'Ub)_kl (Va Vb')_kl of two products.
func (a Weight) inner(b Weight) float64 {
	ra, rb := a.Rank(), b.Rank()
	ua, ub, va, vb := a.U.Float32s(), b.U.Float32s(), a.V.Float32s(), b.V.Float32s()
	g := make([]float64, ra*rb)
	for i := range a.U.Shape[0] {
		for k, x := range ua[i*ra : (i+1)*ra] {
			if x == 0 {
				continue
			}
			row := g[k*rb : (k+1)*rb]
			for l, y := range ub[i*rb : (i+1)*rb] {
				row[l] += float64(x) * float64(y)
			}
		}
	}
	out := a.V.Shape[1]
	var sum float64
	for k := range ra {
		for l := range rb {
			var dot float64
			for j, x := range va[k*out : (k+1)*out] {
				dot += float64(x) * float64(vb[l*out+j])
			}
			sum += dot * g[k*rb+l]
		}
	}
	return sum
}

// Check says whether the shapes agree with each other. It returns a
// *MisfitError if not.
func (w Weight) Check() error {
	misfit := func(want, have any) error {
		return &MisfitError{What: w.Place(), Want: fmt.Sprint(want), Have: fmt.Sprint(have)}
	}
	of := func(t *tensor.Tensor, dims int) bool { return t != nil && len(t.Shape) == dims && t.IsFloat() }
	const other = "something else"
	switch {
	case w.Delta != nil && (w.U != nil || w.V != nil):
		return misfit("factors or a sum", "both")
	case w.Bias && !of(w.Delta, 1):
		return misfit("a vector [out] of floats", other)
	case w.Dense() && !of(w.Delta, 2):
		return misfit("a matrix [in, out] of floats", other)
	case w.Delta != nil:
	case !of(w.U, 2) || !of(w.V, 2):
		return misfit("factors U [in, r] and V [r, out] of floats", other)
	case w.U.Shape[1] != w.V.Shape[0]:
		return misfit(fmt.Sprintf("U %v", w.U.Shape), fmt.Sprintf("V %v", w.V.Shape))
	}
	return nil
}

// Place names the weight or bias in messages.
func (w Weight) Place() string {
	return arch.Place{ID: w.At, Bias: w.Bias}.String()
}
