package sets

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"editpipe/dataset"
	"editpipe/demo/world"
	"editpipe/generator"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
	"editpipe/generator/shards"
	"editpipe/store"
)

// TestGenerateFromShards generates a set from a folder that kb build wrote, and
// compares edits and probes with those generated from the same entities in
// memory, less what a folder does not hold: statements without a value, and
// entities of no use to the catalogue.
func TestGenerateFromShards(t *testing.T) {
	dir := t.TempDir()
	dump, relations, folder := filepath.Join(dir, "dump.json"), filepath.Join(dir, "relations.yaml"), filepath.Join(dir, "kb")
	var text bytes.Buffer
	if err := world.Write(&text, world.Seed); err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string][]byte{dump: text.Bytes(), relations: world.Catalogue()} {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, hash, err := ReadCatalogue(relations, catalogue.General())
	if err != nil {
		t.Fatal(err)
	}
	built, err := shards.Build{Dump: dump, Out: folder, Catalogue: c, CatalogueHash: hash}.Do(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	const n, seed = 60, 5
	set, err := Generate{KB: folder, Out: filepath.Join(dir, "set"), Relations: relations, N: n, Seed: seed, Name: "same"}.Do(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if set.Counts.Edits != n || set.DumpID != "dump.json" || set.Arguments.AsOf != built.AsOf || set.Dump[0].SHA256 != built.SHA256 {
		t.Errorf("%d edits, dump %s (%v), as of %s", set.Counts.Edits, set.DumpID, set.Dump, set.Arguments.AsOf)
	}
	b, f := kb.NewBuilder(c, kb.Date{}, "dump.json"), kb.NewFilter(c)
	for row := range bytes.Lines(text.Bytes()) {
		for e, err := range kb.ParseRow(row, f) {
			if err != nil {
				t.Fatal(err)
			}
			e.Claims = slices.DeleteFunc(e.Claims, func(st kb.Statement) bool { return !st.HasValue })
			b.Add(e)
		}
	}
	base, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if built.Unnamed > 0 {
		t.Fatalf("%d items are not named: this comparison keeps them", built.Unnamed)
	}
	var records []dataset.Record
	_, err = generator.Generate(context.Background(), base, generator.Options{N: n, Seed: seed, SetName: "same", Licence: defaultLicence, Sets: dataset.Axes()}, generator.Sink{
		Edit: func(e dataset.Edit) error {
			records = append(records, dataset.Record{Edit: e})
			return nil
		},
		Probe: func(p dataset.Probe) error {
			last := &records[len(records)-1]
			last.Probes = append(last.Probes, p)
			return nil
		},
		Reject: func(generator.Reject) error { return nil },
	})
	if err != nil || store.HashRecords(records) != set.Hash {
		t.Errorf("%d edits in memory, %v: their rows hash to %s, those from the folder to %s", len(records), err, store.HashRecords(records), set.Hash)
	}
}
