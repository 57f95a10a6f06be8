package pretrain

import (
	"fmt"
	"strings"

	"editpipe/demo/world"
	"editpipe/generator/catalogue"
)

// A Gate is a figure that the model is required to reach.
type Gate struct {
	What string
	Test Test
	Over float64 // the share must be above
}

// Gates are the requirements on the model's knowledge and on how it takes facts
// from its context.
func Gates() []Gate {
	return []Gate{
		{"wordings used with the subject", Trained, 0.97},
		{"wordings never used with that subject", Unseen, 0.95},
		{"aliases", Alias, 0.95},
		{"new fact in context, its own prompt (reserved edits)", IceCopy, 0.90},
		{"new fact in context, another wording (reserved edits)", IceReword, 0.90},
		{"new fact in context, unrelated question (reserved edits)", IceRetain, 0.90},
	}
}

func percent(s Score) string {
	if s.Of == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f", 100*s.Share())
}

// Tables writes scores as Markdown: against the gates, by test and form, and by
// relation.
func (f *Facts) Tables(s Scores) string {
	var b strings.Builder
	b.WriteString("### Requirements\n\n| what | required | measured, % | |\n|---|---|---|---|\n")
	for _, g := range Gates() {
		got, verdict := s[string(g.Test)], "met"
		if got.Share() <= g.Over {
			verdict = "missed"
		}
		fmt.Fprintf(&b, "| %s | > %.0f | %s | %s |\n", g.What, 100*g.Over, percent(got), verdict)
	}
	b.WriteString("\n### By kind of question\n\nRight answers in percent; the last columns are statements to complete, questions, and questions about a noun phrase.\n\n" +
		"| kind | questions | all | cloze | question | noun phrase |\n|---|---|---|---|---|---|\n")
	for _, t := range Tests() {
		of := func(form catalogue.Form) string { return percent(s[string(t)+"//"+string(form)]) }
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s |\n", t, s[string(t)].Of, percent(s[string(t)]), of(catalogue.Cloze), of(catalogue.Question), of(catalogue.NounPhrase))
	}
	b.WriteString("\n### New facts in context, by relation\n\nRight answers in percent, of edits of reserved subjects: of the relations that are reserved from methods, and of the others.\n\n| kind | reserved relations | others |\n|---|---|---|\n")
	for _, t := range Tests() {
		var reserved, others Score
		for _, r := range f.Base.Catalogue.Relations {
			to := &others
			if world.HeldRelation(r.ID) {
				to = &reserved
			}
			x := s[string(t)+"/"+r.ID]
			to.Right, to.Of = to.Right+x.Right, to.Of+x.Of
		}
		if strings.HasPrefix(string(t), "ice_") {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", t, percent(reserved), percent(others))
		}
	}
	b.WriteString("\n### By relation\n\nRight answers in percent. one_hop goes by the relation that leads to the entity asked about.\n\n| relation | | facts |")
	columns := []Test{Trained, Unseen, Reserved, Alias, Inverse, Hop}
	for _, t := range columns {
		fmt.Fprintf(&b, " %s |", t)
	}
	b.WriteString("\n|---|---|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, r := range f.Base.Catalogue.Relations {
		if len(f.byRelation[r.ID]) == 0 {
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %d |", r.ID, r.Label, len(f.byRelation[r.ID]))
		for _, t := range columns {
			fmt.Fprintf(&b, " %s |", percent(s[string(t)+"/"+r.ID]))
		}
		b.WriteString("\n")
	}
	return b.String()
}
