// Package pretrain makes the embedded language model: it writes text about the
// invented world (package world), learns a vocabulary from it, trains a small
// GPT-2 on it with the project's own engine, measures what the model knows, and
// exports it.
//
// The seed decides everything: the text of a step depends only on the seed and
// the number of the step, so a training run that was killed resumes from its
// last checkpoint with the same result.
package pretrain

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"editpipe/demo/world"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// A Fact is a statement of the world that has one current object.
type Fact struct {
	Relation *catalogue.Relation
	Subject  *kb.Entity
	ObjectID string // "" for a year
	Object   string
	Held     bool // the subject is reserved, see world.Held
}

// Facts is what the model is to know.
type Facts struct {
	Base *kb.Base
	List []Fact

	bySubject  map[string][]int        // subject id -> facts
	byRelation map[string][]int        // property -> facts
	at         map[[2]string]int       // subject id, property -> fact
	subjects   map[[2]string][]string  // object id, property -> labels of its subjects
	aliases    map[string][]string     // entity id -> aliases that nothing else bears
	inverse    []int                   // facts whose relation reads from the object's side, too
	hops       []hop                   // compositions
	episodes   []int                   // facts that may be overridden in an episode
	free       map[string][]int        // property -> those of it
	pool       map[string][]*kb.Entity // class of an object -> what may replace it in an episode
}

// A hop asks for a fact of another fact's object: what is the relation Second of
// the object of First?
type hop struct{ First, Second int }

// unseen is how many wordings of a relation are never used with one subject.
const unseen = 2

// Load reads the bundled world.
func Load() (*Facts, error) {
	c, err := catalogue.Load(bytes.NewReader(world.Catalogue()))
	if err != nil {
		return nil, fmt.Errorf("pretrain: %w", err)
	}
	day, err := kb.ParseDate(world.AsOf)
	if err != nil {
		return nil, fmt.Errorf("pretrain: %w", err)
	}
	var dump bytes.Buffer
	if err := world.Write(&dump, world.Seed); err != nil {
		return nil, fmt.Errorf("pretrain: %w", err)
	}
	b := kb.NewBuilder(c, day, fmt.Sprintf("world-%d", world.Seed))
	for e, err := range kb.Entities(&dump) {
		if err != nil {
			return nil, fmt.Errorf("pretrain: reading the world: %w", err)
		}
		b.Add(e)
	}
	base, err := b.Build()
	if err != nil {
		return nil, fmt.Errorf("pretrain: %w", err)
	}
	f := &Facts{Base: base, bySubject: map[string][]int{}, byRelation: map[string][]int{}, at: map[[2]string]int{},
		subjects: map[[2]string][]string{}, aliases: map[string][]string{}, pool: map[string][]*kb.Entity{}, free: map[string][]int{}}
	f.index()
	return f, nil
}

func (f *Facts) index() {
	for _, r := range f.Base.Catalogue.Relations {
		for _, id := range f.Base.Having(r.ID) {
			s := f.Base.Entity(id)
			if s.Label == "" || !f.Base.IsA(s, r.Domain) {
				continue
			}
			current := f.Base.Current(s, r.ID)
			if len(current) != 1 {
				continue
			}
			names := f.Base.ValueNames(current[0].Value)
			if len(names) == 0 {
				continue
			}
			i := len(f.List)
			o := current[0].Value.ID
			f.List = append(f.List, Fact{r, s, o, names[0], world.Held(id)})
			f.bySubject[id] = append(f.bySubject[id], i)
			f.byRelation[r.ID] = append(f.byRelation[r.ID], i)
			f.at[[2]string{id, r.ID}] = i
			if o != "" {
				f.subjects[[2]string{o, r.ID}] = append(f.subjects[[2]string{o, r.ID}], s.Label)
			}
			if _, done := f.aliases[id]; !done {
				f.aliases[id] = f.own(s)
			}
		}
	}
	for i, x := range f.List {
		if x.Relation.Inverse != nil && len(x.Relation.Inverse.Cloze) > 0 {
			f.inverse = append(f.inverse, i)
		}
		for _, p := range x.Relation.Follow {
			if j, ok := f.at[[2]string{x.ObjectID, p}]; ok && len(x.Relation.NP) > 0 {
				f.hops = append(f.hops, hop{i, j})
			}
		}
		if !x.Held {
			f.episodes = append(f.episodes, i)
			f.free[x.Relation.ID] = append(f.free[x.Relation.ID], i)
		}
	}
	for _, class := range f.Base.Catalogue.Classes {
		for _, id := range f.Base.Members(class) {
			if e := f.Base.Entity(id); e.Label != "" {
				f.pool[class] = append(f.pool[class], e)
			}
		}
	}
}

// own are the aliases of an entity that no other entity bears.
func (f *Facts) own(e *kb.Entity) []string {
	return slices.DeleteFunc(slices.Clone(e.Aliases), func(a string) bool {
		return len(f.Base.Bearers(kb.Normalise(a))) != 1
	})
}

// Wording is a template with its form.
type Wording struct {
	catalogue.Template
	Form catalogue.Form
}

// wordings are a relation's statements and questions.
func wordings(r *catalogue.Relation, reserved bool) []Wording {
	var out []Wording
	for _, l := range []struct {
		form catalogue.Form
		list []catalogue.Template
	}{{catalogue.Cloze, r.Cloze}, {catalogue.Question, r.Question}} {
		for _, t := range l.list {
			if t.Reserved == reserved {
				out = append(out, Wording{t, l.form})
			}
		}
	}
	return out
}

// Wordings are the wordings in which a fact is stated, and those that are kept
// from this subject, though not from others, so that their use can be tested.
// Reserved wordings are in neither list.
func (f *Facts) Wordings(i int) (used, kept []Wording) {
	x := f.List[i]
	all := wordings(x.Relation, false)
	if len(all) < 3*unseen { // too few to keep any back
		return all, nil
	}
	slices.SortStableFunc(all, func(a, b Wording) int {
		return cmp.Compare(hash("kept", x.Subject.ID, x.Relation.ID, a.ID), hash("kept", x.Subject.ID, x.Relation.ID, b.ID))
	})
	return all[unseen:], all[:unseen]
}

// Unseen are the wordings that were never used with the subject of a fact: those
// that Wordings keeps, without the ones in which a symmetric relation is stated
// from the object's side.
func (f *Facts) Unseen(i int) []Wording {
	_, kept := f.Wordings(i)
	r := f.List[i].Relation
	if r.Inverse == nil || r.Inverse.ID != r.ID {
		return kept
	}
	back := inverses(r)
	return slices.DeleteFunc(kept, func(k Wording) bool {
		return slices.ContainsFunc(back, func(t Wording) bool { return put(k.Text, "") == put(t.Text, "") })
	})
}

// put writes a name into a template.
func put(template, name string) string {
	template = strings.Replace(template, "{s}", name, 1)
	return strings.Replace(template, "{o}", name, 1)
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// upperFirst gives a phrase at the beginning of a sentence its capital letter.
func upperFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}
