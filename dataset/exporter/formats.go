package exporter

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"editpipe/dataset"
)

// group is one kind of questions as EasyEdit takes it.
type group struct {
	Prompt []string `json:"prompt"`
	Truth  []string `json:"ground_truth"`
}

// question is one question as KnowEdit has it; Truth is a string, a list of
// strings (any is right), or a list of lists (answers, each with its spellings).
type question struct {
	Prompt string `json:"prompt"`
	Truth  any    `json:"ground_truth"`
}

type knowEdit struct {
	Subject     string                `json:"subject,omitempty"`
	Target      string                `json:"target_new"`
	Prompt      string                `json:"prompt"`
	Truth       []string              `json:"ground_truth,omitempty"`
	Rephrase    string                `json:"rephrase_prompt,omitempty"`
	Locality    map[string][]question `json:"locality"`
	Portability map[string][]question `json:"portability"`
}

func writeKnowEdit(d *draft) any {
	e := d.edit
	d.names(e.SubjectAliases, e.ObjectNewAliases)
	out := knowEdit{
		Subject: e.Subject, Target: e.Target, Prompt: e.Prompt, Truth: truths(e), Rephrase: d.rephrase(),
		Locality: map[string][]question{}, Portability: map[string][]question{},
	}
	// KnowEdit gives an answer under portability as a string, under locality as a list.
	for _, a := range []struct {
		axis dataset.Axis
		name string
	}{{dataset.AxisSubjectReplace, "Subject_Aliasing"}, {dataset.AxisOneHop, "Reasoning"}, {dataset.AxisReversedRelation, "Logical_Generalization"}} {
		for _, p := range d.take(a.axis, every, nil) {
			truth := nested(p)
			if s, ok := truth.([]string); ok && len(s) == 1 {
				truth = s[0]
			}
			out.Portability[a.name] = append(out.Portability[a.name], question{p.Prompt, truth})
		}
	}
	for _, p := range d.take(dataset.AxisOtherRelations, every, nil) {
		name := "Relation_Specificity"
		if p.Variant == "forgetfulness" {
			name = "Forgetfulness"
		}
		out.Locality[name] = append(out.Locality[name], question{p.Prompt, nested(p)})
	}
	return out
}

// nested gives all answers of a probe in the shape that says how they belong together.
func nested(p dataset.Probe) any {
	switch {
	case len(p.AnswerSets) > 0:
		return p.AnswerSets
	case len(p.Answers) > 1 && p.AnswerMode != dataset.AnyOf:
		return [][]string{p.Answers}
	}
	return p.Answers
}

// truths is the old object with its other names; nil if there is none.
func truths(e dataset.Edit) []string {
	if e.GroundTruth == "" {
		return nil
	}
	return append([]string{e.GroundTruth}, e.ObjectTrueAliases...)
}

// personas is the variant of paraphrases that are put in somebody's mouth, and the
// name under which EasyEdit has them.
const personas = "personas"

// rephrase is the first paraphrase: the readers of these formats take one text.
func (d *draft) rephrase() string {
	for _, p := range d.take(dataset.AxisGeneralization, 1, func(p dataset.Probe) bool { return p.Variant != personas }) {
		return p.Prompt
	}
	return ""
}

type easyEdit struct {
	Case        any              `json:"case_id,omitempty"`
	Subject     string           `json:"subject,omitempty"`
	Relation    string           `json:"relation,omitempty"`
	Prompt      string           `json:"prompt"`
	Cloze       string           `json:"cloze_prompt,omitempty"`
	Target      string           `json:"target_new"`
	Truth       string           `json:"ground_truth,omitempty"`
	Rephrase    string           `json:"rephrase_prompt,omitempty"`
	Locality    map[string]group `json:"locality,omitempty"`
	Portability map[string]group `json:"portability,omitempty"`
}

func writeEasyEdit(d *draft) any {
	e := d.edit
	d.names(e.SubjectAliases, e.ObjectTrueAliases, e.ObjectNewAliases)
	out := easyEdit{
		Case: caseID(e.SourceCase), Subject: e.Subject, Relation: cmp.Or(e.RelationLabel, e.RelationID), Prompt: e.Prompt, Target: e.Target, Truth: e.GroundTruth,
		Rephrase: d.rephrase(), Locality: map[string]group{}, Portability: map[string]group{},
	}
	for _, p := range d.take(dataset.AxisGeneralization, every, func(p dataset.Probe) bool { return p.Variant == personas && p.Answers[0] == e.Target }) {
		g := out.Portability[personas]
		out.Portability[personas] = group{append(g.Prompt, p.Prompt), append(g.Truth, d.only(p))}
	}
	if e.PromptCloze != e.Prompt {
		out.Cloze = e.PromptCloze
	}
	for _, a := range dataset.Axes() {
		groups := map[dataset.Family]map[string]group{dataset.Locality: out.Locality, dataset.Portability: out.Portability}[a.Family()]
		if groups == nil {
			continue
		}
		name := strings.ReplaceAll(string(a), "neighbourhood", "neighborhood") // EasyEdit's spelling
		for _, p := range d.take(a, every, nil) {
			name := name
			if slices.Contains(words[a], p.Variant) {
				name = p.Variant
			}
			g := groups[name]
			groups[name] = group{append(g.Prompt, p.Prompt), append(g.Truth, d.only(p))}
		}
	}
	return out
}

// words are the variants of an axis that files have groups of their own for: under
// these names importer reads them back as what they were.
var words = map[dataset.Axis][]string{
	dataset.AxisSubjectReplace:   {"synonym"},
	dataset.AxisReversedRelation: {"logical_generalization"},
	dataset.AxisOneHop:           {"reasoning", "mhop", "portability", "compositionality_i", "compositionality_ii"},
	dataset.AxisOtherRelations:   {"relation_specificity", "forgetfulness", "unrelated_relation", "locality"},
	dataset.AxisOtherTasks:       {"unrelated", "nq"},
}

