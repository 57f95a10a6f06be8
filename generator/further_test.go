package generator_test

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/demo/world"
	"editpipe/generator"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// atlas is a hand-made knowledge base: one country whose capital can be edited,
// and the cities to choose from. Its catalogue has one wording of each form.
type atlas struct {
	cloze    string
	temporal bool
	cities   []string          // labels; the first is the capital
	past     []kb.Statement    // further statements of P36; Value.ID is an index into cities
	current  *kb.Statement     // instead of an unqualified one for the first city
	asOf     kb.Date           // 2024-01-01 by default
	options  generator.Options // N and SetName are filled in
}

func city(i int) string { return "Q" + strconv.Itoa(20+i) }

// span says that the city was capital between two years.
func span(i int, from, to int32) kb.Statement {
	return kb.Statement{Property: "P36", Rank: kb.Normal, HasValue: true, Value: kb.Value{Kind: catalogue.Item, ID: city(i)},
		Start: kb.Date{Year: from}, End: kb.Date{Year: to}, Ended: to != 0}
}

func (a atlas) generate(t *testing.T) product {
	t.Helper()
	c, err := catalogue.Load(strings.NewReader(fmt.Sprintf(`
version: 1
language: en
classes: {country: Q1, city: Q2}
relations:
  - id: P36
    label: capital
    domain: [country]
    range: [city]
    temporal: %t
    cloze: [{id: c1, text: %q}]
    question: [{id: q1, text: "Which city is the capital of {s}?"}]
    np: [{id: n1, text: "the capital of {s}"}]
`, a.temporal, a.cloze)))
	if err != nil {
		t.Fatal(err)
	}
	if a.asOf == (kb.Date{}) {
		a.asOf = kb.Date{Year: 2024, Month: 1, Day: 1}
	}
	item := func(p, id string) kb.Statement {
		return kb.Statement{Property: p, Rank: kb.Normal, HasValue: true, Value: kb.Value{Kind: catalogue.Item, ID: id}}
	}
	b := kb.NewBuilder(c, a.asOf, "atlas")
	capital := []kb.Statement{item("P36", city(0))}
	if a.current != nil {
		capital[0] = *a.current
	}
	b.Add(&kb.Entity{ID: "Q10", Type: "item", Label: "Torland", Claims: slices.Concat(kb.Claims{item("P31", "Q1")}, capital, a.past)})
	// A country of many capitals cannot be edited, but makes every city an answer.
	var many []kb.Statement
	for i := range a.cities {
		many = append(many, item("P36", city(i)))
	}
	b.Add(&kb.Entity{ID: "Q11", Type: "item", Label: "Manyland", Claims: slices.Concat(kb.Claims{item("P31", "Q1")}, many)})
	for i, name := range a.cities {
		b.Add(&kb.Entity{ID: city(i), Type: "item", Label: name, Claims: kb.Claims{item("P31", "Q2")}})
	}
	base, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	a.options.N, a.options.SetName = 1, "atlas"
	p := generate(t, base, a.options)
	if p.counts.Edits != 1 || p.edits[0].GroundTruth != a.cities[0] {
		t.Fatalf("edits %+v", p.edits)
	}
	return p
}

// told is a probe as far as a test writes it out.
type told struct {
	Axis            dataset.Axis
	Variant, Prompt string
	Answer, Before  string
	Choices         string // sorted
	Contrast        string
}

func tell(t *testing.T, p product) []told {
	t.Helper()
	var out []told
	for _, q := range p.probes {
		if q.Prompt[q.SubjectStart:q.SubjectEnd] != "Torland" || len(q.Hops) == 0 || len(q.TemplateIDs) == 0 || q.Phrasing != "template" || q.Family != q.Axis.Family() {
			t.Errorf("probe without provenance: %+v", q)
		}
		if q.Format == dataset.Choice && q.Choices[q.ChoiceLabel] != q.Answers[0] {
			t.Errorf("choice %d of %v, answer %s", q.ChoiceLabel, q.Choices, q.Answers[0])
		}
		choices := slices.Sorted(slices.Values(q.Choices))
		before := ""
		if len(q.AnswersBefore) > 0 {
			before = q.AnswersBefore[0]
		}
		out = append(out, told{q.Axis, q.Variant, q.Prompt, q.Answers[0], before, strings.Join(choices, ","), q.Contrast})
	}
	return out
}

