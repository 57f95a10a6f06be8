// Package generator builds data sets of knowledge edits from a knowledge base:
// the edits, and the probes that measure reliability, generalization,
// portability and locality. The facts come from a knowledge base (package kb),
// the wordings and rules from its catalogue of relations (package catalogue);
// the result is rows. No file is opened.
//
// Every choice is a hash of the seed and of what is chosen from, so the same
// knowledge base, catalogue and seed give the same rows, whatever the order of
// maps or the number of processors. How each set is built is described in
// docs/generator.md.
package generator

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"editpipe/dataset"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// ErrNoEdits is returned when no fact of the knowledge base can be edited with
// the catalogue.
var ErrNoEdits = errors.New("generator: no fact can be edited: the knowledge base has no usable fact of the catalogue's relations")

// Options say what is generated.
type Options struct {
	N         int            // edits wanted, not counting follow-ups; > 0
	Seed      int64          // every choice depends on it
	Sets      []dataset.Axis // axes to build; nil for the headline's, dataset.Axes
	Mode      dataset.Mode   // Counterfactual by default
	Later     kb.Date        // Update only: the day at which the new value holds; the knowledge base's as-of date is the earlier day
	SetName   string         // dataset.Edit.Set
	Licence   string         // licence of the knowledge base
	Separator string         // between the edit statement and the neighbour's prompt; ". " by default
	Phraser   Phraser        // words questions anew, beside the templates'; nil for none
}

// Sink takes the rows in their order: an edit, its probes, and rejects as they
// occur. An error ends the generation and is returned.
type Sink struct {
	Edit   func(dataset.Edit) error
	Probe  func(dataset.Probe) error
	Reject func(Reject) error
}

// most is how many probes of a kind one edit gets.
const (
	mostClozes     = 2 // paraphrases that are statements
	mostQuestions  = 1 // paraphrases that are questions
	mostAliases    = 2
	mostHops       = 2
	mostOther      = 2
	mostNear       = 2
	mostFar        = 1
	mostDistracted = 2
)

// Generate builds up to o.N edits with their probes. Fewer come out where the
// knowledge base has fewer usable facts; Counts.Edits says how many. ErrNoEdits
// is returned for none.
func Generate(ctx context.Context, base *kb.Base, o Options, sink Sink) (Counts, error) {
	if o.N <= 0 {
		return Counts{}, fmt.Errorf("generator: number of edits is %d; ask for at least 1", o.N)
	}
	if o.Mode == "" {
		o.Mode = dataset.Counterfactual
	}
	if o.Mode == dataset.Update && !o.Later.After(base.AsOf) {
		return Counts{}, fmt.Errorf("generator: updates need a later day than the as-of date %s, not %s", base.AsOf, o.Later)
	}
	if o.Separator == "" {
		o.Separator = ". "
	}
	if o.Sets == nil {
		o.Sets = dataset.Axes()
	}
	for _, a := range o.Sets {
		if a.Family() == "" {
			return Counts{}, fmt.Errorf("generator: unknown set %q; the sets are %v", a, slices.Concat(dataset.Axes(), dataset.FurtherAxes()))
		}
	}
	g := &generation{base: base, o: o, sink: sink, seeded: mix(offset, strconv.FormatInt(o.Seed, 10)),
		changed: map[slot]string{}, onTopOf: map[slot]bool{}, edited: map[string][]*change{},
		counts: Counts{Probes: map[dataset.Axis]int{}, Variants: map[string]int{}, Rejects: map[string]int{}}}
	if o.Mode == dataset.Update {
		g.readLater()
	}
	changes := g.choose(ctx)
	if g.err == nil && ctx.Err() == nil && len(changes) == 0 {
		return g.counts, ErrNoEdits
	}
	// Follow-ups are chosen last, so that the edits are the same without them.
	for _, c := range changes {
		g.followUps(c)
	}
	for batch := range slices.Chunk(g.group(changes), together) {
		if g.err != nil || ctx.Err() != nil {
			break
		}
		for i, p := range g.parts(batch) {
			g.take(ctx, batch[i], p)
		}
	}
	return g.counts, cmp.Or(g.err, ctx.Err())
}

// slot is the place of a fact, whatever its object: what an edit changes.
type slot struct{ subject, property string }

