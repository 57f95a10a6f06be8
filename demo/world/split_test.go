package world

import "testing"

func TestHeld(t *testing.T) {
	w := Build(Seed)
	held, kinds := 0, map[string]int{}
	for _, e := range w.Entities {
		if Held(e.ID) {
			held++
			kinds[e.Kind]++
		}
	}
	if share := float64(held) / float64(len(w.Entities)); share < 0.17 || share > 0.23 {
		t.Errorf("%.3f of the entities are reserved, want about a fifth", share)
	}
	for _, kind := range []string{"human", "country", "city", "company", "book", "film", "sports_club", "university"} {
		if kinds[kind] < 5 || kinds[kind] > len(w.Of(kind))/2 {
			t.Errorf("%d of %d of kind %s are reserved", kinds[kind], len(w.Of(kind)), kind)
		}
	}
	// The split is part of what is published: it must not change.
	want := map[string]bool{"Q900000100": false, "Q900000102": true, "Q900001000": true, "Q900001001": true, "Q900001002": false}
	for id, h := range want {
		if Held(id) != h {
			t.Errorf("Held(%s) is %v", id, !h)
		}
	}
}

func TestHeldRelations(t *testing.T) {
	w := Build(Seed)
	if n := len(HeldRelations()); n < 4 {
		t.Errorf("%d relations are reserved", n)
	}
	for _, p := range HeldRelations() {
		facts := 0
		for _, e := range w.Entities {
			facts += len(e.Objects(p))
		}
		if facts < 50 || !HeldRelation(p) {
			t.Errorf("%s has %d facts", p, facts)
		}
	}
	if HeldRelation("P36") {
		t.Error("P36 is reserved")
	}
}
