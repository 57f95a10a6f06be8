package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"editpipe/dataset"
	"editpipe/dataset/importer/rows"
)

// ripple is what a RippleEdits file says beside its records (Cohen et al. 2023,
// "Evaluating the Ripple Effects of Knowledge Editing in Language Models",
// section 4). An edit of it gives its subject and its object by id, and by name
// only inside one sentence, so that names are gathered from the answers and the
// wording of all records first: what the sentences of the new and the old fact begin
// with is the edit's prompt, and what the prompts of a relation have in common is
// its wording.
type ripple struct {
	names  map[string][]string // label and aliases by entity id
	frames map[string]*frame   // by relation
}

// frame is what all prompts of a relation have in common: the text before and
// behind the subject.
type frame struct{ before, behind string }

// rippleTest is one test of a record; the tags are the file's keys.
type rippleTest struct {
	Queries    []rippleQuery `json:"test_queries"`
	Condition  string        `json:"test_condition"` // OR, AND: of several queries
	Conditions []rippleQuery `json:"condition_queries"`
}

type rippleQuery struct {
	Prompt  string `json:"prompt"`
	Answers []struct {
		Value   string   `json:"value"`
		Aliases []string `json:"aliases"`
	} `json:"answers"`
	Type     string          `json:"query_type"` // regular, two_hop
	Subject  json.RawMessage `json:"subject_id"` // an id, or a list of ids
	Relation string          `json:"relation"`
	Targets  json.RawMessage `json:"target_ids"` // ids, numbers or words
	Phrase   *string         `json:"phrase"`     // the prompt, where it is not the relation's own wording

	SecondRelation string          `json:"second_relation"` // two_hop only: a fact of the target
	SecondTargets  json.RawMessage `json:"second_hop_target_ids"`
}

// rippleKinds are the groups of a record in the order in which they are read.
// The first is spelled in two ways.
var rippleKinds = []string{
	"Relation_Specificity", "Relation_Specifity", "Logical_Generalization", "Subject_Aliasing",
	"Compositionality_I", "Compositionality_II", "Forgetfulness",
}

// surveyRipple reads a file for its names and wording. Records that cannot be
// read are passed over: reading them again reports them.
func surveyRipple(path string, o Options) (func(*draft), error) {
	r := &ripple{names: map[string][]string{}, frames: map[string]*frame{}}
	var edits []ripplePair
	for row, err := range rowsOf(path, o, rows.JSON) {
		if err != nil {
			break
		}
		f, err := newFields(row.Raw)
		if err != nil {
			continue
		}
		for _, kind := range rippleKinds {
			for _, test := range f.rippleTests(kind) {
				for _, q := range slices.Concat(test.Queries, test.Conditions) {
					r.learn(q, kind == "Subject_Aliasing")
				}
			}
		}
		if f.has("edit") {
			edits = append(edits, pairOf(f.object("edit")))
		}
	}
	r.learnEdits(edits)
	return r.read, nil
}

// ripplePair is the sentences of a new and an old fact, without full stops. The old
// one is empty where the file gives none.
type ripplePair struct {
	relation, newID, oldID string
	new, old               string
	prompt                 string // what they begin with, in whole words
}

func pairOf(e fields) ripplePair {
	old := oldFact(e)
	p := ripplePair{
		relation: e.text("relation"), newID: e.id("target_id"), oldID: old.id("target_id"),
		new: strings.TrimSuffix(e.text("prompt"), "."), old: strings.TrimSuffix(old.text("prompt"), "."),
	}
	shared := commonPrefix(p.new, p.old)
	p.prompt = shared[:max(0, strings.LastIndex(shared, " "))]
	return p
}

// oldFact is the fact that an edit replaces; without fields where there is none.
func oldFact(e fields) fields {
	for _, name := range []string{"original_fact", "previous_fact"} {
		if e.has(name) {
			return e.object(name)
		}
	}
	return fields{fault: e.fault}
}

