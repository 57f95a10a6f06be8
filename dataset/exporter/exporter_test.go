package exporter

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/dataset/importer"
)

// load imports a file; broken records of the importer's samples are passed over.
func load(t *testing.T, format, path string) []dataset.Record {
	t.Helper()
	f, err := importer.Open(format, path, importer.Options{Set: "s"})
	if err != nil {
		t.Fatal(err)
	}
	recs, _, err := dataset.ReadAll(f)
	if err != nil || len(recs) == 0 {
		t.Fatalf("%d records, %v", len(recs), err)
	}
	return recs
}

// export writes records into a file of a folder of its own.
func export(t *testing.T, format string, recs []dataset.Record) (string, Report) {
	t.Helper()
	var b bytes.Buffer
	report, err := Write(&b, format, recs)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "out.json")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path, report
}

// bare takes off a record what says where it stood in its file, and sorts its axes.
func bare(r dataset.Record) dataset.Record {
	e := r.Edit
	e.ID, e.SourceCase, e.Source, e.Licence = "", "", "", ""
	out := dataset.Record{Edit: e}
	for _, p := range r.Probes {
		p.ID, p.EditID = "", ""
		out.Probes = append(out.Probes, p)
	}
	// Groups come in the format's order; within an axis the order is kept.
	slices.SortStableFunc(out.Probes, func(a, b dataset.Probe) int { return strings.Compare(string(a.Axis), string(b.Axis)) })
	return out
}

// A format gives back what was imported from it: import(export(x)) is x, where
// every field of a record has a place in the format.
func TestRoundTrip(t *testing.T) {
	for _, c := range []struct {
		format, file string
		left         map[string]int
	}{
		{"knowedit", "knowedit.json", map[string]int{}},
		{"knowedit", "wikibio.json", map[string]int{}},
		{"easyedit", "easyedit.json", map[string]int{"further spellings of an answer": 1}}, // "harp" and "lyre"
		{"easyedit", "counterfact_flat.json", map[string]int{"generalization questions": 1}},
		{"easyedit", "groups.json", map[string]int{}},
		{"counterfact", "counterfact.json", map[string]int{}},
		{"counterfact", "survey_counterfact.json", map[string]int{}},
		{"zsre", "zsre.json", map[string]int{"generalization questions": 1}},
		{"zsre", "survey_zsre.json", map[string]int{}},
	} {
		t.Run(c.format+" "+c.file, func(t *testing.T) {
			recs := load(t, c.format, filepath.Join("..", "..", "testdata", "formats", c.file))
			path, report := export(t, c.format, recs)
			if got, err := importer.Detect(path, importer.Options{}); got != c.format || err != nil {
				t.Errorf("written as %s, detected as %q, %v", c.format, got, err)
			}
			back := load(t, c.format, path)
			if !reflect.DeepEqual(report.LeftOut, c.left) {
				t.Errorf("left out %v, want %v", report.LeftOut, c.left)
			}
			n := 0
			for _, rec := range recs {
				if refused(c.format, rec) {
					continue
				}
				want := held(c.format, bare(rec))
				if n == len(back) {
					t.Fatalf("record %s is not in the file", rec.Edit.ID)
				}
				if got := bare(back[n]); !reflect.DeepEqual(got, want) {
					t.Errorf("%s comes back as\n%+v\nwant\n%+v", rec.Edit.ID, got, want)
				}
				n++
			}
			if n != len(back) || n != report.Records {
				t.Errorf("%d records back, report says %d, want %d", len(back), report.Records, n)
			}
		})
	}
}

// refused says which records of the samples a format has no place for.
func refused(format string, r dataset.Record) bool {
	return format == "counterfact" && r.Edit.SubjectStart < 0
}

