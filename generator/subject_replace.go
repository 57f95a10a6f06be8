package generator

import (
	"fmt"
	"slices"

	"editpipe/dataset"
	"editpipe/generator/kb"
)

// dominance is how many times as many sitelinks the subject needs as the next
// bearer of an alias for the alias to count as its own.
const dominance = 20

// subjectReplace asks the edit prompt's own template with an alias of the
// subject, so that nothing but the name differs. An alias that contains the
// label, or is contained in it, leaves the edited subject's tokens in the
// prompt: one such alias is asked apart.
func (g *generation) subjectReplace(c *change) {
	kept := []string{kb.Normalise(c.s.Label)}
	made, overlap := 0, 0
	for _, alias := range g.shuffled(c.s.Aliases, "alias|"+string(c.ID)) {
		reject := func(reason string) {
			g.reject(string(c.ID), string(dataset.AxisSubjectReplace), reason, alias)
		}
		n := kb.Normalise(alias)
		if slices.Contains(kept, n) {
			reject(RejectAliasSame)
			continue
		}
		if reason := aliasForm(alias); reason != "" {
			reject(reason)
			continue
		}
		if tooLong(alias) {
			reject(RejectTooLongLabel)
			continue
		}
		unique, dominant := g.owns(c.s, n)
		if !unique && !dominant {
			reject(RejectAliasAmbiguous)
			continue
		}
		if leaks(c.o.Label, []string{alias}) || leaks(c.n.Label, []string{alias}) {
			reject(RejectSubstringLeak)
			continue
		}
		flags := []string{c.s.AliasKind(alias)}
		variant := "alias"
		if dominant {
			flags = append(flags, FlagAliasDominant)
		}
		if mentions(alias, c.s.Label) || mentions(c.s.Label, alias) {
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
		if mentionsAny(text, slices.Concat(p.Answers, p.AnswersBefore)) {
			reject(RejectAnswerInPrompt)
			continue
		}
		g.emit(c, p)
	}
}

// owns tells whether a normalised name belongs to the entity alone, or mostly:
// it then has dominance times the sitelinks of every other bearer, and no class
// in common with it.
func (g *generation) owns(e *kb.Entity, name string) (unique, dominant bool) {
	unique, dominant = true, true
	for _, id := range g.base.Bearers(name) {
		if id == e.ID {
			continue
		}
		unique = false
		other := g.base.Entity(id)
		shared := slices.ContainsFunc(g.base.Classes(other), func(c string) bool { return slices.Contains(g.base.Classes(e), c) })
		if shared || e.Sitelinks < dominance*max(other.Sitelinks, 1) {
			dominant = false
		}
	}
	return unique, dominant && !unique
}
