//go:build shared

package dataset

import (
	"cmp"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// shared locates the folder of real data beside the repository.
func shared(t *testing.T) string {
	t.Helper()
	dir := cmp.Or(os.Getenv("EDITPIPE_SHARED"), filepath.Join("..", "..", "shared"))
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
		probes       map[Axis]int
		warnings     map[string]int
		skipped      map[string]int
	}{
		{
			"counterfact-flat", "data/counterfact/edit.json", 300,
			map[Axis]int{AxisReliability: 300, AxisGeneralization: 300, AxisNeighbourhood: 300},
			map[string]int{}, map[string]int{},
		},
		{
			"knowedit", "data/knowedit/zsre-test.json", 400,
			map[Axis]int{AxisReliability: 400, AxisGeneralization: 400, AxisOtherRelations: 800, AxisOneHop: 243, AxisSubjectReplace: 72, AxisReversedRelation: 85},
			map[string]int{CodeTrimmed: 4, CodeTargetIsTruth: 11}, map[string]int{},
		},
		{
			"counterfact", "fixtures/world/data/counterfact_like.json", 180,
			map[Axis]int{AxisReliability: 180, AxisGeneralization: 360, AxisNeighbourhood: 971},
			map[string]int{}, map[string]int{"attribute_prompts": 990, "generation_prompts": 540},
		},
		{
			"easyedit", "fixtures/world/data/easyedit_like.json", 240,
			map[Axis]int{
				AxisReliability: 240, AxisGeneralization: 240, AxisSubjectReplace: 194, AxisReversedRelation: 40, AxisOneHop: 140,
				AxisOtherRelations: 680, AxisDistractNeighbourhood: 720, AxisOtherTasks: 720,
			},
			map[string]int{CodeDuplicateProbe: 5}, map[string]int{"locality_prompt repeated in a named group": 240},
		},
		{
			"zsre", "fixtures/world/data/zsre_like.json", 240,
			map[Axis]int{AxisReliability: 240, AxisGeneralization: 240, AxisOtherTasks: 240},
			map[string]int{}, map[string]int{},
		},
	} {
		t.Run(c.format, func(t *testing.T) {
			path := filepath.Join(dir, c.path)
			if got, err := Detect(path); got != c.format || err != nil {
				t.Errorf("detected as %q, %v", got, err)
			}
			f, err := Open(c.format, path, Options{})
			if err != nil {
				t.Fatal(err)
			}
			recs, bad, err := ReadAll(f)
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
			ids := map[ProbeID]bool{}
			for _, rec := range recs {
				e := rec.Edit
				if e.Prompt[e.SubjectStart:e.SubjectEnd] != e.Subject {
					t.Errorf("%s: span covers %q", e.ID, e.Prompt[e.SubjectStart:e.SubjectEnd])
				}
				for _, p := range rec.Probes {
					if ids[p.ID] {
						t.Errorf("probe id %s twice", p.ID)
					}
					ids[p.ID] = true
					if p.Axis == AxisDistractNeighbourhood && p.Distractor != e.Prompt+" "+e.Target+"." {
						t.Errorf("%s: distractor %q", p.ID, p.Distractor)
					}
				}
			}
		})
	}
}

func TestSharedChoices(t *testing.T) {
	pool, r, err := ReadChoices(filepath.Join(shared(t), "data", "piqa", "valid.jsonl"), Options{Labels: filepath.Join(shared(t), "data", "piqa", "valid-labels.lst")})
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
}
