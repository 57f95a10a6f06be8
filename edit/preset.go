package edit

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"editpipe/models/arch"
)

// Preset is what a method is configured with for a group of models in place of
// Spec.Base, as its authors or the reference implementations published it.
type Preset struct {
	Family   string // of the models; empty for every one
	From, To int    // fewest and most layers; To 0 is no bound
	Set      string // key=value, separated by spaces; empty where Base holds for the group, too
}

// Models names the group.
func (p Preset) Models() string {
	var layers string
	switch {
	case p.From == p.To && p.To > 0:
		layers = fmt.Sprintf("%d layers", p.From)
	case p.To > 0:
		layers = fmt.Sprintf("%d to %d layers", p.From, p.To)
	case p.From > 0:
		layers = fmt.Sprintf("%d layers and more", p.From)
	}
	switch {
	case p.Family == "":
		return "any family of " + layers
	case layers == "":
		return p.Family
	}
	return p.Family + " of " + layers
}

// holds says whether a model belongs to the group.
func (p Preset) holds(info *arch.Info) bool {
	return (p.Family == "" || p.Family == info.Family) && info.Layers >= p.From && (p.To == 0 || info.Layers <= p.To)
}

// preset sets the addressable struct v to what the first preset that holds for a
// model says.
func preset(method string, v reflect.Value, presets []Preset, info *arch.Info) error {
	for _, p := range presets {
		if !p.holds(info) {
			continue
		}
		set := map[string]string{}
		for _, pair := range strings.Fields(p.Set) {
			key, value, _ := strings.Cut(pair, "=")
			set[key] = value
		}
		return override(method, v, set)
	}
	return nil
}

// shares sets the fields of the addressable struct v that are a share of the depth
// of a model: share:"17/48" for a layer, share:"13/48 to 17/48" for a list of them.
// A model that is not known has no depth.
func shares(v reflect.Value, info *arch.Info) error {
	var faults []error
	fields(v, func(f reflect.StructField, v reflect.Value) {
		share := f.Tag.Get("share")
		if share == "" {
			return
		}
		first, last, err := part(share, info.Layers)
		if err != nil {
			faults = append(faults, fmt.Errorf("tag of field %s: %w", f.Name, err))
			return
		}
		if v.Kind() != reflect.Slice {
			v.SetInt(int64(first))
			return
		}
		list := reflect.MakeSlice(v.Type(), 0, last-first+1)
		for l := first; l <= last; l++ {
			list = reflect.Append(list, reflect.ValueOf(l))
		}
		v.Set(list)
	})
	return errors.Join(faults...)
}

// part gives the first and the last layer of a share.
func part(share string, layers int) (first, last int, err error) {
	from, to, ok := strings.Cut(share, " to ")
	if !ok {
		to = from
	}
	at := func(s string) (int, error) {
		var n, of int
		if _, err := fmt.Sscanf(s, "%d/%d", &n, &of); err != nil || of == 0 {
			return 0, fmt.Errorf("%q is no share of the depth, such as 17/48", s)
		}
		return n * layers / of, nil
	}
	if first, err = at(from); err == nil {
		last, err = at(to)
	}
	return first, last, err
}
