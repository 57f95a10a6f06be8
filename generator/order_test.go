package generator

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"testing"

	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// TestOrders compares the orders, which sort piece by piece, with one sort of
// everything.
func TestOrders(t *testing.T) {
	c, err := catalogue.Load(bytes.NewReader(catalogue.General()))
	if err != nil {
		t.Fatal(err)
	}
	b := kb.NewBuilder(c, kb.Date{Year: 2024, Month: 1, Day: 1}, "orders")
	var ids []string
	for i := range 5*scan + 7 {
		e := &kb.Entity{ID: fmt.Sprintf("Q%d", i+1), Type: "item", Label: "thing", Sitelinks: i % 300}
		b.Add(e)
		ids = append(ids, e.ID)
	}
	base, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	g := &generation{base: base, seeded: mix(offset, "7")}
	byHash := func(a, b string) int { return cmp.Compare(g.hash("key", a), g.hash("key", b)) }
	want := slices.SortedFunc(slices.Values(ids), byHash)
	if got := slices.Collect(g.shuffled(ids, "key")); !slices.Equal(got, want) {
		t.Error("shuffled is not the order of the hashes")
	}
	if got := slices.Collect(g.drawn(ids, "key")); !slices.Equal(got, want) {
		t.Error("drawn is not the order of shuffled")
	}
	if slices.Equal(want, ids) {
		t.Error("the order of the hashes is that of the ids")
	}
	to := base.Entity("Q101") // of 100 sitelinks
	slices.SortStableFunc(want, func(a, b string) int {
		return cmp.Compare(distance(base.Entity(a), to), distance(base.Entity(b), to))
	})
	var got []string
	for e := range g.nearest(ids, to, "key") {
		got = append(got, e.ID)
	}
	if !slices.Equal(got, want) {
		t.Error("nearest is not the order of popularity, then of the hashes")
	}
	wrapped := 0
	for i := range 40 {
		key := fmt.Sprint("key", i)
		list := g.sample(key, ids)
		at := slices.Index(ids, list[0])
		if want := slices.Concat(ids, ids)[at : at+scan]; !slices.Equal(list, want) {
			t.Errorf("the sample of %s is no window", key)
		}
		if at+scan > len(ids) {
			wrapped++
		}
		if split := g.sample(key, ids[:9], nil, ids[9:4*scan], ids[4*scan:]); !slices.Equal(split, list) {
			t.Errorf("the sample of %s depends on how the lists are cut", key)
		}
	}
	if wrapped == 0 || wrapped == 40 {
		t.Errorf("%d of 40 windows go on at the beginning", wrapped)
	}
	if few := g.sample("key", ids[:3], ids[7:9]); !slices.Equal(few, slices.Concat(ids[:3], ids[7:9])) {
		t.Errorf("a sample of few ids: %v", few)
	}
	absent := 0
	for e := range g.nearest([]string{"Q1", "Q999999"}, to, "key") {
		if e == nil {
			absent++
		} else if absent > 0 {
			t.Error("an id without an entity does not come last")
		}
	}
	if absent != 1 {
		t.Errorf("%d ids without an entity, want 1", absent)
	}
}
