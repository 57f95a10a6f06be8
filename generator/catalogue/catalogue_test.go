package catalogue_test

import (
	"bytes"
	"strings"
	"testing"

	"editpipe/demo/world"
	"editpipe/generator/catalogue"
)

func TestBuiltInCatalogues(t *testing.T) {
	for name, c := range map[string]struct {
		data                          []byte
		relations, templates, reserve int // least numbers: relations to edit; wordings and reserved wordings of each
	}{
		"general": {catalogue.General(), 50, 9, 1},
		"world":   {world.Catalogue(), 24, 12, 3},
	} {
		t.Run(name, func(t *testing.T) {
			cat, err := catalogue.Load(bytes.NewReader(c.data))
			if err != nil {
				t.Fatal(err)
			}
			if n := len(cat.Editable()); n < c.relations {
				t.Errorf("%d relations can be edited, want %d", n, c.relations)
			}
			texts := map[string]string{}
			for _, r := range cat.Relations {
				reserved := 0
				all := append(append(append([]catalogue.Template(nil), r.Cloze...), r.Question...), r.NP...)
				for _, w := range all {
					if w.Reserved {
						reserved++
					}
					if texts[w.Text] == r.ID {
						t.Errorf("%s has the wording %q twice", r.ID, w.Text)
					}
					texts[w.Text] = r.ID
				}
				// Beside the statement an edit is made with there are four more.
				if !r.ProbeOnly && len(r.Cloze) < 5 {
					t.Errorf("%s has %d statements, want 5", r.ID, len(r.Cloze))
				}
				if !r.ProbeOnly && (len(all) < c.templates || reserved < c.reserve) {
					t.Errorf("%s has %d wordings, %d of them reserved; want %d and %d", r.ID, len(all), reserved, c.templates, c.reserve)
				}
			}
		})
	}
}

const soundRelation = `
  - id: P36
    label: capital
    cloze: [{id: c1, text: "The capital of {s} is"}]
    question: [{id: q1, text: "What is the capital of {s}?"}]
    np: [{id: n1, text: "the capital of {s}"}]
`

func TestLoadNamesEveryFault(t *testing.T) {
	for name, c := range map[string]struct {
		yaml string
		want []string
	}{
		"sound":       {"version: 1\nlanguage: en\nrelations:" + soundRelation, nil},
		"unknown key": {"version: 1\nlanguage: en\nrelations:" + soundRelation + "    colour: red\n", []string{"[9:5]", "colour"}},
		"wrong type":  {"version: one\n", []string{"[1:10]"}},
		"fraction":    {"version: 1.9\n", []string{"[1:10]"}},
		"octal":       {"version: 01\nlanguage: en\nrelations:" + soundRelation, []string{"[1:10]"}},
		"documents":   {"version: 1\nlanguage: en\nrelations:" + soundRelation + "---\nversion: 1\n", []string{"2 documents"}},
		"no yaml":     {"version: [1\n", []string{"[1:"}},
		"empty":       {"", []string{"catalogue", "the file is empty"}},
		"all at once": {`version: 2
language: en
classes: {city: city}
relations:
  - id: 36
    label: ""
    domain: [town]
    follow: [P17]
    reverse: ask
    pool: lake
    cloze: [{id: c1, text: "The capital of {s} is a"}, {id: c1, text: "No place"}]
    question: [{id: q1, text: "What is the capital of {s}"}]
`, []string{"version is 2", `"city" is not an item id`, `"36" is not a property id`, "label is missing", `class "town"`, "P17 has no entry",
			"reverse: ask needs", `pool "lake"`, "indefinite article", "used twice", "must hold {s} once", "question mark", "at least one np"}},
		"twice":       {"version: 1\nlanguage: en\nrelations:" + soundRelation + soundRelation, []string{"P36 is listed twice"}},
		"probes only": {"version: 1\nlanguage: en\nrelations:" + soundRelation + "    probe_only: true\n", []string{"no relation can be edited"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := catalogue.Load(strings.NewReader(c.yaml))
			if (err == nil) != (c.want == nil) {
				t.Fatalf("error %v", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error does not say %q:\n%v", w, err)
				}
			}
		})
	}
}

// TestExtends adds a relation to the built-in catalogue and replaces another.
func TestExtends(t *testing.T) {
	general, err := catalogue.Load(bytes.NewReader(catalogue.General()))
	if err != nil {
		t.Fatal(err)
	}
	const own = `version: 1
language: en
extends: wikidata
classes: {bridge: Q12280}
relations:
  - id: P177
    label: crosses
    domain: [bridge]
    range: [river]
    follow: [P403]
    cloze: [{id: c1, text: "The bridge {s} crosses"}]
    question: [{id: q1, text: "What does {s} cross?"}]
    np: [{id: n1, text: "the water under {s}"}]
  - id: P36
    label: capital
    cloze: [{id: mine, text: "{s} is ruled from"}]
    question: [{id: q1, text: "From where is {s} ruled?"}]
    np: [{id: n1, text: "the capital of {s}"}]
`
	c, err := catalogue.Load(strings.NewReader(own))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Relations) != len(general.Relations)+1 || c.Relations[0].ID != "P36" || c.Relation("P36").Cloze[0].ID != "mine" {
		t.Errorf("%d relations on top of %d; P36 is %+v", len(c.Relations), len(general.Relations), c.Relation("P36"))
	}
	if c.Relation("P177") == nil || c.Relation("P26").Label != "spouse" || c.Classes["bridge"] == "" || c.Classes["river"] == "" {
		t.Error("the new relation, or one of the built-in ones, is missing")
	}
	for _, bad := range []string{
		strings.Replace(own, "extends: wikidata", "extends: everything", 1),
		strings.Replace(own, "id: P36", "id: P177", 1),
	} {
		if _, err := catalogue.Load(strings.NewReader(bad)); err == nil || !strings.Contains(err.Error(), "everything") && !strings.Contains(err.Error(), "P177 is listed twice") {
			t.Errorf("error %v", err)
		}
	}
}

// TestTextStays: a text that looks like a number is kept as it is written.
func TestTextStays(t *testing.T) {
	text := "version: 1\nlanguage: 1.10\nrelations:" + strings.NewReplacer("label: capital", "label: 2024_01", "id: c1", "id: 017").Replace(soundRelation) + "    temporal: True\n"
	c, err := catalogue.Load(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Relation("P36"); c.Language != "1.10" || r.Label != "2024_01" || r.Cloze[0].ID != "017" || !r.Temporal {
		t.Errorf("language %q, %+v", c.Language, r)
	}
}
