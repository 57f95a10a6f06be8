package generator

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"editpipe/dataset"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// choose picks the edits: relations in turn, subjects of a relation in hashed
// order. A subject is edited once; only where that gives too few edits are
// subjects edited again, in another relation.
func (g *generation) choose(ctx context.Context) []*change {
	relations := g.base.Catalogue.Editable()
	var out []*change
	repeated := make([][]string, len(relations))
	for round := range 2 {
		queues := make([]func() (string, bool), len(relations))
		for i, r := range relations {
			subjects := slices.Values(repeated[i])
			if round == 0 {
				subjects = g.drawn(g.base.Having(r.ID), "subject|"+r.ID)
			}
			next, stop := iter.Pull(subjects)
			defer stop()
			queues[i] = next
		}
		for made := true; made && len(out) < g.o.N; {
			made = false
			for i, r := range relations {
				if len(out) == g.o.N || ctx.Err() != nil || g.err != nil {
					return out
				}
				// One edit per relation and turn; rejected subjects cost no turn.
				for id, more := queues[i](); more; id, more = queues[i]() {
					s := g.base.Entity(id)
					if !g.base.IsA(s, r.Domain) {
						continue
					}
					if round == 0 && len(g.edited[id]) > 0 {
						repeated[i] = append(repeated[i], id)
						continue
					}
					if c := g.edit(r, s); c != nil {
						out, made = append(out, c), true
						break
					}
				}
			}
		}
	}
	return out
}

