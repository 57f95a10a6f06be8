package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/ort/orttest"
	"editpipe/row"
	"editpipe/store"
)

// A set whose records name no subject is kept; methods that need none are run on
// it, the others give rows that say why.
func TestNoSubject(t *testing.T) {
	orttest.Find(t)
	dir := t.TempDir()
	in := writeFile(t, filepath.Join(dir, "in.json"), `[
		{"prompt": "Who built the mill of Arden?", "target_new": "Ivo Lang", "ground_truth": "Ulla Reim", "rephrase_prompt": "Which person constructed the mill of Arden?"},
		{"prompt": "When does the ferry to Norhaven leave?", "subject": null, "target_new": "at nine", "ground_truth": "at six"}]`)
	data, run := filepath.Join(dir, "data"), filepath.Join(dir, "run")
	if o := callOK(t, "import", "--in", in, "--out", data); !strings.Contains(o.out, "warning no_subject: 2 records") {
		t.Errorf("import says\n%s", o.out)
	}
	// ike shows the second record for the edit of the first.
	// memit and pmet, which share how rome finds its subject, want preparation first.
	callOK(t, "eval", "--data", data, "--limit", "1", "--method", "none,ice,ike,ft-l,ft-m,rome,kn",
		"--set", "ft-l.num_steps=1", "--set", "ft-m.num_steps=1", "--set", "rome.mom2_adjustment=false", "--out", run)
	rows, err := store.ReadDir[row.Result](filepath.Join(run, "results"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]row.Status{}
	for _, r := range rows {
		if s, ok := seen[r.Method]; ok && s != r.Status {
			t.Errorf("%s: %s and %s", r.Method, s, r.Status)
		}
		seen[r.Method] = r.Status
		if r.Status == row.Unsupported && !strings.Contains(r.Detail, "names no subject") {
			t.Errorf("%s: %s", r.Method, r.Detail)
		}
	}
	for _, m := range []string{"none", "ice", "ike", "ft-l", "ft-m"} {
		if seen[m] != row.OK {
			t.Errorf("%s: %q", m, seen[m])
		}
	}
	for _, m := range []string{"rome", "kn"} {
		if seen[m] != row.Unsupported {
			t.Errorf("%s: %q", m, seen[m])
		}
	}
}

// edit needs a subject for no method that does without, and reads its texts as
// import does.
func TestEditTexts(t *testing.T) {
	orttest.Find(t)
	type line struct {
		Prompt string   `json:"prompt"`
		Target string   `json:"target"`
		Before *float64 `json:"logp_before"`
		LogP   *float64 `json:"logp_after"`
		Was    string   `json:"answer_before"`
		Is     string   `json:"answer_after"`
	}
	var want []line
	parse(t, callOK(t, "edit", "--json", "--method", "ice", "--prompt", "Who built the mill?", "--target", "Ivo Lang").out, &want)
	for _, args := range [][]string{{"--prompt", " Who built the mill? ", "--target", "Ivo Lang "}, {"--prompt", "Who built the mill?\n", "--subject", "The  Mill ", "--target", "Ivo Lang"}} {
		var got []line
		parse(t, callOK(t, append([]string{"edit", "--json", "--method", "ice"}, args...)...).out, &got)
		if len(got) != 1 || got[0].Prompt != want[0].Prompt || got[0].Target != "Ivo Lang" || *got[0].LogP != *want[0].LogP {
			t.Errorf("%q: %+v, want %+v", args, got, want)
		}
	}
	if o := call(t, "edit", "--method", "rome", "--set", "rome.mom2_adjustment=false", "--prompt", "Who built the mill?", "--target", "Ivo Lang"); o.code != exitFailure || !strings.Contains(o.err, "names no subject") {
		t.Errorf("rome without a subject: code %d\n%s", o.code, o.err)
	}
}

// The same set comes in from JSON, JSON lines, one indented record, the editor's
// arguments, packed text and Parquet.
func TestSetsInEveryForm(t *testing.T) {
	dir := t.TempDir()
	type question struct {
		Prompt string `json:"prompt" parquet:"prompt"`
		Truth  string `json:"ground_truth" parquet:"ground_truth"`
	}
	type groups struct {
		Neighbours question `json:"neighborhood" parquet:"neighborhood"`
	}
	type request struct {
		Prompt   string `json:"prompt" parquet:"prompt"`
		Subject  string `json:"subject" parquet:"subject"`
		Target   string `json:"target_new" parquet:"target_new"`
		Truth    string `json:"ground_truth" parquet:"ground_truth"`
		Locality groups `json:"locality" parquet:"locality"`
	}
	requests := []request{
		{"Lena Voss, the", "Lena Voss", "cello", "flute", groups{question{"Otto Reim, the", "flute"}}},
		{"Karl Amt works in", "Karl Amt", "Bonn", "Köln", groups{question{"Emil Dorn works in", "Köln"}}},
	}
	text := func(v any, indent string) string {
		b, err := json.MarshalIndent(v, "", indent)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	line := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b) + "\n"
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(text(requests, " "))); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	arguments := map[string]any{
		"prompts": []string{requests[0].Prompt, requests[1].Prompt}, "subject": []string{"Lena Voss", "Karl Amt"}, "target_new": []string{"cello", "Bonn"}, "ground_truth": []string{"flute", "Köln"},
		"locality_inputs": map[string]any{"neighborhood": map[string]any{"prompt": []string{"Otto Reim, the", "Emil Dorn works in"}, "ground_truth": []string{"flute", "Köln"}}},
	}
	table := filepath.Join(dir, "set.parquet")
	if err := store.Write(table, requests, nil); err != nil {
		t.Fatal(err)
	}
	read := func(path string) []dataset.Record {
		out := filepath.Join(t.TempDir(), "data")
		callOK(t, "import", "--in", path, "--name", "s", "--out", out)
		records, _, err := store.ReadDataset(out)
		if err != nil {
			t.Fatal(err)
		}
		return records
	}
	want := store.HashRecords(read(writeFile(t, filepath.Join(dir, "set.json"), text(requests, "  "))))
	for _, path := range []string{
		writeFile(t, filepath.Join(dir, "set.jsonl"), line(requests[0])+line(requests[1])),
		writeFile(t, filepath.Join(dir, "indented.json"), text(requests[0], "  ")+"\n"+text(requests[1], "  ")),
		writeFile(t, filepath.Join(dir, "arguments.json"), text(arguments, "    ")),
		writeFile(t, filepath.Join(dir, "set.json.gz"), packed.String()),
		table,
	} {
		if records := read(path); store.HashRecords(records) != want {
			t.Errorf("%s gives other records: %+v", path, records)
		}
	}
	one := read(writeFile(t, filepath.Join(dir, "one.json"), text(requests[0], "  ")))
	if len(one) != 1 || one[0].Edit.Subject != "Lena Voss" {
		t.Errorf("one indented record: %+v", one)
	}
	// audit reads the same files.
	var r audited
	parse(t, callOK(t, "audit", "--json", table).out, &r)
	if r.Records != 2 || r.Probes != 4 {
		t.Errorf("audit of the Parquet file: %d records, %d probes", r.Records, r.Probes)
	}
	csv := filepath.Join(dir, "flat.parquet")
	if err := store.Write(csv, requests, nil); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "custom")
	callOK(t, "import", "--format", "custom", "--map", "prompt=prompt,subject=subject,target_new=target_new", "--map", "neighbourhood.prompt=locality.neighborhood.prompt,neighbourhood.answer=locality.neighborhood.ground_truth",
		"--in", csv, "--out", out)
	records, _, err := store.ReadDataset(out)
	if err != nil || len(records) != 2 || len(records[1].Probes) != 2 || !slices.Equal(records[1].Probes[1].Answers, []string{"Köln"}) {
		t.Errorf("a mapping of Parquet columns: %+v, %v", records, err)
	}
}

