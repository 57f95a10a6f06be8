package sets

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/demo/world"
	"editpipe/generator"
	"editpipe/generator/kb"
	"editpipe/store"
)

func TestGenerateWritesTheWholeSet(t *testing.T) {
	dir := t.TempDir()
	set, err := Generate{Out: dir, Seed: 3, Version: "test"}.Do(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	edits, err := store.Read[dataset.Edit](filepath.Join(dir, EditsFile))
	if err != nil {
		t.Fatal(err)
	}
	if len(edits) != defaultEdits || set.Counts.Edits != defaultEdits {
		t.Errorf("%d edits in the file, %d in the manifest, want %d", len(edits), set.Counts.Edits, defaultEdits)
	}
	probes, err := store.Read[dataset.Probe](filepath.Join(dir, ProbesFile))
	if err != nil {
		t.Fatal(err)
	}
	_, manifest, err := store.ReadDataset(dir)
	if err != nil || manifest.Source != "generator" || manifest.Name != World {
		t.Errorf("manifest %+v, error %v", manifest, err)
	}
	if manifest != set.DatasetManifest {
		t.Errorf("read manifest %+v, returned %+v", manifest, set.DatasetManifest)
	}
	facts, err := store.Read[kb.FactRow](filepath.Join(dir, FactsFile))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, f := range facts {
		known[f.ID] = true
	}
	counted := map[dataset.Axis]int{}
	for _, p := range probes {
		counted[p.Axis]++
		for _, id := range p.NeedsFacts {
			if !known[id] {
				t.Fatalf("probe %s needs fact %s, which %s lacks", p.ID, id, FactsFile)
			}
		}
	}
	for _, a := range dataset.Axes() {
		if counted[a] == 0 || counted[a] != set.Counts.Probes[a] {
			t.Errorf("set %s: %d probes in the file, %d in the manifest", a, counted[a], set.Counts.Probes[a])
		}
	}
	rejects, err := store.Read[generator.Reject](filepath.Join(dir, RejectsFile))
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, n := range set.Counts.Rejects {
		sum += n
	}
	if len(rejects) == 0 || len(rejects) != sum {
		t.Errorf("%d rejects in the file, %d in the manifest", len(rejects), sum)
	}
	if set.BrokenLines != 0 || len(set.Warnings) != 0 {
		t.Errorf("the bundled world gave warnings: %v", set.Warnings)
	}
}

// files reads every file of a folder by name.
func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(data)
	}
	return out
}

func TestGenerateIsDeterministic(t *testing.T) {
	var runs []map[string]string
	for _, seed := range []int64{5, 5, 6} {
		dir := t.TempDir()
		if _, err := (Generate{Out: dir, N: 20, Seed: seed}).Do(context.Background()); err != nil {
			t.Fatal(err)
		}
		runs = append(runs, folder(t, dir))
	}
	for name, data := range runs[0] {
		if data != runs[1][name] {
			t.Errorf("%s differs between two runs with one seed", name)
		}
	}
	if runs[0][EditsFile] == runs[2][EditsFile] {
		t.Error("another seed gave the same edits")
	}
}