// learnEdits takes wording, and names that stand in no answer, from the edits.
func (r *ripple) learnEdits(edits []ripplePair) {
	last := map[string]map[string]int{} // relation -> last word of its prompts -> how often
	for _, e := range edits {
		if e.prompt != "" {
			if last[e.relation] == nil {
				last[e.relation] = map[string]int{}
				if f := r.frames[e.relation]; f != nil && f.before != f.behind {
					last[e.relation][lastWord(f.behind)]++
				}
			}
			last[e.relation][lastWord(e.prompt)]++
		}
	}
	for _, e := range edits {
		// Objects that begin with the same word (New York, New Jersey) look like a part
		// of the prompt: it ends as the others of its relation do.
		end, most := "", 0
		for _, word := range slices.Sorted(maps.Keys(last[e.relation])) {
			if n := last[e.relation][word]; n > most {
				end, most = word, n
			}
		}
		if at := strings.LastIndex(e.prompt+" ", " "+end+" "); e.prompt != "" && at >= 0 {
			e.prompt = e.prompt[:at+len(" "+end)]
			r.widen(e.relation, e.prompt)
			for id, sentence := range map[string]string{e.newID: e.new, e.oldID: e.old} {
				if name := strings.TrimSpace(sentence[len(e.prompt):]); id != "" && name != "" && r.names[id] == nil {
					r.names[id] = []string{name}
				}
			}
		}
	}
}

func lastWord(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndex(text, " ")+1:]
}

// widen makes the wording of a relation fit one more of its prompts.
func (r *ripple) widen(relation, prompt string) {
	if f := r.frames[relation]; f == nil {
		r.frames[relation] = &frame{prompt, prompt}
	} else {
		f.before, f.behind = commonPrefix(f.before, prompt), commonSuffix(f.behind, prompt)
	}
}

func (f fields) rippleTests(kind string) []rippleTest {
	var tests []rippleTest
	if f.has(kind) {
		if err := json.Unmarshal(f.m[kind], &tests); err != nil {
			f.fail(kind, fmt.Errorf("want a list of tests: %w", err))
		}
	}
	return tests
}

// learn takes names and wording from a query. Prompts with an alias are in the
// relation's own wording too, although the file gives them a phrase.
func (r *ripple) learn(q rippleQuery, alias bool) {
	if ids := idsOf(q.answered()); len(ids) == len(q.Answers) {
		for i, a := range q.Answers {
			if names := trimAll(append([]string{a.Value}, a.Aliases...)); len(names) > 0 && r.names[ids[i]] == nil {
				r.names[ids[i]] = names
			}
		}
	}
	if q.Type == "two_hop" || q.Phrase != nil && !alias {
		return
	}
	r.widen(q.Relation, q.Prompt)
}

// answered is the ids of what the answers name.
func (q rippleQuery) answered() json.RawMessage {
	if q.Type == "two_hop" {
		return q.SecondTargets
	}
	return q.Targets
}

// idsOf reads one id or number, or a list of them, as texts.
func idsOf(raw json.RawMessage) []string {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		var out []string
		for _, e := range list {
			out = append(out, idsOf(e)...)
		}
		return out
	}
	var s string
	if json.Unmarshal(raw, &s) == nil && s != "" {
		return []string{s}
	}
	if len(raw) > 0 && kindOf(raw) == "a number" {
		return []string{string(raw)}
	}
	return nil
}

func commonPrefix(a, b string) string {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return a[:n]
}

func commonSuffix(a, b string) string {
	n := 0
	for n < min(len(a), len(b)) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return a[len(a)-n:]
}

// fixed is the wording around the subject, in whole words; false where one prompt
// is all that is known. Words that are written large next to the subject belong to
// it: all films of a file may be called Film.
func (f *frame) fixed() (before, behind string, ok bool) {
	if f == nil || f.before == f.behind {
		return "", "", false
	}
	before = f.before[:strings.LastIndex(f.before, " ")+1]
	for {
		words := strings.TrimSuffix(before, " ")
		at := strings.LastIndex(words, " ") + 1
		if at == 0 || !large(words[at:]) {
			break
		}
		before = before[:at]
	}
	if at := strings.Index(f.behind, " "); at >= 0 {
		behind = f.behind[at:]
	}
	for large(strings.TrimPrefix(behind, " ")) {
		at := strings.Index(behind[1:], " ")
		if at < 0 {
			return before, "", true
		}
		behind = behind[1+at:]
	}
	return before, behind, true
}

