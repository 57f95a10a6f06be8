package sets

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/dataset/importer"
	"editpipe/store"
)

// table writes a table of edits and gives an import of it.
func table(t *testing.T, rows ...string) Import {
	t.Helper()
	dir := t.TempDir()
	columns, err := importer.ParseMap("prompt=p,subject=s,target_new=t,ground_truth=g")
	if err != nil {
		t.Fatal(err)
	}
	return Import{
		In: put(t, filepath.Join(dir, "facts.csv"), "p,s,t,g\n"+strings.Join(rows, "\n")+"\n"), Out: filepath.Join(dir, "data"),
		Format: "custom", Options: importer.Options{Map: columns},
	}
}

func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// A broken row is told of and counted; what is left goes out as CounterFact's
// records, comes back the same, and opens from either.
func TestImportAndConvert(t *testing.T) {
	in := table(t, "Orn is,Orn,red,blue", "Vik is,Vik,,blue", "Tol is,Tol,green,")
	var told []string
	in.LeftOut = func(fault string) { told = append(told, fault) }
	pool := strings.Repeat(`{"goal": "boil water", "sol1": "use a kettle", "sol2": "use a hat", "label": 0}`+"\n", 3)
	in.Choices = Choices{File: put(t, filepath.Join(filepath.Dir(in.In), "pool.jsonl"), pool), PerEdit: 2}
	done, err := in.Do(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if done.Read != 3 || done.Records != 2 || done.Probes[dataset.AxisOtherTasks] != 4 || done.Choices.Read != 3 {
		t.Errorf("imported %+v", done)
	}
	if len(told) != 1 || !strings.Contains(told[0], "field t") || len(done.Errors) != 1 {
		t.Errorf("told of %q, errors %v", told, done.Errors)
	}
	records, _, err := store.ReadDataset(in.Out)
	if err != nil || len(records) != 2 || records[1].Edit.Target != "green" {
		t.Fatalf("%+v, %v", records, err)
	}

	file := filepath.Join(filepath.Dir(in.In), "out.json")
	report, err := Convert{Records: records, To: "counterfact", Out: file}.Do()
	if err != nil || report.Records != 1 || report.Refused["without an old object"] != 1 {
		t.Fatalf("converted %+v, %v", report, err)
	}
	for _, path := range []string{in.Out, file} {
		source, err := Open(path, "", importer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		first, broken, err := dataset.ReadAll(source)
		if err != nil || broken != nil || first[0].Edit.Prompt != "Orn is" || first[0].Edit.Target != "red" {
			t.Errorf("%s: %+v, %v, %v", path, first, broken, err)
		}
	}
}

// Where nothing can be written there is no file and no folder.
func TestNothingIsWritten(t *testing.T) {
	none := table(t, "Vik is,Vik,,blue")
	if _, err := none.Do(context.Background()); !errors.Is(err, ErrNothing) || !strings.Contains(err.Error(), none.In) {
		t.Errorf("no record: %v", err)
	}
	few := table(t, "Orn is,Orn,red,blue")
	few.Choices = Choices{File: put(t, filepath.Join(t.TempDir(), "pool.jsonl"), `{"question": "a", "choices": ["b", "c"], "label": 1}`), PerEdit: 2}
	var choices *ChoicesError
	if _, err := few.Do(context.Background()); !errors.As(err, &choices) || choices.File != few.Choices.File {
		t.Errorf("too few choices: %v", err)
	}
	cancelled, stop := context.WithCancel(context.Background())
	stop()
	whole := table(t, "Orn is,Orn,red,blue")
	if _, err := whole.Do(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	file := filepath.Join(t.TempDir(), "out.json")
	noOld := []dataset.Record{{Edit: dataset.Edit{ID: "a", Prompt: "Vik is", Subject: "Vik", Target: "red"}}}
	if _, err := (Convert{Records: noOld, To: "counterfact", Out: file}).Do(); !errors.Is(err, ErrNothing) || !strings.Contains(err.Error(), "without an old object") {
		t.Errorf("no edit the format can hold: %v", err)
	}
	for _, path := range []string{none.Out, few.Out, whole.Out, file} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there: %v", path, err)
		}
	}
	if _, err := Open(file, "", importer.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opening what is not there: %v", err)
	}
}
