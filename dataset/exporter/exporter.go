// Package exporter writes records in published formats (KnowEdit, EasyEdit
// requests, CounterFact, zsRE), so that other programs can use our sets. What a
// format has no place for is left out and counted in the Report.
package exporter

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"editpipe/dataset"
)

// ErrFormat is returned for a format that cannot be written.
var ErrFormat = errors.New("unknown format")

// Format is a file format that can be written. Package importer reads what it
// holds back as it was.
type Format struct {
	Name  string // as given to Write; importer's name of it
	Title string
	Doc   string // what it holds

	write func(*draft) any
}

// Formats lists the formats that can be written.
func Formats() []Format {
	return []Format{
		{
			Name: "knowedit", Title: "KnowEdit's ZsRE and wiki_* files",
			Doc:   "one paraphrase; subject_replace, one_hop and reversed_relation under portability, other_relations under locality; every spelling of an answer.",
			write: writeKnowEdit,
		},
		{
			Name: "easyedit", Title: "EasyEdit requests",
			Doc:   "one paraphrase; every axis of portability and locality as a group; one spelling of an answer, as EasyEdit scores one text.",
			write: writeEasyEdit,
		},
		{
			Name: "counterfact", Title: "CounterFact, original nested records",
			Doc: "every paraphrase; neighbourhood and distract_neighbourhood where the answer is the old object; one question each of subject_replace (in the edit's own words), one_hop and " +
				"other_relations under the keys of the survey's files. Edits without an old object, or whose subject does not stand in the prompt, have no place.",
			write: writeCounterFact,
		},
		{
			Name: "zsre", Title: "zsRE question answering, MEND's records",
			Doc:   "one paraphrase; one question each of other_tasks, subject_replace, one_hop, and reversed_relation where the answer is the subject, under the keys of MEND's and the survey's files.",
			write: writeZsRE,
		},
	}
}

// Report says what a file holds of the records, and what it could not hold.
type Report struct {
	Format  string               `json:"format"`
	Records int                  `json:"records"`            // written
	Probes  map[dataset.Axis]int `json:"probes"`             // written
	Refused map[string]int       `json:"refused,omitempty"`  // records that were left out whole, by reason
	LeftOut map[string]int       `json:"left_out,omitempty"` // parts of written records that were left out, by kind
}

// Write writes the records as one JSON array of the format. It returns ErrFormat
// for an unknown one.
func Write(w io.Writer, format string, records []dataset.Record) (Report, error) {
	report := Report{Format: format, Probes: map[dataset.Axis]int{}, Refused: map[string]int{}, LeftOut: map[string]int{}}
	f, err := formatNamed(format)
	if err != nil {
		return report, err
	}
	out := bufio.NewWriter(w)
	out.WriteString("[")
	for i, rec := range records {
		d := &draft{index: i, edit: rec.Edit, left: map[string]int{}}
		for _, p := range rec.Probes {
			d.probes = append(d.probes, candidate{Probe: p})
		}
		var object any
		if slices.ContainsFunc(rec.Probes, func(p dataset.Probe) bool { return p.Axis.FollowUp() }) {
			d.refused = "that come on top of another edit" // alone they would be made on the unedited model
		} else {
			object = f.write(d)
		}
		if d.refused != "" {
			report.Refused[d.refused]++
			continue
		}
		text, err := encode(object)
		if err != nil {
			return report, fmt.Errorf("exporter: edit %s: %w", rec.Edit.ID, err)
		}
		if report.Records > 0 {
			out.WriteString(",")
		}
		out.WriteString("\n" + text)
		report.Records++
		d.count(&report)
	}
	out.WriteString("\n]\n")
	if err := out.Flush(); err != nil {
		return report, fmt.Errorf("exporter: writing %s: %w", format, err)
	}
	return report, nil
}

func formatNamed(name string) (Format, error) {
	var names []string
	for _, f := range Formats() {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	return Format{}, fmt.Errorf("exporter: %w %q: want one of %s", ErrFormat, name, strings.Join(names, ", "))
}

func encode(object any) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent(" ", " ")
	err := enc.Encode(object)
	return " " + strings.TrimSuffix(b.String(), "\n"), err
}

// draft is one record on its way out.
type draft struct {
	index   int
	edit    dataset.Edit
	probes  []candidate
	left    map[string]int
	refused string
}

// candidate is a probe that may or may not find a place.
type candidate struct {
	dataset.Probe
	taken bool
}

// take gives up to n probes of an axis that fit, and marks them as written.
// Probes set apart answer side questions and would be scored with the others;
// questions with choices and without an answer have no place in any format.
func (d *draft) take(axis dataset.Axis, n int, fits func(dataset.Probe) bool) []dataset.Probe {
	var out []dataset.Probe
	for i := range d.probes {
		p := &d.probes[i]
		if len(out) < n && p.Axis == axis && why(p.Probe) == "" && (fits == nil || fits(p.Probe)) {
			p.taken = true
			out = append(out, p.Probe)
		}
	}
	return out
}

// every is more probes of one axis than a record has.
const every = 1 << 30

// why says what keeps a probe out of every format.
func why(p dataset.Probe) string {
	switch {
	case slices.Contains(p.Flags, dataset.FlagApart):
		return "set apart"
	case p.Format == dataset.Choice || len(p.Choices) > 0:
		return "with choices"
	case len(p.Answers) == 0:
		return "without an answer"
	}
	return ""
}

// only gives the one text that a format has place for and counts the others.
func (d *draft) only(p dataset.Probe) string {
	if n := len(p.AnswerSets) - 1; n > 0 {
		d.left["further answers of a set"] += n
	}
	if n := len(p.Answers) - 1; n > 0 {
		d.left["further spellings of an answer"] += n
	}
	return p.Answers[0]
}

// names counts names that have no place.
func (d *draft) names(lists ...[]string) {
	for _, l := range lists {
		if len(l) > 0 {
			d.left["other names of subject and objects"] += len(l)
		}
	}
}

// count books what was written and what was not.
func (d *draft) count(r *Report) {
	for _, p := range d.probes {
		if p.taken || p.Axis == dataset.AxisReliability { // the edit's own prompt
			r.Probes[p.Axis]++
			continue
		}
		reason := string(p.Axis) + " questions"
		if w := why(p.Probe); w != "" {
			reason += " " + w
		}
		r.LeftOut[reason]++
	}
	for what, n := range d.left {
		r.LeftOut[what] += n
	}
}
