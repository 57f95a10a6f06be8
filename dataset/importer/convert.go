package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"editpipe/dataset"
)

// Codes of findings in a Report.
const (
	CodeRecord          = "record_error"          // the record was left out
	CodeSubjectMissing  = "subject_not_in_prompt" // methods that need the subject's tokens cannot make this edit
	CodeTargetIsTruth   = "target_is_truth"       // the new object is the old one: the edit asks for no change
	CodeTrimmed         = "trimmed"               // white space around a text was removed
	CodeDuplicateID     = "duplicate_id"          // the file gives one id to several records; the index was appended
	CodeProbeDropped    = "probe_dropped"         // a probe without text, answer or known kind was left out
	CodeDuplicateProbe  = "duplicate_probe"       // the record asks the same thing twice on one axis; both are kept, as peers average over both
	CodeRephraseIsEdit  = "rephrase_is_prompt"    // a paraphrase repeats the edit prompt word for word
	CodeNoPlaceholder   = "no_placeholder"        // the prompt has no {}: it was taken as it stands
	CodeChoicesRepeated = "choices_repeated"      // two choices are equal
)

// draft is one record in the making.
type draft struct {
	fields
	index    int
	name     string   // the record's name in its file, where it has one
	part     string   // tells the edits of one case apart; empty where a case is one edit
	also     []*draft // the other edits of the case
	o        Options
	edit     dataset.Edit
	probes   []dataset.Probe
	findings []Finding
	skipped  map[string]int
}

// sibling starts another edit of the same case.
func (d *draft) sibling() *draft {
	s := &draft{fields: d.fields, index: d.index, name: d.name, o: d.o, skipped: map[string]int{}}
	d.also = append(d.also, s)
	return s
}

func (d *draft) warn(code, format string, args ...any) {
	d.findings = append(d.findings, Finding{Index: d.index, Code: code, Text: fmt.Sprintf(format, args...)})
}

// trim is strings.TrimSpace, reported where it changes something.
func (d *draft) trim(name, s string) string {
	t := strings.TrimSpace(s)
	if t != s {
		d.warn(CodeTrimmed, "%s %q", name, s)
	}
	return t
}

// begin fills what every format has. Prompt, subject and target are required.
func (d *draft) begin(prompt, subject, target string, truth []string) {
	e := &d.edit
	e.Set, e.Split, e.Licence = d.o.Set, d.o.Split, d.o.Licence
	if e.SourceCase = d.id("case_id"); e.SourceCase == "" {
		e.SourceCase = d.name
	}
	e.Prompt, e.Subject, e.Target = d.trim("prompt", prompt), d.trim("subject", subject), d.trim("target", target)
	e.SubjectStart, e.SubjectEnd = find(e.Prompt, e.Subject)
	if truth = trimAll(truth); len(truth) > 0 {
		e.GroundTruth, e.ObjectTrueAliases = truth[0], truth[1:]
	}
	e.Mode = dataset.Counterfactual
	if formatOf(e.Prompt) == dataset.Question {
		e.PromptQuestion = e.Prompt
	} else {
		e.PromptCloze = e.Prompt
	}
	for _, t := range truth {
		if t == e.Target {
			d.warn(CodeTargetIsTruth, "target %q is the ground truth already", e.Target)
		}
	}
}

// beginTemplate is begin with a prompt in which {} stands for the subject; name
// is the template's field in at. A template without {} is taken as it stands.
func (d *draft) beginTemplate(at fields, name, template, subject, target string, truth []string) {
	before, after, found := strings.Cut(template, "{}")
	if strings.Contains(after, "{}") {
		at.fail(name, errors.New("more than one {}"))
	}
	if !found {
		d.begin(template, subject, target, truth)
		return
	}
	before, subject = strings.TrimLeft(before, " \t\n"), d.trim("subject", subject)
	d.begin(before+subject+after, subject, target, truth)
	d.edit.SubjectStart = int32(len(before)) // exact, also where the subject occurs twice
	d.edit.SubjectEnd = d.edit.SubjectStart + int32(len(subject))
}

