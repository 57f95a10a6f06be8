package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"editpipe/dataset"
	"editpipe/dataset/importer/rows"
)

// ErrMap is returned for a column mapping that cannot be used: a field that is
// unknown, given twice or missing, or a mapping for a format that needs none.
var ErrMap = errors.New("column mapping")

// Column says which column of a file holds a field. In a JSON record the name is a
// key, or a path of keys with dots between them, in which [] behind a key stands for
// every entry of a list and [3] for the one of that index: locality[].loc.
type Column struct {
	Field string
	Name  string
}

const (
	promptSuffix = "_prompt"
	answerSuffix = "_answer"
)

// mandatory are the fields without which there is no edit.
var mandatory = []string{"prompt", "target_new"}

// mapFields lists the fields that a mapping can name: those that stand once, and
// those that may be given any number of times, a column each.
func mapFields() (once, many []string) {
	once = append(slices.Clone(mandatory), "subject", "ground_truth", "case_id", "relation")
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
// AXIS_answer belongs to the n-th AXIS_prompt; AXIS.prompt and AXIS.answer are the same.
func ParseMap(s string) ([]Column, error) {
	var columns []Column
	counts := map[string]int{}
	once, many := mapFields()
	for _, part := range strings.Split(s, ",") {
		field, name, ok := strings.Cut(part, "=")
		field, name = strings.ReplaceAll(strings.TrimSpace(field), ".", "_"), strings.TrimSpace(name)
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
func cutCustom(path string) cutter {
	if separator := separatorOf(path); separator != 0 {
		return func(r io.Reader) iter.Seq2[rows.Row, error] { return rows.Table(r, separator) }
	}
	return rows.JSON
}

func separatorOf(path string) rune {
	switch strings.ToLower(filepath.Ext(unpackedName(path))) {
	case ".csv":
		return ','
	case ".tsv":
		return '\t'
	}
	return 0
}

// checkColumns says which mapped column a file lacks: a table's line of names, or
// the first JSON records.
func checkColumns(path string, o Options) error {
	has, found, err := columnsOf(path, o)
	if err != nil {
		return fmt.Errorf("importer: %s: %w", path, err)
	}
	for _, c := range o.Map {
		if !found[c.Name] {
			return fmt.Errorf("importer: %s: no column %q for %s; it has %s", path, c.Name, c.Field, strings.Join(has, ", "))
		}
	}
	return nil
}

// columnsOf reads the columns of a table, or the keys of the first JSON records,
// and says which of the mapped columns are there.
func columnsOf(path string, o Options) (has []string, found map[string]bool, err error) {
	found = map[string]bool{}
	if separator := separatorOf(path); separator != 0 {
		file, err := open(path)
		if err != nil {
			return nil, nil, err
		}
		defer file.Close()
		has, err = rows.Columns(file, separator)
		for _, name := range has {
			found[name] = true
		}
		return has, found, err
	}
	keys := map[string]bool{}
	seen := 0
	for row, err := range rowsOf(path, o, rows.JSON) {
		if err != nil && seen == 0 {
			return nil, nil, err
		}
		if err != nil || seen == sniffed { // a file that breaks off later is reported when it is read
			break
		}
		seen++
		if f, err := newFields(row.Raw); err == nil {
			for k := range f.m {
				keys[k] = true
			}
			for _, c := range o.Map {
				raw, err := f.at(c.Name)
				found[c.Name] = found[c.Name] || raw != nil || err != nil
			}
		}
	}
	if seen == 0 {
		return nil, nil, ErrEmpty
	}
	return slices.Sorted(maps.Keys(keys)), found, nil
}

// at is the value at a path; nil if there is none. A key that is named as the whole
// path comes first.
func (f fields) at(path string) (json.RawMessage, error) {
	if raw, ok := f.m[path]; ok {
		return raw, nil
	}
	key, rest, deeper := strings.Cut(path, ".")
	key, index, listed := strings.Cut(key, "[")
	raw, ok := f.m[key]
	if !ok || !deeper && !listed || kindOf(raw) == "null" {
		return nil, nil
	}
	if !listed {
		return inside(raw, rest)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%s: want a list, have %s", key, kindOf(raw))
	}
	if index, ok = strings.CutSuffix(index, "]"); !ok {
		return nil, fmt.Errorf("%s: a bracket is not closed", path)
	}
	if index != "" {
		i, err := strconv.Atoi(index)
		if err != nil || i < 0 {
			return nil, fmt.Errorf("%s: %q is no index", path, index)
		}
		if i >= len(list) {
			return nil, nil
		}
		if !deeper {
			return list[i], nil
		}
		return inside(list[i], rest)
	}
	var out []json.RawMessage
	any := false
	for _, entry := range list {
		if deeper {
			var err error
			if entry, err = inside(entry, rest); err != nil {
				return nil, err
			}
		}
		any = any || entry != nil
		out = append(out, orNull(entry))
	}
	if !any {
		return nil, nil
	}
	return json.Marshal(out)
}

// inside goes on with a path below a value.
func inside(raw json.RawMessage, path string) (json.RawMessage, error) {
	var sub fields
	if kindOf(raw) == "null" {
		return nil, nil
	}
	if err := json.Unmarshal(raw, &sub.m); err != nil {
		return nil, fmt.Errorf("want an object with %s, have %s", path, kindOf(raw))
	}
	return sub.at(path)
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
		for _, c := range columns {
			raw, err := d.at(c.Name)
			if err != nil {
				d.fail(c.Name, err)
			}
			if raw != nil {
				d.m[c.Name] = raw
			}
		}
		d.name = d.id(column("case_id"))
		prompt, subject, target := d.required(column("prompt")), d.text(column("subject")), d.required(column("target_new"))
		truth := d.texts(column("ground_truth"))
		if bracesAreText(prompt, subject) {
			d.warn(CodeBracesKept, "subject %q stands in prompt %q", subject, prompt)
			d.begin(prompt, subject, target, truth)
		} else {
			d.beginTemplate(d.fields, column("prompt"), prompt, subject, target, truth)
		}
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
					d.askColumns(kind{axis: a}, c, answers[i])
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

// bracesAreText says whether {} in a prompt is text rather than the subject's place,
// which a prompt may name elsewhere as well: where it is part of the subject's own
// name, or the subject stands in the prompt beside several of them or one written
// onto a word, as in a line of code (interface{}).
func bracesAreText(prompt, subject string) bool {
	before, after, found := strings.Cut(prompt, "{}")
	if !found || subject == "" || !strings.Contains(prompt, subject) {
		return false
	}
	word := func(c byte) bool {
		return c == '_' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
	}
	return strings.Contains(subject, "{}") || strings.Contains(after, "{}") || before != "" && word(before[len(before)-1])
}

// askColumns adds the questions of one column, of one kind, with the answers of
// another. A row that leaves both empty asks nothing there.
func (d *draft) askColumns(k kind, prompt, answers string) {
	if !d.has(prompt) && !d.has(answers) {
		return
	}
	raw, err := json.Marshal(group{orNull(d.m[prompt]), orNull(d.m[answers])})
	if err != nil {
		d.fail(prompt, err)
		return
	}
	d.askGroup(k, prompt, raw)
}
