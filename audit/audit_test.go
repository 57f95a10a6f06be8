package audit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"editpipe/audit"
	"editpipe/dataset"
	"editpipe/dataset/importer"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
	"editpipe/token"
)

// relations are those of the little knowledge base: one that is one-to-one, one
// that is not, and two that are only asked about.
const relations = `
version: 1
language: en
classes: {country: Q100, city: Q101}
relations:
  - id: P36
    label: capital
    reverse: ask
    cloze: [{id: c1, text: "The capital of {s} is"}]
    question: [{id: q1, text: "What is the capital of {s}?"}]
    np: [{id: n1, text: "the capital of {s}"}]
    inverse: {id: P1376, question: [{id: i1, text: "Whose capital is {o}?"}]}
  - id: P22
    label: father
    reverse: list
    cloze: [{id: c2, text: "The father of {s} is"}]
    question: [{id: q2, text: "Who is the father of {s}?"}]
    np: [{id: n2, text: "the father of {s}"}]
    inverse: {id: P40, question: [{id: i2, text: "Who is a child of {o}?"}]}
  - id: P6
    label: mayor
    probe_only: true
    cloze: [{id: c3, text: "The mayor of {s} is"}]
    question: [{id: q3, text: "Who is the mayor of {s}?"}]
  - id: P30
    label: continent
    probe_only: true
    cloze: [{id: c4, text: "{s} lies in"}]
    question: [{id: q4, text: "Where does {s} lie?"}]
`

func knowledge(t *testing.T) *kb.Base {
	t.Helper()
	c, err := catalogue.Load(strings.NewReader(relations))
	if err != nil {
		t.Fatal(err)
	}
	b := kb.NewBuilder(c, kb.Date{Year: 2026, Month: 1, Day: 1}, "test")
	item := func(property, id string, rank kb.Rank) kb.Statement {
		return kb.Statement{Property: property, Rank: rank, HasValue: true, Value: kb.Value{Kind: catalogue.Item, ID: id}}
	}
	add := func(id, label, class string, facts map[string][]string, aliases ...string) {
		e := &kb.Entity{ID: id, Type: "item", Label: label, Aliases: aliases, Sitelinks: 10}
		if class != "" {
			e.Claims.Add(item("P31", class, kb.Normal))
		}
		for p, objects := range facts {
			for _, o := range objects {
				rank := kb.Normal
				if o == "Q17" {
					rank = kb.Deprecated
				}
				e.Claims.Add(item(p, o, rank))
			}
		}
		b.Add(e)
	}
	add("Q100", "country", "", nil)
	add("Q101", "city", "", nil)
	add("Q102", "person", "", nil)
	add("Q1", "Arvon", "Q100", map[string][]string{"P36": {"Q11", "Q17"}, "P30": {"Q41"}}, "Riverland", "Marshland")
	add("Q2", "Dorvia", "Q100", map[string][]string{"P36": {"Q13"}, "P30": {"Q42"}}, "Marshland")
	add("Q3", "Fennach", "Q100", map[string][]string{"P36": {"Q14"}, "P30": {"Q41"}}, "Mooria")
	add("Q4", "Ilmen", "Q100", map[string][]string{"P36": {"Q16"}})
	add("Q5", "Lorn", "Q100", map[string][]string{"P36": {"Q18", "Q19"}})
	add("Q11", "Belmor", "Q101", map[string][]string{"P6": {"Q31"}})
	add("Q12", "Corlin", "Q101", map[string][]string{"P6": {"Q32"}})
	add("Q13", "Elmstad", "Q101", nil)
	add("Q14", "Garth", "Q101", nil)
	add("Q15", "Holmwick", "Q101", nil)
	add("Q16", "Jadwin", "Q101", nil)
	add("Q17", "Karst", "Q101", nil) // once stated for Q1, and deprecated
	add("Q18", "Mirth", "Q101", nil)
	add("Q19", "Norrow", "Q101", nil)
	add("Q20", "Norbank", "Q101", map[string][]string{"P131": {"Q11"}})
	add("Q31", "Ulf Brandt", "Q102", nil)
	add("Q32", "Tessa Vond", "Q102", nil)
	add("Q41", "Ostra", "", nil)
	add("Q42", "Westra", "", nil)
	base, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return base
}

