// Package generator builds data sets of knowledge edits from a knowledge base:
// the edits, and the probes that measure reliability, generalization,
// portability and locality. The facts come from a knowledge base (package kb),
// the wordings and rules from its catalogue of relations (package catalogue); what
// comes out is rows. No file is opened.
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
	N         int            // edits wanted; > 0
	Seed      int64          // every choice depends on it
	Sets      []dataset.Axis // axes to build; nil for all
	Mode      dataset.Mode   // Counterfactual by default
	Later     kb.Date        // Update only: the day at which the new value holds; the knowledge base's as-of date is the earlier day
	SetName   string         // dataset.Edit.Set
	Licence   string         // licence of the knowledge base
	Separator string         // between the edit statement and the neighbour's prompt; ". " by default
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

// scan bounds how many members of a class or property are looked at for one
// choice, so that a choice in a full dump takes milliseconds.
const scan = 4000

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
			return Counts{}, fmt.Errorf("generator: unknown set %q; the sets are %v", a, dataset.Axes())
		}
	}
	g := &generation{base: base, o: o, sink: sink, changed: map[slot]string{}, edited: map[string][]*change{},
		counts: Counts{Probes: map[dataset.Axis]int{}, Variants: map[string]int{}, Rejects: map[string]int{}}}
	changes := g.choose(ctx)
	if g.err == nil && ctx.Err() == nil && len(changes) == 0 {
		return g.counts, ErrNoEdits
	}
	g.group(changes)
	builders := []struct {
		axis  dataset.Axis
		build func(*change)
	}{
		{dataset.AxisReliability, g.reliability},
		{dataset.AxisGeneralization, g.generalization},
		{dataset.AxisSubjectReplace, g.subjectReplace},
		{dataset.AxisReversedRelation, g.reversedRelation},
		{dataset.AxisOneHop, g.oneHop},
		{dataset.AxisOtherRelations, g.otherRelations},
		{dataset.AxisNeighbourhood, g.neighbourhood},
		{dataset.AxisDistractNeighbourhood, g.distract},
		{dataset.AxisOtherTasks, g.otherTasks},
	}
	for _, c := range changes {
		if err := ctx.Err(); err != nil {
			return g.counts, err
		}
		if g.err == nil {
			g.err = sink.Edit(c.Edit)
		}
		g.counts.Edits++
		g.prompts = map[string]bool{}
		for _, b := range builders {
			if slices.Contains(o.Sets, b.axis) {
				b.build(c)
			}
		}
		if g.err != nil {
			return g.counts, g.err
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
}

// generation is the state of one Generate. The first error of the sink stays in
// err and silences the rest.
type generation struct {
	base    *kb.Base
	o       Options
	sink    Sink
	counts  Counts
	err     error
	changed map[slot]string      // fact slot -> edit that changes it
	edited  map[string][]*change // subject -> its edits
	prompts map[string]bool      // prompts of the edit at hand
}

func (g *generation) reject(candidate, axis, reason, detail string) {
	g.counts.Rejects[axis+"/"+reason]++
	if g.err == nil {
		g.err = g.sink.Reject(Reject{candidate, axis, reason, detail})
	}
}

// hash mixes the seed with the parts of a choice.
func (g *generation) hash(parts ...string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(strconv.FormatInt(g.o.Seed, 10)))
	for _, p := range parts {
		h.Write([]byte{0})
		h.Write([]byte(p))
	}
	z := h.Sum64() // FNV's high bits are weak on short input: finish as splitmix64 does
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// shuffled returns the ids in an order that depends on the seed and the key.
func (g *generation) shuffled(ids []string, key string) []string {
	type keyed struct {
		hash uint64
		id   string
	}
	list := make([]keyed, len(ids))
	for i, id := range ids {
		list[i] = keyed{g.hash(key, id), id}
	}
	slices.SortFunc(list, func(a, b keyed) int { return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.id, b.id)) })
	out := make([]string, len(list))
	for i, k := range list {
		out[i] = k.id
	}
	return out
}

// sample returns at most scan ids, a window whose place depends on the seed.
func (g *generation) sample(ids []string, key string) []string {
	if len(ids) <= scan {
		return ids
	}
	at := int(g.hash("window", key) % uint64(len(ids)))
	out := make([]string, scan)
	for i := range out {
		out[i] = ids[(at+i)%len(ids)]
	}
	return out
}

// pickTemplate returns one of the templates, or false where there is none.
func (g *generation) pickTemplate(list []catalogue.Template, key ...string) (catalogue.Template, bool) {
	if len(list) == 0 {
		return catalogue.Template{}, false
	}
	return list[g.hash(append(key, "template")...)%uint64(len(list))], true
}

func templateID(property string, t catalogue.Template) string { return property + "/" + t.ID }

// emit completes the probe and hands it to the sink, once per prompt and edit.
func (g *generation) emit(c *change, p dataset.Probe) {
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
	g.counts.Probes[p.Axis]++
	if p.Variant != "" {
		g.counts.Variants[string(p.Axis)+"/"+p.Variant]++
	}
	if g.err == nil {
		g.err = g.sink.Probe(p)
	}
}

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
	for _, st := range e.Claims[property] {
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

// disturbed returns the edit other than c that changes the fact, or "".
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
