package generator

import (
	"fmt"
	"slices"
	"strings"

	"editpipe/dataset"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// mostPast is how many past values of one edit are asked about.
const mostPast = 2

// timeSlice asks for the value at a day, of relations whose value changes: the
// present one is the edit's, past ones must stay. In mode update the old object
// is the value at the earlier day.
func (g *part) timeSlice(c *change) {
	if !c.rel.Temporal || g.base.AsOf == kb.EndOfTime() {
		return
	}
	t, ok := g.statement(c, dataset.AxisTimeSlice)
	if !ok {
		return
	}
	present := g.base.AsOf
	if g.o.Mode == dataset.Update {
		present = g.o.Later
		g.pastValue(c, t, g.base.AsOf, c.fact)
	}
	p := g.atDay(c, t, present, "present")
	g.towardsNew(c, &p)
	g.emit(c, p)
	made := 0
	for _, st := range slices.Backward(c.s.Claims.Of(c.rel.ID)) {
		// A year in the middle of a stated span, in which nothing else held.
		year := (st.Start.Year + st.End.Year) / 2
		if made == mostPast || !st.HasValue || st.Start.Year <= 0 || year <= st.Start.Year || year >= st.End.Year || year >= g.base.AsOf.Year {
			continue
		}
		first, _ := single(c.s, c.rel.ID, kb.Date{Year: year, Month: 1, Day: 1})
		last, _ := single(c.s, c.rel.ID, kb.Date{Year: year, Month: 12, Day: 31})
		if first.Value != st.Value || last.Value != st.Value || !first.HasValue {
			g.reject(string(c.ID), string(dataset.AxisTimeSlice), RejectManyObjects, fmt.Sprint(year))
			continue
		}
		if g.pastValue(c, t, kb.Date{Year: year, Month: 7, Day: 1}, st) {
			made++
		}
	}
}

// pastValue asks for the value of a past day.
func (g *part) pastValue(c *change, t catalogue.Template, day kb.Date, st kb.Statement) bool {
	reject := func(reason, detail string) bool {
		g.reject(string(c.ID), string(dataset.AxisTimeSlice), reason, detail)
		return false
	}
	p := g.atDay(c, t, day, "past")
	p.AnswerMode, p.Answers, p.Contrast = dataset.Single, g.base.ValueNames(st.Value), c.Target
	p.Hops, p.NeedsFacts = []dataset.Hop{g.hop(c.s, st, false)}, []string{kb.FactID(c.s.ID, st)}
	switch {
	case len(p.Answers) == 0:
		return reject(RejectNoLabel, st.Value.ID)
	case tooLong(p.Answers[0]):
		return reject(RejectTooLongLabel, p.Answers[0])
	case slices.ContainsFunc(p.Answers, func(a string) bool { return kb.SameAsAny(a, c.n.Names()) }):
		return reject(RejectObjectAlreadyTrue, p.Answers[0])
	case kb.MentionsAny(p.Prompt, p.Answers):
		return reject(RejectAnswerInPrompt, p.Prompt)
	case kb.Leaks(p.Answers[0], c.s.Names()):
		return reject(RejectSubstringLeak, p.Prompt)
	}
	g.emit(c, p)
	return true
}

// atDay asks the edit's fact as of a day.
func (g *part) atDay(c *change, t catalogue.Template, day kb.Date, variant string) dataset.Probe {
	text, start, end := inSentence("As of "+spelled(day)+", ", t, c.Subject)
	return dataset.Probe{Axis: dataset.AxisTimeSlice, Variant: variant, Prompt: text, Format: dataset.Cloze,
		SubjectText: c.Subject, SubjectStart: int32(start), SubjectEnd: int32(end), TemplateIDs: []string{templateID(c.rel.ID, t)}}
}

// spelled writes a day as in "1 July 1998".
func spelled(d kb.Date) string {
	months := strings.Fields("January February March April May June July August September October November December")
	return fmt.Sprintf("%d %s %d", max(d.Day, 1), months[max(d.Month, 1)-1], d.Year)
}
