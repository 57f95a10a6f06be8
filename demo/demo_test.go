package demo

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"editpipe/dataset"
	"editpipe/demo/world"
	"editpipe/onnx"
)

func TestExtractIsWholeAndDoneOnce(t *testing.T) {
	cache := t.TempDir()
	dir, err := Extract(cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"config.json", "tokenizer.json", "model.onnx", "model_with_past.onnx", RecordsFile, CorpusFile} {
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
	// Any small limit must see many relations.
	relations := map[string]bool{}
	for _, r := range records[:10] {
		relations[r.Edit.RelationID] = true
	}
	if len(relations) < 8 {
		t.Errorf("the first 10 edits are of %d relations", len(relations))
	}
	seen := map[dataset.Axis]int{}
	ids, splits := map[dataset.EditID]bool{}, map[string]int{}
	fact := false
	for i, r := range records {
		if ids[r.Edit.ID] {
			t.Errorf("edit id %s occurs twice", r.Edit.ID)
		}
		ids[r.Edit.ID] = true
		splits[r.Edit.Split]++
		held := world.Held(r.Edit.SubjectID)
		if test := r.Edit.Split == "test"; test != held || !test && world.HeldRelation(r.Edit.RelationID) {
			t.Errorf("edit %s of %s is in split %q", r.Edit.RelationID, r.Edit.Subject, r.Edit.Split)
		}
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
	if len(splits) != 2 || splits["test"] != 200 || splits["train"] != 200 {
		t.Errorf("splits %v", splits)
	}
	if !fact {
		t.Error("the fact for demonstrations is not in the data")
	}
}

// The embedded form is small; expanded, the weights are float32, as edits need
// them, in both graphs.
func TestEmbeddedSize(t *testing.T) {
	const most = 8 << 20
	total := int64(0)
	err := fs.WalkDir(embedded(), ".", func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		total += info.Size()
		return err
	})
	if err != nil || total >= most {
		t.Errorf("%d bytes are embedded, %v", total, err)
	}
	dir, err := Extract(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"model.onnx", "model_with_past.onnx"} {
		m, err := onnx.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		w := m.Graph.Index().Initializer("transformer.h.1.mlp.c_proj.weight")
		if w == nil || w.DType != onnx.Float || !slices.Equal(w.Dims, []int64{1024, 128}) {
			t.Errorf("%s: weight %+v", name, w)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, WeightsFile)); err == nil {
		t.Error("the weights were left behind")
	}
}

func TestExpandRefuses(t *testing.T) {
	weights, err := fs.ReadFile(embedded(), WeightsFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		from fstest.MapFS
		want string
	}{
		"no weights":      {fstest.MapFS{}, WeightsFile},
		"cut weights":     {fstest.MapFS{WeightsFile: {Data: weights[:1000]}}, WeightsFile},
		"no gzip":         {fstest.MapFS{WeightsFile: {Data: weights}, "a.json.gz": {Data: []byte("x")}}, "a.json.gz"},
		"no onnx":         {fstest.MapFS{WeightsFile: {Data: weights}, "m.onnx": {Data: []byte("x")}}, "m.onnx"},
		"what is allowed": {fstest.MapFS{WeightsFile: {Data: weights}, "a.json": {Data: []byte("x")}}, ""},
	} {
		err := Expand(c.from, t.TempDir())
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is packed is unpacked on expansion, and packing gives the same bytes again.
func TestPack(t *testing.T) {
	weights, err := fs.ReadFile(embedded(), WeightsFile)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte(strings.Repeat("some text ", 100))
	name, data, err := Pack("a.json", text)
	if err != nil || name != "a.json.gz" || len(data) >= len(text) {
		t.Fatalf("%s of %d bytes, %v", name, len(data), err)
	}
	if _, again, err := Pack("a.json", text); err != nil || !bytes.Equal(again, data) {
		t.Errorf("packed again to other bytes, %v", err)
	}
	dir := t.TempDir()
	if err := Expand(fstest.MapFS{WeightsFile: {Data: weights}, name: {Data: data}}, dir); err != nil {
		t.Fatal(err)
	}
	if back, err := os.ReadFile(filepath.Join(dir, "a.json")); err != nil || !bytes.Equal(back, text) {
		t.Errorf("unpacked to %d bytes, %v", len(back), err)
	}
}
