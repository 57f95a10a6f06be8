package stages

import (
	"cmp"
	"errors"
	"slices"

	"editpipe/dataset"
	"editpipe/metric"
	"editpipe/row"
)

// baseRow is the unedited model's answer as it is stored.
func (a asked) baseRow(protocol string) row.Base {
	target, alt := a.texts()
	r := row.Base{
		ProbeID: string(a.probe.ID), EditID: string(a.edit.ID), ProtocolID: protocol,
		Target: target, Alt: alt, Detail: a.note,
	}
	err := a.err
	if err == nil && a.hasScores {
		r.Baseline, err = metric.TakeBaseline(a.probe, a.answer)
	}
	if err == nil && a.hasText {
		r.GenText, r.GenStop = &a.answer.Text, &a.answer.StoppedBy
	}
	why := statusOf(err)
	if why.fault == row.FaultMethod { // there was none
		why.fault = row.FaultModel
	}
	r.Status, r.Fault, r.Detail = why.status, why.fault, cmp.Or(why.detail, r.Detail)
	return r
}

// baseline is what a stored answer says; nil where it has no scores.
func baseline(b *row.Base) *row.Baseline {
	if b.Status != row.OK || len(b.TargetIDs) == 0 && len(b.ChoiceLogP) == 0 {
		return nil
	}
	return &b.Baseline
}

// result is a question's row of results beside the unedited answer pre; what
// holds for the whole unit is filled in by the caller.
func (a asked) result(pre row.Base) row.Result {
	target, alt := a.texts()
	r := row.Result{
		BatchSize: int32(a.force), EditIndex: int32(a.index), EvaluatedAfter: int32(a.after),
		EditID: string(a.edit.ID), ProbeID: string(a.probe.ID),
		Family: string(a.probe.Axis.Family()), Axis: string(a.probe.Axis), Variant: a.probe.Variant,
		Apart:      slices.Contains(a.probe.Flags, dataset.FlagApart),
		RelationID: a.edit.RelationID, Subject: a.edit.Subject,
		Prompt: a.probe.Prompt, Target: target, Alt: alt,
	}
	before := baseline(&pre)
	err, note := a.err, a.note
	if err == nil {
		r.Scores, err = metric.Score(a.probe, before, a.answer)
		if errors.Is(err, metric.ErrOtherTokens) {
			// A context before the prompt moved a token boundary: the answer
			// stands, only the comparison position by position does not.
			note = err.Error()
			r.Scores, err = metric.Score(a.probe, nil, a.answer)
		}
	}
	if err != nil && before != nil {
		if known, fault := metric.Before(a.probe, *before); fault == nil {
			r.Scores = known
		}
	}
	why := statusOf(err)
	if why.status == row.Failed && pre.Status == row.Failed {
		why.fault = pre.Fault // what cannot be asked of the unedited model is no fault of an edit
	}
	r.Status, r.Fault, r.Detail = why.status, why.fault, cmp.Or(why.detail, note)
	return r
}
