//go:build shared

package exporter

import (
	"bytes"
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/dataset/importer"
)

// shared locates the folder of real data beside the repository.
func shared(t *testing.T) string {
	t.Helper()
	dir := cmp.Or(os.Getenv("EDITPIPE_SHARED"), filepath.Join("..", "..", "..", "shared"))
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no shared data in %s: set EDITPIPE_SHARED", dir)
	}
	return dir
}

// objects reads a JSON array without knowing its fields, and trims every text:
// that is all the importer changes in it.
func objects(t *testing.T, text []byte) []map[string]any {
	t.Helper()
	var list []map[string]any
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	var trim func(v any) any
	trim = func(v any) any {
		switch v := v.(type) {
		case string:
			return strings.TrimSpace(v)
		case []any:
			for i := range v {
				v[i] = trim(v[i])
			}
		case map[string]any:
			for k := range v {
				v[k] = trim(v[k])
			}
		}
		return v
	}
	for _, o := range list {
		trim(o)
	}
	return list
}

// Real files come out of import and export field by field as they went in, but
// for the fields that are named here.
func TestSharedFilesComeBack(t *testing.T) {
	dir := shared(t)
	for _, c := range []struct {
		format, path string
		records      int
		unused       []string // fields the importer does not read
		left         map[string]int
	}{
		{"knowedit", "data/knowedit/zsre-test.json", 400, []string{"cond"}, map[string]int{}}, // cond is the edit again, with a model's answer
		{"zsre", "fixtures/world/data/zsre_like.json", 240, []string{"cond", "pred"}, map[string]int{}},
		{"counterfact", "fixtures/world/data/counterfact_like.json", 180, []string{"pararel_idx", "attribute_prompts", "generation_prompts"}, map[string]int{}},
	} {
		t.Run(c.format, func(t *testing.T) {
			path := filepath.Join(dir, c.path)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			src, err := importer.Open(c.format, path, importer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			recs, bad, err := dataset.ReadAll(src)
			if err != nil || len(bad) != 0 {
				t.Fatal(err, bad)
			}
			var b bytes.Buffer
			report, err := Write(&b, c.format, recs)
			if err != nil || report.Records != c.records || len(report.Refused) != 0 || !reflect.DeepEqual(report.LeftOut, c.left) {
				t.Errorf("report %+v, %v", report, err)
			}
			want, got := objects(t, text), objects(t, b.Bytes())
			if len(got) != len(want) || len(want) != c.records {
				t.Fatalf("%d records of %d", len(got), len(want))
			}
			differ := 0
			for i := range want {
				for _, f := range c.unused {
					delete(want[i], f)
					delete(got[i], f)
				}
				if !reflect.DeepEqual(got[i], want[i]) {
					if differ++; differ <= 3 {
						t.Errorf("record %d is\n%v\nwas\n%v", i, got[i], want[i])
					}
				}
			}
			if differ > 0 {
				t.Errorf("%d records differ", differ)
			}
		})
	}
}
