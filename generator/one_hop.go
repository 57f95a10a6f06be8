package generator

import (
	"slices"

	"editpipe/dataset"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// oneHop asks a fact of the new object through the subject: the follower's
// question, with the noun phrase "the r of s" in its subject's place. The
// answer must differ from the one before the edit and must not stand in the
// prompt.
func (g *part) oneHop(c *change) {
	made := 0
	for _, property := range c.rel.Follow {
		if made == mostHops {
			return
		}
		if g.hopOver(c, property) {
			made++
		}
	}
}

func (g *part) hopOver(c *change, property string) bool {
	base := g.base
	reject := func(reason, detail string) bool {
		g.reject(string(c.ID), string(dataset.AxisOneHop), reason, property+" "+detail)
		return false
	}
	follower := base.Catalogue.Relation(property)
	if follower == nil || !base.IsA(c.n, follower.Domain) {
		return reject(RejectClassMismatch, c.n.Label)
	}
	if property == c.rel.ID || property == c.inverse {
		return reject(RejectBlockedRelation, "")
	}
	st, reason := g.single(c.n, property)
	if reason != "" {
		return reject(reason, c.n.Label)
	}
	if by := g.disturbed(c, c.n.ID, property); by != "" {
		return reject(RejectConflict, by)
	}
	answers := base.ValueNames(st.Value)
	if len(answers) == 0 {
		return reject(RejectNoLabel, st.Value.ID)
	}
	if tooLong(answers[0]) {
		return reject(RejectTooLongLabel, answers[0])
	}
	var before []string
	needs := []string{kb.FactID(c.n.ID, st)}
	for _, old := range base.Current(c.o, property) {
		names := base.ValueNames(old.Value)
		// Two answers may share a spelling without being one.
		if old.Value == st.Value || slices.ContainsFunc(names, func(n string) bool { return kb.SameAsAny(n, answers) }) {
			return reject(RejectAnswerUnchanged, answers[0])
		}
		before = append(before, names...)
	}
	if st.Value.ID == c.s.ID || st.Value.ID == c.o.ID {
		return reject(RejectAnswerInPrompt, answers[0])
	}
	np, ok := g.pickTemplate(catalogue.Unreserved(c.rel.NP), string(c.ID), property, "np")
	t, found := g.pickTemplate(catalogue.Unreserved(follower.Question), string(c.ID), property, "follower")
	if !ok || !found {
		return false // Validate has refused such a catalogue
	}
	phrase, inner, _ := render(np, "{s}", c.Subject, false)
	text, at, _ := render(t, "{s}", phrase, true)
	start := at + inner
	switch {
	case kb.MentionsAny(text, answers) || kb.MentionsAny(text, before):
		return reject(RejectAnswerInPrompt, text)
	case kb.MentionsAny(text, c.n.Names()) || kb.MentionsAny(text, c.o.Names()):
		return reject(RejectTargetInPrompt, text)
	case kb.Leaks(answers[0], slices.Concat(c.s.Names(), c.n.Names())):
		return reject(RejectSubstringLeak, answers[0]+" | "+c.s.Label+" | "+c.n.Label)
	}
	p := dataset.Probe{Axis: dataset.AxisOneHop, Variant: property, Prompt: text, Format: dataset.Question, AnswerMode: dataset.Single,
		Answers: answers, AnswersBefore: before, SubjectText: c.Subject, SubjectStart: int32(start), SubjectEnd: int32(start + len(c.Subject)),
		Hops: []dataset.Hop{g.editedHop(c), g.hop(c.n, st, false)}, NeedsFacts: needs,
		TemplateIDs: []string{templateID(c.rel.ID, np), templateID(property, t)}}
	if len(before) > 0 {
		p.Contrast = before[0]
	}
	g.emit(c, p)
	return true
}
