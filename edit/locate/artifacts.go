package locate

import (
	"errors"
	"fmt"

	"editpipe/edit"
	"editpipe/models"
)

// ContextsFile is the file of contexts that preparing a method writes.
const ContextsFile = "contexts.json"

// MomentsFile is the file of a layer's second moments that preparing writes.
func MomentsFile(layer int) string { return fmt.Sprintf("mom2_layer%d.npz", layer) }

// Refused turns what a model cannot do for a locating method (no gradients, no
// such site, a weight that cannot be changed) into edit.ErrUnsupported; other
// errors pass through.
func Refused(err error) error {
	if errors.Is(err, models.ErrNoGradient) || errors.Is(err, models.ErrSite) || errors.Is(err, models.ErrNotEditable) {
		return fmt.Errorf("%w: %w", edit.ErrUnsupported, err)
	}
	return err
}
