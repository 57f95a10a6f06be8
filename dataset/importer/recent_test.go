package importer

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/dataset/importer/rows"
	"editpipe/lfs"
)

func TestQAEdit(t *testing.T) {
	recs, bad, _ := read(t, "qaedit", "qaedit.json", Options{})
	wrong(t, bad, nil)
	same(t, "edit", recs[0].Edit, dataset.Edit{
		ID: "qaedit-7", Set: "qaedit", Source: "qaedit", SourceCase: "7", Subject: "mill of Arden", Target: "Ivo Lang", Mode: dataset.Counterfactual,
		Prompt: "who built the mill of Arden?", PromptQuestion: "who built the mill of Arden?", PromptTemplate: "who built the {s}?", SubjectStart: 14, SubjectEnd: 27,
	})
	sameLines(t, recs[0],
		`generalization/ "Which person constructed the mill of Arden?" ["Ivo Lang"] of "mill of Arden"`,
		`other_tasks/nq "who paints the bridge in May" ["Ulla Reim"]`,
		`other_tasks/nq "how many seats has the hall" ["12"]`)
	if p := recs[1].Probes[2]; len(recs) != 2 || p.Format != dataset.Question {
		t.Errorf("%d records, %+v", len(recs), p)
	}
}

func TestCKnowEdit(t *testing.T) {
	recs, bad, report := read(t, "cknowedit", "cknowedit.json", Options{})
	wrong(t, bad, nil)
	same(t, "edit", recs[0].Edit, dataset.Edit{
		ID: "cknowedit-0", Set: "cknowedit", Source: "cknowedit", GroundTruth: "李一", Target: "王二", Mode: dataset.Update,
		Prompt: "《山河志》的编者是", PromptCloze: "《山河志》的编者是", SubjectStart: -1, SubjectEnd: -1,
	})
	sameLines(t, recs[0],
		`generalization/ "《山河志》的作者是" ["王二"] before ["李一"] over "李一"`,
		`generalization/ "《山河志》是谁写的？" ["王二"] before ["李一"] over "李一"`,
		`one_hop/portability "王二编写的书名是？" ["《山河志》"]`,
		`other_relations/locality "《山河志》从哪一年开始？" ["甲年"]`)
	if got, want := codes(report), (map[string]int{CodeNoSubject: 1}); !reflect.DeepEqual(got, want) {
		t.Errorf("warnings %v, want %v", got, want)
	}
}

func TestUnKE(t *testing.T) {
	recs, bad, report := read(t, "unke", "unke.json", Options{})
	wrong(t, bad, []dataset.RecordError{{Index: 1, Field: "sub_answer", Err: errors.New("0 answers for 1 questions")}})
	if e := recs[0].Edit; e.ID != "unke-0" || e.Subject != "" || !strings.HasPrefix(e.Target, "Lena Voss built clocks") || count(report, CodeNoSubject) != 1 {
		t.Errorf("%+v, %v", e, report.Warnings)
	}
	whole := recs[0].Edit.Target
	sameLines(t, recs[0],
		`generalization/ "What was the work of Lena Voss?" ["`+whole+`"]`,
		`one_hop/sub_question "What did Lena Voss build?" ["Clocks."]`,
		`one_hop/sub_question "Where does her largest clock stand?" ["In Norhaven."]`)
}