// expect writes probes in which NEW stands for the edit's target, and X and Y
// for the cities that are neither the old nor the new capital.
func expect(e dataset.Edit, list ...told) []told {
	for i := range list {
		for _, s := range []*string{&list[i].Prompt, &list[i].Answer, &list[i].Before, &list[i].Contrast} {
			*s = strings.ReplaceAll(*s, "NEW", e.Target)
		}
	}
	return list
}

func same(t *testing.T, got, want []told) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("probes\n%+v\nwant\n%+v", got, want)
	}
}

func TestBeliefs(t *testing.T) {
	beliefs := generator.Options{Seed: 3, Sets: []dataset.Axis{dataset.AxisBeliefYesNo, dataset.AxisNegation, dataset.AxisMultipleChoice}}
	cities := []string{"Sable", "Bree", "Colm", "Dorn"}
	for cloze, said := range map[string]string{
		"The capital of {s} is":  "the capital of Torland is", // a small letter within the sentence
		"{s} is governed from":   "Torland is governed from",  // but not of a name
		"In {s}, laws come from": "in Torland, laws come from",
	} {
		p := atlas{cloze: cloze, cities: cities, options: beliefs}.generate(t)
		objects := slices.Sorted(slices.Values([]string{"Sable", p.edits[0].Target}))
		same(t, tell(t, p), expect(
			p.edits[0],
			told{"belief_yes_no", "new", "Question: Is it true that " + said + " NEW?\nAnswer:", "yes", "no", "no,yes", ""},
			told{"belief_yes_no", "old", "Question: Is it true that " + said + " Sable?\nAnswer:", "no", "yes", "no,yes", ""},
			told{"negation", "statement", "It is not true that " + said, "Sable", "NEW", strings.Join(objects, ","), ""},
			told{"negation", "new", "Question: Is it false that " + said + " NEW?\nAnswer:", "no", "yes", "no,yes", ""},
			told{"negation", "old", "Question: Is it false that " + said + " Sable?\nAnswer:", "yes", "no", "no,yes", ""},
			told{"multiple_choice", "four_choice", "Question: Which city is the capital of Torland?\nAnswer:", "NEW", "Sable", "Bree,Colm,Dorn,Sable", ""},
		))
	}
}

// TestBeliefsAreRejected takes away what each kind needs.
func TestBeliefsAreRejected(t *testing.T) {
	p := atlas{cloze: "The capital of {s} is", cities: []string{"Sable", "Bree", "Colm"}, options: generator.Options{Sets: []dataset.Axis{dataset.AxisMultipleChoice}}}.generate(t)
	if len(p.probes) != 0 || p.counts.Rejects["multiple_choice/class_mismatch"] != 1 {
		t.Errorf("a choice of four from three cities: %+v, rejects %v", p.probes, p.counts.Rejects)
	}
	p = atlas{cloze: "The capital of {s} is", cities: []string{"Sable", "Bree"}, options: generator.Options{}}.generate(t)
	for _, a := range dataset.FurtherAxes() {
		if p.counts.Probes[a] != 0 {
			t.Errorf("%s was built unasked", a)
		}
	}
}

