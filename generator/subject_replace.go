package generator

import (
	"fmt"
	"slices"

	"editpipe/dataset"
	"editpipe/generator/kb"
)

// subjectReplace asks the edit prompt's own template with an alias of the
// subject, so that nothing but the name differs. An alias that contains the
// label, or is contained in it, leaves the edited subject's tokens in the
// prompt: one such alias is asked apart.
func (g *part) subjectReplace(c *change) {
	kept := []string{kb.Normalise(c.s.Label)}
	made, overlap := 0, 0
	for alias := range g.shuffled(c.s.Aliases, "alias|"+string(c.ID)) {
		reject := func(reason string) {
			g.reject(string(c.ID), string(dataset.AxisSubjectReplace), reason, alias)
		}
		n := kb.Normalise(alias)
		if slices.Contains(kept, n) {
			reject(RejectAliasSame)
			continue
		}
		if reason := kb.AliasForm(alias); reason != "" {
			reject(reason)
			continue
		}
		if tooLong(alias) {
			reject(RejectTooLongLabel)
			continue
		}
		unique, dominant := g.base.Owns(c.s, n)
		if !unique && !dominant {
			reject(RejectAliasAmbiguous)
			continue
		}
		if kb.Leaks(c.o.Label, []string{alias}) || kb.Leaks(c.n.Label, []string{alias}) {
			reject(RejectSubstringLeak)
			continue
		}
		flags := []string{c.s.AliasKind(alias)}
		variant := "alias"
		if dominant {
			flags = append(flags, FlagAliasDominant)
		}
		if kb.Mentions(alias, c.s.Label) || kb.Mentions(c.s.Label, alias) {
			reject(RejectAliasOverlap)
			if overlap++; overlap > 1 {
				continue
			}
			variant = "alias_overlap"
			flags = append(flags, FlagAliasOverlap, dataset.FlagApart)
		} else if made++; made > mostAliases {
			break
		}
		kept = append(kept, n)
		text, start, end := render(c.template, "{s}", alias, false)
		p := dataset.Probe{Axis: dataset.AxisSubjectReplace, Variant: variant, Prompt: text, Format: dataset.Cloze,
			SubjectText: alias, SubjectStart: int32(start), SubjectEnd: int32(end), TemplateIDs: []string{c.TemplateID}, Flags: flags}
		g.towardsNew(c, &p)
		p.Hops = append([]dataset.Hop{{SubjectID: c.s.ID, Text: fmt.Sprintf("%s | also called | %s", c.s.Label, alias)}}, p.Hops...)
		if kb.MentionsAny(text, slices.Concat(p.Answers, p.AnswersBefore)) {
			reject(RejectAnswerInPrompt)
			continue
		}
		g.emit(c, p)
	}
}
