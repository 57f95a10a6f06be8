package generator

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"editpipe/dataset"
)

// choose picks the edits: relations in turn, subjects of a relation in hashed
// order. A subject is edited once; only where that gives too few edits are
// subjects edited again, in another relation.
func (g *generation) choose(ctx context.Context) []*change {
	relations := g.kb.Catalogue.Editable()
	queues := make([][]string, len(relations))
	for i, r := range relations {
		for _, id := range g.kb.having[r.ID] {
			if g.kb.isA(g.kb.entities[id], r.Domain) {
				queues[i] = append(queues[i], id)
			}
		}
		queues[i] = g.shuffled(queues[i], "subject|"+r.ID)
	}
	var out []*change
	repeated := make([][]string, len(relations))
	for round := range 2 {
		if round == 1 {
			queues = repeated
		}
		for left := true; left && len(out) < g.o.N; {
			left = false
			for i, r := range relations {
				if len(out) == g.o.N || ctx.Err() != nil || g.err != nil {
					return out
				}
				// One edit per relation and turn; rejected subjects cost no turn.
				for made := false; !made && len(queues[i]) > 0; {
					id := queues[i][0]
					queues[i] = queues[i][1:]
					if round == 0 && len(g.edited[id]) > 0 {
						repeated[i] = append(repeated[i], id)
						continue
					}
					c := g.edit(r, g.kb.entities[id])
					if made = c != nil; made {
						out = append(out, c)
					}
				}
				left = left || len(queues[i]) > 0
			}
		}
	}
	return out
}

// edit makes the edit of one subject and relation, or rejects it.
func (g *generation) edit(r *Relation, s *Entity) *change {
	kb := g.kb
	candidate := s.ID + "|" + r.ID
	fail := func(reason, detail string) *change {
		g.reject(candidate, AxisEdit, reason, detail)
		return nil
	}
	st, reason := kb.single(s, r.ID, kb.AsOf)
	if reason != "" {
		return fail(reason, r.Label)
	}
	o := kb.entities[st.Value.ID]
	switch {
	case s.Label == "":
		return fail(RejectNoLabel, s.ID)
	case o == nil || o.Label == "":
		return fail(RejectNoLabel, st.Value.ID)
	case !kb.isA(o, r.Range):
		return fail(RejectClassMismatch, o.Label+" is outside the range of "+r.Label)
	case tooLong(s.Label) || tooLong(o.Label):
		return fail(RejectTooLongLabel, s.Label+" | "+o.Label)
	}
	template, _ := g.pickTemplate(open(r.Cloze), s.ID, r.ID, "cloze")
	prompt, start, end := render(template, "{s}", s.Label, false)
	if mentionsAny(prompt, kb.namesOf(o)) {
		return fail(RejectAnswerInPrompt, prompt+" | "+o.Label)
	}
	if leaks(o.Label, kb.namesOf(s)) {
		return fail(RejectSubstringLeak, s.Label+" | "+o.Label)
	}
	c := &change{rel: r, s: s, o: o, fact: st, template: template, inverse: kb.inverse(r)}
	var detail string
	if g.o.Mode == dataset.Update {
		c.n, reason, detail = g.later(c)
	} else {
		c.n, reason, detail = g.counterfactual(c, prompt)
	}
	if reason != "" {
		return fail(reason, detail)
	}
	c.slots = g.slotsOf(c)
	for _, sl := range c.slots {
		if by := g.changed[sl]; by != "" {
			return fail(RejectConflict, by)
		}
	}
	c.free = len(g.partners(c)) == 0
	c.clash = firstWord(o.Label) == firstWord(c.n.Label)
	question, _ := g.pickTemplate(open(r.Question), s.ID, r.ID, "question")
	asked, _, _ := render(question, "{s}", s.Label, false)
	c.Edit = dataset.Edit{
		ID: editID(g.o.SetName, string(g.o.Mode), s.ID, r.ID, o.ID, c.n.ID), Set: g.o.SetName, Source: "wikidata", SourceCase: candidate,
		RelationID: r.ID, RelationLabel: r.Label,
		SubjectID: s.ID, Subject: s.Label, SubjectAliases: s.Aliases,
		ObjectTrueID: o.ID, GroundTruth: o.Label, ObjectTrueAliases: o.Aliases,
		ObjectNewID: c.n.ID, Target: c.n.Label, ObjectNewAliases: c.n.Aliases,
		Mode: g.o.Mode, Prompt: prompt, PromptCloze: prompt, PromptQuestion: asked, PromptTemplate: template.Text,
		SubjectStart: int32(start), SubjectEnd: int32(end), TemplateID: templateID(r.ID, template),
		Popularity: int32(s.Sitelinks), Temporal: r.Temporal, AsOf: kb.AsOf.String(),
		FactTrueID: factID(s.ID, st), Seed: g.o.Seed, DumpID: kb.DumpID, Licence: g.o.Licence,
	}
	for _, sl := range c.slots {
		g.changed[sl] = string(c.ID)
	}
	g.edited[s.ID] = append(g.edited[s.ID], c)
	return c
}

