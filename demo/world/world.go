// Package world invents a small, consistent world: countries, cities, people
// and the things they make, with names that belong to nobody. It is written in
// the format of the Wikidata JSON dump, so that the generator reads it exactly
// as it reads the real dump, and it has a relation catalogue of its own. Item
// ids are outside Wikidata's range (Q900000001 and up); property ids and their
// meanings are Wikidata's.
//
// The same seed gives the same world, byte for byte.
package world

import (
	_ "embed" // for the catalogue
	"fmt"
	"slices"
)

// AsOf is the date at which the world's current facts hold.
const AsOf = "2024-01-01"

// Licence is the licence of everything the world states.
const Licence = "CC0-1.0"

// Seed is the seed of the bundled world.
const Seed = 1

//go:embed relations.yaml
var catalogue []byte

// Catalogue returns the relation catalogue of the world, in the format that
// catalogue.Load reads. Templates marked reserved are never used in text that a
// model is trained on.
func Catalogue() []byte { return append([]byte(nil), catalogue...) }

// Entity is one item of the world.
type Entity struct {
	ID          string
	Label       string // "" for the few items that have no label, as in the real dump
	Mul         bool   // the label is stored under "mul" instead of "en"
	Description string
	Aliases     []string
	Kind        string // key of the catalogue's classes
	Sitelinks   int
	Claims      []Claim
}

// Claim is one statement of an entity. Exactly one of Object, Year and Text is
// set, or none of them where SnakType is not "value".
type Claim struct {
	Property string
	Object   *Entity
	Year     int
	Text     string
	SnakType string // value, somevalue, novalue
	Rank     string // normal, preferred, deprecated
	Start    int    // year of P580, 0 for none
	End      int    // year of P582, 0 for none
}

// World is everything that exists, in order of creation.
type World struct {
	Seed     int64
	Entities []*Entity

	classes map[string]*Entity
	kinds   map[string][]*Entity
	*namer

	workers                        []*person // alive and without an occupation yet
	politicians, athletes, coaches []*Entity
}

const firstID = 900000001

// Build invents the world of a seed.
func Build(seed int64) *World {
	w := &World{Seed: seed, classes: map[string]*Entity{}, kinds: map[string][]*Entity{}, namer: newNamer(newStream(seed))}
	w.addClasses()
	w.addBasics()
	w.addPlaces()
	w.addPeople()
	w.addWork()
	w.addWorks()
	w.addClubs()
	w.addOffices()
	w.addFlaws()
	return w
}

// classNames are the world's classes in the order of their ids; the first is
// the superclass of the rest.
func classNames() [][2]string {
	return [][2]string{
		{"entity", "entity"}, {"human", "human"}, {"country", "country"}, {"city", "city"}, {"continent", "continent"},
		{"language", "language"}, {"currency", "currency"}, {"company", "company"}, {"university", "university"},
		{"book", "book"}, {"film", "film"}, {"anthem", "anthem"}, {"sports_club", "sports club"}, {"stadium", "stadium"},
		{"sport", "sport"}, {"league", "league"}, {"river", "river"}, {"sea", "sea"}, {"instrument", "musical instrument"},
		{"occupation", "occupation"}, {"product", "product"}, {"religion", "religion"}, {"genre", "genre"},
		{"bank", "central bank"}, {"industry", "industry"},
	}
}

func (w *World) addClasses() {
	for _, c := range classNames() {
		e := w.add("class", c[1], "class of things")
		e.Sitelinks = 100
		w.classes[c[0]] = e
		if c[0] != "entity" {
			e.item("P279", w.classes["entity"])
		}
	}
}

// add appends an entity of the given kind with a skewed popularity.
func (w *World) add(kind, label, description string) *Entity {
	e := &Entity{ID: fmt.Sprintf("Q%d", firstID+len(w.Entities)), Label: label, Description: description, Kind: kind}
	e.Sitelinks = 1 + w.intn(1+w.intn(1+w.intn(120)))
	w.Entities = append(w.Entities, e)
	w.kinds[kind] = append(w.kinds[kind], e)
	if c := w.classes[kind]; c != nil {
		e.item("P31", c)
	}
	return e
}

// item states that the object holds now, once.
func (e *Entity) item(property string, object *Entity) {
	if !slices.Contains(e.Objects(property), object) {
		e.claim(Claim{Property: property, Object: object})
	}
}

func (e *Entity) year(property string, year int) { e.claim(Claim{Property: property, Year: year}) }

func (e *Entity) claim(c Claim) {
	if c.SnakType == "" {
		c.SnakType = "value"
	}
	if c.Rank == "" {
		c.Rank = "normal"
	}
	e.Claims = append(e.Claims, c)
}

// alias adds another name together with the statement that says what kind of
// name it is (P1448 former official name, P1449 nickname, P742 pseudonym, P1477
// birth name, P1813 short name).
func (e *Entity) alias(name, property string, end int) {
	e.Aliases = append(e.Aliases, name)
	if property != "" {
		e.claim(Claim{Property: property, Text: name, End: end})
	}
}

// Of returns the entities of a kind in order of creation.
func (w *World) Of(kind string) []*Entity { return w.kinds[kind] }

// Objects returns the current objects of a property: normal or preferred rank,
// not ended at AsOf.
func (e *Entity) Objects(property string) []*Entity {
	var out []*Entity
	for _, c := range e.Claims {
		if c.Property == property && c.Object != nil && c.Rank != "deprecated" && c.End == 0 {
			out = append(out, c.Object)
		}
	}
	return out
}

// one returns the first current object, or nil.
func (e *Entity) one(property string) *Entity {
	if o := e.Objects(property); len(o) > 0 {
		return o[0]
	}
	return nil
}

// shuffled returns a copy of the entities in random order.
func (w *World) shuffled(in []*Entity) []*Entity {
	out := append([]*Entity(nil), in...)
	for i := len(out) - 1; i > 0; i-- {
		j := w.intn(i + 1)
		out[i], out[j] = out[j], out[i]
	}
	return out
}

func (w *World) any(kind string) *Entity { return w.kinds[kind][w.intn(len(w.kinds[kind]))] }
