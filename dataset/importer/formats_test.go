package importer

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"editpipe/dataset"
)

// samples holds an invented file of each format, which dataset/exporter shares.
var samples = filepath.Join("..", "..", "testdata", "formats")

// read imports a sample.
func read(t *testing.T, format, name string, o Options) ([]dataset.Record, []*dataset.RecordError, Report) {
	t.Helper()
	f, err := Open(format, filepath.Join(samples, name), o)
	if err != nil {
		t.Fatal(err)
	}
	recs, bad, err := dataset.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return recs, bad, f.Report()
}

// count is the number of warnings with a code.
func count(r Report, code string) int {
	n := 0
	for _, w := range r.Warnings {
		if w.Code == code {
			n++
		}
	}
	return n
}

// same compares field by field, so that a difference is readable.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range g.NumField() {
		a, b := g.Field(i), w.Field(i)
		if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
			continue
		}
		if !reflect.DeepEqual(a.Interface(), b.Interface()) {
			t.Errorf("%s: %s is %#v, want %#v", what, g.Type().Field(i).Name, a.Interface(), b.Interface())
		}
	}
}

func sameProbes(t *testing.T, got, want []dataset.Probe) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d probes, want %d: %+v", len(got), len(want), got)
	}
	for i := range want {
		w := want[i]
		w.Family, w.Phrasing, w.ChoiceLabel = w.Axis.Family(), "imported", -1
		if w.SubjectText == "" {
			w.SubjectStart, w.SubjectEnd = -1, -1
		}
		if w.AnswerMode == "" {
			w.AnswerMode = dataset.Single
		}
		same(t, string(w.ID), got[i], w)
	}
}

// wrong checks which records were refused, and why.
func wrong(t *testing.T, bad []*dataset.RecordError, want []dataset.RecordError) {
	t.Helper()
	if len(bad) != len(want) {
		t.Fatalf("%d record errors, want %d: %v", len(bad), len(want), bad)
	}
	for i, w := range want {
		b := bad[i]
		if b.Index != w.Index || b.Field != w.Field || !strings.Contains(b.Error(), w.Err.Error()) {
			t.Errorf("error %d: record %d, field %q: %v\nwant record %d, field %q: ...%v", i, b.Index, b.Field, b.Err, w.Index, w.Field, w.Err)
		}
		if errors.Is(w.Err, ErrMissing) && !errors.Is(b, ErrMissing) {
			t.Errorf("error %d does not wrap ErrMissing", i)
		}
	}
}

func codes(r Report) map[string]int {
	m := map[string]int{}
	for _, w := range r.Warnings {
		m[w.Code]++
	}
	return m
}