// slotsOf lists the facts that the edit changes: its own, and both objects' in
// the opposite direction. Two edits must not give one object to two subjects
// where the reverse question has one answer.
func (g *generation) slotsOf(c *change) []slot {
	out := []slot{{c.s.ID, c.rel.ID}}
	if c.inverse != "" {
		out = append(out, slot{c.o.ID, c.inverse}, slot{c.n.ID, c.inverse})
	}
	if c.rel.Reverse == ReverseAsk {
		out = append(out, slot{c.n.ID, "new object of " + c.rel.ID})
	}
	return out
}

// partners are the subjects, other than the edit's, that have the new object
// now, in either direction.
func (g *generation) partners(c *change) []string {
	out := slices.Clone(g.kb.subjects[slot{c.n.ID, c.rel.ID}])
	if c.inverse != "" {
		for _, st := range g.kb.Current(c.n, c.inverse) {
			out = append(out, st.Value.ID)
		}
	}
	return slices.DeleteFunc(out, func(id string) bool { return id == c.s.ID })
}

// later finds the object of the edit at the later day.
func (g *generation) later(c *change) (*Entity, string, string) {
	st, reason := g.kb.single(c.s, c.rel.ID, g.o.Later)
	if reason != "" {
		return nil, reason, "at " + g.o.Later.String()
	}
	n := g.kb.entities[st.Value.ID]
	switch {
	case n == nil || n.Label == "":
		return nil, RejectNoLabel, st.Value.ID
	case n.ID == c.o.ID:
		return nil, RejectObjectAlreadyTrue, "unchanged at " + g.o.Later.String()
	case !g.kb.isA(n, c.rel.Range):
		return nil, RejectClassMismatch, n.Label
	}
	return n, "", ""
}

// counterfactual draws the new object: same class, never stated for the subject
// at any rank or date, not part of the true object nor containing it, close in
// popularity, and without a partner where the reverse question is asked. Where
// none qualifies, the reason most candidates failed for is returned.
func (g *generation) counterfactual(c *change, prompt string) (*Entity, string, string) {
	kb := g.kb
	stated := map[string]bool{c.s.ID: true}
	for _, st := range c.s.Claims[c.rel.ID] {
		if st.HasValue {
			stated[st.Value.ID] = true
		}
	}
	taken := map[string]bool{}
	for id := range stated {
		for _, n := range kb.spelled[id] {
			taken[n] = true
		}
	}
	classes := kb.classes(c.o)
	padded := " " + normalise(prompt) + " "
	var pool []string
	if c.rel.Pool == SiblingValue {
		pool = kb.values[c.rel.ID]
	} else {
		for _, class := range classes {
			pool = append(pool, kb.members[class]...)
		}
	}
	key := "object|" + c.s.ID + "|" + c.rel.ID
	failed := map[string]int{}
	var fit []*Entity
	for _, id := range g.sample(pool, key) {
		n := kb.entities[id]
		if reason := g.unfit(c, n, padded, classes, stated, taken); reason != "" {
			failed[reason]++
			continue
		}
		fit = append(fit, n)
	}
	if len(fit) == 0 {
		reason := RejectClassMismatch
		for _, r := range sortedKeys(failed) {
			if failed[r] > failed[reason] {
				reason = r
			}
		}
		return nil, reason, fmt.Sprintf("none of %d candidates", len(pool))
	}
	if c.rel.Reverse == ReverseAsk {
		// Prefer candidates without a partner; a conflict is flagged, not hidden.
		if single := slices.DeleteFunc(slices.Clone(fit), func(n *Entity) bool {
			return len(g.partners(&change{rel: c.rel, s: c.s, n: n, inverse: c.inverse})) > 0
		}); len(single) > 0 {
			fit = single
		}
	}
	for match := c.rel.Match; len(match) > 0; match = match[:len(match)-1] {
		if alike := slices.DeleteFunc(slices.Clone(fit), func(n *Entity) bool { return !g.alike(c.o, n, match) }); len(alike) > 0 {
			fit = alike
			break
		}
	}
	return slices.MinFunc(fit, func(a, b *Entity) int {
		return cmp.Or(cmp.Compare(g.distance(a, c.o), g.distance(b, c.o)), cmp.Compare(g.hash(key, a.ID), g.hash(key, b.ID)), cmp.Compare(a.ID, b.ID))
	}), "", ""
}

