// Package audit looks for faults in data sets of edits: prompts that contain
// their answer, edits that change nothing, aliases that are not another name,
// reverse questions with several answers, records that contradict each other.
// It checks texts, and facts if it is given a knowledge base; it runs no model.
//
// A check that lacks what it needs is reported as not checked: it never counts
// as passed. docs/audit.md defines every check.
package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"editpipe/dataset"
	"editpipe/dataset/importer"
	"editpipe/generator/kb"
	"editpipe/token"
)

// Severity says what a finding means.
type Severity string

// The severities.
const (
	Fault Severity = "fault" // the row does not measure what its axis says
	Doubt Severity = "doubt" // a fault in most cases; the text alone cannot tell
	Note  Severity = "note"  // no fault, but figures have to be read with it in mind
)

// Need is what a check cannot do without, beside the records.
type Need string

// The needs.
const (
	Knowledge Need = "kb"        // a knowledge base, and the records' entities in it
	Tokens    Need = "tokenizer" // a tokenizer
	Original  Need = "file"      // the file as it was before import
)

// AxisEdit stands for the axis of findings about the edit itself.
const AxisEdit dataset.Axis = "edit"

// Check is one thing that is looked for.
type Check struct {
	Code     string   // as in findings and limits
	Title    string   // what is found
	Why      string   // why it matters, and who has shown it
	Severity Severity // faults are limited to none, unless Options.Limits says otherwise
	Needs    Need     // empty: the records alone

	Axes []dataset.Axis // of the probes it looks at; empty where it looks at edits alone

	edit  func(*state, *dataset.Record) verdict
	probe func(*state, *dataset.Record, *dataset.Probe) verdict
}

// verdict is what a check says of one edit or probe. The zero verdict says that
// the check does not apply.
type verdict struct {
	applies  bool
	message  string // empty where nothing was found
	evidence string
}

func clean() verdict { return verdict{applies: true} }

func found(evidence, format string, args ...any) verdict {
	return verdict{true, fmt.Sprintf(format, args...), evidence}
}

// Finding is one row of findings.parquet.
type Finding struct {
	Code       string          `parquet:"code,dict" json:"code"`
	Severity   Severity        `parquet:"severity,dict" json:"severity"`
	EditID     dataset.EditID  `parquet:"edit_id" json:"edit_id"`
	ProbeID    dataset.ProbeID `parquet:"probe_id,optional" json:"probe_id,omitempty"`
	Axis       dataset.Axis    `parquet:"axis,dict" json:"axis"`
	Variant    string          `parquet:"variant,dict,optional" json:"variant,omitempty"`
	Apart      bool            `parquet:"apart" json:"apart"` // the probe is in no headline number
	SourceCase string          `parquet:"source_case,optional" json:"source_case,omitempty"`
	Message    string          `parquet:"message" json:"message"`
	Evidence   string          `parquet:"evidence" json:"evidence"` // the text concerned
}

// The statuses of a Tally. A check that lacks something has the status
// "not checked: needs ..." instead.
const (
	Checked = "checked"
	Nothing = "nothing to check" // no edit or probe has what the check looks at
)

// Tally is one row of checks.parquet: what a check found on one axis.
type Tally struct {
	Code         string       `parquet:"code,dict" json:"code"`
	Title        string       `parquet:"title,dict" json:"title"`
	Severity     Severity     `parquet:"severity,dict" json:"severity"`
	Axis         dataset.Axis `parquet:"axis,dict" json:"axis"`
	Status       string       `parquet:"status,dict" json:"status"`
	Checked      int64        `parquet:"n_checked" json:"n_checked"`
	Found        int64        `parquet:"n_found" json:"n_found"`
	Share        *float64     `parquet:"share,optional" json:"share"` // Found / Checked
	ApartChecked int64        `parquet:"n_apart_checked" json:"n_apart_checked"`
	ApartFound   int64        `parquet:"n_apart_found" json:"n_apart_found"`
	MaxShare     *float64     `parquet:"max_share,optional" json:"max_share"`
	Over         bool         `parquet:"over" json:"over"`              // Share is larger than MaxShare
	Examples     []string     `parquet:"examples,list" json:"examples"` // the first findings: edit id and message
}

// Length is how many targets have a number of tokens.
type Length struct {
	Tokens int   `json:"tokens"`
	Edits  int64 `json:"edits"`
}

