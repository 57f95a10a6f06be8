package pretrain

import (
	"math/rand/v2"
	"slices"
	"strings"

	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// A Mix says what the episodes of a part of the training are like.
type Mix struct {
	// Shares of the questions in hundredths, as they are drawn; the rest are
	// retained. A draw that the fact does not lend itself to, such as an alias where
	// there is none, is made again with another fact.
	Copy, Reworded, Alias, Back, Through int
	// Shares of the retained questions in twentieths: of another subject and the
	// same relation, and of the same subject; the rest are of anything.
	Near, Same int
	// Several is the share of episodes with several new facts.
	Several float64
	// Weight is how often the answers count in the loss.
	Weight int
}

// First is the mix that training begins with.
func First() Mix {
	return Mix{Copy: 11, Reworded: 13, Alias: 14, Back: 14, Through: 10, Near: 11, Same: 5, Several: 0.35, Weight: 1}
}

// Second is the mix of the rest. It dwells on what is learned last, and only once
// most facts are known: that a new fact leaves other subjects alone.
func Second() Mix {
	return Mix{Copy: 10, Reworded: 11, Alias: 13, Back: 10, Through: 8, Near: 13, Same: 4, Several: 0.1, Weight: 3}
}

// strangerShare is how often the subject of a new fact is someone of whom no other
// text tells. Such an episode can be answered from its own text only: it teaches to
// compare names rather than to know which subjects have changing facts.
const strangerShare = 0.4

// An edited fact is the new fact of an episode.
type edited struct {
	Fact
	index    int      // in Facts.List; -1 for a stranger's
	aliases  []string // of the subject
	wordings []Wording
	stated   Wording
	object   *kb.Entity // the new one
}

// prompt is the new fact without its object.
func (e *edited) prompt() string { return put(e.stated.Text, e.Subject.Label) }

// Episodes with several new facts: the question is about one of them or none, and
// which it is can only be told by the subject, or only by the relation.
const (
	mostFacts    = 4
	sameRelation = 0.6 // of these; so often all are of one relation
	sameSubject  = 0.2
)

// episode writes new facts with random objects and a question, in the form in
// which package ike shows them. The subject of a new fact, and of a question
// that they leave alone, is never an entity that world.Held reserves: were facts of
// those retained only, the model would learn that they do not change.
func (f *Facts) episode(r *rand.Rand, m Mix, w *writer) Kind {
	for {
		all := f.edits(r, m)
		if all == nil {
			continue
		}
		kind, ask, answer := f.question(r, m, all)
		if kind == "" {
			continue
		}
		for _, e := range all {
			w.say("New Fact: " + e.prompt() + " " + e.object.Label + "\n") // chosen at random: nothing to learn
		}
		w.say("Prompt: " + ask)
		w.answer(answer, "")
		return kind
	}
}

// edits draws the new facts of an episode; nil where they do not go together.
func (f *Facts) edits(r *rand.Rand, m Mix) []*edited {
	e, ok := f.edit(r, f.episodes)
	if !ok {
		return nil
	}
	all := []*edited{e}
	if r.Float64() >= m.Several {
		return all
	}
	n := 2 + r.IntN(mostFacts-1)
	list := f.episodes
	switch x := r.Float64(); {
	case x < sameRelation:
		list = f.free[e.Relation.ID]
	case x < sameRelation+sameSubject && e.index >= 0:
		list = f.bySubject[e.Subject.ID]
	}
	for len(all) < n {
		other, ok := f.edit(r, list)
		if !ok {
			return nil
		}
		for _, e := range all {
			if e.Subject.Label == other.Subject.Label && e.Relation == other.Relation || e.object == other.object || e.object == other.Subject || e.Subject == other.object ||
				other.index >= 0 && f.touched(e, other.index) {
				return nil
			}
		}
		all = append(all, other)
	}
	return all
}

// edit draws the new fact of an episode, of one of the facts in a list.
func (f *Facts) edit(r *rand.Rand, list []int) (*edited, bool) {
	i := pick(r, list)
	x := f.List[i]
	e := &edited{Fact: x, index: i, aliases: f.aliases[x.Subject.ID], object: f.other(r, f.Base.Entity(x.ObjectID))}
	e.wordings, _ = f.Wordings(i)
	if r.Float64() < strangerShare {
		name := f.stranger(r, x.Relation)
		if name == "" {
			return nil, false
		}
		e.Subject, e.index, e.aliases = &kb.Entity{Label: name}, -1, nil
		e.wordings = wordings(x.Relation, false)
	}
	var clozes []Wording
	for _, t := range e.wordings {
		if t.Form == catalogue.Cloze {
			clozes = append(clozes, t)
		}
	}
	if e.object == nil || e.object == e.Subject || len(clozes) == 0 {
		return nil, false
	}
	e.stated = pick(r, clozes)
	return e, true
}

// stranger makes up a name for a subject of a relation from those of two subjects:
// "" where it is one that something bears.
func (f *Facts) stranger(r *rand.Rand, rel *catalogue.Relation) string {
	list := f.byRelation[rel.ID]
	a, b := f.List[pick(r, list)].Subject.Label, f.List[pick(r, list)].Subject.Label
	first, last := strings.Fields(a), strings.Fields(b)
	if len(first) == 1 || len(last) == 1 {
		x, y := []rune(a), []rune(b)
		a = string(x[:(len(x)+1)/2]) + string(y[len(y)/2:])
	} else {
		a = strings.Join(append(first[:len(first)/2], last[len(last)/2:]...), " ")
	}
	if len(f.Base.Bearers(kb.Normalise(a))) > 0 {
		return ""
	}
	return a
}

// other draws another entity of the same class.
func (f *Facts) other(r *rand.Rand, old *kb.Entity) *kb.Entity {
	if old == nil || len(f.Base.Classes(old)) == 0 {
		return nil
	}
	pool := f.pool[f.Base.Classes(old)[0]]
	if len(pool) < 2 {
		return nil
	}
	for {
		if o := pick(r, pool); o != old {
			return o
		}
	}
}

// question draws a question after new facts, and its answer; no kind where the
// facts do not lend themselves to the draw.
func (f *Facts) question(r *rand.Rand, m Mix, all []*edited) (kind Kind, ask, answer string) {
	e := pick(r, all)
	n := r.IntN(100)
	take := func(share int) bool {
		n -= share
		return n < 0
	}
	switch {
	case take(m.Copy):
		return Override, e.prompt(), e.object.Label
	case take(m.Reworded):
		return Override, put(pick(r, e.wordings).Text, e.Subject.Label), e.object.Label
	case take(m.Alias):
		if len(e.aliases) == 0 {
			return "", "", ""
		}
		t := e.stated
		if r.IntN(2) == 0 {
			t = pick(r, e.wordings)
		}
		return Override, put(t.Text, pick(r, e.aliases)), e.object.Label
	case take(m.Back):
		if e.Relation.Inverse == nil || len(all) > 1 {
			return "", "", ""
		}
		return Override, put(pick(r, inverses(e.Relation)).Text, e.object.Label), e.Subject.Label
	case take(m.Through):
		if len(e.Relation.Follow) == 0 || len(all) > 1 {
			return "", "", ""
		}
		j, ok := f.at[[2]string{e.object.ID, pick(r, e.Relation.Follow)}]
		if !ok {
			return "", "", ""
		}
		return Override, through(r, e.Relation, f.List[j].Relation, e.Subject.Label), f.List[j].Object
	}
	return f.retained(r, m, e, all)
}

// retained draws a question that all new facts leave alone: most often of another
// subject and the same relation as one of them, else of its subject, or of anything.
func (f *Facts) retained(r *rand.Rand, m Mix, e *edited, all []*edited) (kind Kind, ask, answer string) {
	list, near := f.episodes, false
	switch n := r.IntN(20); {
	case n < m.Same:
		list = f.bySubject[e.Subject.ID]
	case n < m.Same+m.Near:
		list, near = f.byRelation[e.Relation.ID], true
	}
	if len(list) == 0 {
		return "", "", ""
	}
	j := pick(r, list)
	y := f.List[j]
	if y.Held {
		return "", "", ""
	}
	for _, e := range all {
		if f.touched(e, j) {
			return "", "", ""
		}
	}
	used, _ := f.Wordings(j)
	t := pick(r, used)
	if near && r.IntN(2) == 0 && slices.Contains(used, e.stated) {
		t = e.stated
	}
	ask = put(t.Text, f.name(r, y.Subject))
	switch {
	case near && r.IntN(4) == 0: // the new fact once more, as a distraction
		ask = e.prompt() + " " + e.object.Label + ". " + ask
	case t.Form == catalogue.Question && r.IntN(4) == 0:
		ask = "Question: " + ask + "\nAnswer:"
	}
	return Retain, ask, y.Object
}

// touched tells whether a new fact may change fact j.
func (f *Facts) touched(e *edited, j int) bool {
	y := f.List[j]
	return j == e.index || y.Relation != e.Relation && f.Base.Catalogue.Blocked(e.Relation.ID)[y.Relation.ID] ||
		y.Relation.ID == f.Base.Inverse(e.Relation) && (y.Subject == e.object || e.index >= 0 && y.Subject.ID == e.ObjectID)
}
