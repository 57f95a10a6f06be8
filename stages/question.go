package stages

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/locate"
	"editpipe/metric"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/models/run"
	"editpipe/row"
)

// question is a probe as it is put to a model.
//
// A probe without answers and choices leaves nothing to score (metric.Question
// has no targets): it can only be compared with the unedited model's own words,
// so it is asked when text is generated and skipped otherwise.
type question struct {
	edit  dataset.Edit
	probe dataset.Probe
	query ask.Query
}

// questions lists what is asked about records, record by record.
func questions(recs []dataset.Record) []question {
	var list []question
	for _, r := range recs {
		for _, p := range r.Probes {
			list = append(list, question{r.Edit, p, metric.Question(p)})
		}
	}
	return list
}

func (q question) choice() bool { return q.probe.Format == dataset.Choice }

// scored is true when there is something to score by teacher forcing.
func (q question) scored() bool { return len(q.query.Targets) > 0 }

// generated is true when the probe's text is generated, if any is: free text is
// of no use for choices, and for locality it stands in where no answer is known.
func (q question) generated() bool {
	return !q.choice() && (q.probe.Axis.Family() != dataset.Locality || !q.scored())
}

// compared is true when the divergence from the unedited model is asked for. It
// is taken at the first target's positions, so choices have none.
func (q question) compared() bool {
	stays := q.probe.Axis.Family() == dataset.Locality || q.probe.Axis == dataset.AxisRoundEdit
	return stays && q.scored() && !q.choice()
}

// texts are the target and what it is compared with, as rows show them.
func (q question) texts() (target, alt string) {
	switch l := int(q.probe.ChoiceLabel); {
	case !q.scored():
		return "", ""
	case !q.choice():
		target = q.query.Targets[0]
		if len(q.query.Targets) > 1 {
			alt = q.query.Targets[1]
		}
	case l >= 0 && l < len(q.probe.Choices):
		target = q.probe.Choices[l]
	}
	return target, alt
}

// errNothing is the reason why a question was not asked.
var errNothing = errors.New("no answer to score; asked only when text is generated")

// without is a row's reason to have no numbers; its zero value is that of a row
// that has them.
type without struct {
	status row.Status
	fault  row.Fault
	detail string
}

// ofData are the reasons that are the record's or the question's.
var ofData = []error{ask.ErrNoPrompt, ask.ErrNoTarget, locate.ErrSubject, locate.ErrNoSubject}

// ofModel are the reasons that are the model's, also when an edit is made.
var ofModel = []error{run.ErrRun, arch.ErrNoGradient, arch.ErrSite, arch.ErrNotEditable, run.ErrVocabulary, models.ErrTokenizer}

// statusOf turns the reason why there are no numbers into what a row says.
func statusOf(err error) without {
	var before *recalled
	switch {
	case err == nil:
		return without{status: row.OK}
	case errors.As(err, &before):
		return without{before.Status, before.Fault, before.Detail}
	case errors.Is(err, errNothing), errors.Is(err, errSuperseded):
		return without{row.Skipped, row.FaultData, err.Error()}
	case errors.Is(err, errNotOnTop):
		return without{row.Skipped, row.FaultSetting, err.Error()}
	case errors.Is(err, edit.ErrSchedule):
		return without{row.Unsupported, row.FaultSetting, err.Error()}
	case errors.Is(err, ask.ErrTooLong):
		return without{row.SkippedLength, row.FaultData, err.Error()}
	}
	is := func(fault error) bool { return errors.Is(err, fault) }
	w := without{row.Failed, row.FaultMethod, err.Error()}
	if errors.Is(err, edit.ErrUnsupported) {
		w.status = row.Unsupported
	}
	if slices.ContainsFunc(ofData, is) {
		w.fault = row.FaultData
		return w
	}
	var making *edit.Error
	answering := !errors.As(err, &making) && !errors.Is(err, ask.ErrNotFinite)
	if answering || slices.ContainsFunc(ofModel, is) {
		w.fault = row.FaultModel
	}
	return w
}

// asked is a question with the patch it is asked through and what came back.
type asked struct {
	question
	patch *patch.Patch // nil for the unedited model
	err   error        // why nothing is to be asked; nil if it is
	after int          // edits made in the unit when it is asked
	force int          // edits in force together when it is asked
	index int          // of the edit in its unit

	answer    ask.Answer // scores, text or both
	hasScores bool
	hasText   bool
	note      string // why a part of the answer is missing
}

// stopTexts end a generated answer; a full stop does not, as it would cut
// "St. Louis" short.
func stopTexts() []string { return []string{"\n"} }

// put asks all questions, with one call for the scores and one for the texts:
// rows carry their own patches, so edits share runs of the model.
func put(ctx context.Context, lm *models.LM, maxNew int, list []asked) error {
	var rows, texts []answer.Row
	var rowOf, textOf []int
	for i, a := range list {
		if a.err != nil {
			continue
		}
		r := answer.Row{Query: a.query, Patch: a.patch}
		if maxNew > 0 && a.generated() {
			texts, textOf = append(texts, r), append(textOf, i)
		} else if !a.scored() {
			list[i].err = errNothing
		}
		if a.scored() {
			if a.patch != nil && a.compared() {
				r.Versus = &list[i].query
			}
			rows, rowOf = append(rows, r), append(rowOf, i)
		}
	}
	if len(rows) > 0 {
		answers, err := answer.Score(ctx, lm, rows)
		if err != nil {
			return err
		}
		for j, i := range rowOf {
			list[i].answer, list[i].hasScores, list[i].err = answers[j], true, answers[j].Err
		}
	}
	if len(texts) == 0 {
		return nil
	}
	answers, err := answer.Generate(ctx, lm, texts, ask.Sampling{MaxNew: maxNew, Stop: stopTexts()})
	if err != nil {
		return err
	}
	for j, i := range textOf {
		a, text := &list[i], answers[j]
		switch {
		case text.Err == nil:
			a.answer.Text, a.answer.TextIDs, a.answer.StoppedBy, a.hasText = text.Text, text.TextIDs, text.StoppedBy, true
		case a.hasScores:
			a.note = cmp.Or(a.note, "no text: "+text.Err.Error())
		default:
			a.err = text.Err
		}
	}
	return nil
}
