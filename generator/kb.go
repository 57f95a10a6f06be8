package generator

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
)

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
)

// aliasKinds are the properties whose value is a name of the entity, with the
// kind of name it is.
func aliasKinds() map[string]string {
	return map[string]string{
		"P1448": "former_name", "P1449": "nickname", "P742": "pseudonym", "P1477": "birth_name", "P1813": "abbreviation",
	}
}

type slot struct{ subject, property string }

// KB is a knowledge base in memory: entities, their statements, and the
// indexes by object, by class and by name. It is read-only once built.
type KB struct {
	Catalogue *Catalogue
	AsOf      Date
	DumpID    string

	entities map[string]*Entity
	ids      []string                   // items with a label or claims, by number
	subjects map[slot][]string          // {object, property} -> current subjects
	having   map[string][]string        // property -> items with a statement of it
	values   map[string][]string        // property -> its current objects
	members  map[string][]string        // class -> its direct instances
	names    map[string][]string        // normalised name -> items
	spelled  map[string][]string        // item -> its normalised names
	direct   map[string][]string        // item -> its classes
	above    map[string]map[string]bool // class -> itself and its superclasses
}

// Builder collects entities. Only statements of properties that the catalogue
// or the knowledge base itself needs are kept.
type Builder struct {
	kb     *KB
	keep   map[string]bool
	newest Date // last change of any entity
}

// NewBuilder starts a knowledge base. Current facts are those of the as-of
// date, or for a zero date those of the day on which the newest entity was last
// changed, or EndOfTime where no entity says so. The dump id names the source in
// every fact row.
func NewBuilder(c *Catalogue, asOf Date, dumpID string) *Builder {
	keep := map[string]bool{}
	for _, p := range []string{instanceOf, subclassOf, locatedIn, partOf, inverseOf, constraint} {
		keep[p] = true
	}
	for p := range aliasKinds() {
		keep[p] = true
	}
	for _, r := range c.Relations {
		for _, p := range slices.Concat([]string{r.ID}, r.Match, r.Follow, r.Other, r.Blocked) {
			keep[p] = true
		}
		if r.Inverse != nil && r.Inverse.ID != "" {
			keep[r.Inverse.ID] = true
		}
	}
	return &Builder{kb: &KB{Catalogue: c, AsOf: asOf, DumpID: dumpID, entities: map[string]*Entity{}}, keep: keep}
}

// Add takes one entity. Of two entities with one id the later one counts.
func (b *Builder) Add(e *Entity) {
	kept := map[string][]Statement{}
	for p, list := range e.Claims {
		if b.keep[p] {
			kept[p] = list
		}
	}
	if e.Modified.earliest() > b.newest.earliest() {
		b.newest = e.Modified
	}
	copied := *e
	copied.Claims = kept
	b.kb.entities[e.ID] = &copied
}