// A subject that stands in its prompt twice is doubted on the way in and afterwards.
func TestRepeatedSubjectIsDoubted(t *testing.T) {
	dir := t.TempDir()
	in := writeFile(t, filepath.Join(dir, "in.json"), `[{"prompt": "Oslo, the town of oslo, lies in", "subject": "Oslo", "target_new": "Rome", "ground_truth": "Norway"}]`)
	data := filepath.Join(dir, "data")
	if o := callOK(t, "import", "--in", in, "--out", data); !strings.Contains(o.out, "warning subject_repeated: 1 records") {
		t.Errorf("import says\n%s", o.out)
	}
	for _, path := range []string{in, data} {
		if o := callOK(t, "audit", path); !strings.Contains(o.out, "subject_repeated") || strings.Contains(o.out, "on any axis: subject_repeated") {
			t.Errorf("audit of %s says\n%s", path, o.out)
		}
		var r audited
		parse(t, callOK(t, "audit", "--json", path).out, &r)
		found := false
		for _, tally := range r.Tallies {
			found = found || tally.Code == "subject_repeated" && tally.Found == 1
		}
		if !found {
			t.Errorf("audit of %s finds no repeated subject", path)
		}
	}
}

// TestOutputFiles: a file to write is tried before anything is read, and takes
// the place of no file that a run, data or a model is made of.
func TestOutputFiles(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	imported(t, dir)
	writeFile(t, at("run/manifest.json"), `{"schema_version": "0", "run_id": "1"}`)
	writeFile(t, at("run/results/a.parquet"), "rows")
	writeFile(t, at("run/patches/a/b.wraps/0/c.json"), "{}")
	writeFile(t, at("model/reports/old.json"), "{}")
	writeFile(t, at("kb/manifest.json"), `{"catalogue_sha256": "00"}`)
	writeFile(t, at("model/config.json"), "{}")
	writeFile(t, at("model/onnx/model.onnx"), "graph")
	writeFile(t, at("site/manifest.json"), `{"name": "a web page"}`)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(at("run"), link); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	for _, c := range []struct {
		path string
		code int
	}{
		{at("run/manifest.json"), exitUsage}, {at("run/results/a.parquet"), exitUsage}, {at("run/patches/a/b.wraps/0/c.json"), exitUsage}, {filepath.Join(link, "results/a.parquet"), exitUsage},
		{at("data/probes.parquet"), exitUsage}, {at("kb/manifest.json"), exitUsage},
		{at("model/config.json"), exitUsage}, {at("model/onnx/model.onnx"), exitUsage},
		{at("site"), exitUsage}, {at("none/file"), exitFailure},
	} {
		for _, args := range [][]string{
			{"report", at("norun"), "--out", c.path},
			{"convert", "--data", at("nodata"), "--to", "zsre", "--out", c.path},
			{"edit", "--model", at("nomodel"), "--prompt", "A b", "--target", "c", "--save", c.path},
		} {
			if o := call(t, args...); o.code != c.code || !strings.Contains(o.err, c.path) || strings.Contains(o.err, ".probe") {
				t.Errorf("%s %s: code %d, %s", args[0], c.path, o.code, o.err)
			}
		}
	}
	// edit --save writes a second file.
	writeFile(t, at("model/paris.json"), "{}")
	if o := call(t, "edit", "--model", at("nomodel"), "--prompt", "A b", "--target", "c", "--save", at("model/paris")); o.code != exitUsage || !strings.Contains(o.err, at("model/paris.json")) {
		t.Errorf("code %d, %s", o.code, o.err)
	}
	if err := os.Remove(at("model/paris.json")); err != nil {
		t.Fatal(err)
	}
	if after := contents(t, dir); !maps.Equal(before, after) {
		t.Errorf("%v, before %v", sortedKeys(after), sortedKeys(before))
	}
	// A new file, and one of another program's folder, are written.
	for _, path := range []string{"run/new.json", "site/manifest.json", "model/reports/old.json"} {
		callOK(t, "convert", "--data", at("data"), "--to", "zsre", "--out", at(path))
	}
}
