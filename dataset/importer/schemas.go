package importer

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"editpipe/dataset"
)

// readCounterFact reads a record of the original CounterFact (Meng et al. 2022,
// "Locating and Editing Factual Associations in GPT", section 3.4), and of the
// files EasyEdit made of it for the survey's portability and locality sets.
func readCounterFact(d *draft) {
	d.edit.Source = "counterfact"
	template := d.rewrite(d.object("requested_rewrite"), nil)
	d.rephrase(d.texts("paraphrase_prompts"))
	old := oneAnswer(d.edit.GroundTruth)
	if alias := d.text("alternative_subject"); alias != "" {
		if before, after, ok := strings.Cut(template, "{}"); ok {
			d.askAlias(before+alias+after, alias)
		} else {
			d.skipped["alternative_subject of a prompt without {}"]++
		}
	}
	d.askNewQuestion()
	if d.has("unrelated_relation") {
		other := d.object("unrelated_relation")
		d.ask(dataset.AxisOtherRelations, "unrelated_relation", other.text("question"), oneAnswer(other.text("object")), "")
	}
	for _, p := range d.texts("neighborhood_prompts") {
		d.ask(dataset.AxisNeighbourhood, "near", p, old, d.edit.Target)
	}
	for _, p := range d.texts("distracting_neighborhood_prompts") {
		d.ask(dataset.AxisDistractNeighbourhood, "", p, old, d.edit.Target)
	}
	// Attribute prompts ask subjects that have the new object already, and
	// generation prompts have no answer: neither is scored by any of our axes.
	for _, name := range []string{"attribute_prompts", "generation_prompts"} {
		if n := len(d.texts(name)); n > 0 {
			d.skipped[name] += n
		}
	}
	d.finish()
}

// rewrite starts the edit with a requested_rewrite, as CounterFact and MQuAKE
// have it, and returns its template. known are other names of the old object.
func (d *draft) rewrite(rw fields, known []string) (template string) {
	template, subject := rw.required("prompt"), rw.required("subject")
	neu, old := rw.object("target_new"), rw.object("target_true")
	target, truth := neu.required("str"), old.required("str")
	d.edit.ObjectNewID, d.edit.ObjectTrueID = neu.text("id"), old.text("id")
	d.edit.RelationID = rw.text("relation_id")
	if !strings.Contains(template, "{}") {
		d.warn(CodeNoPlaceholder, "prompt %q", template)
	}
	d.beginTemplate(rw, "prompt", template, subject, target, append([]string{truth}, known...))
	return template
}

// askNewQuestion adds the one-hop question that GPT-4 wrote for the survey.
func (d *draft) askNewQuestion() {
	if !d.has("portability") {
		return
	}
	port := d.object("portability")
	if len(port.m) == 0 {
		return
	}
	p := d.ask(dataset.AxisOneHop, "", port.text("New Question"), oneAnswer(port.text("New Answer")), "")
	if relation := port.m["Recalled Relation"]; p != nil && kindOf(relation) == "a string" {
		p.Hops = []dataset.Hop{{Text: port.text("Recalled Relation")}}
	}
}

// readFlat reads a record of CounterFact as flattened for EasyEdit.
func readFlat(d *draft) {
	prompt, subject, target := d.required("prompt"), d.text("subject"), d.required("target_new")
	d.edit.Source = "counterfact"
	d.begin(prompt, subject, target, []string{d.required("ground_truth")})
	d.rephrase(d.texts("rephrase_prompt"))
	d.askGroups() // few records of such a file may have them
	d.flatLocality()
	d.askOthers()
	d.finish()
}

// flatLocality adds the one locality question that flat records carry at their
// top level. Where the file gives it no answer, the old object is meant.
func (d *draft) flatLocality() {
	prompts := d.texts("locality_prompt")
	if len(prompts) == 0 {
		return
	}
	truths := d.texts("locality_ground_truth")
	if len(truths) == 0 {
		for range prompts {
			truths = append(truths, d.edit.GroundTruth)
		}
	}
	if len(prompts) != len(truths) {
		d.fail("locality_ground_truth", fmt.Errorf("%d answers for %d locality prompts", len(truths), len(prompts)))
		return
	}
	for i, p := range prompts {
		want := answer{spellings: trimAll(truths[i : i+1]), mode: dataset.Single}
		asked := slices.ContainsFunc(d.probes, func(q dataset.Probe) bool {
			return q.Family == dataset.Locality && q.Prompt == strings.TrimSpace(p) && slices.Equal(q.Answers[:1], want.spellings)
		})
		if asked { // a named group has it too, which says more about it
			d.skipped["locality_prompt repeated in a named group"]++
			continue
		}
		d.unnamedLocality(p, want)
	}
}