func TestTimeSlices(t *testing.T) {
	slice := generator.Options{Sets: []dataset.Axis{dataset.AxisTimeSlice}}
	cities := []string{"Sable", "Bree", "Colm", "Dorn"}
	since := span(0, 1970, 0)
	p := atlas{cloze: "The capital of {s} is", temporal: true, cities: cities, current: &since, past: []kb.Statement{span(1, 1800, 1850), span(2, 1900, 1950)}, options: slice}.generate(t)
	if p.edits[0].Target != "Dorn" {
		t.Fatalf("new capital %s: a former one was taken", p.edits[0].Target)
	}
	same(t, tell(t, p), expect(
		p.edits[0],
		told{"time_slice", "present", "As of 1 January 2024, the capital of Torland is", "Dorn", "Sable", "", "Sable"},
		told{"time_slice", "past", "As of 1 July 1925, the capital of Torland is", "Colm", "", "", "Dorn"},
		told{"time_slice", "past", "As of 1 July 1825, the capital of Torland is", "Bree", "", "", "Dorn"},
	))
	for _, q := range p.probes[1:] {
		if len(q.NeedsFacts) != 1 || q.Hops[0].Edited {
			t.Errorf("past value: %+v", q)
		}
	}
	// Two capitals in 1925, and a span with no year inside it: nothing to ask of the past.
	p = atlas{cloze: "The capital of {s} is", temporal: true, cities: cities, current: &since, past: []kb.Statement{span(1, 1900, 1951), span(2, 1890, 1960), span(2, 1700, 1701)}, options: slice}.generate(t)
	if n := p.counts.Variants["time_slice/past"]; n != 0 || p.counts.Rejects["time_slice/many_objects"] != 2 {
		t.Errorf("%d past values of years with two capitals; rejects %v", n, p.counts.Rejects)
	}
	p = atlas{cloze: "The capital of {s} is", cities: cities, current: &since, past: []kb.Statement{span(1, 1800, 1850)}, options: slice}.generate(t)
	if len(p.probes) != 0 {
		t.Errorf("the relation does not change over time, yet: %+v", p.probes)
	}
}

// TestTimeSlicesOfUpdates asks for the value at both days of a real update.
func TestTimeSlicesOfUpdates(t *testing.T) {
	until := span(0, 1950, 2010)
	p := atlas{cloze: "The capital of {s} is", temporal: true, cities: []string{"Sable", "Bree"}, current: &until, past: []kb.Statement{span(1, 2011, 0)},
		asOf:    kb.Date{Year: 2007, Month: 6, Day: 1},
		options: generator.Options{Mode: dataset.Update, Later: kb.Date{Year: 2024, Month: 3, Day: 9}, Sets: []dataset.Axis{dataset.AxisTimeSlice}}}.generate(t)
	same(t, tell(t, p), []told{
		{"time_slice", "past", "As of 1 June 2007, the capital of Torland is", "Sable", "", "", "Bree"},
		{"time_slice", "present", "As of 9 March 2024, the capital of Torland is", "Bree", "Sable", "", "Sable"},
		{"time_slice", "past", "As of 1 July 1980, the capital of Torland is", "Sable", "", "", "Bree"},
	})
}