// change is an edit with the entities behind it.
type change struct {
	dataset.Edit
	rel      *catalogue.Relation
	s, o, n  *kb.Entity // subject, true object, new object
	fact     kb.Statement
	template catalogue.Template
	inverse  string // property of the opposite direction, or empty
	free     bool   // the new object has no partner in this relation
	clash    bool   // new and true object begin with the same word
	slots    []slot // facts that hold no longer, or only now
	near     []neighbour
	far      []neighbour
	found    bool // near and far are filled in

	follows  dataset.Axis // of an edit on top of another: the axis it is asked on
	shares   bool         // the new object may be that of another edit
	followed []*change    // edits on top of this one, in their order
}

// generation is the state of one Generate. It changes only while edits are
// chosen and where rows are handed out; in between, the parts of several edits
// are built side by side. The first error of the sink stays in err and silences
// the rest.
type generation struct {
	base    *kb.Base
	o       Options
	sink    Sink
	seeded  uint64 // hash state behind the seed
	counts  Counts
	err     error
	changed map[slot]string      // fact slot -> edit that changes it, follow-ups aside
	onTopOf map[slot]bool        // fact slots that follow-ups change
	edited  map[string][]*change // subject -> its edits

	laterSubjects map[slot][]string // object and property -> subjects at the later day of an update
}

// reject hands out the reject of a candidate.
func (g *generation) reject(candidate, axis, reason, detail string) {
	g.counts.Rejects[axis+"/"+reason]++
	if g.err == nil {
		g.err = g.sink.Reject(Reject{candidate, axis, reason, detail})
	}
}

func templateID(property string, t catalogue.Template) string { return property + "/" + t.ID }

// single returns the one statement that holds on the day, or a reject reason.
func single(e *kb.Entity, property string, day kb.Date) (kb.Statement, string) {
	list := e.Current(property, day)
	switch {
	case len(list) == 1:
		return list[0], ""
	case len(list) > 1:
		return kb.Statement{}, RejectManyObjects
	}
	reason := RejectNoValue
	for _, st := range e.Claims.Of(property) {
		switch {
		case !st.HasValue:
		case st.Rank == kb.Deprecated:
			if reason == RejectNoValue {
				reason = RejectDeprecatedRank
			}
		default:
			reason = RejectNotCurrent
		}
	}
	return kb.Statement{}, reason
}

// single returns the one statement of a fact that a probe builds on, or a reject
// reason. Of an update the fact must hold at the later day, too.
func (g *generation) single(e *kb.Entity, property string) (kb.Statement, string) {
	st, reason := single(e, property, g.base.AsOf)
	if reason == "" && g.o.Mode == dataset.Update {
		if later, gone := single(e, property, g.o.Later); gone != "" || later.Value != st.Value {
			return kb.Statement{}, RejectNotCurrent
		}
	}
	return st, reason
}

// claimed is true where an edit or a follow-up changes the fact, and c minds.
func (g *generation) claimed(c *change, sl slot) bool {
	return !c.shares && (g.changed[sl] != "" || g.onTopOf[sl])
}

// disturbed returns the edit other than c that changes the fact, or "". Follow-ups
// do not count: probes must be the same with them and without.
func (g *generation) disturbed(c *change, subject, property string) string {
	if id := g.changed[slot{subject, property}]; id != "" && id != string(c.ID) {
		return id
	}
	for _, other := range g.edited[subject] {
		if other != c && g.base.Catalogue.Blocked(other.rel.ID)[property] {
			return string(other.ID)
		}
	}
	return ""
}

// hop writes one fact as a link of a probe's chain.
func (g *generation) hop(subject *kb.Entity, st kb.Statement, edited bool) dataset.Hop {
	text := st.Value.Text
	if names := g.base.ValueNames(st.Value); len(names) > 0 {
		text = names[0]
	}
	label := st.Property
	if r := g.base.Catalogue.Relation(st.Property); r != nil {
		label = r.Label
	}
	return dataset.Hop{SubjectID: subject.ID, PropertyID: st.Property, ObjectID: st.Value.ID,
		Text: strings.Join([]string{subject.Label, label, text}, " | "), Edited: edited}
}

// editedHop is the fact that the edit states.
func (g *generation) editedHop(c *change) dataset.Hop {
	return g.hop(c.s, kb.Statement{Property: c.rel.ID, Value: kb.Value{Kind: catalogue.Item, ID: c.n.ID}}, true)
}

func editID(set string, parts ...string) dataset.EditID {
	h := fnv.New128a()
	h.Write([]byte(set + "|" + strings.Join(parts, "|")))
	return dataset.EditID(hex.EncodeToString(h.Sum(nil)[:8]))
}
