package locate

import (
	"editpipe/models"
	"editpipe/models/arch"
)

// Need is what locating methods ask of a model: gradients, the down-projections
// of layers to change, and points of each to read.
func Need(layers []int, points ...arch.Point) models.Need {
	n := models.Need{Gradients: true}
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
