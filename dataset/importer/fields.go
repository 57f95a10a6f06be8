package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"editpipe/dataset"
)

// fields is one JSON object of a record. The first thing wrong with any of its
// fields is kept in fault, with the field's path; later reads go on and give
// zero values, so that a converter checks once.
type fields struct {
	path  string
	m     map[string]json.RawMessage
	fault *fault
}

type fault struct {
	field string
	err   error
}

func newFields(raw []byte) (fields, error) {
	f := fields{fault: new(fault)}
	if !utf8.Valid(raw) {
		return f, errors.New("invalid UTF-8")
	}
	err := json.Unmarshal(raw, &f.m)
	if err != nil {
		// Python's writer spells numbers that are none NaN, which JSON does not have: it
		// stands where a table had an empty cell.
		if plain := withoutNaN(raw); !bytes.Equal(plain, raw) {
			err = json.Unmarshal(plain, &f.m)
		}
	}
	if err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return f, fmt.Errorf("want a JSON object, have %s", wrong.Value)
		}
		return f, fmt.Errorf("not valid JSON: %w", err)
	}
	if f.m == nil {
		return f, errors.New("want a JSON object, have null")
	}
	return f, nil
}

// withoutNaN is a JSON text with null for NaN outside of strings.
func withoutNaN(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	quoted := false
	for i := 0; i < len(raw); i++ {
		switch {
		case quoted && raw[i] == '\\' && i+1 < len(raw):
			out = append(out, raw[i])
			i++
		case raw[i] == '"':
			quoted = !quoted
		case !quoted && bytes.HasPrefix(raw[i:], []byte("NaN")):
			out, i = append(out, "null"...), i+2
			continue
		}
		out = append(out, raw[i])
	}
	return out
}

func (f fields) fail(name string, err error) {
	if f.fault.err == nil {
		f.fault.field, f.fault.err = f.path+name, err
	}
}

func (f fields) has(name string) bool {
	raw, ok := f.m[name]
	return ok && !bytes.Equal(raw, []byte("null"))
}

// text is a string, or "" if the field is absent or null.
func (f fields) text(name string) string {
	if !f.has(name) {
		return ""
	}
	var s string
	if err := json.Unmarshal(f.m[name], &s); err != nil {
		f.fail(name, fmt.Errorf("want a string, have %s", kindOf(f.m[name])))
	}
	return s
}

// required is a string that is there and not blank.
func (f fields) required(name string) string {
	s := f.text(name)
	if strings.TrimSpace(s) == "" {
		f.fail(name, ErrMissing)
	}
	return s
}

// texts is a list of strings, or one string as a list of one; nil if absent.
func (f fields) texts(name string) []string {
	if !f.has(name) {
		return nil
	}
	raw := f.m[name]
	if raw[0] == '"' {
		return []string{f.text(name)}
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		f.fail(name, fmt.Errorf("want a string or a list of strings, have %s", kindOf(raw)))
		return nil
	}
	out := make([]string, len(list))
	for i, e := range list {
		if err := json.Unmarshal(e, &out[i]); err != nil || e[0] != '"' {
			f.fail(fmt.Sprintf("%s[%d]", name, i), fmt.Errorf("want a string, have %s", kindOf(e)))
		}
	}
	return out
}

// id is a string or number, as text.
func (f fields) id(name string) string {
	if !f.has(name) {
		return ""
	}
	raw := f.m[name]
	switch kindOf(raw) {
	case "a string":
		return strings.TrimSpace(f.text(name))
	case "a number":
		return string(raw)
	}
	f.fail(name, fmt.Errorf("want a number or a string, have %s", kindOf(raw)))
	return ""
}

// object is a nested object; its faults are the record's.
func (f fields) object(name string) fields {
	sub := fields{path: f.path + name + ".", fault: f.fault}
	if !f.has(name) {
		f.fail(name, ErrMissing)
	} else if err := json.Unmarshal(f.m[name], &sub.m); err != nil {
		f.fail(name, fmt.Errorf("want an object, have %s", kindOf(f.m[name])))
	}
	return sub
}

