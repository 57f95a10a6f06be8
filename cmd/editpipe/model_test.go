package main

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"editpipe/edit"
	"editpipe/models"
	"editpipe/onnx"
	"editpipe/ort/orttest"
	"editpipe/row"
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
			rows, err := store.ReadDir[row.Result](filepath.Join(out, string(store.TableResults)))
			if err != nil {
				t.Fatal(err)
			}
			count := map[row.Status]int{}
			for _, r := range rows {
				count[r.Status]++
			}
			if len(count) != 2 || count[row.SkippedLength] == 0 || count[row.OK] == 0 {
				t.Errorf("rows by status: %v", count)
			}
		})
	}
}

// rewire copies the embedded model and changes its graph.
func rewire(t *testing.T, change func(m *onnx.Model) error) string {
	t.Helper()
	dir := copyDir(t, embedded(t), filepath.Join(t.TempDir(), "model"))
	m, err := onnx.Open(filepath.Join(dir, "model.onnx"))
	if err == nil {
		err = change(m)
	}
	if err == nil {
		err = m.Save(filepath.Join(dir, "model.onnx"), onnx.SaveOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestRefusedInTheSameWords: what a model cannot do is said by inspect, by a plan,
// before any running text is read and before an edit, each time in the same words.
func TestRefusedInTheSameWords(t *testing.T) {
	orttest.Find(t)
	for _, c := range []struct {
		name, says string
		dir        string
	}{
		{"an operator without a rule", "operator Unheard of node", rewire(t, func(m *onnx.Model) error {
			for _, n := range slices.Backward(m.Graph.Nodes) { // behind the first block
				if n.OpType == "Softmax" {
					return m.Splice(n.Outputs[0], func(b *onnx.Builder, in string) (string, error) { return b.Op("Unheard", []string{in}), nil })
				}
			}
			return onnx.ErrUndefined
		})},
		{"a weight that cannot be changed", "decoder.0.ffn_down: the weight is stored in a Constant node", rewire(t, func(m *onnx.Model) error {
			info, err := models.Inspect(embedded(t))
			if err != nil {
				return err
			}
			name := info.FFNs[0].Down.Initializer
			i := slices.IndexFunc(m.Graph.Initializers, func(t *onnx.Tensor) bool { return t.Name == name })
			constant := &onnx.Node{OpType: "Constant", Name: "constant", Outputs: []string{name}, Attrs: []*onnx.Attribute{onnx.AttrTensor("value", m.Graph.Initializers[i])}}
			m.Graph.Initializers = slices.Delete(m.Graph.Initializers, i, i+1)
			m.Graph.Nodes = slices.Insert(m.Graph.Nodes, 0, constant)
			return nil
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			corpus := writeFile(t, filepath.Join(t.TempDir(), "corpus.txt"), strings.Repeat("Some text that runs on.\n", 50))
			with := func(args ...string) outcome { return call(t, append(args, "--model", c.dir)...) }
			plan := with("eval", "--plan", "--method", "rome", "--limit", "1", "--out", filepath.Join(t.TempDir(), "run"))
			_, words, ok := strings.Cut(plan.out, "unsupported: ")
			words, _, _ = strings.Cut(words, "\n")
			if !ok || !strings.Contains(words, c.says) || !strings.Contains(words, edit.ErrUnsupported.Error()) {
				t.Fatalf("the plan says\n%s%s", plan.out, plan.err)
			}
			prepare := with("prepare", "--method", "rome", "--corpus", corpus, "--out", t.TempDir())
			if prepare.code != exitFailure || !strings.Contains(prepare.err, words) || strings.Contains(prepare.err, "read ") {
				t.Errorf("prepare: code %d, says\n%s\nwant %q", prepare.code, prepare.err, words)
			}
			if o := with("edit", "--method", "rome", "--subject", "Ada", "--prompt", "Ada works as a", "--target", "pilot"); o.code != exitFailure || !strings.Contains(o.err, words) {
				t.Errorf("edit: code %d, says\n%s\nwant %q", o.code, o.err, words)
			}
			text := callOK(t, "inspect", "--model", c.dir).out
			if !strings.Contains(text, "not on this model: "+words) {
				t.Errorf("inspect says\n%s\nwant %q", text, words)
			}
			var info struct {
				Methods []methodFor `json:"methods"`
			}
			if err := json.Unmarshal([]byte(callOK(t, "inspect", "--json", "--model", c.dir).out), &info); err != nil {
				t.Fatal(err)
			}
			for _, m := range info.Methods {
				needs := map[string]bool{"rome": true, "memit": true, "pmet": true, "kn": true, "ft-l": true, "ft-m": true}[m.Name]
				if needs != strings.Contains(m.Why, c.says) {
					t.Errorf("%s: %q", m.Name, m.Why)
				}
			}
		})
	}
}
