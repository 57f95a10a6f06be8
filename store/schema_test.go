package store_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"editpipe/dataset"
	"editpipe/row"
	"editpipe/store"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestSchemas pins the columns of every table as they lie in the files: names,
// types, which may be NULL, and lists in three levels, which is what other
// readers understand. A change here changes what users read.
func TestSchemas(t *testing.T) {
	var b strings.Builder
	schema[dataset.Edit](t, &b, "edits")
	schema[dataset.Probe](t, &b, "probes")
	schema[row.Result](t, &b, "results")
	schema[row.Base](t, &b, "base")
	schema[row.Applied](t, &b, "applied")
	schema[row.Cost](t, &b, "costs")
	schema[row.Summary](t, &b, "summary")
	golden := filepath.Join("testdata", "schemas.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the columns changed; run with -update and read the difference:\n%s", b.String())
	}
}

// schema prints the schema of a file, not of a type.
func schema[T any](t *testing.T, b *strings.Builder, name string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".parquet")
	if err := store.Write(path, make([]T, 1), nil); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	pf, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	b.WriteString(name + ": " + pf.Schema().String() + "\n")
}
