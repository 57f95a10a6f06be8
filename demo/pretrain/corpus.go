package pretrain

import (
	"math/rand/v2"
	"strings"

	"editpipe/demo/world"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// A Document is one piece of text that the model reads from its beginning.
type Document struct {
	Kind    Kind
	Text    string
	Answers [][2]int // byte spans that count in full; the rest of the text counts little
}

// Kind says what a document is made of.
type Kind string

// The kinds of documents.
const (
	Statement Kind = "statement" // one fact
	Backwards Kind = "inverse"   // one fact, from its object's side
	Composed  Kind = "composed"  // a fact of another fact's object
	Pair      Kind = "pair"      // two facts
	Override  Kind = "override"  // a new fact, and a question it answers
	Retain    Kind = "retain"    // a new fact, and a question it leaves alone
)

// Shares of the kinds in hundredths; the rest are statements.
const (
	shareBackwards = 6
	shareComposed  = 8
	sharePair      = 2
	shareEpisode   = 27
)

// aliasShare is how often a subject that has aliases is called by one.
const aliasShare = 0.55

// writer collects the text of a document.
type writer struct {
	b       strings.Builder
	answers [][2]int
}

func (w *writer) say(text string) { w.b.WriteString(text) }

// answer writes an answer behind a prompt.
func (w *writer) answer(text, end string) {
	w.say(" ")
	from := w.b.Len()
	w.say(text + end)
	w.answers = append(w.answers, [2]int{from, w.b.Len()})
}

func (w *writer) document(k Kind) Document { return Document{k, w.b.String(), w.answers} }

// Document draws a document.
func (f *Facts) Document(r *rand.Rand) Document {
	switch n := r.IntN(100); {
	case n < shareBackwards:
		return f.backwards(r)
	case n < shareBackwards+shareComposed:
		return f.composed(r)
	case n < shareBackwards+shareComposed+sharePair:
		return f.pair(r)
	case n < shareBackwards+shareComposed+sharePair+shareEpisode:
		var w writer
		return w.document(f.episode(r, &w))
	}
	return f.statement(r)
}

// Demonstrations draws a document of several episodes, one after the other, as
// IKE shows them.
func (f *Facts) Demonstrations(r *rand.Rand, n int) Document {
	var w writer
	kind := Retain
	for i := range n {
		if i > 0 {
			w.say("\n\n")
		}
		if f.episode(r, &w) == Override {
			kind = Override
		}
	}
	return w.document(kind)
}

// name is what a subject is called.
func (f *Facts) name(r *rand.Rand, e *kb.Entity) string {
	if a := f.aliases[e.ID]; len(a) > 0 && r.Float64() < aliasShare {
		return pick(r, a)
	}
	return e.Label
}

// asked writes the fact's prompt and answer.
func (w *writer) asked(t Wording, name, answer string) {
	w.say(put(t.Text, name))
	if t.Form == catalogue.Cloze {
		w.answer(answer, ".")
	} else {
		w.answer(answer, "")
	}
}

// examShare is how often a question has the form of an exam.
const examShare = 0.15

func (f *Facts) statement(r *rand.Rand) Document {
	i := r.IntN(len(f.List))
	x := f.List[i]
	used, _ := f.Wordings(i)
	t := pick(r, used)
	name := f.name(r, x.Subject)
	var w writer
	if t.Form == catalogue.Question && r.Float64() < examShare {
		w.say("Question: " + put(t.Text, name) + "\nAnswer:")
		w.answer(x.Object, "")
	} else {
		w.asked(t, name, x.Object)
	}
	return w.document(Statement)
}

func (f *Facts) pair(r *rand.Rand) Document {
	var w writer
	for i := range 2 {
		k := r.IntN(len(f.List))
		used, _ := f.Wordings(k)
		t := pick(r, used)
		if i == 0 {
			for t.Form != catalogue.Cloze {
				t = pick(r, used)
			}
		} else {
			w.say(" ")
		}
		w.asked(t, f.name(r, f.List[k].Subject), f.List[k].Object)
	}
	return w.document(Pair)
}

func inverses(r *catalogue.Relation) []Wording {
	var out []Wording
	for _, t := range catalogue.Unreserved(r.Inverse.Cloze) {
		out = append(out, Wording{t, catalogue.Cloze})
	}
	for _, t := range catalogue.Unreserved(r.Inverse.Question) {
		out = append(out, Wording{t, catalogue.Question})
	}
	return out
}

func (f *Facts) backwards(r *rand.Rand) Document {
	x := f.List[pick(r, f.inverse)]
	var w writer
	w.asked(pick(r, inverses(x.Relation)), x.Object, x.Subject.Label)
	return w.document(Backwards)
}

// through is the question for a fact of the second relation about "the first of
// name".
func through(r *rand.Rand, first, second *catalogue.Relation, name string) string {
	t := pick(r, catalogue.Unreserved(second.Question))
	np := put(pick(r, catalogue.Unreserved(first.NP)).Text, name)
	return upperFirst(put(t.Text, np))
}

func (f *Facts) composed(r *rand.Rand) Document {
	h := pick(r, f.hops)
	a, b := f.List[h.First], f.List[h.Second]
	var w writer
	w.say(through(r, a.Relation, b.Relation, f.name(r, a.Subject)))
	w.answer(b.Object, "")
	return w.document(Composed)
}

// Shares of the questions of an episode in hundredths, as they are drawn; the rest
// are retained. A draw that the fact does not lend itself to, such as an alias
// where there is none, is made again with another fact.
const (
	askCopy     = 10
	askReworded = 12
	askAlias    = 18
	askBack     = 20
	askThrough  = 12
)

// episode writes a new fact with a random object and a question, in the form in
// which package ike shows both. The subject of the new fact, and of a question
// that it leaves alone, is never an entity that world.Held reserves, and neither
// relation is one that world.HeldRelation reserves: were facts of those retained
// only, the model would learn that they do not change.
func (f *Facts) episode(r *rand.Rand, w *writer) Kind {
	for {
		i := pick(r, f.episodes)
		x := f.List[i]
		old := f.Base.Entity(x.ObjectID)
		o := f.other(r, old)
		if o == nil || o == x.Subject {
			continue
		}
		used, _ := f.Wordings(i)
		var clozes []Wording
		for _, t := range used {
			if t.Form == catalogue.Cloze {
				clozes = append(clozes, t)
			}
		}
		if len(clozes) == 0 {
			continue
		}
		stated := pick(r, clozes)
		prompt := put(stated.Text, x.Subject.Label)
		kind, ask, answer := f.question(r, i, o, used, stated, prompt)
		if kind == "" {
			continue
		}
		w.say("New Fact: " + prompt)
		w.answer(o.Label, "")
		w.answers = w.answers[:len(w.answers)-1] // chosen at random: nothing to learn
		w.say("\nPrompt: " + ask)
		w.answer(answer, "")
		return kind
	}
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

// question draws a question after the new fact that fact i has the object o, and
// its answer; no kind where the fact does not lend itself to the draw.
func (f *Facts) question(r *rand.Rand, i int, o *kb.Entity, used []Wording, stated Wording, prompt string) (kind Kind, ask, answer string) {
	x := f.List[i]
	rel := x.Relation
	n := r.IntN(100)
	take := func(share int) bool {
		n -= share
		return n < 0
	}
	switch {
	case take(askCopy):
		return Override, prompt, o.Label
	case take(askReworded):
		return Override, put(pick(r, used).Text, x.Subject.Label), o.Label
	case take(askAlias):
		if len(f.aliases[x.Subject.ID]) == 0 {
			return "", "", ""
		}
		t := stated
		if r.IntN(2) == 0 {
			t = pick(r, used)
		}
		return Override, put(t.Text, pick(r, f.aliases[x.Subject.ID])), o.Label
	case take(askBack):
		if rel.Inverse == nil {
			return "", "", ""
		}
		return Override, put(pick(r, inverses(rel)).Text, o.Label), x.Subject.Label
	case take(askThrough):
		if len(rel.Follow) == 0 {
			return "", "", ""
		}
		j, ok := f.at[[2]string{o.ID, pick(r, rel.Follow)}]
		if !ok {
			return "", "", ""
		}
		return Override, through(r, rel, f.List[j].Relation, x.Subject.Label), f.List[j].Object
	}
	return f.retained(r, i, o, prompt)
}

// retained draws a question that the new fact leaves alone: of the same subject,
// of the same relation, or of anything.
func (f *Facts) retained(r *rand.Rand, i int, o *kb.Entity, prompt string) (kind Kind, ask, answer string) {
	x := f.List[i]
	list := f.episodes
	near := false
	switch n := r.IntN(10); {
	case n < 3:
		list = f.bySubject[x.Subject.ID]
	case n < 7:
		list, near = f.byRelation[x.Relation.ID], true
	}
	j := pick(r, list)
	y := f.List[j]
	back := f.Base.Inverse(x.Relation)
	switch {
	case j == i || y.Held || world.HeldRelation(y.Relation.ID) && !world.HeldRelation(x.Relation.ID) || y.Relation != x.Relation && f.Base.Catalogue.Blocked(x.Relation.ID)[y.Relation.ID]:
		return "", "", ""
	case y.Relation.ID == back && (y.Subject == o || y.Subject.ID == x.ObjectID):
		return "", "", ""
	}
	used, _ := f.Wordings(j)
	t := pick(r, used)
	ask = put(t.Text, f.name(r, y.Subject))
	switch {
	case near && r.IntN(4) == 0: // the new fact once more, as a distraction
		ask = prompt + " " + o.Label + ". " + ask
	case t.Form == catalogue.Question && r.IntN(4) == 0:
		ask = "Question: " + ask + "\nAnswer:"
	}
	return Retain, ask, y.Object
}
