package generator

import (
	"slices"

	"editpipe/dataset"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// reversedRelation asks from the new object back to the subject. Only where the
// new object has no other partner does the question have one answer; otherwise
// it is flagged inverse_conflict and kept apart. Relations that are not
// one-to-one are asked as a list, apart too. The old object's own reverse
// question, whose answer the edit makes stale, is a probe of its own.
func (g *part) reversedRelation(c *change) {
	axis := string(dataset.AxisReversedRelation)
	if c.rel.Reverse == catalogue.ReverseNever {
		return
	}
	back := c.inverse
	if back == "" {
		back = c.rel.ID + " reversed"
	}
	subject := kb.Statement{Property: back, Value: kb.Value{Kind: catalogue.Item, ID: c.s.ID}}
	partners := g.partners(c)
	question := dataset.Probe{Axis: dataset.AxisReversedRelation, Answers: c.s.Names(), AnswerMode: dataset.Single,
		Hops: []dataset.Hop{g.editedHop(c), g.hop(c.n, subject, true)}}
	switch {
	case c.rel.Reverse == catalogue.ReverseList:
		question.Variant, question.AnswerMode = "list", dataset.Set
		question.Flags = []string{dataset.FlagApart}
		question.AnswerSets = [][]string{question.Answers}
		slices.Sort(partners)
		for _, id := range slices.Compact(partners) {
			if names := g.base.ValueNames(kb.Value{Kind: catalogue.Item, ID: id}); len(names) > 0 {
				question.AnswerSets = append(question.AnswerSets, names)
				question.AnswersBefore = append(question.AnswersBefore, names[0])
			}
		}
	case len(partners) > 0:
		question.Variant = FlagConflict
		question.Flags = []string{FlagConflict, dataset.FlagApart}
		question.AnswersBefore = g.base.ValueNames(kb.Value{Kind: catalogue.Item, ID: partners[0]})
		g.reject(string(c.ID), axis, RejectInverseConflict, c.n.Label)
	default:
		question.Variant = "free"
	}
	g.askBack(c, question, c.n, c.rel.Inverse.Question, catalogue.Question)
	if question.Variant == "free" {
		g.askBack(c, question, c.n, c.rel.Inverse.Cloze, catalogue.Cloze)
	}
	if c.rel.Reverse != catalogue.ReverseAsk {
		return
	}
	if len(g.base.Subjects(c.o.ID, c.rel.ID)) != 1 || len(g.laterPartners(c, c.o)) > 0 {
		g.reject(string(c.ID), axis, RejectManySubjects, c.o.Label)
		return
	}
	names := c.s.Names()
	g.askBack(c, dataset.Probe{Axis: dataset.AxisReversedRelation, Variant: "stale_inverse", AnswerMode: dataset.Unchanged,
		Answers: names, AnswersBefore: names, Flags: []string{FlagStale, dataset.FlagApart}, NeedsFacts: []string{c.FactTrueID},
		Hops: []dataset.Hop{g.hop(c.o, subject, false)}}, c.o, c.rel.Inverse.Question, catalogue.Question)
}

// askBack completes a reverse probe about the entity with one of the templates.
func (g *part) askBack(c *change, p dataset.Probe, about *kb.Entity, list []catalogue.Template, form catalogue.Form) {
	t, ok := g.pickTemplate(catalogue.Unreserved(list), string(c.ID), p.Variant, string(form))
	if !ok {
		return
	}
	text, start, end := render(t, "{o}", about.Label, false)
	p.Prompt, p.Format = text, format(form)
	p.SubjectText, p.SubjectStart, p.SubjectEnd = about.Label, int32(start), int32(end)
	p.TemplateIDs = []string{templateID(c.rel.ID, t)}
	if kb.MentionsAny(text, p.Answers) {
		g.reject(string(c.ID), string(p.Axis), RejectAnswerInPrompt, text)
		return
	}
	if kb.Leaks(p.Answers[0], []string{about.Label}) {
		g.reject(string(c.ID), string(p.Axis), RejectSubstringLeak, text)
		return
	}
	g.emit(c, p)
}
