package stages

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"editpipe/audit"
	"editpipe/dataset"
	"editpipe/generator"
	"editpipe/generator/kb"
	"editpipe/row"
)

// TestFormatsDocument holds docs/formats.md against the row types: every column
// is described, in order, and nothing else is.
func TestFormatsDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/formats.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string][]string{}
	heading := ""
	column := regexp.MustCompile("^\\| `(\\w+)` \\| \\S+ \\| (?:yes)? ?\\| (.*) \\|$")
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if title, ok := strings.CutPrefix(line, "## "); ok {
			heading = title
		}
		if m := column.FindStringSubmatch(line); m != nil {
			documented[heading] = append(documented[heading], m[1])
			if strings.TrimSpace(m[2]) == "" {
				t.Errorf("%s: column %s has no description", heading, m[1])
			}
		}
	}
	for heading, typ := range map[string]reflect.Type{
		"edits.parquet":    reflect.TypeFor[dataset.Edit](),
		"probes.parquet":   reflect.TypeFor[dataset.Probe](),
		"rejects.parquet":  reflect.TypeFor[generator.Reject](),
		"entities.parquet": reflect.TypeFor[kb.EntityRow](),
		"facts.parquet":    reflect.TypeFor[kb.FactRow](),
		"findings.parquet": reflect.TypeFor[audit.Finding](),
		"checks.parquet":   reflect.TypeFor[audit.Tally](),
		"results/":         reflect.TypeFor[row.Result](),
		"base/":            reflect.TypeFor[row.Base](),
		"applied/":         reflect.TypeFor[row.Applied](),
		"costs/":           reflect.TypeFor[row.Cost](),
		"summary.parquet":  reflect.TypeFor[row.Summary](),
	} {
		var columns []string
		for _, f := range reflect.VisibleFields(typ) {
			if name, _, _ := strings.Cut(f.Tag.Get("parquet"), ","); !f.Anonymous {
				columns = append(columns, name)
			}
		}
		if !slices.Equal(columns, documented[heading]) {
			t.Errorf("docs/formats.md, %s\n documents %v\n rows have  %v", heading, documented[heading], columns)
		}
	}
}
