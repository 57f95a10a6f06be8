//go:build shared

package kb_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"

	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

func sharedFile(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("EDITPIPE_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the folder %s with reference data is absent", dir)
	}
	data, err := os.ReadFile(filepath.Join(dir, "data", "wikidata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestSharedDumps reads dumps written by others. The one "with bugs" has [] for
// {}, which is read as what is meant.
func TestSharedDumps(t *testing.T) {
	packed, err := gzip.NewReader(bytes.NewReader(sharedFile(t, "sample-dump-20150815.json.gz")))
	if err != nil {
		t.Fatal(err)
	}
	sample, err := io.ReadAll(packed)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"mock-dump-with-bugs.json":        sharedFile(t, "mock-dump-with-bugs.json"),
		"mock-dump-for-long-testing.json": sharedFile(t, "mock-dump-for-long-testing.json"),
		"sample-dump-20150815.json.gz":    sample,
	} {
		entities, broken := parse(t, bytes.NewReader(data))
		if len(entities) != 101 || len(broken) != 0 {
			t.Errorf("%s: %d entities, broken lines %v; want 101 and none", name, len(entities), broken)
		}
		if p := entities["P31"]; p == nil || p.Type != "property" {
			t.Errorf("%s: P31 is %+v", name, p)
		}
		if q := entities["Q1"].Claims.Of("P31"); len(q) == 0 || q[0].Value.ID != "Q1454986" {
			t.Errorf("%s: Q1 is an instance of %+v, want Q1454986", name, q)
		}
	}
}

// TestSharedBrokenDump damages a dump and expects the rest of it.
func TestSharedBrokenDump(t *testing.T) {
	lines := bytes.SplitAfter(sharedFile(t, "mock-dump-with-bugs.json"), []byte("\n"))
	lines[9] = append(lines[9][:40:40], '\n')
	lines[20] = []byte("garbage\n")
	entities, broken := parse(t, bytes.NewReader(bytes.Join(lines, nil)))
	if len(entities) != 99 || len(broken) != 2 || broken[0].Line != 10 || broken[1].Line != 21 {
		t.Errorf("%d entities, broken lines %v; want 99, and lines 10 and 21", len(entities), broken)
	}
}

func TestSharedEntityData(t *testing.T) {
	entities, broken := parse(t, bytes.NewReader(sharedFile(t, "Q22.json")))
	e := entities["Q22"]
	if e == nil || len(broken) != 0 {
		t.Fatalf("entities %v, broken %v", entities, broken)
	}
	properties := 0
	for range e.Claims.ByProperty() {
		properties++
	}
	if e.Label != "Scotland" || e.Sitelinks != 223 || properties != 63 || e.Claims.Of("P36")[0].Value.ID != "Q23436" {
		t.Errorf("Q22: label %q, %d sitelinks, %d properties, capital %+v", e.Label, e.Sitelinks, properties, e.Claims.Of("P36"))
	}
	cat, err := catalogue.Load(bytes.NewReader(catalogue.General()))
	if err != nil {
		t.Fatal(err)
	}
	b := kb.NewBuilder(cat, kb.Date{Year: 2016, Month: 1, Day: 1}, "Q22")
	b.Add(e)
	base, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if now := base.Current(base.Entity("Q22"), "P36"); len(now) != 1 {
		t.Errorf("current capitals of Q22: %v", now)
	}
}
