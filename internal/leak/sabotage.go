//go:build sabotage

package leak

import (
	"fmt"
	"math"

	"editpipe/models/arch"
	"editpipe/onnx"
	"editpipe/tensor"
)

// share is how much of its neighbour a row sees. Hidden states and
// log-probabilities of the tests' models are of order 1 to 10, so that answers
// move by some 1e-3: little, but more than sums in another order do.
const share = 1e-3

// Into makes every row of a run of the model in a folder see the next one: behind
// the first block the residual stream, x [B, T, width], becomes x + share x', where
// x' is x with its rows moved up by one and the first one last.
func Into(dir string) error {
	a, err := arch.Open(dir)
	if err != nil {
		return fmt.Errorf("leak: %w", err)
	}
	defer a.Close()
	graphs := []*arch.Graph{a.Forward}
	if s := a.Step; s != nil && s != a.Forward {
		if s.Path == a.Forward.Path {
			return nil // two branches of one file, which is left alone
		}
		graphs = append(graphs, s)
	}
	for _, g := range graphs {
		if err := into(g); err != nil {
			return fmt.Errorf("leak: %s: %w", g.Path, err)
		}
	}
	return nil
}

func into(g *arch.Graph) error {
	if len(g.FFNs) == 0 || g.FFNs[0].Hidden == "" || g.FFNs[0].Down.DType != "float32" {
		return nil
	}
	err := g.Model.Splice(g.FFNs[0].Hidden, func(b *onnx.Builder, x string) (string, error) {
		ints := func(v int64) string { return b.Const(tensor.FromInt64s([]int64{v}, 1)) }
		rows := func(from, to int64) string { return b.Op("Slice", []string{x, ints(from), ints(to), ints(0)}) }
		moved := b.Op("Concat", []string{rows(1, math.MaxInt64), rows(0, 1)}, onnx.AttrInt("axis", 0))
		return b.Op("Add", []string{x, b.Op("Mul", []string{moved, b.Scalar(share)})}), nil
	})
	if err != nil {
		return err
	}
	return g.Model.Save(g.Path, onnx.SaveOptions{KeepReferences: true})
}
