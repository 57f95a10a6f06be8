//go:build shared

package importer

import (
	"cmp"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"editpipe/dataset"
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

// The counts were taken from the files with a JSON reader of another language.
func TestSharedFiles(t *testing.T) {
	dir := shared(t)
	for _, c := range []struct {
		format, path string
		records      int
		probes       map[dataset.Axis]int
		warnings     map[string]int
		skipped      map[string]int
	}{
		{
			"counterfact-flat", "data/counterfact/edit.json", 300,
			map[dataset.Axis]int{dataset.AxisReliability: 300, dataset.AxisGeneralization: 300, dataset.AxisNeighbourhood: 300},
			map[string]int{}, map[string]int{},
		},
		{
			"knowedit", "data/knowedit/zsre-test.json", 400,
			map[dataset.Axis]int{dataset.AxisReliability: 400, dataset.AxisGeneralization: 400, dataset.AxisOtherRelations: 800, dataset.AxisOneHop: 243, dataset.AxisSubjectReplace: 72, dataset.AxisReversedRelation: 85},
			map[string]int{CodeTrimmed: 4, CodeTargetIsTruth: 11}, map[string]int{},
		},
		{
			"counterfact", "fixtures/world/data/counterfact_like.json", 180,
			map[dataset.Axis]int{dataset.AxisReliability: 180, dataset.AxisGeneralization: 360, dataset.AxisNeighbourhood: 971},
			map[string]int{}, map[string]int{"attribute_prompts": 990, "generation_prompts": 540},
		},
		{
			"easyedit", "fixtures/world/data/easyedit_like.json", 240,
			map[dataset.Axis]int{
				dataset.AxisReliability: 240, dataset.AxisGeneralization: 240, dataset.AxisSubjectReplace: 194, dataset.AxisReversedRelation: 40, dataset.AxisOneHop: 140,
				dataset.AxisOtherRelations: 680, dataset.AxisDistractNeighbourhood: 720, dataset.AxisOtherTasks: 720,
			},
			map[string]int{CodeDuplicateProbe: 5}, map[string]int{"locality_prompt repeated in a named group": 240},
		},
		{
			"mquake", "data/mquake/hard.json", 160, // 40 cases of four edits, all hops edited
			map[dataset.Axis]int{dataset.AxisReliability: 160, dataset.AxisGeneralization: 160, dataset.AxisOneHop: 120},
			map[string]int{CodeTrimmed: 1}, map[string]int{"single_hops before the edit": 160},
		},
		{
			"zsre", "fixtures/world/data/zsre_like.json", 240,
			map[dataset.Axis]int{dataset.AxisReliability: 240, dataset.AxisGeneralization: 240, dataset.AxisOtherTasks: 240},
			map[string]int{}, map[string]int{},
		},
	} {
		t.Run(c.format, func(t *testing.T) {
			path := filepath.Join(dir, c.path)
			if got, err := Detect(path, Options{}); got != c.format || err != nil {
				t.Errorf("detected as %q, %v", got, err)
			}
			f, err := Open(c.format, path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			recs, bad, err := dataset.ReadAll(f)
			if err != nil || len(bad) != 0 {
				t.Fatalf("%v, %v", err, bad)
			}
			r := f.Report()
			if len(recs) != c.records || r.Records != c.records {
				t.Errorf("%d records, want %d", len(recs), c.records)
			}
			if !reflect.DeepEqual(r.Probes, c.probes) {
				t.Errorf("probes %v, want %v", r.Probes, c.probes)
			}
			if got := codes(r); !reflect.DeepEqual(got, c.warnings) {
				t.Errorf("warnings %v, want %v", got, c.warnings)
			}
			if !reflect.DeepEqual(r.Skipped, c.skipped) {
				t.Errorf("skipped %v, want %v", r.Skipped, c.skipped)
			}
			ids := map[dataset.ProbeID]bool{}
			for _, rec := range recs {
				e := rec.Edit
				if e.Prompt[e.SubjectStart:e.SubjectEnd] != e.Subject {
					t.Errorf("%s: span covers %q", e.ID, e.Prompt[e.SubjectStart:e.SubjectEnd])
				}
				if c.format == "mquake" && (e.SubjectID == "" || e.RelationLabel == "" || e.PromptQuestion == "") {
					t.Errorf("edit without the names of its fact: %+v", e)
				}
				for _, p := range rec.Probes {
					if ids[p.ID] {
						t.Errorf("probe id %s twice", p.ID)
					}
					ids[p.ID] = true
					if p.Axis == dataset.AxisDistractNeighbourhood && p.Distractor != e.Prompt+" "+e.Target+"." {
						t.Errorf("%s: distractor %q", p.ID, p.Distractor)
					}
				}
			}
		})
	}
}

func TestSharedChoices(t *testing.T) {
	file := filepath.Join(shared(t), "data", "piqa", "valid.jsonl")
	pool, r, err := ReadChoices(file, Options{Labels: filepath.Join(shared(t), "data", "piqa", "valid-labels.lst")})
	if err != nil {
		t.Fatal(err)
	}
	ones := 0
	for _, p := range pool {
		ones += int(p.ChoiceLabel)
	}
	if len(pool) != 300 || ones != 152 || len(r.Errors) != 0 || pool[0].ChoiceLabel != 0 || pool[1].ChoiceLabel != 1 {
		t.Errorf("%d questions, errors %v", len(pool), r.Errors)
	}
	beside, _, err := ReadChoices(file, Options{}) // PIQA's own name of the labels' file is looked for
	if err != nil || !reflect.DeepEqual(pool, beside) {
		t.Errorf("without naming the labels: %d questions, %v", len(beside), err)
	}
}
