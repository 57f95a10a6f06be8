package loss

import (
	"context"
	"fmt"
	"slices"

	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
	"editpipe/models/run"
	"editpipe/tensor"
)

// LayerRow is a sequence, asked through a patch, with a shift of one layer's
// value at its last position.
type LayerRow struct {
	IDs    []int64 // template tokens included
	Patch  *patch.Patch
	Layer  int       // of the decoder
	Shift  []float32 // [width of the point]; nil stands for zeros
	Target int64     // a token that may follow the sequence
}

// LayerLoss is the outcome of a LayerRow.
type LayerLoss struct {
	Prob     float64   // of the target
	Gradient []float32 // d Prob / d Shift, [width of the point]
	Err      error     // why this row has none
}

// EachLayer computes probabilities, and their gradients with respect to
// shifts of the value at a point, each row in a layer of its own: one graph
// serves all layers, and rows of all layers share runs. The results are parallel
// to rows. Models, errors and padding are those of [At].
func EachLayer(ctx context.Context, lm *models.LM, p arch.Point, rows []LayerRow) ([]LayerLoss, error) {
	for l := range lm.Info().Layers {
		if _, _, err := shiftable(lm, []arch.Site{{Layer: l, Point: p}}); err != nil {
			return nil, err
		}
	}
	out, as := make([]LayerLoss, len(rows)), make([]Row, len(rows))
	in := run.NewIntake(lm)
	var todo []int
	T := 0
	for i, r := range rows {
		_, width, err := lm.Info().Site(arch.Site{Layer: r.Layer, Point: p})
		if err != nil {
			out[i].Err = fmt.Errorf("models: shifting layers: %w", err)
			continue
		}
		last := max(len(r.IDs)-1, 0)
		as[i] = Row{IDs: r.IDs, Patch: r.Patch, At: last, Shift: r.Shift, Terms: []Term{{Position: last, Target: r.Target, Prob: 1}}}
		if out[i].Err = checkLoss(lm, in, as[i], []int{width}); out[i].Err == nil {
			todo = append(todo, i)
			T = max(T, len(r.IDs))
		}
	}
	err := inRuns(ctx, lm, as, todo, T, func(list []int) error {
		return runLayerShifts(ctx, lm, p, rows, as, list, T, out)
	}, func(i int, err error) { out[i].Err = err })
	if err != nil {
		return nil, err
	}
	return out, nil
}

// runLayerShifts makes one run of T positions. as are the rows with their losses.
func runLayerShifts(ctx context.Context, lm *models.LM, p arch.Point, rows []LayerRow, as []Row, list []int, T int, out []LayerLoss) error {
	var of []Row
	members := make([][]int, lm.Info().Layers) // of list, by layer
	var positions, targets []int64
	var weights []float32
	for b, i := range list {
		r := rows[i]
		of = append(of, as[i])
		members[r.Layer] = append(members[r.Layer], b)
		positions = append(positions, int64(b), int64(len(r.IDs)-1))
		targets = append(targets, r.Target)
		weights = append(weights, 0, 1, 0, 0)
	}
	questions, only := questionsOf(of)
	r := run.New(lm, arch.Forward, questions, only)
	r.Spec.Give, r.T = graph.LayerLosses{Point: p}, T
	r.Inputs[graph.LossPositions] = tensor.FromInt64s(positions, len(list), 2)
	r.Inputs[graph.LossTargets] = tensor.FromInt64s(targets, len(list))
	r.Inputs[graph.LossWeights] = tensor.FromFloat32s(weights, len(list), 4)
	r.Inputs[graph.LossReference] = tensor.New(tensor.F32, 1, lm.Info().Vocab)
	r.Outputs[graph.LossTerms] = nil
	for l, rowsOf := range members {
		// A layer without rows still has an input: zeros at the first position.
		n, width := max(len(rowsOf), 1), lm.Info().FFN(arch.Decoder, l).Width(p)
		shift, at := tensor.New(tensor.F32, n, width), tensor.New(tensor.I64, n, 2)
		for k, b := range rowsOf {
			copy(shift.Float32s()[k*width:], of[b].Shift)
			copy(at.Int64s()[2*k:], positions[2*b:2*b+2])
		}
		r.Inputs[graph.Shift(l)], r.Inputs[graph.ShiftPlaces(l)] = shift, at
		if len(rowsOf) > 0 {
			r.Outputs[graph.ShiftGradient(l)] = nil
		}
	}
	if err := r.Compute(ctx); err != nil {
		return fmt.Errorf("models: shifting layers: %w", err)
	}
	terms := r.Outputs[graph.LossTerms].Float32s()
	for l, rowsOf := range members {
		for k, b := range rowsOf {
			g := r.Outputs[graph.ShiftGradient(l)]
			width := g.Shape[1]
			o := &out[list[b]]
			o.Prob = float64(terms[4*b+1])
			o.Gradient = slices.Clone(g.Float32s()[k*width : (k+1)*width])
		}
	}
	return nil
}