func TestCounterFact(t *testing.T) {
	recs, bad, report := read(t, "counterfact", "counterfact.json", Options{Set: "cf", Split: "test"})
	wrong(t, bad, []dataset.RecordError{
		{Index: 0, Field: "requested_rewrite.prompt", Err: errors.New("more than one {}")},
		{Index: 3, Field: "requested_rewrite.target_new.str", Err: ErrMissing},
		{Index: 4, Field: "requested_rewrite.subject", Err: errors.New("want a string, have a number")},
		{Index: 5, Field: "paraphrase_prompts[1]", Err: errors.New("want a string, have a number")},
		{Index: 6, Err: errors.New("not valid JSON")},
		{Index: 7, Err: errors.New("have null")},
	})
	if len(recs) != 3 {
		t.Fatalf("%d records, want 3", len(recs))
	}
	same(t, "edit", recs[0].Edit, dataset.Edit{
		ID: "counterfact-8", Set: "cf", Source: "counterfact", SourceCase: "8", Split: "test", RelationID: "P17",
		Subject: "Öd", ObjectTrueID: "Q211", GroundTruth: "Latvia", ObjectNewID: "Q20", Target: "Norway", Mode: dataset.Counterfactual,
		Prompt: "In Ödland, the lighthouse of Öd lies in", PromptCloze: "In Ödland, the lighthouse of Öd lies in",
		PromptTemplate: "In Ödland, the lighthouse of {s} lies in", SubjectStart: 30, SubjectEnd: 33, Licence: "MIT",
	})
	if e := recs[0].Edit; e.Prompt[e.SubjectStart:e.SubjectEnd] != "Öd" {
		t.Errorf("span covers %q", e.Prompt[e.SubjectStart:e.SubjectEnd])
	}
	old := []string{"Latvia"}
	sameProbes(t, recs[0].Probes, []dataset.Probe{
		{ID: "counterfact-8-reliability-0", EditID: "counterfact-8", Axis: dataset.AxisReliability, Prompt: "In Ödland, the lighthouse of Öd lies in", Format: dataset.Cloze,
			Answers: []string{"Norway"}, AnswersBefore: old, Contrast: "Latvia", SubjectText: "Öd", SubjectStart: 30, SubjectEnd: 33},
		{ID: "counterfact-8-generalization-0", EditID: "counterfact-8", Axis: dataset.AxisGeneralization, Prompt: "Öd's lighthouse stands in", Format: dataset.Cloze,
			Answers: []string{"Norway"}, AnswersBefore: old, Contrast: "Latvia", SubjectText: "Öd", SubjectStart: 0, SubjectEnd: 3},
		{ID: "counterfact-8-generalization-1", EditID: "counterfact-8", Axis: dataset.AxisGeneralization, Prompt: "A cat sat there. Öd lies in", Format: dataset.Cloze,
			Answers: []string{"Norway"}, AnswersBefore: old, Contrast: "Latvia", SubjectText: "Öd", SubjectStart: 17, SubjectEnd: 20},
		{ID: "counterfact-8-neighbourhood-0", EditID: "counterfact-8", Axis: dataset.AxisNeighbourhood, Variant: "near", Prompt: "The lighthouse of Kolm lies in", Format: dataset.Cloze,
			Answers: old, Contrast: "Norway"},
		{ID: "counterfact-8-neighbourhood-1", EditID: "counterfact-8", Axis: dataset.AxisNeighbourhood, Variant: "near", Prompt: "The lighthouse of Kolm lies in", Format: dataset.Cloze,
			Answers: old, Contrast: "Norway"},
	})
	// The second record numbered 8 keeps its probes apart by its own id.
	if got := recs[1].Probes[0].ID; got != "counterfact-8-2-reliability-0" {
		t.Errorf("probe of the record with a repeated id is %s", got)
	}
	if got := recs[1].Probes[0]; got.Contrast != "" || got.AnswersBefore != nil {
		t.Errorf("an edit to the truth has contrast %q and answers before %q", got.Contrast, got.AnswersBefore)
	}
	if e := recs[2].Edit; e.SubjectStart != -1 || e.SubjectEnd != -1 || e.PromptTemplate != "" {
		t.Errorf("subject that does not occur has span %d:%d, template %q", e.SubjectStart, e.SubjectEnd, e.PromptTemplate)
	}
	want := Report{
		File: filepath.Join(samples, "counterfact.json"), Format: "counterfact", Read: 9, Records: 3,
		Probes:  map[dataset.Axis]int{dataset.AxisReliability: 3, dataset.AxisGeneralization: 3, dataset.AxisNeighbourhood: 3},
		Skipped: map[string]int{"attribute_prompts": 1, "generation_prompts": 2, "neighbourhood without prompt or answer": 1}, Groups: map[string]int{},
	}
	if len(report.Errors) != len(bad) || report.Errors[1].Text != bad[1].Error() {
		t.Errorf("report has the errors %v", report.Errors)
	}
	if got, want := codes(report), (map[string]int{
		CodeTrimmed: 2, CodeDuplicateProbe: 1, CodeProbeDropped: 1, CodeTargetIsTruth: 1, CodeDuplicateID: 1, CodeRephraseIsEdit: 1, CodeNoPlaceholder: 1, CodeSubjectMissing: 1,
	}); !reflect.DeepEqual(got, want) {
		t.Errorf("warnings are %v, want %v: %v", got, want, report.Warnings)
	}
	if count(report, CodeTrimmed) != 2 {
		t.Errorf("%d warnings", count(report, CodeTrimmed))
	}
	report.Errors, report.Warnings = nil, nil
	same(t, "report", report, want)
}

// The offset of an error is where its record starts in the file.
func TestOffsets(t *testing.T) {
	_, bad, report := read(t, "counterfact", "counterfact.json", Options{})
	text, err := os.ReadFile(filepath.Join(samples, "counterfact.json"))
	if err != nil {
		t.Fatal(err)
	}
	starts := []string{`{
  "case_id": 7`, `{"case_id": 9`, `{"case_id": 10`, `{"case_id": 11`, `{"case_id": 12`, `null`}
	for i, s := range starts {
		if !strings.HasPrefix(string(text[bad[i].Offset:]), s) {
			t.Errorf("error %d: byte %d does not start %q", i, bad[i].Offset, s)
		}
	}
	for _, w := range report.Warnings {
		if text[w.Offset] != '{' {
			t.Errorf("warning %v: byte %d starts no record", w, w.Offset)
		}
	}
}