// unfit says why an entity cannot be the new object, or "". The prompt is
// normalised, with a space at either end.
func (g *generation) unfit(c *change, n *Entity, prompt string, classes []string, stated, taken map[string]bool) string {
	kb := g.kb
	switch {
	case n == nil || n.Label == "":
		return RejectNoLabel
	case stated[n.ID]:
		return RejectObjectAlreadyTrue
	case !kb.isA(n, c.rel.Range) || !slices.ContainsFunc(kb.classes(n), func(id string) bool { return slices.Contains(classes, id) }):
		return RejectClassMismatch
	case tooLong(n.Label):
		return RejectTooLongLabel
	case g.changed[slot{n.ID, "new object of " + c.rel.ID}] != "" || (c.inverse != "" && g.changed[slot{n.ID, c.inverse}] != ""):
		return RejectConflict
	case kb.contains(c.o, n):
		return RejectObjectRelated
	}
	for _, name := range kb.spelled[n.ID] {
		switch {
		case taken[name]:
			return RejectObjectAlreadyTrue
		case name != "" && strings.Contains(prompt, " "+name+" "):
			return RejectTargetInPrompt
		}
	}
	if leaks(n.Label, kb.namesOf(c.s)) {
		return RejectSubstringLeak
	}
	return ""
}

// alike tells whether two entities share a current object of every property, or
// both lack it.
func (g *generation) alike(a, b *Entity, properties []string) bool {
	for _, p := range properties {
		x, y := g.kb.Current(a, p), g.kb.Current(b, p)
		if (len(x) == 0) != (len(y) == 0) {
			return false
		}
		if len(x) > 0 && x[0].Value.Kind == Item && !slices.ContainsFunc(x, func(s Statement) bool {
			return slices.ContainsFunc(y, func(t Statement) bool { return s.Value == t.Value })
		}) {
			return false
		}
	}
	return true
}

// distance compares popularity in powers of two of sitelinks.
func (g *generation) distance(a, b *Entity) int {
	d := bits.Len(uint(a.Sitelinks)) - bits.Len(uint(b.Sitelinks))
	if d < 0 {
		return -d
	}
	return d
}

func firstWord(label string) string {
	w, _, _ := strings.Cut(normalise(label), " ")
	return w
}

// group puts edits of one subject into a conflict group where one of them
// changes what the other states: they contradict each other when made together.
func (g *generation) group(changes []*change) {
	for _, c := range changes {
		for _, other := range g.edited[c.s.ID] {
			if other == c {
				continue
			}
			if g.kb.Catalogue.Blocked(c.rel.ID)[other.rel.ID] || g.kb.Catalogue.Blocked(other.rel.ID)[c.rel.ID] {
				c.ConflictGroup = c.s.ID
			}
		}
	}
}