// edit makes the edit of one subject and relation, or rejects it.
func (g *generation) edit(r *catalogue.Relation, s *kb.Entity) *change {
	base := g.base
	candidate := s.ID + "|" + r.ID
	fail := func(reason, detail string) *change {
		g.reject(candidate, AxisEdit, reason, detail)
		return nil
	}
	st, reason := single(s, r.ID, base.AsOf)
	if reason != "" {
		return fail(reason, r.Label)
	}
	o := base.Entity(st.Value.ID)
	switch {
	case s.Label == "":
		return fail(RejectNoLabel, s.ID)
	case o == nil || o.Label == "":
		return fail(RejectNoLabel, st.Value.ID)
	case !base.IsA(o, r.Range):
		return fail(RejectClassMismatch, o.Label+" is outside the range of "+r.Label)
	case tooLong(s.Label) || tooLong(o.Label):
		return fail(RejectTooLongLabel, s.Label+" | "+o.Label)
	}
	template, _ := g.pickTemplate(catalogue.Unreserved(r.Cloze), s.ID, r.ID, "cloze")
	prompt, start, end := render(template, "{s}", s.Label, false)
	if kb.MentionsAny(prompt, o.Names()) {
		return fail(RejectAnswerInPrompt, prompt+" | "+o.Label)
	}
	if kb.Leaks(o.Label, s.Names()) {
		return fail(RejectSubstringLeak, s.Label+" | "+o.Label)
	}
	c := &change{rel: r, s: s, o: o, fact: st, template: template, inverse: base.Inverse(r)}
	var detail string
	if g.o.Mode == dataset.Update {
		c.n, reason, detail = g.later(c, prompt)
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
	question, _ := g.pickTemplate(catalogue.Unreserved(r.Question), s.ID, r.ID, "question")
	asked, _, _ := render(question, "{s}", s.Label, false)
	c.Edit = dataset.Edit{
		ID: editID(g.o.SetName, string(g.o.Mode), s.ID, r.ID, o.ID, c.n.ID), Set: g.o.SetName, Source: "wikidata", SourceCase: candidate,
		RelationID: r.ID, RelationLabel: r.Label,
		SubjectID: s.ID, Subject: s.Label, SubjectAliases: s.Aliases,
		ObjectTrueID: o.ID, GroundTruth: o.Label, ObjectTrueAliases: o.Aliases,
		ObjectNewID: c.n.ID, Target: c.n.Label, ObjectNewAliases: c.n.Aliases,
		Mode: g.o.Mode, Prompt: prompt, PromptCloze: prompt, PromptQuestion: asked, PromptTemplate: template.Text,
		SubjectStart: int32(start), SubjectEnd: int32(end), TemplateID: templateID(r.ID, template),
		Popularity: int32(s.Sitelinks), Temporal: r.Temporal, AsOf: base.AsOf.String(),
		FactTrueID: kb.FactID(s.ID, st), Seed: g.o.Seed, DumpID: base.DumpID, Licence: g.o.Licence,
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
	if c.rel.Reverse == catalogue.ReverseAsk {
		out = append(out, slot{c.n.ID, "new object of " + c.rel.ID})
	}
	return out
}

// partners are the subjects, other than the edit's, that have the new object, in
// either direction: now or, of an update, at the later day.
func (g *generation) partners(c *change) []string {
	return append(g.base.Partners(c.n, c.rel.ID, c.inverse, c.s.ID), g.laterPartners(c, c.n)...)
}

// laterPartners are the subjects, other than the edit's, that have the object at
// the later day of an update.
func (g *generation) laterPartners(c *change, object *kb.Entity) []string {
	if g.o.Mode != dataset.Update {
		return nil
	}
	out := slices.Clone(g.laterSubjects[slot{object.ID, c.rel.ID}])
	if c.inverse != "" {
		for _, st := range object.Current(c.inverse, g.o.Later) {
			out = append(out, st.Value.ID)
		}
	}
	return slices.DeleteFunc(out, func(id string) bool { return id == c.s.ID })
}

// readLater indexes the subjects at the later day of the relations whose reverse
// question is asked.
func (g *generation) readLater() {
	g.laterSubjects = map[slot][]string{}
	for _, r := range g.base.Catalogue.Editable() {
		if r.Reverse == catalogue.ReverseNever {
			continue
		}
		for _, id := range g.base.Having(r.ID) {
			for _, st := range g.base.Entity(id).Current(r.ID, g.o.Later) {
				g.laterSubjects[slot{st.Value.ID, r.ID}] = append(g.laterSubjects[slot{st.Value.ID, r.ID}], id)
			}
		}
	}
}

// later finds the object of the edit at the later day.
func (g *generation) later(c *change, prompt string) (*kb.Entity, string, string) {
	st, reason := single(c.s, c.rel.ID, g.o.Later)
	if reason != "" {
		return nil, reason, "at " + g.o.Later.String()
	}
	n := g.base.Entity(st.Value.ID)
	switch {
	case n == nil || n.Label == "":
		return nil, RejectNoLabel, st.Value.ID
	case n.ID == c.o.ID:
		return nil, RejectObjectAlreadyTrue, "unchanged at " + g.o.Later.String()
	case kb.SameAsAny(n.Label, c.o.Names()):
		return nil, RejectObjectAlreadyTrue, "both are called " + n.Label
	case !g.base.IsA(n, c.rel.Range):
		return nil, RejectClassMismatch, n.Label
	case tooLong(n.Label):
		return nil, RejectTooLongLabel, n.Label
	case kb.MentionsAny(prompt, n.Names()):
		return nil, RejectTargetInPrompt, prompt + " | " + n.Label
	case kb.Leaks(n.Label, c.s.Names()):
		return nil, RejectSubstringLeak, c.s.Label + " | " + n.Label
	}
	return n, "", ""
}

// counterfactual draws the new object: same class, never stated for the subject
// at any rank or date, not part of the true object nor containing it, close in
// popularity, and without a partner where the reverse question is asked. Where
// none qualifies, the reason most candidates failed for is returned.
func (g *generation) counterfactual(c *change, prompt string) (*kb.Entity, string, string) {
	base := g.base
	stated := map[string]bool{c.s.ID: true, c.o.ID: true}
	for _, st := range c.s.Claims.Of(c.rel.ID) {
		if st.HasValue {
			stated[st.Value.ID] = true
		}
	}
	taken := map[string]bool{}
	for id := range stated {
		for _, n := range base.Spellings(id) {
			taken[n] = true
		}
	}
	classes := base.Classes(c.o)
	padded := " " + kb.Normalise(prompt) + " "
	var pool [][]string
	if c.rel.Pool == catalogue.SiblingValue {
		pool = append(pool, base.Objects(c.rel.ID))
	} else {
		for _, class := range classes {
			pool = append(pool, base.Members(class))
		}
	}
	key := "object|" + c.s.ID + "|" + c.rel.ID
	failed := map[string]int{}
	var best *kb.Entity
	// A candidate is worth more the more of the matched properties it shares with
	// the true object, and most if it is nobody's partner yet: a conflict of the
	// inverse is flagged, not hidden.
	most, highest := len(c.rel.Match)+1, 0
	for n := range g.nearest(g.sample(key, pool...), c.o, key) {
		worth := 0
		if n != nil {
			worth = 1 + g.matches(c, n)
			if c.rel.Reverse == catalogue.ReverseAsk && !g.base.HasPartner(n, c.rel.ID, c.inverse, c.s.ID) {
				worth += most
			}
		}
		if best != nil && worth <= highest {
			continue
		}
		if reason := g.unfit(c, n, padded, classes, stated, taken); reason != "" {
			failed[reason]++
			continue
		}
		best, highest = n, worth
		if worth == most && c.rel.Reverse != catalogue.ReverseAsk || worth == 2*most {
			break
		}
	}
	if best != nil {
		return best, "", ""
	}
	reason := RejectClassMismatch
	for _, r := range slices.Sorted(maps.Keys(failed)) {
		if failed[r] > failed[reason] {
			reason = r
		}
	}
	return nil, reason, fmt.Sprintf("none of %d candidates", total(pool))
}

// unfit says why an entity cannot be the new object, or "". The prompt is
// normalised, with a space at either end.
func (g *generation) unfit(c *change, n *kb.Entity, prompt string, classes []string, stated, taken map[string]bool) string {
	base := g.base
	switch {
	case n == nil || n.Label == "":
		return RejectNoLabel
	case stated[n.ID]:
		return RejectObjectAlreadyTrue
	case !base.IsA(n, c.rel.Range) || !slices.ContainsFunc(base.Classes(n), func(id string) bool { return slices.Contains(classes, id) }):
		return RejectClassMismatch
	case tooLong(n.Label):
		return RejectTooLongLabel
	case g.claimed(c, slot{n.ID, "new object of " + c.rel.ID}) || (c.inverse != "" && g.claimed(c, slot{n.ID, c.inverse})):
		return RejectConflict
	case base.Contains(c.o, n):
		return RejectObjectRelated
	}
	for _, name := range base.Spellings(n.ID) {
		switch {
		case taken[name]:
			return RejectObjectAlreadyTrue
		case name != "" && strings.Contains(prompt, " "+name+" "):
			return RejectTargetInPrompt
		}
	}
	if kb.Leaks(n.Label, c.s.Names()) {
		return RejectSubstringLeak
	}
	return ""
}

// matches counts the relation's matched properties, from the first on, of which
// the entity and the true object share a current object or which both lack.
func (g *generation) matches(c *change, n *kb.Entity) int {
	for i, p := range c.rel.Match {
		x, y := g.base.Current(c.o, p), g.base.Current(n, p)
		if (len(x) == 0) != (len(y) == 0) {
			return i
		}
		if len(x) > 0 && x[0].Value.Kind == catalogue.Item && !slices.ContainsFunc(x, func(s kb.Statement) bool {
			return slices.ContainsFunc(y, func(t kb.Statement) bool { return s.Value == t.Value })
		}) {
			return i
		}
	}
	return len(c.rel.Match)
}

func firstWord(label string) string {
	w, _, _ := strings.Cut(kb.Normalise(label), " ")
	return w
}

// group puts edits of one subject into a conflict group where one of them
// changes what the other states: they contradict each other when made together.
// It returns all edits, each with its follow-ups, which are of its group, behind
// it.
func (g *generation) group(changes []*change) []*change {
	var out []*change
	for _, c := range changes {
		for _, other := range g.edited[c.s.ID] {
			if other == c {
				continue
			}
			if g.base.Catalogue.Blocked(c.rel.ID)[other.rel.ID] || g.base.Catalogue.Blocked(other.rel.ID)[c.rel.ID] {
				c.ConflictGroup = c.s.ID
			}
		}
		if len(c.followed) > 0 {
			c.ConflictGroup = cmp.Or(c.ConflictGroup, string(c.ID))
		}
		out = append(out, c)
		for _, f := range c.followed {
			f.ConflictGroup = c.ConflictGroup
			out = append(out, f)
		}
	}
	return out
}
