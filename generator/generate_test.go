package generator_test

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/demo/world"
	"editpipe/generator"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// product is everything one generation gave.
type product struct {
	edits   []dataset.Edit
	probes  []dataset.Probe
	rejects []generator.Reject
	counts  generator.Counts
}

// worldKB reads the world of a seed; keep may leave entities out.
func worldKB(t *testing.T, seed int64, asOf string, keep func(*kb.Entity) bool) *kb.Base {
	t.Helper()
	c, err := catalogue.Load(bytes.NewReader(world.Catalogue()))
	if err != nil {
		t.Fatal(err)
	}
	day, err := kb.ParseDate(asOf)
	if err != nil {
		t.Fatal(err)
	}
	var dump bytes.Buffer
	if err := world.Write(&dump, seed); err != nil {
		t.Fatal(err)
	}
	b := kb.NewBuilder(c, day, "world")
	for e, err := range kb.Entities(&dump) {
		if err != nil {
			t.Fatal(err)
		}
		if keep == nil || keep(e) {
			b.Add(e)
		}
	}
	base, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return base
}

func generate(t *testing.T, base *kb.Base, o generator.Options) product {
	t.Helper()
	var p product
	counts, err := generator.Generate(context.Background(), base, o, generator.Sink{
		Edit:   func(e dataset.Edit) error { p.edits = append(p.edits, e); return nil },
		Probe:  func(q dataset.Probe) error { p.probes = append(p.probes, q); return nil },
		Reject: func(r generator.Reject) error { p.rejects = append(p.rejects, r); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	p.counts = counts
	return p
}

// names are the spellings of an entity.
func names(base *kb.Base, id string) []string {
	e := base.Entity(id)
	return append([]string{e.Label}, e.Aliases...)
}

// holds is an independent whole-word search: case-blind, on ASCII.
func holds(text, name string) bool {
	text, name = strings.ToLower(text), strings.ToLower(name)
	letter := func(s string, i int) bool {
		return i >= 0 && i < len(s) && (s[i] >= 'a' && s[i] <= 'z' || s[i] >= '0' && s[i] <= '9')
	}
	for at := 0; ; at++ {
		i := strings.Index(text[at:], name)
		if i < 0 {
			return false
		}
		at += i
		if !letter(text, at-1) && !letter(text, at+len(name)) {
			return true
		}
	}
}

func TestSetsOfTheWorld(t *testing.T) {
	base := worldKB(t, world.Seed, world.AsOf, nil)
	p := generate(t, base, generator.Options{N: 200, Seed: 1, SetName: "world"})
	if len(p.edits) != 200 {
		t.Fatalf("%d edits, want 200", len(p.edits))
	}
	for _, a := range dataset.Axes() {
		if p.counts.Probes[a] < 100 {
			t.Errorf("set %s has %d probes, want at least 100", a, p.counts.Probes[a])
		}
	}
	edits := map[dataset.EditID]dataset.Edit{}
	subjects := map[string]bool{}
	for _, e := range p.edits {
		if edits[e.ID].ID != "" {
			t.Errorf("edit id %s twice", e.ID)
		}
		if subjects[e.SubjectID] {
			t.Errorf("%s is edited twice although there are subjects enough", e.Subject)
		}
		edits[e.ID], subjects[e.SubjectID] = e, true
		checkEdit(t, base, e)
	}
	ids := map[dataset.ProbeID]bool{}
	prompts := map[string]bool{}
	for _, q := range p.probes {
		if ids[q.ID] || prompts[string(q.EditID)+q.Prompt] {
			t.Errorf("probe %s or its prompt %q twice", q.ID, q.Prompt)
		}
		ids[q.ID], prompts[string(q.EditID)+q.Prompt] = true, true
		checkProbe(t, edits[q.EditID], q)
	}
	for _, want := range []string{
		"subject_replace/alias_ambiguous", "subject_replace/alias_code", "subject_replace/alias_overlap", "one_hop/answer_unchanged",
		"one_hop/conflict_with_edit", "other_relations/blocked_relation", "other_relations/many_objects", "edit/not_current", "edit/substring_leak",
	} {
		if p.counts.Rejects[want] == 0 {
			t.Errorf("no reject %s: the world should give some", want)
		}
	}
	checkAliases(t, base, edits, p.probes)
	checkReversed(t, base, edits, p.probes)
	checkHops(t, base, edits, p.probes)
	checkLocality(t, base, edits, p.probes)
}

func checkEdit(t *testing.T, base *kb.Base, e dataset.Edit) {
	t.Helper()
	if e.Prompt[e.SubjectStart:e.SubjectEnd] != e.Subject {
		t.Errorf("edit %q: span holds %q", e.Prompt, e.Prompt[e.SubjectStart:e.SubjectEnd])
	}
	if strings.Replace(e.PromptTemplate, "{s}", e.Subject, 1) != e.Prompt {
		t.Errorf("edit %q: template %q", e.Prompt, e.PromptTemplate)
	}
	for _, object := range []string{e.ObjectTrueID, e.ObjectNewID} {
		for _, n := range names(base, object) {
			if holds(e.Prompt, n) {
				t.Errorf("edit %q holds %q", e.Prompt, n)
			}
		}
	}
	for _, st := range base.Entity(e.SubjectID).Claims.Of(e.RelationID) {
		if st.Value.ID == e.ObjectNewID {
			t.Errorf("edit %q: %s was stated before", e.Prompt, e.Target)
		}
	}
	if current := base.Current(base.Entity(e.SubjectID), e.RelationID); len(current) != 1 || current[0].Value.ID != e.ObjectTrueID {
		t.Errorf("edit %q: true object %s, current facts %v", e.Prompt, e.GroundTruth, current)
	}
	if a, b := base.Entity(e.ObjectTrueID).Claims.Of("P31"), base.Entity(e.ObjectNewID).Claims.Of("P31"); a[0].Value != b[0].Value {
		t.Errorf("edit %q: %s and %s are of different classes", e.Prompt, e.GroundTruth, e.Target)
	}
}

func checkProbe(t *testing.T, e dataset.Edit, q dataset.Probe) {
	t.Helper()
	if e.ID == "" {
		t.Fatalf("probe %s of no edit", q.ID)
	}
	if q.Family != q.Axis.Family() || q.Phrasing != "template" || len(q.TemplateIDs) == 0 || len(q.Hops) == 0 || len(q.Answers) == 0 {
		t.Errorf("probe %s lacks provenance: %+v", q.ID, q)
	}
	if q.Family == dataset.Locality && len(q.NeedsFacts) == 0 || q.Axis == dataset.AxisOneHop && len(q.NeedsFacts) == 0 {
		t.Errorf("probe %s names no fact it needs", q.ID)
	}
	if q.Prompt[q.SubjectStart:q.SubjectEnd] != q.SubjectText {
		t.Errorf("probe %q: span holds %q, want %q", q.Prompt, q.Prompt[q.SubjectStart:q.SubjectEnd], q.SubjectText)
	}
	if strings.ContainsAny(q.Prompt, "{}") || strings.Contains(q.Prompt, "  ") || strings.TrimSpace(q.Prompt) != q.Prompt {
		t.Errorf("probe %q is not clean text", q.Prompt)
	}
	proper := strings.TrimPrefix(q.Prompt, q.Distractor)
	for _, a := range q.Answers {
		if a == "" || holds(proper, a) {
			t.Errorf("%s probe %q holds its answer %q", q.Axis, q.Prompt, a)
		}
	}
	if q.Axis != dataset.AxisReversedRelation && holds(proper, e.Target) {
		t.Errorf("%s probe %q holds the target %q", q.Axis, q.Prompt, e.Target)
	}
	if (q.Distractor != "") != (q.Axis == dataset.AxisDistractNeighbourhood) || !strings.HasPrefix(q.Prompt, q.Distractor) {
		t.Errorf("%s probe %q: distractor %q", q.Axis, q.Prompt, q.Distractor)
	}
	if q.Variant == "edit" && q.Distractor != e.Prompt+" "+e.Target+". " {
		t.Errorf("distractor %q does not state the edit", q.Distractor)
	}
	if q.Format == dataset.Choice {
		if len(q.Choices) != 2 && len(q.Choices) != 4 || q.Choices[q.ChoiceLabel] != q.Answers[0] {
			t.Errorf("choice probe %q: %v, label %d, answer %v", q.Prompt, q.Choices, q.ChoiceLabel, q.Answers)
		}
	} else if q.ChoiceLabel != -1 {
		t.Errorf("probe %q has choice label %d", q.Prompt, q.ChoiceLabel)
	}
	switch q.Axis {
	case dataset.AxisReliability, dataset.AxisGeneralization, dataset.AxisSubjectReplace:
		if q.Answers[0] != e.Target || q.AnswersBefore[0] != e.GroundTruth || q.Contrast != e.GroundTruth {
			t.Errorf("%s probe %q: answers %v, before %v, contrast %q", q.Axis, q.Prompt, q.Answers, q.AnswersBefore, q.Contrast)
		}
	}
}

// checkAliases counts the bearers of every alias in the whole world.
func checkAliases(t *testing.T, base *kb.Base, edits map[dataset.EditID]dataset.Edit, probes []dataset.Probe) {
	bearers := map[string]int{}
	for row := range base.EntityRows() {
		for _, n := range append([]string{row.Label}, row.Aliases...) {
			bearers[strings.ToLower(n)]++
		}
	}
	for _, q := range probes {
		if q.Axis != dataset.AxisSubjectReplace {
			continue
		}
		e := edits[q.EditID]
		if !slices.Contains(e.SubjectAliases, q.SubjectText) || q.SubjectText == e.Subject {
			t.Errorf("probe %q: %q is no alias of %s", q.Prompt, q.SubjectText, e.Subject)
		}
		if n := bearers[strings.ToLower(q.SubjectText)]; n != 1 && !slices.Contains(q.Flags, generator.FlagAliasDominant) {
			t.Errorf("alias %q has %d bearers", q.SubjectText, n)
		}
		if holds(q.Prompt, e.Subject) != (q.Variant == "alias_overlap") {
			t.Errorf("probe %q, variant %s, for subject %s", q.Prompt, q.Variant, e.Subject)
		}
		if strings.Replace(e.PromptTemplate, "{s}", q.SubjectText, 1) != q.Prompt {
			t.Errorf("probe %q does not use the edit's template %q", q.Prompt, e.PromptTemplate)
		}
	}
}

// checkReversed looks through all facts for another subject of the new object.
func checkReversed(t *testing.T, base *kb.Base, edits map[dataset.EditID]dataset.Edit, probes []dataset.Probe) {
	holders := map[string][]string{}
	for f := range base.FactRows() {
		if f.IsCurrent && base.Entity(f.SubjectID).Label != "" {
			holders[f.PropertyID+f.ObjectID] = append(holders[f.PropertyID+f.ObjectID], f.SubjectID)
		}
	}
	asked := map[string]dataset.EditID{}
	for _, q := range probes {
		e := edits[q.EditID]
		if q.Axis != dataset.AxisReversedRelation {
			continue
		}
		if q.Answers[0] != e.Subject {
			t.Errorf("reverse probe %q expects %q, the subject is %q", q.Prompt, q.Answers[0], e.Subject)
		}
		switch q.Variant {
		case "free":
			if others := holders[e.RelationID+e.ObjectNewID]; len(others) != 0 {
				t.Errorf("reverse probe %q has another answer: %v", q.Prompt, others)
			}
			key := e.RelationID + e.ObjectNewID
			if by := asked[key]; by != "" && by != e.ID {
				t.Errorf("edits %s and %s give %s to two subjects", by, e.ID, e.Target)
			}
			asked[key] = e.ID
		case "stale_inverse":
			if q.SubjectText != e.GroundTruth || !slices.Contains(q.Flags, dataset.FlagApart) || q.AnswerMode != dataset.Unchanged {
				t.Errorf("stale probe %q: %+v", q.Prompt, q)
			}
		case "list":
			if q.AnswerMode != dataset.Set || len(q.AnswerSets) != 1+len(holders[e.RelationID+e.ObjectNewID]) {
				t.Errorf("list probe %q: sets %v, holders %v", q.Prompt, q.AnswerSets, holders[e.RelationID+e.ObjectNewID])
			}
		default:
			t.Errorf("reverse probe %q of variant %q", q.Prompt, q.Variant)
		}
	}
}

// checkHops follows the chain of every one-hop probe by hand.
func checkHops(t *testing.T, base *kb.Base, edits map[dataset.EditID]dataset.Edit, probes []dataset.Probe) {
	changed := map[string]dataset.EditID{}
	for _, e := range edits {
		changed[e.SubjectID+e.RelationID] = e.ID
	}
	for _, q := range probes {
		if q.Axis != dataset.AxisOneHop {
			continue
		}
		e := edits[q.EditID]
		if len(q.Hops) != 2 || q.Hops[0].ObjectID != q.Hops[1].SubjectID || !q.Hops[0].Edited || q.Hops[1].Edited || q.Hops[1].SubjectID != e.ObjectNewID {
			t.Errorf("chain of %q: %v", q.Prompt, q.Hops)
			continue
		}
		property := q.Hops[1].PropertyID
		if !slices.Contains(q.Answers, strings.Split(q.Hops[1].Text, " | ")[2]) {
			t.Errorf("%q: answers %v, chain %v", q.Prompt, q.Answers, q.Hops)
		}
		for _, old := range base.Current(base.Entity(e.ObjectTrueID), property) {
			if old.Value.ID != "" && old.Value.ID == q.Hops[1].ObjectID {
				t.Errorf("%q has the same answer before the edit", q.Prompt)
			}
		}
		for _, before := range q.AnswersBefore {
			if slices.Contains(q.Answers, before) {
				t.Errorf("%q: %q is right before and after", q.Prompt, before)
			}
		}
		if by := changed[e.ObjectNewID+property]; by != "" {
			t.Errorf("%q needs a fact that edit %s changes", q.Prompt, by)
		}
	}
}

func checkLocality(t *testing.T, base *kb.Base, edits map[dataset.EditID]dataset.Edit, probes []dataset.Probe) {
	changed := map[string]dataset.EditID{}
	for _, e := range edits {
		changed[e.SubjectID+e.RelationID] = e.ID
	}
	for _, q := range probes {
		e := edits[q.EditID]
		if q.Family != dataset.Locality {
			continue
		}
		fact := q.Hops[0]
		if by := changed[fact.SubjectID+fact.PropertyID]; by != "" {
			t.Errorf("%s probe %q asks a fact that edit %s changes", q.Axis, q.Prompt, by)
		}
		if current := base.Current(base.Entity(fact.SubjectID), fact.PropertyID); len(current) != 1 {
			t.Errorf("%s probe %q has %d right answers", q.Axis, q.Prompt, len(current))
		}
		switch q.Axis {
		case dataset.AxisNeighbourhood, dataset.AxisDistractNeighbourhood:
			if fact.SubjectID == e.SubjectID || fact.PropertyID != e.RelationID || q.Contrast != e.Target {
				t.Errorf("neighbour %q of edit %q, contrast %q", q.Prompt, e.Prompt, q.Contrast)
			}
			if q.Axis == dataset.AxisNeighbourhood && (q.Variant == "near") != (fact.ObjectID == e.ObjectTrueID) {
				t.Errorf("neighbour %q is %s, its object %s, the true object %s", q.Prompt, q.Variant, fact.ObjectID, e.ObjectTrueID)
			}
		case dataset.AxisOtherRelations:
			if fact.SubjectID != e.SubjectID || base.Catalogue.Blocked(e.RelationID)[fact.PropertyID] {
				t.Errorf("other relation %q of edit %q", q.Prompt, e.Prompt)
			}
		case dataset.AxisOtherTasks:
			if fact.SubjectID == e.SubjectID || fact.PropertyID == e.RelationID {
				t.Errorf("task %q is not unrelated to edit %q", q.Prompt, e.Prompt)
			}
		}
	}
}

func TestGenerationIsDeterministic(t *testing.T) {
	base := worldKB(t, 2, world.AsOf, nil)
	o := generator.Options{N: 40, Seed: 9, SetName: "world"}
	a, b := generate(t, base, o), generate(t, worldKB(t, 2, world.AsOf, nil), o)
	if !reflect.DeepEqual(a, b) {
		t.Error("two generations with one seed differ")
	}
	o.Seed = 10
	if c := generate(t, base, o); reflect.DeepEqual(a.edits, c.edits) {
		t.Error("another seed gave the same edits")
	}
}

// TestSetsFilter builds two sets and expects their probes to be those of the
// full generation.
func TestSetsFilter(t *testing.T) {
	base := worldKB(t, 2, world.AsOf, nil)
	o := generator.Options{N: 30, Seed: 4, SetName: "world"}
	all := generate(t, base, o)
	o.Sets = []dataset.Axis{dataset.AxisOneHop, dataset.AxisReliability}
	some := generate(t, base, o)
	want := slices.DeleteFunc(slices.Clone(all.probes), func(q dataset.Probe) bool { return !slices.Contains(o.Sets, q.Axis) })
	if !reflect.DeepEqual(some.probes, want) || len(want) == 0 {
		t.Errorf("%d probes of two sets, %d of them in the full generation", len(some.probes), len(want))
	}
}

// TestUpdates generates real updates: what was true in 2005 gives way to what
// is true today.
func TestUpdates(t *testing.T) {
	base := worldKB(t, world.Seed, "2007-06-01", nil)
	p := generate(t, base, generator.Options{N: 30, Seed: 1, SetName: "updates", Mode: dataset.Update, Later: kb.Date{Year: 2024, Month: 1, Day: 1}})
	if len(p.edits) < 10 {
		t.Fatalf("%d updates, want at least 10", len(p.edits))
	}
	for _, e := range p.edits {
		ended, begun := false, false
		for _, st := range base.Entity(e.SubjectID).Claims.Of(e.RelationID) {
			ended = ended || st.Value.ID == e.ObjectTrueID && st.Ended && st.End.Year >= 2007
			begun = begun || st.Value.ID == e.ObjectNewID && !st.Ended
		}
		if !ended || !begun || e.Mode != dataset.Update {
			t.Errorf("%s: %q was %q, is %q; ended %t, begun %t", e.Mode, e.Prompt, e.GroundTruth, e.Target, ended, begun)
		}
	}
	// What must stay was true at the earlier day and is at the later one.
	stays := 0
	for _, q := range p.probes {
		if q.Family != dataset.Locality {
			continue
		}
		stays++
		fact := q.Hops[0]
		for _, day := range []kb.Date{base.AsOf, {Year: 2024, Month: 1, Day: 1}} {
			if list := base.Entity(fact.SubjectID).Current(fact.PropertyID, day); len(list) != 1 || fact.ObjectID != list[0].Value.ID {
				t.Errorf("%s probe %q: at %s the facts are %v", q.Axis, q.Prompt, day, list)
			}
		}
	}
	if stays == 0 {
		t.Error("no probe of what stays")
	}
}

// TestConflictGroups edits birthplaces and citizenships of the same people: one
// follows from the other, so such edits must not be made together.
func TestConflictGroups(t *testing.T) {
	people := 0
	base := worldKB(t, world.Seed, world.AsOf, func(e *kb.Entity) bool {
		if len(e.Claims.Of("P19")) > 0 {
			people++
		}
		return people < 60 || len(e.Claims.Of("P19")) == 0
	})
	base.Catalogue.Relations = slices.DeleteFunc(base.Catalogue.Relations, func(r *catalogue.Relation) bool { return r.ID != "P19" && r.ID != "P27" })
	p := generate(t, base, generator.Options{N: 90, Seed: 1, SetName: "world", Sets: []dataset.Axis{dataset.AxisReliability}})
	bySubject := map[string][]dataset.Edit{}
	grouped := 0
	for _, e := range p.edits {
		bySubject[e.SubjectID] = append(bySubject[e.SubjectID], e)
		if e.ConflictGroup != "" {
			grouped++
		}
	}
	for _, list := range bySubject {
		for _, a := range list {
			clash := false
			for _, b := range list {
				clash = clash || a.ID != b.ID && (base.Catalogue.Blocked(a.RelationID)[b.RelationID] || base.Catalogue.Blocked(b.RelationID)[a.RelationID])
			}
			if clash != (a.ConflictGroup != "") {
				t.Errorf("edit %q: conflict group %q, clash %t", a.Prompt, a.ConflictGroup, clash)
			}
		}
	}
	if grouped == 0 {
		t.Error("no conflict group: this test shows nothing")
	}
}

// TestInverseConflict leaves no city that is not a capital, so every new capital
// has a country already.
func TestInverseConflict(t *testing.T) {
	base := worldKB(t, world.Seed, world.AsOf, func(e *kb.Entity) bool {
		seat := slices.ContainsFunc(e.Claims.Of("P1376"), func(s kb.Statement) bool { return !s.Ended })
		return !strings.HasPrefix(e.Description, "city in") || seat
	})
	base.Catalogue.Relations = slices.DeleteFunc(base.Catalogue.Relations, func(r *catalogue.Relation) bool { return r.ID != "P36" && r.ID != "P30" })
	p := generate(t, base, generator.Options{N: 20, Seed: 1, SetName: "world", Sets: []dataset.Axis{dataset.AxisReversedRelation}})
	conflicts := 0
	for _, q := range p.probes {
		if q.Variant == "free" {
			t.Errorf("%q is asked as if it had one answer", q.Prompt)
		}
		if q.Variant != "inverse_conflict" {
			continue
		}
		conflicts++
		if !slices.Contains(q.Flags, dataset.FlagApart) || len(q.AnswersBefore) == 0 || slices.Contains(q.Answers, q.AnswersBefore[0]) {
			t.Errorf("conflict %q: answers %v, before %v, flags %v", q.Prompt, q.Answers, q.AnswersBefore, q.Flags)
		}
	}
	if conflicts == 0 || p.counts.Rejects["reversed_relation/inverse_conflict"] != conflicts {
		t.Errorf("%d conflicts, rejects %v", conflicts, p.counts.Rejects)
	}
}

func TestGenerateRefuses(t *testing.T) {
	base := miniKB(t)
	for name, o := range map[string]generator.Options{
		"no edits wanted":  {},
		"unknown set":      {N: 1, Sets: []dataset.Axis{"nonsense"}},
		"update, no later": {N: 1, Mode: dataset.Update},
	} {
		if _, err := generator.Generate(context.Background(), base, o, generator.Sink{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	full := errors.New("disk full")
	_, err := generator.Generate(context.Background(), base, generator.Options{N: 1}, generator.Sink{
		Edit: func(dataset.Edit) error { return full }, Probe: func(dataset.Probe) error { return nil }, Reject: func(generator.Reject) error { return nil },
	})
	if !errors.Is(err, full) {
		t.Errorf("error %v, want the sink's", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := generator.Generate(ctx, base, generator.Options{N: 1}, generator.Sink{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want cancelled", err)
	}
}
