package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"editpipe/audit"
)

// audited is what audit prints with --json.
type audited struct {
	audit.Report
	Over []string `json:"over"`
}

// TestAudit audits a file, the folder it is imported into, and what generate
// makes; table and JSON must tell the same.
func TestAudit(t *testing.T) {
	const file = "testdata/counterfact.json"
	data, sets := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "sets")
	callOK(t, "import", "--in", file, "--out", data)
	callOK(t, "generate", "--n", "20", "--out", sets)
	for _, args := range [][]string{{file}, {data}, {sets, "--kb", "world", "--tokenizer", embedded(t)}} {
		var r audited
		parse(t, callOK(t, append([]string{"audit", "--json"}, args...)...).out, &r)
		if r.Records == 0 || r.Probes == 0 || r.Over == nil || len(r.Over) > 0 {
			t.Errorf("%v: %d records, %d probes, over %v", args, r.Records, r.Probes, r.Over)
		}
		text := callOK(t, append([]string{"audit"}, args...)...).out
		for _, row := range r.Tallies {
			line := regexp.MustCompile(fmt.Sprintf(`(?m)^%s +%s +%s +%d +%d .* %d `, row.Severity, row.Code, row.Axis, row.Found, row.Checked, row.ApartFound))
			if shown := line.MatchString(text); shown != (row.Found+row.ApartFound > 0) {
				t.Errorf("%v: table shows %s on %s: %v; found %d and %d apart", args, row.Code, row.Axis, shown, row.Found, row.ApartFound)
			}
			if row.Status != audit.Checked && !regexp.MustCompile(`(?m)^`+row.Status+`: .*\b`+row.Code+`\b`).MatchString(text) {
				t.Errorf("%v: %s of %s is not shown", args, row.Status, row.Code)
			}
		}
		if strings.Contains(text, "tokens of the new object") != slices.Contains(args, "--tokenizer") {
			t.Errorf("%v: lengths\n%s", args, text)
		}
	}
	// A note becomes a failure only by a limit.
	o := call(t, "audit", file, "--max", "no_far_neighbour=0.5")
	if o.code != exitFailedRows || !strings.Contains(o.err, "no_far_neighbour") || !strings.Contains(o.out, "100.0 %") {
		t.Errorf("code %d\n%s\n%s", o.code, o.out, o.err)
	}
}