// finish adds what follows from the edit alone: the template and the
// reliability probe, which is put first.
func (d *draft) finish() {
	if d.fault.err != nil {
		return // the record is left out
	}
	e := &d.edit
	if e.SubjectStart >= 0 {
		e.PromptTemplate = e.Prompt[:e.SubjectStart] + "{s}" + e.Prompt[e.SubjectEnd:]
	} else {
		d.warn(CodeSubjectMissing, "subject %q does not occur in prompt %q", e.Subject, e.Prompt)
	}
	d.ask(dataset.AxisReliability, "", e.Prompt, d.target(), e.GroundTruth)
	last := len(d.probes) - 1
	first := d.probes[last]
	first.SubjectStart, first.SubjectEnd = e.SubjectStart, e.SubjectEnd
	d.probes = append([]dataset.Probe{first}, d.probes[:last]...)
}

// target is the answer to every question for the new object.
func (d *draft) target() answer {
	return answer{spellings: append([]string{d.edit.Target}, d.edit.ObjectNewAliases...), mode: dataset.Single}
}

// rephrase adds paraphrases of the edit prompt.
func (d *draft) rephrase(prompts []string) {
	for _, p := range prompts {
		if strings.TrimSpace(p) == d.edit.Prompt {
			d.warn(CodeRephraseIsEdit, "%q", d.edit.Prompt)
		}
		d.ask(dataset.AxisGeneralization, "", p, d.target(), d.edit.GroundTruth)
	}
}

// ask adds a probe and returns it, for changes before the next one is added; nil
// if it was left out. A contrast equal to the answer says nothing and is left out.
func (d *draft) ask(axis dataset.Axis, variant, prompt string, want answer, contrast string) *dataset.Probe {
	prompt = d.trim(string(axis)+" prompt", prompt)
	if prompt == "" || len(want.spellings) == 0 {
		d.warn(CodeProbeDropped, "%s probe without prompt or answer", axis)
		d.skipped[string(axis)+" without prompt or answer"]++
		return nil
	}
	for _, p := range d.probes {
		if p.Axis == axis && p.Prompt == prompt && p.Answers[0] == want.spellings[0] {
			d.warn(CodeDuplicateProbe, "%s probe %q", axis, prompt)
			break
		}
	}
	p := dataset.Probe{
		Family: axis.Family(), Axis: axis, Variant: variant,
		Prompt: prompt, Format: formatOf(prompt), AnswerMode: want.mode,
		Answers: want.spellings, AnswerSets: want.sets, ChoiceLabel: -1,
		SubjectStart: -1, SubjectEnd: -1, Phrasing: "imported",
	}
	if contrast != want.spellings[0] {
		p.Contrast = contrast
	}
	if start, end := find(prompt, d.edit.Subject); start >= 0 {
		p.SubjectText, p.SubjectStart, p.SubjectEnd = d.edit.Subject, start, end
	}
	switch axis {
	case dataset.AxisReliability, dataset.AxisGeneralization, dataset.AxisSubjectReplace:
		if d.edit.GroundTruth != "" && p.Contrast == d.edit.GroundTruth {
			p.AnswersBefore = append([]string{d.edit.GroundTruth}, d.edit.ObjectTrueAliases...)
		}
	case dataset.AxisDistractNeighbourhood:
		p.Distractor = distractor(prompt, d.edit)
	}
	d.probes = append(d.probes, p)
	return &d.probes[len(d.probes)-1]
}

// askAlias asks the edit's question with another name of the subject.
func (d *draft) askAlias(prompt, alias string) {
	p := d.ask(dataset.AxisSubjectReplace, "alias", prompt, d.target(), d.contrast(dataset.AxisSubjectReplace))
	if p == nil {
		return
	}
	if start, end := find(p.Prompt, alias); start >= 0 {
		p.SubjectText, p.SubjectStart, p.SubjectEnd = alias, start, end
	}
}