// tokenizer has a token for every letter, one for a space with a capital
// behind it, and one for " Om".
func tokenizer(t *testing.T) *token.Tokenizer {
	t.Helper()
	vocab := map[string]int{"<unk>": 0}
	var merges []string
	add := func(s string) { vocab[s] = len(vocab) }
	for r := 'a'; r <= 'z'; r++ {
		add(string(r))
		add(string(r - 'a' + 'A'))
	}
	add("_")
	for r := 'A'; r <= 'Z'; r++ {
		add("_" + string(r))
		merges = append(merges, "_ "+string(r))
	}
	add("_Om")
	merges = append(merges, "_O m")
	data, err := json.Marshal(map[string]any{
		"normalizer": map[string]any{"type": "Replace", "pattern": map[string]string{"String": " "}, "content": "_"},
		"model":      map[string]any{"type": "BPE", "vocab": vocab, "merges": merges, "unk_token": "<unk>"},
	})
	if err != nil {
		t.Fatal(err)
	}
	tok, err := token.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// cleanSet is two edits of capitals without any fault; the first has a probe
// on every axis.
func cleanSet() []dataset.Record {
	probe := func(edit dataset.EditID, axis dataset.Axis, prompt, subject string, answers []string, hops ...dataset.Hop) dataset.Probe {
		p := dataset.Probe{EditID: edit, Family: axis.Family(), Axis: axis, Prompt: prompt, Format: dataset.Cloze, AnswerMode: dataset.Single,
			Answers: answers, ChoiceLabel: -1, SubjectText: subject, Hops: hops, Phrasing: "template"}
		reword(&p, prompt)
		return p
	}
	edit := func(id, subjectID, subject, alias, trueID, truth, newID, target string) dataset.Edit {
		e := dataset.Edit{ID: dataset.EditID(id), Set: "clean", Source: "custom", RelationID: "P36", SubjectID: subjectID, Subject: subject, SubjectAliases: []string{alias},
			ObjectTrueID: trueID, GroundTruth: truth, ObjectNewID: newID, Target: target, ObjectNewAliases: []string{target + " City"}, Mode: dataset.Counterfactual,
			Prompt: "The capital of " + subject + " is", PromptTemplate: "The capital of {s} is", SubjectStart: 15}
		e.SubjectEnd = e.SubjectStart + int32(len(subject))
		return e
	}
	hop := func(s, p, o string, edited bool) dataset.Hop {
		return dataset.Hop{SubjectID: s, PropertyID: p, ObjectID: o, Text: s + " | " + p + " | " + o, Edited: edited}
	}
	changed := hop("Q1", "P36", "Q12", true)
	target := []string{"Corlin", "Corlin City"}
	first := []dataset.Probe{
		probe("e1", dataset.AxisReliability, "The capital of Arvon is", "Arvon", target, changed),
		probe("e1", dataset.AxisGeneralization, "Arvon has its seat of government in", "Arvon", target, changed),
		probe("e1", dataset.AxisGeneralization, "Where do the ministers of Arvon meet?", "Arvon", target, changed),
		probe("e1", dataset.AxisSubjectReplace, "The capital of Riverland is", "Riverland", target, changed),
		probe("e1", dataset.AxisReversedRelation, "Corlin is the capital of", "Corlin", []string{"Arvon", "Riverland"}, changed),
		probe("e1", dataset.AxisOneHop, "Who is the mayor of the capital of Arvon?", "Arvon", []string{"Tessa Vond", "Tessa M. Vond"}, changed, hop("Q12", "P6", "Q32", false)),
		probe("e1", dataset.AxisOtherRelations, "Arvon lies in", "Arvon", []string{"Ostra"}, hop("Q1", "P30", "Q41", false)),
		probe("e1", dataset.AxisNeighbourhood, "The capital of Dorvia is", "Dorvia", []string{"Elmstad"}, hop("Q2", "P36", "Q13", false)),
		probe("e1", dataset.AxisDistractNeighbourhood, "The capital of Arvon is Corlin. The capital of Dorvia is", "Dorvia", []string{"Elmstad"}, hop("Q2", "P36", "Q13", false)),
		probe("e1", dataset.AxisOtherTasks, "Question: Who is the mayor of Belmor?\nAnswer:", "Belmor", []string{"Ulf Brandt"}, hop("Q11", "P6", "Q31", false)),
	}
	for i := range first {
		p := &first[i]
		switch p.Axis {
		case dataset.AxisOneHop:
			p.AnswersBefore = []string{"Ulf Brandt"}
		case dataset.AxisReversedRelation:
			p.AnswersBefore = []string{"nobody"}
		case dataset.AxisDistractNeighbourhood:
			p.Distractor = "The capital of Arvon is Corlin. "
		case dataset.AxisOtherTasks:
			p.Format, p.AnswerMode, p.Choices, p.ChoiceLabel = dataset.Choice, dataset.OneChoice, []string{"Tessa Vond", "Ulf Brandt"}, 1
		}
	}
	target = []string{"Holmwick", "Holmwick City"}
	second := []dataset.Probe{
		probe("e2", dataset.AxisReliability, "The capital of Fennach is", "Fennach", target),
		probe("e2", dataset.AxisSubjectReplace, "The capital of Mooria is", "Mooria", target),
		probe("e2", dataset.AxisOtherRelations, "Fennach lies in", "Fennach", []string{"Ostra"}, hop("Q3", "P30", "Q41", false)),
		probe("e2", dataset.AxisNeighbourhood, "The capital of Ilmen is", "Ilmen", []string{"Jadwin"}, hop("Q4", "P36", "Q16", false)),
	}
	records := []dataset.Record{
		{Edit: edit("e1", "Q1", "Arvon", "Riverland", "Q11", "Belmor", "Q12", "Corlin"), Probes: first},
		{Edit: edit("e2", "Q3", "Fennach", "Mooria", "Q14", "Garth", "Q15", "Holmwick"), Probes: second},
	}
	for _, r := range records {
		for i := range r.Probes {
			r.Probes[i].ID = dataset.ProbeID(fmt.Sprintf("%s-%d", r.Edit.ID, i))
		}
	}
	return records
}

// reword gives a probe another prompt and finds its subject there.
func reword(p *dataset.Probe, prompt string) {
	p.Prompt, p.SubjectStart, p.SubjectEnd = prompt, -1, -1
	if at := strings.LastIndex(prompt, p.SubjectText); at >= 0 && p.SubjectText != "" {
		p.SubjectStart, p.SubjectEnd = int32(at), int32(at+len(p.SubjectText))
	}
}

// set is a data set on its way to have a fault.
type set struct {
	t       *testing.T
	records []dataset.Record
}

func (s *set) edit(i int) *dataset.Edit { return &s.records[i].Edit }

// probe is the first probe of a record on an axis.
func (s *set) probe(i int, axis dataset.Axis) *dataset.Probe {
	for j := range s.records[i].Probes {
		if s.records[i].Probes[j].Axis == axis {
			return &s.records[i].Probes[j]
		}
	}
	s.t.Fatalf("record %d has no probe on %s", i, axis)
	return nil
}

func (s *set) drop(i int, axis dataset.Axis) {
	r := &s.records[i]
	r.Probes = slices.DeleteFunc(r.Probes, func(p dataset.Probe) bool { return p.Axis == axis })
}

// another adds an edit made from the first one, with its own question alone.
func (s *set) another(change func(*dataset.Edit)) {
	e := s.records[0].Edit
	e.ID = "e3"
	change(&e)
	p := *s.probe(0, dataset.AxisReliability)
	p.ID, p.EditID, p.Prompt, p.Answers, p.AnswersBefore, p.Contrast = "e3-0", e.ID, e.Prompt, []string{e.Target}, nil, ""
	p.SubjectText, p.SubjectStart, p.SubjectEnd = "", -1, -1
	s.records = append(s.records, dataset.Record{Edit: e, Probes: []dataset.Probe{p}})
}

// again adds a copy of a probe of the first record.
func (s *set) again(axis dataset.Axis, change func(*dataset.Probe)) {
	p := *s.probe(0, axis)
	p.ID = "again"
	change(&p)
	s.records[0].Probes = append(s.records[0].Probes, p)
}

const (
	gen   = dataset.AxisGeneralization
	alias = dataset.AxisSubjectReplace
	back  = dataset.AxisReversedRelation
	hop   = dataset.AxisOneHop
	other = dataset.AxisOtherRelations
	near  = dataset.AxisNeighbourhood
	dis   = dataset.AxisDistractNeighbourhood
	task  = dataset.AxisOtherTasks
)

// faults puts faults into the clean set, and says what is to be found.
var faults = []struct {
	name string
	seed func(*set)
	want string // code, edit and axis, separated by commas
}{
	{"target in the one-hop prompt", func(s *set) { reword(s.probe(0, hop), "Who is the mayor of Corlin, the capital of Arvon?") }, "target_in_prompt e1 one_hop"},
	{"target in the edit prompt", func(s *set) {
		e := s.edit(0)
		e.Prompt, e.SubjectStart, e.SubjectEnd = "Unlike corlin city, Arvon has as its capital", 20, 25
	}, "target_in_prompt e1 edit"},
	{"answer in the prompt", func(s *set) { reword(s.probe(0, other), "Arvon, like all of Ostra, lies in") }, "answer_in_prompt e1 other_relations"},
	{"alias leaks the target", func(s *set) {
		p := s.probe(0, alias)
		p.SubjectText = "the Corlin lands"
		reword(p, "The capital of the Corlin lands is")
	}, "answer_in_prompt e1 subject_replace"},
	{"answer in the distractor", func(s *set) {
		p := s.probe(0, dis)
		p.Distractor = "Elmstad is sunny. "
		reword(p, "Elmstad is sunny. The capital of Dorvia is")
	}, "answer_in_distractor e1 distract_neighbourhood"},
	{"control with the answer in front", func(s *set) {
		p := s.probe(0, dis)
		p.Distractor, p.Flags = "Elmstad is sunny. ", []string{dataset.FlagApart}
		reword(p, "Elmstad is sunny. The capital of Dorvia is")
	}, ""},
	{"truth in a paraphrase", func(s *set) { reword(s.probe(0, gen), "No longer from Belmor, Arvon is now governed from") }, "truth_in_prompt e1 generalization"},
	{"answer within a name", func(s *set) { s.probe(0, near).Answers = []string{"Dorviast"} }, "substring_leak e1 neighbourhood"},
	{"target is an alias of the truth", func(s *set) { s.edit(0).ObjectTrueAliases = []string{"CORLIN"} }, "target_is_truth e1 edit"},
	{"chain ends as before", func(s *set) { s.probe(0, hop).AnswersBefore = []string{"tessa vond"} }, "answer_unchanged e1 one_hop"},
	{"other relation with the target", func(s *set) { s.probe(0, other).Answers = []string{"corlin"} }, "answer_is_target e1 other_relations"},
	{"target once stated", func(s *set) { e := s.edit(0); e.ObjectNewID, e.Target = "Q17", "Karst" }, "target_already_true e1 edit"},
	{"truth of another country", func(s *set) { e := s.edit(0); e.ObjectTrueID, e.GroundTruth = "Q16", "Jadwin" }, "truth_not_current e1 edit"},
	{"two capitals", func(s *set) {
		e := s.edit(0)
		e.SubjectID, e.Subject, e.ObjectTrueID, e.GroundTruth = "Q5", "Lorn", "Q18", "Mirth"
		e.Prompt, e.SubjectEnd = "The capital of Lorn is", 19
		s.drop(0, alias) // no name of Q5
	}, "many_objects e1 edit"},
	{"target in the truth", func(s *set) { e := s.edit(0); e.ObjectNewID, e.Target = "Q20", "Norbank" }, "object_related e1 edit"},
	{"target of another kind", func(s *set) { e := s.edit(0); e.ObjectNewID, e.Target = "Q31", "Ulf Brandt"; s.drop(0, task) }, "class_mismatch e1 edit"},
	{"gold answer of another city", func(s *set) { s.probe(0, hop).Hops[1].ObjectID = "Q31" }, "fact_not_current e1 one_hop"},
	{"alias with the subject in it", func(s *set) {
		p := s.probe(0, alias)
		p.SubjectText = "Arvon Proper"
		reword(p, "The capital of Arvon Proper is")
	}, "alias_overlap e1 subject_replace"},
	{"alias within the subject", func(s *set) {
		e := s.edit(0)
		e.Subject, e.SubjectAliases = "Great Riverland", nil
		e.Prompt, e.SubjectEnd = "The capital of Great Riverland is", 30
	}, "alias_overlap e1 subject_replace"},
	{"alias of two countries", func(s *set) {
		p := s.probe(0, alias)
		p.SubjectText = "Marshland"
		reword(p, "The capital of Marshland is")
	}, "alias_ambiguous e1 subject_replace"},
	{"alias of two subjects", func(s *set) { s.edit(1).SubjectAliases = []string{"riverland"} }, "alias_shared e1 subject_replace"},
	{"code as alias", func(s *set) { p := s.probe(0, alias); p.SubjectText = "ARV"; reword(p, "The capital of ARV is") }, "alias_code e1 subject_replace"},
	{"alias in Greek", func(s *set) {
		p := s.probe(0, alias)
		p.SubjectText = "Άρβον"
		reword(p, "The capital of Άρβον is")
	}, "alias_code e1 subject_replace"},
	{"alias in other words", func(s *set) { reword(s.probe(0, alias), "Which town governs Riverland?") }, "alias_reworded e1 subject_replace"},
	{"ids of another knowledge base", func(s *set) { s.edit(0).SubjectID, s.edit(0).ObjectNewID = "Q5", "Q13" }, ""},
	{"code as spelling", func(s *set) { s.probe(0, hop).Answers = []string{"Tessa Vond", "TV"} }, "answer_code e1 one_hop"},
	{"target with a country", func(s *set) {
		e := s.edit(0)
		e.ObjectNewID, e.Target = "Q13", "Elmstad"
		s.drop(0, near)
		s.drop(0, dis)
	}, "reversed_many e1 reversed_relation"},
	{"relation that is not one-to-one", func(s *set) { s.edit(0).RelationID = "P22" }, "reversed_many e1 reversed_relation"},
	{"reverse question for a child", func(s *set) { reword(s.probe(0, back), "Who is the son/daughter of Corlin?") }, "reversed_family e1 reversed_relation"},
	{"edit of a mother", func(s *set) { s.edit(0).Prompt = "The mother  of Arvon is" }, "reversed_family e1 reversed_relation"},
	{"child in a name", func(s *set) {
		e := s.edit(0)
		e.Target = "Child Vond"
		reword(s.probe(0, back), "Child Vond is the capital of")
	}, ""},
	{"edit twice", func(s *set) { s.another(func(*dataset.Edit) {}) }, "duplicate_edit e3 edit, repeated_subject e3 edit"},
	{"edit twice, without ids", func(s *set) {
		s.edit(0).SubjectID = ""
		s.drop(0, alias)
		s.another(func(e *dataset.Edit) { e.Target = "corlin" })
	}, "duplicate_edit e3 edit, repeated_subject e3 edit"},
	{"two objects for one fact, declared", func(s *set) {
		s.records[0].Edit.ConflictGroup = "g"
		s.another(func(e *dataset.Edit) { e.ObjectNewID, e.Target, e.ConflictGroup = "Q16", "Jadwin", "g" })
	}, "repeated_subject e3 edit"},
	{"truth that an edit below put there", func(s *set) {
		s.records[0].Edit.ConflictGroup = "g"
		s.another(func(e *dataset.Edit) {
			e.ObjectTrueID, e.GroundTruth, e.ObjectNewID, e.Target, e.ConflictGroup = "Q12", "Corlin", "Q16", "Jadwin", "g"
		})
	}, "repeated_subject e3 edit"},
	{"choice of a further axis without a label", func(s *set) {
		s.again(task, func(p *dataset.Probe) { p.Axis, p.Family, p.ChoiceLabel = dataset.AxisBeliefYesNo, dataset.Belief, 7 })
	}, "choice_broken e1 belief_yes_no"},
	{"two objects for one fact", func(s *set) { s.another(func(e *dataset.Edit) { e.ObjectNewID, e.Target = "Q16", "Jadwin" }) }, "conflicting_edit e3 edit, repeated_subject e3 edit"},
	{"neighbour edited", func(s *set) {
		s.another(func(e *dataset.Edit) {
			e.SubjectID, e.Subject, e.SubjectAliases, e.ObjectTrueID, e.GroundTruth = "Q2", "Dorvia", nil, "Q13", "Elmstad"
			e.Prompt, e.SubjectEnd = "The capital of Dorvia is", 21
		})
	}, "conflict_with_edit e1 neighbourhood, conflict_with_edit e1 distract_neighbourhood"},
	{"neighbour edited, without ids", func(s *set) {
		s.probe(0, near).Hops, s.probe(0, dis).Hops = nil, nil
		s.another(func(e *dataset.Edit) {
			e.SubjectID, e.RelationID, e.Subject, e.SubjectAliases, e.ObjectTrueID, e.GroundTruth = "", "", "Dorvia", nil, "Q13", "Elmstad"
			e.Prompt, e.SubjectEnd = "The capital of Dorvia is", 21
		})
	}, "conflict_with_edit e1 neighbourhood, conflict_with_edit e1 distract_neighbourhood"},
	{"question with two answers", func(s *set) {
		p := s.probe(1, other)
		p.SubjectText, p.Answers = "Arvon", []string{"Westra"}
		reword(p, "Arvon lies in")
	}, "conflicting_probe e2 other_relations"},
	{"question of two records", func(s *set) { p := s.probe(1, other); p.SubjectText = "Arvon"; reword(p, "arvon lies in ...") }, "repeated_probe e2 other_relations"},
	{"another edit of the subject", func(s *set) {
		s.another(func(e *dataset.Edit) {
			e.RelationID, e.ObjectTrueID, e.GroundTruth, e.ObjectNewID, e.Target = "P462", "", "Scarlet", "", "Blue"
			e.Prompt, e.SubjectStart, e.SubjectEnd = "The colour of Arvon is", 14, 19
		})
	}, "repeated_subject e3 edit"},
	{"probe twice", func(s *set) { s.again(hop, func(*dataset.Probe) {}) }, "duplicate_probe e1 one_hop"},
	{"probe nearly twice", func(s *set) {
		s.again(hop, func(p *dataset.Probe) { reword(p, "Who is the present mayor of the capital of Arvon?") })
	}, "near_duplicate_probe e1 one_hop"},
	{"same words, another answer", func(s *set) {
		s.again(hop, func(p *dataset.Probe) {
			p.Answers, p.AnswersBefore, p.Hops = []string{"Rolf Ander"}, nil, nil
			reword(p, "Who is the treasurer of the capital of Arvon?")
		})
	}, ""},
	{"paraphrase is the prompt", func(s *set) { reword(s.probe(0, gen), "the capital of Arvon is:") }, "rephrase_is_prompt e1 generalization"},
	{"blank answer", func(s *set) { s.probe(0, hop).Answers = []string{" "} }, "blank e1 one_hop"},
	{"no answer", func(s *set) { s.probe(0, hop).Answers = nil }, "blank e1 one_hop"},
	{"blank target", func(s *set) { s.edit(0).Target = ""; s.edit(0).ObjectNewAliases = nil }, "blank e1 edit"},
	{"id as answer", func(s *set) { s.probe(0, other).Answers = []string{"Q969340"} }, "raw_id e1 other_relations"},
	{"id in the edit", func(s *set) {
		e := s.edit(0)
		e.Prompt, e.SubjectStart, e.SubjectEnd = "The capital of Q969340, or Arvon, is", 27, 32
	}, "raw_id e1 edit"},
	{"span too far", func(s *set) { s.probe(0, hop).SubjectStart++ }, "subject_span e1 one_hop"},
	{"span beyond the prompt", func(s *set) { s.edit(0).SubjectEnd = 99 }, "subject_span e1 edit"},
	{"wrong label", func(s *set) { s.probe(0, task).ChoiceLabel = 0 }, "choice_broken e1 other_tasks"},
	{"no label", func(s *set) { s.probe(0, task).ChoiceLabel = -1 }, "choice_broken e1 other_tasks"},
	{"choice twice", func(s *set) { s.probe(0, task).Choices = []string{"Ulf Brandt", "Ulf Brandt"} }, "choice_broken e1 other_tasks"},
	{"family of another axis", func(s *set) { s.probe(0, hop).Family = dataset.Locality }, "axis_family e1 one_hop"},
	{"edit prompt without subject", func(s *set) { e := s.edit(0); e.Prompt, e.SubjectStart, e.SubjectEnd = "Its capital is", -1, -1 }, "subject_not_in_prompt e1 edit"},
	{"edit without probes", func(s *set) { s.records[0].Probes = nil }, "no_probe e1 edit"},
	{"edit without subject", func(s *set) { e := s.edit(0); e.Subject, e.SubjectStart, e.SubjectEnd = "", -1, -1 }, "no_subject e1 edit"},
	{"subject twice", func(s *set) {
		e := s.edit(0)
		e.Prompt, e.PromptTemplate = e.Prompt+" and that of "+strings.ToUpper(e.Subject)+" is", ""
	}, "subject_repeated e1 edit"},
	{"subject twice, one marked by a template", func(s *set) {
		e := s.edit(0)
		e.PromptTemplate += " and that of " + e.Subject + " is"
		e.Prompt += " and that of " + e.Subject + " is"
	}, ""},
	{"subject in capitals", func(s *set) {
		e := s.edit(0)
		e.Prompt = "The capital of " + strings.ToUpper(e.Subject) + " is"
	}, "subject_spelling e1 edit"},
	{"doubled space", func(s *set) { s.edit(0).ObjectTrueAliases = []string{"Bel  mor"} }, "stray_space e1 edit"},
	{"paraphrase behind a sentence", func(s *set) { reword(s.probe(0, gen), "It rains in the north. Arvon has its seat of government in") }, "paraphrase_prefixed e1 generalization"},
	{"paraphrase behind initials", func(s *set) { reword(s.probe(0, gen), "St. J. Arvon has its seat of government in") }, ""},
	{"no distractor", func(s *set) {
		p := s.probe(0, dis)
		p.Distractor = "Some text. "
		reword(p, "The capital of Dorvia is")
	}, "distractor_missing e1 distract_neighbourhood"},
	{"neighbour with the old object", func(s *set) { s.probe(0, near).Answers = []string{"belmor"} }, "no_far_neighbour e1 edit"},
	{"answer of nine words", func(s *set) { s.probe(0, hop).Answers = []string{"the one who was elected by all last year"} }, "long_answer e1 one_hop"},
	{"objects with a word in common", func(s *set) { s.edit(0).Target = "Belmor Old" }, "shared_first_word e1 edit, first_token_clash e1 edit"},
	{"objects with a token in common", func(s *set) { s.edit(0).Target = "Bantor" }, "first_token_clash e1 edit"},
	{"short target", func(s *set) { s.edit(0).Target = "Om" }, "one_token_target e1 edit"},
	{"letter without token", func(s *set) { s.edit(0).Target = "Weßel" }, "unencodable e1 edit"},
}

// run audits records and returns what was found, as faults names it.
func run(t *testing.T, records []dataset.Record, o audit.Options) (*audit.Report, []audit.Finding) {
	t.Helper()
	var findings []audit.Finding
	o.Find = func(f audit.Finding) error { findings = append(findings, f); return nil }
	report, err := audit.Run(context.Background(), dataset.List("clean", records), o)
	if err != nil {
		t.Fatal(err)
	}
	return report, findings
}

func named(findings []audit.Finding) string {
	var out []string
	for _, f := range findings {
		out = append(out, fmt.Sprintf("%s %s %s", f.Code, f.EditID, f.Axis))
	}
	return strings.Join(out, ", ")
}

func TestCleanSet(t *testing.T) {
	report, findings := run(t, cleanSet(), audit.Options{KB: knowledge(t), Tokenizer: tokenizer(t)})
	if len(findings) > 0 || len(report.Over()) > 0 {
		t.Errorf("found %+v", findings)
	}
	if report.Records != 2 || report.Probes != 14 {
		t.Errorf("%d records, %d probes", report.Records, report.Probes)
	}
	// A pass says nothing unless something was looked at.
	checked := map[string]int64{}
	for _, row := range report.Tallies {
		checked[row.Code] += row.Checked
	}
	for _, c := range audit.Checks() {
		if c.Needs != audit.Original && checked[c.Code] == 0 {
			t.Errorf("%s had nothing to check", c.Code)
		}
	}
	// "_C" and five letters; "_H" and seven.
	if want := []audit.Length{{6, 1}, {8, 1}}; !slices.Equal(report.Lengths, want) {
		t.Errorf("lengths %v, want %v", report.Lengths, want)
	}
}

func TestSeededFaults(t *testing.T) {
	base, tok := knowledge(t), tokenizer(t)
	seen := map[string]bool{}
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			s := &set{t, cleanSet()}
			f.seed(s)
			report, findings := run(t, s.records, audit.Options{KB: base, Tokenizer: tok})
			if got := named(findings); got != f.want {
				t.Fatalf("found %q, want %q\n%+v", got, f.want, findings)
			}
			for _, f := range findings {
				seen[f.Code] = true
				if f.Message == "" || (f.Axis == audit.AxisEdit) != (f.ProbeID == "") {
					t.Errorf("%+v", f)
				}
				at := slices.IndexFunc(report.Tallies, func(row audit.Tally) bool { return row.Code == f.Code && row.Axis == f.Axis })
				row := report.Tallies[at]
				if row.Found != 1 || row.Share == nil || math.Abs(*row.Share-1/float64(row.Checked)) > 1e-12 || len(row.Examples) != 1 || row.Severity != f.Severity {
					t.Errorf("%+v", row)
				}
				if row.Over != (f.Severity == audit.Fault) {
					t.Errorf("%s over its limit: %v", f.Severity, row.Over)
				}
			}
		})
	}
	for _, c := range audit.Checks() {
		if c.Needs != audit.Original && !seen[c.Code] {
			t.Errorf("no fault of the test shows %s", c.Code)
		}
	}
}