// held takes off a record what the samples have and the format has no place for:
// paraphrases after the first, and spellings after the first.
func held(format string, r dataset.Record) dataset.Record {
	paraphrases := 0
	r.Probes = slices.DeleteFunc(r.Probes, func(p dataset.Probe) bool {
		if p.Axis == dataset.AxisGeneralization {
			paraphrases++
		}
		return p.Axis == dataset.AxisGeneralization && paraphrases > 1 && format != "counterfact"
	})
	for i := range r.Probes {
		p := &r.Probes[i]
		if p.AnswerMode == dataset.AnyOf && format == "easyedit" {
			p.Answers, p.AnswerMode = p.Answers[:1], dataset.Single
		}
		if len(p.Hops) > 0 { // the recalled relation, in words
			p.Hops = nil
		}
		if format == "easyedit" { // a kind without a name of its own comes back under its axis
			if p.Variant == "near" {
				p.Variant = ""
			}
		}
	}
	return r
}

// Every variant that files have a name for comes back from EasyEdit's format as it
// was, that of flat records' locality questions among them.
func TestVariantsComeBack(t *testing.T) {
	base := full()
	base.Probes = base.Probes[:1]
	for axis, variants := range words {
		for _, v := range append([]string{""}, variants...) {
			want := v
			if v == "" && axis == dataset.AxisSubjectReplace {
				want = "alias" // what a group with the axis' own name holds
			}
			rec := base
			rec.Probes = append(slices.Clone(base.Probes), dataset.Probe{Axis: axis, Variant: v, Prompt: "Is it so?", Answers: []string{"yes"}, ChoiceLabel: -1})
			path, _ := export(t, "easyedit", []dataset.Record{rec})
			if got := load(t, "easyedit", path)[0].Probes; len(got) != 2 || got[1].Axis != axis || got[1].Variant != want {
				t.Errorf("%s/%s comes back as %+v", axis, v, got)
			}
		}
	}
	flat := load(t, "counterfact-flat", filepath.Join("..", "..", "testdata", "formats", "counterfact_flat.json"))
	path, _ := export(t, "easyedit", flat)
	count := func(recs []dataset.Record) (n int) {
		for _, r := range recs {
			for _, p := range r.Probes {
				if p.Axis == dataset.AxisOtherTasks && p.Variant == "unrelated" {
					n++
				}
			}
		}
		return n
	}
	if n, back := count(flat), count(load(t, "easyedit", path)); n == 0 || n != back {
		t.Errorf("%d unrelated questions go out, %d come back", n, back)
	}
}

// A record without subject goes out where the format does without one.
func TestNoSubject(t *testing.T) {
	recs := load(t, "counterfact-flat", filepath.Join("..", "..", "testdata", "formats", "no_subject.json"))
	for format, want := range map[string]int{"easyedit": 2, "knowedit": 2, "counterfact": 0, "zsre": 0} {
		var b bytes.Buffer
		report, err := Write(&b, format, recs)
		if err != nil || report.Records != want || want == 0 && report.Refused["without a subject"] != 2 || strings.Contains(b.String(), "subject") {
			t.Errorf("%s: %+v, %v\n%s", format, report, err, b.String())
		}
	}
}