// objects is a list of objects; their faults are the record's.
func (f fields) objects(name string) []fields {
	if !f.has(name) {
		return nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(f.m[name], &list); err != nil {
		f.fail(name, fmt.Errorf("want a list of objects, have %s", kindOf(f.m[name])))
		return nil
	}
	out := make([]fields, len(list))
	for i, raw := range list {
		at := fmt.Sprintf("%s[%d]", name, i)
		out[i] = fields{path: f.path + at + ".", fault: f.fault}
		if err := json.Unmarshal(raw, &out[i].m); err != nil || out[i].m == nil {
			f.fail(at, fmt.Errorf("want an object, have %s", kindOf(raw)))
		}
	}
	return out
}

// answer is what should be said to a probe.
type answer struct {
	spellings []string   // of the first answer, or all answers if any of them will do
	sets      [][]string // one list of spellings per answer, where there are several
	mode      dataset.AnswerMode
}

// all is every spelling of every answer, the first answer first.
func (a answer) all() []string {
	return slices.Concat(append([][]string{a.spellings}, a.sets...)...)
}

// answer is what parseAnswer reads of a field.
func (f fields) answer(name string) answer {
	want, err := parseAnswer(orNull(f.m[name]))
	if err != nil {
		f.fail(name, err)
	}
	return want
}

// lists is a list of lists of strings; nil if absent.
func (f fields) lists(name string) [][]string {
	if !f.has(name) {
		return nil
	}
	var out [][]string
	if err := json.Unmarshal(f.m[name], &out); err != nil {
		f.fail(name, fmt.Errorf("want a list of lists of strings, have %s", kindOf(f.m[name])))
		return nil
	}
	return out
}

// oneAnswer is a single right answer with its spellings.
func oneAnswer(spellings ...string) answer {
	return answer{spellings: trimAll(spellings), mode: dataset.Single}
}

// severalAnswers are answers each with its spellings; answers without any are
// left out.
func severalAnswers(sets [][]string) answer {
	var kept [][]string
	for _, s := range sets {
		if s = trimAll(s); len(s) > 0 {
			kept = append(kept, s)
		}
	}
	switch len(kept) {
	case 0:
		return oneAnswer()
	case 1:
		return oneAnswer(kept[0]...)
	}
	return answer{spellings: kept[0], sets: kept, mode: dataset.Set}
}

// parseAnswer reads the three forms in which the field's files give answers:
// one string; a list of strings, any of which is right; a list of lists, the
// outer one of answers, the inner ones of spellings. Blank strings are left out.
func parseAnswer(raw json.RawMessage) (answer, error) {
	none := oneAnswer()
	switch kindOf(raw) {
	case "null":
		return none, nil
	case "a string":
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return none, err
		}
		return oneAnswer(s), nil
	case "a list":
	default:
		return none, fmt.Errorf("want a string, a list of strings or a list of lists, have %s", kindOf(raw))
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return none, err
	}
	var flat []string
	var sets [][]string
	for i, e := range list {
		switch kindOf(e) {
		case "a string":
			var s string
			if err := json.Unmarshal(e, &s); err != nil {
				return none, err
			}
			flat = append(flat, s)
		case "a list":
			var inner []string
			if err := json.Unmarshal(e, &inner); err != nil {
				return none, fmt.Errorf("entry %d: want a list of strings", i)
			}
			sets = append(sets, inner)
		default:
			return none, fmt.Errorf("entry %d: want a string or a list of strings, have %s", i, kindOf(e))
		}
	}
	if flat = trimAll(flat); len(flat) == 0 {
		return severalAnswers(sets), nil
	}
	switch want := severalAnswers(sets); {
	case len(want.spellings) > 0:
		return none, errors.New("strings and lists are mixed")
	case len(flat) > 1:
		return answer{spellings: flat, mode: dataset.AnyOf}, nil
	}
	return oneAnswer(flat...), nil
}

// trimAll trims white space, and drops blanks and repetitions.
func trimAll(in []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range in {
		if s = strings.TrimSpace(s); s != "" && !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

func kindOf(raw json.RawMessage) string {
	if len(raw) == 0 {
		return "nothing"
	}
	switch raw[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}
