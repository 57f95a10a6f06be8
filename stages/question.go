package stages

import (
	"cmp"
	"errors"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/store"
)

// question is a probe as it is put to a model.
//
// What is scored is the first spelling of the answer (of the first answer set,
// where there are sets); all spellings count when a generated text is judged. A
// probe with choices is scored on every choice, and its target is the right
// one. A probe with neither can only be compared with the unedited model's own
// words, so it is asked when text is generated and skipped otherwise.
type question struct {
	edit  dataset.Edit
	probe dataset.Probe

	targets []string // what the model is asked to score
	target  int      // index of the target in targets; -1 for none
	alt     int      // index of the text it is compared with; -1 for none
}

func newQuestion(e dataset.Edit, p dataset.Probe) question {
	q := question{edit: e, probe: p, target: -1, alt: -1}
	if len(p.Choices) > 0 {
		q.targets = p.Choices
		if l := int(p.ChoiceLabel); l >= 0 && l < len(p.Choices) {
			q.target = l
		}
		return q
	}
	answers := p.Answers
	if len(answers) == 0 && len(p.AnswerSets) > 0 {
		answers = p.AnswerSets[0]
	}
	if len(answers) == 0 {
		return q
	}
	q.targets, q.target = []string{answers[0]}, 0
	if p.Contrast != "" {
		q.targets, q.alt = append(q.targets, p.Contrast), 1
	}
	return q
}

func (q question) choice() bool { return len(q.probe.Choices) > 0 }

// scored is true when there is something to score by teacher forcing.
func (q question) scored() bool { return q.target >= 0 }

// generated is true when the probe's text is generated, if any is: free text is
// of no use for choices, and for locality it stands in where no answer is known.
func (q question) generated() bool {
	return !q.choice() && (q.probe.Axis.Family() != dataset.Locality || !q.scored())
}

// compared is true when the divergence from the unedited model is asked for.
func (q question) compared() bool {
	return q.probe.Axis.Family() == dataset.Locality && q.scored() && !q.choice()
}

func (q question) query() ask.Query {
	return ask.Query{ID: string(q.probe.ID), Prompt: q.probe.Prompt, Targets: q.targets}
}

func (q question) text(i int) string {
	if i < 0 {
		return ""
	}
	return q.targets[i]
}

const skippedDetail = "no answer to score; asked only when text is generated"

// statusOf turns the error of an edit or an answer into a row's status.
func statusOf(err error) (store.Status, string) {
	switch {
	case err == nil:
		return store.OK, ""
	case errors.Is(err, edit.ErrUnsupported):
		return store.Unsupported, err.Error()
	case errors.Is(err, ask.ErrTooLong):
		return store.SkippedLength, err.Error()
	}
	return store.Failed, err.Error()
}

// questions lists what is asked about records, record by record.
func questions(recs []dataset.Record) []question {
	var list []question
	for _, r := range recs {
		for _, p := range r.Probes {
			list = append(list, newQuestion(r.Edit, p))
		}
	}
	return list
}

// result is the part of a row that is known before anything is asked.
func (q question) result() store.Result {
	return store.Result{
		EditID: string(q.edit.ID), ProbeID: string(q.probe.ID),
		Family: string(cmp.Or(q.probe.Family, q.probe.Axis.Family())), Axis: string(q.probe.Axis), Variant: q.probe.Variant,
		RelationID: q.edit.RelationID, Subject: q.edit.Subject,
		Prompt: q.probe.Prompt, Target: q.text(q.target), Alt: q.text(q.alt),
	}
}