func TestCounterFactFlat(t *testing.T) {
	recs, bad, _ := read(t, "counterfact-flat", "counterfact_flat.json", Options{Licence: "own"})
	wrong(t, bad, []dataset.RecordError{
		{Index: 3, Field: "ground_truth", Err: ErrMissing},
		{Index: 4, Field: "locality_ground_truth", Err: errors.New("1 answers for 2 locality prompts")},
	})
	same(t, "edit", recs[0].Edit, dataset.Edit{
		ID: "counterfact-3", Set: "counterfact_flat", Source: "counterfact", SourceCase: "3", Subject: "Ada Brook", GroundTruth: "Dutch", Target: "Welsh", Mode: dataset.Counterfactual,
		Prompt: "The mother tongue of Ada Brook is", PromptCloze: "The mother tongue of Ada Brook is", PromptTemplate: "The mother tongue of {s} is",
		SubjectStart: 21, SubjectEnd: 30, Licence: "own",
	})
	id := dataset.EditID("counterfact-3")
	sameProbes(t, recs[0].Probes, []dataset.Probe{
		{ID: "counterfact-3-reliability-0", EditID: id, Axis: dataset.AxisReliability, Prompt: "The mother tongue of Ada Brook is", Format: dataset.Cloze, Answers: []string{"Welsh"},
			AnswersBefore: []string{"Dutch"}, Contrast: "Dutch", SubjectText: "Ada Brook", SubjectStart: 21, SubjectEnd: 30},
		{ID: "counterfact-3-generalization-0", EditID: id, Axis: dataset.AxisGeneralization, Prompt: "At home, Ada Brook speaks", Format: dataset.Cloze, Answers: []string{"Welsh"},
			AnswersBefore: []string{"Dutch"}, Contrast: "Dutch", SubjectText: "Ada Brook", SubjectStart: 9, SubjectEnd: 18},
		{ID: "counterfact-3-neighbourhood-0", EditID: id, Axis: dataset.AxisNeighbourhood, Variant: "near", Prompt: "The mother tongue of Piet Sand is", Format: dataset.Cloze, Answers: []string{"Dutch"}, Contrast: "Welsh"},
	})
	second := recs[1]
	if second.Edit.ID != "counterfact-b-4" || second.Edit.PromptQuestion != second.Edit.Prompt || second.Edit.PromptCloze != "" || second.Edit.SubjectStart != -1 {
		t.Errorf("question edit with an absent subject: %+v", second.Edit)
	}
	var axes []dataset.Axis
	for _, p := range second.Probes {
		axes = append(axes, p.Axis)
	}
	if want := []dataset.Axis{dataset.AxisReliability, dataset.AxisGeneralization, dataset.AxisGeneralization, dataset.AxisOtherTasks, dataset.AxisNeighbourhood}; !reflect.DeepEqual(axes, want) {
		t.Errorf("axes are %v, want %v", axes, want)
	}
	if p := second.Probes[3]; p.Variant != "unrelated" || p.Contrast != "" || p.Answers[0] != "four" {
		t.Errorf("unrelated locality question: %+v", p)
	}
	if p := recs[2].Probes[2]; p.Axis != dataset.AxisNeighbourhood || p.Answers[0] != "Mull" {
		t.Errorf("locality question without an answer: %+v", p)
	}
}

func TestZsRE(t *testing.T) {
	recs, bad, report := read(t, "zsre", "zsre.json", Options{})
	wrong(t, bad, []dataset.RecordError{
		{Index: 2, Field: "alt", Err: ErrMissing},
		{Index: 3, Field: "answers", Err: errors.New("want a string or a list of strings, have an object")},
		{Index: 4, Field: "loc_ans", Err: errors.New("have a number")},
	})
	same(t, "edit", recs[0].Edit, dataset.Edit{
		ID: "zsre-0", Set: "zsre", Source: "zsre", Subject: "Mill Bridge", GroundTruth: "Piet Sand", ObjectTrueAliases: []string{"P. Sand"}, Target: "Ada Brook",
		Mode: dataset.Counterfactual, Prompt: "Who built Mill Bridge?", PromptQuestion: "Who built Mill Bridge?", PromptTemplate: "Who built {s}?", SubjectStart: 10, SubjectEnd: 21,
	})
	before := []string{"Piet Sand", "P. Sand"}
	sameProbes(t, recs[0].Probes, []dataset.Probe{
		{ID: "zsre-0-reliability-0", EditID: "zsre-0", Axis: dataset.AxisReliability, Prompt: "Who built Mill Bridge?", Format: dataset.Question, Answers: []string{"Ada Brook"},
			AnswersBefore: before, Contrast: "Piet Sand", SubjectText: "Mill Bridge", SubjectStart: 10, SubjectEnd: 21},
		{ID: "zsre-0-generalization-0", EditID: "zsre-0", Axis: dataset.AxisGeneralization, Prompt: "Who was the builder of Mill Bridge?", Format: dataset.Question, Answers: []string{"Ada Brook"},
			AnswersBefore: before, Contrast: "Piet Sand", SubjectText: "Mill Bridge", SubjectStart: 23, SubjectEnd: 34},
		{ID: "zsre-0-other_tasks-0", EditID: "zsre-0", Axis: dataset.AxisOtherTasks, Variant: "nq", Prompt: "nq question: how many legs has a spider", Format: dataset.Question, Answers: []string{"eight"}},
	})
	if e := recs[1].Edit; e.GroundTruth != "" || e.SubjectStart != -1 || len(recs[1].Probes) != 3 {
		t.Errorf("record without answers and locality: %+v", recs[1])
	}
	if count(report, CodeSubjectMissing) != 1 {
		t.Errorf("warnings: %v", report.Warnings)
	}
}

