package edit

import (
	"editpipe/models/patch"
	"slices"

	"editpipe/dataset"
	"editpipe/tensor"
)

// Effort is what an optimising method spent on an edit.
type Effort struct {
	Steps     int32
	FinalLoss float64 // nats
}

// Names in Patch.State under which efforts travel: one entry per edit of the
// call that made the patch, which are the last ones of Patch.Edits.
const (
	stateSteps = "effort.steps"
	stateLoss  = "effort.loss"
)

// SetEffort notes in p what the last len(each) edits took; rows of applied show it.
func SetEffort(p *patch.Patch, each []Effort) {
	steps, loss := make([]int64, len(each)), make([]float32, len(each))
	for i, e := range each {
		steps[i], loss[i] = int64(e.Steps), float32(e.FinalLoss)
	}
	state := map[string]*tensor.Tensor{
		stateSteps: tensor.FromInt64s(steps, len(steps)),
		stateLoss:  tensor.FromFloat32s(loss, len(loss)),
	}
	*p = *p.Then(&patch.Patch{State: state})
}

// EffortOf reads what SetEffort noted; false where the patch has no note of the
// edit, as for edits of earlier calls.
func EffortOf(p *patch.Patch, id dataset.EditID) (Effort, bool) {
	steps, loss := p.State[stateSteps], p.State[stateLoss]
	if steps == nil || loss == nil || steps.Len() != loss.Len() {
		return Effort{}, false
	}
	from := len(p.Edits) - steps.Len()
	i := slices.Index(p.Edits, string(id))
	if from < 0 || i < from {
		return Effort{}, false
	}
	return Effort{Steps: int32(steps.Int64s()[i-from]), FinalLoss: float64(loss.Float32s()[i-from])}, true
}
