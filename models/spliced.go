package models

import (
	"fmt"
	"slices"
	"strings"

	"editpipe/models/arch"
	"editpipe/models/graph"
)

// maxSpliced bounds the sessions of one role whose graphs differ in the places of
// networks: each may hold all weights again. Beyond it a graph has a place in every
// layer.
const maxSpliced = 4

func (s Splice) place() graph.Place { return graph.Place{At: s.At, Kind: s.Kind} }

// fits says why a splice cannot be put into the model, nil if it can.
func (lm *LM) fits(s Splice) error {
	if err := graph.Spliceable(lm.Info(), s.place()); err != nil {
		return fmt.Errorf("models: %w", err)
	}
	if s.Where != Everywhere {
		// Rows share a run of what they begin with, though their prompts end elsewhere.
		return fmt.Errorf("models: %w: %s: positions %q: this program puts it %s only", graph.ErrSplice, s, s.Where, Everywhere)
	}
	if _, err := graph.UnitsOf(lm.Info(), s.place(), s.Params); err != nil {
		return fmt.Errorf("models: %w: %s: %w", graph.ErrSplice, s, err)
	}
	return nil
}

// splices names the places at which the patches of questions have networks in the
// graph of a role, for graph.Take.
func (lm *LM) splices(r arch.Role, questions []*Question) string {
	places := map[graph.Place]bool{}
	for i, q := range questions {
		if q.Patch == nil || i > 0 && q.Patch == questions[i-1].Patch {
			continue
		}
		for _, s := range q.Patch.Splices {
			if s.At.Side == r.Side() {
				places[s.place()] = true
			}
		}
	}
	if names := namesOf(places); names == "" || lm.affordsSplices(r, names) {
		return names
	}
	for p := range places {
		for _, f := range lm.Anatomy().Graph(r).FFNs {
			if q := (graph.Place{At: arch.Site{Side: f.Side, Layer: f.Layer, Point: p.At.Point}, Kind: p.Kind}); graph.Spliceable(lm.Info(), q) == nil {
				places[q] = true
			}
		}
	}
	return namesOf(places)
}

func namesOf(places map[graph.Place]bool) string {
	var names []string
	for p := range places {
		names = append(names, p.String())
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// affordsSplices says whether there is a session of a role with networks at these
// places, or room for one.
func (lm *LM) affordsSplices(r arch.Role, names string) bool {
	lm.mu.Lock()
	defer lm.mu.Unlock()
	sets := map[string]bool{names: true}
	for have := range lm.sessions {
		if have.Role == r && have.Take.Splices != "" {
			sets[have.Take.Splices] = true
		}
	}
	return len(sets) <= maxSpliced
}

// spliced lists what a patch has at a place, in order.
func (p *Patch) spliced(at graph.Place) []graph.Params {
	var list []graph.Params
	if p == nil {
		return nil
	}
	for _, s := range p.Splices {
		if s.place() == at {
			list = append(list, s.Params)
		}
	}
	return list
}

// load is what the patch of a row brings into a run: ranks at weights, and units of
// networks at their places.
type load struct {
	ranks ranks
	units map[graph.Place]int
}

func (lm *LM) load(p *Patch) load {
	l := load{ranks: p.ranks(), units: map[graph.Place]int{}}
	if p != nil {
		for _, s := range p.Splices {
			n, _ := graph.UnitsOf(lm.Info(), s.place(), s.Params) // Accepts has checked it
			l.units[s.place()] += n
		}
	}
	return l
}

// widen makes l at least as large as m everywhere.
func (l load) widen(m load) {
	for id, n := range m.ranks {
		l.ranks[id] = max(l.ranks[id], n)
	}
	for at, n := range m.units {
		l.units[at] = max(l.units[at], n)
	}
}

// most is the largest rank or number of units.
func (l load) most() int {
	n := 0
	for _, k := range l.ranks {
		n = max(n, k)
	}
	for _, k := range l.units {
		n = max(n, k)
	}
	return n
}

// loadBytes is the size of what one row feeds for its patch.
func (lm *LM) loadBytes(l load) int64 {
	var n int64
	for id, rank := range l.ranks {
		if w := lm.Info().Weight(id); w != nil {
			n += 4 * int64(rank) * int64(w.In+w.Out)
		}
	}
	for at, units := range l.units {
		n += int64(units) * graph.UnitBytes(lm.Info(), at)
	}
	return n
}

// with is the cost of runs in which the widest network stands beside the largest
// block: its units are activations like those of the block.
func (c Cost) with(l load) Cost {
	n := 0
	for _, k := range l.units {
		n = max(n, k)
	}
	c.ffn += n
	return c
}