func TestKnowEdit(t *testing.T) {
	recs, bad, report := read(t, "knowedit", "knowedit.json", Options{})
	wrong(t, bad, []dataset.RecordError{
		{Index: 2, Field: "portability.Reasoning", Err: errors.New("entry 0: prompt: want a string, have a number")},
		{Index: 3, Field: "portability", Err: errors.New("want an object of named groups, have a list")},
		{Index: 4, Field: "ground_truth", Err: errors.New("have an object")},
	})
	if e := recs[2].Edit; e.Subject != "" || e.SubjectStart != -1 || e.PromptTemplate != "" || count(report, CodeNoSubject) != 1 || count(report, CodeSubjectMissing) != 0 {
		t.Errorf("a record without subject: %+v, %v", e, report.Warnings)
	}
	id, before := dataset.EditID("knowedit-0"), []string{"Norway", "Sweden"}
	sameProbes(t, recs[0].Probes, []dataset.Probe{
		{ID: "knowedit-0-reliability-0", EditID: id, Axis: dataset.AxisReliability, Prompt: "Which country is Lake Orn in?", Format: dataset.Question, Answers: []string{"Latvia"},
			AnswersBefore: before, Contrast: "Norway", SubjectText: "Lake Orn", SubjectStart: 17, SubjectEnd: 25},
		{ID: "knowedit-0-generalization-0", EditID: id, Axis: dataset.AxisGeneralization, Prompt: "In which country does Lake Orn lie?", Format: dataset.Question, Answers: []string{"Latvia"},
			AnswersBefore: before, Contrast: "Norway", SubjectText: "Lake Orn", SubjectStart: 22, SubjectEnd: 30},
		{ID: "knowedit-0-reversed_relation-0", EditID: id, Axis: dataset.AxisReversedRelation, Variant: "logical_generalization", Prompt: "Which lake is in Latvia?", Format: dataset.Question,
			Answers: []string{"Lake Orn", "the Orn"}},
		{ID: "knowedit-0-one_hop-0", EditID: id, Axis: dataset.AxisOneHop, Variant: "reasoning", Prompt: "What is the capital of the country Lake Orn is in?", Format: dataset.Question,
			Answers: []string{"Riga"}, SubjectText: "Lake Orn", SubjectStart: 35, SubjectEnd: 43},
		{ID: "knowedit-0-subject_replace-0", EditID: id, Axis: dataset.AxisSubjectReplace, Variant: "alias", Prompt: "Which country is the Orn in?", Format: dataset.Question,
			Answers: []string{"Latvia"}, AnswersBefore: before, Contrast: "Norway"},
		{ID: "knowedit-0-other_relations-0", EditID: id, Axis: dataset.AxisOtherRelations, Variant: "forgetfulness", Prompt: "A country of Lake Orn which is not Latvia is", Format: dataset.Cloze,
			AnswerMode: dataset.Set, Answers: []string{"Norway", "Norge"}, AnswerSets: [][]string{{"Norway", "Norge"}, {"Sweden"}}, SubjectText: "Lake Orn", SubjectStart: 13, SubjectEnd: 21},
		{ID: "knowedit-0-other_relations-1", EditID: id, Axis: dataset.AxisOtherRelations, Variant: "relation_specificity", Prompt: "The depth of Lake Orn is", Format: dataset.Cloze,
			Answers: []string{"40 m"}, SubjectText: "Lake Orn", SubjectStart: 13, SubjectEnd: 21},
	})
	if e := recs[0].Edit; e.Mode != dataset.Counterfactual || e.GroundTruth != "Norway" || !reflect.DeepEqual(e.ObjectTrueAliases, []string{"Sweden"}) || e.Licence != "MIT" || e.Source != "knowedit" {
		t.Errorf("edit: %+v", e)
	}
	if e := recs[1].Edit; e.Mode != dataset.Update || e.GroundTruth != "" || len(recs[1].Probes) != 1 || recs[1].Probes[0].Contrast != "" {
		t.Errorf("edit without ground truth: %+v", recs[1])
	}
	if want := map[string]int{"other_relations without prompt or answer": 1}; !reflect.DeepEqual(report.Skipped, want) {
		t.Errorf("skipped %v, want %v", report.Skipped, want)
	}
	if want := map[string]int{"portability.Divination": 1}; !reflect.DeepEqual(report.Groups, want) {
		t.Errorf("groups left out %v, want %v", report.Groups, want)
	}
}

