package patch

import (
	"slices"
	"strings"
	"testing"

	"editpipe/models/arch"
	"editpipe/tensor"
)

// info has a layer with a 3 x 2 down and a square 2 x 2 up matrix.
func info() *arch.Info {
	id := func(p arch.Part) arch.WeightID {
		return arch.WeightID{Side: arch.Decoder, Layer: 0, Part: p}
	}
	return &arch.Info{FFNs: []arch.FFN{{
		Down: arch.Weight{ID: id(arch.FFNDown), Initializer: "h.0.down", In: 3, Out: 2, Editable: true},
		Up:   arch.Weight{ID: id(arch.FFNUp), Initializer: "h.0.up", In: 2, Out: 2, Editable: true},
		Gate: &arch.Weight{ID: id(arch.FFNGate), Initializer: "h.0.gate", In: 3, Out: 2, Why: "quantised"},
	}}}
}

func mat(rows, cols int, v ...float32) *tensor.Tensor { return tensor.FromFloat32s(v, rows, cols) }

func TestDense(t *testing.T) {
	want := []float32{1, 2, 3, 4, 5, 6} // 3 x 2
	for name, in := range map[string]*tensor.Tensor{
		"decoder.0.ffn_down.delta": mat(3, 2, want...),
		"decoder.0.ffn_down":       mat(3, 2, want...),
		"h.0.down":                 mat(3, 2, want...),
		"h.0.down.delta":           mat(2, 3, 1, 3, 5, 2, 4, 6), // out x in
	} {
		changes, err := resolve(map[string]*tensor.Tensor{name: in}, info(), Auto)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		d := changes[0]
		if !d.Dense() || d.At.String() != "decoder.0.ffn_down" || !slices.Equal(d.Delta.Shape, []int{3, 2}) || !slices.Equal(d.Delta.Float32s(), want) {
			t.Errorf("%s: %+v", name, changes[0])
		}
	}
}

func TestLowRank(t *testing.T) {
	u, v := mat(3, 1, 1, 2, 3), mat(1, 2, 10, 20)
	straight := map[string]*tensor.Tensor{"decoder.0.ffn_down.U": u, "decoder.0.ffn_down.V": v}
	// The same change as out x in: (u v)^T = v^T u^T.
	across := map[string]*tensor.Tensor{"h.0.down.U": mat(2, 1, 10, 20), "h.0.down.V": mat(1, 3, 1, 2, 3)}
	for _, in := range []map[string]*tensor.Tensor{straight, across} {
		changes, err := resolve(in, info(), Auto)
		if err != nil || len(changes) != 1 {
			t.Fatalf("%v, %v", changes, err)
		}
		l := changes[0]
		product, err := tensor.MatMul(l.U, l.V)
		if err != nil {
			t.Fatal(err)
		}
		if want := []float32{10, 20, 20, 40, 30, 60}; !slices.Equal(product.Float32s(), want) {
			t.Errorf("U V = %v, want %v", product.Float32s(), want)
		}
	}
}

func TestSquareNeedsLayout(t *testing.T) {
	in := map[string]*tensor.Tensor{"h.0.up": mat(2, 2, 1, 2, 3, 4)}
	if _, err := resolve(in, info(), Auto); err == nil || !strings.Contains(err.Error(), "patch.layout") {
		t.Errorf("square change: %v", err)
	}
	for layout, want := range map[string][]float32{InOut: {1, 2, 3, 4}, OutIn: {1, 3, 2, 4}} {
		changes, err := resolve(in, info(), layout)
		if err != nil {
			t.Fatal(err)
		}
		if got := changes[0].Delta.Float32s(); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", layout, got, want)
		}
	}
	// Ids leave no doubt.
	if _, err := resolve(map[string]*tensor.Tensor{"decoder.0.ffn_up": mat(2, 2, 1, 2, 3, 4)}, info(), Auto); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	nan := float32(0)
	nan /= nan
	for name, c := range map[string]struct {
		in   map[string]*tensor.Tensor
		want string
	}{
		"unknown":     {map[string]*tensor.Tensor{"h.1.down": mat(3, 2, 1, 2, 3, 4, 5, 6)}, "decoder.0.ffn_down"},
		"shape":       {map[string]*tensor.Tensor{"h.0.down": mat(3, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9)}, "3 inputs and 2 outputs"},
		"id turned":   {map[string]*tensor.Tensor{"decoder.0.ffn_down": mat(2, 3, 1, 2, 3, 4, 5, 6)}, "3 inputs and 2 outputs"},
		"rank":        {map[string]*tensor.Tensor{"h.0.down": tensor.FromFloat32s([]float32{1, 2}, 2)}, "matrix"},
		"half":        {map[string]*tensor.Tensor{"h.0.down.U": mat(3, 1, 1, 2, 3)}, "h.0.down.V"},
		"alone":       {map[string]*tensor.Tensor{"h.0.down.V": mat(1, 2, 1, 2)}, "names no weight"},
		"no product":  {map[string]*tensor.Tensor{"h.0.down.U": mat(3, 1, 1, 2, 3), "h.0.down.V": mat(2, 2, 1, 2, 3, 4)}, "no product"},
		"twice":       {map[string]*tensor.Tensor{"h.0.down": mat(3, 2, 1, 2, 3, 4, 5, 6), "decoder.0.ffn_down": mat(3, 2, 1, 2, 3, 4, 5, 6)}, "same weight"},
		"nan":         {map[string]*tensor.Tensor{"h.0.down": mat(3, 2, 1, nan, 3, 4, 5, 6)}, "NaN"},
		"whole":       {map[string]*tensor.Tensor{"h.0.down": tensor.FromInt64s([]int64{1, 2, 3, 4, 5, 6}, 3, 2)}, "floats"},
		"uneditable":  {map[string]*tensor.Tensor{"h.0.gate": mat(3, 2, 1, 2, 3, 4, 5, 6)}, "quantised"},
		"no ideas":    {map[string]*tensor.Tensor{"": mat(3, 2, 1, 2, 3, 4, 5, 6)}, "names no weight"},
		"wrong order": {map[string]*tensor.Tensor{"decoder.0.ffn_down.U": mat(2, 1, 1, 2), "decoder.0.ffn_down.V": mat(1, 3, 1, 2, 3)}, "3 inputs and 2 outputs"},
	} {
		if changes, err := resolve(c.in, info(), Auto); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v; want an error with %q", name, changes, err, c.want)
		}
	}
}
