package arch

import (
	"fmt"

	"editpipe/models/ports"
	"editpipe/onnx"
	"editpipe/tensor"
)

// Role says which of a model's graphs is meant.
type Role uint8

// The graphs of a model.
const (
	Forward Role = iota // decoder over whole sequences
	Step                // decoder with past keys and values
	Encode              // encoder
)

// Side is the half of the model that a role computes.
func (r Role) Side() Side {
	if r == Encode {
		return Encoder
	}
	return Decoder
}

// Graph returns the opened graph that plays a role, nil if the model has none.
func (a *Anatomy) Graph(r Role) *Graph {
	switch r {
	case Step:
		return a.Step
	case Encode:
		return a.Encoder
	}
	return a.Forward
}

// Weight is a weight's description within the graph, nil if it has no such;
// names of initializers differ between the files of one model.
func (g *Graph) Weight(id WeightID) *Weight {
	for i := range g.FFNs {
		if f := &g.FFNs[i]; f.Side == id.Side && f.Layer == id.Layer {
			return f.Weight(id.Part)
		}
	}
	return nil
}

// Stored returns an initializer of a weight, its matrix or its bias, as the file
// holds it.
func (g *Graph) Stored(id WeightID, name string) (*tensor.Tensor, error) {
	for _, t := range g.Model.Graph.Initializers {
		if t.Name == name {
			v, err := t.Value()
			if err != nil {
				return nil, fmt.Errorf("models: reading %s from %s: %w", id, g.Path, err)
			}
			return v, nil
		}
	}
	return nil, fmt.Errorf("models: reading %s: %w: no initializer %q in %s", id, onnx.ErrUndefined, name, g.Path)
}

// Cache is an input of keys or values of the graph with past, and the output that
// it goes on from.
type Cache struct {
	ports.Past
	Present string
}

// Caches lists the keys and values that the graph of a role hands out. Where the
// graph without past begins what the other goes on with, both do; what it computes
// of the encoder it hands out once.
func (a *Anatomy) Caches(r Role) []Cache {
	g := a.Graph(r)
	if r == Encode || a.Step == nil {
		return nil
	}
	var list []Cache
	for _, p := range a.Step.Ports.Past {
		switch {
		case a.Encoder == nil && g == a.Step, r == Step && !p.Cross:
			list = append(list, Cache{p, p.Out})
		case a.Encoder != nil && r == Forward:
			list = append(list, Cache{p, p.First})
		}
	}
	return list
}
