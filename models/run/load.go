package run

import (
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
)

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