// TestFollowUps expects behind the edit one that contradicts it and one that
// takes it back, asked about on their own axes.
func TestFollowUps(t *testing.T) {
	sets := []dataset.Axis{dataset.AxisReliability, dataset.AxisRoundEdit, dataset.AxisConflict}
	cities := []string{"Sable", "Bree", "Colm"}
	p := atlas{cloze: "The capital of {s} is", cities: cities, options: generator.Options{Sets: sets}}.generate(t)
	if len(p.edits) != 3 || p.counts.FollowUps != 2 {
		t.Fatalf("%d edits, counts %+v", len(p.edits), p.counts)
	}
	first, second, back := p.edits[0], p.edits[1], p.edits[2]
	if second.Target == "Sable" || second.Target == first.Target || second.GroundTruth != first.Target || second.Mode != dataset.Counterfactual {
		t.Errorf("second edit %s -> %s (%s) after %s -> %s", second.GroundTruth, second.Target, second.Mode, first.GroundTruth, first.Target)
	}
	if back.Target != "Sable" || back.ObjectNewID != city(0) || back.GroundTruth != second.Target || back.Mode != dataset.Restore {
		t.Errorf("edit back %s -> %s (%s)", back.GroundTruth, back.Target, back.Mode)
	}
	for i, e := range p.edits {
		if e.ConflictGroup != string(first.ID) || e.Prompt != first.Prompt || (i > 0) != (e.FactTrueID == "") || i > 0 && e.ID == p.edits[i-1].ID {
			t.Errorf("edit %d: %+v", i, e)
		}
	}
	statement, question := "The capital of Torland is", "Which city is the capital of Torland?"
	same(t, tell(t, p), []told{
		{"reliability", "", statement, first.Target, "Sable", "", "Sable"},
		{"conflict", "statement", statement, second.Target, first.Target, "", first.Target},
		{"conflict", "question", question, second.Target, first.Target, "", first.Target},
		{"round_edit", "statement", statement, "Sable", second.Target, "", second.Target},
		{"round_edit", "question", question, "Sable", second.Target, "", second.Target},
	})
	// With two cities there is no third object, but there is a way back.
	p = atlas{cloze: "The capital of {s} is", cities: cities[:2], options: generator.Options{Sets: sets}}.generate(t)
	if len(p.edits) != 2 || p.edits[1].Target != "Sable" || p.edits[1].GroundTruth != "Bree" || p.counts.Rejects["conflict/object_already_true"] != 1 {
		t.Errorf("edits %+v, rejects %v", p.edits, p.counts.Rejects)
	}
}

// TestFurtherSetsLeaveTheOthersAlone builds the survey's sets with the further
// ones and without: edits and probes must be the same, rejects too.
func TestFurtherSetsLeaveTheOthersAlone(t *testing.T) {
	base := worldKB(t, world.Seed, world.AsOf, nil)
	o := generator.Options{N: 600, Seed: 1, SetName: "world", Sets: dataset.Axes()}
	want := generate(t, base, o)
	o.Sets = slices.Concat(dataset.Axes(), dataset.FurtherAxes())
	got := generate(t, base, o)
	further := func(axis string) bool { return slices.Contains(dataset.FurtherAxes(), dataset.Axis(axis)) }
	top := map[dataset.EditID]bool{}
	for _, q := range got.probes {
		top[q.EditID] = top[q.EditID] || q.Axis.FollowUp()
	}
	var edits []dataset.Edit
	for _, e := range got.edits {
		if !top[e.ID] {
			// Edits with follow-ups are in a conflict group with them.
			e.ConflictGroup = want.edits[len(edits)].ConflictGroup
			edits = append(edits, e)
		}
	}
	got.probes = slices.DeleteFunc(got.probes, func(q dataset.Probe) bool { return further(string(q.Axis)) })
	got.rejects = slices.DeleteFunc(got.rejects, func(r generator.Reject) bool { return further(r.Axis) })
	if got.counts.FollowUps == 0 || !reflect.DeepEqual(edits, want.edits) {
		t.Errorf("%d follow-ups change the edits", got.counts.FollowUps)
	}
	if !reflect.DeepEqual(got.probes, want.probes) {
		t.Error("the further sets change the survey's probes")
	}
	if !reflect.DeepEqual(got.rejects, want.rejects) {
		t.Error("the further sets change the survey's rejects")
	}
}

// TestThirdObjectsAreFound edits so much of the world that few objects are no
// other edit's: chains of one length need a third object for every edit.
func TestThirdObjectsAreFound(t *testing.T) {
	p := generate(t, worldKB(t, world.Seed, world.AsOf, nil), generator.Options{N: 3000, Seed: 1, SetName: "world", Sets: []dataset.Axis{dataset.AxisConflict}})
	if p.counts.Edits != 3000 || p.counts.FollowUps != p.counts.Edits {
		t.Errorf("%d of %d edits have a follow-up; rejects %v", p.counts.FollowUps, p.counts.Edits, p.counts.Rejects)
	}
}
