package run

import (
	"slices"
	"strings"

	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
)

// splices names the places at which the patches of questions have networks in the
// graph of a role, for graph.Take.
func splices(lm *models.LM, r arch.Role, questions []*Question) string {
	places := map[graph.Place]bool{}
	for i, q := range questions {
		if q.Patch == nil || i > 0 && q.Patch == questions[i-1].Patch {
			continue
		}
		for _, s := range q.Patch.Splices {
			if s.At.Side == r.Side() {
				places[graph.PlaceOf(s)] = true
			}
		}
	}
	if names := namesOf(places); names == "" || lm.AffordsSplices(r, names) {
		return names
	}
	everywhere := map[graph.Place]bool{}
	for p := range places {
		for _, f := range lm.Anatomy().Graph(r).FFNs {
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

// Load is what the patch of a row brings into a run: ranks at weights, and units of
// networks at their places.
type Load struct {
	info  *arch.Info
	ranks patch.Ranks
	units map[graph.Place]int
}

// LoadOf is the load of a patch that the model accepts.
func LoadOf(lm *models.LM, p *patch.Patch) Load {
	l := Load{info: lm.Info(), ranks: p.Ranks(), units: map[graph.Place]int{}}
	if p != nil {
		for _, s := range p.Splices {
			if n, err := graph.UnitsOf(l.info, s); err == nil {
				l.units[graph.PlaceOf(s)] += n
			}
		}
	}
	return l
}

// widen makes l at least as large as m everywhere.
func (l Load) widen(m Load) {
	for id, n := range m.ranks {
		l.ranks[id] = max(l.ranks[id], n)
	}
	for at, n := range m.units {
		l.units[at] = max(l.units[at], n)
	}
}

// widest is the number of units of the widest network.
func (l Load) widest() int {
	n := 0
	for _, k := range l.units {
		n = max(n, k)
	}
	return n
}

// most is the largest rank or number of units.
func (l Load) most() int {
	n := l.widest()
	for _, k := range l.ranks {
		n = max(n, k)
	}
	return n
}

// Bytes is the size of what one row feeds.
func (l Load) Bytes() int64 {
	var n int64
	for id, rank := range l.ranks {
		if w := l.info.Weight(id); w != nil {
			n += 4 * int64(rank) * int64(w.In+w.Out)
		}
	}
	for at, units := range l.units {
		n += int64(units) * graph.UnitBytes(l.info, at)
	}
	return n
}

// With is the cost of runs in which the widest network of a load stands beside the
// largest block: its units are activations as those of the block are.
func (c Cost) With(l Load) Cost {
	c.ffn += l.widest()
	return c
}