// full is a record with something of every kind.
func full() dataset.Record {
	probe := func(axis dataset.Axis, prompt string, answers ...string) dataset.Probe {
		return dataset.Probe{Axis: axis, Family: axis.Family(), Prompt: prompt, Answers: answers, AnswerMode: dataset.Single, Format: dataset.Question, ChoiceLabel: -1}
	}
	many := probe(dataset.AxisOtherRelations, "Which are the piers of Mill Bridge?", "North", "N")
	many.AnswerMode, many.AnswerSets, many.Variant = dataset.Set, [][]string{{"North", "N"}, {"South"}}, "forgetfulness"
	side := probe(dataset.AxisReversedRelation, "What did Piet Sand build?", "Mill Bridge")
	side.Flags = []string{dataset.FlagApart}
	choice := probe(dataset.AxisOtherTasks, "Question: boil water\nAnswer:", "use a kettle")
	choice.Format, choice.Choices = dataset.Choice, []string{"use a kettle", "use a hat"}
	silent := probe(dataset.AxisOtherTasks, "Tell me something")
	alias := probe(dataset.AxisSubjectReplace, "Who built <Old> Bridge?", "Ada Brook", "A. Brook")
	alias.SubjectText = "<Old> Bridge"
	return dataset.Record{
		Edit: dataset.Edit{
			ID: "e", Subject: "Mill Bridge", SubjectAliases: []string{"Old Bridge"}, Prompt: "Who built Mill Bridge?", Target: "Ada Brook", ObjectNewAliases: []string{"A. Brook"},
			GroundTruth: "Piet Sand", ObjectTrueAliases: []string{"P. Sand"}, SubjectStart: 10, SubjectEnd: 21, PromptQuestion: "Who built Mill Bridge?", PromptCloze: "Mill Bridge was built by",
			RelationID: "P84", RelationLabel: "architect", ObjectNewID: "Q2", Mode: dataset.Counterfactual,
		},
		Probes: []dataset.Probe{
			probe(dataset.AxisReliability, "Who built Mill Bridge?", "Ada Brook", "A. Brook"),
			probe(dataset.AxisGeneralization, "Who made Mill Bridge?", "Ada Brook"), probe(dataset.AxisGeneralization, "Who designed Mill Bridge?", "Ada Brook"),
			alias, probe(dataset.AxisReversedRelation, "What did Ada Brook build?", "Mill Bridge"), side,
			probe(dataset.AxisOneHop, "Where was its builder born?", "Vik", "Vik town"), probe(dataset.AxisOneHop, "When was its builder born?", "1900"),
			many, probe(dataset.AxisOtherRelations, "When was it opened?", "1907"),
			probe(dataset.AxisNeighbourhood, "Who built Sea Bridge?", "Piet Sand"), probe(dataset.AxisNeighbourhood, "Who built Lake Bridge?", "Jo Reed"),
			probe(dataset.AxisDistractNeighbourhood, "Who built Mill Bridge? Ada Brook. Who built Sea Bridge?", "Piet Sand"),
			choice, silent, probe(dataset.AxisOtherTasks, "Five plus five is", "ten"),
		},
	}
}

