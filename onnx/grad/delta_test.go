package grad_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"editpipe/onnx"
	"editpipe/onnx/grad"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// shiftTolerance, relative, is for sums of up to three float32 numbers, each of which
// rounds by 6e-8.
const shiftTolerance = 1e-6

// TestDeltaOfRows: a shift of a value whose batches and positions share an axis
// lands in the row of its batch and position, and has the gradient of that row.
func TestDeltaOfRows(t *testing.T) {
	const batch, length, width = 2, 3, 4
	r := rand.New(rand.NewPCG(7, 8))
	hidden, seed := random(r, tensor.F32, -1, 1, batch*length, width), random(r, tensor.F32, -1, 1, batch*length, width)
	delta := random(r, tensor.F32, -1, 1, 3, width)
	rows := []int{2, 4, 2} // b length + t
	env := orttest.Open(t)

	for _, said := range []bool{true, false} { // the file gives the shape, or does not
		m := onnx.New(7, 14)
		b := m.Builder()
		flat := []onnx.Dim{onnx.Symbolic("rows"), {Value: width}}
		b.Input("ids", onnx.Int64, []onnx.Dim{onnx.Symbolic("batch"), onnx.Symbolic("length")})
		b.Input("hidden", onnx.Float, flat)
		b.Input("seed", onnx.Float, flat)
		v := b.Op("Neg", []string{"hidden"})
		b.Output(b.Op("Neg", []string{v}), "y", onnx.Float, flat)
		if !said {
			m.Graph.Inputs[1].HasShape, m.Graph.Inputs[1].Shape = false, nil
		}
		if err := grad.AddDeltaAlong(m, v, "ids", "delta", "positions"); err != nil {
			t.Fatal(err)
		}
		got, err := grad.GradientsFrom(m, map[string]string{"y": "seed"}, "delta")
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Expose(got[0], onnx.Float, []onnx.Dim{onnx.Symbolic("n"), {Value: width}}); err != nil {
			t.Fatal(err)
		}
		out := run(t, session(t, env, m), feeds{
			"ids": tensor.New(tensor.I64, batch, length), "hidden": hidden, "seed": seed, "delta": delta,
			"positions": tensor.FromInt64s([]int64{0, 2, 1, 1, 0, 2}, 3, 2),
		}, got[0], "y")
		wantY, wantDelta := slices.Clone(hidden.Float32s()), make([]float32, 3*width)
		for i, row := range rows {
			for k := range width {
				wantY[row*width+k] -= delta.Float32s()[i*width+k]
				wantDelta[i*width+k] = -seed.Float32s()[row*width+k]
			}
		}
		for name, want := range map[string][]float32{"y": wantY, got[0]: wantDelta} {
			if err := relative(floats(out[name]), floats(tensor.FromFloat32s(want, len(want)))); !(err <= shiftTolerance) {
				t.Errorf("%s is off by %.2g", name, err)
			}
		}
	}
}
