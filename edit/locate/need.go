package locate

import (
	"editpipe/models/arch"
)

// Need is what locating methods ask of a model: gradients, the down-projections
// of layers to change, and points of each to read.
func Need(layers []int, points ...arch.Point) arch.Need {
	n := arch.Need{Gradients: true}
	for _, l := range layers {
		n.Edits = append(n.Edits, Down(l))
		for _, p := range points {
			n.Sites = append(n.Sites, arch.Site{Layer: l, Point: p})
		}
	}
	return n
}

// Down names the down-projection of a layer.
func Down(layer int) arch.WeightID { return arch.WeightID{Layer: layer, Part: arch.FFNDown} }

// Shallow is the largest number of layers of a model that recalls facts in its first
// layer, too early for a share of the depth to be a layer: so do the embedded model
// (docs/demo-model.md) and the one that the methods are compared with their
// authors' on (docs/fidelity.md), of six and five layers.
const Shallow = 6
