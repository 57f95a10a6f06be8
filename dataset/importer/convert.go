package importer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"editpipe/dataset"
)

// Codes of findings in a Report.
const (
	CodeRecord          = "record_error"          // the record was left out
	CodeNoSubject       = "no_subject"            // the record names none: methods that need one cannot make this edit
	CodeSubjectMissing  = "subject_not_in_prompt" // methods that need the subject's tokens cannot make this edit
	CodeSubjectSpelling = "subject_spelling"      // the prompt spells the subject in another way, which became an alias
	CodeSubjectRepeated = "subject_repeated"      // the subject stands in the prompt more than once, and nothing says which is meant: the first was taken
	CodeBracesKept      = "braces_kept"           // the subject stands in the prompt, and {} is part of its name or of code: the prompt was taken as it stands
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
	groups   map[string]int // groups of questions of no known kind, by path
	slotted  bool           // {} in the prompt says where the subject stands
}

// sibling starts another edit of the same case.
func (d *draft) sibling() *draft {
	s := &draft{fields: d.fields, index: d.index, name: d.name, o: d.o, skipped: map[string]int{}, groups: map[string]int{}}
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

// begin fills what every format has. Prompt and target are required; a record
// without subject is for methods that need none.
func (d *draft) begin(prompt, subject, target string, truth []string) {
	e := &d.edit
	e.Set, e.Split, e.Licence = d.o.Set, d.o.Split, d.o.Licence
	if e.SourceCase = d.id("case_id"); e.SourceCase == "" {
		e.SourceCase = d.name
	}
	e.Prompt, e.Subject, e.Target = d.trim("prompt", prompt), d.trim("subject", subject), d.trim("target", target)
	m := dataset.FindName(e.Prompt, e.Subject)
	e.SubjectStart, e.SubjectEnd = m.Start, m.End
	if e.Subject == "" {
		d.warn(CodeNoSubject, "prompt %q", e.Prompt)
	}
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
	if !found {
		d.begin(template, subject, target, truth)
		return
	}
	if strings.Contains(after, "{}") {
		at.fail(name, errors.New("more than one {}"))
	}
	if strings.TrimSpace(subject) == "" {
		at.fail(name, errors.New("{} stands for the subject, and the record names none"))
	}
	d.slotted = true
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
	switch {
	case e.SubjectStart >= 0:
		before, here, after := e.Prompt[:e.SubjectStart], e.Prompt[e.SubjectStart:e.SubjectEnd], e.Prompt[e.SubjectEnd:]
		if here != e.Subject {
			d.warn(CodeSubjectSpelling, "subject %q stands in the prompt as %q", e.Subject, here)
			e.SubjectAliases = trimAll(append(slices.Clone(e.SubjectAliases), here))
		}
		if n := dataset.CountName(e.Prompt, e.Subject); n > 1 && !d.slotted {
			d.warn(CodeSubjectRepeated, "subject %q stands %d times in prompt %q: bytes %d to %d were taken", e.Subject, n, e.Prompt, e.SubjectStart, e.SubjectEnd)
		} else {
			e.PromptTemplate = before + "{s}" + after
		}
	case e.Subject != "":
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
	mention(&p, d.edit.Subject)
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
	mention(p, alias)
}

// mention marks where a name stands in a probe's prompt, if it does.
func mention(p *dataset.Probe, name string) {
	if m := dataset.FindName(p.Prompt, name); m.Found() {
		p.SubjectText, p.SubjectStart, p.SubjectEnd = p.Prompt[m.Start:m.End], m.Start, m.End
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

func formatOf(prompt string) dataset.Format {
	if strings.HasSuffix(prompt, "?") {
		return dataset.Question
	}
	return dataset.Cloze
}
