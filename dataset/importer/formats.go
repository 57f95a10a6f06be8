// Package importer reads the files in which the field keeps its edits
// (CounterFact, zsRE, KnowEdit, EasyEdit requests, questions with choices) as
// records of package dataset. A record that cannot be used is reported and left
// out; what else was changed or passed over is in the Report.
package importer

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"editpipe/dataset"
)

// Format is a file format that can be imported.
type Format struct {
	Name  string // as given to Open
	Title string
	Doc   string // what becomes of its fields
	Pool  bool   // holds questions without edits: read by ReadChoices, not by Open

	licence string // as the distributor of the published files states it
	read    func(*draft)
}

// Formats lists the formats that can be imported.
func Formats() []Format {
	return []Format{
		{
			Name: "counterfact", Title: "CounterFact, original nested records",
			Doc: "requested_rewrite gives the edit (subject span from the {} of its prompt); paraphrase_prompts become generalization; neighborhood_prompts become neighbourhood/near, " +
				"where the old object should win over the new one; attribute_prompts and generation_prompts are counted but not imported, as no axis scores them.",
			licence: "MIT", read: readCounterFact,
		},
		{
			Name: "counterfact-flat", Title: "CounterFact, flat records",
			Doc: "prompt, subject, target_new, ground_truth give the edit; rephrase_prompt becomes generalization; locality_prompt becomes neighbourhood/near if its answer is the old object, " +
				"else other_tasks/unrelated.",
			licence: "MIT", read: readFlat,
		},
		{
			Name: "zsre", Title: "zsRE question answering, MEND's records",
			Doc: "src, subject, alt give the edit, answers its ground truth; rephrase becomes generalization; loc and loc_ans become other_tasks/nq, the text unchanged (\"nq question: \" kept, " +
				"no question mark added). pred and cond are not used. The target is alt; ROME's reader takes answers[0].",
			read: readZsRE,
		},
		{
			Name: "knowedit", Title: "KnowEdit, ZsRE and wiki_* files",
			Doc: "Subject_Aliasing becomes subject_replace, Reasoning one_hop, Logical_Generalization reversed_relation, Relation_Specificity and Forgetfulness other_relations; the variant keeps the " +
				"file's word. Ground truths may be a string, a list (any is right) or a list of lists (answers, each with its spellings). An edit without ground truth is an update.",
			licence: "Apache-2.0", read: readKnowEdit,
		},
		{
			Name: "easyedit", Title: "EasyEdit requests",
			Doc: "prompt, subject, target_new, ground_truth, rephrase_prompt, and groups of probes under locality and portability, named as our axes (American spelling accepted) or as KnowEdit's. " +
				"A locality_prompt at the top level is imported unless a group has it; see counterfact-flat for its axis.",
			read: readEasyEdit,
		},
		{
			Name: "choices", Title: "questions with choices, one JSON record per line",
			Doc:  "PIQA (goal, sol1, sol2 and a file of labels, one number per line) or {question, choices, label}. They are questions without edits: a pool that AttachChoices joins to a data set as other_tasks.",
			Pool: true,
		},
	}
}

