package importer

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"editpipe/dataset"
)

func TestReadChoices(t *testing.T) {
	pool, report, err := ReadChoices(filepath.Join(samples, "piqa.jsonl"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(pool) != 3 || report.Records != 3 || len(report.Errors) != 1 || !strings.Contains(report.Errors[0].Text, "record 2 (byte 166), field goal") {
		t.Errorf("pool of %d, report %+v", len(pool), report)
	}
	same(t, "probe", pool[0], dataset.Probe{
		ID: "piqa-0", Family: dataset.Locality, Axis: dataset.AxisOtherTasks, Variant: "choices", Prompt: "Question: To dry a wet boot,\nAnswer:", Format: dataset.Choice, AnswerMode: dataset.OneChoice,
		Answers: []string{"fill it with paper."}, Choices: []string{"fill it with water.", "fill it with paper."}, ChoiceLabel: 1, SubjectStart: -1, SubjectEnd: -1, Phrasing: "imported",
	})
	if count(report, CodeChoicesRepeated) != 1 {
		t.Errorf("warnings: %v", report.Warnings)
	}
}

func TestReadGenericChoices(t *testing.T) {
	pool, report, err := ReadChoices(filepath.Join(samples, "choices.jsonl"), Options{Set: "birds"})
	if err != nil {
		t.Fatal(err)
	}
	if len(pool) != 2 || pool[0].ID != "birds-0" || pool[0].Answers[0] != "a gull" || len(pool[0].Choices) != 3 || pool[1].Answers[0] != "a cod" {
		t.Errorf("pool: %+v", pool)
	}
	want := []string{`want a number from 0 to 1, have "2"`, "want two or more, have 1", "neither the record nor a labels file", "field choices[1]: required field", "not valid JSON"}
	if len(report.Errors) != len(want) {
		t.Fatalf("errors: %v", report.Errors)
	}
	for i, w := range want {
		if !strings.Contains(report.Errors[i].Text, w) {
			t.Errorf("error %d is %q, want ...%s", i, report.Errors[i].Text, w)
		}
	}
}

func TestLabelsMustFit(t *testing.T) {
	labels := filepath.Join(t.TempDir(), "l")
	if err := os.WriteFile(labels, []byte("1\n0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ReadChoices(filepath.Join(samples, "piqa.jsonl"), Options{Labels: labels}); err == nil || !strings.Contains(err.Error(), "2 labels for the 4 records") {
		t.Errorf("too few labels: %v", err)
	}
	if _, _, err := ReadChoices(filepath.Join(samples, "piqa.jsonl"), Options{Labels: filepath.Join(samples, "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent labels: %v", err)
	}
}

func TestAttachChoices(t *testing.T) {
	pool, _, err := ReadChoices(filepath.Join(samples, "piqa.jsonl"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	recs, _, _ := read(t, "counterfact-flat", "counterfact_flat.json", Options{})
	got, err := AttachChoices(recs, pool, 2, 5)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for i, r := range got {
		added := r.Probes[len(recs[i].Probes):]
		if len(added) != 2 || added[0].ID == added[1].ID {
			t.Fatalf("record %d got %+v", i, added)
		}
		for _, p := range added {
			if p.EditID != r.Edit.ID || !strings.HasPrefix(string(p.ID), string(r.Edit.ID)+"-choice-piqa-") || p.Axis != dataset.AxisOtherTasks {
				t.Errorf("attached probe %+v", p)
			}
		}
	}
	// The draw depends on the edit, not on its place.
	last, err := AttachChoices(recs[len(recs)-1:], pool, 2, 5)
	if err != nil || !reflect.DeepEqual(last[0], got[len(got)-1]) {
		t.Errorf("alone the last record gets %+v, %v", last, err)
	}
	if n := len(recs[0].Probes); n != 3 {
		t.Errorf("the given records were changed: %d probes", n)
	}
	// Over many edits and seeds every question is drawn, and no draw repeats one.
	counts := make([]int, 10)
	for seed := range int64(300) {
		picked := draw(10, 3, seed, "e")
		for i, at := range picked {
			seen[at] = true
			counts[at]++
			if i > 0 && picked[i-1] >= at {
				t.Fatalf("draw %v", picked)
			}
		}
	}
	for at, n := range counts { // binomial, mean 90, standard deviation 8: 5 of them either way
		if n < 50 || n > 130 {
			t.Errorf("question %d drawn %d times of 300, want about 90", at, n)
		}
	}
	if _, err := AttachChoices(recs, pool, 4, 5); err == nil || !strings.Contains(err.Error(), "4 questions per record asked of a pool of 3") {
		t.Errorf("pool too small: %v", err)
	}
	if _, err := AttachChoices(recs, append(pool, pool[0]), 1, 5); err == nil || !strings.Contains(err.Error(), "two probes piqa-0") {
		t.Errorf("pool with a repeated id: %v", err)
	}
	if _, err := AttachChoices(recs, recs[0].Probes, 1, 5); err == nil {
		t.Error("probes without choices were attached")
	}
}
