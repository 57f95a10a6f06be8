package audit

import (
	"regexp"
	"slices"
	"strings"
	"unicode"

	"editpipe/dataset"
	"editpipe/generator/kb"
)

func blank(s string) bool { return strings.TrimSpace(s) == "" }

func blankEdit(_ *state, r *dataset.Record) verdict {
	e := &r.Edit
	switch {
	case blank(e.Prompt):
		return found(e.Prompt, "the prompt is blank")
	case blank(e.Target):
		return found(e.Prompt, "the new object is blank")
	}
	return clean()
}

func blankProbe(_ *state, _ *dataset.Record, p *dataset.Probe) verdict {
	if blank(p.Prompt) {
		return found(p.Prompt, "the prompt is blank")
	}
	if p.AnswerMode == dataset.OneChoice {
		return clean() // choice_broken looks at these
	}
	if len(p.Answers) == 0 {
		return found(p.Prompt, "no answer")
	}
	if slices.ContainsFunc(p.Answers, blank) {
		return found(p.Prompt, "an answer is blank")
	}
	return clean()
}

// entityID finds an id in a text. Shorter ones occur in names: Audi Q7.
var entityID = regexp.MustCompile(`\bQ[1-9][0-9]{3,}\b`)

func rawID(text string, list ...string) verdict {
	for _, s := range append(list, text) {
		if id := entityID.FindString(s); id != "" {
			return found(text, "id %s in place of a name", id)
		}
	}
	return clean()
}

func rawIDInEdit(_ *state, r *dataset.Record) verdict {
	e := &r.Edit
	return rawID(e.Prompt, e.Subject, e.Target, e.GroundTruth)
}

func rawIDInProbe(_ *state, _ *dataset.Record, p *dataset.Probe) verdict {
	return rawID(p.Prompt, slices.Concat(p.Answers, p.Choices)...)
}

// span compares the bytes of a prompt with the subject they should hold.
func span(prompt, subject string, start, end int32) verdict {
	switch {
	case start == -1 && end == -1:
		return verdict{}
	case start < 0 || end < start || int(end) > len(prompt):
		return found(prompt, "bytes %d to %d of %d", start, end, len(prompt))
	case !dataset.SameName(prompt[start:end], subject):
		return found(prompt, "bytes %d to %d are %q, not %q", start, end, prompt[start:end], subject)
	}
	return clean()
}

func spanOfEdit(_ *state, r *dataset.Record) verdict {
	e := &r.Edit
	return span(e.Prompt, e.Subject, e.SubjectStart, e.SubjectEnd)
}

func spanOfProbe(_ *state, _ *dataset.Record, p *dataset.Probe) verdict {
	return span(p.Prompt, p.SubjectText, p.SubjectStart, p.SubjectEnd)
}

func choiceBroken(_ *state, _ *dataset.Record, p *dataset.Probe) verdict {
	if p.Format != dataset.Choice && p.AnswerMode != dataset.OneChoice {
		return verdict{}
	}
	label := int(p.ChoiceLabel)
	switch {
	case len(p.Choices) < 2:
		return found(p.Prompt, "%d choices", len(p.Choices))
	case label < 0 || label >= len(p.Choices):
		return found(p.Prompt, "label %d of %d choices", label, len(p.Choices))
	case len(p.Answers) > 0 && p.Answers[0] != p.Choices[label]:
		return found(p.Prompt, "choice %d is %q, the answer is %q", label, p.Choices[label], p.Answers[0])
	}
	for i, c := range p.Choices {
		if slices.Contains(p.Choices[:i], c) {
			return found(p.Prompt, "choice %q occurs twice", c)
		}
	}
	return clean()
}

func axisFamily(_ *state, _ *dataset.Record, p *dataset.Probe) verdict {
	if p.Family != p.Axis.Family() {
		return found(p.Prompt, "family %q, the axis belongs to %q", p.Family, p.Axis.Family())
	}
	return clean()
}

func noProbe(_ *state, r *dataset.Record) verdict {
	if len(r.Probes) == 0 {
		return found(r.Edit.Prompt, "no probe asks about it")
	}
	return clean()
}

func noSubject(_ *state, r *dataset.Record) verdict {
	if blank(r.Edit.Subject) {
		return found(r.Edit.Prompt, "no subject is named")
	}
	return clean()
}

