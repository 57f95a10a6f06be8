// Package importer reads published files of edits (CounterFact, zsRE and MzsRE,
// KnowEdit and CKnowEdit, EasyEdit requests, MQuAKE, RippleEdits, UniEdit,
// QAEdit, UnKE, WikiBigEdit, questions with choices) and tables of the user's
// own, as records of package dataset. A record that cannot be used is reported
// and left out; the Report says what else was changed or skipped.
package importer

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"editpipe/dataset"
	"editpipe/dataset/importer/rows"
)

// Format is a file format that can be imported.
type Format struct {
	Name    string // as given to Open
	Title   string
	Schema  string // the fields that are read
	Doc     string // what becomes of its fields
	Source  string // who published files of it
	Licence string // as the distributor of the published files states it; empty where none is stated
	Pool    bool   // holds questions without edits: read by ReadChoices, not by Open

	read   func(*draft)
	survey func(path string, o Options) (func(*draft), error) // makes the reader, where it must know the file or the options
	cut    func(path string) cutter                           // nil: rows.JSON
}

// Formats lists the formats that can be imported.
func Formats() []Format {
	return []Format{
		{
			Name: "counterfact", Title: "CounterFact, original nested records",
			Schema: "case_id, requested_rewrite{prompt, subject, relation_id, target_new{str, id}, target_true{str, id}}, paraphrase_prompts, neighborhood_prompts; " +
				"of the survey's files also alternative_subject, portability{New Question, New Answer}, distracting_neighborhood_prompts, unrelated_relation{question, object}",
			Doc: "requested_rewrite gives the edit (subject span from the {} of its prompt); paraphrase_prompts become generalization; neighborhood_prompts become neighbourhood/near, " +
				"where the old object should win over the new one; alternative_subject becomes subject_replace, New Question one_hop, distracting_neighborhood_prompts distract_neighbourhood, " +
				"unrelated_relation other_relations; attribute_prompts and generation_prompts are counted but not imported, as no axis scores them.",
			Source: "Meng et al. 2022 (ROME); the survey's portability and locality files: EasyEdit", Licence: "MIT", read: readCounterFact,
		},
		{
			Name: "counterfact-flat", Title: "CounterFact, flat records",
			Schema: "case_id, prompt, subject, target_new, ground_truth, rephrase_prompt, locality_prompt, locality_ground_truth",
			Doc: "prompt, subject, target_new, ground_truth give the edit; rephrase_prompt becomes generalization; locality_prompt becomes neighbourhood/near if its answer is the old object, " +
				"else other_tasks/unrelated.",
			Source: "EasyEdit's and RECIPE's counterfact-edit.json", Licence: "MIT", read: readFlat,
		},
		{
			Name: "zsre", Title: "zsRE question answering, MEND's records",
			Schema: "subject, src, alt, answers, rephrase, loc, loc_ans; of the survey's files also alternative_subject, alter_subject_question, inverse question, portability{New Question, New Answer}",
			Doc: "src, subject, alt give the edit, answers its ground truth; rephrase becomes generalization; loc and loc_ans become other_tasks/nq, the text unchanged (\"nq question: \" kept, " +
				"no question mark added); alter_subject_question becomes subject_replace, inverse question reversed_relation, New Question one_hop. pred and cond are not used. " +
				"The target is alt; ROME's reader takes answers[0].",
			Source: "Mitchell et al. 2022 (MEND), from zsRE (Levy et al. 2017); the survey's portability files: EasyEdit", read: readZsRE,
		},
		{
			Name: "mzsre", Title: "MzsRE, zsRE in several languages",
			Schema: "{LANGUAGE: a record of zsre}",
			Doc:    "One language of the file is read, as zsre; where it has several, Options.Language (--language) chooses.",
			Source: "Wang et al. 2024 (ReMaKE)", survey: readMzsRE,
		},
		{
			Name: "knowedit", Title: "KnowEdit, ZsRE, wiki_* and WikiBio files",
			Schema: "subject, prompt, target_new (WikiBio: concept, text, labels), ground_truth, rephrase_prompt, portability and locality {GROUP: [{prompt, ground_truth}]}",
			Doc: "Subject_Aliasing becomes subject_replace, Reasoning one_hop, Logical_Generalization reversed_relation, Relation_Specificity and Forgetfulness other_relations; the variant keeps the " +
				"file's word. Ground truths may be a string, a list (any is right) or a list of lists (answers, each with its spellings). An edit without ground truth is an update.",
			Source: "Zhang et al. 2024 (KnowEdit)", Licence: "MIT", read: readKnowEdit,
		},
		{
			Name: "cknowedit", Title: "CKnowEdit, corrections of Chinese knowledge",
			Schema: "prompt, target_old, target_new, rephrase, portability and locality [{prompt, answer}]",
			Doc: "prompt, target_new, target_old give the edit, an update without subject; rephrase becomes generalization, portability one_hop/portability, " +
				"locality other_relations/locality (as a rule it asks something else of what is edited).",
			Source: "Fang et al. 2025 (CKnowEdit)", read: readCKnowEdit,
		},
		{
			Name: "easyedit", Title: "EasyEdit requests",
			Schema: "subject, prompt, target_new, ground_truth, rephrase_prompt, locality_prompt, locality_ground_truth, portability and locality {GROUP: {prompt, ground_truth}}; " +
				"or one object of lists: prompts, subject, target_new, ground_truth, rephrase_prompts, locality_inputs and portability_inputs {GROUP: {prompt, ground_truth}}",
			Doc: "prompt, subject, target_new, ground_truth, rephrase_prompt, and groups of probes under locality and portability, named as our axes (American spelling accepted), as KnowEdit's, or as " +
				"EasyEdit's own (distracting, synonym, mhop, personas). " +
				"A locality_prompt at the top level is imported unless a group has it; see counterfact-flat for its axis. NAME_prompt with NAME_ground_truth, and groups beside the two families, are read by their names in the same way.",
			Source: "the arguments of EasyEdit's editor as a file", read: readEasyEdit, cut: func(string) cutter { return requests },
		},
		{
			Name: "mquake", Title: "MQuAKE, cases of one to four edits with multi-hop questions",
			Schema: "case_id, requested_rewrite[{prompt, subject, question, relation_id, target_new, target_true}], questions, answer, new_answer and their aliases, single_hops, new_single_hops, orig",
			Doc: "Every requested_rewrite becomes an edit (those of a case share source_case) and its question generalization; questions become one_hop of the case's last edit, the variant telling the " +
				"number of hops; in a case of several edits they are set apart (flag needs_case). Records with answer_extended (MQuAKE-T) are updates. " +
				"Hops that no edit changes, and those before the edit, are counted but not imported.",
			Source: "Zhong et al. 2023 (MQuAKE)", Licence: "MIT", read: readMQuAKE,
		},
		{
			Name: "ripple", Title: "RippleEdits: popular, random and recent",
			Schema: "example_type, edit{prompt, subject_id, relation, target_id, original_fact}, and six groups of tests{test_queries, test_condition, condition_queries}",
			Doc: "Relation_Specificity and Forgetfulness become other_relations, Subject_Aliasing subject_replace, Compositionality_I and _II one_hop, Logical_Generalization reversed_relation where the new " +
				"object is asked for the subject, else one_hop; the variant keeps the file's word, needs_facts the condition queries. Subject and object are named in sentences only: " +
				"they are found by the names and the wording of the whole file. Recent examples are updates.",
			Source: "Cohen et al. 2023 (RippleEdits)", Licence: "MIT", survey: surveyRipple,
		},
		{
			Name: "uniedit", Title: "UniEdit, one object of records by name",
			Schema: "edit{prompt, subject, target, head_entity, property, tail_entity}, generality and locality {N: {prompt, target, path_type, paths, one_hops, loc_type}}",
			Doc: "Generality becomes generalization, subject_replace (another name of the subject), reversed_relation, or one_hop (several hops, two chains that meet); locality becomes other_relations " +
				"(head of edit), neighbourhood (property of edit) or other_tasks (tail of edit, none). Edits are updates: their facts are true.",
			Source: "Chen et al. 2025 (UniEdit)", Licence: "MIT", read: readUniEdit,
			cut: func(string) cutter { return rows.Named },
		},
		{
			Name: "qaedit", Title: "QAEdit, facts of question-answering sets",
			Schema: "id, prompt, target, subject, rephrase, locality [{loc, loc_ans}]",
			Doc:    "prompt, subject, target give the edit; rephrase becomes generalization, loc and loc_ans other_tasks/nq.",
			Source: "Yang et al. 2025 (The Mirage of Model Editing)", read: readQAEdit,
		},
		{
			Name: "unke", Title: "UnKEBench, answers that are texts",
			Schema: "id, question, answer, para_question, sub_question, sub_answer",
			Doc:    "question and answer give the edit, without subject; para_question becomes generalization, sub_question with sub_answer (what the text says) one_hop/sub_question.",
			Source: "Deng et al. 2024 (UnKE)", read: readUnKE,
		},
		{
			Name: "wikibigedit", Title: "WikiBigEdit, changes of Wikidata",
			Schema: "update, subject, ans, relation, rephrase, personas, mhop, mhop_ans, loc, loc_ans",
			Doc: "update, subject, ans give the edit, an update; rephrase becomes generalization, personas generalization/personas, mhop one_hop/mhop, loc other_tasks/unrelated. " +
				"object repeats ans; tag is not used.",
			Source: "Thede et al. 2025 (WikiBigEdit)", read: readWikiBigEdit,
		},
		{
			Name: "custom", Title: "your own columns: JSON, JSON lines, CSV, TSV, Parquet",
			Schema: "any columns; a mapping FIELD=COLUMN names those of prompt, target_new (needed), subject, ground_truth, case_id, relation, rephrase_prompt, and AXIS_prompt with AXIS_answer",
			Doc: "Tables are told by .csv and .tsv. In JSON, COLUMN may be a path (locality[].loc). {} in a prompt stands for the subject, unless it is part of the subject's name or of a line of code. rephrase_prompt becomes generalization, AXIS_prompt the axis of that name; each may be given for several columns. " +
				"subject_replace needs no answer column: the target is expected.",
			Source: "your file",
			survey: func(_ string, o Options) (func(*draft), error) { return readCustom(o.Map), nil },
			cut:    cutCustom,
		},
		{
			Name: "choices", Title: "questions with choices, one JSON record per line",
			Schema: "goal, sol1, sol2, and a file of labels; or question, choices, label",
			Doc:    "PIQA (goal, sol1, sol2 and a file of labels, one number per line) or {question, choices, label}. They are questions without edits: a pool that AttachChoices joins to a data set as other_tasks.",
			Source: "Bisk et al. 2020 (PIQA), or your file", Licence: "AFL-3.0 (PIQA)",
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
	Set     string   // name of the data set; the file's name without ending if empty
	Split   string   // train, valid or test; empty if the source has none
	Licence string   // the file's licence; what the format's distributor states if empty
	Labels  string   // file of labels for choices without any; NAME-labels.lst beside NAME.jsonl if empty
	Map     []Column // columns of a custom file; see ParseMap

	// Language is the language that is read of a file that has every record in
	// several; needed only there, and only where there is a choice.
	Language string
	// Parquet reads the rows of a Parquet file as JSON objects, one each, by the
	// names of its columns; files of that kind are refused where it is nil. (This
	// package does not speak Parquet.)
	Parquet func(path string) iter.Seq2[[]byte, error]
}

func (o Options) with(path string, f Format) Options {
	if o.Set == "" {
		base := filepath.Base(unpackedName(path))
		o.Set = strings.TrimSuffix(base, filepath.Ext(base))
	}
	if o.Licence == "" {
		o.Licence = f.Licence
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
	Read     int                  `json:"read"`              // records of the file
	Records  int                  `json:"records"`           // edits imported
	Probes   map[dataset.Axis]int `json:"probes"`            // probes imported
	Skipped  map[string]int       `json:"skipped,omitempty"` // things in good records that were left out, by kind
	Groups   map[string]int       `json:"groups,omitempty"`  // groups of questions whose name says no kind, by path: left out whole
	Errors   []Finding            `json:"errors,omitempty"`  // records left out
	Warnings []Finding            `json:"warnings,omitempty"`
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
	if custom := format == "custom"; custom != (len(o.Map) > 0) {
		if custom {
			return nil, fmt.Errorf("importer: %s: %w: the custom format needs one", path, ErrMap)
		}
		return nil, fmt.Errorf("importer: %s: %w: only the custom format takes one, not %s", path, ErrMap, format)
	} else if custom {
		if err := checkColumns(path, o); err != nil {
			return nil, err
		}
		return &File{path: path, format: f, o: o.with(path, f)}, nil
	}
	looks, keys, fault, err := sniff(path, o)
	if err != nil {
		return nil, err
	}
	// EasyEdit's reader takes flat records too: they are requests without groups.
	if looks != format && !(format == "easyedit" && looks == "counterfact-flat") {
		return nil, &FormatError{File: path, Want: format, Looks: describe(looks), Keys: keys, Fault: fault}
	}
	if err := checkLanguage(format, keys, o.Language); err != nil {
		return nil, fmt.Errorf("importer: %s: %w", path, err)
	}
	return &File{path: path, format: f, o: o.with(path, f)}, nil
}

// Detect returns the name of the format a file is of.
func Detect(path string, o Options) (string, error) {
	looks, keys, fault, err := sniff(path, o)
	if err != nil {
		return "", err
	}
	if _, err := formatNamed(looks); err != nil {
		return "", &FormatError{File: path, Looks: describe(looks), Keys: keys, Fault: fault}
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
		f.report = Report{File: f.path, Format: f.format.Name, Probes: map[dataset.Axis]int{}, Skipped: map[string]int{}, Groups: map[string]int{}}
		read, cut := f.format.read, cutter(rows.JSON)
		if f.format.survey != nil {
			var err error
			if read, err = f.format.survey(f.path, f.o); err != nil {
				yield(dataset.Record{}, fmt.Errorf("importer: reading %s: %w", f.path, err))
				return
			}
		}
		if f.format.cut != nil {
			cut = f.format.cut(f.path)
		}
		taken := map[dataset.EditID]bool{}
		for p, err := range rowsOf(f.path, f.o, cut) {
			if err != nil {
				yield(dataset.Record{}, fmt.Errorf("importer: reading %s: %w", f.path, err))
				return
			}
			f.report.Read++
			recs, err := f.convert(p, read, taken)
			if err != nil && !yield(dataset.Record{}, err) {
				return
			}
			for _, rec := range recs {
				if !yield(rec, nil) {
					return
				}
			}
		}
	}
}

// convert turns a row into the records of its edits and books them in the report.
func (f *File) convert(p rows.Row, read func(*draft), taken map[dataset.EditID]bool) ([]dataset.Record, error) {
	failed := func(field string, err error) ([]dataset.Record, error) {
		re := &dataset.RecordError{File: f.path, Index: p.Index, Offset: p.Offset, Field: field, Err: err}
		f.report.Errors = append(f.report.Errors, Finding{Index: p.Index, Offset: p.Offset, Code: CodeRecord, Text: re.Error()})
		return nil, re
	}
	if p.Err != nil {
		return failed("", p.Err)
	}
	fs, err := newFields(p.Raw)
	if err != nil {
		return failed("", err)
	}
	d := &draft{fields: fs, index: p.Index, name: p.Name, o: f.o, skipped: map[string]int{}, groups: map[string]int{}}
	read(d)
	if d.fault.err != nil {
		return failed(d.fault.field, d.fault.err)
	}
	var recs []dataset.Record
	for _, part := range append([]*draft{d}, d.also...) {
		recs = append(recs, f.book(part, p.Offset, taken))
	}
	return recs, nil
}

// book gives a finished draft its id, which no other record has, and counts it.
func (f *File) book(d *draft, offset int64, taken map[dataset.EditID]bool) dataset.Record {
	name := d.edit.SourceCase
	if name == "" {
		name = fmt.Sprint(d.index)
	}
	if d.part != "" {
		name += "-" + d.part
	}
	id := dataset.EditID(d.edit.Source + "-" + name)
	if taken[id] {
		d.warn(CodeDuplicateID, "case id %s occurs again", name)
		for taken[id] {
			id = dataset.EditID(fmt.Sprintf("%s-%d", id, d.index))
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
	for path, n := range d.groups {
		f.report.Groups[path] += n
	}
	for _, w := range d.findings {
		w.Offset = offset
		f.report.Warnings = append(f.report.Warnings, w)
	}
	return rec
}

// sniffed is how many records are looked at to tell the format.
const sniffed = 20

// bare is the signature of a record that has nothing but the edit itself, which
// several formats allow; EasyEdit's reader takes it.
const bare = "bare"

// sniff names the format that most of the first records are of: a name of
// Formats, or empty if none is recognised; keys are the first object's fields,
// fault is why there is no such object.
func sniff(path string, o Options) (looks string, keys []string, fault, err error) {
	looks, keys, fault, err = look(path, o, rows.JSON)
	if err == nil && looks == "" {
		// One object of records is no record itself: read as lines it has no format.
		if named, _, _, err := look(path, o, rows.Named); err == nil && named == "uniedit" {
			return named, keys, fault, nil
		}
	}
	if looks == "uniedit" { // its records, but without names
		looks = ""
	}
	return looks, keys, fault, err
}

// look tells the format of the first records that cut finds, and their fields,
// or why none of them has fields.
func look(path string, o Options, cut cutter) (looks string, keys []string, fault, err error) {
	votes := map[string]int{}
	found := false
	for p, err := range rowsOf(path, o, cut) {
		if err != nil {
			if found { // a file that breaks off later is reported when it is read
				break
			}
			return "", nil, nil, fmt.Errorf("importer: %s: %w", path, err)
		}
		found = true
		fs, err := newFields(p.Raw)
		switch {
		case err == nil && keys == nil:
			keys, fault = slices.Sorted(maps.Keys(fs.m)), nil
		case err != nil && keys == nil && fault == nil:
			fault = err
		}
		if name := signature(fs); err == nil && name != "" {
			votes[name]++
		}
		if p.Index+1 == sniffed {
			break
		}
	}
	if !found {
		return "", nil, nil, fmt.Errorf("importer: %s: %w", path, ErrEmpty)
	}
	// Records of a grouped format may lack their groups and then look flat.
	if votes["knowedit"]+votes["easyedit"] > 0 {
		delete(votes, "counterfact-flat")
	}
	bares := votes[bare]
	if delete(votes, bare); bares > 0 && len(votes) == 0 {
		return "easyedit", keys, fault, nil
	}
	for _, name := range slices.Sorted(maps.Keys(votes)) {
		if looks == "" || votes[name] > votes[looks] {
			looks = name
		}
	}
	return looks, keys, fault, nil
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
	case len(languagesOf(f)) > 0:
		return "mzsre"
	case all("update", "ans"):
		return "wikibigedit"
	case all("question", "answer") && (f.has("para_question") || f.has("sub_question")):
		return "unke"
	case all("prompts", "target_new"): // the editor's arguments, a list each
		return "easyedit"
	case all("goal", "sol1", "sol2"), all("question", "choices"):
		return "choices"
	case all("example_type", "edit"):
		return "ripple"
	case all("edit", "generality"):
		return "uniedit"
	case all("text", "labels", "concept"):
		return "knowedit"
	case all("prompt", "target_new", "target_old"):
		return "cknowedit"
	case all("prompt", "target") && (f.has("locality") || f.has("rephrase")):
		return "qaedit"
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
	if looks == "" {
		return ""
	}
	f, err := formatNamed(looks)
	if err != nil {
		return looks
	}
	return fmt.Sprintf("%s (%s)", f.Name, f.Title)
}
