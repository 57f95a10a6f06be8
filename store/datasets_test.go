package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/store"
)

func records() []dataset.Record {
	probe := func(id, edit string) dataset.Probe {
		p := blank[dataset.Probe]()
		p.ID, p.EditID, p.Axis = dataset.ProbeID(id), dataset.EditID(edit), dataset.AxisOneHop
		p.Answers = []string{"Wien", "Vienna"}
		p.AnswerSets = [][]string{{"a", "b"}, {"c"}}
		p.Hops = []dataset.Hop{{SubjectID: "Q1", Text: "x", Edited: true}, {ObjectID: "Q2"}}
		return p
	}
	edit := func(id string) dataset.Edit {
		e := blank[dataset.Edit]()
		e.ID, e.Subject, e.Target, e.Mode = dataset.EditID(id), "Österreich", "Linz", dataset.Counterfactual
		return e
	}
	return []dataset.Record{
		{Edit: edit("z"), Probes: []dataset.Probe{probe("p3", "z"), probe("p1", "z")}},
		{Edit: edit("a")},
		{Edit: edit("m"), Probes: []dataset.Probe{probe("p2", "m")}},
	}
}

func TestDatasetFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sets", "mine")
	want := records()
	if err := store.WriteDataset(dir, want, store.DatasetManifest{Name: "counter", Source: "custom", File: "x.json", Version: "1"}); err != nil {
		t.Fatal(err)
	}
	got, m, err := store.ReadDataset(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read\n%+v, want\n%+v", got, want)
	}
	hash := store.HashRecords(want)
	if wantM := (store.DatasetManifest{SchemaVersion: store.SchemaVersion, Name: "counter", Source: "custom", File: "x.json", Version: "1", Hash: hash, Edits: 3, Probes: 3}); m != wantM {
		t.Errorf("manifest %+v", m)
	}
	if err := os.Remove(filepath.Join(dir, "manifest.json")); err != nil {
		t.Fatal(err)
	}
	if _, m, err = store.ReadDataset(dir + "/"); err != nil || m.Name != "mine" || m.Hash != hash {
		t.Errorf("without a manifest: %+v, %v", m, err)
	}
	if _, _, err := store.ReadDataset(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing folder: %v", err)
	}
}

func TestDatasetRefuses(t *testing.T) {
	for says, change := range map[string]func(r []dataset.Record){
		"p2":      func(r []dataset.Record) { r[2].Probes[0].EditID = "gone" },
		"same id": func(r []dataset.Record) { r[1].Edit.ID = "z" },
		"no id":   func(r []dataset.Record) { r[1].Edit.ID = "" },
		"p1":      func(r []dataset.Record) { r[2].Probes[0].ID = "p1" },
	} {
		r := records()
		change(r)
		dir := filepath.Join(t.TempDir(), "d")
		err := store.WriteDataset(dir, r, store.DatasetManifest{})
		if !errors.Is(err, store.ErrRecord) || !strings.Contains(err.Error(), says) {
			t.Errorf("writing %s: %v", says, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("writing %s left a folder", says)
		}
		// The same from files that somebody else made.
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		var edits []dataset.Edit
		var probes []dataset.Probe
		for _, x := range r {
			edits, probes = append(edits, x.Edit), append(probes, x.Probes...)
		}
		if err := errors.Join(store.Write(filepath.Join(dir, "edits.parquet"), edits, nil), store.Write(filepath.Join(dir, "probes.parquet"), probes, nil)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := store.ReadDataset(dir); !errors.Is(err, store.ErrRecord) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), dir) {
			t.Errorf("reading %s: %v", says, err)
		}
	}
}

func TestHashRecords(t *testing.T) {
	hash := store.HashRecords(records())
	same := records()
	same[0].Edit.SubjectAliases = nil // a nil list is an empty list
	if store.HashRecords(same) != hash {
		t.Error("nil and empty lists give different hashes")
	}
	seen := map[string]string{hash: "nothing"}
	for name, change := range map[string]func(r []dataset.Record){
		"target":        func(r []dataset.Record) { r[0].Edit.Target = "Graz" },
		"order":         func(r []dataset.Record) { r[0], r[1] = r[1], r[0] },
		"probe moved":   func(r []dataset.Record) { r[1].Probes, r[2].Probes = r[2].Probes, nil },
		"answer order":  func(r []dataset.Record) { a := r[0].Probes[0].Answers; a[0], a[1] = a[1], a[0] },
		"answers split": func(r []dataset.Record) { r[0].Probes[0].Answers = []string{"WienVienna"} },
		"nested lists":  func(r []dataset.Record) { r[0].Probes[0].AnswerSets = [][]string{{"a"}, {"b", "c"}} },
		"hop":           func(r []dataset.Record) { r[0].Probes[0].Hops[0].Edited = false },
		"number":        func(r []dataset.Record) { r[0].Probes[0].ChoiceLabel = -1 },
		"other column":  func(r []dataset.Record) { r[0].Edit.GroundTruth, r[0].Edit.Target = r[0].Edit.Target, "" },
	} {
		r := records()
		change(r)
		h := store.HashRecords(r)
		if first, ok := seen[h]; ok {
			t.Errorf("%s and %s give the same hash", name, first)
		}
		seen[h] = name
	}
	// Filled rows reach every column's kind.
	store.HashRecords([]dataset.Record{{Edit: random[dataset.Edit](1, 3)[0], Probes: random[dataset.Probe](5, 4)}})
}
