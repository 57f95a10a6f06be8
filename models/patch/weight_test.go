package patch_test

import (
	"math/rand/v2"
	"testing"

	"editpipe/internal/modeltest"
	"editpipe/models/patch"
	"editpipe/tensor"
)

// TestWeightForms: a product and its sum are the same addition, read as a whole,
// by rows or by size.
func TestWeightForms(t *testing.T) {
	const in, out, rank = 5, 3, 2
	r := rand.New(rand.NewPCG(6, 6))
	product := patch.Weight{At: modeltest.Down(1), U: gauss(r, in, rank), V: gauss(r, rank, out)}
	d, err := product.Sum()
	modeltest.Must(t, err)
	whole := patch.Weight{At: modeltest.Down(1), Delta: d}
	bias := patch.Weight{At: modeltest.Down(1), Bias: true, Delta: gauss(r, out)}
	for name, c := range map[string]struct {
		w             patch.Weight
		dense         bool
		in, out, rank int
		bytes         int64
	}{
		"product": {product, false, in, out, rank, 4 * (in*rank + rank*out)},
		"matrix":  {whole, true, in, out, out, 4 * in * out},
		"bias":    {bias, false, 0, out, 0, 4 * out},
	} {
		modeltest.Must(t, c.w.Check())
		if i, o := c.w.Size(); c.w.Dense() != c.dense || i != c.in || o != c.out || c.w.Rank() != c.rank {
			t.Errorf("%s: dense %v, %d x %d of rank %d", name, c.w.Dense(), i, o, c.w.Rank())
		}
		if n := (&patch.Patch{Weights: []patch.Weight{c.w}}).Bytes(); n != c.bytes {
			t.Errorf("%s: %d bytes, want %d", name, n, c.bytes)
		}
	}
	for _, w := range []patch.Weight{product, whole} {
		for i := range in {
			row := []float64{1, 2, 3}
			w.AddRow(row, i)
			got := make([]float32, out)
			for j := range row {
				got[j] = float32(row[j] - float64(j+1))
			}
			if diff := modeltest.MaxDiff(got, d.Float32s()[i*out:(i+1)*out]); diff > modeltest.HostTolerance {
				t.Errorf("dense %v: row %d differs by %g", w.Dense(), i, diff)
			}
		}
	}
	half, err := d.Convert(tensor.F16)
	modeltest.Must(t, err)
	sum, err := patch.Weight{At: modeltest.Down(1), Delta: half}.Sum()
	modeltest.Must(t, err)
	if sum.DType != tensor.F32 {
		t.Errorf("the sum of a float16 matrix is %s", sum.DType)
	}
}
