package models

import (
	"strings"

	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
)

// maxReplaced bounds the sessions with replaced weights of one role: each may
// hold all weights again. Patches of further sets of weights use the slots.
const maxReplaced = 4

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
	return t, dense && lm.affords(r, t.Replaced)
}

// affords says whether there is a session of a role in which these weights are
// inputs, or room for one.
func (lm *LM) affords(r arch.Role, replaced string) bool {
	lm.mu.Lock()
	defer lm.mu.Unlock()
	sets := map[string]bool{replaced: true}
	for have := range lm.sessions {
		if have.Role == r && have.Take.Replaced != "" {
			sets[have.Take.Replaced] = true
		}
	}
	return len(sets) <= maxReplaced
}