// distractor is the edit statement in front of a distracting prompt, up to the
// white space before the prompt proper; empty if the prompt does not start so.
func distractor(prompt string, e dataset.Edit) string {
	statement := e.Prompt + " " + e.Target
	rest, ok := strings.CutPrefix(prompt, statement)
	if !ok {
		return ""
	}
	if r, size := utf8.DecodeRuneInString(rest); size > 0 && unicode.IsPunct(r) {
		statement += rest[:size]
	}
	return statement
}

// unnamedLocality adds a locality question that the file gives no kind. One
// whose answer is the edit's old object asks a neighbour of the edited fact
// (CounterFact's construction); any other one counts as unrelated.
func (d *draft) unnamedLocality(prompt string, want answer) {
	if len(want.spellings) > 0 && want.spellings[0] == d.edit.GroundTruth {
		d.ask(dataset.AxisNeighbourhood, "near", prompt, want, d.edit.Target)
	} else {
		d.ask(dataset.AxisOtherTasks, "unrelated", prompt, want, "")
	}
}

// number gives the record and its probes their ids.
func (d *draft) number(id dataset.EditID) dataset.Record {
	d.edit.ID = id
	counts := map[dataset.Axis]int{}
	for i := range d.probes {
		p := &d.probes[i]
		p.EditID = id
		p.ID = dataset.ProbeID(fmt.Sprintf("%s-%s-%d", id, p.Axis, counts[p.Axis]))
		counts[p.Axis]++
	}
	for i := range d.findings {
		d.findings[i].Edit = id
	}
	return dataset.Record{Edit: d.edit, Probes: d.probes}
}

// find locates a subject in a prompt: its first occurrence as whole words, else
// its first occurrence; -1, -1 if it does not occur.
func find(prompt, subject string) (start, end int32) {
	if subject == "" {
		return -1, -1
	}
	first := strings.Index(prompt, subject)
	if first < 0 {
		return -1, -1
	}
	for at := first; ; {
		before, _ := utf8.DecodeLastRuneInString(prompt[:at])
		after, _ := utf8.DecodeRuneInString(prompt[at+len(subject):])
		if !wordRune(before) && !wordRune(after) {
			first = at
			break
		}
		next := strings.Index(prompt[at+1:], subject)
		if next < 0 {
			break
		}
		at += 1 + next
	}
	return int32(first), int32(first + len(subject))
}

func wordRune(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r))
}

func formatOf(prompt string) dataset.Format {
	if strings.HasSuffix(prompt, "?") {
		return dataset.Question
	}
	return dataset.Cloze
}

// kind is an axis of ours with a word of the file for it.
type kind struct {
	axis    dataset.Axis
	variant string
}

// kindNamed knows the names used by KnowEdit (Zhang et al. 2024) and by EasyEdit.
// KnowEdit's Logical_Generalization is mostly, but not only, the reversed
// relation, and its Reasoning may take more than one hop: the variant keeps the
// file's own word.
func kindNamed(name string) (kind, bool) {
	switch name {
	case "Subject_Aliasing":
		return kind{dataset.AxisSubjectReplace, "alias"}, true
	case "Reasoning":
		return kind{dataset.AxisOneHop, "reasoning"}, true
	case "Logical_Generalization":
		return kind{dataset.AxisReversedRelation, "logical_generalization"}, true
	case "Relation_Specificity":
		return kind{dataset.AxisOtherRelations, "relation_specificity"}, true
	case "Forgetfulness":
		return kind{dataset.AxisOtherRelations, "forgetfulness"}, true
	case "subject_replace":
		return kind{dataset.AxisSubjectReplace, "alias"}, true
	case "reversed_relation":
		return kind{dataset.AxisReversedRelation, ""}, true
	case "one_hop":
		return kind{dataset.AxisOneHop, ""}, true
	case "other_relations":
		return kind{dataset.AxisOtherRelations, ""}, true
	case "neighborhood", "neighbourhood":
		return kind{dataset.AxisNeighbourhood, ""}, true
	case "distract_neighborhood", "distract_neighbourhood", "distracting_neighborhood":
		return kind{dataset.AxisDistractNeighbourhood, ""}, true
	case "other_tasks":
		return kind{dataset.AxisOtherTasks, ""}, true
	}
	return kind{}, false
}

