package generator_test

import (
	"bytes"
	"context"
	"testing"

	"editpipe/dataset"
	"editpipe/demo/world"
	"editpipe/generator"
)

// product is everything one generation gave.
type product struct {
	edits   []dataset.Edit
	probes  []dataset.Probe
	rejects []generator.Reject
	counts  generator.Counts
}

func worldKB(t *testing.T, seed int64, asOf string) *generator.KB {
	t.Helper()
	c, err := generator.Load(bytes.NewReader(world.Catalogue()))
	if err != nil {
		t.Fatal(err)
	}
	day, err := generator.ParseDate(asOf)
	if err != nil {
		t.Fatal(err)
	}
	var dump bytes.Buffer
	if err := world.Write(&dump, seed); err != nil {
		t.Fatal(err)
	}
	b := generator.NewBuilder(c, day, "world")
	for e, err := range generator.Entities(&dump) {
		if err != nil {
			t.Fatal(err)
		}
		b.Add(e)
	}
	kb, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return kb
}

func generate(t *testing.T, kb *generator.KB, o generator.Options) product {
	t.Helper()
	var p product
	counts, err := generator.Generate(context.Background(), kb, o, generator.Sink{
		Edit:   func(e dataset.Edit) error { p.edits = append(p.edits, e); return nil },
		Probe:  func(q dataset.Probe) error { p.probes = append(p.probes, q); return nil },
		Reject: func(r generator.Reject) error { p.rejects = append(p.rejects, r); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	p.counts = counts
	return p
}