func TestEasyEdit(t *testing.T) {
	recs, bad, report := read(t, "easyedit", "easyedit.json", Options{})
	wrong(t, bad, []dataset.RecordError{
		{Index: 2, Field: "locality.other_tasks", Err: errors.New("2 prompts but 1 ground truths")},
		{Index: 3, Field: "locality.other_tasks", Err: errors.New("have a string")},
	})
	same(t, "edit", recs[0].Edit, dataset.Edit{
		ID: "easyedit-0", Set: "easyedit", Source: "easyedit", SourceCase: "0", RelationID: "spouse", RelationLabel: "spouse", Subject: "Una Vale", GroundTruth: "Piet Sand",
		Target: "Jo Reed", Mode: dataset.Counterfactual, Prompt: "Who is Una Vale married to?", PromptQuestion: "Who is Una Vale married to?", PromptCloze: "Una Vale is married to",
		PromptTemplate: "Who is {s} married to?", SubjectStart: 7, SubjectEnd: 15,
	})
	id, before := dataset.EditID("easyedit-0"), []string{"Piet Sand"}
	sameProbes(t, recs[0].Probes, []dataset.Probe{
		{ID: "easyedit-0-reliability-0", EditID: id, Axis: dataset.AxisReliability, Prompt: "Who is Una Vale married to?", Format: dataset.Question, Answers: []string{"Jo Reed"},
			AnswersBefore: before, Contrast: "Piet Sand", SubjectText: "Una Vale", SubjectStart: 7, SubjectEnd: 15},
		{ID: "easyedit-0-generalization-0", EditID: id, Axis: dataset.AxisGeneralization, Prompt: "Una Vale is the spouse of", Format: dataset.Cloze, Answers: []string{"Jo Reed"},
			AnswersBefore: before, Contrast: "Piet Sand", SubjectText: "Una Vale", SubjectStart: 0, SubjectEnd: 8},
		{ID: "easyedit-0-one_hop-0", EditID: id, Axis: dataset.AxisOneHop, Prompt: "The spouse of Una Vale was born in", Format: dataset.Cloze, Answers: []string{"Kolm"},
			SubjectText: "Una Vale", SubjectStart: 14, SubjectEnd: 22},
		{ID: "easyedit-0-reversed_relation-0", EditID: id, Axis: dataset.AxisReversedRelation, Prompt: "Jo Reed is married to", Format: dataset.Cloze, Answers: []string{"Una Vale"}},
		{ID: "easyedit-0-subject_replace-0", EditID: id, Axis: dataset.AxisSubjectReplace, Variant: "alias", Prompt: "Who is Unvi married to?", Format: dataset.Question, Answers: []string{"Jo Reed"},
			AnswersBefore: before, Contrast: "Piet Sand"},
		{ID: "easyedit-0-distract_neighbourhood-0", EditID: id, Axis: dataset.AxisDistractNeighbourhood, Prompt: "Who is Una Vale married to? Jo Reed. Who is Ada Brook married to?", Format: dataset.Question,
			Answers: []string{"Sam Hill"}, Contrast: "Jo Reed", Distractor: "Who is Una Vale married to? Jo Reed.", SubjectText: "Una Vale", SubjectStart: 7, SubjectEnd: 15},
		{ID: "easyedit-0-distract_neighbourhood-1", EditID: id, Axis: dataset.AxisDistractNeighbourhood, Prompt: "Who is Ada Brook married to?", Format: dataset.Question,
			Answers: []string{"Sam Hill"}, Contrast: "Jo Reed"},
		{ID: "easyedit-0-neighbourhood-0", EditID: id, Axis: dataset.AxisNeighbourhood, Prompt: "Who is Tess Orr married to?", Format: dataset.Question, Answers: []string{"Piet Sand"}, Contrast: "Jo Reed"},
		{ID: "easyedit-0-other_relations-0", EditID: id, Axis: dataset.AxisOtherRelations, Prompt: "Where was Una Vale born?", Format: dataset.Question, Answers: []string{"Vik"},
			SubjectText: "Una Vale", SubjectStart: 10, SubjectEnd: 18},
		{ID: "easyedit-0-other_relations-1", EditID: id, Axis: dataset.AxisOtherRelations, Prompt: "What does Una Vale play?", Format: dataset.Question, AnswerMode: dataset.AnyOf, Answers: []string{"harp", "lyre"},
			SubjectText: "Una Vale", SubjectStart: 10, SubjectEnd: 18},
		{ID: "easyedit-0-other_tasks-0", EditID: id, Axis: dataset.AxisOtherTasks, Prompt: "five plus five is", Format: dataset.Cloze, Answers: []string{"ten"}},
	})
	if p := recs[1].Probes; len(p) != 2 || p[1].Axis != dataset.AxisOtherTasks || p[1].Variant != "unrelated" {
		t.Errorf("record with empty groups: %+v", p)
	}
	if report.Skipped["locality_prompt repeated in a named group"] != 1 {
		t.Errorf("skipped: %v", report.Skipped)
	}
}

