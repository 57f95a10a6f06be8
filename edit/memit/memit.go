// Package memit edits many facts at once by changes of the down-projections of
// several layers.
//
// MEMIT: Meng et al. 2023, "Mass-Editing Memory in a Transformer", section 4.
// For every fact i a value z_i of the hidden state after the last layer to be
// changed is optimised so that the model predicts the new object. Then layer by
// layer, from the first to the last of q, each with the layers before it
// already changed,
//
//	W' = W + (weight C + K K')^-1 K R',   R = (Z - H) / (layers left, this one included)
//
// with W [in, out], C the second moments of the layer's keys, K [in, n] the
// keys of the subjects, H [hidden, n] the hidden states that are to become Z
// (equations 14 and 20, algorithm 1). A key is the average of the bare prompt's
// key and the mean key of the prompt after contexts.
package memit

import (
	"context"

	"editpipe/edit"
	"editpipe/edit/spread"
	"editpipe/models/arch"
)

const name = "memit"

// Config is the configuration of MEMIT.
type Config struct{ spread.Config }

// Method is the method "memit".
func Method() edit.Method {
	return edit.Define(edit.Spec[Config]{
		Name: name, Title: "MEMIT", Version: 1,
		Paper:     "Meng et al. 2023, Mass-Editing Memory in a Transformer",
		Schedules: []edit.Kind{edit.Single, edit.Batch, edit.Sequential},
		Base:      base(), Presets: presets(),
		Validate: func(c Config) error { return c.Validate(name) },
		Needs:    func(c Config, _ *arch.Info) arch.Need { return c.Need(arch.Hidden) },
		Files:    func(c Config) ([]string, error) { return c.Files(), nil },
		Open:     func(_ context.Context, c Config, in edit.Env) (edit.Editor, error) { return open(c, in) },
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
