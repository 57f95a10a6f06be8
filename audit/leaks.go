package audit

import (
	"slices"
	"strings"

	"editpipe/dataset"
	"editpipe/generator/kb"
)

func targetNames(e *dataset.Edit) []string { return names(e.Target, e.ObjectNewAliases) }
func truthNames(e *dataset.Edit) []string  { return names(e.GroundTruth, e.ObjectTrueAliases) }
func subjectNames(e *dataset.Edit) []string {
	return names(e.Subject, e.SubjectAliases)
}

// answers are all spellings that count as right.
func answers(p *dataset.Probe) []string {
	return names("", slices.Concat(append([][]string{p.Answers}, p.AnswerSets...)...))
}

// proper is the prompt without the text put in front of it.
func proper(p *dataset.Probe) string { return strings.TrimPrefix(p.Prompt, p.Distractor) }

// holds looks for one of the names in the text.
func holds(text string, list []string, what string) verdict {
	if len(list) == 0 {
		return verdict{}
	}
	if name := kb.Mentioned(text, list); name != "" {
		return found(text, "%s %q occurs in the prompt", what, name)
	}
	return clean()
}

func targetInEdit(_ *state, r *dataset.Record) verdict {
	return holds(r.Edit.Prompt, targetNames(&r.Edit), "new object")
}

func targetInPrompt(_ *state, r *dataset.Record, p *dataset.Probe) verdict {
	return holds(proper(p), targetNames(&r.Edit), "new object")
}

func answerInPrompt(_ *state, _ *dataset.Record, p *dataset.Probe) verdict {
	return holds(proper(p), answers(p), "answer")
}

// answerInDistractor leaves out probes flagged apart: a control with the true
// fact in front holds the answer by design.
func answerInDistractor(_ *state, _ *dataset.Record, p *dataset.Probe) verdict {
	if p.Distractor == "" || slices.Contains(p.Flags, dataset.FlagApart) {
		return verdict{}
	}
	return holds(p.Distractor, answers(p), "answer")
}

func truthInEdit(_ *state, r *dataset.Record) verdict {
	return holds(r.Edit.Prompt, truthNames(&r.Edit), "old object")
}

func truthInPrompt(_ *state, r *dataset.Record, p *dataset.Probe) verdict {
	return holds(proper(p), truthNames(&r.Edit), "old object")
}

// leaks looks for a piece of the answer in the names. An answer that stands in
// the prompt as a whole is another check's finding.
func leaks(text, answer string, list []string) verdict {
	if strings.TrimSpace(answer) == "" || len(list) == 0 {
		return verdict{}
	}
	if !kb.Mentions(text, answer) {
		for _, name := range list {
			if kb.Leaks(answer, []string{name}) {
				return found(text, "most of %q occurs in %q", answer, name)
			}
		}
	}
	return clean()
}

func leakInEdit(_ *state, r *dataset.Record) verdict {
	e := &r.Edit
	v := leaks(e.Prompt, e.Target, subjectNames(e))
	if v.message == "" && e.GroundTruth != "" {
		v = leaks(e.Prompt, e.GroundTruth, subjectNames(e))
	}
	return v
}

func leakInPrompt(_ *state, r *dataset.Record, p *dataset.Probe) verdict {
	e := &r.Edit
	if len(p.Answers) == 0 {
		return verdict{}
	}
	var list []string
	switch p.Axis {
	case dataset.AxisOneHop:
		list = slices.Concat(subjectNames(e), targetNames(e))
	case dataset.AxisGeneralization, dataset.AxisOtherRelations:
		list = subjectNames(e)
	case dataset.AxisReversedRelation:
		list = names(e.Target, nil)
		if p.SubjectText != "" {
			list = names(p.SubjectText, nil)
		}
	case dataset.AxisSubjectReplace:
		list = names(aliasOf(e, p), nil)
	default: // the neighbour, or the subject of a question of another kind
		list = names(p.SubjectText, nil)
	}
	return leaks(p.Prompt, p.Answers[0], list)
}

func targetIsTruth(_ *state, r *dataset.Record) verdict {
	e := &r.Edit
	truths := truthNames(e)
	if len(truths) == 0 {
		return verdict{}
	}
	if kb.SameAsAny(e.Target, truths) {
		return found(e.Prompt, "target %q was already right", e.Target)
	}
	return clean()
}

// answerUnchanged leaves out probes that ask for agreement or membership alone.
func answerUnchanged(_ *state, _ *dataset.Record, p *dataset.Probe) verdict {
	before := names("", p.AnswersBefore)
	if len(before) == 0 || len(p.Answers) == 0 || p.AnswerMode == dataset.Unchanged || p.AnswerMode == dataset.Set {
		return verdict{}
	}
	for _, a := range names("", p.Answers) {
		if kb.SameAsAny(a, before) {
			return found(p.Prompt, "answer %q was right before the edit", a)
		}
	}
	return clean()
}

func answerIsTarget(_ *state, r *dataset.Record, p *dataset.Probe) verdict {
	if len(p.Answers) == 0 {
		return verdict{}
	}
	if kb.SameAsAny(p.Answers[0], targetNames(&r.Edit)) {
		return found(p.Prompt, "answer %q is the edit's new object", p.Answers[0])
	}
	return clean()
}
