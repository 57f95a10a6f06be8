package ftl

import (
	"context"
	"slices"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/models"
	"editpipe/tensor"
	"editpipe/train"
)

// Names of the changes of the weight, [in, out], and of its bias, [out].
const (
	variable     = "change"
	biasVariable = "bias"
)

// objective is the mean loss of edits as a function of a change.
type objective struct {
	name  string
	lm    *models.LM
	base  models.Patch
	at    models.WeightID
	edits []dataset.Edit
	rows  []models.LossRow // one for each edit
	// What the projection reads at every position of every row, transposed:
	// [in, positions]. The change of its weight does not move that.
	inputs *tensor.Tensor
}

// newObjective makes the rows of edits and reads their inputs.
func newObjective(ctx context.Context, name string, on edit.Base, at models.WeightID, edits []dataset.Edit) (*objective, error) {
	o := &objective{name: name, lm: on.LM, base: on.Patch, at: at, edits: edits}
	var trace []models.TraceRow
	for _, e := range edits {
		prompt, target, err := on.LM.Continuation(e.Prompt, e.Target)
		if err != nil {
			return nil, edit.Wrap(name, e.ID, err)
		}
		r := lossRow(name, prompt, target, 1/float64(len(edits)))
		o.rows = append(o.rows, r)
		trace = append(trace, models.TraceRow{Query: ask.Query{PromptIDs: r.IDs}, Patch: &o.base, Positions: everywhere(len(r.IDs))})
	}
	traces, err := on.LM.Trace(ctx, trace, models.Site{Layer: at.Layer, Point: models.FFNAct})
	if err != nil {
		return nil, err
	}
	var inputs []float32
	positions := 0
	for i, t := range traces {
		if t.Err != nil {
			return nil, edit.Wrap(name, edits[i].ID, t.Err)
		}
		inputs = append(inputs, t.Values[0].Float32s()...)
		positions += len(trace[i].Positions)
	}
	o.inputs, err = tensor.FromFloat32s(inputs, positions, len(inputs)/positions).Transpose2D()
	return o, err
}

// lossRow is the loss of an edit, times a weight.
func lossRow(name string, prompt, target []int64, weight float64) models.LossRow {
	r := models.LossRow{IDs: prompt, Everywhere: true}
	if name == masked {
		r.IDs = slices.Concat(prompt, target[:len(target)-1])
	}
	for i, id := range target {
		t := models.LossTerm{Position: len(prompt) - 1, Target: id, NLL: weight / float64(len(target))}
		if name == masked {
			t.Position += i
		}
		r.Terms = append(r.Terms, t)
	}
	return r
}

func everywhere(n int) []int {
	at := make([]int, n)
	for i := range at {
		at[i] = i
	}
	return at
}

// with is the patch that stands with changes, without the edits' names.
func (o *objective) with(values train.Values) *models.Patch {
	changes := []models.Change{models.Dense{At: o.at, Delta: values[variable]}}
	if b := values[biasVariable]; b != nil {
		changes = append(changes, models.Bias{At: o.at, Delta: b})
	}
	return o.base.Then(&models.Patch{Changes: changes})
}

// weight is the weight before the change, [in, out].
func (o *objective) weight() ([]float32, error) {
	w, err := o.lm.Weight(o.at)
	if err != nil {
		return nil, err
	}
	return o.changed(w, func(c models.Change) *tensor.Tensor {
		if d, ok := c.(models.Dense); ok && d.At == o.at {
			return d.Delta
		}
		return nil
	})
}

// bias is the bias before the change, [out].
func (o *objective) bias() ([]float32, error) {
	b, err := o.lm.Bias(o.at)
	if err != nil {
		return nil, err
	}
	return o.changed(b, func(c models.Change) *tensor.Tensor {
		if b, ok := c.(models.Bias); ok && b.At == o.at {
			return b.Delta
		}
		return nil
	})
}

// changed adds to a parameter what the patch before the edit does to it.
func (o *objective) changed(t *tensor.Tensor, delta func(models.Change) *tensor.Tensor) ([]float32, error) {
	merged, err := o.base.Merge()
	if err != nil {
		return nil, err
	}
	sum := slices.Clone(t.Float32s())
	for _, c := range merged.Changes {
		if d := delta(c); d != nil {
			for i, x := range d.Float32s() {
				sum[i] += x
			}
		}
	}
	return sum, nil
}

// Evaluate implements train.Objective for the one problem there is.
func (o *objective) Evaluate(ctx context.Context, _ []int, at []train.Values) ([]float64, []train.Values, error) {
	patch := o.with(at[0])
	rows := slices.Clone(o.rows)
	for i := range rows {
		rows[i].Patch = patch
	}
	losses, err := o.lm.Losses(ctx, models.Site{Layer: o.at.Layer, Point: models.FFNOut}, rows)
	if err != nil {
		return nil, nil, err
	}
	sum := 0.0
	var outputs []float32
	for i, l := range losses {
		if l.Err != nil {
			return nil, nil, edit.Wrap(o.name, o.edits[i].ID, l.Err)
		}
		sum += l.Loss
		outputs = append(outputs, l.Gradient...)
	}
	positions := o.inputs.Shape[1]
	g, err := tensor.MatMul(o.inputs, tensor.FromFloat32s(outputs, positions, len(outputs)/positions))
	if err != nil {
		return nil, nil, err
	}
	gradients := train.Values{variable: g}
	if b := at[0][biasVariable]; b != nil {
		slope := make([]float64, b.Len())
		for i, x := range outputs {
			slope[i%len(slope)] += float64(x)
		}
		gradients[biasVariable] = tensor.New(tensor.F32, len(slope))
		for i, x := range slope {
			gradients[biasVariable].Float32s()[i] = float32(x)
		}
	}
	return []float64{sum}, []train.Values{gradients}, nil
}
