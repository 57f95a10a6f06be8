package locate

import (
	"editpipe/models/arch"
	"editpipe/models/patch"
	"errors"
	"fmt"

	"editpipe/dataset"
	"editpipe/edit"
)

// ContextsFile is the file of contexts that preparing a method writes.
const ContextsFile = "contexts.json"

// MomentsFile is the file of a layer's second moments that preparing writes.
func MomentsFile(layer int) string { return fmt.Sprintf("mom2_layer%d.npz", layer) }

// Refused turns what a model cannot do for a locating method (no gradients, no
// such site, a weight that cannot be changed) into edit.ErrUnsupported; other
// errors pass through.
func Refused(err error) error {
	if errors.Is(err, arch.ErrNoGradient) || errors.Is(err, arch.ErrSite) || errors.Is(err, arch.ErrNotEditable) {
		return fmt.Errorf("%w: %w", edit.ErrUnsupported, err)
	}
	return err
}

// Need is what locating methods ask of a model: gradients, the down-projections
// of layers to change, and points of each to read.
func Need(layers []int, points ...arch.Point) arch.Need {
	n := arch.Need{Gradients: true}
	for _, l := range layers {
		n.Edits = append(n.Edits, down(l))
		for _, p := range points {
			n.Sites = append(n.Sites, arch.Site{Layer: l, Point: p})
		}
	}
	return n
}

// Each is EditEach by way of fill, which sets the patches and errors of
// single edits and returns what keeps all of them from being made.
func Each(edits []dataset.Edit, fill func(patches []patch.Patch, errs []error) error) ([]patch.Patch, []error) {
	patches, errs := make([]patch.Patch, len(edits)), make([]error, len(edits))
	if len(edits) == 0 {
		return patches, errs
	}
	if err := fill(patches, errs); err != nil {
		for i := range errs {
			if errs[i] == nil {
				errs[i] = Refused(err)
			}
		}
	}
	return patches, errs
}
