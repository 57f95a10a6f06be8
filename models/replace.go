package models

import (
	"strings"

	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
)

// maxSets bounds the sessions of one role that replace different sets of weights,
// and those with networks at different sets of places: each may hold all weights
// again. Patches of further sets of weights use the slots, those of further sets of
// places graphs with a place in every layer.
const maxSets = 4

// Replacing is how the weights that a dense patch changes are taken in whole by the
// graph of a role; those that cannot be replaced have slots. ok is false where all
// dense changes would go through slots anyway, and where there is no room for a
// session of this set of weights.
func (lm *LM) Replacing(r arch.Role, p *patch.Patch) (t graph.Take, ok bool) {
	t.Biases = p.ChangesBias(r.Side())
	var ids []string
	dense := false
	for _, at := range p.Matrices() {
		switch w := lm.anatomy.Graph(r).Weight(at); {
		case at.Side != r.Side() || w == nil:
		case w.Overridable(lm.env.OverridesFloat16()):
			ids = append(ids, at.String())
			dense = dense || p.DenseAt(at)
		case at.Part != arch.FFNDown:
			t.Slots = graph.AllSlots
		default:
			t.Slots = max(t.Slots, graph.DownSlots)
		}
	}
	t.Replaced = strings.Join(ids, " ")
	return t, dense && lm.affords(r, t.Replaced, func(t graph.Take) string { return t.Replaced })
}

// affords says whether there is a session of a role for a set of weights or places,
// named as in the field of graph.Take that of reads, or room for one.
func (lm *LM) affords(r arch.Role, names string, of func(graph.Take) string) bool {
	lm.mu.Lock()
	defer lm.mu.Unlock()
	sets := map[string]bool{names: true}
	for have := range lm.sessions {
		if set := of(have.Take); have.Role == r && set != "" {
			sets[set] = true
		}
	}
	return len(sets) <= maxSets
}
