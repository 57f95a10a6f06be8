package importer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"editpipe/dataset"
)

// sameEntity is what UniEdit's authors put behind a question that has two chains
// meet, when they ask it.
const sameEntity = " The answer is (Yes/No):"

// readUniEdit reads a record of UniEdit (Chen et al. 2025, "UniEdit: A Unified
// Knowledge Editing Benchmark for Large Language Models"): an edit with one
// question whose answer it implies and one that it must leave alone, each a
// chain of one or more facts.
func readUniEdit(d *draft) {
	e := d.object("edit")
	d.edit.Source = "uniedit"
	d.begin(e.required("prompt"), e.required("subject"), e.required("target"), nil)
	d.edit.Mode = dataset.Update // its facts are true ones
	head, property, tail := e.object("head_entity"), e.object("property"), e.object("tail_entity")
	d.edit.SubjectID, d.edit.SubjectAliases = head.text("id"), trimAll(head.texts("aliases"))
	d.edit.RelationID, d.edit.RelationLabel = property.text("id"), property.text("label")
	if tail.text("datatype") == "wikibase-item" {
		item := tail.object("value")
		d.edit.ObjectNewID, d.edit.ObjectNewAliases = item.text("id"), trimAll(item.texts("aliases"))
	}
	for _, q := range d.members("generality") {
		d.askGenerality(q)
	}
	for _, q := range d.members("locality") {
		d.askLocality(q)
	}
	d.finish()
}

// members are the objects of an object, by sorted key.
func (f fields) members(name string) []fields {
	if !f.has(name) {
		return nil
	}
	all := f.object(name)
	var out []fields
	for _, key := range slices.Sorted(maps.Keys(all.m)) {
		out = append(out, all.object(key))
	}
	return out
}

// chain is what a question of UniEdit is made of.
type chain struct {
	facts  []fields   // one_hops of either direction
	paths  [][]string // how the question walks them, from its own start
	double bool       // two chains that meet
	hops   []dataset.Hop
}

func readChain(q fields) chain {
	c := chain{double: q.text("path_type") == "double"}
	sides := []fields{q}
	if c.double {
		sides = []fields{q.object("single_path1"), q.object("single_path2")}
	}
	for _, side := range sides {
		c.facts = append(c.facts, side.objects("one_hops")...)
		c.paths = append(c.paths, side.lists("paths")...)
	}
	for _, f := range c.facts {
		hop := dataset.Hop{Edited: isEdit(f), Text: f.text("subject") + " | " + f.object("property").text("label") + " | " + f.text("target")}
		hop.SubjectID, hop.PropertyID = f.object("head_entity").text("id"), f.object("property").text("id")
		if tail := f.object("tail_entity"); tail.text("datatype") == "wikibase-item" {
			hop.ObjectID = tail.object("value").text("id")
		}
		c.hops = append(c.hops, hop)
	}
	return c
}

// isEdit says whether a hop is the edited fact, from the head of the edit to its tail.
func isEdit(fact fields) bool {
	return slices.Equal(fact.texts("path"), []string{"h_e", "r_e", "t_e"})
}

// reversed says whether the question walks the edited fact backwards, and
// whether the new object then stands with more than one subject.
func (c chain) reversed() (back, many bool) {
	for _, p := range c.paths {
		if len(p) == 5 && slices.Equal(p[:4], []string{"t_e", "r_e", "h_e", "b"}) {
			return true, p[4] == "m"
		}
	}
	return false, false
}

func (d *draft) askGenerality(q fields) {
	c := readChain(q)
	prompt, want := q.text("prompt"), oneAnswer(q.text("target"))
	back, many := c.reversed()
	var p *dataset.Probe
	switch {
	case c.double:
		if p = d.ask(dataset.AxisOneHop, "same_entity", prompt+sameEntity, want, ""); p != nil {
			p.Flags = []string{dataset.FlagApart} // answered with yes or no
		}
	case len(c.paths) > 1:
		variant := fmt.Sprintf("%d_hop", len(c.paths))
		if back {
			variant += "_reversed"
		}
		p = d.ask(dataset.AxisOneHop, variant, prompt, want, "")
	case back && many:
		if p = d.ask(dataset.AxisReversedRelation, "many", prompt, want, ""); p != nil {
			p.Flags = []string{dataset.FlagApart} // one of several right answers
		}
	case back:
		p = d.ask(dataset.AxisReversedRelation, "", prompt, want, "")
	case len(c.paths) == 0:
		d.skipped["generality without paths"]++
	case c.alias() != "":
		if p = d.ask(dataset.AxisSubjectReplace, "alias", prompt, want, ""); p != nil {
			mention(p, c.alias())
		}
	default:
		p = d.ask(dataset.AxisGeneralization, "", prompt, want, "")
	}
	if p != nil {
		p.Hops = c.hops
	}
}

// alias is the name of the edit's subject in the question, if it is not its label.
func (c chain) alias() string {
	for _, f := range c.facts {
		if label := f.object("head_entity").text("label"); isEdit(f) && label != "" && f.text("subject") != label {
			return f.text("subject")
		}
	}
	return ""
}

// askLocality places a question by what it has in common with the edit: the
// subject (other relations; or another value of the edited one), the relation
// (other subjects), the new object, or nothing.
func (d *draft) askLocality(q fields) {
	c := readChain(q)
	prompt, from := q.text("prompt"), q.text("loc_type")
	axis, variant := dataset.AxisOtherTasks, strings.ReplaceAll(from, " ", "_")
	switch from {
	case "head of edit":
		axis = dataset.AxisOtherRelations
		for _, hop := range c.hops {
			if hop.SubjectID == d.edit.SubjectID && hop.PropertyID == d.edit.RelationID {
				variant = "forgetfulness"
			}
		}
	case "property of edit":
		axis = dataset.AxisNeighbourhood
	case "tail of edit":
	case "none":
		variant = "unrelated"
	default:
		q.fail("loc_type", fmt.Errorf("want none, head of edit, tail of edit or property of edit, have %q", from))
	}
	if len(c.paths) > 1 && !c.double {
		variant += fmt.Sprintf("_%d_hop", len(c.paths))
	}
	if c.double {
		variant, prompt = variant+"_same_entity", prompt+sameEntity
	}
	if p := d.ask(axis, variant, prompt, oneAnswer(q.text("target")), d.contrast(axis)); p != nil {
		p.Hops = c.hops
		if c.double {
			p.Flags = []string{dataset.FlagApart}
		}
	}
}
