package models

import (
	"fmt"
	"slices"
	"strings"

	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
)

// Splicing names the places that the networks of patches need in the graph of a role,
// for graph.Take.
func (lm *LM) Splicing(r arch.Role, patches []*patch.Patch) string {
	places := map[graph.Place]bool{}
	for _, p := range patches {
		for _, s := range p.SplicesOf(r.Side()) {
			places[graph.PlaceOf(s)] = true
		}
	}
	if names := namesOf(places); names == "" || lm.affords(r, names, func(t graph.Take) string { return t.Splices }) {
		return names
	}
	everywhere := map[graph.Place]bool{}
	for p := range places {
		for _, f := range lm.anatomy.Graph(r).FFNs {
			if q := p.In(f.Layer); graph.Spliceable(lm.Info(), q) == nil {
				everywhere[q] = true
			}
		}
	}
	return namesOf(everywhere)
}

func namesOf(places map[graph.Place]bool) string {
	var names []string
	for p := range places {
		names = append(names, p.String())
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// fits says why a splice cannot be put into the model, nil if it can.
func (lm *LM) fits(s patch.Splice) error {
	at := graph.PlaceOf(s)
	if err := graph.Spliceable(lm.Info(), at); err != nil {
		return fmt.Errorf("models: %w", err)
	}
	if s.Where != patch.Everywhere {
		// Rows share a run of what they begin with, though their prompts end elsewhere.
		return fmt.Errorf("models: %w: %s: positions %q: this program puts it %s only", graph.ErrSplice, at, s.Where, patch.Everywhere)
	}
	if _, err := graph.UnitsOf(lm.Info(), s); err != nil {
		return fmt.Errorf("models: %w: %s: %w", graph.ErrSplice, at, err)
	}
	return nil
}
