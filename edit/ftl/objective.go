package ftl

import (
	"context"
	"slices"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/arch"
	"editpipe/models/loss"
	"editpipe/models/patch"
	"editpipe/models/run"
	"editpipe/tensor"
	"editpipe/train"
)

// Names of the changes of the weight, [in, out], and of its bias, [out].
const (
	variable     = "change"
	biasVariable = "bias"
)

// objective is the mean loss of each task as a function of its change. A change
// stands in a run as what it adds to the projection's output at every position, so
// that tasks share runs whatever their changes.
type objective struct {
	name     string
	base     *patch.Patch
	tasks    []*task
	searches *loss.Searches
}

// task is a training: edits whose mean loss is minimised over one change.
type task struct {
	edits []dataset.Edit
	rows  []loss.Row // one for each edit
	// What the projection reads at every position of every row, [positions, in],
	// and its transpose. The change of its weight does not move that.
	inputs, columns *tensor.Tensor
}

// newTask makes the rows of edits and reads their inputs.
func newTask(ctx context.Context, name string, lm *models.LM, on *patch.Patch, at arch.WeightID, edits []dataset.Edit) (*task, error) {
	k := &task{edits: edits}
	var trace []activation.Row
	for _, e := range edits {
		prompt, target, err := run.Continuation(lm, e.Prompt, e.Target)
		if err != nil {
			return nil, edit.Wrap(name, e.ID, err)
		}
		r := lossRow(name, prompt, target, 1/float64(len(edits)))
		k.rows = append(k.rows, r)
		trace = append(trace, activation.Row{Query: ask.Query{PromptIDs: r.IDs}, Patch: on, Positions: everywhere(len(r.IDs))})
	}
	traces, err := activation.Trace(ctx, lm, trace, arch.Site{Layer: at.Layer, Point: arch.FFNAct})
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
	k.inputs = tensor.FromFloat32s(inputs, positions, len(inputs)/positions)
	k.columns, err = k.inputs.Transpose2D()
	return k, err
}

// newObjective is the objective of tasks, which must be closed.
func newObjective(name string, lm *models.LM, on *patch.Patch, at arch.WeightID, tasks []*task) *objective {
	o := &objective{name: name, base: on, tasks: tasks}
	for _, k := range tasks {
		for i := range k.rows {
			k.rows[i].Patch = o.base
		}
	}
	o.searches = loss.NewSearches(lm, []arch.Site{{Layer: at.Layer, Point: arch.FFNOut}}, 1, func(i int) []loss.Row { return tasks[i].rows })
	return o
}

// lossRow is the loss of an edit, times a weight.
func lossRow(name string, prompt, target []int64, weight float64) loss.Row {
	r := loss.Row{IDs: prompt, Everywhere: true}
	if name == masked {
		r.IDs = slices.Concat(prompt, target[:len(target)-1])
	}
	for i, id := range target {
		t := loss.Term{Position: len(prompt) - 1, Target: id, NLL: weight / float64(len(target))}
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

// with is what a patch becomes with a change, without the edits' names.
func with(base *patch.Patch, at arch.WeightID, values train.Values) *patch.Patch {
	changes := []patch.Weight{{At: at, Delta: values[variable]}}
	if b := values[biasVariable]; b != nil {
		changes = append(changes, patch.Weight{At: at, Bias: true, Delta: b})
	}
	return base.Then(&patch.Patch{Weights: changes})
}

// weight is the weight before the change, [in, out].
func weight(lm *models.LM, on *patch.Patch, at arch.WeightID) ([]float32, error) {
	w, err := lm.Weight(at)
	if err != nil {
		return nil, err
	}
	return changed(on, w, at, false)
}

// bias is the bias before the change, [out].
func bias(lm *models.LM, on *patch.Patch, at arch.WeightID) ([]float32, error) {
	b, err := lm.Bias(at)
	if err != nil {
		return nil, err
	}
	return changed(on, b, at, true)
}

// changed adds to a parameter what a patch does to it.
func changed(p *patch.Patch, t *tensor.Tensor, at arch.WeightID, bias bool) ([]float32, error) {
	merged, err := p.Merge()
	if err != nil {
		return nil, err
	}
	sum := slices.Clone(t.Float32s())
	for _, w := range merged.Weights {
		if w.At == at && w.Bias == bias {
			for i, x := range w.Delta.Float32s() {
				sum[i] += x
			}
		}
	}
	return sum, nil
}

// moved are the task's rows with what a change adds to the projection's output.
func (k *task) moved(change train.Values) ([]loss.Row, error) {
	out, err := tensor.MatMul(k.inputs, change[variable])
	if err != nil {
		return nil, err
	}
	add, width := out.Float32s(), out.Shape[1]
	if b := change[biasVariable]; b != nil {
		for i := range add {
			add[i] += b.Float32s()[i%width]
		}
	}
	rows := slices.Clone(k.rows)
	for i := range rows {
		n := len(rows[i].IDs) * width
		rows[i].Shift, add = add[:n:n], add[n:]
	}
	return rows, nil
}

// Evaluate implements train.Objective.
func (o *objective) Evaluate(ctx context.Context, problems []int, at []train.Values) ([]float64, []train.Values, error) {
	rows := make([][]loss.Row, len(problems))
	for i, p := range problems {
		var err error
		if rows[i], err = o.tasks[p].moved(at[i]); err != nil {
			return nil, nil, err
		}
	}
	losses, err := o.searches.Losses(ctx, problems, rows)
	if err != nil {
		return nil, nil, err
	}
	sums, gradients := make([]float64, len(problems)), make([]train.Values, len(problems))
	for i, p := range problems {
		k := o.tasks[p]
		var outputs []float32 // slopes of the projection's output
		for n, l := range losses[i] {
			if l.Err != nil {
				return nil, nil, edit.Wrap(o.name, k.edits[n].ID, l.Err)
			}
			sums[i] += l.Loss
			outputs = append(outputs, l.Gradient...)
		}
		if gradients[i], err = k.slope(outputs, at[i]); err != nil {
			return nil, nil, err
		}
	}
	return sums, gradients, nil
}

// slope turns slopes of the projection's output into those of its parameters.
func (k *task) slope(outputs []float32, at train.Values) (train.Values, error) {
	positions := k.inputs.Shape[0]
	g, err := tensor.MatMul(k.columns, tensor.FromFloat32s(outputs, positions, len(outputs)/positions))
	if err != nil {
		return nil, err
	}
	gradient := train.Values{variable: g}
	if b := at[biasVariable]; b != nil {
		slope := make([]float64, b.Len())
		for i, x := range outputs {
			slope[i%len(slope)] += float64(x)
		}
		gradient[biasVariable] = tensor.New(tensor.F32, len(slope))
		for i, x := range slope {
			gradient[biasVariable].Float32s()[i] = float32(x)
		}
	}
	return gradient, nil
}