func TestEasyEditTakesFlatRecords(t *testing.T) {
	recs, _, _ := read(t, "easyedit", "counterfact_flat.json", Options{})
	if len(recs) != 4 || recs[0].Edit.ID != "easyedit-3" || len(recs[0].Probes) != 3 {
		t.Errorf("flat records read as requests: %+v", recs)
	}
}

func TestDetect(t *testing.T) {
	for name, want := range map[string]string{
		"counterfact.json": "counterfact", "counterfact_flat.json": "counterfact-flat", "zsre.json": "zsre", "knowedit.json": "knowedit",
		"easyedit.json": "easyedit", "piqa.jsonl": "choices", "choices.jsonl": "choices", "mquake.json": "mquake", "ripple.json": "ripple", "uniedit.json": "uniedit",
		"survey_counterfact.json": "counterfact", "survey_zsre.json": "zsre", "wikibio.json": "knowedit", "cknowedit.json": "cknowedit", "mzsre.json": "mzsre", "qaedit.json": "qaedit",
		"unke.json": "unke", "wikibigedit.json": "wikibigedit", "arguments.json": "easyedit", "groups.json": "easyedit", "ripple_names.json": "ripple", "no_subject.json": "counterfact-flat",
	} {
		if got, err := Detect(filepath.Join(samples, name), Options{}); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
}

// Records of several formats can look alike; the others decide.
func TestDetectMixed(t *testing.T) {
	const bare, flat = `{"prompt": "p", "subject": "s", "target_new": "t"}`, `{"prompt": "p", "subject": "s", "target_new": "t", "ground_truth": "g"}`
	for text, want := range map[string]string{
		bare:               "easyedit",
		bare + "\n" + flat: "counterfact-flat",
		flat + "\n" + flat + "\n" + `{"prompt": "p", "target_new": "t", "locality": {"other_tasks": {"prompt": "q", "ground_truth": "a"}}}`:    "easyedit",
		flat + "\n" + flat + "\n" + `{"prompt": "p", "target_new": "t", "portability": {"Reasoning": [{"prompt": "q", "ground_truth": "a"}]}}`: "knowedit",
		`{"prompt": "p", "target_new": "t", "portability": {}}`:                                                                                "knowedit",
		`{"example_type": "random", "edit": {"prompt": "p"}}`:                                                                                  "ripple",
		`{"prompt": "p", "subject": "s"}`:                            "fields prompt, subject",
		"{broken\n" + `{"src": "a", "alt": "b"}` + "\n{broken again": "zsre",
	} {
		path := filepath.Join(t.TempDir(), "f.jsonl")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := Detect(path, Options{})
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestParseAnswer(t *testing.T) {
	for _, c := range []struct {
		raw  string
		want answer
		err  string
	}{
		{`null`, answer{mode: dataset.Single}, ""},
		{`" a "`, answer{spellings: []string{"a"}, mode: dataset.Single}, ""},
		{`" "`, answer{mode: dataset.Single}, ""},
		{`[]`, answer{mode: dataset.Single}, ""},
		{`["a"]`, answer{spellings: []string{"a"}, mode: dataset.Single}, ""},
		{`["a", "", "b", "a"]`, answer{spellings: []string{"a", "b"}, mode: dataset.AnyOf}, ""},
		{`[["a", "A"]]`, answer{spellings: []string{"a", "A"}, mode: dataset.Single}, ""},
		{`[[], ["a", "A"], [""]]`, answer{spellings: []string{"a", "A"}, mode: dataset.Single}, ""},
		{`[["a", "A"], ["b"]]`, answer{spellings: []string{"a", "A"}, sets: [][]string{{"a", "A"}, {"b"}}, mode: dataset.Set}, ""},
		{`["a", ["b"]]`, answer{}, "mixed"},
		{`["a", 3]`, answer{}, "entry 1: want a string or a list of strings, have a number"},
		{`[[3]]`, answer{}, "entry 0: want a list of strings"},
		{`true`, answer{}, "have a boolean"},
		{`{}`, answer{}, "have an object"},
	} {
		got, err := parseAnswer([]byte(c.raw))
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want ...%s", c.raw, err, c.err)
			}
		} else if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v; want %+v", c.raw, got, err, c.want)
		}
	}
}