func TestFormatsHold(t *testing.T) {
	lost := func(more map[string]int) map[string]int {
		m := map[string]int{"reversed_relation questions set apart": 1, "other_tasks questions with choices": 1, "other_tasks questions without an answer": 1}
		for k, n := range more {
			m[k] = n
		}
		return m
	}
	r, g, s, v, h := dataset.AxisReliability, dataset.AxisGeneralization, dataset.AxisSubjectReplace, dataset.AxisReversedRelation, dataset.AxisOneHop
	o, n, d, x := dataset.AxisOtherRelations, dataset.AxisNeighbourhood, dataset.AxisDistractNeighbourhood, dataset.AxisOtherTasks
	for _, c := range []struct {
		format string
		want   string // the file without white space
		probes map[dataset.Axis]int
		left   map[string]int
	}{
		{
			"knowedit",
			`[{"subject":"Mill Bridge","target_new":"Ada Brook","prompt":"Who built Mill Bridge?","ground_truth":["Piet Sand","P. Sand"],"rephrase_prompt":"Who made Mill Bridge?",` +
				`"locality":{"Forgetfulness":[{"prompt":"Which are the piers of Mill Bridge?","ground_truth":[["North","N"],["South"]]}],"Relation_Specificity":[{"prompt":"When was it opened?","ground_truth":["1907"]}]},` +
				`"portability":{"Logical_Generalization":[{"prompt":"What did Ada Brook build?","ground_truth":"Mill Bridge"}],` +
				`"Reasoning":[{"prompt":"Where was its builder born?","ground_truth":[["Vik","Vik town"]]},{"prompt":"When was its builder born?","ground_truth":"1900"}],` +
				`"Subject_Aliasing":[{"prompt":"Who built <Old> Bridge?","ground_truth":[["Ada Brook","A. Brook"]]}]}}]`,
			map[dataset.Axis]int{r: 1, g: 1, s: 1, v: 1, h: 2, o: 2},
			lost(map[string]int{"generalization questions": 1, "neighbourhood questions": 2, "distract_neighbourhood questions": 1, "other_tasks questions": 1, "other names of subject and objects": 2}),
		},
		{
			"easyedit",
			`[{"subject":"Mill Bridge","relation":"architect","prompt":"Who built Mill Bridge?","cloze_prompt":"Mill Bridge was built by","target_new":"Ada Brook","ground_truth":"Piet Sand","rephrase_prompt":"Who made Mill Bridge?",` +
				`"locality":{"distract_neighborhood":{"prompt":["Who built Mill Bridge? Ada Brook. Who built Sea Bridge?"],"ground_truth":["Piet Sand"]},` +
				`"forgetfulness":{"prompt":["Which are the piers of Mill Bridge?"],"ground_truth":["North"]},` +
				`"neighborhood":{"prompt":["Who built Sea Bridge?","Who built Lake Bridge?"],"ground_truth":["Piet Sand","Jo Reed"]},` +
				`"other_relations":{"prompt":["When was it opened?"],"ground_truth":["1907"]},` +
				`"other_tasks":{"prompt":["Five plus five is"],"ground_truth":["ten"]}},` +
				`"portability":{"one_hop":{"prompt":["Where was its builder born?","When was its builder born?"],"ground_truth":["Vik","1900"]},` +
				`"reversed_relation":{"prompt":["What did Ada Brook build?"],"ground_truth":["Mill Bridge"]},"subject_replace":{"prompt":["Who built <Old> Bridge?"],"ground_truth":["Ada Brook"]}}}]`,
			map[dataset.Axis]int{r: 1, g: 1, s: 1, v: 1, h: 2, o: 2, n: 2, d: 1, x: 1},
			lost(map[string]int{"generalization questions": 1, "further spellings of an answer": 3, "further answers of a set": 1, "other names of subject and objects": 3}),
		},
		{
			"counterfact",
			`[{"case_id":0,"requested_rewrite":{"prompt":"Who built {}?","relation_id":"P84","target_new":{"str":"Ada Brook","id":"Q2"},"target_true":{"str":"Piet Sand"},"subject":"Mill Bridge"},` +
				`"paraphrase_prompts":["Who made Mill Bridge?","Who designed Mill Bridge?"],"neighborhood_prompts":["Who built Sea Bridge?"],"attribute_prompts":[],"generation_prompts":[],` +
				`"alternative_subject":"<Old> Bridge","portability":{"New Question":"Where was its builder born?","New Answer":"Vik"},` +
				`"distracting_neighborhood_prompts":["Who built Mill Bridge? Ada Brook. Who built Sea Bridge?"],"unrelated_relation":{"question":"Which are the piers of Mill Bridge?","object":"North"}}]`,
			map[dataset.Axis]int{r: 1, g: 2, s: 1, h: 1, o: 1, n: 1, d: 1},
			lost(map[string]int{"reversed_relation questions": 1, "one_hop questions": 1, "other_relations questions": 1, "neighbourhood questions": 1, "other_tasks questions": 1,
				"further spellings of an answer": 2, "further answers of a set": 1, "other names of subject and objects": 3}),
		},
		{
			"zsre",
			`[{"subject":"Mill Bridge","src":"Who built Mill Bridge?","rephrase":"Who made Mill Bridge?","alt":"Ada Brook","answers":["Piet Sand","P. Sand"],"loc":"Five plus five is","loc_ans":"ten",` +
				`"alternative_subject":"<Old> Bridge","alter_subject_question":"Who built <Old> Bridge?","inverse question":"What did Ada Brook build?","portability":{"New Question":"Where was its builder born?","New Answer":"Vik"}}]`,
			map[dataset.Axis]int{r: 1, g: 1, s: 1, v: 1, h: 1, x: 1},
			lost(map[string]int{"generalization questions": 1, "one_hop questions": 1, "other_relations questions": 2, "neighbourhood questions": 2, "distract_neighbourhood questions": 1,
				"further spellings of an answer": 1, "other names of subject and objects": 2}),
		},
	} {
		var b, compact bytes.Buffer
		report, err := Write(&b, c.format, []dataset.Record{full()})
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Compact(&compact, b.Bytes()); err != nil {
			t.Fatalf("%s: %v in %s", c.format, err, b.String())
		}
		if compact.String() != c.want {
			t.Errorf("%s is\n%s\nwant\n%s", c.format, compact.String(), c.want)
		}
		if !reflect.DeepEqual(report.Probes, c.probes) {
			t.Errorf("%s: probes %v, want %v", c.format, report.Probes, c.probes)
		}
		if !reflect.DeepEqual(report.LeftOut, c.left) {
			t.Errorf("%s: left out %v, want %v", c.format, report.LeftOut, c.left)
		}
	}
}

