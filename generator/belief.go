package generator

import (
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"editpipe/dataset"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// Answers of the questions that are answered by yes or no.
const (
	yes = "yes"
	no  = "no"
)

// inSentence renders a statement's template behind front, as part of one
// sentence: its first letter is small unless the subject's name comes first.
func inSentence(front string, t catalogue.Template, name string) (text string, start, end int) {
	text, start, end = render(t, "{s}", name, false)
	if start > 0 {
		first, size := utf8.DecodeRuneInString(text)
		if small := unicode.ToLower(first); utf8.RuneLen(small) == size {
			text = string(small) + text[size:]
		}
	}
	return front + text, len(front) + start, len(front) + end
}

// asked makes a question of a statement of the edit's fact with the object:
// whether it is true (or false).
func asked(whether string, t catalogue.Template, name, object string) (text string, start, end int) {
	text, start, end = inSentence("Question: Is it "+whether+" that ", t, name)
	return text + " " + object + "?\nAnswer:", start, end
}

// choiceProbe completes a probe of the edit's fact that is answered by a choice.
func (g *part) choiceProbe(c *change, p dataset.Probe, t catalogue.Template, right string, choices ...string) {
	p.Format, p.AnswerMode = dataset.Choice, dataset.OneChoice
	p.Answers, p.Choices, p.ChoiceLabel = []string{right}, choices, int32(slices.Index(choices, right))
	p.SubjectText, p.Hops, p.TemplateIDs = c.Subject, []dataset.Hop{g.editedHop(c)}, []string{templateID(c.rel.ID, t)}
	g.emit(c, p)
}

// statement picks a statement of the edit's relation that names neither object,
// or rejects the probes of the axis.
func (g *part) statement(c *change, axis dataset.Axis) (catalogue.Template, bool) {
	t, ok := g.pickTemplate(catalogue.Unreserved(c.rel.Cloze), string(c.ID), string(axis))
	if !ok {
		return t, false
	}
	text, _, _ := render(t, "{s}", c.Subject, false)
	if kb.MentionsAny(text, slices.Concat(c.n.Names(), c.o.Names())) {
		g.reject(string(c.ID), string(axis), RejectTargetInPrompt, text)
		return t, false
	}
	return t, true
}

// beliefYesNo asks whether the new and the old fact are true, in one wording:
// a model that always says yes, or no, is right once.
func (g *part) beliefYesNo(c *change) {
	t, ok := g.statement(c, dataset.AxisBeliefYesNo)
	if !ok {
		return
	}
	for _, ask := range []struct{ variant, object, right, before string }{{"new", c.Target, yes, no}, {"old", c.GroundTruth, no, yes}} {
		text, start, end := asked("true", t, c.Subject, ask.object)
		g.choiceProbe(c, dataset.Probe{Axis: dataset.AxisBeliefYesNo, Variant: ask.variant, Prompt: text, AnswersBefore: []string{ask.before},
			SubjectStart: int32(start), SubjectEnd: int32(end)}, t, ask.right, yes, no)
	}
}

// negation breaks a denied statement of the fact off before the object, where
// the old object is now right and the new one wrong, and asks whether the new
// and the old fact are false. Edits that only made the new object likely after
// the subject fail here.
func (g *part) negation(c *change) {
	t, ok := g.statement(c, dataset.AxisNegation)
	if !ok {
		return
	}
	text, start, end := inSentence("It is not true that ", t, c.Subject)
	objects := slices.Collect(g.shuffled([]string{c.Target, c.GroundTruth}, "negation|"+string(c.ID)))
	g.choiceProbe(c, dataset.Probe{Axis: dataset.AxisNegation, Variant: "statement", Prompt: text, AnswersBefore: []string{c.Target},
		SubjectStart: int32(start), SubjectEnd: int32(end)}, t, c.GroundTruth, objects...)
	for _, ask := range []struct{ variant, object, right, before string }{{"new", c.Target, no, yes}, {"old", c.GroundTruth, yes, no}} {
		text, start, end := asked("false", t, c.Subject, ask.object)
		g.choiceProbe(c, dataset.Probe{Axis: dataset.AxisNegation, Variant: ask.variant, Prompt: text, AnswersBefore: []string{ask.before},
			SubjectStart: int32(start), SubjectEnd: int32(end)}, t, ask.right, yes, no)
	}
}

// multipleChoice asks for the object among the new one, the old one and two
// that were never the subject's.
func (g *part) multipleChoice(c *change) {
	axis := dataset.AxisMultipleChoice
	t, ok := g.pickTemplate(catalogue.Unreserved(c.rel.Question), string(c.ID), string(axis))
	if !ok {
		return
	}
	const before, after = "Question: ", "\nAnswer:"
	question, start, end := render(t, "{s}", c.Subject, false)
	if kb.MentionsAny(question, slices.Concat(c.n.Names(), c.o.Names())) {
		g.reject(string(c.ID), string(axis), RejectTargetInPrompt, question)
		return
	}
	const others = 2
	choices := append([]string{c.Target, c.GroundTruth}, g.wrong(c, stranger{c.rel, c.s, c.fact}, c.n, question, others)...)
	if len(choices) < 2+others {
		g.reject(string(c.ID), string(axis), RejectClassMismatch, fmt.Sprintf("%s: fewer than %d other answers", question, others))
		return
	}
	choices = slices.Collect(g.shuffled(choices, "choices|"+string(c.ID)+string(axis)))
	g.choiceProbe(c, dataset.Probe{Axis: axis, Variant: "four_choice", Prompt: before + question + after, AnswersBefore: []string{c.GroundTruth},
		SubjectStart: int32(len(before) + start), SubjectEnd: int32(len(before) + end)}, t, c.Target, choices...)
}
