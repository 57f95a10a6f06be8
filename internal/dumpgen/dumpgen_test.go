package main

import (
	"bytes"
	"testing"

	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// TestDump reads a dump back: every line is an entity, three in ten have
// properties of the catalogue, and their objects are in the dump.
func TestDump(t *testing.T) {
	c, err := catalogue.Load(bytes.NewReader(catalogue.General()))
	if err != nil {
		t.Fatal(err)
	}
	f := kb.NewFilter(c)
	const n = 12_000
	var text, again bytes.Buffer
	for _, w := range []*bytes.Buffer{&text, &again} {
		if err := write(w, n, 7); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(text.Bytes(), again.Bytes()) {
		t.Error("equal arguments give different bytes")
	}
	ids := map[string]bool{}
	var all []*kb.Entity
	for e, err := range kb.Entities(bytes.NewReader(text.Bytes())) {
		if err != nil {
			t.Fatal(err)
		}
		ids[e.ID] = true
		all = append(all, e)
	}
	if len(ids) != n {
		t.Errorf("%d different entities, want %d", len(ids), n)
	}
	passing, lost, facts := 0, 0, 0
	for _, e := range all {
		if f.Use(e) == kb.Always {
			passing++
		}
		for p, list := range e.Claims.ByProperty() {
			for _, st := range list {
				if p != "P31" && st.Value.Kind == catalogue.Item {
					if facts++; !ids[st.Value.ID] {
						lost++
					}
				}
			}
		}
	}
	// The few fixed entities come on top of 300 in a thousand.
	if share := float64(passing) / n; share < 0.29 || share > 0.35 {
		t.Errorf("%.2f of the lines have properties of the catalogue, want 0.3", share)
	}
	if lost > 0 || facts < n/2 {
		t.Errorf("%d of %d objects are not in the dump", lost, facts)
	}
}
