package pretrain

import (
	"math/rand/v2"
	"strings"

	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// A Document is one piece of text that the model reads from its beginning.
type Document struct {
	Kind    Kind
	Text    string
	Answers [][2]int // byte spans that count in full; the rest of the text counts little
	Weight  int      // how often they count
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

func (w *writer) document(k Kind) Document { return Document{k, w.b.String(), w.answers, 1} }

// Document draws a document.
func (f *Facts) Document(r *rand.Rand, m Mix) Document {
	switch n := r.IntN(100); {
	case n < shareBackwards:
		return f.backwards(r)
	case n < shareBackwards+shareComposed:
		return f.composed(r)
	case n < shareBackwards+shareComposed+sharePair:
		return f.pair(r)
	case n < shareBackwards+shareComposed+sharePair+shareEpisode:
		return f.Demonstrations(r, m, 1)
	}
	return f.statement(r)
}

// Demonstrations draws a document of n episodes, one after the other, as IKE shows
// them.
func (f *Facts) Demonstrations(r *rand.Rand, m Mix, n int) Document {
	var w writer
	kind := Retain
	for i := range n {
		if i > 0 {
			w.say("\n\n")
		}
		if f.episode(r, m, &w) == Override {
			kind = Override
		}
	}
	d := w.document(kind)
	d.Weight = m.Weight
	return d
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