// large says whether a text begins with a capital letter or a digit.
func large(text string) bool {
	r, _ := utf8.DecodeRuneInString(text)
	return unicode.IsUpper(r) || unicode.IsTitle(r) || unicode.IsDigit(r)
}

// subject is what stands in a prompt of the relation between its fixed words;
// empty where the file does not show which words are fixed.
func (f *frame) subject(prompt string) string {
	before, behind, ok := f.fixed()
	if !ok || len(before)+len(behind) >= len(prompt) || !strings.HasPrefix(prompt, before) || !strings.HasSuffix(prompt, behind) {
		return ""
	}
	return strings.TrimSpace(prompt[len(before) : len(prompt)-len(behind)])
}

func (r *ripple) read(d *draft) {
	e := d.object("edit")
	d.edit.Source = "ripple"
	sentence, relation := e.required("prompt"), e.text("relation")
	d.edit.RelationID, d.edit.RelationLabel = relation, strings.ToLower(strings.ReplaceAll(relation, "_", " "))
	d.edit.SubjectID, d.edit.ObjectNewID = e.id("subject_id"), e.id("target_id")
	old := oldFact(e)
	d.edit.ObjectTrueID = old.id("target_id")
	groups := map[string][]rippleTest{}
	for _, kind := range rippleKinds {
		groups[kind] = d.rippleTests(kind)
	}
	prompt, target := r.split(sentence, d.edit.ObjectNewID, old.text("prompt"), d.edit.ObjectTrueID, relation, r.subjectOf(d.edit.SubjectID, sentence, groups))
	subject := r.subjectOf(d.edit.SubjectID, prompt, groups)
	if subject == "" {
		subject = r.frames[relation].subject(prompt)
	}
	if d.fault.err == nil && (target == "" || subject == "") {
		e.fail("prompt", errors.New("nothing in the file shows where subject and new object stand in it"))
		return
	}
	var truth []string
	if was, ok := strings.CutPrefix(old.text("prompt"), prompt+" "); ok {
		truth = append([]string{strings.TrimSuffix(was, ".")}, r.names[d.edit.ObjectTrueID]...)
	}
	d.edit.SubjectAliases = others(r.names[d.edit.SubjectID], subject)
	d.edit.ObjectNewAliases = others(r.names[d.edit.ObjectNewID], target)
	d.begin(prompt, subject, target, truth)
	if example := d.text("example_type"); strings.HasPrefix(example, "recent") {
		d.edit.Mode = dataset.Update
	}
	for _, kind := range rippleKinds {
		for _, test := range groups[kind] {
			r.ask(d, kind, test)
		}
	}
	d.finish()
}

// subjectOf finds the name under which an entity stands in a text: its label, or
// what most prompts about it show as the subject. One relation alone may mislead:
// words that all its subjects share look fixed, and one prompt in another wording
// makes fixed words look like the subject's.
func (r *ripple) subjectOf(id, text string, groups map[string][]rippleTest) string {
	if names := r.names[id]; len(names) > 0 && strings.Contains(text, names[0]) {
		return names[0]
	}
	votes := map[string]int{}
	for kind, tests := range groups {
		if kind == "Subject_Aliasing" {
			continue // they hold another name
		}
		for _, test := range tests {
			for _, q := range test.Queries {
				if q.Type == "two_hop" || q.Phrase != nil || !slices.Equal(idsOf(q.Subject), []string{id}) {
					continue
				}
				if s := r.frames[q.Relation].subject(q.Prompt); s != "" && strings.Contains(text, s) {
					votes[s]++
				}
			}
		}
	}
	best := ""
	for _, s := range slices.Sorted(maps.Keys(votes)) {
		if votes[s] > votes[best] || votes[s] == votes[best] && len(s) > len(best) {
			best = s
		}
	}
	return best
}

