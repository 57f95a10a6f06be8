package kb

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"editpipe/generator/catalogue"
)

// Value is the object of a statement: an item by its id, or text.
type Value struct {
	Kind catalogue.ObjectKind
	ID   string // item or property id
	Text string // string, year ("1987"), quantity without sign ("12")
}

// Rank is a statement's rank; the zero Rank is none.
type Rank uint8

// The ranks.
const (
	Normal Rank = iota + 1
	Preferred
	Deprecated
)

// String is the word of the dumps; "" for none.
func (r Rank) String() string {
	switch r {
	case Normal:
		return "normal"
	case Preferred:
		return "preferred"
	case Deprecated:
		return "deprecated"
	}
	return ""
}

// parseRank reads what String writes.
func parseRank(word string) (Rank, error) {
	for _, r := range [...]Rank{Normal, Preferred, Deprecated} {
		if word == r.String() {
			return r, nil
		}
	}
	return 0, fmt.Errorf("kb: %q is no rank", word)
}

// Statement is one claim of an entity. HasValue is false for "unknown value"
// and "no value".
type Statement struct {
	Property string
	Value    Value
	Items    []string // item objects of the qualifier P2306, which names the property of a constraint
	Start    Date     // P580; zero where not stated
	End      Date     // P582; zero where not stated
	Rank     Rank
	HasValue bool
	Ended    bool // P582 is stated, if only as unknown
}

// Claims are the statements of an entity, ordered by property; those of one
// property as they were stated. A list takes far less memory than a map of lists,
// and a large knowledge base has one for each of its many entities.
type Claims []Statement

// Of returns the statements of a property, a part of the list.
func (c Claims) Of(property string) []Statement {
	from := 0
	for from < len(c) && c[from].Property < property {
		from++
	}
	to := from
	for to < len(c) && c[to].Property == property {
		to++
	}
	return c[from:to:to]
}

// ByProperty yields every property with its statements.
func (c Claims) ByProperty() iter.Seq2[string, []Statement] {
	return func(yield func(string, []Statement) bool) {
		for len(c) > 0 {
			n := 1
			for n < len(c) && c[n].Property == c[0].Property {
				n++
			}
			if !yield(c[0].Property, c[:n:n]) {
				return
			}
			c = c[n:]
		}
	}
}

// Add puts a statement behind those of its property.
func (c *Claims) Add(st Statement) {
	at := len(*c)
	for at > 0 && (*c)[at-1].Property > st.Property {
		at--
	}
	*c = slices.Insert(*c, at, st)
}

// sort orders statements that were appended in any order.
func (c Claims) sort() {
	by := func(a, b Statement) int { return strings.Compare(a.Property, b.Property) }
	if !slices.IsSortedFunc(c, by) {
		slices.SortStableFunc(c, by)
	}
}

// Entity is one item or property of a knowledge base.
type Entity struct {
	ID          string
	Type        string // item, property
	Label       string // English, else of language "mul"; may be empty
	LabelLang   string // en, mul or empty
	Description string
	Aliases     []string // English, then "mul"
	Sitelinks   int
	Revision    int64
	Modified    Date // day of the last change; zero where not stated
	Claims      Claims

	// Set by Builder.Build.
	direct  []string // classes
	spelled []string // names, normalised
}

// holds tells whether the statement is true on the day. A start or end known to
// the year only is read in the statement's favour.
func (s Statement) holds(day Date) bool {
	if s.Start != (Date{}) && s.Start.After(day) {
		return false
	}
	if !s.Ended {
		return true
	}
	return s.End != (Date{}) && s.End.latest() >= day.earliest()
}

// Current returns the statements of a property that hold on the day and have the
// best rank among those that do; one per object.
func (e *Entity) Current(property string, day Date) []Statement {
	var out []Statement
	best := Normal
	said := func(v Value) bool {
		return slices.ContainsFunc(out, func(o Statement) bool { return o.Value == v })
	}
	for _, st := range e.Claims.Of(property) {
		if st.Rank == Deprecated || !st.HasValue || !st.holds(day) {
			continue
		}
		if st.Rank == Preferred && best != Preferred {
			best, out = Preferred, nil
		}
		if st.Rank == best && !said(st.Value) {
			out = append(out, st)
		}
	}
	return out
}

// classes reads the direct classes of the entity, current or not.
func (e *Entity) classes() []string {
	var out []string
	for _, st := range e.Claims.Of(instanceOf) {
		if st.HasValue && st.Rank != Deprecated && !slices.Contains(out, st.Value.ID) {
			out = append(out, st.Value.ID)
		}
	}
	return out
}

// Linked tells whether a statement of one names the other, at any rank or date.
func Linked(a, b *Entity) bool {
	names := func(x, y *Entity) bool {
		return slices.ContainsFunc(x.Claims, func(st Statement) bool { return st.HasValue && st.Value.ID == y.ID })
	}
	return names(a, b) || names(b, a)
}

// Names are the label and the aliases, without empty ones.
func (e *Entity) Names() []string {
	if e.Label == "" {
		return slices.Clone(e.Aliases)
	}
	return append([]string{e.Label}, e.Aliases...)
}

// aliasKinds are the properties whose value is a name of the entity, with the
// kind of name it is.
func aliasKinds() map[string]string {
	return map[string]string{
		"P1448": "former_name", "P1449": "nickname", "P742": "pseudonym", "P1477": "birth_name", "P1813": "abbreviation",
	}
}

// AliasKind says what kind of name an alias is, from the statement that gives
// it or from its form.
func (e *Entity) AliasKind(alias string) string {
	kinds := aliasKinds()
	for _, p := range slices.Sorted(maps.Keys(kinds)) {
		for _, st := range e.Claims.Of(p) {
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

// FactID names a statement: the hash of subject, property, object and dates.
func FactID(subject string, st Statement) string {
	object := st.Value.ID
	if object == "" {
		object = st.Value.Text
	}
	text := make([]byte, 0, 128)
	for i, part := range [...]string{subject, st.Property, object, st.Start.String(), st.End.String()} {
		if i > 0 {
			text = append(text, '|')
		}
		text = append(text, part...)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
