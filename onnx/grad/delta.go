package grad

import (
	"fmt"
	"slices"

	"editpipe/onnx"
)

// AddDelta makes a hidden value Z of shape [B, T, w] trainable at chosen
// positions: Z'[b, t, :] = Z[b, t, :] + delta[i, :] for (b, t) = positions[i],
// and every reader of Z reads Z'. delta becomes a graph input of type float32
// and shape [N, w], whatever type the model computes in; positions, int64 of
// shape [N, 2], does unless it is one already, so that several deltas can share
// it. Positions may repeat; their shifts add up. Zeros give the unchanged model.
// The gradient is had by [Gradients] with respect to delta and is float32, too.
func AddDelta(m *onnx.Model, value, delta, positions string) error {
	return AddDeltaAlong(m, value, "", delta, positions)
}

// AddDeltaAlong is [AddDelta] for a value of shape [B, T, w] or [B T, w], as
// operators that take matrices only want it; the shift of (b, t) is then added at
// row b T + t. grid names a value whose shape begins with [B, T]; with "" that is
// the value itself, which then has three axes.
func AddDeltaAlong(m *onnx.Model, value, grid, delta, positions string) error {
	f := newFacts(m)
	z := f.of[value]
	rank := len(z.shape)
	switch {
	case z.shape != nil && rank != 3 && (grid == "" || rank != 2):
		return fmt.Errorf("grad: adding delta %q: %q has %d axes, want batch, position and width", delta, value, rank)
	case !float(z.dtype):
		return fmt.Errorf("grad: adding delta %q: %q has type %s, want floating point", delta, value, z.dtype)
	case isInput(m, delta):
		return fmt.Errorf("grad: adding delta %q: the model has an input of this name", delta)
	}
	width := onnx.Symbolic(delta + "_width")
	if d := z.shape.at(-1); d.known() {
		width = onnx.Dim{Value: d.n}
	}
	err := m.Splice(value, func(b *onnx.Builder, in string) (string, error) {
		b.Scope(delta)
		g := &graph{b: b, facts: f, opset: m.Opset(""), made: map[string]string{}}
		count := onnx.Symbolic(positions + "_count")
		if !isInput(m, positions) {
			b.Input(positions, onnx.Int64, []onnx.Dim{count, {Value: 2}})
		}
		b.Input(delta, onnx.Float, []onnx.Dim{count, width})
		size := g.op("Shape", in)
		along := size
		if grid != "" {
			along = g.op("Shape", grid)
		}
		row, rows := g.rowNumbers(positions, along)
		shift := g.reshape(g.scatter(delta, row, rows, onnx.Float), size)
		if z.dtype != onnx.Float {
			shift = g.cast(shift, z.dtype)
		}
		return g.op("Add", in, shift), nil
	})
	if err != nil {
		return fmt.Errorf("grad: adding delta %q: %w", delta, err)
	}
	return nil
}

// rowNumbers turns pairs (b, t) into rows b T + t of a tensor whose shape
// begins with [B, T], and returns the number of such rows as well.
func (g *graph) rowNumbers(positions, size string) (number, rows string) {
	column := func(i int64) string {
		return g.b.Op("Gather", []string{positions, g.integer(i)}, onnx.AttrInt("axis", 1))
	}
	length := g.part(size, 1)
	number = g.op("Add", g.op("Mul", column(0), length), column(1))
	return number, g.op("Mul", g.part(size, 0), length)
}

func isInput(m *onnx.Model, name string) bool {
	return slices.ContainsFunc(m.Graph.Inputs, func(v *onnx.ValueInfo) bool { return v.Name == name })
}