// readZsRE reads a record of zsRE as MEND published it (Mitchell et al. 2022).
// The target is alt, as in MEND and EasyEdit; ROME's reader edits towards
// answers[0], the true answer, instead. The keys EasyEdit added for the survey's
// portability sets are read too. The locality question is kept as it
// stands, "nq question: " included, as MEND and EasyEdit do; ROME appends "?".
func readZsRE(d *draft) {
	prompt, subject, target := d.required("src"), d.text("subject"), d.required("alt")
	if d.edit.Source == "" { // readMzsRE knows better
		d.edit.Source = "zsre"
	}
	d.begin(prompt, subject, target, d.texts("answers"))
	d.rephrase(d.texts("rephrase"))
	if d.has("loc") {
		d.askNQ(d.text("loc"), d.answer("loc_ans"))
	}
	if question := d.text("alter_subject_question"); question != "" {
		d.askAlias(question, d.text("alternative_subject"))
	}
	if question := d.text("inverse question"); question != "" {
		d.ask(dataset.AxisReversedRelation, "", question, oneAnswer(d.edit.Subject), "")
	}
	d.askNewQuestion()
	d.finish()
}

// askNQ adds a question of Natural Questions, which is one also without a question
// mark.
func (d *draft) askNQ(prompt string, want answer) {
	if p := d.ask(dataset.AxisOtherTasks, "nq", prompt, want, ""); p != nil {
		p.Format = dataset.Question
	}
}

// readMzsRE makes a reader of records that hold one record of zsRE in each of
// several languages (Wang et al. 2024, "Retrieval-augmented Multilingual Knowledge
// Editing"); one language is read.
func readMzsRE(_ string, o Options) (func(*draft), error) {
	return func(d *draft) {
		language := o.Language
		if language == "" { // Open has seen to it that there is no choice
			language = languagesOf(d.fields)[0]
		}
		d.fields = d.object(language)
		d.edit.Source, d.part = "mzsre", language
		readZsRE(d)
	}, nil
}

// languagesOf lists the languages of a record of MzsRE; none for any other record.
func languagesOf(f fields) []string {
	for _, raw := range f.m {
		var one map[string]json.RawMessage
		if json.Unmarshal(raw, &one) != nil || one["src"] == nil || one["alt"] == nil {
			return nil
		}
	}
	return slices.Sorted(maps.Keys(f.m))
}

// checkLanguage says whether a language can be read of records with these fields.
func checkLanguage(format string, keys []string, language string) error {
	switch {
	case format != "mzsre" && language != "":
		return fmt.Errorf("%w: files of format %s have one only", ErrLanguage, format)
	case format != "mzsre" || language == "" && len(keys) == 1 || slices.Contains(keys, language):
		return nil
	case language == "":
		return fmt.Errorf("%w: the records are in %s: choose one", ErrLanguage, strings.Join(keys, ", "))
	}
	return fmt.Errorf("%w: no %q in the records; they are in %s", ErrLanguage, language, strings.Join(keys, ", "))
}

// readKnowEdit reads a record of KnowEdit: its ZsRE and its wiki_* files.
func readKnowEdit(d *draft) {
	d.edit.Source = "knowedit"
	d.readGrouped()
	if d.edit.GroundTruth == "" { // wiki_recent: a fact that came to be
		d.edit.Mode = dataset.Update
	}
	d.finish()
}

// readEasyEdit reads a record as EasyEdit takes it.
func readEasyEdit(d *draft) {
	d.edit.Source = "easyedit"
	d.readGrouped()
	d.edit.RelationID, d.edit.RelationLabel = d.text("relation"), d.text("relation")
	if cloze := d.text("cloze_prompt"); cloze != "" {
		d.edit.PromptCloze = d.trim("cloze_prompt", cloze)
	}
	d.finish()
}

// either is the name that a field has: its own, or the one that KnowEdit's WikiBio
// gives it.
func (d *draft) either(name, wikiBio string) string {
	if !d.has(name) && d.has(wikiBio) {
		return wikiBio
	}
	return name
}

// readGrouped reads the edit and its probes, grouped by kind or flat, in a fixed order.
func (d *draft) readGrouped() {
	prompt, subject, target := d.required(d.either("prompt", "text")), d.text(d.either("subject", "concept")), d.required(d.either("target_new", "labels"))
	truth := d.answer("ground_truth")
	d.begin(prompt, subject, target, truth.all())
	for _, name := range []string{"rephrase_prompt", "rephrase"} {
		d.rephrase(d.texts(name))
	}
	d.askGroups()
	d.flatLocality()
	d.askOthers()
}
