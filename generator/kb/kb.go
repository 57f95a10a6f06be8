// Package kb defines a knowledge base in memory: the entities of a Wikidata
// dump with their names and statements, which statements are true on a given
// day, and the indexes by object, property, class and name that the generator
// chooses from. It reads Wikidata's JSON from a stream and opens no file.
package kb

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"editpipe/generator/catalogue"
)

// ErrEmpty is returned when a knowledge base holds no item.
var ErrEmpty = errors.New("kb: the knowledge base holds no item")

// Properties that the knowledge base reads besides the catalogue's.
const (
	instanceOf    = "P31"
	subclassOf    = "P279"
	locatedIn     = "P131"
	partOf        = "P361"
	inverseOf     = "P1696"
	constraint    = "P2302"
	symmetricType = "Q21510862"
	inverseType   = "Q21510855"

	numberInstanceOf = 31
)

// Base is a knowledge base in memory: entities, their statements, and the
// indexes by object, by class and by name. It is read-only once built.
type Base struct {
	Catalogue *catalogue.Catalogue
	AsOf      Date
	DumpID    string

	entities map[string]*Entity
	ids      []string                   // items with a label or claims, by number
	links    map[string]*links          // by property
	members  map[string][]string        // class -> its direct instances
	names    index                      // normalised name -> items
	above    map[string]map[string]bool // class -> itself and its superclasses
}

// links are the items that statements of one property link.
type links struct {
	having   []string // items with a statement of it
	objects  []string // its current objects
	subjects index    // object -> current subjects
}

// Builder collects entities. Only statements of properties that the catalogue
// or the knowledge base itself needs are kept.
type Builder struct {
	kb     *Base
	filter *Filter
	newest Date // last change of any entity

	texts      map[string]string // ids and descriptions, which repeat: each is held once
	statements arena[Statement]
	strings    arena[string]
}

// NewBuilder starts a knowledge base. Current facts are those of the as-of
// date, or for a zero date those of the day on which the newest entity was last
// changed, or EndOfTime where no entity says so. The dump id names the source in
// every fact row.
func NewBuilder(c *catalogue.Catalogue, asOf Date, dumpID string) *Builder {
	return &Builder{kb: &Base{Catalogue: c, AsOf: asOf, DumpID: dumpID, entities: map[string]*Entity{}}, filter: NewFilter(c), texts: map[string]string{}}
}

// Add takes one entity and copies what it keeps of it, except for the texts. Of
// two entities with one id the later one counts.
func (b *Builder) Add(e *Entity) {
	if e.Modified.After(b.newest) {
		b.newest = e.Modified
	}
	n := 0
	for p, list := range e.Claims.ByProperty() {
		if b.filter.keep[p] != "" {
			n += len(list)
		}
	}
	copied := *e
	copied.Claims = b.statements.take(n)
	for p, list := range e.Claims.ByProperty() {
		shared := b.filter.keep[p]
		if shared == "" {
			continue
		}
		for _, st := range list {
			st.Property, st.Value.ID = shared, b.once(st.Value.ID)
			copied.Claims = append(copied.Claims, st)
		}
	}
	copied.ID, copied.Description = b.once(e.ID), b.once(e.Description)
	copied.Aliases = append(b.strings.take(len(e.Aliases)), e.Aliases...)
	b.kb.entities[copied.ID] = &copied
}

// once returns the text as it was first met.
func (b *Builder) once(s string) string {
	if s == "" {
		return ""
	}
	if first, ok := b.texts[s]; ok {
		return first
	}
	b.texts[s] = s
	return s
}

