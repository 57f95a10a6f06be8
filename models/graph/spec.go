// Package graph makes instrumented graphs out of the graphs in a model folder.
//
// An instrumented graph has edits as inputs next to the tokens, and outputs
// that serve one [Purpose]. A low-rank change enters through a slot, y + (x U)
// V at a linear map; the change of a bias through a further addition; a dense
// change in place of the weight. A small network that belongs to an edit is
// inserted between the value at a site and its readers. A [Spec]
// names such a graph, [Build] makes it.
//
// Nothing here needs the ONNX Runtime library.
package graph

import (
	"maps"
	"slices"
	"strings"

	"editpipe/models/arch"
)

// Spec names one instrumented graph of a model. It is comparable: equal Specs name
// the same graph.
type Spec struct {
	Role arch.Role
	Take Take
	Give Purpose
	Half Half // of a graph that gives Losses
}

// Take is how edits come into a graph.
type Take struct {
	Slots  Slots
	Biases bool // biases have slots
	// Replaced are the ids of the weights that are inputs, joined by spaces. They
	// have no slots.
	Replaced string
	// Splices are the places that have networks, by name, joined by spaces.
	Splices string
}

// Slots says which weights of a graph have low-rank slots.
type Slots uint8

// The sets of weights with slots.
const (
	NoSlots   Slots = iota // where weights are replaced instead, or nothing is edited
	DownSlots              // down-projections, what most methods edit
	AllSlots               // up and gate as well
)

// parts lists the weights of a block.
var parts = []arch.Part{arch.FFNDown, arch.FFNUp, arch.FFNGate}

// replaces says whether a weight is an input.
func (t Take) replaces(id arch.WeightID) bool {
	return slices.Contains(strings.Fields(t.Replaced), id.String())
}

// Slotted lists the weights that have slots, in order of layers.
func (s Spec) Slotted(a *arch.Anatomy) []arch.Weight {
	with := map[Slots][]arch.Part{DownSlots: parts[:1], AllSlots: parts}[s.Take.Slots]
	var ws []arch.Weight
	for _, f := range a.Graph(s.Role).FFNs {
		for _, p := range with {
			// The graph knows the places, Info whether the weight may be edited:
			// a layer count that does not add up is noticed only there.
			if w := f.Weight(p); w != nil && a.Info.Editable(w.ID) == nil && !s.Take.replaces(w.ID) {
				ws = append(ws, *w)
			}
		}
	}
	return ws
}

// Biased lists the blocks whose down-projection's bias has a slot, in order of
// layers.
func (s Spec) Biased(a *arch.Anatomy) []arch.FFN {
	var list []arch.FFN
	for _, f := range a.Graph(s.Role).FFNs {
		if s.Take.Biases && a.Info.BiasEditable(f.Down.ID) == nil {
			list = append(list, f)
		}
	}
	return list
}

// Spliced lists the places that have networks, in order of layers and kinds.
func (s Spec) Spliced(a *arch.Anatomy) []Place {
	names := strings.Fields(s.Take.Splices)
	var places []Place
	for _, f := range a.Graph(s.Role).FFNs {
		for _, kind := range slices.Sorted(maps.Keys(nets)) {
			p := Place{arch.Site{Side: f.Side, Layer: f.Layer, Point: nets[kind].At}, kind}
			if slices.Contains(names, p.String()) {
				places = append(places, p)
			}
		}
	}
	return places
}

// Replaced lists the weights that are inputs.
func (s Spec) Replaced(a *arch.Anatomy) []arch.Weight {
	var ws []arch.Weight
	for _, f := range a.Graph(s.Role).FFNs {
		for _, p := range parts {
			if w := f.Weight(p); w != nil && s.Take.replaces(w.ID) {
				ws = append(ws, *w)
			}
		}
	}
	return ws
}