// Every importable sample opened as every other format is refused with the name of its own.
func TestOpenRefusesOtherFormats(t *testing.T) {
	files := map[string]string{
		"counterfact": "counterfact.json", "counterfact-flat": "counterfact_flat.json", "zsre": "zsre.json", "knowedit": "knowedit.json", "easyedit": "easyedit.json", "choices": "piqa.jsonl",
		"mquake": "mquake.json", "ripple": "ripple.json", "uniedit": "uniedit.json", "mzsre": "mzsre.json", "cknowedit": "cknowedit.json", "qaedit": "qaedit.json",
		"unke": "unke.json", "wikibigedit": "wikibigedit.json",
	}
	for _, f := range Formats() {
		for own, name := range files {
			if own == f.Name || f.Name == "custom" || f.Name == "easyedit" && own == "counterfact-flat" {
				continue
			}
			path := filepath.Join(samples, name)
			_, err := Open(f.Name, path, Options{})
			if f.Pool {
				if !errors.Is(err, ErrPool) {
					t.Errorf("choices opened as a source: %v", err)
				}
				_, _, err = ReadChoices(path, Options{})
			}
			var fe *FormatError
			if !errors.As(err, &fe) || !strings.Contains(err.Error(), "looks like "+own+" (") {
				t.Errorf("%s opened as %s: %v", name, f.Name, err)
			}
		}
	}
	if _, err := Open("excel", filepath.Join(samples, "zsre.json"), Options{}); err == nil || !strings.Contains(err.Error(), "want one of counterfact, ") {
		t.Errorf("unknown format: %v", err)
	}
	if _, err := Open("custom", filepath.Join(samples, "zsre.json"), Options{}); !errors.Is(err, ErrMap) {
		t.Errorf("custom format without a mapping: %v", err)
	}
	if _, err := Open("zsre", filepath.Join(samples, "zsre.json"), Options{Map: []Column{{"prompt", "src"}}}); !errors.Is(err, ErrMap) {
		t.Errorf("mapping for another format: %v", err)
	}
	if _, err := Open("zsre", filepath.Join(samples, "none.json"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "no records"},
		{" \n", "no records"},
		{"[]", "no records"},
		{"[ ]\n", "no records"},
		{"\x1f\x8b\x08\x00", "unpacking"},
		{"PK\x03\x04", "zip archive"},
		{"PAR1xxxx", "Parquet"},
		{"version https://example.org/git-lfs/spec/v1\noid sha256:0\n", "Git LFS pointer"},
		{"<!DOCTYPE html>", "HTML"},
		{"\xff\xfe[\x00", "UTF-16"},
		{"subject,prompt\n", `starts with "subject,prompt"`},
		{`[1, 2]`, "want a JSON object, have number"},
		{`["a", "b"]`, "want a JSON object, have string"},
		{`[{"src": "` + "\xc3" + `"}]`, "first record cannot be read: invalid UTF-8"},
		{`[{}]`, "has no fields"},
		{`[{"foo": 1, "bar": 2}]`, "fields bar, foo"},
		{"{\n \"subject\": \"a\"\n}", "has the fields subject"}, // one record over several lines
		{"{\n \"subject\": \"a\"\n", "ends inside record 0"},
		{`[{"src": "a"`, "ends inside record 0"},
	} {
		path := filepath.Join(t.TempDir(), "f.json")
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open("zsre", path, Options{}); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v, want ...%s...", c.text, err, c.want)
		}
	}
}

const good = `{"subject": "a", "src": "Is a?", "alt": "yes", "answers": ["no"]}`

