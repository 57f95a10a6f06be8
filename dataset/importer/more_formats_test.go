package importer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"editpipe/dataset"
)

// lines shows what a record asks, a probe a line, with what is not empty.
func lines(r dataset.Record) string {
	var b strings.Builder
	for _, p := range r.Probes[1:] { // the first is the edit's own prompt
		fmt.Fprintf(&b, "%s/%s %q %q", p.Axis, p.Variant, p.Prompt, p.Answers)
		for _, more := range []struct {
			name  string
			value any
			there bool
		}{
			{"sets", p.AnswerSets, len(p.AnswerSets) > 0}, {"before", p.AnswersBefore, len(p.AnswersBefore) > 0},
			{"over", p.Contrast, p.Contrast != ""}, {"of", p.SubjectText, p.SubjectText != ""},
			{"needs", p.NeedsFacts, len(p.NeedsFacts) > 0}, {"flags", p.Flags, len(p.Flags) > 0},
		} {
			if more.there {
				fmt.Fprintf(&b, " %s %q", more.name, more.value)
			}
		}
		for _, h := range p.Hops {
			fmt.Fprintf(&b, " (%s %s %s %v)", h.SubjectID, h.PropertyID, h.ObjectID, h.Edited)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func sameLines(t *testing.T, r dataset.Record, want ...string) {
	t.Helper()
	if got, want := lines(r), strings.Join(want, "\n")+"\n"; got != want && !(got == "" && want == "\n") {
		t.Errorf("%s asks\n%swant\n%s", r.Edit.ID, got, want)
	}
	for _, p := range r.Probes {
		if p.SubjectStart >= 0 && p.Prompt[p.SubjectStart:p.SubjectEnd] != p.SubjectText {
			t.Errorf("%s: span covers %q, not %q", p.ID, p.Prompt[p.SubjectStart:p.SubjectEnd], p.SubjectText)
		}
	}
}

func TestMQuAKE(t *testing.T) {
	recs, bad, report := read(t, "mquake", "mquake.json", Options{})
	wrong(t, bad, []dataset.RecordError{
		{Index: 2, Field: "requested_rewrite", Err: ErrMissing},
		{Index: 3, Field: "requested_rewrite[1].target_new.str", Err: ErrMissing},
		{Index: 4, Field: "new_answer", Err: ErrMissing},
		{Index: 5, Field: "orig.new_triples[0]", Err: errors.New("want subject, property and object")},
	})
	if len(recs) != 3 || report.Read != 6 || report.Records != 3 {
		t.Fatalf("%d records, report %+v", len(recs), report)
	}
	same(t, "second edit of a case", recs[1].Edit, dataset.Edit{
		ID: "mquake-7-1", Set: "mquake", Source: "mquake", SourceCase: "7", RelationID: "P27", RelationLabel: "country of citizenship", SubjectID: "Q2", Subject: "Ada Brook",
		ObjectTrueID: "Q5", GroundTruth: "Norway", ObjectNewID: "Q4", Target: "Latvia", ObjectNewAliases: []string{"Latvija"}, Mode: dataset.Counterfactual,
		Prompt: "Ada Brook is a citizen of", PromptCloze: "Ada Brook is a citizen of", PromptQuestion: "Of which country is Ada Brook a citizen?", PromptTemplate: "{s} is a citizen of",
		SubjectStart: 0, SubjectEnd: 9, Licence: "MIT",
	})
	if e := recs[0].Edit; e.ID != "mquake-7-0" || e.SourceCase != "7" || !reflect.DeepEqual(e.ObjectTrueAliases, []string{"P. Sand"}) || e.SubjectID != "Q1" {
		t.Errorf("first edit of the case: %+v", e)
	}
	sameLines(t, recs[0], `generalization/ "Who built Mill Bridge?" ["Ada Brook" "A. Brook"] before ["Piet Sand" "P. Sand"] over "Piet Sand" of "Mill Bridge"`)
	chain := ` (Q1 P84 Q2 true) (Q2 P27 Q4 true) (Q4 P36 Q6 false)`
	sameLines(t, recs[1],
		`generalization/ "Of which country is Ada Brook a citizen?" ["Latvia" "Latvija"] before ["Norway"] over "Norway" of "Ada Brook"`,
		`one_hop/3_hop "What is the capital of the country of Mill Bridge's builder?" ["Riga" "Riga City"] before ["Amsterdam" "A'dam"] over "Amsterdam" flags ["needs_case" "apart"]`+chain,
		`one_hop/3_hop "Whose capital city is home to the builder of Mill Bridge?" ["Riga" "Riga City"] before ["Amsterdam" "A'dam"] over "Amsterdam" flags ["needs_case" "apart"]`+chain)
	if got := recs[1].Probes[2].Hops[0].Text; got != "Mill Bridge | architect | Ada Brook" {
		t.Errorf("hop in words: %q", got)
	}
	// A case of one edit: its question counts. MQuAKE-T is known by answer_extended.
	if recs[2].Edit.Mode != dataset.Update {
		t.Errorf("edit with answer_extended has mode %s", recs[2].Edit.Mode)
	}
	sameLines(t, recs[2],
		`generalization/ "Who is the mayor of Vik?" ["Jo Reed"] before ["Tess Orr"] over "Tess Orr" of "Vik"`,
		`one_hop/2_hop "Who is married to the mayor of Vik?" ["Una Vale"] before ["Sam Hill" "Samuel Hill"] over "Sam Hill" of "Vik"`)
	if want := map[string]int{"new_single_hops that no edit changes": 2, "single_hops before the edit": 3}; !reflect.DeepEqual(report.Skipped, want) {
		t.Errorf("skipped %v, want %v", report.Skipped, want)
	}
}

func TestRipple(t *testing.T) {
	recs, bad, report := read(t, "ripple", "ripple.json", Options{})
	wrong(t, bad, []dataset.RecordError{
		{Index: 2, Field: "edit.prompt", Err: errors.New("nothing in the file shows where subject and new object stand")},
		{Index: 3, Field: "Forgetfulness", Err: errors.New("want a list of tests")},
	})
	if len(recs) != 2 {
		t.Fatalf("%d records", len(recs))
	}
	same(t, "edit", recs[0].Edit, dataset.Edit{
		ID: "ripple-0", Set: "ripple", Source: "ripple", RelationID: "MOTHER", RelationLabel: "mother", SubjectID: "Q1", Subject: "Una Vale", SubjectAliases: []string{"U. Vale"},
		ObjectTrueID: "Q3", GroundTruth: "Ada Brook", ObjectTrueAliases: []string{"A. Brook"}, ObjectNewID: "Q2", Target: "Tess Orr", ObjectNewAliases: []string{"T. Orr"},
		Mode: dataset.Counterfactual, Prompt: "The name of the mother of Una Vale is", PromptCloze: "The name of the mother of Una Vale is",
		PromptTemplate: "The name of the mother of {s} is", SubjectStart: 26, SubjectEnd: 34, Licence: "MIT",
	})
	sameLines(t, recs[0],
		`other_relations/relation_specificity "The place of birth of Una Vale is" ["Vik" "Vik town"] of "Una Vale" needs ["Q1|PLACE_OF_BIRTH|Q9"] (Q1 PLACE_OF_BIRTH Q9 false)`,
		`reversed_relation/logical_generalization "The name of the child of Tess Orr is" ["Una Vale" "U. Vale"] (Q2 CHILD Q1 false)`,
		`one_hop/logical_generalization "The number of children Tess Orr has is" ["3"] (Q2 NUMBER_OF_CHILDREN 3 false)`,
		`subject_replace/alias "The name of the mother of Unvi is" ["Tess Orr" "T. Orr"] before ["Ada Brook" "A. Brook"] over "Ada Brook" of "Unvi" (Q1 MOTHER Q2 true)`,
		`one_hop/compositionality_i "The place of birth of the mother of Una Vale is" ["Kolm"] of "Una Vale" needs ["Q2|PLACE_OF_BIRTH|Q8"] flags ["test_and"] (Q1 MOTHER Q2 true) (Q2 PLACE_OF_BIRTH Q8 false)`,
		`one_hop/compositionality_i "The town in which the mother of Una Vale was born is" ["Kolm"] of "Una Vale" needs ["Q2|PLACE_OF_BIRTH|Q8"] flags ["test_and"] (Q1 MOTHER Q2 true) (Q2 PLACE_OF_BIRTH Q8 false)`,
		`other_relations/forgetfulness "The name of the mother of Una Vale, which is not Tess Orr, is" ["Ada Brook" "A. Brook"] sets [["Ada Brook" "A. Brook"] ["Jo Reed"]] of "Una Vale"`)
	// The second edit's names stand in no answer: the wording of its relations shows them.
	if e := recs[1].Edit; e.Subject != "Sam Hill Jr." || e.Target != "Orn Bay" || e.Prompt != "The place of birth of Sam Hill Jr. is" || e.Mode != dataset.Update || e.GroundTruth != "" {
		t.Errorf("recent edit: %+v", e)
	}
	if report.Skipped["other_relations without prompt or answer"] != 1 {
		t.Errorf("skipped %v", report.Skipped)
	}
}

// A name that stands in no answer comes from what prompts have in common; small
// words that two names share are then taken for fixed ones, until a third shows.
func TestRippleFrames(t *testing.T) {
	var f *frame
	r := &ripple{names: map[string][]string{}, frames: map[string]*frame{}}
	for _, p := range []string{"The gender of Jo Reed is", "The gender of Jo Orr is"} {
		r.learn(rippleQuery{Prompt: p, Relation: "SEX"}, false)
	}
	// Words that are written large belong to the name, although all prompts have them.
	if got := r.frames["SEX"].subject("The gender of Jo Reed is"); got != "Jo Reed" {
		t.Errorf("subject %q", got)
	}
	for _, p := range []string{"The host of the game show Ask is", "The host of the game show Tell is"} {
		r.learn(rippleQuery{Prompt: p, Relation: "HOST"}, false)
	}
	if got := r.frames["HOST"].subject("The host of the game show Ask is"); got != "Ask" {
		t.Errorf("subject %q", got)
	}
	r.learn(rippleQuery{Prompt: "The gender of Una Vale is", Relation: "SEX"}, false)
	if got := r.frames["SEX"].subject("The gender of Jo Reed is"); got != "Jo Reed" {
		t.Errorf("subject %q", got)
	}
	if got := r.frames["SEX"].subject("Is Jo Reed still alive?"); got != "" {
		t.Errorf("subject of another wording: %q", got)
	}
	if got := f.subject("The gender of Jo Reed is"); got != "" {
		t.Errorf("subject of an unknown relation: %q", got)
	}
	r.learn(rippleQuery{Prompt: "Jo Reed follows", Relation: "FOLLOWS"}, false)
	if got := r.frames["FOLLOWS"].subject("Jo Reed follows"); got != "" {
		t.Errorf("one prompt shows no fixed words, yet the subject is %q", got)
	}
}

// The name is the one that most relations show.
func TestRippleSubjectByVote(t *testing.T) {
	r := &ripple{names: map[string][]string{}, frames: map[string]*frame{
		"SEX":    {"The gender of Jo ", " is"}, // known from people named Jo only
		"MOTHER": {"The name of the mother of ", " is"},
		"FATHER": {"The name of the father of ", " is"},
		"SPOUSE": {"The ", " is"}, // one prompt was worded otherwise
	}}
	ask := func(relation, prompt string) rippleTest {
		return rippleTest{Queries: []rippleQuery{{Prompt: prompt, Relation: relation, Subject: []byte(`"Q1"`)}}}
	}
	groups := map[string][]rippleTest{"Relation_Specificity": {
		ask("SEX", "The gender of Jo Reed is"), ask("MOTHER", "The name of the mother of Jo Reed is"),
		ask("FATHER", "The name of the father of Jo Reed is"), ask("SPOUSE", "The name of the spouse of Jo Reed is"),
	}}
	if got := r.subjectOf("Q1", "The name of the spouse of Jo Reed is", groups); got != "Jo Reed" {
		t.Errorf("subject %q", got)
	}
	if got := r.subjectOf("Q2", "The name of the spouse of Jo Reed is", groups); got != "" {
		t.Errorf("subject of an entity that nothing is asked about: %q", got)
	}
}

func TestUniEdit(t *testing.T) {
	recs, bad, report := read(t, "uniedit", "uniedit.json", Options{Set: "agronomy", Split: "test"})
	wrong(t, bad, []dataset.RecordError{
		{Index: 2, Field: "edit.subject", Err: ErrMissing},
		{Index: 3, Field: "locality.0.loc_type", Err: errors.New(`have "moon"`)},
	})
	if len(recs) != 2 {
		t.Fatalf("%d records", len(recs))
	}
	same(t, "edit", recs[0].Edit, dataset.Edit{
		ID: "uniedit-17", Set: "agronomy", Source: "uniedit", SourceCase: "17", Split: "test", RelationID: "P84", RelationLabel: "architect", SubjectID: "Q1", Subject: "Mill Bridge",
		SubjectAliases: []string{"Old Bridge"}, ObjectNewID: "Q2", Target: "Ada Brook", ObjectNewAliases: []string{"A. Brook"}, Mode: dataset.Update,
		Prompt: "The architect of Mill Bridge is", PromptCloze: "The architect of Mill Bridge is", PromptTemplate: "The architect of {s} is", SubjectStart: 17, SubjectEnd: 28, Licence: "MIT",
	})
	sameLines(t, recs[0],
		`subject_replace/alias "The one who planned Old Bridge is" ["Ada Brook"] of "Old Bridge" (Q1 P84 Q2 true)`,
		`other_relations/head_of_edit "Mill Bridge was opened in" ["1907"] of "Mill Bridge" (Q1 P1619  false)`)
	sameLines(t, recs[1],
		`reversed_relation/many "What is 40 m deep is" ["Lake Orn"] flags ["apart"] (Q5 P4511  true)`,
		`one_hop/2_hop_reversed "The lake that is 40 m deep lies in" ["Latvia"]`,
		`one_hop/same_entity "Are the depth of Lake Orn and the height of Vik Hill the same? The answer is (Yes/No):" ["Yes"] of "Lake Orn" flags ["apart"]`,
		`reversed_relation/ "What is only 40 m deep is" ["Lake Orn"]`,
		`generalization/ "Lake Orn reaches down" ["40 m"] of "Lake Orn"`,
		`neighbourhood/property_of_edit "The depth of Lake Tal is" ["9 m"] over "40 m"`,
		`other_tasks/tail_of_edit_2_hop "Two hops from 40 m is" ["x"]`,
		`other_tasks/unrelated_same_entity "Do they meet? The answer is (Yes/No):" ["No"] flags ["apart"]`,
		`other_relations/forgetfulness "Another depth of Lake Orn is" ["41 m"] of "Lake Orn" (Q5 P4511  false)`)
	if want := map[string]int{"generality without paths": 1}; !reflect.DeepEqual(report.Skipped, want) {
		t.Errorf("skipped %v, want %v", report.Skipped, want)
	}
	// The file is the same on one line.
	text, err := os.ReadFile(filepath.Join(samples, "uniedit.json"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "one-line.json")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "\n", "")), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := Detect(path, Options{}); got != "uniedit" || err != nil {
		t.Errorf("on one line it is %q, %v", got, err)
	}
}

// The files EasyEdit made for the survey add keys to CounterFact and zsRE.
func TestSurveyFiles(t *testing.T) {
	recs, bad, report := read(t, "counterfact", "survey_counterfact.json", Options{})
	wrong(t, bad, nil)
	sameLines(t, recs[0],
		`subject_replace/alias "Old Bridge was built by" ["Ada Brook"] before ["Piet Sand"] over "Piet Sand" of "Old Bridge"`,
		`one_hop/ "Where was the builder of Mill Bridge born?" ["Vik"] of "Mill Bridge" (   false)`,
		`other_relations/unrelated_relation "When was Mill Bridge opened?" ["1907"] of "Mill Bridge"`,
		`distract_neighbourhood/ "Mill Bridge was built by Ada Brook. Sea Bridge was built by" ["Piet Sand"] over "Ada Brook" of "Mill Bridge"`)
	if got := recs[0].Probes[4].Distractor; got != "Mill Bridge was built by Ada Brook." {
		t.Errorf("distractor %q", got)
	}
	if got := recs[0].Probes[2].Hops[0].Text; got != "(Ada Brook, born in, Vik)" {
		t.Errorf("recalled relation %q", got)
	}
	if len(recs[1].Probes) != 1 || report.Skipped["alternative_subject of a prompt without {}"] != 1 {
		t.Errorf("%+v, skipped %v", recs[1], report.Skipped)
	}
	recs, bad, _ = read(t, "zsre", "survey_zsre.json", Options{})
	wrong(t, bad, nil)
	sameLines(t, recs[0],
		`generalization/ "Who made Mill Bridge?" ["Ada Brook"] before ["Piet Sand"] over "Piet Sand" of "Mill Bridge"`,
		`other_tasks/nq "nq question: x" ["y"]`,
		`subject_replace/alias "Who built Old Bridge?" ["Ada Brook"] before ["Piet Sand"] over "Piet Sand" of "Old Bridge"`,
		`reversed_relation/ "What did Ada Brook build?" ["Mill Bridge"]`,
		`one_hop/ "Where was the builder of Mill Bridge born?" ["Vik"] of "Mill Bridge" (   false)`)
	recs, bad, _ = read(t, "knowedit", "wikibio.json", Options{})
	wrong(t, bad, nil)
	if e := recs[0].Edit; e.Subject != "una vale" || e.Prompt != "This is a passage about una vale. She was" || e.Target != "a harpist from Vik." {
		t.Errorf("WikiBio: %+v", e)
	}
	sameLines(t, recs[0], `other_relations/relation_specificity "The gender of una vale is" ["female" "woman"] of "una vale"`)
}

func columns(t *testing.T, s string) []Column {
	t.Helper()
	c, err := ParseMap(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCustomTable(t *testing.T) {
	m := columns(t, "prompt=question, subject=entity,target_new=new,ground_truth=old,case_id=id,rephrase_prompt=other wording,one_hop_prompt=hop q,one_hop_answer=hop a,"+
		"subject_replace_prompt=nickname q,neighbourhood_prompt=near q,neighbourhood_answer=near a")
	recs, bad, report := read(t, "custom", "custom.csv", Options{Map: m, Licence: "CC0"})
	wrong(t, bad, []dataset.RecordError{
		{Index: 2, Field: "question", Err: errors.New("{} stands for the subject, and the record names none")},
		{Index: 3, Err: errors.New("want 11 cells, have 3")},
	})
	if len(recs) != 4 {
		t.Fatalf("%d records", len(recs))
	}
	same(t, "edit", recs[0].Edit, dataset.Edit{
		ID: "custom-a-1", Set: "custom", Source: "custom", SourceCase: "a-1", Subject: "Mill Bridge", GroundTruth: "Piet Sand", Target: "Ada Brook", Mode: dataset.Counterfactual,
		Prompt: "Who built Mill Bridge, the bridge?", PromptQuestion: "Who built Mill Bridge, the bridge?", PromptTemplate: "Who built {s}, the bridge?",
		SubjectStart: 10, SubjectEnd: 21, Licence: "CC0",
	})
	sameLines(t, recs[0],
		`generalization/ "Mill Bridge was built by" ["Ada Brook"] before ["Piet Sand"] over "Piet Sand" of "Mill Bridge"`,
		`subject_replace/alias "Who built Old Bridge?" ["Ada Brook"] before ["Piet Sand"] over "Piet Sand"`,
		`one_hop/ "Where was the builder of Mill Bridge born?" ["Vik"] of "Mill Bridge"`,
		`neighbourhood/ "Who built Sea Bridge?" ["Jo Reed"] over "Ada Brook"`)
	sameLines(t, recs[1]) // empty cells ask nothing
	if len(recs[2].Probes) != 1 || report.Skipped["one_hop without prompt or answer"] != 1 {
		t.Errorf("a question without its answer: %+v, skipped %v", recs[2].Probes, report.Skipped)
	}
	if e := recs[3].Edit; e.Subject != "" || e.SubjectStart != -1 || count(report, CodeNoSubject) != 1 {
		t.Errorf("a row without subject: %+v, %v", e, report.Warnings)
	}
}

func TestCustomJSON(t *testing.T) {
	m := columns(t, "prompt=text,subject=who,target_new=to,ground_truth=from,case_id=n,rephrase_prompt=q,one_hop_prompt=hop,one_hop_answer=end")
	recs, bad, _ := read(t, "custom", "custom.jsonl", Options{Map: m})
	wrong(t, bad, []dataset.RecordError{
		{Index: 1, Field: "hop", Err: errors.New("prompt is a list but ground_truth is a string")},
		{Index: 2, Field: "text", Err: errors.New("more than one {}")},
	})
	if len(recs) != 1 || recs[0].Edit.ID != "custom-3" || !reflect.DeepEqual(recs[0].Edit.ObjectTrueAliases, []string{"T. Orr"}) {
		t.Fatalf("records %+v", recs)
	}
	sameLines(t, recs[0],
		`generalization/ "Who is mayor of Vik?" ["Jo Reed"] before ["Tess Orr" "T. Orr"] over "Tess Orr" of "Vik"`,
		`generalization/ "Vik's mayor is" ["Jo Reed"] before ["Tess Orr" "T. Orr"] over "Tess Orr" of "Vik"`,
		`one_hop/ "Who is the mayor of Vik married to?" ["Una Vale"] of "Vik"`,
		`one_hop/ "Where was the mayor of Vik born?" ["Kolm" "Kolm town"] of "Vik"`)
}

func TestParseMap(t *testing.T) {
	const edit = "prompt=p,subject=s,target_new=t"
	for s, want := range map[string]string{
		"":                                 `"": want FIELD=COLUMN`,
		"prompt":                           `"prompt": want FIELD=COLUMN`,
		"prompt=":                          `want FIELD=COLUMN`,
		"prompt=p,subject=s":               "target_new is missing",
		edit + ",colour=c":                 `unknown field "colour" (known: prompt, target_new, subject, ground_truth,`,
		edit + ",subject=z":                "subject is given twice",
		edit + ",reliability_prompt=z":     `unknown field "reliability_prompt"`,
		edit + ",one_hop_prompt=a":         "1 columns for one_hop_prompt but 0 for one_hop_answer",
		edit + ",one_hop_answer=a":         "0 columns for one_hop_prompt but 1 for one_hop_answer",
		edit + ",subject_replace_answer=a": "0 columns for subject_replace_prompt but 1",
	} {
		if _, err := ParseMap(s); !errors.Is(err, ErrMap) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want ...%s", s, err, want)
		}
	}
	got := columns(t, edit+",rephrase_prompt=a,rephrase_prompt=b,subject_replace_prompt=c")
	want := []Column{{"prompt", "p"}, {"subject", "s"}, {"target_new", "t"}, {"rephrase_prompt", "a"}, {"rephrase_prompt", "b"}, {"subject_replace_prompt", "c"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestCustomRefuses(t *testing.T) {
	m := columns(t, "prompt=p,subject=s,target_new=t")
	for _, c := range []struct{ name, text, want string }{
		{"a.csv", "p,s,T\n1,2,3\n", `no column "t" for target_new; it has p, s, T`},
		{"a.tsv", "p\ts\n", `no column "t"`},
		{"a.jsonl", `{"p": "x", "s": "x"}` + "\n" + `{"other": 1}`, `no column "t" for target_new; it has other, p, s`},
		{"a.csv", "", "file holds no records"},
		{"a.json", "[]", "file holds no records"},
		{"a.json", "p,s,t\n", "not JSON"},
		{"a.csv", "PK\x03\x04", "zip archive"},
	} {
		path := filepath.Join(t.TempDir(), c.name)
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open("custom", path, Options{Map: m}); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s %q: %v, want ...%s", c.name, c.text, err, c.want)
		}
	}
	if _, err := Open("custom", filepath.Join(samples, "none.csv"), Options{Map: m}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
}

// docs/sources.md has a row for every format with what Formats says of it.
func TestSourcesPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "sources.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(page)) {
		if cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|"); len(cells) == 6 {
			rows[strings.Trim(strings.TrimSpace(cells[0]), "`")] = line
		}
	}
	for _, f := range Formats() {
		row, ok := rows[f.Name]
		if !ok {
			t.Errorf("no row for %s", f.Name)
			continue
		}
		for _, want := range []string{f.Source, f.Licence} {
			if !strings.Contains(row, want) {
				t.Errorf("the row of %s lacks %q", f.Name, want)
			}
		}
		if f.Schema == "" || f.Doc == "" || f.Source == "" {
			t.Errorf("%s lacks its schema, mapping or source", f.Name)
		}
	}
	if len(rows) != len(Formats())+2 { // heading and rule
		t.Errorf("%d rows for %d formats", len(rows)-2, len(Formats()))
	}
}
