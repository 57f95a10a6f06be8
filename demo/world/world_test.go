package world

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestSizeAndNames(t *testing.T) {
	w := Build(Seed)
	if len(w.Entities) < 1500 {
		t.Errorf("%d entities, want at least 1500", len(w.Entities))
	}
	properties := map[string]bool{}
	for _, p := range w.propertiesUsed() {
		properties[p] = true
	}
	if len(properties) < 24 {
		t.Errorf("%d properties in use, want at least 24", len(properties))
	}
	labels := map[string]string{}
	for _, e := range w.Entities {
		if e.Label == "" {
			continue
		}
		if other := labels[strings.ToLower(e.Label)]; other != "" {
			t.Errorf("%s and %s are both labelled %s", other, e.ID, e.Label)
		}
		labels[strings.ToLower(e.Label)] = e.ID
		if n := len(strings.Fields(e.Label)); n > 6 {
			t.Errorf("label %q has %d words", e.Label, n)
		}
		if e.Sitelinks < 1 {
			t.Errorf("%s has no sitelink", e.Label)
		}
	}
}

// propertiesUsed lists the item properties with a statement.
func (w *World) propertiesUsed() []string {
	var out []string
	for _, e := range w.Entities {
		for _, c := range e.Claims {
			if c.Object != nil && !slices.Contains(out, c.Property) {
				out = append(out, c.Property)
			}
		}
	}
	return out
}

func TestConsistency(t *testing.T) {
	for _, seed := range []int64{Seed, 7, 1234} {
		w := Build(seed)
		for _, p := range w.Of("human") {
			checkPerson(t, p)
		}
		for _, c := range w.Of("country") {
			seat := c.Objects("P36")
			if len(seat) != 1 || seat[0].one("P17") != c || seat[0].one("P1376") != c {
				t.Errorf("capital of %s: %v", c.Label, seat)
			}
			for _, p := range []string{"P30", "P38", "P35", "P85", "P1304"} {
				if len(c.Objects(p)) != 1 {
					t.Errorf("%s has %d objects of %s", c.Label, len(c.Objects(p)), p)
				}
			}
		}
		once(t, w, "country", "P35")
		once(t, w, "country", "P36")
		once(t, w, "country", "P85")
		once(t, w, "city", "P6")
		once(t, w, "company", "P169")
		once(t, w, "sports_club", "P286")
		once(t, w, "sports_club", "P115")
		for _, c := range w.Of("sports_club") {
			if c.one("P118").one("P641") != c.one("P641") {
				t.Errorf("%s plays another sport than its league", c.Label)
			}
			if c.one("P115").one("P466") != c {
				t.Errorf("the home ground of %s is not its", c.Label)
			}
		}
		for _, r := range w.Of("river") {
			for at, steps := r, 0; at.Kind == "river"; at, steps = at.one("P403"), steps+1 {
				if steps > len(w.Of("river")) {
					t.Fatalf("%s flows in a circle", r.Label)
				}
			}
		}
	}
}

// once checks that no object of a one-to-one relation is shared.
func once(t *testing.T, w *World, kind, property string) {
	t.Helper()
	holder := map[*Entity]*Entity{}
	for _, e := range w.Of(kind) {
		for _, o := range e.Objects(property) {
			if holder[o] != nil {
				t.Errorf("%s and %s share %s as %s", holder[o].Label, e.Label, o.Label, property)
			}
			holder[o] = e
		}
	}
}

func (e *Entity) yearOf(property string) int {
	for _, c := range e.Claims {
		if c.Property == property {
			return c.Year
		}
	}
	return 0
}

