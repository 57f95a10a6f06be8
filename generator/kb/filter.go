package kb

import (
	"bytes"
	"maps"
	"slices"

	"editpipe/generator/catalogue"
)

// Use says what a knowledge base does with an entity.
type Use uint8

// The uses.
const (
	Never   Use = iota // nothing of the catalogue stands in it
	IfNamed            // only its classes are of use, should a fact name it as its object
	Always             // it has a statement of the catalogue's properties, or is one of them
)

// Filter says which entities of a dump a knowledge base needs, and which of
// their statements. It is read-only and may be shared.
type Filter struct {
	keep   map[string]string // property -> itself, so that statements share one string
	always []bool            // by the number of a property: its statements make an item of use
}

// NewFilter returns the filter of a catalogue. Kept are the statements of every
// property that the catalogue names, and of those the knowledge base itself
// reads: classes, places and wholes, names, inverses. Being an instance of
// something makes no item of use by itself: nearly all are, disambiguation pages
// and categories too.
func NewFilter(c *catalogue.Catalogue) *Filter {
	f := &Filter{keep: map[string]string{}}
	add := func(always bool, properties ...string) {
		for _, p := range properties {
			if p == "" {
				continue
			}
			f.keep[p] = p
			if n := number(p); always && n > 0 {
				f.always = append(f.always, make([]bool, max(0, n+1-len(f.always)))...)
				f.always[n] = true
			}
		}
	}
	add(false, instanceOf, inverseOf, constraint)
	for p := range aliasKinds() {
		add(false, p)
	}
	add(true, subclassOf, locatedIn, partOf)
	for _, r := range c.Relations {
		add(true, slices.Concat([]string{r.ID}, r.Match, r.Follow, r.Other, r.Blocked)...)
		if r.Inverse != nil {
			add(true, r.Inverse.ID)
		}
	}
	f.always[numberInstanceOf] = false
	return f
}

// Properties are those whose statements are kept.
func (f *Filter) Properties() []string { return slices.Sorted(maps.Keys(f.keep)) }

// Look tells from the bytes of a row, without parsing it, the most that Use may
// say of an entity in it. It can say too much: a property that counts as a
// statement's may stand in a reference only.
func (f *Filter) Look(row []byte) Use {
	use := Never
	for i := 0; ; {
		at := bytes.IndexByte(row[i:], 'P')
		if at < 0 {
			return use
		}
		i += at + 1
		if i < 2 || row[i-2] != '"' {
			continue
		}
		n := 0
		for ; i < len(row) && row[i] >= '0' && row[i] <= '9' && n < len(f.always); i++ {
			n = n*10 + int(row[i]-'0')
		}
		switch {
		case i == len(row) || row[i] != '"' || n >= len(f.always):
		case f.always[n]:
			return Always
		case n == numberInstanceOf:
			use = IfNamed
		}
	}
}

// Use tells what the knowledge base does with an entity.
func (f *Filter) Use(e *Entity) Use {
	if e.Type == "property" {
		return f.of(e.ID)
	}
	use := Never
	if len(e.Claims.Of(instanceOf)) > 0 {
		use = IfNamed
	}
	for p := range e.Claims.ByProperty() {
		use = max(use, f.of(p))
	}
	return use
}

func (f *Filter) of(property string) Use {
	if n := number(property); n < len(f.always) && f.always[n] {
		return Always
	}
	return Never
}
