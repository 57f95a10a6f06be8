package importer

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"editpipe/dataset"
)

// FlagNeedsCase marks a question that is answered only after every edit of its
// case (those with the same source_case) was made. It is set apart: an edit that
// is made alone cannot be expected to answer it.
const FlagNeedsCase = "needs_case"

// readMQuAKE reads a record of MQuAKE (Zhong et al. 2023, "MQuAKE: Assessing
// Knowledge Editing in Language Models via Multi-Hop Questions", section 3). A
// record is a case of one to four edits, which become an edit each; its
// multi-hop questions belong to the last one, so that they come after all edits
// of the case in every setting.
func readMQuAKE(d *draft) {
	rewrites := d.objects("requested_rewrite")
	if len(rewrites) == 0 {
		d.fail("requested_rewrite", ErrMissing)
	}
	chain, before := d.objects("new_single_hops"), d.objects("single_hops")
	var asked []string // the questions of the edits themselves
	last := d
	for i, rw := range rewrites {
		if i > 0 {
			last = d.sibling()
		}
		last.part = strconv.Itoa(i)
		last.edit.Source = "mquake"
		question := rw.text("question")
		asked = append(asked, question)
		last.rewrite(rw, aliasesOf(before, question))
		last.edit.ObjectNewAliases = aliasesOf(chain, question)
		if question != "" {
			last.rephrase([]string{question})
			last.edit.PromptQuestion = question
		}
		if d.has("answer_extended") { // only the set of updates has it
			last.edit.Mode = dataset.Update
		}
	}
	hops, relations := d.triples()
	parts := append([]*draft{d}, d.also...)
	for i, hop := range hops {
		for _, part := range parts {
			if e := &part.edit; hop.Edited && hop.PropertyID == e.RelationID && hop.ObjectID == e.ObjectNewID && e.SubjectID == "" {
				e.SubjectID, e.RelationLabel = hop.SubjectID, relations[i]
				break
			}
		}
	}
	last.askMultiHop(fmt.Sprintf("%d_hop", len(chain)), hops, len(rewrites) > 1)

	// What an unedited hop asks belongs to another fact than the edit's, and the
	// hops before the edit say what the model should have known: no axis asks either.
	unedited := 0
	for _, hop := range chain {
		if !slices.Contains(asked, hop.text("question")) {
			unedited++
		}
	}
	for what, n := range map[string]int{"new_single_hops that no edit changes": unedited, "single_hops before the edit": len(before)} {
		if n > 0 {
			d.skipped[what] += n
		}
	}
	for _, part := range parts {
		part.finish()
	}
}

// aliasesOf gives the other names of the answer to a hop's question.
func aliasesOf(hops []fields, question string) []string {
	for _, hop := range hops {
		if hop.text("question") == question {
			return trimAll(hop.texts("answer_alias"))
		}
	}
	return nil
}

// askMultiHop adds the questions about the end of the chain.
func (d *draft) askMultiHop(variant string, hops []dataset.Hop, needsCase bool) {
	want := oneAnswer(append([]string{d.required("new_answer")}, d.texts("new_answer_alias")...)...)
	before := trimAll(slices.Concat([]string{d.text("answer")}, d.texts("answer_alias"), d.texts("answer_extended")))
	contrast := ""
	if len(before) > 0 {
		contrast = before[0]
	}
	for _, q := range d.texts("questions") {
		p := d.ask(dataset.AxisOneHop, variant, q, want, contrast)
		if p == nil {
			continue
		}
		p.AnswersBefore, p.Hops = before, hops
		if needsCase {
			p.Flags = []string{FlagNeedsCase, dataset.FlagApart}
		}
	}
}

// triples reads the chain of facts after the edits, and its relations in words.
func (d *draft) triples() (hops []dataset.Hop, relations []string) {
	if !d.has("orig") {
		return nil, nil
	}
	orig := d.object("orig")
	labels := orig.lists("new_triples_labeled") //nolint:misspell // the file's key
	ids, edited := orig.lists("new_triples"), orig.lists("edit_triples")
	for i, id := range ids {
		if len(id) != 3 || i < len(labels) && len(labels[i]) != 3 {
			orig.fail(fmt.Sprintf("new_triples[%d]", i), errors.New("want subject, property and object"))
			return nil, nil
		}
		hop := dataset.Hop{SubjectID: id[0], PropertyID: id[1], ObjectID: id[2]}
		hop.Edited = slices.ContainsFunc(edited, func(e []string) bool { return slices.Equal(e, id) })
		relation := ""
		if i < len(labels) {
			hop.Text, relation = strings.Join(labels[i], " | "), labels[i][1]
		}
		hops, relations = append(hops, hop), append(relations, relation)
	}
	return hops, relations
}