// TestDocument holds the tables of docs/audit.md against the checks.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "audit.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (fault|doubt|note) \\| ([^|]+) \\| ([^|]+) \\| ([^|]+) \\|")
	rows := row.FindAllStringSubmatch(string(text), -1)
	checks := audit.Checks()
	if len(rows) != len(checks) {
		t.Fatalf("%d rows, %d checks", len(rows), len(checks))
	}
	for i, c := range checks {
		code, severity, looks := rows[i][1], rows[i][2], rows[i][3]
		if code != c.Code || severity != string(c.Severity) {
			t.Errorf("row %d: %s %s, want %s %s", i, code, severity, c.Code, c.Severity)
		}
		for _, need := range []audit.Need{audit.Knowledge, audit.Tokens} {
			if strings.Contains(looks, "--"+string(need)) != (c.Needs == need) {
				t.Errorf("%s looks at %q, needs %q", code, looks, c.Needs)
			}
		}
		words := regexp.MustCompile(`\w+`).FindAllString(looks, -1)
		all := strings.Contains(looks, "all axes") || strings.Contains(looks, "probes with") // but those named
		for _, axis := range dataset.Axes() {
			if named := slices.Contains(words, string(axis)); (named != all) != slices.Contains(c.Axes, axis) {
				t.Errorf("%s looks at %q: %s", code, looks, axis)
			}
		}
	}
}