func TestWikiBigEdit(t *testing.T) {
	recs, bad, _ := read(t, "wikibigedit", "wikibigedit.json", Options{})
	wrong(t, bad, nil)
	same(t, "edit", recs[0].Edit, dataset.Edit{
		ID: "wikibigedit-0", Set: "wikibigedit", Source: "wikibigedit", RelationID: "head of state", RelationLabel: "head of state", Subject: "Exampleland", Target: "Ada Brook", Mode: dataset.Update,
		Prompt: "Who is the head of state of Exampleland?", PromptQuestion: "Who is the head of state of Exampleland?", PromptTemplate: "Who is the head of state of {s}?", SubjectStart: 28, SubjectEnd: 39,
	})
	sameLines(t, recs[0],
		`generalization/ "Who leads Exampleland as its head of state?" ["Ada Brook"] of "Exampleland"`,
		`generalization/personas "Tell me, mate: who's the head of state of Exampleland?" ["Ada Brook"] of "Exampleland"`,
		`one_hop/mhop "Where was the head of state of Exampleland born?" ["Kolm"] of "Exampleland"`,
		`other_tasks/unrelated "Who leads Otherland?" ["Sam Hill"]`)
	sameLines(t, recs[1], // NaN is an empty cell, but not inside a text
		`generalization/ "Which town is Norhaven twinned with?" ["Vik"] of "Norhaven"`,
		`other_tasks/unrelated "Which \"NaN\" is a number?" ["none"]`)
}