func subjectNotInPrompt(_ *state, r *dataset.Record) verdict {
	e := &r.Edit
	if blank(e.Subject) {
		return verdict{} // no_subject
	}
	if !dataset.FindName(e.Prompt, e.Subject).Found() {
		return found(e.Prompt, "subject %q does not occur", e.Subject)
	}
	return clean()
}

// subjectSpelling looks for a subject that the prompt spells in another way.
func subjectSpelling(_ *state, r *dataset.Record) verdict {
	e := &r.Edit
	m := dataset.FindName(e.Prompt, e.Subject)
	switch {
	case !m.Found():
		return verdict{}
	case !m.Exact:
		return found(e.Prompt, "subject %q is written as %q", e.Subject, e.Prompt[m.Start:m.End])
	}
	return clean()
}

// subjectRepeated looks for a subject that stands in the prompt more than once. Where
// the edit has a template, something said which is meant.
func subjectRepeated(_ *state, r *dataset.Record) verdict {
	e := &r.Edit
	n := dataset.CountName(e.Prompt, e.Subject)
	switch {
	case n == 0:
		return verdict{}
	case n > 1 && e.PromptTemplate == "":
		return found(e.Prompt, "subject %q occurs %d times; bytes %d to %d are used", e.Subject, n, e.SubjectStart, e.SubjectEnd)
	}
	return clean()
}

func straySpace(_ *state, r *dataset.Record) verdict {
	e := &r.Edit
	for _, s := range slices.Concat([]string{e.Subject}, targetNames(e), truthNames(e)) {
		if s != strings.Join(strings.Fields(s), " ") {
			return found(e.Prompt, "%q", s)
		}
	}
	return clean()
}

// sentenceWords is how many words an unrelated sentence has at least: St. Louis
// and J. R. R. Tolkien are no sentences.
const sentenceWords = 3

// paraphrasePrefixed looks for the end of a sentence before the subject.
func paraphrasePrefixed(_ *state, r *dataset.Record, p *dataset.Probe) verdict {
	m := dataset.FindName(p.Prompt, r.Edit.Subject)
	if !m.Found() {
		return verdict{}
	}
	runes := []rune(p.Prompt[:m.Start])
	for i := len(runes) - 1; i > 0; i-- {
		if !unicode.IsSpace(runes[i]) || !strings.ContainsRune(".?!:\"", runes[i-1]) {
			continue
		}
		if sentence := string(runes[:i]); len(strings.Fields(kb.Normalise(sentence))) >= sentenceWords {
			return found(p.Prompt, "starts with %q", sentence)
		}
	}
	return clean()
}

func distractorMissing(_ *state, _ *dataset.Record, p *dataset.Probe) verdict {
	if blank(p.Distractor) || !strings.HasPrefix(p.Prompt, p.Distractor) {
		return found(p.Prompt, "distractor %q", p.Distractor)
	}
	return clean()
}

func noFarNeighbour(_ *state, r *dataset.Record) verdict {
	truths := truthNames(&r.Edit)
	near := 0
	for i := range r.Probes {
		p := &r.Probes[i]
		if p.Axis != dataset.AxisNeighbourhood || len(p.Answers) == 0 {
			continue
		}
		if !kb.SameAsAny(p.Answers[0], truths) {
			return clean()
		}
		near++
	}
	if near == 0 || len(truths) == 0 {
		return verdict{}
	}
	return found(r.Edit.Prompt, "%d neighbours, all with %q", near, r.Edit.GroundTruth)
}

// longWords is the number of words of the longest answer that is not called long.
const longWords = 6

func long(text, answer string) verdict {
	if n := len(strings.Fields(answer)); n > longWords {
		return found(text, "%d words: %q", n, answer)
	}
	return clean()
}

func longTarget(_ *state, r *dataset.Record) verdict { return long(r.Edit.Prompt, r.Edit.Target) }

func longAnswer(_ *state, _ *dataset.Record, p *dataset.Probe) verdict {
	if len(p.Answers) == 0 || p.AnswerMode == dataset.OneChoice {
		return verdict{}
	}
	return long(p.Prompt, p.Answers[0])
}

func sharedFirstWord(_ *state, r *dataset.Record) verdict {
	e := &r.Edit
	target, truth := strings.Fields(kb.Normalise(e.Target)), strings.Fields(kb.Normalise(e.GroundTruth))
	if len(target) == 0 || len(truth) == 0 {
		return verdict{}
	}
	if target[0] == truth[0] {
		return found(e.Prompt, "%q and %q", e.Target, e.GroundTruth)
	}
	return clean()
}
