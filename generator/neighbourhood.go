package generator

import (
	"slices"

	"editpipe/dataset"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// neighbour is another subject of the edit's relation.
type neighbour struct {
	entity *kb.Entity
	fact   kb.Statement
}

// neighbours fills in c.near (other subjects with the true object) and c.far
// (subjects with another object), closest in popularity first.
func (g *part) neighbours(c *change) {
	if c.found {
		return
	}
	c.found = true
	c.near = g.neighboursIn(c, g.base.Subjects(c.o.ID, c.rel.ID), "near", mostNear)
	c.far = g.neighboursIn(c, g.base.Having(c.rel.ID), "far", mostFar)
}

func (g *part) neighboursIn(c *change, ids []string, kind string, most int) []neighbour {
	key := kind + "|" + string(c.ID)
	var out []neighbour
	for e := range g.nearest(g.sample(key, ids), c.s, key) {
		if len(out) == most {
			break
		}
		if n, ok := g.neighbour(c, e, kind); ok && g.usable(c, n) {
			out = append(out, n)
		}
	}
	return out
}

// neighbour applies the filters that cost nothing and that most entities fail
// for reasons nobody wants listed: another class, no single value, the edit's
// own entities, a direct link to the subject.
func (g *generation) neighbour(c *change, e *kb.Entity, kind string) (neighbour, bool) {
	base := g.base
	if e.Label == "" || e.ID == c.s.ID || e.ID == c.o.ID || e.ID == c.n.ID || tooLong(e.Label) {
		return neighbour{}, false
	}
	if !slices.ContainsFunc(base.Classes(e), func(id string) bool { return slices.Contains(base.Classes(c.s), id) }) {
		return neighbour{}, false
	}
	st, reason := g.single(e, c.rel.ID)
	if reason != "" || (st.Value.ID == c.o.ID) != (kind == "near") || st.Value.ID == c.n.ID || st.Value.ID == c.s.ID {
		return neighbour{}, false
	}
	if len(base.ValueNames(st.Value)) == 0 || !base.IsA(base.Entity(st.Value.ID), c.rel.Range) {
		return neighbour{}, false
	}
	return neighbour{e, st}, true
}

// usable applies the filters whose rejects are worth reporting.
func (g *part) usable(c *change, n neighbour) bool {
	reject := func(reason, detail string) bool {
		g.reject(string(c.ID), string(dataset.AxisNeighbourhood), reason, detail)
		return false
	}
	if by := g.disturbed(c, n.entity.ID, c.rel.ID); by != "" {
		return reject(RejectConflict, by)
	}
	answers := g.base.ValueNames(n.fact.Value)
	text, _, _ := render(c.template, "{s}", n.entity.Label, false)
	switch {
	case kb.Linked(n.entity, c.s):
		return reject(RejectObjectRelated, n.entity.Label)
	case kb.MentionsAny(text, answers):
		return reject(RejectAnswerInPrompt, text)
	case kb.MentionsAny(text, c.n.Names()):
		return reject(RejectTargetInPrompt, text)
	case kb.Leaks(answers[0], n.entity.Names()):
		return reject(RejectSubstringLeak, text)
	}
	return true
}

// neighbourProbe asks the edit's template about the neighbour, with text in
// front of it where front is not empty.
func (g *generation) neighbourProbe(c *change, n neighbour, axis dataset.Axis, front string) dataset.Probe {
	text, start, end := render(c.template, "{s}", n.entity.Label, false)
	p := dataset.Probe{Axis: axis, Prompt: front + text, Format: dataset.Cloze, AnswerMode: dataset.Single,
		Answers: g.base.ValueNames(n.fact.Value), Contrast: c.n.Label, Distractor: front,
		SubjectText: n.entity.Label, SubjectStart: int32(len(front) + start), SubjectEnd: int32(len(front) + end),
		Hops: []dataset.Hop{g.hop(n.entity, n.fact, false)}, NeedsFacts: []string{kb.FactID(n.entity.ID, n.fact)},
		TemplateIDs: []string{c.TemplateID}}
	return p
}

// neighbourhood asks other subjects, whose objects must stay: near ones share
// the true object with the edit, far ones have another.
func (g *part) neighbourhood(c *change) {
	g.neighbours(c)
	for _, n := range c.near {
		p := g.neighbourProbe(c, n, dataset.AxisNeighbourhood, "")
		p.Variant = "near"
		g.emit(c, p)
	}
	for _, n := range c.far {
		p := g.neighbourProbe(c, n, dataset.AxisNeighbourhood, "")
		p.Variant = "far"
		g.emit(c, p)
	}
}

// distract asks the neighbours after a statement of the edit. Context alone
// moves a model's output, so two controls, kept apart, put another sentence in
// front: the true fact, and a fact that has nothing to do with the edit.
func (g *part) distract(c *change) {
	g.neighbours(c)
	list := slices.Concat(c.near, c.far)
	list = list[:min(mostDistracted, len(list))]
	for i, n := range list {
		edit := c.Prompt + " " + c.Target
		p := g.neighbourProbe(c, n, dataset.AxisDistractNeighbourhood, edit+g.o.Separator)
		p.Variant = "edit"
		g.emit(c, p)
		if i > 0 {
			continue
		}
		p = g.neighbourProbe(c, n, dataset.AxisDistractNeighbourhood, c.Prompt+" "+c.GroundTruth+g.o.Separator)
		p.Variant, p.Flags = "true_fact", []string{FlagControl, dataset.FlagApart}
		g.emit(c, p)
		if statement, ok := g.unrelated(c, n); ok {
			p = g.neighbourProbe(c, n, dataset.AxisDistractNeighbourhood, statement+g.o.Separator)
			p.Variant, p.Flags = "unrelated", []string{FlagControl, dataset.FlagApart}
			g.emit(c, p)
		}
	}
}

// unrelated states a true fact of another relation about none of the edit's
// entities nor the neighbour.
func (g *generation) unrelated(c *change, n neighbour) (string, bool) {
	answers := g.base.ValueNames(n.fact.Value)
	for f := range g.strangers(c, "unrelated") {
		object := g.base.ValueNames(f.fact.Value)[0]
		t, ok := g.pickTemplate(catalogue.Unreserved(f.rel.Cloze), string(c.ID), "unrelated")
		if !ok || f.entity == n.entity {
			continue
		}
		text, _, _ := render(t, "{s}", f.entity.Label, false)
		text += " " + object
		if !kb.MentionsAny(text, answers) && !kb.Mentions(text, n.entity.Label) && !kb.MentionsAny(text, c.n.Names()) {
			return text, true
		}
	}
	return "", false
}