// split cuts the edit's sentence into prompt and new object: by the object's
// label, else by the prompt of the old fact, else by the relation's wording.
func (r *ripple) split(sentence, newID, oldSentence, oldID, relation, subject string) (prompt, target string) {
	sentence, oldSentence = strings.TrimSuffix(sentence, "."), strings.TrimSuffix(oldSentence, ".")
	if names := r.names[newID]; len(names) > 0 {
		if prompt, ok := strings.CutSuffix(sentence, " "+names[0]); ok {
			return prompt, names[0]
		}
	}
	if names := r.names[oldID]; len(names) > 0 {
		if prompt, ok := strings.CutSuffix(oldSentence, " "+names[0]); ok {
			if target, ok := strings.CutPrefix(sentence, prompt+" "); ok {
				return prompt, target
			}
		}
	}
	before, behind, ok := r.frames[relation].fixed()
	if !ok || behind == "" {
		return "", ""
	}
	if at := strings.Index(sentence, subject); subject != "" && at >= 0 {
		head := sentence[:at+len(subject)]
		if target, ok := strings.CutPrefix(sentence[len(head):], behind+" "); ok {
			return head + behind, target
		}
	}
	rest, ok := strings.CutPrefix(sentence, before)
	if name, target, found := strings.Cut(rest, behind+" "); ok && found && name != "" && !strings.Contains(" "+target, behind+" ") {
		return before + name + behind, target
	}
	return "", "" // the words stand there twice: either may be the wording
}

// others is names without one of them.
func others(names []string, but string) []string {
	var out []string
	for _, n := range names {
		if n != but {
			out = append(out, n)
		}
	}
	return out
}

// ask adds a probe for each query of a test. What the model must know for it
// (condition_queries) becomes NeedsFacts.
func (r *ripple) ask(d *draft, kind string, test rippleTest) {
	var needs []string
	for _, c := range test.Conditions {
		needs = append(needs, strings.Join([]string{strings.Join(idsOf(c.Subject), ","), c.Relation, strings.Join(idsOf(c.Targets), ",")}, "|"))
	}
	for _, q := range test.Queries {
		var sets [][]string
		for _, a := range q.Answers {
			sets = append(sets, append([]string{a.Value}, a.Aliases...))
		}
		axis, variant := d.rippleAxis(kind, q)
		p := d.ask(axis, variant, q.Prompt, severalAnswers(sets), d.contrast(axis))
		if p == nil {
			continue
		}
		p.Hops, p.NeedsFacts = d.rippleHops(q), needs
		if axis == dataset.AxisSubjectReplace {
			if alias := r.frames[q.Relation].subject(q.Prompt); alias != "" {
				mention(p, alias)
			}
		}
		if len(test.Queries) > 1 {
			p.Flags = []string{"test_" + strings.ToLower(test.Condition)} // which of them count together
		}
	}
}

// rippleAxis maps a group. Logical generalization is the reversed relation only
// where the new object is asked for the subject; else it follows from the new
// object in one step, as compositionality does.
func (d *draft) rippleAxis(kind string, q rippleQuery) (axis dataset.Axis, variant string) {
	variant = strings.ToLower(kind)
	switch kind {
	case "Subject_Aliasing":
		return dataset.AxisSubjectReplace, "alias"
	case "Logical_Generalization":
		if slices.Contains(idsOf(q.Subject), d.edit.ObjectNewID) && slices.Equal(idsOf(q.Targets), []string{d.edit.SubjectID}) {
			return dataset.AxisReversedRelation, variant
		}
		return dataset.AxisOneHop, variant
	case "Compositionality_I", "Compositionality_II":
		return dataset.AxisOneHop, variant
	case "Relation_Specifity":
		variant = "relation_specificity"
	}
	return dataset.AxisOtherRelations, variant
}

func (d *draft) rippleHops(q rippleQuery) []dataset.Hop {
	subjects, targets, ends := idsOf(q.Subject), idsOf(q.Targets), idsOf(q.SecondTargets)
	if len(subjects) != 1 || len(targets) != 1 {
		return nil
	}
	hop := func(subject, relation, object string) dataset.Hop {
		return dataset.Hop{SubjectID: subject, PropertyID: relation, ObjectID: object,
			Edited: subject == d.edit.SubjectID && relation == d.edit.RelationID && object == d.edit.ObjectNewID}
	}
	hops := []dataset.Hop{hop(subjects[0], q.Relation, targets[0])}
	if q.Type == "two_hop" && len(ends) == 1 {
		hops = append(hops, hop(targets[0], q.SecondRelation, ends[0]))
	}
	return hops
}
