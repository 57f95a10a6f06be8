//go:build shared

package audit_test

import (
	"cmp"
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"editpipe/audit"
	"editpipe/dataset"
	"editpipe/dataset/importer"
	"editpipe/token"
)

func shared(t *testing.T, parts ...string) string {
	t.Helper()
	root := cmp.Or(os.Getenv("EDITPIPE_SHARED"), filepath.Join("..", "..", "shared"))
	if _, err := os.Stat(root); err != nil {
		t.Skipf("reference folder %s is not here", root)
	}
	return filepath.Join(append([]string{root, "data"}, parts...)...)
}

func auditFile(t *testing.T, format, path string) (*audit.Report, []audit.Finding) {
	t.Helper()
	file, err := importer.Open(format, path, importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := token.Open(shared(t, "tokenizers", "gpt2", "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	var findings []audit.Finding
	report, err := audit.Run(context.Background(), file, audit.Options{Tokenizer: tok, Find: func(f audit.Finding) error { findings = append(findings, f); return nil }})
	if err != nil {
		t.Fatal(err)
	}
	return report, findings
}

// share returns found and checked of a row of the report.
func share(t *testing.T, r *audit.Report, code string, axis dataset.Axis) (found, checked int64) {
	t.Helper()
	at := slices.IndexFunc(r.Tallies, func(row audit.Tally) bool { return row.Code == code && row.Axis == axis })
	if at < 0 {
		t.Fatalf("%s was not checked on %s", code, axis)
	}
	return r.Tallies[at].Found, r.Tallies[at].Checked
}

// deviations is by how many standard errors of a sample of its size a share may
// differ from that of the whole file.
const deviations = 3

// nearWhole compares the share of a sample with that of the whole file. What the
// whole file has, the sample has too.
func nearWhole(t *testing.T, code string, found, checked int64, whole float64) {
	t.Helper()
	got := float64(found) / float64(checked)
	t.Logf("%-20s %4d of %4d = %.3f, whole file %.3f", code, found, checked, got, whole)
	if found == 0 || math.Abs(got-whole) > deviations*math.Sqrt(whole*(1-whole)/float64(checked)) {
		t.Errorf("%s: share %.3f of %d, whole file %.3f", code, got, checked, whole)
	}
}

// TestKnowEdit compares the sample's shares with those that were counted in the
// whole file by other means (plain string tests), and looks for records that a
// reader of the file finds at fault.
func TestKnowEdit(t *testing.T) {
	report, findings := auditFile(t, "knowedit", shared(t, "knowedit", "zsre-test.json"))
	for _, c := range []struct {
		code string
		axis dataset.Axis
		want float64
	}{
		{"target_in_prompt", dataset.AxisOneHop, 171.0 / 771},
		{"answer_is_target", dataset.AxisOneHop, 15.0 / 771},
		{"long_answer", dataset.AxisOneHop, 40.0 / 771},
		{"alias_overlap", dataset.AxisSubjectReplace, 41.0 / 264},
		{"alias_reworded", dataset.AxisSubjectReplace, 180.0 / 264},
		{"reversed_family", dataset.AxisReversedRelation, (131.0 + 88 + 16 + 6) / 269},
		{"target_is_truth", audit.AxisEdit, 43.0 / 1304},
		{"trimmed", audit.AxisEdit, 10.0 / 1304},
		{"first_token_clash", audit.AxisEdit, 0.086},
		{"one_token_target", audit.AxisEdit, 0.18},
	} {
		found, checked := share(t, report, c.code, c.axis)
		nearWhole(t, c.code, found, checked, c.want)
	}
	for _, want := range []struct{ code, edit, evidence string }{
		{"target_in_prompt", "knowedit-5", "In which county can you find both Charity Creek and Charity River?"},
		{"trimmed", "knowedit-5", ""},
		{"alias_overlap", "knowedit-13", "What type of company is Sigil Games Online, Inc.?"},
		{"reversed_family", "knowedit-1", "Who is the son of Wang Chonghua?"},
	} {
		if !slices.ContainsFunc(findings, func(f audit.Finding) bool {
			return f.Code == want.code && string(f.EditID) == want.edit && (want.evidence == "" || f.Evidence == want.evidence)
		}) {
			t.Errorf("%s of %s was not found", want.code, want.edit)
		}
	}
}

func TestCounterFact(t *testing.T) {
	report, _ := auditFile(t, "counterfact-flat", shared(t, "counterfact", "edit.json"))
	for _, code := range []string{"one_token_target", "no_far_neighbour"} {
		if found, checked := share(t, report, code, audit.AxisEdit); found != checked || checked != 300 {
			t.Errorf("%s: %d of %d, want all of 300", code, found, checked)
		}
	}
	// 1,588 of 10,000 paraphrases in the whole file.
	found, _ := share(t, report, "paraphrase_prefixed", dataset.AxisGeneralization)
	nearWhole(t, "paraphrase_prefixed", found, report.Records, 0.1588)
}
