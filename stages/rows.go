package stages

import (
	"cmp"
	"errors"
	"slices"

	"editpipe/dataset"
	"editpipe/metric"
	"editpipe/store"
)

// baseRow is the unedited model's answer as it is stored.
func (a asked) baseRow(protocol string) store.Base {
	target, alt := a.texts()
	row := store.Base{
		ProbeID: string(a.probe.ID), EditID: string(a.edit.ID), ProtocolID: protocol,
		Target: target, Alt: alt, Detail: a.note,
	}
	err := a.err
	if err == nil && a.hasScores {
		var b metric.Baseline
		if b, err = metric.TakeBaseline(a.probe, a.answer); err == nil {
			row.TargetIDs, row.ArgmaxIDs, row.LogPs, row.LogPAltMean = b.TargetIDs, b.ArgmaxIDs, b.LogPs, b.LogPAltMean
			row.FirstRank, row.MinGap, row.Repaired, row.ChoiceLogP = b.FirstRank, b.MinGap, b.Repaired, b.ChoiceLogP
		}
	}
	if err == nil && a.hasText {
		row.GenText, row.GenStop = &a.answer.Text, &a.answer.StoppedBy
	}
	why := statusOf(err)
	if why.fault == store.FaultMethod { // there was none
		why.fault = store.FaultModel
	}
	row.Status, row.Fault, row.Detail = why.status, why.fault, cmp.Or(why.detail, row.Detail)
	return row
}

// baseline is the metric's view of a stored answer; nil where it has no scores.
func baseline(b store.Base) *metric.Baseline {
	if b.Status != store.OK || len(b.TargetIDs) == 0 && len(b.ChoiceLogP) == 0 {
		return nil
	}
	return &metric.Baseline{
		TargetIDs: b.TargetIDs, ArgmaxIDs: b.ArgmaxIDs, LogPs: b.LogPs, LogPAltMean: b.LogPAltMean,
		FirstRank: b.FirstRank, MinGap: b.MinGap, Repaired: b.Repaired, ChoiceLogP: b.ChoiceLogP,
	}
}

// result is a question's row of results beside the unedited answer pre; what
// holds for the whole unit is filled in by the caller.
func (a asked) result(pre store.Base) store.Result {
	target, alt := a.texts()
	row := store.Result{
		BatchSize: int32(a.force), EditIndex: int32(a.index), EvaluatedAfter: int32(a.after),
		EditID: string(a.edit.ID), ProbeID: string(a.probe.ID),
		Family: string(a.probe.Axis.Family()), Axis: string(a.probe.Axis), Variant: a.probe.Variant,
		Apart:      slices.Contains(a.probe.Flags, dataset.FlagApart),
		RelationID: a.edit.RelationID, Subject: a.edit.Subject,
		Prompt: a.probe.Prompt, Target: target, Alt: alt,
	}
	before := baseline(pre)
	err, note := a.err, a.note
	var s metric.Scores
	if err == nil {
		s, err = metric.Score(a.probe, before, a.answer)
		if errors.Is(err, metric.ErrOtherTokens) {
			// A context before the prompt moved a token boundary: the answer
			// stands, only the comparison position by position does not.
			note = err.Error()
			s, err = metric.Score(a.probe, nil, a.answer)
		}
	}
	if err != nil && before != nil {
		if known, fault := metric.Before(a.probe, *before); fault == nil {
			s = known
		}
	}
	why := statusOf(err)
	if why.status == store.Failed && pre.Status == store.Failed {
		why.fault = pre.Fault // what cannot be asked of the unedited model is no fault of an edit
	}
	row.Status, row.Fault, row.Detail = why.status, why.fault, cmp.Or(why.detail, note)
	setScores(&row, s)
	return row
}

// setScores copies a probe's numbers into its row.
func setScores(r *store.Result, s metric.Scores) {
	r.Tokens, r.Correct, r.TokenAcc, r.Exact, r.ExactEOS = s.Tokens, s.Correct, s.TokenAcc, s.Exact, s.ExactEOS
	r.LogPSum, r.LogPMean, r.LogPAltMean = s.LogPSum, s.LogPMean, s.LogPAltMean
	r.FirstRank, r.MinGap, r.Repaired, r.ArgmaxIDs = s.FirstRank, s.MinGap, s.Repaired, s.ArgmaxIDs
	r.Success, r.ProbDiff = s.Success, s.ProbDiff
	r.Choice, r.ChoiceNorm, r.Acc, r.AccNorm = s.Choice, s.ChoiceNorm, s.Acc, s.AccNorm
	r.GenText, r.GenStop, r.GenEM, r.GenContains = s.GenText, s.GenStop, s.GenEM, s.GenContains
	r.PreArgmaxIDs, r.PreTokenAcc, r.PreExact = s.PreArgmaxIDs, s.PreTokenAcc, s.PreExact
	r.PreLogPMean, r.PreLogPAltMean, r.PreSuccess = s.PreLogPMean, s.PreLogPAltMean, s.PreSuccess
	r.PreChoice, r.PreAcc = s.PreChoice, s.PreAcc
	r.AgreeTok, r.AgreeExact, r.KL, r.Flip = s.AgreeTok, s.AgreeExact, s.KL, s.Flip
}

// scoresOf is the inverse of setScores.
func scoresOf(r store.Result) metric.Scores {
	return metric.Scores{
		Tokens: r.Tokens, Correct: r.Correct, TokenAcc: r.TokenAcc, Exact: r.Exact, ExactEOS: r.ExactEOS,
		LogPSum: r.LogPSum, LogPMean: r.LogPMean, LogPAltMean: r.LogPAltMean,
		FirstRank: r.FirstRank, MinGap: r.MinGap, Repaired: r.Repaired, ArgmaxIDs: r.ArgmaxIDs,
		Success: r.Success, ProbDiff: r.ProbDiff,
		Choice: r.Choice, ChoiceNorm: r.ChoiceNorm, Acc: r.Acc, AccNorm: r.AccNorm,
		GenText: r.GenText, GenStop: r.GenStop, GenEM: r.GenEM, GenContains: r.GenContains,
		PreArgmaxIDs: r.PreArgmaxIDs, PreTokenAcc: r.PreTokenAcc, PreExact: r.PreExact,
		PreLogPMean: r.PreLogPMean, PreLogPAltMean: r.PreLogPAltMean, PreSuccess: r.PreSuccess,
		PreChoice: r.PreChoice, PreAcc: r.PreAcc,
		AgreeTok: r.AgreeTok, AgreeExact: r.AgreeExact, KL: r.KL, Flip: r.Flip,
	}
}
