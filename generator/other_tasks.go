package generator

import (
	"fmt"
	"iter"
	"slices"
	"strconv"

	"editpipe/dataset"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// stranger is a fact that has nothing to do with an edit.
type stranger struct {
	rel    *catalogue.Relation
	entity *kb.Entity
	fact   kb.Statement
}

// tries bounds how many facts are looked at for one question or distractor.
const tries = 40

// strangers yields facts of other relations whose subject and object are
// neither the edit's entities nor linked to its subject, in an order that
// depends on the seed and the key.
func (g *generation) strangers(c *change, key string) iter.Seq[stranger] {
	return func(yield func(stranger) bool) {
		relations := g.base.Catalogue.Editable()
		blocked := g.base.Catalogue.Blocked(c.rel.ID)
		for i := range tries {
			k := []string{key, string(c.ID), strconv.Itoa(i)}
			r := relations[g.hash(append(k, "relation")...)%uint64(len(relations))]
			ids := g.base.Having(r.ID)
			if r == c.rel || blocked[r.ID] || r.ID == c.inverse || len(ids) == 0 {
				continue
			}
			e := g.base.Entity(ids[g.hash(append(k, "subject")...)%uint64(len(ids))])
			st, reason := g.single(e, r.ID)
			if reason != "" || e.Label == "" || tooLong(e.Label) || !g.base.IsA(e, r.Domain) || !g.stranger(c, e) {
				continue
			}
			o := g.base.Entity(st.Value.ID)
			if o == nil || o.Label == "" || tooLong(o.Label) || !g.base.IsA(o, r.Range) || !g.stranger(c, o) || g.disturbed(c, e.ID, r.ID) != "" {
				continue
			}
			if !yield(stranger{r, e, st}) {
				return
			}
		}
	}
}

func (g *generation) stranger(c *change, e *kb.Entity) bool {
	return e != c.s && e != c.o && e != c.n && !kb.Linked(e, c.s)
}

// otherTasks asks for a choice among two and among four, as a check that edits
// leave an unlike task alone. The questions come from facts unrelated to the
// edit; the prompt has the form used for two-choice tasks such as PIQA.
func (g *part) otherTasks(c *change) {
	for _, kind := range []struct {
		variant string
		options int
	}{{"two_choice", 2}, {"four_choice", 4}} {
		for f := range g.strangers(c, kind.variant) {
			if g.choice(c, f, kind.variant, kind.options) {
				break
			}
		}
	}
}

func (g *part) choice(c *change, f stranger, variant string, options int) bool {
	t, ok := g.pickTemplate(catalogue.Unreserved(f.rel.Question), string(c.ID), variant)
	if !ok {
		return false
	}
	question, start, end := render(t, "{s}", f.entity.Label, false)
	right := g.base.Entity(f.fact.Value.ID)
	if kb.MentionsAny(question, right.Names()) {
		g.reject(string(c.ID), string(dataset.AxisOtherTasks), RejectAnswerInPrompt, question)
		return false
	}
	if kb.MentionsAny(question, c.n.Names()) {
		g.reject(string(c.ID), string(dataset.AxisOtherTasks), RejectTargetInPrompt, question)
		return false
	}
	if kb.Leaks(right.Label, f.entity.Names()) {
		g.reject(string(c.ID), string(dataset.AxisOtherTasks), RejectSubstringLeak, question)
		return false
	}
	choices := append([]string{right.Label}, g.wrong(c, f, right, question, options-1)...)
	if len(choices) < options {
		g.reject(string(c.ID), string(dataset.AxisOtherTasks), RejectClassMismatch, fmt.Sprintf("%s: fewer than %d wrong answers", question, options-1))
		return false
	}
	choices = slices.Collect(g.shuffled(choices, "choices|"+string(c.ID)+variant))
	const before, after = "Question: ", "\nAnswer:"
	g.emit(c, dataset.Probe{Axis: dataset.AxisOtherTasks, Variant: variant, Prompt: before + question + after, Format: dataset.Choice,
		AnswerMode: dataset.OneChoice, Answers: []string{right.Label}, Choices: choices, ChoiceLabel: int32(slices.Index(choices, right.Label)),
		SubjectText: f.entity.Label, SubjectStart: int32(len(before) + start), SubjectEnd: int32(len(before) + end),
		Hops: []dataset.Hop{g.hop(f.entity, f.fact, false)}, NeedsFacts: []string{kb.FactID(f.entity.ID, f.fact)},
		TemplateIDs: []string{templateID(f.rel.ID, t)}})
	return true
}

// wrong picks objects of the same relation and class that were never stated for
// the subject.
func (g *generation) wrong(c *change, f stranger, right *kb.Entity, question string, n int) []string {
	stated := map[string]bool{}
	for _, st := range f.entity.Claims.Of(f.rel.ID) {
		stated[st.Value.ID] = true
	}
	key := "wrong|" + string(c.ID) + f.entity.ID
	var out []string
	for id := range g.shuffled(g.sample(key, g.base.Objects(f.rel.ID)), key) {
		e := g.base.Entity(id)
		if len(out) == n {
			break
		}
		if e == nil || e.Label == "" || stated[id] || tooLong(e.Label) || slices.Contains(out, e.Label) || kb.Mentions(question, e.Label) ||
			!slices.Equal(g.base.Classes(e), g.base.Classes(right)) || e == c.n || e == c.o || kb.Normalise(e.Label) == kb.Normalise(right.Label) {
			continue
		}
		out = append(out, e.Label)
	}
	return out
}