// Build makes the indexes and returns the knowledge base. ErrEmpty is returned
// when no item was added.
func (b *Builder) Build() (*KB, error) {
	kb := b.kb
	if kb.AsOf == (Date{}) {
		kb.AsOf = b.newest
	}
	if kb.AsOf == (Date{}) {
		kb.AsOf = EndOfTime()
	}
	kb.subjects, kb.having, kb.values = map[slot][]string{}, map[string][]string{}, map[string][]string{}
	kb.members, kb.names = map[string][]string{}, map[string][]string{}
	kb.spelled, kb.direct, kb.above = map[string][]string{}, map[string][]string{}, map[string]map[string]bool{}
	for _, id := range sortedKeys(kb.entities) {
		if e := kb.entities[id]; e.Type == "item" {
			kb.ids = append(kb.ids, id)
		}
	}
	if len(kb.ids) == 0 {
		return nil, ErrEmpty
	}
	slices.SortFunc(kb.ids, func(a, b string) int {
		return cmp.Or(cmp.Compare(number(a), number(b)), cmp.Compare(a, b))
	})
	seen := map[slot]bool{}
	for _, id := range kb.ids {
		e := kb.entities[id]
		for _, name := range kb.namesOf(e) {
			n := normalise(name)
			kb.spelled[id] = append(kb.spelled[id], n)
			if list := kb.names[n]; n != "" && (len(list) == 0 || list[len(list)-1] != id) {
				kb.names[n] = append(list, id)
			}
		}
		for _, p := range sortedKeys(e.Claims) {
			kb.having[p] = append(kb.having[p], id)
			for _, st := range kb.Current(e, p) {
				if st.Value.Kind != Item {
					continue
				}
				o := st.Value.ID
				kb.subjects[slot{o, p}] = append(kb.subjects[slot{o, p}], id)
				if !seen[slot{o, p}] {
					seen[slot{o, p}] = true
					kb.values[p] = append(kb.values[p], o)
				}
			}
		}
		kb.direct[id] = directClasses(e)
		for _, c := range kb.direct[id] {
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
func (kb *KB) Entity(id string) *Entity { return kb.entities[id] }

// Len is the number of items.
func (kb *KB) Len() int { return len(kb.ids) }

// Current returns the statements of a property that hold at the as-of date and
// have the best rank among those that do; one per object.
func (kb *KB) Current(e *Entity, property string) []Statement { return currentAt(e, property, kb.AsOf) }

func currentAt(e *Entity, property string, day Date) []Statement {
	var out []Statement
	best := Normal
	seen := map[Value]bool{}
	for _, st := range e.Claims[property] {
		if st.Rank == Deprecated || !st.HasValue || !st.at(day) {
			continue
		}
		if st.Rank == Preferred && best != Preferred {
			best, out, seen = Preferred, nil, map[Value]bool{}
		}
		if st.Rank == best && !seen[st.Value] {
			seen[st.Value] = true
			out = append(out, st)
		}
	}
	return out
}

// single returns the one current statement, or a reject reason.
func (kb *KB) single(e *Entity, property string, day Date) (Statement, string) {
	list := currentAt(e, property, day)
	switch {
	case len(list) == 1:
		return list[0], ""
	case len(list) > 1:
		return Statement{}, RejectManyObjects
	}
	reason := RejectNoValue
	for _, st := range e.Claims[property] {
		switch {
		case !st.HasValue:
		case st.Rank == Deprecated:
			if reason == RejectNoValue {
				reason = RejectDeprecatedRank
			}
		default:
			reason = RejectNotCurrent
		}
	}
	return Statement{}, reason
}

// classes are the direct classes of an item.
func (kb *KB) classes(e *Entity) []string { return kb.direct[e.ID] }

// directClasses reads the classes of an entity, current or not.
func directClasses(e *Entity) []string {
	var out []string
	for _, st := range e.Claims[instanceOf] {
		if st.HasValue && st.Rank != Deprecated && !slices.Contains(out, st.Value.ID) {
			out = append(out, st.Value.ID)
		}
	}
	return out
}

// isA tells whether a direct class of the entity is one of the named classes or
// a subclass of one; no names allow everything.
func (kb *KB) isA(e *Entity, names []string) bool {
	if len(names) == 0 {
		return true
	}
	for _, c := range kb.classes(e) {
		for _, n := range names {
			if kb.above[c][kb.Catalogue.Classes[n]] {
				return true
			}
		}
	}
	return false
}

// closure follows the properties from the ids upward; the ids are included.
func (kb *KB) closure(ids []string, properties ...string) map[string]bool {
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
			for _, st := range e.Claims[p] {
				if st.HasValue && st.Rank != Deprecated && st.Value.Kind == Item {
					queue = append(queue, st.Value.ID)
				}
			}
		}
	}
	return out
}

// contains tells whether one of the two is a class, a place or a whole that the
// other belongs to.
func (kb *KB) contains(a, b *Entity) bool {
	up := []string{subclassOf, locatedIn, partOf}
	return kb.closure([]string{a.ID}, up...)[b.ID] || kb.closure([]string{b.ID}, up...)[a.ID]
}

// linked tells whether a statement of one names the other, at any rank or date.
func linked(a, b *Entity) bool {
	names := func(x, y *Entity) bool {
		for _, list := range x.Claims {
			for _, st := range list {
				if st.HasValue && st.Value.ID == y.ID {
					return true
				}
			}
		}
		return false
	}
	return names(a, b) || names(b, a)
}

// namesOf are the label and the aliases of an entity, without empty ones.
func (kb *KB) namesOf(e *Entity) []string {
	if e.Label == "" {
		return slices.Clone(e.Aliases)
	}
	return append([]string{e.Label}, e.Aliases...)
}

// aliasKind says what kind of name an alias is, from the statement that gives
// it or from its form.
func (kb *KB) aliasKind(e *Entity, alias string) string {
	kinds := aliasKinds()
	for _, p := range sortedKeys(kinds) {
		for _, st := range e.Claims[p] {
			if st.HasValue && st.Value.Text == alias {
				return kinds[p]
			}
		}
	}
	if strings.Contains(alias, ".") {
		return "abbreviation"
	}
	return "variant"
}

// inverse returns the property of the opposite direction: P1696, the inverse
// constraint, the symmetric constraint, else what the catalogue says.
func (kb *KB) inverse(r *Relation) string {
	if p := kb.entities[r.ID]; p != nil {
		for _, st := range p.Claims[inverseOf] {
			if st.HasValue && st.Rank != Deprecated {
				return st.Value.ID
			}
		}
		for _, st := range p.Claims[constraint] {
			if st.HasValue && st.Value.ID == inverseType && len(st.Items) > 0 {
				return st.Items[0]
			}
		}
		for _, st := range p.Claims[constraint] {
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

// valueNames are the spellings of a statement's object, the label first; none
// where an item has no label.
func (kb *KB) valueNames(v Value) []string {
	if v.Kind != Item {
		return []string{v.Text}
	}
	if e := kb.entities[v.ID]; e != nil && e.Label != "" {
		return kb.namesOf(e)
	}
	return nil
}

// factID names a statement: the hash of subject, property, object and dates.
func factID(subject string, st Statement) string {
	object := st.Value.ID
	if object == "" {
		object = st.Value.Text
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{subject, st.Property, object, st.Start.String(), st.End.String()}, "|")))
	return hex.EncodeToString(sum[:8])
}

// CheckCatalogue compares the catalogue with the knowledge base and returns one
// line for every disagreement: labels of properties and classes, inverses.
// Properties that the knowledge base does not hold are not mentioned.
func (kb *KB) CheckCatalogue() []string {
	var out []string
	for _, r := range kb.Catalogue.Relations {
		p := kb.entities[r.ID]
		if p == nil || p.Label == "" {
			continue
		}
		if p.Label != r.Label {
			out = append(out, fmt.Sprintf("%s is labelled %q, the catalogue expects %q", r.ID, p.Label, r.Label))
		}
		if r.Inverse != nil && r.Inverse.ID != "" && kb.inverse(r) != r.Inverse.ID {
			out = append(out, fmt.Sprintf("the inverse of %s is %s, the catalogue expects %s", r.ID, kb.inverse(r), r.Inverse.ID))
		}
	}
	for _, name := range sortedKeys(kb.Catalogue.Classes) {
		id := kb.Catalogue.Classes[name]
		if e := kb.entities[id]; e != nil && e.Label != "" && len(kb.members[id]) == 0 && len(e.Claims[instanceOf]) == 0 && len(e.Claims[subclassOf]) == 0 {
			out = append(out, fmt.Sprintf("class %s (%s, %q) has no instance and no superclass", name, id, e.Label))
		}
	}
	return out
}

// EntityRows yields the items as rows, ordered by id number.
func (kb *KB) EntityRows() iter.Seq[EntityRow] {
	return func(yield func(EntityRow) bool) {
		for _, id := range kb.ids {
			e := kb.entities[id]
			others := map[string]bool{}
			for _, other := range kb.names[normalise(e.Label)] {
				others[other] = true
			}
			delete(others, id)
			row := EntityRow{ID: id, Label: e.Label, LabelLang: e.LabelLang, Description: e.Description, Aliases: e.Aliases,
				Classes: kb.classes(e), Sitelinks: int32(e.Sitelinks), LabelCollisions: int32(len(others)), Revision: e.Revision}
			if !yield(row) {
				return
			}
		}
	}
}

// FactRows yields the statements with a value, ordered by subject number,
// property and position.
func (kb *KB) FactRows() iter.Seq[FactRow] {
	return func(yield func(FactRow) bool) {
		for _, id := range kb.ids {
			e := kb.entities[id]
			for _, p := range sortedKeys(e.Claims) {
				current := kb.Current(e, p)
				for _, st := range e.Claims[p] {
					if st.HasValue && !yield(kb.factRow(e, st, current)) {
						return
					}
				}
			}
		}
	}
}

func (kb *KB) factRow(e *Entity, st Statement, current []Statement) FactRow {
	row := FactRow{ID: factID(e.ID, st), SubjectID: e.ID, PropertyID: st.Property, ObjectID: st.Value.ID, ObjectKind: st.Value.Kind,
		ObjectText: st.Value.Text, Rank: st.Rank, ObjectsCurrent: int32(len(current)), DumpID: kb.DumpID}
	if names := kb.valueNames(st.Value); st.Value.Kind == Item && len(names) > 0 {
		row.ObjectText = names[0]
	}
	if y := int32(st.Start.Year); y != 0 {
		row.StartYear = &y
	}
	if y := int32(st.End.Year); y != 0 {
		row.EndYear = &y
	}
	for _, c := range current {
		row.IsCurrent = row.IsCurrent || (c.Value == st.Value && c.Rank == st.Rank && c.Start == st.Start && c.End == st.End)
	}
	if st.Value.Kind == Item {
		row.SubjectsCurrent = int32(len(kb.subjects[slot{st.Value.ID, st.Property}]))
	}
	return row
}
