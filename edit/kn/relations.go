package kn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/file"
	"editpipe/models"
	"editpipe/models/patch"
)

// relationsFile is what preparing writes: a JSON object of relations by id.
const relationsFile = "relations.json"

// slot stands for the subject in a template.
const slot = "{s}"

// The paper's search for the share of prompts that have to agree: from the
// configured one in steps, until a fact has few neurons but some.
const (
	agreementStep   = 0.05
	agreementRounds = 6
	fewNeurons      = 2.0
	manyNeurons     = 5.0
)

// mostTemplates is the most templates that are kept of a relation; the paper's
// have 8.6 on average.
const mostTemplates = 9

// common is the share of a relation's facts above which a neuron belongs to the
// relation and not to a fact.
const common = 0.1

// relation is what is known of a relation from facts that are not under test.
type relation struct {
	Templates []string       `json:"templates"` // with {s} for the subject
	Agreement float64        `json:"p"`         // share of prompts that have to agree
	Facts     int            `json:"facts"`     // that were looked at
	Neurons   map[string]int `json:"neurons"`   // in how many of them, by layer.index
}

// specific says whether a neuron belongs to a fact, not to its relation.
func (r *relation) specific(n neuron) bool {
	return r == nil || float64(r.Neurons[n.String()]) <= common*float64(r.Facts)
}

func (n neuron) String() string { return fmt.Sprintf("%d.%d", n.layer, n.index) }

// readRelations reads what preparing wrote, nil if it wrote nothing.
func readRelations(folder string) (map[string]*relation, error) {
	if folder == "" {
		return nil, nil
	}
	path := filepath.Join(folder, relationsFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading relations: %w", err)
	}
	var all map[string]*relation
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("reading relations from %s: %w; prepare the method anew", path, err)
	}
	for id, r := range all {
		if r == nil || r.Facts < 1 || r.Agreement <= 0 || r.Agreement > 1 {
			return nil, fmt.Errorf("reading relations from %s: relation %q is incomplete; prepare the method anew", path, id)
		}
	}
	return all, nil
}

// prepare learns templates, agreement and common neurons of every relation that
// has a fact to learn from.
func prepare(ctx context.Context, c Config, in edit.PrepareEnv, out string) error {
	if !c.refines() {
		return fmt.Errorf("%w: variant %s without refinement needs no preparation", edit.ErrUnsupported, c.Variant)
	}
	if in.Train == nil {
		return errors.New("no records to learn relations from: give a data set (--data)")
	}
	edits, templates := map[string][]dataset.Edit{}, map[string][]string{}
	for r, err := range in.Train.Records() {
		if err != nil {
			return fmt.Errorf("reading %s: %w", in.Train.Name(), err)
		}
		id := r.Edit.RelationID
		if id == "" || r.Edit.GroundTruth == "" {
			continue
		}
		edits[id] = append(edits[id], r.Edit)
		for _, t := range templatesOf(r) {
			if !slices.Contains(templates[id], t) && len(templates[id]) < mostTemplates {
				templates[id] = append(templates[id], t)
			}
		}
	}
	all := map[string]*relation{}
	var unusable []error
	for _, id := range slices.Sorted(maps.Keys(edits)) {
		facts := edits[id][:min(c.Facts, len(edits[id]))]
		r, err := c.learn(ctx, in.LM, facts, templates[id])
		if err != nil {
			err = fmt.Errorf("relation %s: %w", id, err)
		}
		switch {
		case errors.Is(err, errUnusable):
			unusable = append(unusable, err)
		case err != nil:
			return edit.Refused(err)
		default:
			all[id] = r
		}
	}
	if len(all) == 0 {
		if len(unusable) > 0 {
			return errors.Join(unusable...)
		}
		return fmt.Errorf("%s has no edit with a relation and an old object to learn from", in.Train.Name())
	}
	data, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return fmt.Errorf("writing relations: %w", err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("preparing: %w", err)
	}
	return file.Write(filepath.Join(out, relationsFile), append(data, '\n'))
}

// templatesOf are the prompt of an edit and its paraphrases without the subject.
func templatesOf(r dataset.Record) []string {
	var list []string
	cut := func(text string, start, end int32) {
		if start >= 0 && start < end && int(end) <= len(text) {
			list = append(list, text[:start]+slot+text[end:])
		}
	}
	cut(r.Edit.Prompt, r.Edit.SubjectStart, r.Edit.SubjectEnd)
	for _, p := range r.Probes {
		if p.Axis == dataset.AxisGeneralization {
			cut(p.Prompt, p.SubjectStart, p.SubjectEnd)
		}
	}
	return list
}

// errUnusable is returned when none of a relation's facts can be put to the model.
var errUnusable = errors.New("no fact can be learned from")

// learn attributes the facts of a relation. Facts that cannot be put to the
// model are passed over; where that is all of them, it returns errUnusable.
func (c Config) learn(ctx context.Context, lm *models.LM, edits []dataset.Edit, templates []string) (*relation, error) {
	r := &relation{Templates: templates, Agreement: c.agreement(), Neurons: map[string]int{}}
	ed := &editor{c: c, lm: lm, relations: map[string]*relation{edits[0].RelationID: r}}
	facts, errs := make([]*fact, len(edits)), make([]error, len(edits))
	for i, e := range edits {
		facts[i], errs[i] = ed.newFact(e)
	}
	scores, err := ed.attribute(ctx, &patch.Patch{}, facts, errs)
	if err != nil {
		return nil, err
	}
	var chosen [][]neuron
	for round := range agreementRounds {
		chosen = nil
		n := 0
		for i := range edits {
			if errs[i] == nil {
				chosen = append(chosen, ed.choose(scores[i], &relation{Agreement: r.Agreement}))
				n += len(chosen[len(chosen)-1])
			}
		}
		if len(chosen) == 0 {
			return nil, fmt.Errorf("%w: %w", errUnusable, errors.Join(errs...))
		}
		mean := float64(n) / float64(len(chosen))
		if mean >= fewNeurons && mean <= manyNeurons || round == agreementRounds-1 {
			break
		}
		if mean < fewNeurons {
			r.Agreement = max(r.Agreement-agreementStep, agreementStep)
		} else {
			r.Agreement = min(r.Agreement+agreementStep, 1)
		}
	}
	r.Facts = len(chosen)
	for _, list := range chosen {
		for _, n := range list {
			r.Neurons[n.String()]++
		}
	}
	return r, nil
}

// fill puts a subject into the templates of a relation.
func (r *relation) fill(subject string) []string {
	if r == nil {
		return nil
	}
	var list []string
	for _, t := range r.Templates {
		list = append(list, strings.Replace(t, slot, subject, 1))
	}
	return list
}
