// Package memit edits many facts at once by changes of the down-projections of
// several layers.
//
// MEMIT: Meng et al. 2023, "Mass-Editing Memory in a Transformer", section 4.
// For every fact i a value z_i of the hidden state behind the last layer to be
// changed is searched under which the model says the new object. Then layer by
// layer, from the first to the last of q, each seeing the changes of those
// before it,
//
//	W' = W + (weight C + K K')^-1 K R',   R = (Z - H) / (layers left, this one included)
//
// with W [in, out], C the second moments of the layer's keys, K [in, n] the keys
// of the subjects, H [hidden, n] the hidden states that are to become Z
// (equations 14 and 20, algorithm 1). A key is half that of the bare prompt and
// half the mean over the prompt behind contexts.
package memit

import (
	"context"
	"editpipe/models/arch"

	"editpipe/edit"
	"editpipe/edit/locate"
	"editpipe/edit/spread"
	"editpipe/models"
)

const name = "memit"

// Config is the configuration of MEMIT. Its defaults are those of the reference
// implementation.
type Config struct{ spread.Config }

// defaults gives the reference's hyperparameters; shallow models have a weight of
// their own.
func defaults(info *arch.Info) Config {
	c := spread.Config{
		Layers: spread.DefaultLayers(info),
		Steps:  20, Rate: 0.5, Decay: 0.5, Clamp: 0.75, KL: 0.0625, Weight: 20000,
		FactToken: locate.SubjectLast, Start: locate.Words,
	}
	switch {
	case spread.Shallow(info):
		c.Weight = spread.ShallowWeight
	case spread.GPTJ(info):
		c.Steps, c.Weight = 25, 15000
	case spread.Deep(info):
		c.Steps, c.Decay, c.Clamp, c.Weight = 25, 1e-3, 4, 15000
	}
	return Config{c}
}

// Method is the method "memit".
func Method() edit.Method {
	return edit.Define(edit.Spec[Config]{
		Name: name, Title: "MEMIT", Version: 1,
		Paper:     "Meng et al. 2023, Mass-Editing Memory in a Transformer",
		Schedules: []edit.Kind{edit.Single, edit.Batch, edit.Sequential},
		Defaults:  defaults,
		Validate:  func(c Config) error { return c.Validate(name) },
		Needs:     func(c Config, _ *arch.Info) models.Need { return c.Need(arch.Hidden) },
		Files:     func(c Config) ([]string, error) { return c.Files(), nil },
		Open:      func(_ context.Context, c Config, in edit.Env) (edit.Editor, error) { return open(c, in) },
		Prepare: func(ctx context.Context, c Config, in edit.PrepareEnv, out string) error {
			return c.Prepare(ctx, in, out)
		},
	})
}

// open makes an editor that searches the hidden state behind the last layer;
// what is missing of it is shared out evenly.
func open(c Config, in edit.Env) (*spread.Editor, error) {
	return c.Open(in, spread.Rule{
		Method: name,
		Points: []arch.Point{arch.Hidden},
		Over:   func(left int) float64 { return float64(left) },
	})
}