// Damage between or inside records costs those records; damage that hides where
// records end costs the rest of the file, and says so.
func TestDamage(t *testing.T) {
	for _, c := range []struct {
		name, text string
		records    int
		bad        int
		fatal      string
	}{
		{"byte order mark", "\xef\xbb\xbf[" + good + "]", 1, 0, ""},
		{"lines", good + "\n\n" + good + "\r\n" + good, 3, 0, ""},
		{"broken line", good + "\n{\"subject\": \n" + good, 2, 1, ""},
		{"bare word", "[" + good + `, {"src": tru}, ` + good + "]", 2, 1, ""},
		{"trailing comma", "[" + good + ",]", 1, 1, ""},
		{"doubled comma", "[" + good + ",," + good + "]", 2, 1, ""},
		{"extra brace", "[" + good + "}, " + good + "]", 1, 1, ""},
		{"brackets in strings", `[{"subject": "a]},", "src": "Is \"a]},?", "alt": "[", "answers": []}, ` + good + "]", 2, 0, ""},
		{"invalid UTF-8", "[" + good + `, {"subject": "` + "\xc3" + `", "src": "b", "alt": "c"}, ` + good + "]", 2, 1, ""},
		{"cut off", "[" + good + ", " + good[:30], 1, 0, "ends inside record 1, which starts at byte 68"},
		{"no end", "[" + good, 0, 0, "ends inside record 0"},
		{"text behind", "[" + good + "] " + good, 1, 0, "text after the end of the array, at byte 68"},
	} {
		path := filepath.Join(t.TempDir(), "f.json")
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := Open("zsre", path, Options{})
		var recs []dataset.Record
		var bad []*dataset.RecordError
		if err == nil {
			recs, bad, err = dataset.ReadAll(f)
		}
		if len(recs) != c.records || len(bad) != c.bad {
			t.Errorf("%s: %d records, %d errors %v; want %d, %d", c.name, len(recs), len(bad), bad, c.records, c.bad)
		}
		if c.fatal == "" && err != nil || c.fatal != "" && (err == nil || !strings.Contains(err.Error(), c.fatal)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.fatal)
		}
	}
}

func TestRecordsCanBeReadTwiceAndLeft(t *testing.T) {
	f, err := Open("zsre", filepath.Join(samples, "zsre.json"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range f.Records() {
		break
	}
	if r := f.Report(); r.Records != 1 {
		t.Errorf("after one record the report says %d", r.Records)
	}
	a, _, _ := dataset.ReadAll(f)
	b, _, _ := dataset.ReadAll(f)
	if len(a) != 2 || !reflect.DeepEqual(a, b) || f.Report().Records != 2 {
		t.Errorf("two passes differ: %v and %v", a, b)
	}
	if f.Name() != "zsre" {
		t.Errorf("name is %q", f.Name())
	}
}

func FuzzRecords(f *testing.F) {
	for _, name := range []string{"counterfact.json", "counterfact_flat.json", "zsre.json", "knowedit.json", "easyedit.json", "piqa.jsonl", "mquake.json", "ripple.json", "uniedit.json", "survey_counterfact.json", "survey_zsre.json", "wikibio.json",
		"arguments.json", "cknowedit.json", "groups.json", "mzsre.json", "no_subject.json", "qaedit.json", "ripple_names.json", "unke.json", "wikibigedit.json"} {
		text, err := os.ReadFile(filepath.Join(samples, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "f.json")
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		format, err := Detect(path, Options{})
		if err != nil {
			return
		}
		if format == "choices" {
			_, _, _ = ReadChoices(path, Options{})
			return
		}
		src, err := Open(format, path, Options{})
		if errors.Is(err, ErrLanguage) {
			src, err = Open(format, path, Options{Language: "en"})
		}
		if errors.Is(err, ErrLanguage) {
			return
		}
		if err != nil {
			t.Fatalf("detected as %s but not opened: %v", format, err)
		}
		ids := map[dataset.ProbeID]bool{}
		recs, _, _ := dataset.ReadAll(src)
		for _, r := range recs {
			if e := r.Edit; e.Target == "" || e.Prompt == "" || e.SubjectStart >= 0 && !dataset.SameName(e.Prompt[e.SubjectStart:e.SubjectEnd], e.Subject) {
				t.Errorf("bad edit %+v", e)
			}
			for _, p := range r.Probes {
				if ids[p.ID] || p.EditID != r.Edit.ID || p.Family == "" || p.Prompt == "" || len(p.Answers) == 0 {
					t.Errorf("bad probe %+v", p)
				}
				ids[p.ID] = true
			}
		}
	})
}