func TestCounterFactRefuses(t *testing.T) {
	recs := []dataset.Record{full(), full(), full(), full()}
	recs[0].Edit.GroundTruth = ""
	recs[1].Edit.SubjectStart, recs[1].Edit.SubjectEnd = -1, -1
	recs[2].Edit.Prompt += " {}"
	path, report := export(t, "counterfact", recs)
	want := map[string]int{"without an old object": 1, "whose subject does not stand in the prompt": 1, "with braces in the prompt": 1}
	if report.Records != 1 || !reflect.DeepEqual(report.Refused, want) || report.Probes[dataset.AxisReliability] != 1 {
		t.Errorf("report %+v", report)
	}
	if back := load(t, "counterfact", path); len(back) != 1 || back[0].Edit.SourceCase != "3" {
		t.Errorf("%d records back: %+v", len(back), back)
	}
}

// An edit on top of another edit would be asked of the unedited model.
func TestFollowUpsAreRefused(t *testing.T) {
	top := full()
	top.Probes = append(top.Probes[:1:1], dataset.Probe{Axis: dataset.AxisRoundEdit, Prompt: "Who built Mill Bridge?", Answers: []string{"Ada Brook"}})
	for _, f := range Formats() {
		_, report := export(t, f.Name, []dataset.Record{top, full()})
		if report.Records != 1 || !reflect.DeepEqual(report.Refused, map[string]int{"that come on top of another edit": 1}) {
			t.Errorf("%s: %+v", f.Name, report)
		}
	}
}

func TestEveryFormatIsImported(t *testing.T) {
	var known []string
	for _, f := range importer.Formats() {
		known = append(known, f.Name)
	}
	for _, f := range Formats() {
		if !slices.Contains(known, f.Name) || f.Title == "" || f.Doc == "" {
			t.Errorf("%s cannot be read back or is not described", f.Name)
		}
		var b bytes.Buffer
		report, err := Write(&b, f.Name, nil)
		var list []any
		if err != nil || json.Unmarshal(b.Bytes(), &list) != nil || len(list) != 0 || report.Records != 0 {
			t.Errorf("%s without records: %q, %v", f.Name, b.String(), err)
		}
	}
	if _, err := Write(&bytes.Buffer{}, "mquake", nil); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "want one of knowedit, easyedit, counterfact, zsre") {
		t.Errorf("unknown format: %v", err)
	}
}

// fails writes nothing.
type fails struct{ err error }

func (f fails) Write([]byte) (int, error) { return 0, f.err }

func TestWriterFails(t *testing.T) {
	full := errors.New("disk full")
	if _, err := Write(fails{full}, "zsre", nil); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
}