// Build makes the indexes and returns the knowledge base. ErrEmpty is returned
// when no item was added.
func (b *Builder) Build() (*Base, error) {
	kb := b.kb
	if kb.AsOf == (Date{}) {
		kb.AsOf = b.newest
	}
	if kb.AsOf == (Date{}) {
		kb.AsOf = EndOfTime()
	}
	b.texts = nil
	kb.ids = make([]string, 0, len(kb.entities))
	for id, e := range kb.entities {
		if e.Type == "item" {
			kb.ids = append(kb.ids, id)
		}
	}
	if len(kb.ids) == 0 {
		return nil, ErrEmpty
	}
	slices.SortFunc(kb.ids, func(a, b string) int {
		return cmp.Or(cmp.Compare(number(a), number(b)), cmp.Compare(a, b))
	})
	kb.links, kb.members, kb.above = map[string]*links{}, map[string][]string{}, map[string]map[string]bool{}
	kb.names = newIndex(kb.ids)
	for i, id := range kb.ids {
		e := kb.entities[id]
		names := e.Names()
		e.spelled = b.strings.take(len(names))
		for _, name := range names {
			n := Normalise(name)
			e.spelled = append(e.spelled, n)
			if n != "" {
				kb.names.add(n, i)
			}
		}
		for p := range e.Claims.ByProperty() {
			l := kb.links[p]
			if l == nil {
				l = &links{subjects: newIndex(kb.ids)}
				kb.links[p] = l
			}
			l.having = append(l.having, id)
			for _, st := range kb.Current(e, p) {
				if st.Value.Kind == catalogue.Item && l.subjects.add(st.Value.ID, i) {
					l.objects = append(l.objects, st.Value.ID)
				}
			}
		}
		classes := e.classes()
		e.direct = append(b.strings.take(len(classes)), classes...)
		for _, c := range e.direct {
			kb.members[c] = append(kb.members[c], id)
			if kb.above[c] == nil {
				kb.above[c] = kb.closure([]string{c}, subclassOf)
			}
		}
	}
	return kb, nil
}

func number(id string) int {
	n, err := strconv.Atoi(strings.TrimLeft(id, "QP"))
	if err != nil {
		return 0
	}
	return n
}

// Entity returns the entity of an id, or nil.
func (kb *Base) Entity(id string) *Entity { return kb.entities[id] }

// Len is the number of items.
func (kb *Base) Len() int { return len(kb.ids) }

// Having are the items with a statement of the property. This list and those of
// the other indexes are the knowledge base's own, ordered by id number of the
// items they were found at, and must not be changed.
func (kb *Base) Having(property string) []string {
	if l := kb.links[property]; l != nil {
		return l.having
	}
	return nil
}

// Subjects are the items whose current statements of the property name the
// object.
func (kb *Base) Subjects(object, property string) []string {
	if l := kb.links[property]; l != nil {
		return l.subjects.of(object)
	}
	return nil
}

// Objects are the items that current statements of the property name.
func (kb *Base) Objects(property string) []string {
	if l := kb.links[property]; l != nil {
		return l.objects
	}
	return nil
}

// Members are the direct instances of a class.
func (kb *Base) Members(class string) []string { return kb.members[class] }

// Classes are the direct classes of an item.
func (kb *Base) Classes(e *Entity) []string { return e.direct }

// Bearers are the items with a name that Normalise brings to this form.
func (kb *Base) Bearers(normalised string) []string { return kb.names.of(normalised) }

// Spellings are the names of an item in the form of Normalise.
func (kb *Base) Spellings(id string) []string {
	if e := kb.entities[id]; e != nil {
		return e.spelled
	}
	return nil
}

// Current returns the statements of a property that hold at the as-of date and
// have the best rank among those that do; one per object.
func (kb *Base) Current(e *Entity, property string) []Statement { return e.Current(property, kb.AsOf) }

// IsA tells whether a direct class of the entity is one of the named classes or
// a subclass of one; no names allow everything.
func (kb *Base) IsA(e *Entity, names []string) bool {
	if len(names) == 0 {
		return true
	}
	for _, c := range kb.Classes(e) {
		for _, n := range names {
			if kb.above[c][kb.Catalogue.Classes[n]] {
				return true
			}
		}
	}
	return false
}

