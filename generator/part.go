package generator

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"editpipe/dataset"
)

// together is how many edits' parts are built before they are handed out, which
// bounds what is held in memory.
const together = 512

// part is what is made of one edit: its probes and rejects, in their order. It
// is built by one goroutine and reads the generation only.
type part struct {
	*generation
	prompts map[string]bool
	probes  []dataset.Probe
	rejects []Reject
}

// parts builds the parts of the edits on all processors. A part depends on its
// edit and on what was chosen, never on another part.
func (g *generation) parts(list []*change) []*part {
	out := make([]*part, len(list))
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(list)) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(list)); i = next.Add(1) - 1 {
				out[i] = g.build(list[i])
			}
		})
	}
	all.Wait()
	return out
}

// build makes the probes of one edit, in report order of the sets.
func (g *generation) build(c *change) *part {
	p := &part{generation: g, prompts: map[string]bool{}}
	if c.follows != "" {
		p.followUp(c)
		return p
	}
	for _, b := range []struct {
		axis  dataset.Axis
		build func(*change)
	}{
		{dataset.AxisReliability, p.reliability},
		{dataset.AxisGeneralization, p.generalization},
		{dataset.AxisSubjectReplace, p.subjectReplace},
		{dataset.AxisReversedRelation, p.reversedRelation},
		{dataset.AxisOneHop, p.oneHop},
		{dataset.AxisOtherRelations, p.otherRelations},
		{dataset.AxisNeighbourhood, p.neighbourhood},
		{dataset.AxisDistractNeighbourhood, p.distract},
		{dataset.AxisOtherTasks, p.otherTasks},
		{dataset.AxisBeliefYesNo, p.beliefYesNo},
		{dataset.AxisNegation, p.negation},
		{dataset.AxisMultipleChoice, p.multipleChoice},
		{dataset.AxisTimeSlice, p.timeSlice},
	} {
		if slices.Contains(g.o.Sets, b.axis) {
			b.build(c)
		}
	}
	return p
}

// take counts an edit with its part and hands them to the sink.
func (g *generation) take(ctx context.Context, c *change, p *part) {
	if g.err == nil {
		g.err = g.sink.Edit(c.Edit)
	}
	if c.follows == "" {
		g.counts.Edits++
	} else {
		g.counts.FollowUps++
	}
	for _, r := range p.rejects {
		g.reject(r.EditCandidate, r.Axis, r.Reason, r.Detail)
	}
	for _, q := range p.probes {
		g.handOut(q)
		g.phrase(ctx, c, p, q)
	}
}

func (g *generation) handOut(q dataset.Probe) {
	g.counts.Probes[q.Axis]++
	if q.Variant != "" {
		g.counts.Variants[string(q.Axis)+"/"+q.Variant]++
	}
	if g.err == nil {
		g.err = g.sink.Probe(q)
	}
}

func (g *part) reject(candidate, axis, reason, detail string) {
	g.rejects = append(g.rejects, Reject{candidate, axis, reason, detail})
}

// emit completes the probe and keeps it, once per prompt and edit.
func (g *part) emit(c *change, p dataset.Probe) {
	if g.prompts[p.Prompt] {
		g.reject(string(c.ID), string(p.Axis), RejectDuplicatePrompt, p.Prompt)
		return
	}
	g.prompts[p.Prompt] = true
	p.ID = dataset.ProbeID(fmt.Sprintf("%s/%s/%016x", c.ID, p.Axis, g.hash(p.Variant, p.Prompt)))
	p.EditID, p.Family, p.Phrasing = c.ID, p.Axis.Family(), "template"
	if p.Format != dataset.Choice {
		p.ChoiceLabel = -1
	}
	g.probes = append(g.probes, p)
}