func formatNamed(name string) (Format, error) {
	var names []string
	for _, f := range Formats() {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	return Format{}, fmt.Errorf("importer: unknown format %q: want one of %s", name, strings.Join(names, ", "))
}

// Options of an import. The zero value is usable.
type Options struct {
	Set     string // name of the data set; the file's name without ending if empty
	Split   string // train, valid or test; empty if the source has none
	Licence string // the file's licence; what the format's distributor states if empty
	Labels  string // file of labels for choices without any; NAME-labels.lst beside NAME.jsonl if empty
}

func (o Options) with(path string, f Format) Options {
	if o.Set == "" {
		base := filepath.Base(path)
		o.Set = strings.TrimSuffix(base, filepath.Ext(base))
	}
	if o.Licence == "" {
		o.Licence = f.licence
	}
	return o
}

// Finding is something a user should know about one record of an import.
type Finding struct {
	Index  int            `json:"index"` // position in the file, from 0
	Edit   dataset.EditID `json:"edit_id,omitempty"`
	Code   string         `json:"code"`
	Text   string         `json:"text"`
	Offset int64          `json:"offset"` // byte at which the record starts
}

// Report says what an import read and what it left out.
type Report struct {
	File     string               `json:"file"`
	Format   string               `json:"format"`
	Records  int                  `json:"records"`           // records imported
	Probes   map[dataset.Axis]int `json:"probes"`            // probes imported
	Skipped  map[string]int       `json:"skipped,omitempty"` // things in good records that were left out, by kind
	Errors   []Finding            `json:"errors,omitempty"`  // records left out
	Warnings []Finding            `json:"warnings,omitempty"`
}

// Count returns the number of warnings with a code.
func (r Report) Count(code string) int {
	n := 0
	for _, w := range r.Warnings {
		if w.Code == code {
			n++
		}
	}
	return n
}

// File is a file of the field, opened as a Source. Records reads it afresh each
// time; it is not safe for concurrent use.
type File struct {
	path   string
	format Format
	o      Options
	report Report
}

var _ dataset.Source = (*File)(nil)

// Open opens a file of the given format (see Formats). It looks at the first
// records: a file that is no JSON, empty or of another format is refused here.
func Open(format, path string, o Options) (*File, error) {
	f, err := formatNamed(format)
	if err != nil {
		return nil, err
	}
	if f.Pool {
		return nil, fmt.Errorf("importer: %s: %w", path, ErrPool)
	}
	looks, keys, err := sniff(path)
	if err != nil {
		return nil, err
	}
	// EasyEdit's reader takes flat records too: they are requests without groups.
	if looks != format && !(format == "easyedit" && looks == "counterfact-flat") {
		return nil, &FormatError{File: path, Want: format, Looks: describe(looks), Keys: keys}
	}
	return &File{path: path, format: f, o: o.with(path, f)}, nil
}

// Detect returns the name of the format a file is of.
func Detect(path string) (string, error) {
	looks, keys, err := sniff(path)
	if err != nil {
		return "", err
	}
	if _, err := formatNamed(looks); err != nil {
		return "", &FormatError{File: path, Looks: describe(looks), Keys: keys}
	}
	return looks, nil
}

// Name is the name of the data set.
func (f *File) Name() string { return f.o.Set }

// Report tells of the latest pass over Records, up to where it came.
func (f *File) Report() Report { return f.report }

// Records reads the file. A record that cannot be used is yielded as a
// *RecordError; an error of the file itself ends the sequence.
func (f *File) Records() iter.Seq2[dataset.Record, error] {
	return func(yield func(dataset.Record, error) bool) {
		f.report = Report{File: f.path, Format: f.format.Name, Probes: map[dataset.Axis]int{}, Skipped: map[string]int{}}
		file, err := os.Open(f.path)
		if err != nil {
			yield(dataset.Record{}, fmt.Errorf("importer: opening %s file: %w", f.format.Name, err))
			return
		}
		defer file.Close()
		taken := map[dataset.EditID]bool{}
		for p, err := range pieces(file) {
			if err != nil {
				yield(dataset.Record{}, fmt.Errorf("importer: reading %s: %w", f.path, err))
				return
			}
			rec, err := f.convert(p, taken)
			if !yield(rec, err) {
				return
			}
		}
	}
}

// convert turns a piece into a record and books it in the report.
func (f *File) convert(p piece, taken map[dataset.EditID]bool) (dataset.Record, error) {
	failed := func(field string, err error) (dataset.Record, error) {
		re := &dataset.RecordError{File: f.path, Index: p.index, Offset: p.offset, Field: field, Err: err}
		f.report.Errors = append(f.report.Errors, Finding{Index: p.index, Offset: p.offset, Code: CodeRecord, Text: re.Error()})
		return dataset.Record{}, re
	}
	fs, err := newFields(p.raw)
	if err != nil {
		return failed("", err)
	}
	d := &draft{fields: fs, index: p.index, o: f.o, skipped: map[string]int{}}
	f.format.read(d)
	if d.fault.err != nil {
		return failed(d.fault.field, d.fault.err)
	}
	name := d.edit.SourceCase
	if name == "" {
		name = fmt.Sprint(p.index)
	}
	id := dataset.EditID(d.edit.Source + "-" + name)
	if taken[id] {
		d.warn(CodeDuplicateID, "case id %s occurs again", name)
		for taken[id] {
			id = dataset.EditID(fmt.Sprintf("%s-%d", id, p.index))
		}
	}
	taken[id] = true
	rec := d.number(id)
	f.report.Records++
	for _, q := range rec.Probes {
		f.report.Probes[q.Axis]++
	}
	for what, n := range d.skipped {
		f.report.Skipped[what] += n
	}
	for _, w := range d.findings {
		w.Offset = p.offset
		f.report.Warnings = append(f.report.Warnings, w)
	}
	return rec, nil
}

// sniffed is how many records are looked at to tell the format.
const sniffed = 20

// bare is the signature of a record that has nothing but the edit itself, which
// several formats allow; EasyEdit's reader takes it.
const bare = "bare"

// sniff names the format that most of the first records are of: a name of
// Formats, or mquake or ripple, which are known but not read. Empty if none
// is recognised; keys are the first object's fields.
func sniff(path string) (looks string, keys []string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", nil, fmt.Errorf("importer: %w", err)
	}
	defer file.Close()
	votes := map[string]int{}
	found := false
	for p, err := range pieces(file) {
		if err != nil {
			if found { // a file that breaks off later is reported when it is read
				break
			}
			return "", nil, fmt.Errorf("importer: %s: %w", path, err)
		}
		found = true
		if fs, err := newFields(p.raw); err == nil {
			if keys == nil {
				keys = slices.Sorted(maps.Keys(fs.m))
			}
			if name := signature(fs); name != "" {
				votes[name]++
			}
		}
		if p.index+1 == sniffed {
			break
		}
	}
	if !found {
		return "", nil, fmt.Errorf("importer: %s: %w", path, ErrEmpty)
	}
	// Records of a grouped format may lack their groups and then look flat.
	if votes["knowedit"]+votes["easyedit"] > 0 {
		delete(votes, "counterfact-flat")
	}
	bares := votes[bare]
	if delete(votes, bare); bares > 0 && len(votes) == 0 {
		return "easyedit", keys, nil
	}
	for _, name := range slices.Sorted(maps.Keys(votes)) {
		if looks == "" || votes[name] > votes[looks] {
			looks = name
		}
	}
	return looks, keys, nil
}

