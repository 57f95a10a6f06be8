package generator

import (
	"slices"

	"editpipe/dataset"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// otherRelations asks facts of the subject that the edit leaves alone: first the
// properties the catalogue names, then any other relation with a wording.
func (g *part) otherRelations(c *change) {
	properties := slices.Clone(c.rel.Other)
	for _, r := range g.base.Catalogue.Relations {
		if !slices.Contains(properties, r.ID) && len(c.s.Claims.Of(r.ID)) > 0 && g.base.IsA(c.s, r.Domain) {
			properties = append(properties, r.ID)
		}
	}
	made := 0
	for _, property := range properties {
		if made == mostOther {
			return
		}
		if property != c.rel.ID && g.otherRelation(c, property) {
			made++
		}
	}
}

func (g *part) otherRelation(c *change, property string) bool {
	base := g.base
	reject := func(reason, detail string) bool {
		g.reject(string(c.ID), string(dataset.AxisOtherRelations), reason, property+" "+detail)
		return false
	}
	r := base.Catalogue.Relation(property)
	if r == nil || !base.IsA(c.s, r.Domain) {
		return false
	}
	if base.Catalogue.Blocked(c.rel.ID)[property] || property == c.inverse {
		return reject(RejectBlockedRelation, c.s.Label)
	}
	st, reason := g.single(c.s, property)
	if reason != "" {
		return reject(reason, c.s.Label)
	}
	if by := g.disturbed(c, c.s.ID, property); by != "" {
		return reject(RejectConflict, by)
	}
	answers := base.ValueNames(st.Value)
	if len(answers) == 0 {
		return reject(RejectNoLabel, st.Value.ID)
	}
	objects := slices.Concat(c.o.Names(), c.n.Names())
	if st.Value.ID == c.o.ID || st.Value.ID == c.n.ID || kb.MentionsAny(answers[0], objects) {
		return reject(RejectTargetInPrompt, answers[0])
	}
	form, list := catalogue.Cloze, r.Cloze
	if g.hash(string(c.ID), property, "form")%2 == 0 {
		form, list = catalogue.Question, r.Question
	}
	t, ok := g.pickTemplate(catalogue.Unreserved(list), string(c.ID), property, "other")
	if !ok {
		return false
	}
	text, start, end := render(t, "{s}", c.Subject, false)
	switch {
	case kb.MentionsAny(text, answers):
		return reject(RejectAnswerInPrompt, text)
	case kb.MentionsAny(text, objects):
		return reject(RejectTargetInPrompt, text)
	case kb.Leaks(answers[0], c.s.Names()):
		return reject(RejectSubstringLeak, answers[0])
	}
	g.emit(c, dataset.Probe{Axis: dataset.AxisOtherRelations, Variant: property, Prompt: text, Format: format(form), AnswerMode: dataset.Single,
		Answers: answers, SubjectText: c.Subject, SubjectStart: int32(start), SubjectEnd: int32(end),
		Hops: []dataset.Hop{g.hop(c.s, st, false)}, NeedsFacts: []string{kb.FactID(c.s.ID, st)}, TemplateIDs: []string{templateID(property, t)}})
	return true
}