// TestGenerateReadsFiles gives the world as a file, plain and compressed, and
// as a folder of two halves, and expects the edits of the bundled world.
func TestGenerateReadsFiles(t *testing.T) {
	var dump, packed bytes.Buffer
	if err := world.Write(&dump, world.Seed); err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(dump.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	half := bytes.Index(dump.Bytes()[dump.Len()/2:], []byte("\n")) + dump.Len()/2 + 1
	put := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	relations := put("relations.yaml", world.Catalogue())
	put("halves/a.json", dump.Bytes()[:half])
	put("halves/b.jsonl", dump.Bytes()[half:])
	var want []dataset.Edit
	for i, from := range []string{World, put("plain.json", dump.Bytes()), put("packed.json.gz", packed.Bytes()), filepath.Join(dir, "halves")} {
		out := filepath.Join(dir, "out", filepath.Base(from))
		set, err := Generate{KB: from, Out: out, N: 10, Seed: 1, Relations: relations, AsOf: world.AsOf, Name: "same", Sets: []string{"reliability"}}.Do(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if n := set.Counts.Probes[dataset.AxisReliability]; n != 10 || len(set.Counts.Probes) != 1 {
			t.Errorf("%s: probes %v, want 10 of reliability alone", from, set.Counts.Probes)
		}
		edits, err := store.Read[dataset.Edit](filepath.Join(out, EditsFile))
		if err != nil {
			t.Fatal(err)
		}
		for j := range edits {
			edits[j].DumpID = "" // names the source
		}
		if i == 0 {
			want = edits
		} else if !slices.EqualFunc(edits, want, func(a, b dataset.Edit) bool { return a.ID == b.ID && a.Prompt == b.Prompt && a.Target == b.Target }) {
			t.Errorf("%s: other edits than from the bundled world", from)
		}
	}
}

func TestGenerateSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	put := func(name, data string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		g    Generate
		want string
		is   error
	}{
		"no folder":      {Generate{}, "--out", nil},
		"missing file":   {Generate{KB: filepath.Join(dir, "absent.json"), AsOf: "2024-01-01"}, "absent.json", os.ErrNotExist},
		"no date":        {Generate{AsOf: "yesterday"}, "as-of", nil},
		"empty":          {Generate{KB: put("empty.json", "[\n]\n"), AsOf: "2024-01-01"}, "empty.json", kb.ErrEmpty},
		"unknown set":    {Generate{Sets: []string{"two_hops"}}, "two_hops", nil},
		"bad catalogue":  {Generate{Relations: put("bad.yaml", "version: 1\nlanguage: en\nrelatons: []\n")}, "bad.yaml", nil},
		"nothing usable": {Generate{KB: put("one.json", `{"type":"item","id":"Q1","labels":{},"claims":{}}`+"\n"), AsOf: "2024-01-01"}, "one.json", generator.ErrNoEdits},
		"none rejected":  {Generate{KB: put("two.json", `{"type":"item","id":"Q1","labels":{},"claims":{}}`+"\n"), AsOf: "2024-01-01"}, "candidates rejected: none", generator.ErrNoEdits},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "no folder" {
				c.g.Out = filepath.Join(dir, "out")
			}
			_, err := c.g.Do(context.Background())
			if err == nil || !strings.Contains(err.Error(), c.want) || (c.is != nil && !errors.Is(err, c.is)) {
				t.Errorf("error %v, want one that says %q and is %v", err, c.want, c.is)
			}
			if _, err := os.Stat(filepath.Join(dir, "out", ManifestFile)); err == nil {
				t.Error("a manifest was written")
			}
		})
	}
}

func TestListed(t *testing.T) {
	if got := listed(map[string]int{"edit/no_name": 2, "edit/class_mismatch": 1}); got != "edit/class_mismatch (1), edit/no_name (2)" {
		t.Error(got)
	}
}

// TestGenerateKeepsTheOldSet lets a generation fail in the folder of another.
func TestGenerateKeepsTheOldSet(t *testing.T) {
	dir := t.TempDir()
	out, none := filepath.Join(dir, "out"), filepath.Join(dir, "none.json")
	if err := os.WriteFile(none, []byte(`{"type":"item","id":"Q1","labels":{},"claims":{}}`+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := (Generate{Out: out, N: 2, Seed: 1}).Do(context.Background()); err != nil {
		t.Fatal(err)
	}
	before := folder(t, out)
	if _, err := (Generate{KB: none, AsOf: "2024-01-01", Out: out}).Do(context.Background()); !errors.Is(err, generator.ErrNoEdits) {
		t.Fatalf("error %v", err)
	}
	if after := folder(t, out); before[ManifestFile] == "" || !maps.Equal(after, before) {
		t.Errorf("a generation that failed left %v", slices.Sorted(maps.Keys(after)))
	}
}

func TestGenerateSaysThatFactsRanOut(t *testing.T) {
	var dump bytes.Buffer
	if err := world.Write(&dump, world.Seed); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// The first lines hold the countries and some cities, cut in the middle of a line.
	cut := bytes.Join(bytes.SplitAfter(dump.Bytes(), []byte("\n"))[:400], nil)
	from, relations := filepath.Join(dir, "cut.json"), filepath.Join(dir, "relations.yaml")
	if err := errors.Join(os.WriteFile(from, cut[:len(cut)-9], 0o644), os.WriteFile(relations, world.Catalogue(), 0o644)); err != nil {
		t.Fatal(err)
	}
	set, err := Generate{KB: from, Relations: relations, AsOf: world.AsOf, Out: filepath.Join(dir, "out"), N: 100_000, Seed: 1}.Do(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	said := func(what string) bool {
		return slices.ContainsFunc(set.Warnings, func(w string) bool { return strings.Contains(w, what) })
	}
	if set.Counts.Edits == 0 || set.Counts.Edits >= 100_000 || !said("100000 edits were asked for") {
		t.Errorf("%d edits, warnings %v", set.Counts.Edits, set.Warnings)
	}
	if set.BrokenLines != 1 || !said("line 400 skipped") {
		t.Errorf("%d broken lines, warnings %v; want line 400", set.BrokenLines, set.Warnings)
	}
}
