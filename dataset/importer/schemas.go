package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"editpipe/dataset"
)

// readCounterFact reads a record of the original CounterFact (Meng et al. 2022,
// "Locating and Editing Factual Associations in GPT", section 3.4).
func readCounterFact(d *draft) {
	rw := d.object("requested_rewrite")
	template, subject := rw.required("prompt"), rw.required("subject")
	neu, old := rw.object("target_new"), rw.object("target_true")
	target, truth := neu.required("str"), old.required("str")
	d.edit.Source = "counterfact"
	d.edit.ObjectNewID, d.edit.ObjectTrueID = neu.text("id"), old.text("id")
	d.edit.RelationID = rw.text("relation_id")

	before, after, found := strings.Cut(template, "{}")
	if strings.Contains(after, "{}") {
		rw.fail("prompt", errors.New("more than one {}"))
	}
	if found {
		before, subject = strings.TrimLeft(before, " \t\n"), d.trim("subject", subject)
		d.begin(before+subject+after, subject, target, []string{truth})
		d.edit.SubjectStart = int32(len(before)) // exact, also where the subject occurs twice
		d.edit.SubjectEnd = d.edit.SubjectStart + int32(len(subject))
	} else {
		d.warn(CodeNoPlaceholder, "prompt %q", template)
		d.begin(template, subject, target, []string{truth})
	}
	d.rephrase(d.texts("paraphrase_prompts"))
	for _, p := range d.texts("neighborhood_prompts") {
		d.ask(dataset.AxisNeighbourhood, "near", p, answer{spellings: []string{d.edit.GroundTruth}, mode: dataset.Single}, d.edit.Target)
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

// readFlat reads a record of CounterFact as flattened for EasyEdit.
func readFlat(d *draft) {
	prompt, subject, target := d.required("prompt"), d.required("subject"), d.required("target_new")
	d.edit.Source = "counterfact"
	d.begin(prompt, subject, target, []string{d.required("ground_truth")})
	d.rephrase(d.texts("rephrase_prompt"))
	d.flatLocality()
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
// answers[0], the true answer, instead. The locality question is kept as it
// stands, "nq question: " included, as MEND and EasyEdit do; ROME appends "?".
func readZsRE(d *draft) {
	prompt, subject, target := d.required("src"), d.required("subject"), d.required("alt")
	d.edit.Source = "zsre"
	d.begin(prompt, subject, target, d.texts("answers"))
	d.rephrase(d.texts("rephrase"))
	if d.has("loc") {
		want, err := parseAnswer(orNull(d.m["loc_ans"]))
		if err != nil {
			d.fail("loc_ans", err)
		}
		loc := d.text("loc")
		n := len(d.probes)
		d.ask(dataset.AxisOtherTasks, "nq", loc, want, "")
		if len(d.probes) > n {
			d.probes[n].Format = dataset.Question // also without a question mark
		}
	}
	d.finish()
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
	d.flatLocality()
	d.finish()
}

// readGrouped reads the edit and the probes grouped by kind, in a fixed order.
func (d *draft) readGrouped() {
	prompt, subject, target := d.required("prompt"), d.required("subject"), d.required("target_new")
	truth, err := parseAnswer(orNull(d.m["ground_truth"]))
	if err != nil {
		d.fail("ground_truth", err)
	}
	known := truth.spellings
	for _, set := range truth.sets {
		known = append(known, set...)
	}
	d.begin(prompt, subject, target, known)
	for _, name := range []string{"rephrase_prompt", "rephrase"} {
		d.rephrase(d.texts(name))
	}
	for _, family := range []string{"portability", "locality"} {
		if !d.has(family) {
			continue
		}
		var groups map[string]json.RawMessage
		if err := json.Unmarshal(d.m[family], &groups); err != nil {
			d.fail(family, fmt.Errorf("want an object of named groups, have %s", kindOf(d.m[family])))
			return
		}
		for _, name := range slices.Sorted(maps.Keys(groups)) {
			d.askKind(name, family+"."+name, groups[name])
		}
	}
}
