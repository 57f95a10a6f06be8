package generator

import (
	"slices"

	"editpipe/dataset"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// followUps adds to an edit, when all are chosen, those that come on top of it: one that
// gives the fact a third object (conflict), then one that gives it the true
// object back (round_edit). They make sense behind the edit only, so they share
// its conflict group and are asked about where it was made before.
func (g *generation) followUps(c *change) {
	last := c
	if slices.Contains(g.o.Sets, dataset.AxisConflict) {
		// The object in force is now the first edit's; the true one is excluded as stated.
		on := &change{rel: c.rel, s: c.s, o: c.n, inverse: c.inverse}
		third, reason, detail := g.counterfactual(on, c.Prompt)
		if reason != "" {
			on.shares = true // it is taken back or superseded, so another edit's object will do
			third, reason, detail = g.counterfactual(on, c.Prompt)
		}
		if reason != "" {
			g.reject(string(c.ID), string(dataset.AxisConflict), reason, detail)
		} else {
			last = g.onTop(c, last, third, dataset.AxisConflict, dataset.Counterfactual)
		}
	}
	if slices.Contains(g.o.Sets, dataset.AxisRoundEdit) {
		g.onTop(c, last, c.o, dataset.AxisRoundEdit, dataset.Restore)
	}
}

// onTop adds to the edit c one that replaces the object of last, which is c or
// its latest follow-up.
func (g *generation) onTop(c, last *change, object *kb.Entity, axis dataset.Axis, mode dataset.Mode) *change {
	f := &change{Edit: c.Edit, rel: c.rel, s: c.s, o: last.n, n: object, template: c.template, inverse: c.inverse, follows: axis}
	f.ID = editID(g.o.SetName, string(axis), string(last.ID), object.ID)
	f.ObjectTrueID, f.GroundTruth, f.ObjectTrueAliases = last.n.ID, last.n.Label, last.n.Aliases
	f.ObjectNewID, f.Target, f.ObjectNewAliases = object.ID, object.Label, object.Aliases
	f.Mode, f.FactTrueID = mode, ""
	f.clash = firstWord(f.GroundTruth) == firstWord(f.Target)
	for _, sl := range g.slotsOf(f) {
		g.onTopOf[sl] = true
	}
	c.followed = append(c.followed, f)
	return f
}

// followUp asks the edit prompt and a question about an edit that comes on top
// of another.
func (g *part) followUp(c *change) {
	t, ok := g.pickTemplate(catalogue.Unreserved(c.rel.Question), string(c.ID), string(c.follows))
	if !ok {
		return
	}
	question, start, end := render(t, "{s}", c.Subject, false)
	for _, p := range []dataset.Probe{
		{Variant: "statement", Prompt: c.Prompt, Format: dataset.Cloze, SubjectStart: c.SubjectStart, SubjectEnd: c.SubjectEnd, TemplateIDs: []string{c.TemplateID}},
		{Variant: "question", Prompt: question, Format: dataset.Question, SubjectStart: int32(start), SubjectEnd: int32(end), TemplateIDs: []string{templateID(c.rel.ID, t)}},
	} {
		p.Axis, p.SubjectText = c.follows, c.Subject
		g.towardsNew(c, &p)
		if kb.MentionsAny(p.Prompt, slices.Concat(p.Answers, p.AnswersBefore)) {
			g.reject(string(c.ID), string(p.Axis), RejectTargetInPrompt, p.Prompt)
			continue
		}
		g.emit(c, p)
	}
}