// TestWithout checks that what is lacking is said, and never counted as clean.
func TestWithout(t *testing.T) {
	report, _ := run(t, cleanSet(), audit.Options{})
	for _, c := range audit.Checks() {
		want := audit.Checked
		switch c.Needs {
		case audit.Knowledge:
			want = "not checked: needs --kb"
		case audit.Tokens:
			want = "not checked: needs --tokenizer"
		case audit.Original:
			want = "not checked: needs the file it was imported from"
		}
		for _, row := range report.Tallies {
			if row.Code == c.Code && (row.Status != want || (row.Share == nil) != (want != audit.Checked)) {
				t.Errorf("%+v, want status %q", row, want)
			}
		}
	}
	// An imported edit alone: no axis to look at, no entity to look up.
	r := cleanSet()[0]
	r.Probes, r.Edit.SubjectID, r.Edit.Subject = nil, "", "Nowhere"
	report, _ = run(t, []dataset.Record{r}, audit.Options{KB: knowledge(t)})
	for _, row := range report.Tallies {
		if (row.Code == "alias_overlap" || row.Code == "many_objects") && row.Status != audit.Nothing {
			t.Errorf("%+v", row)
		}
	}
}

func TestApart(t *testing.T) {
	s := &set{t, cleanSet()}
	p := s.probe(0, alias)
	p.SubjectText, p.Flags = "Arvon Proper", []string{dataset.FlagApart}
	reword(p, "The capital of Arvon Proper is")
	report, findings := run(t, s.records, audit.Options{})
	if named(findings) != "alias_overlap e1 subject_replace" || !findings[0].Apart || len(report.Over()) > 0 {
		t.Fatalf("%+v, over %v", findings, report.Over())
	}
	for _, row := range report.Tallies {
		if row.Code == "alias_overlap" && (row.Checked != 1 || row.Found != 0 || row.ApartChecked != 1 || row.ApartFound != 1) {
			t.Errorf("%+v", row)
		}
	}
}

