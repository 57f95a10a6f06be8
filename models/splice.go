package models

import (
	"fmt"

	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
)

// maxSpliced bounds the sessions of one role whose graphs differ in the places of
// networks: each may hold all weights again. Patches of further sets of places use
// graphs with a place in every layer.
const maxSpliced = 4

// AffordsSplices says whether there is a session of a role with networks at these
// places, or room for one.
func (lm *LM) AffordsSplices(r arch.Role, splices string) bool {
	lm.mu.Lock()
	defer lm.mu.Unlock()
	sets := map[string]bool{splices: true}
	for have := range lm.sessions {
		if have.Role == r && have.Take.Splices != "" {
			sets[have.Take.Splices] = true
		}
	}
	return len(sets) <= maxSpliced
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
