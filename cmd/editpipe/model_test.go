package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"editpipe/ort/orttest"
	"editpipe/store"
)

// TestLongPrompts: where config.json says more positions than the model's table
// has, or none, the row beyond the table is skipped and the others are scored.
func TestLongPrompts(t *testing.T) {
	orttest.Find(t)
	dir := t.TempDir()
	callOK(t, "import", "--in", "testdata/long-prompts.json", "--out", filepath.Join(dir, "data"))
	for name, said := range map[string]string{"none": "", "too many": `"n_positions": 4096,`} {
		t.Run(name, func(t *testing.T) {
			model := copyDir(t, embedded(t), filepath.Join(t.TempDir(), "model"))
			config := string(readFile(t, filepath.Join(model, "config.json")))
			writeFile(t, filepath.Join(model, "config.json"), regexp.MustCompile(`"n_positions": *\d+,`).ReplaceAllString(config, said))
			if text := callOK(t, "inspect", "--model", model).out; !strings.Contains(text, "rows of transformer.wpe.weight") {
				t.Errorf("inspect does not say what bounds the context:\n%s", text)
			}
			out := filepath.Join(t.TempDir(), "run")
			callOK(t, "eval", "--model", model, "--data", filepath.Join(dir, "data"), "--method", "none", "--out", out)
			rows, err := store.ReadDir[store.Result](filepath.Join(out, string(store.TableResults)))
			if err != nil {
				t.Fatal(err)
			}
			count := map[store.Status]int{}
			for _, r := range rows {
				count[r.Status]++
			}
			if len(count) != 2 || count[store.SkippedLength] == 0 || count[store.OK] == 0 {
				t.Errorf("rows by status: %v", count)
			}
		})
	}
}