func TestLimits(t *testing.T) {
	s := &set{t, cleanSet()}
	s.edit(0).Target = "Om" // a note: 1 of 2 edits
	s.probe(0, hop).Family = dataset.Locality
	for _, c := range []struct {
		limits map[string]float64
		over   string
	}{
		{nil, "axis_family"},
		{map[string]float64{"axis_family": 1}, ""},
		{map[string]float64{"axis_family": 1, "one_token_target": 0.5}, ""}, // as many as allowed
		{map[string]float64{"axis_family": 1, "one_token_target": 0.49}, "one_token_target"},
	} {
		report, _ := run(t, s.records, audit.Options{Tokenizer: tokenizer(t), Limits: c.limits})
		if got := strings.Join(report.Over(), " "); got != c.over {
			t.Errorf("limits %v: over %q, want %q", c.limits, got, c.over)
		}
	}
	_, err := audit.Run(context.Background(), dataset.List("", nil), audit.Options{Limits: map[string]float64{"beauty": 0}})
	if !errors.Is(err, audit.ErrCode) {
		t.Errorf("error %v", err)
	}
}

// TestFile audits a file as it is imported: what import mends or leaves out is
// found, too.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "edits.json")
	const text = `[
		{"case_id": 1, "prompt": "The capital of Arvon is", "subject": "Arvon", "target_new": " Corlin", "ground_truth": "Belmor",
		 "locality": {"neighborhood": {"prompt": "The capital of Dorvia is", "ground_truth": "Elmstad"}}},
		{"case_id": 1, "prompt": "The capital of Fennach is", "subject": "Fennach", "target_new": "Holmwick", "ground_truth": "Garth",
		 "locality": {"neighborhood": {"prompt": "The capital of Ilmen is", "ground_truth": ""}}},
		{"case_id": 3, "prompt": "The capital of Lorn is", "subject": "Lorn", "ground_truth": "Mirth", "target_new": "",
		 "locality": {"neighborhood": {"prompt": "The capital of Ilmen is", "ground_truth": "Jadwin"}}}
	]`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	file, err := importer.Open("easyedit", path, importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var findings []audit.Finding
	report, err := audit.Run(context.Background(), file, audit.Options{Find: func(f audit.Finding) error { findings = append(findings, f); return nil }})
	if err != nil {
		t.Fatal(err)
	}
	want := "record_error record 2 edit, duplicate_id easyedit-1-1 edit, trimmed easyedit-1 edit, probe_dropped easyedit-1-1 edit"
	if got := named(findings); got != want {
		t.Errorf("found %q, want %q", got, want)
	}
	for _, row := range report.Tallies {
		if row.Code == importer.CodeRecord && (row.Found != 1 || row.Checked != 3) || row.Code == importer.CodeTrimmed && (row.Found != 1 || row.Checked != 2) {
			t.Errorf("%+v", row)
		}
	}
}

