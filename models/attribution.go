package models

import (
	"context"
	"fmt"
	"slices"

	"editpipe/models/arch"
	"editpipe/onnx"
	"editpipe/onnx/grad"
	"editpipe/tensor"
)

// LayerShift is a sequence, asked through a patch, with a shift of one layer's
// value at its last position.
type LayerShift struct {
	IDs    []int64 // template tokens included
	Patch  *Patch
	Layer  int       // of the decoder
	Shift  []float32 // [width of the point]; nil stands for zeros
	Target int64     // a token that may follow the sequence
}

// LayerResponse is the outcome of a LayerShift.
type LayerResponse struct {
	Prob     float64   // of the target
	Gradient []float32 // d Prob / d Shift, [width of the point]
	Err      error     // why this row has none
}

// layerShifts is a graph with a shift at one point of every layer.
type layerShifts struct {
	on    bool
	point arch.Point
}

// LayerShifts computes probabilities, and their gradients with respect to
// shifts of the value at a point, each row in a layer of its own: one graph
// serves all layers, and rows of all layers share runs. The results are parallel
// to rows. Models, errors and padding are those of [LM.Losses].
func (lm *LM) LayerShifts(ctx context.Context, p arch.Point, rows []LayerShift) ([]LayerResponse, error) {
	for l := range lm.info.Layers {
		if _, err := lm.Losses(ctx, arch.Site{Layer: l, Point: p}, nil); err != nil {
			return nil, err
		}
	}
	out, as := make([]LayerResponse, len(rows)), make([]LossRow, len(rows))
	w := lm.newWave()
	var todo []int
	T := 0
	for i, r := range rows {
		f := lm.info.FFN(arch.Decoder, r.Layer)
		if f == nil {
			out[i].Err = fmt.Errorf("models: shifting layers: %w: %s: the model has no such layer", ErrSite, arch.Site{Layer: r.Layer, Point: p})
			continue
		}
		last := max(len(r.IDs)-1, 0)
		as[i] = LossRow{IDs: r.IDs, Patch: r.Patch, At: last, Shift: r.Shift, Terms: []LossTerm{{Position: last, Target: r.Target, Prob: 1}}}
		if out[i].Err = w.checkLoss(as[i], []int{siteWidth(f, p)}); out[i].Err == nil {
			todo = append(todo, i)
			T = max(T, len(r.IDs))
		}
	}
	for len(todo) > 0 {
		n := lm.lossRun(as, todo, T)
		run := func(list []int) error { return lm.runLayerShifts(ctx, p, rows, list, T, out) }
		err := apart(ctx, run(todo[:n]), n, func(k int) error { return run(todo[k : k+1]) }, func(k int, err error) { out[todo[k]].Err = err })
		if err != nil {
			return nil, err
		}
		todo = todo[n:]
	}
	return out, nil
}

// runLayerShifts makes one run of T positions.
func (lm *LM) runLayerShifts(ctx context.Context, p arch.Point, rows []LayerShift, list []int, T int, out []LayerResponse) error {
	var jobs []*job
	only := rows[list[0]].Patch
	members := make([][]int, lm.info.Layers) // of list, by layer
	var positions, targets []int64
	var weights []float32
	for b, i := range list {
		r := rows[i]
		jobs = append(jobs, &job{joined: joined{ids: append(slices.Clone(r.IDs), 0), first: len(r.IDs)}, patch: r.Patch})
		if r.Patch != only {
			only = nil
		}
		members[r.Layer] = append(members[r.Layer], b)
		positions = append(positions, int64(b), int64(len(r.IDs)-1))
		targets = append(targets, r.Target)
		weights = append(weights, 0, 1, 0, 0)
	}
	in := lm.newInput(forward, jobs, only)
	in.v.every, in.T = layerShifts{on: true, point: p}, T
	feeds, err := lm.patchFeeds(in.v, jobs, only)
	if err != nil {
		return err
	}
	in.tokens(feeds)
	feeds[lossPositions] = tensor.FromInt64s(positions, len(list), 2)
	feeds[lossTargets] = tensor.FromInt64s(targets, len(list))
	feeds[lossWeights] = tensor.FromFloat32s(weights, len(list), 4)
	feeds[lossReference] = tensor.New(tensor.F32, 1, lm.info.Vocab)
	got := map[string]*tensor.Tensor{termsOutput: nil}
	for l, rowsOf := range members {
		// A layer without rows still has an input: zeros at the first position.
		n, width := max(len(rowsOf), 1), siteWidth(lm.info.FFN(arch.Decoder, l), p)
		shift, at := tensor.New(tensor.F32, n, width), tensor.New(tensor.I64, n, 2)
		for k, b := range rowsOf {
			copy(shift.Float32s()[k*width:], rows[list[b]].Shift)
			copy(at.Int64s()[2*k:], positions[2*b:2*b+2])
		}
		feeds[numbered(shiftInput, l)], feeds[numbered(shiftPositions, l)] = shift, at
		if len(rowsOf) > 0 {
			got[numbered(shiftGradient, l)] = nil
		}
	}
	s, err := lm.session(ctx, in.v)
	if err != nil {
		return err
	}
	if err := s.Run(ctx, feeds, got); err != nil {
		return fmt.Errorf("models: shifting layers of %s in %d rows of %d tokens: %w: %w", lm.Name(), in.rows, in.T, ErrRun, err)
	}
	for l, rowsOf := range members {
		for k, b := range rowsOf {
			g := got[numbered(shiftGradient, l)]
			width := g.Shape[1]
			o := &out[list[b]]
			o.Prob = float64(got[termsOutput].Float32s()[4*b+1])
			o.Gradient = slices.Clone(g.Float32s()[k*width : (k+1)*width])
		}
	}
	return nil
}

// addShifts makes the value at the point read a shift in every layer.
func (e layerShifts) addShifts(m *onnx.Model, g *arch.Graph) error {
	for _, f := range g.FFNs {
		if err := grad.AddDeltaAlong(m, f.Shifted(e.point), g.Ports.IDs, numbered(shiftInput, f.Layer), numbered(shiftPositions, f.Layer)); err != nil {
			return fmt.Errorf("%w: %w", ErrNoGradient, err)
		}
	}
	return nil
}

// addGradients puts a loss in the place of the logits, with its gradients.
func (e layerShifts) addGradients(m *onnx.Model, g *arch.Graph) error {
	h, err := addHead(m, g)
	if err != nil {
		return err
	}
	var shifts []string
	for _, f := range g.FFNs {
		shifts = append(shifts, numbered(shiftInput, f.Layer))
	}
	d, err := grad.Gradients(m, h.Loss, shifts...)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoGradient, err)
	}
	b := m.Builder()
	for k, f := range g.FFNs {
		b.Output(d[k], numbered(shiftGradient, f.Layer), onnx.Float, symbolic(numbered("shifts", f.Layer), numbered("shift_width", f.Layer)))
	}
	b.Output(h.Terms, termsOutput, onnx.Float, []onnx.Dim{onnx.Symbolic("terms"), {Value: 4}})
	return nil
}
