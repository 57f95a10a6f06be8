package sets

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"editpipe/audit"
	"editpipe/dataset"
	"editpipe/store"
)

// TestGeneratedSetsPassTheAudit audits what the generator makes, with the
// knowledge base it was made from: no leak, no ambiguous alias, no reversal
// with several answers, nor anything else that is called a fault or a doubt.
func TestGeneratedSetsPassTheAudit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sets")
	if _, err := (Generate{Out: dir, N: 60, Seed: 5}).Do(context.Background()); err != nil {
		t.Fatal(err)
	}
	records, _, err := store.ReadDataset(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "audit")
	report, err := Audit{Source: dataset.List("sets", records), KB: World, Out: out}.Do(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	// The catalogue's wordings of one relation may be this close; the probes ask
	// them as paraphrases all the same.
	tolerated := map[string]bool{"near_duplicate_probe": true}
	checked := map[string]int64{}
	for _, row := range report.Tallies {
		checked[row.Code] += row.Checked
		if row.Severity != audit.Note && row.Found > 0 && !tolerated[row.Code] {
			t.Errorf("%s on %s: %d of %d: %v", row.Code, row.Axis, row.Found, row.Checked, row.Examples)
		}
	}
	for _, code := range []string{"target_in_prompt", "answer_in_prompt", "alias_ambiguous", "alias_overlap", "reversed_many", "fact_not_current", "truth_not_current"} {
		if checked[code] < 20 {
			t.Errorf("%s had %d to check", code, checked[code])
		}
	}
	if over := report.Over(); len(over) > 0 {
		t.Errorf("over the limit: %v", over)
	}
	findings, err := store.Read[audit.Finding](filepath.Join(out, FindingsFile))
	if err != nil {
		t.Fatal(err)
	}
	tallies, err := store.Read[audit.Tally](filepath.Join(out, ChecksFile))
	if err != nil || len(tallies) != len(report.Tallies) {
		t.Fatalf("%d rows of %d, %v", len(tallies), len(report.Tallies), err)
	}
	for _, row := range tallies {
		n := int64(0)
		for _, f := range findings {
			if f.Code == row.Code && f.Axis == row.Axis {
				n++
			}
		}
		if n != row.Found+row.ApartFound {
			t.Errorf("%s on %s: %d findings, the row says %d and %d apart", row.Code, row.Axis, n, row.Found, row.ApartFound)
		}
	}
	// Probes kept apart are so for a reason, which the audit finds again.
	for _, code := range []string{"alias_overlap", "reversed_many"} {
		if !slices.ContainsFunc(findings, func(f audit.Finding) bool { return f.Code == code && f.Apart }) {
			t.Errorf("no probe apart has %s", code)
		}
	}
}

func TestAuditOfMissingThings(t *testing.T) {
	src := dataset.List("none", nil)
	for _, a := range []Audit{
		{Source: src, KB: filepath.Join(t.TempDir(), "none.json")},
		{Source: src, Tokenizer: filepath.Join(t.TempDir(), "none")},
		{Source: src, KB: World, AsOf: "tomorrow"},
		{Source: src, Limits: map[string]float64{"beauty": 1}},
	} {
		if _, err := a.Do(context.Background()); err == nil {
			t.Errorf("%+v gives no error", a)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	out := filepath.Join(t.TempDir(), "audit")
	if _, err := (Audit{Source: dataset.List("one", make([]dataset.Record, 1)), Out: out}).Do(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(out, "*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left of a cancelled audit, %v", left, err)
	}
}
