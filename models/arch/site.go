package arch

import (
	"fmt"
	"slices"
	"strings"
)

// ParseSite reads the form that Site.String writes, such as "decoder.3.ffn_out".
func ParseSite(s string) (Site, error) {
	side, rest, _ := strings.Cut(s, ".")
	layer, point, _ := strings.Cut(rest, ".")
	if p := slices.Index(pointNames[:], point); p >= 0 {
		// Side and layer are written as those of a weight are.
		if id, err := ParseWeightID(side + "." + layer + "." + FFNDown.String()); err == nil {
			return Site{Side: id.Side, Layer: id.Layer, Point: Point(p)}, nil
		}
	}
	return Site{}, fmt.Errorf("models: %q is not a site; write it as decoder.3.ffn_out", s)
}