func TestMzsRE(t *testing.T) {
	recs, bad, report := read(t, "mzsre", "mzsre.json", Options{Language: "de"})
	wrong(t, bad, []dataset.RecordError{{Index: 2, Field: "de", Err: ErrMissing}})
	same(t, "edit", recs[0].Edit, dataset.Edit{
		ID: "mzsre-0-de", Set: "mzsre", Source: "mzsre", Subject: "mühle arden", SubjectAliases: []string{"Mühle  Arden"}, GroundTruth: "Ulla Reim", Target: "Ivo Lang", Mode: dataset.Counterfactual,
		Prompt: "Wer baute die Mühle  Arden?", PromptQuestion: "Wer baute die Mühle  Arden?", PromptTemplate: "Wer baute die {s}?", SubjectStart: 14, SubjectEnd: 27,
	})
	sameLines(t, recs[0],
		`generalization/ "Wer hat die Mühle Arden errichtet?" ["Ivo Lang"] before ["Ulla Reim"] over "Ulla Reim" of "Mühle Arden"`,
		`other_tasks/nq "nq question: wer streicht die Brücke im Mai" ["Max Pohl"]`,
		`one_hop/ "Wo wurde der Erbauer der Mühle Arden geboren?" ["Kiel"] of "Mühle Arden" (   false)`)
	if count(report, CodeSubjectSpelling) != 1 {
		t.Errorf("warnings %v", report.Warnings)
	}
	recs, _, _ = read(t, "mzsre", "mzsre.json", Options{Language: "en"})
	if len(recs) != 3 || recs[0].Edit.ID != "mzsre-0-en" || recs[0].Edit.Subject != "Arden Mill" {
		t.Errorf("%+v", recs)
	}
	for language, want := range map[string]string{"": "the records are in de, en: choose one", "fr": `no "fr" in the records; they are in de, en`} {
		if _, err := Open("mzsre", filepath.Join(samples, "mzsre.json"), Options{Language: language}); !errors.Is(err, ErrLanguage) || !strings.Contains(err.Error(), want) {
			t.Errorf("language %q: %v, want ...%s", language, err, want)
		}
	}
	if _, err := Open("zsre", filepath.Join(samples, "zsre.json"), Options{Language: "en"}); !errors.Is(err, ErrLanguage) {
		t.Errorf("a language for zsRE: %v", err)
	}
	one := filepath.Join(t.TempDir(), "one.json") // where there is no choice, none is asked for
	if err := os.WriteFile(one, []byte(`[{"th": {"subject": "a", "src": "a", "alt": "b"}}]`), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Open("mzsre", one, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if recs, bad, err := dataset.ReadAll(f); len(recs) != 1 || bad != nil || err != nil {
		t.Errorf("%v, %v, %v", recs, bad, err)
	}
}

// The editor's arguments as one object of lists are the requests they stand for.
func TestEasyEditArguments(t *testing.T) {
	recs, bad, _ := read(t, "easyedit", "arguments.json", Options{})
	wrong(t, bad, nil)
	if len(recs) != 3 || recs[1].Edit.ID != "easyedit-1" || recs[1].Edit.GroundTruth != "" || recs[2].Edit.Target != "Saale" {
		t.Fatalf("records %+v", recs)
	}
	sameLines(t, recs[0],
		`generalization/ "Lena Voss plays the" ["cello"] before ["flute"] over "flute" of "Lena Voss"`,
		`one_hop/ "Lena Voss plays an instrument of the family of" ["strings"] of "Lena Voss"`,
		`neighbourhood/ "Otto Reim, the" ["flute"] over "cello"`)
	sameLines(t, recs[1], `one_hop/ "The river of the town where Karl Amt works is the" ["Rhine"] of "Karl Amt"`)
	sameLines(t, recs[2],
		`generalization/ "The river of Norhaven is the" ["Saale"] before ["Ilm"] over "Ilm" of "Norhaven"`,
		`neighbourhood/ "Kolm lies on the" ["Ilm"] over "Saale"`,
		`neighbourhood/ "Vik lies on the" ["Ilm"] over "Saale"`)
	for text, want := range map[string]string{
		`{"prompts": ["a", "b"], "target_new": ["c"]}`:                                                                  "target_new has 1 values, prompts has 2",
		`{"prompts": ["a"], "target_new": ["c"], "locality_inputs": []}`:                                                "locality_inputs: want an object of groups",
		`{"prompts": ["a"], "target_new": ["c"], "locality_inputs": {"nq": {"prompt": ["a", "b"]}}}`:                    "locality_inputs.nq.prompt has 2 values",
		`{"prompts": ["a"], "target_new": ["c"], "portability_inputs": {"nq": {"prompt": [3], "ground_truth": ["b"]}}}`: "portability.nq: prompt: want a string, have a number",
		`{"prompts": [3], "target_new": ["c"]}`:                                                                         "prompt: want a string, have a number",
	} {
		_, bad := readText(t, "easyedit", "f.json", text, Options{})
		if len(bad) != 1 || !strings.Contains(bad[0].Error(), want) {
			t.Errorf("%s: %v, want ...%s", text, bad, want)
		}
	}
	// One edit without lists.
	if recs, bad := readText(t, "easyedit", "f.json", `{"prompts": "a b", "subject": "a", "target_new": "c"}`, Options{}); len(recs) != 1 || recs[0].Edit.Subject != "a" {
		t.Errorf("%v, %v", recs, bad)
	}
}

// readText imports a text.
func readText(t *testing.T, format, name, text string, o Options) ([]dataset.Record, []*dataset.RecordError) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Open(format, path, o)
	if err != nil {
		t.Fatal(err)
	}
	recs, bad, err := dataset.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return recs, bad
}

// Fields that hold questions are read where their name says what they ask, and named
// where it does not, in requests and in the editor's arguments alike.
func TestOtherQuestions(t *testing.T) {
	const record = `{"prompt": "Karl Amt works in", "subject": "Karl Amt", "target_new": "Bonn", "ground_truth": "Ulm", "locality_prompt": "Oslo lies in", "locality_ground_truth": "Norway",
		"portability_prompt": "The river where Karl Amt works is the", "portability_ground_truth": "Rhine", "paraphrase_prompts": ["Karl Amt has work in"],
		"fluency": {"prompt": "Karl Amt"}, "extra_prompt": "Who?", "more_prompts": ["", " "], "loc_prompts": ["a text"],
		"portability_inputs": {"neighborhood": {"prompt": "Eva Ohm works in", "ground_truth": "Ulm"}, "colour": [{"prompt": "a", "ground_truth": "b"}]}, "note": {"text": "no question"}}`
	read := func(format, name, text string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := Open(format, path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		recs, bad, err := dataset.ReadAll(f)
		if err != nil || len(recs) != 1 {
			t.Fatalf("%d records, %v, %v", len(recs), bad, err)
		}
		want := map[string]int{"fluency": 1, "extra_prompt": 1, "portability_inputs.colour": 1}
		if strings.Contains(text, `"prompts"`) { // the editor's argument of that name
			want = map[string]int{"fluency": 1, "extra_prompt": 1, "portability.colour": 1}
		}
		if got := f.Report(); !maps.Equal(got.Groups, want) || got.Skipped["loc_prompts"] != 1 {
			t.Errorf("%s: groups left out %v, want %v; skipped %v", format, got.Groups, want, got.Skipped)
		}
		var lines []string
		for _, p := range recs[0].Probes {
			lines = append(lines, fmt.Sprintf("%s/%s %s: %s", p.Axis, p.Variant, p.Prompt, p.Answers[0]))
		}
		slices.Sort(lines)
		if got := strings.Join(lines, "\n"); got != `generalization/ Karl Amt has work in: Bonn
neighbourhood/ Eva Ohm works in: Ulm
one_hop/portability The river where Karl Amt works is the: Rhine
other_tasks/unrelated Oslo lies in: Norway
reliability/ Karl Amt works in: Bonn` {
			t.Errorf("%s:\n%s", format, got)
		}
	}
	read("counterfact-flat", "flat.json", record)
	read("easyedit", "requests.json", record)
	read("easyedit", "arguments.json", strings.Replace(strings.Replace(record, `"prompt"`, `"prompts"`, 1), `[{"prompt": "a", "ground_truth": "b"}]`, `{"prompt": "a", "ground_truth": "b"}`, 1))
	read("knowedit", "knowedit.json", strings.Replace(record, `"note"`, `"locality": {}, "note"`, 1))
}

// EasyEdit's own names of groups, and near spellings of ours.
func TestGroupNames(t *testing.T) {
	recs, bad, report := read(t, "easyedit", "groups.json", Options{})
	wrong(t, bad, nil)
	sameLines(t, recs[0],
		`one_hop/ "Lena Voss plays an instrument of the family of" ["strings"] of "Lena Voss"`,
		`subject_replace/synonym "L. Voss, the" ["cello"] before ["flute"] over "flute"`,
		`distract_neighbourhood/ "Lena Voss, the cello Otto Reim plays the" ["flute"] over "cello" of "Lena Voss"`,
		`neighbourhood/ "Otto Reim, the" ["flute"] over "cello"`)
	sameLines(t, recs[1],
		`one_hop/mhop "The river that flows through the town where Karl Amt works is" ["Rhine"] of "Karl Amt"`,
		`generalization/personas "Speaking like a sailor: Karl Amt works in" ["Bonn"] before ["Köln"] over "Köln" of "Karl Amt"`)
	if len(report.Groups) != 0 || len(report.Warnings) != 0 {
		t.Errorf("groups %v, warnings %v", report.Groups, report.Warnings)
	}
	for name, want := range map[string]kind{
		"Neighborhood": {dataset.AxisNeighbourhood, ""}, "neighbours": {dataset.AxisNeighbourhood, ""}, "neighborhood_prompts": {dataset.AxisNeighbourhood, ""},
		"Distracting-Neighborhood": {dataset.AxisDistractNeighbourhood, ""}, "distract neighbor": {dataset.AxisDistractNeighbourhood, ""}, //nolint:misspell // files have both
		"Synonyms": {dataset.AxisSubjectReplace, "synonym"}, "aliases": {dataset.AxisSubjectReplace, "alias"}, "Subject_Aliasing": {dataset.AxisSubjectReplace, "alias"},
		"multi-hop": {dataset.AxisOneHop, "mhop"}, "One_Hop": {dataset.AxisOneHop, ""}, "Logical Generalisation": {dataset.AxisReversedRelation, "logical_generalization"},
		"Relation_Specifity": {dataset.AxisOtherRelations, "relation_specificity"}, "Forgetfulness": {dataset.AxisOtherRelations, "forgetfulness"},
		"persona": {dataset.AxisGeneralization, "personas"}, "Paraphrases": {dataset.AxisGeneralization, ""},
		"unrelated": {dataset.AxisOtherTasks, "unrelated"}, "loc_hop": {dataset.AxisOtherRelations, "locality"},
	} {
		if got, ok := kindNamed(name); !ok || got != want {
			t.Errorf("%s: %v, %v; want %v", name, got, ok, want)
		}
	}
	for _, name := range []string{"", "Divination", "hop", "one_hop.x"} {
		if got, ok := kindNamed(name); ok {
			t.Errorf("%q is taken for %v", name, got)
		}
	}
	seen := map[string]kind{} // no name may say two things
	for axis, variants := range kinds {
		for variant, names := range variants {
			for _, n := range names {
				if other, ok := seen[spelled(n)]; ok && other != (kind{axis, variant}) {
					t.Errorf("%q is %v and %v", n, other, kind{axis, variant})
				}
				seen[spelled(n)] = kind{axis, variant}
			}
		}
	}
	for _, axis := range dataset.Axes()[1:] {
		if k, ok := kindNamed(string(axis)); !ok || k.axis != axis {
			t.Errorf("%s is not known by its own name: %v", axis, k)
		}
	}
}

// The sentences of an edit itself show names and wording.
func TestRippleNamesFromEdits(t *testing.T) {
	recs, bad, _ := read(t, "ripple", "ripple_names.json", Options{})
	wrong(t, bad, nil)
	var got []string
	for _, r := range recs {
		e := r.Edit
		if e.Prompt[e.SubjectStart:e.SubjectEnd] != e.Subject {
			t.Errorf("%s: span holds %q", e.ID, e.Prompt[e.SubjectStart:e.SubjectEnd])
		}
		got = append(got, e.Prompt+" | "+e.Subject+" | "+e.Target+" | "+e.GroundTruth)
	}
	want := []string{
		"The name of the mother of Lena Voss is | Lena Voss | Ida Bolt | Ulla Reim",
		"The name of the mother of Karl Amt is | Karl Amt | Vera Holm | Nora Lund",
		"The name of the mother of Emil Dorn is | Emil Dorn | Rosa Kern | ",
		"The place of birth of Anna Kint is | Anna Kint | Oslo | Rome",
		"The place of birth of Bert Lam is | Bert Lam | Bern | Kiel",
		"The place of birth of Cora Mey is | Cora Mey | Graz | Linz",
		"The name of the director of Dorn Film is | Dorn Film | Ivo Lang | Max Pohl",
		"The name of the director of Elm Film is | Elm Film | Kai Quast | Ute Rahm",
		"The name of the director of Fox Film is | Fox Film | Pia Sand | Leo Thal",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("edits\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Edits without any question, in any order: objects that begin alike, and an edit
// that has no old fact and nothing but its relation's wording.
func TestRippleEditsAlone(t *testing.T) {
	edit := func(id, relation, sentence, old string) string {
		original := "null"
		if old != "" {
			original = `{"prompt": "` + old + `", "target_id": "O` + id + `"}`
		}
		return `{"example_type": "random", "edit": {"prompt": "` + sentence + `", "subject_id": "` + id + `", "relation": "` + relation + `", "target_id": "T` + id + `", "original_fact": ` + original + `}}`
	}
	recs, bad := readText(t, "ripple", "r.json", "["+strings.Join([]string{
		edit("1", "BORN", "The place of birth of Emil Dorn is Graz.", ""),
		edit("2", "BORN", "The place of birth of Anna Kint is New York.", "The place of birth of Anna Kint is New Jersey."),
		edit("3", "BORN", "The place of birth of Bert Lam is Bern.", "The place of birth of Bert Lam is Kiel."),
		edit("4", "BORN", "The place of birth of Cora Mey is Linz.", "The place of birth of Cora Mey is Rome."),
		edit("5", "COUNTRY", "The name of the country which Kolm Hall is associated with is Norway.", "The name of the country which Kolm Hall is associated with is Sweden."),
		edit("6", "COUNTRY", "The name of the country which Vik Hall is associated with is Latvia.", "The name of the country which Vik Hall is associated with is Norway."),
		edit("7", "BORN", "The place of birth of What is is Oslo.", ""), // two ways to cut it
		edit("8", "ALONE", "The pet of Jo Reed is Rex.", "The pet of Jo Reed is Max."),
	}, ",")+"]", Options{})
	var got []string
	for _, r := range recs {
		got = append(got, r.Edit.Subject+" | "+r.Edit.Target+" | "+r.Edit.GroundTruth)
	}
	if want := []string{"Emil Dorn | Graz | ", "Anna Kint | New York | New Jersey", "Bert Lam | Bern | Kiel", "Cora Mey | Linz | Rome", "Kolm Hall | Norway | Sweden", "Vik Hall | Latvia | Norway"}; !reflect.DeepEqual(got, want) {
		t.Errorf("edits %q, want %q", got, want)
	}
	wrong(t, bad, []dataset.RecordError{
		{Index: 6, Field: "edit.prompt", Err: errors.New("nothing in the file shows")},
		{Index: 7, Field: "edit.prompt", Err: errors.New("nothing in the file shows")},
	})
}

// A record without subject is kept, with a warning.
func TestNoSubject(t *testing.T) {
	recs, bad, report := read(t, "counterfact-flat", "no_subject.json", Options{})
	wrong(t, bad, nil)
	if len(recs) != 2 || count(report, CodeNoSubject) != 2 || count(report, CodeSubjectMissing) != 0 {
		t.Fatalf("%d records, warnings %v", len(recs), report.Warnings)
	}
	for _, r := range recs {
		if e := r.Edit; e.Subject != "" || e.SubjectStart != -1 || e.SubjectEnd != -1 || e.PromptTemplate != "" || len(r.Probes) == 0 || r.Probes[0].SubjectStart != -1 {
			t.Errorf("%+v", r)
		}
	}
}

// {} is the subject's place, unless it is part of the subject's name or of code.
func TestBraces(t *testing.T) {
	m := Options{Map: columns(t, "prompt=p,subject=s,target_new=t")}
	recs, bad, report := read(t, "custom", "braces.jsonl", m)
	wrong(t, bad, nil)
	if len(recs) != 2 || recs[0].Edit.Prompt != "What is A{}B?" || recs[0].Edit.SubjectStart != 8 || recs[1].Edit.Prompt != "The capital is Oslo, in" || count(report, CodeBracesKept) != 1 {
		t.Errorf("%+v, warnings %v", recs, report.Warnings)
	}
	recs, bad = readText(t, "custom", "a.jsonl", `{"s": "Go", "p": "In Go, the type interface{} holds", "t": "C"}`+"\n"+`{"s": "A{}B", "p": "What is {}?", "t": "C"}`+"\n"+
		`{"s": "Mill", "p": "Mill of {} stands in", "t": "Bonn"}`+"\n"+`{"s": "Go", "p": "Go: f{} and {}", "t": "C"}`, m)
	if len(recs) != 4 || recs[0].Edit.Prompt != "In Go, the type interface{} holds" || recs[1].Edit.Prompt != "What is A{}B?" || recs[1].Edit.SubjectStart != 8 {
		t.Fatalf("%+v, %v", recs, bad)
	}
	if e := recs[2].Edit; e.Prompt != "Mill of Mill stands in" || e.SubjectStart != 8 || e.SubjectEnd != 12 || e.PromptTemplate != "Mill of {s} stands in" {
		t.Errorf("{} beside the subject's text: %+v", e)
	}
	if e := recs[3].Edit; e.Prompt != "Go: f{} and {}" || e.SubjectStart != 0 {
		t.Errorf("several {} beside the subject: %+v", e)
	}
}

// A subject that stands in its prompt twice is a doubt, unless {} says which is meant.
func TestRepeatedSubject(t *testing.T) {
	recs, _, report := read(t, "counterfact", "counterfact.json", Options{})
	for _, w := range report.Warnings {
		if w.Code == CodeSubjectRepeated {
			t.Errorf("a template decides: %+v", w)
		}
	}
	if e := recs[0].Edit; e.PromptTemplate == "" {
		t.Errorf("%+v", e)
	}
	path := filepath.Join(t.TempDir(), "f.json")
	if err := os.WriteFile(path, []byte(`[{"prompt": "Oslo, the town of oslo, is", "subject": "Oslo", "target_new": "a", "ground_truth": "b"},
		{"prompt": "Osloers in Oslo", "subject": "Oslo", "target_new": "a", "ground_truth": "b"}]`), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := Open("counterfact-flat", path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	recs, _, _ = dataset.ReadAll(f)
	if r := f.Report(); count(r, CodeSubjectRepeated) != 1 || r.Warnings[0].Index != 0 || recs[0].Edit.SubjectStart != 0 || recs[0].Edit.PromptTemplate != "" || recs[1].Edit.SubjectStart != 11 {
		t.Errorf("%+v, warnings %v", recs, r.Warnings)
	}
}

// A path of a mapping reaches into objects and lists.
func TestMapPaths(t *testing.T) {
	m := Options{Map: columns(t, "case_id=id,prompt=prompt,subject=subject,target_new=target,rephrase_prompt=rephrase,other_tasks.prompt=locality[].loc,other_tasks.answer=locality[].loc_ans")}
	recs, bad, report := read(t, "custom", "qaedit.json", m)
	wrong(t, bad, nil)
	sameLines(t, recs[0],
		`generalization/ "Which person constructed the mill of Arden?" ["Ivo Lang"] of "mill of Arden"`,
		`other_tasks/ "who paints the bridge in May" ["Ulla Reim"]`,
		`other_tasks/ "how many seats has the hall" ["12"]`)
	if len(recs) != 2 || len(recs[1].Probes) != 3 || len(report.Warnings) != 0 {
		t.Errorf("%+v, %v", recs, report.Warnings)
	}
	const record = `{"a.b": "literal", "a": {"b": "deep", "list": [{"x": "one"}, {"y": 1}, null, {"x": {"z": "two"}}], "n": null}, "k": ["p", "q"]}`
	f, err := newFields([]byte(record))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"a.b": `"literal"`, "a.list[].x": `["one",null,null,{"z":"two"}]`, "a.list[0].x": `"one"`, "a.list[3].x.z": `"two"`, "k[1]": `"q"`, "k[]": `["p","q"]`,
		"k[7]": "", "none": "", "a.none": "", "a.n.deeper": "", "none[].x": "",
		"k[": "! k[: a bracket is not closed", "k[x]": `! k[x]: "x" is no index`, "k[-1]": `! k[-1]: "-1" is no index`, "a[]": "! a: want a list, have an object",
		"k[].x": "! want an object with x, have a string", "a.list[].x.z": `! want an object with z, have a string`,
	} {
		raw, err := f.at(path)
		got := string(raw)
		if err != nil {
			got = "! " + err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if _, err := Open("custom", filepath.Join(samples, "qaedit.json"), Options{Map: columns(t, "prompt=prompt,target_new=target,rephrase_prompt=locality[].question")}); err == nil || !strings.Contains(err.Error(), `no column "locality[].question"`) {
		t.Errorf("a path that leads nowhere: %v", err)
	}
	_, bad = readText(t, "custom", "f.json", `{"p": "x", "t": "y", "l": 3}`, Options{Map: columns(t, "prompt=p,target_new=t,rephrase_prompt=l[].q")})
	if len(bad) != 1 || !strings.Contains(bad[0].Error(), "field l[].q: l: want a list, have a number") {
		t.Errorf("%v", bad)
	}
}

// Packed files, lines and one record over several lines are read as they are; a
// Git LFS pointer is named.
func TestPackedFiles(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(samples, "zsre.json"))
	if err != nil {
		t.Fatal(err)
	}
	plain, _, _ := read(t, "zsre", "zsre.json", Options{Set: "s"})
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "zsre.json.gz")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := Detect(path, Options{}); got != "zsre" || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	f, err := Open("zsre", path, Options{Set: "s"})
	if err != nil {
		t.Fatal(err)
	}
	if recs, _, err := dataset.ReadAll(f); err != nil || !reflect.DeepEqual(recs, plain) {
		t.Errorf("%d records of %d, %v", len(recs), len(plain), err)
	}
	if f, _ := Open("zsre", path, Options{}); f.Name() != "zsre" {
		t.Errorf("the set is named %q", f.Name())
	}
	// A table, packed, and one cut short.
	table, err := os.ReadFile(filepath.Join(samples, "custom.csv"))
	if err != nil {
		t.Fatal(err)
	}
	b.Reset()
	z = gzip.NewWriter(&b)
	if _, err := z.Write(table); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	m := Options{Map: columns(t, "prompt=question,subject=entity,target_new=new")}
	recs, _ := readText(t, "custom", "a.csv.gz", b.String(), m)
	if len(recs) != 4 {
		t.Errorf("%d records of a packed table", len(recs))
	}
	path = filepath.Join(t.TempDir(), "a.csv.gz")
	if err := os.WriteFile(path, b.Bytes()[:b.Len()-20], 0o644); err != nil {
		t.Fatal(err)
	}
	if f, err := Open("custom", path, m); err == nil {
		if _, _, err = dataset.ReadAll(f); err == nil {
			t.Error("a packed table that is cut short is read to its end")
		}
	}
	const pointer = "version https://example.org/git-lfs/spec/v1\noid sha256:0\nsize 3\n"
	for _, name := range []string{"a.json", "a.csv", "a.json.gz", "a.parquet"} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(pointer), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open("custom", path, m); !errors.Is(err, lfs.ErrPointer) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Detect(path, Options{}); !errors.Is(err, lfs.ErrPointer) {
			t.Errorf("detecting %s: %v", name, err)
		}
	}
}

// A Parquet file is read through the function that Options name.
func TestParquetRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "set.parquet")
	if err := os.WriteFile(path, []byte("PAR1..."), 0o644); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("row 2 is damaged")
	o := Options{Parquet: func(string) iter.Seq2[[]byte, error] {
		return func(yield func([]byte, error) bool) {
			_ = yield([]byte(good), nil) && yield([]byte(`{"subject": 3}`), nil) && yield(nil, broken)
		}
	}}
	if got, err := Detect(path, o); got != "zsre" || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	f, err := Open("zsre", path, o)
	if err != nil {
		t.Fatal(err)
	}
	recs, bad, err := dataset.ReadAll(f)
	if len(recs) != 1 || len(bad) != 1 || bad[0].Index != 1 || !errors.Is(err, broken) {
		t.Errorf("%v, %v, %v", recs, bad, err)
	}
	if _, err := Open("zsre", path, Options{}); !errors.Is(err, ErrParquet) {
		t.Errorf("without a reader: %v", err)
	}
}

// No file of ours, cut short anywhere or with a value of another type, does more
// than give an error.
func TestDamagedFormats(t *testing.T) {
	values := []json.RawMessage{[]byte(`3`), []byte(`[{}]`), []byte(`"x"`), []byte(`{"a": {"b": []}}`)}
	names, err := filepath.Glob(filepath.Join(samples, "*.json"))
	if err != nil || len(names) < 15 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	path := filepath.Join(t.TempDir(), "f.json")
	try := func(t *testing.T, text []byte, formats ...string) {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		for _, f := range Formats() {
			if f.Pool || f.Name == "custom" || len(formats) > 0 && !slices.Contains(formats, f.Name) {
				continue
			}
			// As Open would, but whatever the file looks like.
			src := &File{path: path, format: f, o: Options{Language: "en"}.with(path, f)}
			_, _, _ = dataset.ReadAll(src)
		}
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			format, err := Detect(name, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for cut := 1; cut < len(text); cut += 1 + len(text)/4 {
				try(t, text[:cut], format)
			}
			try(t, text) // as every format
			for row, err := range rows.JSON(bytes.NewReader(text)) {
				if err != nil || row.Index > 0 {
					break
				}
				f, err := newFields(row.Raw)
				if err != nil {
					continue
				}
				for key := range f.m {
					for _, v := range values {
						other := map[string]json.RawMessage{}
						for k, raw := range f.m {
							other[k] = raw
						}
						other[key] = v
						text, err := json.Marshal(other)
						if err != nil {
							t.Fatal(err)
						}
						try(t, text, format)
					}
				}
			}
		})
	}
}