func checkPerson(t *testing.T, p *Entity) {
	t.Helper()
	spouses := p.Objects("P26")
	if len(spouses) > 1 {
		t.Errorf("%s has %d spouses", p.Label, len(spouses))
	}
	for _, c := range p.Claims {
		if c.Property != "P26" {
			continue
		}
		mirror := slices.ContainsFunc(c.Object.Claims, func(d Claim) bool {
			return d.Property == "P26" && d.Object == p && d.Start == c.Start && d.End == c.End
		})
		if !mirror {
			t.Errorf("%s is married to %s, who does not say so", p.Label, c.Object.Label)
		}
	}
	for _, parent := range slices.Concat(p.Objects("P22"), p.Objects("P25")) {
		if parent.yearOf("P569")+18 > p.yearOf("P569") {
			t.Errorf("%s was born in %d, the parent %s in %d", p.Label, p.yearOf("P569"), parent.Label, parent.yearOf("P569"))
		}
		if !slices.Contains(parent.Objects("P40"), p) {
			t.Errorf("%s is not named as child of %s", p.Label, parent.Label)
		}
	}
	dead := p.yearOf("P570") != 0
	if dead && (len(p.Objects("P108")) > 0 || len(spouses) > 0) {
		t.Errorf("%s is dead and has a job or a spouse", p.Label)
	}
	if len(p.Objects("P106")) != 1 || len(p.Objects("P19")) != 1 {
		t.Errorf("%s has %d occupations and %d birthplaces", p.Label, len(p.Objects("P106")), len(p.Objects("P19")))
	}
	if home := p.one("P19").one("P17"); !slices.Contains(home.Objects("P37"), p.one("P103")) {
		t.Errorf("%s does not speak the language of the country of birth", p.Label)
	}
}

func TestWriteIsADump(t *testing.T) {
	var a, b, other bytes.Buffer
	if err := Write(&a, Seed); err != nil {
		t.Fatal(err)
	}
	if err := Write(&b, Seed); err != nil {
		t.Fatal(err)
	}
	if err := Write(&other, Seed+1); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("one seed gave two worlds")
	}
	if bytes.Equal(a.Bytes(), other.Bytes()) {
		t.Error("two seeds gave one world")
	}
	lines := strings.Split(strings.TrimSuffix(a.String(), "\n"), "\n")
	if lines[0] != "[" || lines[len(lines)-1] != "]" {
		t.Errorf("the dump begins with %q and ends with %q", lines[0], lines[len(lines)-1])
	}
	body := lines[1 : len(lines)-1]
	ids := map[string]bool{}
	for i, l := range body {
		if strings.HasSuffix(l, ",") != (i < len(body)-1) {
			t.Fatalf("line %d: comma", i+2)
		}
		var r struct {
			ID     string `json:"id"`
			Claims map[string][]struct {
				MainSnak struct {
					DataValue struct {
						Value json.RawMessage `json:"value"`
					} `json:"datavalue"`
				} `json:"mainsnak"`
			} `json:"claims"`
		}
		if err := json.Unmarshal([]byte(strings.TrimSuffix(l, ",")), &r); err != nil {
			t.Fatalf("line %d: %v", i+2, err)
		}
		if ids[r.ID] {
			t.Errorf("id %s twice", r.ID)
		}
		ids[r.ID] = true
	}
}

// TestFlaws makes sure that the world has what a generator must cope with.
func TestFlaws(t *testing.T) {
	w := Build(Seed)
	seen := map[string]int{}
	aliases := map[string]int{}
	for _, e := range w.Entities {
		if e.Label == "" {
			seen["no label"]++
		}
		if e.Mul {
			seen["mul"]++
		}
		for _, a := range e.Aliases {
			aliases[a]++
		}
		for _, c := range e.Claims {
			seen[c.Rank]++
			seen[c.SnakType]++
			if c.End != 0 {
				seen["ended"]++
			}
		}
		if len(e.Objects("P37")) > 1 {
			seen["many objects"]++
		}
	}
	for _, n := range aliases {
		if n > 1 {
			seen["shared alias"]++
		}
	}
	for _, want := range []string{"no label", "mul", "preferred", "deprecated", "somevalue", "novalue", "ended", "many objects", "shared alias"} {
		if seen[want] == 0 {
			t.Errorf("nothing in the world has: %s", want)
		}
	}
}

func TestCatalogueIsACopy(t *testing.T) {
	c := Catalogue()
	c[0] = '!'
	if Catalogue()[0] == '!' {
		t.Error("a caller can change the catalogue")
	}
}