// Report is the outcome of an audit.
type Report struct {
	Set     string   `json:"set"`
	Records int64    `json:"records"`
	Probes  int64    `json:"probes"`
	Tallies []Tally  `json:"checks"`
	Lengths []Length `json:"target_tokens,omitempty"` // with a tokenizer
}

// Over lists the codes whose share passes its limit on some axis.
func (r *Report) Over() []string {
	var codes []string
	for _, t := range r.Tallies {
		if t.Over && !slices.Contains(codes, t.Code) {
			codes = append(codes, t.Code)
		}
	}
	return codes
}

// Options of an audit. The zero value is usable.
type Options struct {
	KB        *kb.Base
	Tokenizer *token.Tokenizer
	Limits    map[string]float64  // code -> largest share that passes; 0 by default for faults, none for others
	Find      func(Finding) error // is called for every finding, in the order of the records
}

// ErrCode is returned for a limit of a check that does not exist.
var ErrCode = errors.New("no such check")

// shown is how many examples a Tally keeps.
const shown = 3

// Run audits a data set. It reads the source twice: what contradicts what is
// known only once all edits were seen. In memory it keeps the edits' ids and
// some hashes of every text, not the records. A *RecordError of the source
// becomes a finding; any other error ends the audit.
func Run(ctx context.Context, src dataset.Source, o Options) (*Report, error) {
	checks := Checks()
	for _, code := range slices.Sorted(maps.Keys(o.Limits)) {
		if !slices.ContainsFunc(checks, func(c Check) bool { return c.Code == code }) {
			return nil, fmt.Errorf("audit: limit of %q: %w", code, ErrCode)
		}
	}
	a := &auditor{state: newState(o), tallies: map[place]*Tally{}, lengths: map[int]int64{}, report: &Report{Set: src.Name()}}
	a.checks, a.missing = split(checks, o, src)
	if err := each(ctx, src, func(r *dataset.Record) error { a.state.index(r); return nil }); err != nil {
		return nil, err
	}
	a.state.number = 0
	if err := each(ctx, src, a.record); err != nil {
		return nil, err
	}
	if file, ok := src.(*importer.File); ok {
		if err := a.original(file.Report()); err != nil {
			return nil, err
		}
	}
	a.finish(checks)
	return a.report, nil
}