// signature names the format one record is of, by fields only that format has.
func signature(f fields) string {
	all := func(names ...string) bool {
		return !slices.ContainsFunc(names, func(n string) bool { return !f.has(n) })
	}
	switch {
	case f.has("requested_rewrite"):
		if kindOf(f.m["requested_rewrite"]) == "a list" {
			return "mquake"
		}
		return "counterfact"
	case all("src", "alt"):
		return "zsre"
	case all("goal", "sol1", "sol2"), all("question", "choices"):
		return "choices"
	case f.has("example_type") && f.has("edit"):
		return "ripple"
	case !all("prompt", "target_new"):
		return ""
	}
	for _, family := range []string{"portability", "locality"} {
		var groups map[string]json.RawMessage
		if f.has(family) && json.Unmarshal(f.m[family], &groups) == nil {
			for _, name := range slices.Sorted(maps.Keys(groups)) {
				switch kindOf(groups[name]) {
				case "a list":
					return "knowedit"
				case "an object":
					return "easyedit"
				}
			}
		}
	}
	if f.has("portability") || f.has("locality") { // groups there, but empty
		return "knowedit"
	}
	if all("ground_truth") {
		return "counterfact-flat"
	}
	return bare
}

func describe(looks string) string {
	switch looks {
	case "":
		return ""
	case "mquake":
		return "MQuAKE, which is not imported"
	case "ripple":
		return "RippleEdits, which is not imported"
	}
	f, err := formatNamed(looks)
	if err != nil {
		return looks
	}
	return fmt.Sprintf("%s (%s)", f.Name, f.Title)
}