// TestBrokenOff checks that a source that ends early, a consumer that fails and
// a cancelled context end the audit.
func TestBrokenOff(t *testing.T) {
	full := errors.New("disk full")
	s := &set{t, cleanSet()}
	s.probe(0, hop).Family = dataset.Locality
	src := dataset.List("clean", s.records)
	if _, err := audit.Run(context.Background(), src, audit.Options{Find: func(audit.Finding) error { return full }}); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := audit.Run(ctx, src, audit.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	file, err := importer.Open("easyedit", writeFile(t, `[{"prompt": "a b", "subject": "a", "target_new": "c"}, {"pro`), importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Run(context.Background(), file, audit.Options{}); err == nil {
		t.Error("a file that ends early passes")
	}
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "edits.json")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// BenchmarkRun audits records of fourteen probes with names of their own.
func BenchmarkRun(b *testing.B) {
	const n = 2000
	records := make([]dataset.Record, 0, n)
	for i := range n / 2 {
		for _, r := range cleanSet() {
			name := strings.NewReplacer("Arvon", fmt.Sprint("Arvon", i), "Fennach", fmt.Sprint("Fennach", i), "Dorvia", fmt.Sprint("Dorvia", i))
			r.Edit.ID = dataset.EditID(fmt.Sprintf("%s-%d", r.Edit.ID, i))
			r.Edit.SubjectID += fmt.Sprint("-", i)
			r.Edit.Subject, r.Edit.Prompt = name.Replace(r.Edit.Subject), name.Replace(r.Edit.Prompt)
			for j := range r.Probes {
				r.Probes[j].Prompt = name.Replace(r.Probes[j].Prompt)
			}
			records = append(records, r)
		}
	}
	src := dataset.List("many", records)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := audit.Run(context.Background(), src, audit.Options{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "records/s")
}
