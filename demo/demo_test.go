package demo

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"editpipe/dataset"
)

func TestExtractIsWholeAndDoneOnce(t *testing.T) {
	cache := t.TempDir()
	dir, err := Extract(cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"config.json", "tokenizer.json", "model.onnx"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	mark := filepath.Join(dir, "mark")
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := Extract(cache)
	if err != nil || again != dir {
		t.Fatalf("second time: %s, %v", again, err)
	}
	if _, err := os.Stat(mark); err != nil {
		t.Error("the folder was written again")
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "demo", ".extract-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSetCoversEveryAxis(t *testing.T) {
	dir, err := Extract(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	records, err := Load(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 240+180 {
		t.Errorf("%d records, the two files hold 240 and 180", len(records))
	}
	// Any small limit must see both files: they alternate.
	if records[0].Edit.Source == records[1].Edit.Source {
		t.Errorf("records 0 and 1 both come from %s", records[0].Edit.Source)
	}
	seen := map[dataset.Axis]int{}
	ids := map[dataset.EditID]bool{}
	fact := false
	for i, r := range records {
		if ids[r.Edit.ID] {
			t.Errorf("edit id %s occurs twice", r.Edit.ID)
		}
		ids[r.Edit.ID] = true
		fact = fact || r.Edit.Subject == FactSubject && r.Edit.GroundTruth == FactAnswer && r.Edit.Target == FactOther
		if i < 60 {
			for _, p := range r.Probes {
				seen[p.Axis]++
			}
		}
	}
	for _, a := range dataset.Axes() {
		if seen[a] == 0 {
			t.Errorf("no probe of axis %s among the first 60 records", a)
		}
	}
	if !fact {
		t.Error("the fact for demonstrations is not in the data")
	}
}