// askKind adds the probes of one named group.
func (d *draft) askKind(name, path string, raw json.RawMessage) {
	k, ok := kindNamed(name)
	if !ok {
		d.warn(CodeProbeDropped, "%s is no known kind of probe", path)
		d.skipped["unknown kind "+path]++
		return
	}
	items, err := parseGroup(raw)
	if err != nil {
		d.fail(path, err)
		return
	}
	for _, it := range items {
		d.ask(k.axis, k.variant, it.prompt, it.want, d.contrast(k.axis))
	}
}

// contrast is what the right answer to a question of an axis must beat.
func (d *draft) contrast(axis dataset.Axis) string {
	switch axis {
	case dataset.AxisSubjectReplace: // the edit's own question
		return d.edit.GroundTruth
	case dataset.AxisNeighbourhood, dataset.AxisDistractNeighbourhood: // the new object must not spill over
		return d.edit.Target
	}
	return ""
}

// item is one question of a group.
type item struct {
	prompt string
	want   answer
}

// parseGroup reads a group of questions in either of two shapes: a list of
// objects {prompt, ground_truth} (KnowEdit), or one object whose prompt and
// ground_truth are both strings or lists of equal length (EasyEdit).
func parseGroup(raw json.RawMessage) ([]item, error) {
	type pair struct {
		Prompt json.RawMessage `json:"prompt"`
		Truth  json.RawMessage `json:"ground_truth"`
	}
	one := func(prompt, truth json.RawMessage) (item, error) {
		var it item
		if kindOf(prompt) != "a string" {
			return it, fmt.Errorf("prompt: want a string, have %s", kindOf(prompt))
		}
		if err := json.Unmarshal(prompt, &it.prompt); err != nil {
			return it, err
		}
		want, err := parseAnswer(truth)
		if err != nil {
			return it, fmt.Errorf("ground_truth: %w", err)
		}
		it.want = want
		return it, nil
	}
	switch kindOf(raw) {
	case "null":
		return nil, nil
	case "a list":
		var list []pair
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, fmt.Errorf("want a list of objects with prompt and ground_truth: %w", err)
		}
		out := make([]item, len(list))
		for i, p := range list {
			it, err := one(p.Prompt, orNull(p.Truth))
			if err != nil {
				return nil, fmt.Errorf("entry %d: %w", i, err)
			}
			out[i] = it
		}
		return out, nil
	case "an object":
		var p pair
		if err := json.Unmarshal(raw, &p); err != nil {
			return nil, err
		}
		if p.Prompt == nil && p.Truth == nil { // {} is an empty group
			return nil, nil
		}
		if kindOf(p.Prompt) != "a list" {
			it, err := one(p.Prompt, orNull(p.Truth))
			return []item{it}, err
		}
		var prompts, truths []json.RawMessage
		if err := json.Unmarshal(p.Prompt, &prompts); err != nil {
			return nil, err
		}
		if kindOf(p.Truth) != "a list" {
			return nil, fmt.Errorf("prompt is a list but ground_truth is %s", kindOf(p.Truth))
		}
		if err := json.Unmarshal(p.Truth, &truths); err != nil {
			return nil, err
		}
		if len(prompts) != len(truths) {
			return nil, fmt.Errorf("%d prompts but %d ground truths", len(prompts), len(truths))
		}
		out := make([]item, len(prompts))
		for i := range prompts {
			it, err := one(prompts[i], truths[i])
			if err != nil {
				return nil, fmt.Errorf("entry %d: %w", i, err)
			}
			out[i] = it
		}
		return out, nil
	}
	return nil, fmt.Errorf("want an object or a list of objects with prompt and ground_truth, have %s", kindOf(raw))
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}
