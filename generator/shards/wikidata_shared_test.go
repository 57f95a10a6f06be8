//go:build shared

package shards

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// TestSharedDumps builds from dumps written by others, whole and damaged.
func TestSharedDumps(t *testing.T) {
	dir := os.Getenv("EDITPIPE_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the folder %s with reference data is absent", dir)
	}
	c, err := catalogue.Load(bytes.NewReader(catalogue.General()))
	if err != nil {
		t.Fatal(err)
	}
	var whole map[string]string
	for _, name := range []string{"mock-dump-for-long-testing.json", "mock-dump-with-bugs.json", "sample-dump-20150815.json.gz"} {
		b := Build{Dump: filepath.Join(dir, "data", "wikidata", name), Out: t.TempDir(), Catalogue: c, CatalogueHash: "general"}
		m := mustDo(t, b)
		// All three hold the same 101 entities.
		if m.BrokenLines() != 0 || m.Lines != 103 || m.Entities == 0 || m.Facts == 0 {
			t.Errorf("%s: %+v", name, m)
		}
		ids := map[string]string{}
		folder, err := Open(b.Out)
		if err != nil {
			t.Fatal(err)
		}
		err = folder.Entities(context.Background(), func(e *kb.Entity) error {
			ids[e.ID] = e.Type
			return nil
		})
		if whole == nil {
			whole = ids
		}
		if err != nil || !maps.Equal(ids, whole) {
			t.Errorf("%s: entities %v, %v; want %v", name, ids, err, whole)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "data", "wikidata", "mock-dump-with-bugs.json"))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	lines[9] = append(lines[9][:40:40], '\n')
	lines[20] = []byte("garbage\n")
	m := mustDo(t, Build{In: bytes.NewReader(bytes.Join(lines, nil)), Dump: "damaged", Out: t.TempDir(), Catalogue: c, MaxErrors: 2})
	if m.BrokenLines() != 2 || m.FirstBroken[0].Line != 10 || m.FirstBroken[1].Line != 21 || m.Entities < len(whole)-2 {
		t.Errorf("damaged: %+v; want lines 10 and 21 and the rest of %d entities", m, len(whole))
	}
}
