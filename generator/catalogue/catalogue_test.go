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
		"general": {catalogue.General(), 30, 5, 0},
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
		"no yaml":     {"version: [1\n", []string{"[1:"}},
		"empty":       {"", []string{"catalogue"}},
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