// each hands the usable records to use, one at a time.
func each(ctx context.Context, src dataset.Source, use func(*dataset.Record) error) error {
	for r, err := range src.Records() {
		var broken *dataset.RecordError
		switch {
		case errors.As(err, &broken): // the report of the file has it
			continue
		case err != nil:
			return fmt.Errorf("audit: reading %s: %w", src.Name(), err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := use(&r); err != nil {
			return err
		}
	}
	return nil
}

// split parts the checks that can be made from those that lack something.
func split(checks []Check, o Options, src dataset.Source) (usable []Check, missing map[string]string) {
	_, isFile := src.(*importer.File)
	missing = map[string]string{}
	for _, c := range checks {
		switch {
		case c.Needs == Knowledge && o.KB == nil, c.Needs == Tokens && o.Tokenizer == nil:
			missing[c.Code] = "not checked: needs --" + string(c.Needs)
		case c.Needs == Original && !isFile:
			missing[c.Code] = "not checked: needs the file it was imported from"
		default:
			usable = append(usable, c)
		}
	}
	return usable, missing
}

// place is a row of the tallies.
type place struct {
	code string
	axis dataset.Axis
}

type auditor struct {
	*state
	checks  []Check
	missing map[string]string // code -> status
	tallies map[place]*Tally
	lengths map[int]int64 // tokens of a target -> edits
	report  *Report
}

func (a *auditor) record(r *dataset.Record) error {
	a.report.Records++
	a.report.Probes += int64(len(r.Probes))
	if a.o.Tokenizer != nil {
		if ids, err := a.pieces(r.Edit.Target); err == nil {
			a.lengths[len(ids)]++
		}
	}
	for _, c := range a.checks {
		if c.edit == nil {
			continue
		}
		if err := a.book(c, r, nil, c.edit(a.state, r)); err != nil {
			return err
		}
	}
	for i := range r.Probes {
		p := &r.Probes[i]
		for _, c := range a.checks {
			if c.probe == nil || !slices.Contains(c.Axes, p.Axis) {
				continue
			}
			if err := a.book(c, r, p, c.probe(a.state, r, p)); err != nil {
				return err
			}
		}
		a.state.see(p)
	}
	a.state.number++
	return nil
}

// book counts a verdict and passes on what was found.
func (a *auditor) book(c Check, r *dataset.Record, p *dataset.Probe, v verdict) error {
	if !v.applies {
		return nil
	}
	f := Finding{Code: c.Code, Severity: c.Severity, EditID: r.Edit.ID, Axis: AxisEdit, SourceCase: r.Edit.SourceCase, Message: v.message, Evidence: v.evidence}
	if p != nil {
		f.ProbeID, f.Axis, f.Variant, f.Apart = p.ID, p.Axis, p.Variant, slices.Contains(p.Flags, dataset.FlagApart)
	}
	t := a.tally(c.Code, f.Axis)
	if f.Apart {
		t.ApartChecked++
	} else {
		t.Checked++
	}
	if v.message == "" {
		return nil
	}
	return a.find(t, f)
}

func (a *auditor) tally(code string, axis dataset.Axis) *Tally {
	t := a.tallies[place{code, axis}]
	if t == nil {
		t = &Tally{}
		a.tallies[place{code, axis}] = t
	}
	return t
}

func (a *auditor) find(t *Tally, f Finding) error {
	if f.Apart {
		t.ApartFound++
	} else {
		t.Found++
		if len(t.Examples) < shown {
			t.Examples = append(t.Examples, fmt.Sprintf("%s: %s", f.EditID, f.Message))
		}
	}
	if a.o.Find == nil {
		return nil
	}
	return a.o.Find(f)
}

// original adds what the importer saw in the file and the records no longer
// show. A record counts once for each code.
func (a *auditor) original(r importer.Report) error {
	for _, c := range a.checks {
		if c.Needs != Original {
			continue
		}
		t := a.tally(c.Code, AxisEdit)
		t.Checked = int64(r.Records)
		if c.Code == importer.CodeRecord {
			t.Checked += int64(len(r.Errors))
		}
		last := -1
		for _, w := range slices.Concat(r.Errors, r.Warnings) {
			if w.Code != c.Code || w.Index == last {
				continue
			}
			last = w.Index
			id := w.Edit
			if id == "" {
				id = dataset.EditID(fmt.Sprintf("record %d", w.Index))
			}
			f := Finding{Code: c.Code, Severity: c.Severity, EditID: id, Axis: AxisEdit, Message: w.Text, Evidence: fmt.Sprintf("%s, byte %d", r.File, w.Offset)}
			if err := a.find(t, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// finish puts the tallies in the order of the checks and axes and applies the
// limits.
func (a *auditor) finish(checks []Check) {
	for _, c := range checks {
		axes := c.Axes
		if c.edit != nil || c.Needs == Original {
			axes = slices.Concat([]dataset.Axis{AxisEdit}, axes)
		}
		rows := 0
		row := func(axis dataset.Axis, t Tally) {
			t.Code, t.Title, t.Severity, t.Axis = c.Code, c.Title, c.Severity, axis
			if t.Examples == nil {
				t.Examples = []string{}
			}
			a.report.Tallies = append(a.report.Tallies, t)
			rows++
		}
		if status := a.missing[c.Code]; status != "" {
			row("", Tally{Status: status})
			continue
		}
		for _, axis := range axes {
			t := a.tallies[place{c.Code, axis}]
			if t == nil {
				continue
			}
			t.Status = Checked
			if t.Checked > 0 {
				share := float64(t.Found) / float64(t.Checked)
				t.Share = &share
				limit, limited := a.o.Limits[c.Code]
				if limited || c.Severity == Fault {
					t.MaxShare, t.Over = &limit, share > limit
				}
			}
			row(axis, *t)
		}
		if rows == 0 {
			row("", Tally{Status: Nothing})
		}
	}
	for _, n := range slices.Sorted(maps.Keys(a.lengths)) {
		a.report.Lengths = append(a.report.Lengths, Length{n, a.lengths[n]})
	}
}

// names are a name and its other spellings, without empty ones.
func names(name string, aliases []string) []string {
	out := make([]string, 0, 1+len(aliases))
	for _, n := range slices.Concat([]string{name}, aliases) {
		if strings.TrimSpace(n) != "" {
			out = append(out, n)
		}
	}
	return out
}
