package generator

import (
	"slices"

	"editpipe/dataset"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// towardsNew fills in what a probe has in common whose right answer changes
// from the true to the new object.
func (g *generation) towardsNew(c *change, p *dataset.Probe) {
	p.AnswerMode = dataset.Single
	p.Answers = c.n.Names()
	p.AnswersBefore = c.o.Names()
	p.Contrast = c.o.Label
	p.Hops = []dataset.Hop{g.editedHop(c)}
	if c.clash {
		p.Flags = append(p.Flags, FlagSharedWord)
	}
}

func format(f catalogue.Form) dataset.Format {
	if f == catalogue.Question {
		return dataset.Question
	}
	return dataset.Cloze
}

// reliability asks the edit prompt itself.
func (g *part) reliability(c *change) {
	p := dataset.Probe{Axis: dataset.AxisReliability, Prompt: c.Prompt, Format: dataset.Cloze,
		SubjectText: c.Subject, SubjectStart: c.SubjectStart, SubjectEnd: c.SubjectEnd, TemplateIDs: []string{c.TemplateID}}
	g.towardsNew(c, &p)
	g.emit(c, p)
}

// generalization asks the same fact in other wordings: statements, one of them
// of a reserved wording where there is one, and a question.
func (g *part) generalization(c *change) {
	clozes := slices.DeleteFunc(slices.Clone(c.rel.Cloze), func(t catalogue.Template) bool { return t.ID == c.template.ID })
	for _, pick := range []struct {
		form catalogue.Form
		list []catalogue.Template
		most int
	}{{catalogue.Cloze, clozes, mostClozes}, {catalogue.Question, c.rel.Question, mostQuestions}} {
		for _, t := range g.paraphrases(c, pick.list, pick.most) {
			text, start, end := render(t, "{s}", c.Subject, false)
			p := dataset.Probe{Axis: dataset.AxisGeneralization, Variant: string(pick.form), Prompt: text, Format: format(pick.form),
				SubjectText: c.Subject, SubjectStart: int32(start), SubjectEnd: int32(end), TemplateIDs: []string{templateID(c.rel.ID, t)}}
			if t.Reserved {
				p.Flags = append(p.Flags, FlagReserved)
			}
			g.towardsNew(c, &p)
			switch {
			case kb.MentionsAny(text, p.Answers):
				g.reject(string(c.ID), string(p.Axis), RejectTargetInPrompt, text)
			case kb.MentionsAny(text, p.AnswersBefore):
				g.reject(string(c.ID), string(p.Axis), RejectAnswerInPrompt, text)
			default:
				g.emit(c, p)
			}
		}
	}
}

// paraphrases picks up to most templates, the first of them reserved if one is.
func (g *generation) paraphrases(c *change, list []catalogue.Template, most int) []catalogue.Template {
	byText := map[string]catalogue.Template{}
	var reserved, others []string
	for _, t := range list {
		byText[t.Text] = t
		if t.Reserved {
			reserved = append(reserved, t.Text)
		} else {
			others = append(others, t.Text)
		}
	}
	reserved = slices.Collect(g.shuffled(reserved, "paraphrase|"+string(c.ID)))
	others = slices.Collect(g.shuffled(others, "paraphrase|"+string(c.ID)))
	var order []string
	if most > 1 && len(reserved) > 0 {
		order, reserved = append(order, reserved[0]), reserved[1:]
	}
	order = slices.AppendSeq(order, g.shuffled(slices.Concat(others, reserved), "rest|"+string(c.ID)))
	var out []catalogue.Template
	for _, text := range order[:min(most, len(order))] {
		out = append(out, byText[text])
	}
	return out
}
