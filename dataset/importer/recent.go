package importer

import (
	"fmt"

	"editpipe/dataset"
)

// readQAEdit reads a record of QAEdit (Yang et al. 2025, "The Mirage of Model
// Editing: Revisiting Evaluation in the Wild"): a fact of a question-answering set
// with questions of Natural Questions that it must leave alone.
func readQAEdit(d *draft) {
	d.edit.Source, d.name = "qaedit", d.id("id")
	d.begin(d.required("prompt"), d.text("subject"), d.required("target"), d.texts("ground_truth"))
	d.rephrase(d.texts("rephrase"))
	for _, q := range d.objects("locality") {
		d.askNQ(q.text("loc"), q.answer("loc_ans"))
	}
	d.finish()
}

// readCKnowEdit reads a record of CKnowEdit (Fang et al. 2025, "CKnowEdit: A New
// Chinese Knowledge Editing Dataset for Linguistics, Facts, and Logic Error
// Correction in LLMs"). It names no subject; EasyEdit's reader takes the whole prompt
// for one, which no locating method can use.
func readCKnowEdit(d *draft) {
	d.edit.Source, d.name = "cknowedit", d.id("id")
	truth := d.answer("target_old")
	d.begin(d.required("prompt"), d.text("subject"), d.required("target_new"), truth.all())
	d.edit.Mode = dataset.Update // it corrects what models have wrong
	d.rephrase(d.texts("rephrase"))
	for _, family := range []struct {
		name string
		axis dataset.Axis
	}{{"portability", dataset.AxisOneHop}, {"locality", dataset.AxisOtherRelations}} {
		for _, q := range d.objects(family.name) {
			d.ask(family.axis, family.name, q.text("prompt"), q.answer("answer"), "")
		}
	}
	d.finish()
}

// readUnKE reads a record of UnKEBench (Deng et al. 2024, "Everything is Editable:
// Extend Knowledge Editing to Unstructured Data in Large Language Models"): a
// question whose new answer is a text, without subject, and questions on what the
// text says.
func readUnKE(d *draft) {
	d.edit.Source, d.name = "unke", d.id("id")
	d.begin(d.required("question"), d.text("subject"), d.required("answer"), nil)
	d.rephrase(d.texts("para_question"))
	questions, answers := d.texts("sub_question"), d.texts("sub_answer")
	if len(questions) != len(answers) {
		d.fail("sub_answer", fmt.Errorf("%d answers for %d questions", len(answers), len(questions)))
		return
	}
	for i, q := range questions {
		d.ask(dataset.AxisOneHop, "sub_question", q, oneAnswer(answers[i]), "")
	}
	d.finish()
}

// readWikiBigEdit reads a record of WikiBigEdit (Thede et al. 2025, "Understanding
// the Limits of Lifelong Knowledge Editing in LLMs"): a fact that changed between two
// states of Wikidata.
func readWikiBigEdit(d *draft) {
	d.edit.Source = "wikibigedit"
	d.begin(d.required("update"), d.text("subject"), d.required("ans"), d.texts("ground_truth"))
	d.edit.Mode = dataset.Update
	d.edit.RelationID = d.text("relation")
	d.edit.RelationLabel = d.edit.RelationID
	d.rephrase(d.texts("rephrase"))
	for _, q := range d.texts("personas") {
		d.ask(dataset.AxisGeneralization, "personas", q, d.target(), d.edit.GroundTruth)
	}
	if d.has("mhop") {
		d.ask(dataset.AxisOneHop, "mhop", d.text("mhop"), d.answer("mhop_ans"), "")
	}
	if d.has("loc") {
		d.unnamedLocality(d.text("loc"), d.answer("loc_ans"))
	}
	d.finish()
}
