package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"editpipe/dataset"
	"editpipe/dataset/importer/rows"
)

// ErrMap is returned for a column mapping that cannot be used: a field that is
// unknown, given twice or missing, or a mapping for a format that needs none.
var ErrMap = errors.New("column mapping")

// Column says which column of a file (or key of a JSON record) holds a field.
type Column struct {
	Field string
	Name  string
}

const (
	promptSuffix = "_prompt"
	answerSuffix = "_answer"
)

// mandatory are the fields without which there is no edit.
var mandatory = []string{"prompt", "subject", "target_new"}

// mapFields lists the fields that a mapping can name: those that stand once, and
// those that may be given any number of times, a column each.
func mapFields() (once, many []string) {
	once = append(slices.Clone(mandatory), "ground_truth", "case_id", "relation")
	many = append(many, "rephrase_prompt")
	for _, a := range probed() {
		many = append(many, string(a)+promptSuffix, string(a)+answerSuffix)
	}
	return once, many
}

// probed are the axes whose questions have columns of their own.
func probed() []dataset.Axis {
	return slices.DeleteFunc(dataset.Axes(), func(a dataset.Axis) bool {
		return a == dataset.AxisReliability || a == dataset.AxisGeneralization
	})
}

// ParseMap reads FIELD=COLUMN,... and checks that its fields are known and complete. The n-th
// AXIS_answer belongs to the n-th AXIS_prompt.
func ParseMap(s string) ([]Column, error) {
	var columns []Column
	counts := map[string]int{}
	once, many := mapFields()
	for _, part := range strings.Split(s, ",") {
		field, name, ok := strings.Cut(part, "=")
		field, name = strings.TrimSpace(field), strings.TrimSpace(name)
		if !ok || field == "" || name == "" {
			return nil, fmt.Errorf("%w: %q: want FIELD=COLUMN", ErrMap, part)
		}
		if !slices.Contains(once, field) && !slices.Contains(many, field) {
			return nil, fmt.Errorf("%w: unknown field %q (known: %s)", ErrMap, field, strings.Join(slices.Concat(once, many), ", "))
		}
		if counts[field]++; counts[field] > 1 && slices.Contains(once, field) {
			return nil, fmt.Errorf("%w: %s is given twice", ErrMap, field)
		}
		columns = append(columns, Column{field, name})
	}
	for _, field := range mandatory {
		if counts[field] == 0 {
			return nil, fmt.Errorf("%w: %s is missing; an edit needs %s", ErrMap, field, strings.Join(mandatory, ", "))
		}
	}
	for _, a := range probed() {
		prompts, answers := counts[string(a)+promptSuffix], counts[string(a)+answerSuffix]
		if prompts != answers && !(a == dataset.AxisSubjectReplace && answers == 0) {
			return nil, fmt.Errorf("%w: %d columns for %s%s but %d for %s%s", ErrMap, prompts, a, promptSuffix, answers, a, answerSuffix)
		}
	}
	return columns, nil
}

// cutCustom cuts a table if the file's name says that it is one, else JSON.
func cutCustom(path string) func(io.Reader) iter.Seq2[rows.Row, error] {
	if separator := separatorOf(path); separator != 0 {
		return func(r io.Reader) iter.Seq2[rows.Row, error] { return rows.Table(r, separator) }
	}
	return rows.JSON
}

func separatorOf(path string) rune {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".csv":
		return ','
	case ".tsv":
		return '\t'
	}
	return 0
}

// checkColumns says which mapped column a file lacks.
func checkColumns(path string, columns []Column) error {
	has, err := columnsOf(path)
	if err != nil {
		return fmt.Errorf("importer: %s: %w", path, err)
	}
	for _, c := range columns {
		if !slices.Contains(has, c.Name) {
			return fmt.Errorf("importer: %s: no column %q for %s; it has %s", path, c.Name, c.Field, strings.Join(has, ", "))
		}
	}
	return nil
}

// columnsOf reads the columns of a table, or the keys of the first JSON records.
func columnsOf(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if separator := separatorOf(path); separator != 0 {
		return rows.Columns(file, separator)
	}
	keys := map[string]bool{}
	seen := 0
	for row, err := range rows.JSON(file) {
		if err != nil && seen == 0 {
			return nil, err
		}
		if err != nil || seen == sniffed { // a file that breaks off later is reported when it is read
			break
		}
		seen++
		if f, err := newFields(row.Raw); err == nil {
			for k := range f.m {
				keys[k] = true
			}
		}
	}
	if seen == 0 {
		return nil, ErrEmpty
	}
	return slices.Sorted(maps.Keys(keys)), nil
}

// readCustom makes a reader of records with the given columns.
func readCustom(columns []Column) func(*draft) {
	names := func(field string) []string {
		var out []string
		for _, c := range columns {
			if c.Field == field {
				out = append(out, c.Name)
			}
		}
		return out
	}
	column := func(field string) string {
		if n := names(field); len(n) > 0 {
			return n[0]
		}
		return ""
	}
	return func(d *draft) {
		d.edit.Source = "custom"
		d.name = d.id(column("case_id"))
		prompt, subject, target := d.required(column("prompt")), d.required(column("subject")), d.required(column("target_new"))
		d.beginTemplate(d.fields, column("prompt"), prompt, subject, target, d.texts(column("ground_truth")))
		d.edit.SourceCase = d.name
		d.edit.RelationID = d.text(column("relation"))
		d.edit.RelationLabel = d.edit.RelationID
		for _, c := range names("rephrase_prompt") {
			d.rephrase(d.texts(c))
		}
		for _, a := range probed() {
			answers := names(string(a) + answerSuffix)
			for i, c := range names(string(a) + promptSuffix) {
				if len(answers) > 0 {
					d.askColumns(a, c, answers[i])
					continue
				}
				for _, p := range d.texts(c) {
					d.askAlias(p, "")
				}
			}
		}
		d.finish()
	}
}

// askColumns adds the questions of one column with the answers of another. A row
// that leaves both empty asks nothing there.
func (d *draft) askColumns(axis dataset.Axis, prompt, answers string) {
	if !d.has(prompt) && !d.has(answers) {
		return
	}
	pair, err := json.Marshal(map[string]json.RawMessage{"prompt": orNull(d.m[prompt]), "ground_truth": orNull(d.m[answers])})
	if err != nil {
		d.fail(prompt, err)
		return
	}
	items, err := parseGroup(pair)
	if err != nil {
		d.fail(prompt, err)
		return
	}
	for _, it := range items {
		d.ask(axis, "", it.prompt, it.want, d.contrast(axis))
	}
}
