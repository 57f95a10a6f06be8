package main

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"editpipe/dataset/exporter"
	"editpipe/store"
)

// The embedded data goes out in every format and comes back with as many edits
// and questions as the command says.
func TestConvert(t *testing.T) {
	dir := t.TempDir()
	for _, f := range exporter.Formats() {
		file, back := filepath.Join(dir, f.Name+".json"), filepath.Join(dir, f.Name)
		said := callOK(t, "convert", "--to", f.Name, "--out", file).out
		callOK(t, "import", "--in", file, "--out", back) // recognised without --format
		records, _, err := store.ReadDataset(back)
		if err != nil {
			t.Fatal(err)
		}
		head, counts, _ := strings.Cut(said, "\n")
		if want := " 400 records as " + f.Name + " -> " + file; !strings.HasSuffix(head, want) || len(records) != 400 {
			t.Errorf("%s: %q, %d records back", f.Name, head, len(records))
		}
		read := map[string]int{}
		for _, r := range records {
			for _, p := range r.Probes {
				read[string(p.Axis)]++
			}
		}
		for line := range strings.Lines(counts) {
			if words := strings.Fields(line); len(words) == 3 && words[2] == "probes" {
				if got := read[words[0]]; words[1] != strconv.Itoa(got) {
					t.Errorf("%s: %d %s questions back, the command says %s", f.Name, got, words[0], words[1])
				}
				delete(read, words[0])
			}
		}
		if len(read) > 0 {
			t.Errorf("%s: questions the command does not count: %v", f.Name, read)
		}
	}
}

// The questions of --choices are counted with those of the file.
func TestImportCountsChoices(t *testing.T) {
	dir := t.TempDir()
	pool := writeFile(t, filepath.Join(dir, "pool.jsonl"), strings.Repeat(choice, 5))
	o := callOK(t, "import", "--in", "testdata/counterfact.json", "--choices", pool, "--choices-per-edit", "3", "--out", filepath.Join(dir, "data"))
	if !strings.Contains(o.out, "other_tasks") || !strings.Contains(o.out, " 6 probes") {
		t.Errorf("two edits with three questions each:\n%s", o.out)
	}
	if o := call(t, "import", "--in", "testdata/counterfact.json", "--choices", pool, "--choices-per-edit", "-1", "--out", filepath.Join(dir, "none")); o.code != exitUsage {
		t.Errorf("a number below zero: code %d\n%s", o.code, o.err)
	}
}

// Every format says what it reads, where its files come from and under which licence.
func TestListFormats(t *testing.T) {
	var rows []listed
	parse(t, callOK(t, "list", "formats", "--json").out, &rows)
	text := callOK(t, "list", "formats").out
	written := 0
	for _, r := range rows {
		if r.Schema == "" || r.Source == "" || r.Licence == "" {
			t.Errorf("%+v", r)
		}
		for _, want := range []string{"reads: " + r.Schema, "from: " + r.Source, "licence: " + r.Licence} {
			if !strings.Contains(text, want) {
				t.Errorf("the text of %s lacks %q", r.Name, want)
			}
		}
		if r.Written != "" {
			written++
		}
	}
	if written != len(exporter.Formats()) {
		t.Errorf("%d formats can be written, want %d", written, len(exporter.Formats()))
	}
}