// closure follows the properties from the ids upward; the ids are included.
func (kb *Base) closure(ids []string, properties ...string) map[string]bool {
	out := map[string]bool{}
	queue := slices.Clone(ids)
	for len(queue) > 0 {
		id := queue[0]
		queue = queue[1:]
		if out[id] {
			continue
		}
		out[id] = true
		e := kb.entities[id]
		if e == nil {
			continue
		}
		for _, p := range properties {
			for _, st := range e.Claims.Of(p) {
				if st.HasValue && st.Rank != Deprecated && st.Value.Kind == catalogue.Item {
					queue = append(queue, st.Value.ID)
				}
			}
		}
	}
	return out
}

// Contains tells whether one of the two is a class, a place or a whole that the
// other belongs to.
func (kb *Base) Contains(a, b *Entity) bool {
	up := []string{subclassOf, locatedIn, partOf}
	return kb.closure([]string{a.ID}, up...)[b.ID] || kb.closure([]string{b.ID}, up...)[a.ID]
}

// Inverse returns the property of the opposite direction: P1696, the inverse
// constraint, the symmetric constraint, else what the catalogue says.
func (kb *Base) Inverse(r *catalogue.Relation) string {
	if p := kb.entities[r.ID]; p != nil {
		for _, st := range p.Claims.Of(inverseOf) {
			if st.HasValue && st.Rank != Deprecated {
				return st.Value.ID
			}
		}
		for _, st := range p.Claims.Of(constraint) {
			if st.HasValue && st.Value.ID == inverseType && len(st.Items) > 0 {
				return st.Items[0]
			}
		}
		for _, st := range p.Claims.Of(constraint) {
			if st.HasValue && st.Value.ID == symmetricType {
				return r.ID
			}
		}
	}
	if r.Inverse != nil {
		return r.Inverse.ID
	}
	return ""
}

// Partners are the items, other than the one given, that are linked to the
// object now: its subjects by the property, and its own objects by the property
// of the opposite direction where there is one.
func (kb *Base) Partners(object *Entity, property, inverse, except string) []string {
	out := slices.Clone(kb.Subjects(object.ID, property))
	if inverse != "" {
		for _, st := range kb.Current(object, inverse) {
			out = append(out, st.Value.ID)
		}
	}
	return slices.DeleteFunc(out, func(id string) bool { return id == except })
}

// HasPartner tells whether Partners would find any.
func (kb *Base) HasPartner(object *Entity, property, inverse, except string) bool {
	other := func(id string) bool { return id != except }
	return slices.ContainsFunc(kb.Subjects(object.ID, property), other) ||
		inverse != "" && slices.ContainsFunc(kb.Current(object, inverse), func(st Statement) bool { return other(st.Value.ID) })
}

// ValueNames are the spellings of a statement's object, the label first; none
// where an item has no label.
func (kb *Base) ValueNames(v Value) []string {
	if v.Kind != catalogue.Item {
		return []string{v.Text}
	}
	if e := kb.entities[v.ID]; e != nil && e.Label != "" {
		return e.Names()
	}
	return nil
}

// CheckCatalogue compares the catalogue with the knowledge base and returns one
// line for every disagreement: labels of properties and classes, inverses.
// Properties that the knowledge base does not hold are not mentioned.
func (kb *Base) CheckCatalogue() []string {
	var out []string
	for _, r := range kb.Catalogue.Relations {
		p := kb.entities[r.ID]
		if p == nil || p.Label == "" {
			continue
		}
		if p.Label != r.Label {
			out = append(out, fmt.Sprintf("%s is labelled %q, the catalogue expects %q", r.ID, p.Label, r.Label))
		}
		if r.Inverse != nil && r.Inverse.ID != "" && kb.Inverse(r) != r.Inverse.ID {
			out = append(out, fmt.Sprintf("the inverse of %s is %s, the catalogue expects %s", r.ID, kb.Inverse(r), r.Inverse.ID))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(kb.Catalogue.Classes)) {
		id := kb.Catalogue.Classes[name]
		if e := kb.entities[id]; e != nil && e.Label != "" && len(kb.members[id]) == 0 && len(e.Claims.Of(instanceOf)) == 0 && len(e.Claims.Of(subclassOf)) == 0 {
			out = append(out, fmt.Sprintf("class %s (%s, %q) has no instance and no superclass", name, id, e.Label))
		}
	}
	return out
}