// caseID keeps a number a number; nil if there is none.
func caseID(id string) any {
	if n, err := strconv.Atoi(id); err == nil && strconv.Itoa(n) == id {
		return n
	}
	if id == "" {
		return nil
	}
	return id
}

type named struct {
	Str string `json:"str"`
	ID  string `json:"id,omitempty"`
}

type rewrite struct {
	Prompt   string `json:"prompt"`
	Relation string `json:"relation_id,omitempty"`
	New      named  `json:"target_new"`
	True     named  `json:"target_true"`
	Subject  string `json:"subject"`
}

type newQuestion struct {
	Question string `json:"New Question"`
	Answer   string `json:"New Answer"`
}

type relation struct {
	Question string `json:"question"`
	Object   string `json:"object"`
}

type counterFact struct {
	Case        any      `json:"case_id"`
	Rewrite     rewrite  `json:"requested_rewrite"`
	Paraphrases []string `json:"paraphrase_prompts"`
	Neighbours  []string `json:"neighborhood_prompts"`
	Attributes  []string `json:"attribute_prompts"`  // never held; readers expect the key
	Generations []string `json:"generation_prompts"` // likewise

	Alias       string       `json:"alternative_subject,omitempty"`
	Portability *newQuestion `json:"portability,omitempty"`
	Distracting []string     `json:"distracting_neighborhood_prompts,omitempty"`
	Unrelated   *relation    `json:"unrelated_relation,omitempty"`
}

func writeCounterFact(d *draft) any {
	e := d.edit
	switch {
	case e.GroundTruth == "":
		d.refused = "without an old object"
	case e.Subject == "":
		d.refused = "without a subject"
	case e.SubjectStart < 0:
		d.refused = "whose subject does not stand in the prompt"
	case strings.ContainsAny(e.Prompt[:e.SubjectStart]+e.Prompt[e.SubjectEnd:], "{}"):
		d.refused = "with braces in the prompt"
	}
	if d.refused != "" {
		return nil
	}
	d.names(e.SubjectAliases, e.ObjectTrueAliases, e.ObjectNewAliases)
	before, after := e.Prompt[:e.SubjectStart], e.Prompt[e.SubjectEnd:]
	old := func(p dataset.Probe) bool { return p.Answers[0] == e.GroundTruth }
	out := counterFact{
		Case: cmp.Or(caseID(e.SourceCase), any(d.index)), // readers expect the key
		Rewrite: rewrite{
			Prompt: before + "{}" + after, Relation: e.RelationID, Subject: e.Subject,
			New: named{e.Target, e.ObjectNewID}, True: named{e.GroundTruth, e.ObjectTrueID},
		},
		Paraphrases: prompts(d.take(dataset.AxisGeneralization, every, nil)),
		Neighbours:  prompts(d.take(dataset.AxisNeighbourhood, every, old)),
		Distracting: prompts(d.take(dataset.AxisDistractNeighbourhood, every, old)),
		Attributes:  []string{}, Generations: []string{},
		Portability: d.newQuestion(),
	}
	for _, p := range d.take(dataset.AxisSubjectReplace, 1, func(p dataset.Probe) bool {
		return p.SubjectText != "" && p.Answers[0] == e.Target && p.Prompt == before+p.SubjectText+after
	}) {
		out.Alias = p.SubjectText
	}
	for _, p := range d.take(dataset.AxisOtherRelations, 1, nil) {
		out.Unrelated = &relation{p.Prompt, d.only(p)}
	}
	return out
}

func prompts(probes []dataset.Probe) []string {
	out := make([]string, len(probes))
	for i, p := range probes {
		out[i] = p.Prompt
	}
	return out
}

// newQuestion is the one-hop question of the survey's files.
func (d *draft) newQuestion() *newQuestion {
	for _, p := range d.take(dataset.AxisOneHop, 1, nil) {
		return &newQuestion{p.Prompt, d.only(p)}
	}
	return nil
}

type zsRE struct {
	Subject  string   `json:"subject,omitempty"`
	Source   string   `json:"src"`
	Rephrase string   `json:"rephrase,omitempty"`
	Alt      string   `json:"alt"`
	Answers  []string `json:"answers"`
	Loc      string   `json:"loc,omitempty"`
	LocAns   string   `json:"loc_ans,omitempty"`

	Alias       string       `json:"alternative_subject,omitempty"`
	AliasAsked  string       `json:"alter_subject_question,omitempty"`
	Inverse     string       `json:"inverse question,omitempty"`
	Portability *newQuestion `json:"portability,omitempty"`
}

func writeZsRE(d *draft) any {
	e := d.edit
	d.names(e.SubjectAliases, e.ObjectNewAliases)
	if e.Subject == "" {
		d.refused = "without a subject" // its readers want one
		return nil
	}
	out := zsRE{
		Subject: e.Subject, Source: e.Prompt, Rephrase: d.rephrase(), Alt: e.Target, Answers: append([]string{}, truths(e)...), Portability: d.newQuestion(),
	}
	for _, p := range d.take(dataset.AxisOtherTasks, 1, nil) {
		out.Loc, out.LocAns = p.Prompt, d.only(p)
	}
	for _, p := range d.take(dataset.AxisSubjectReplace, 1, func(p dataset.Probe) bool { return p.Answers[0] == e.Target }) {
		out.Alias, out.AliasAsked = p.SubjectText, p.Prompt
	}
	for _, p := range d.take(dataset.AxisReversedRelation, 1, func(p dataset.Probe) bool { return p.Answers[0] == e.Subject }) {
		out.Inverse = p.Prompt
	}
	return out
}
