// Package pmet edits many facts at once by changes of the down-projections of
// several layers, as MEMIT does, with a value that attention cannot spoil.
//
// PMET: Li et al. 2024, "PMET: Precise Model Editing in a Transformer", section
// 4. MEMIT optimises a value of the hidden state, to which attention and the
// feed-forward part both contribute, and writes all of it into feed-forward
// weights. Here two shifts are optimised together at the last layer to be
// changed: one of the output of its attention and one of the output of its
// feed-forward part. Both reduce the loss, but only the second is written; the
// first takes up what does not belong in the feed-forward weights. Then layer
// by layer, from the first to the last of q, each with the layers before it
// already changed,
//
//	W' = W + (weight C + K K')^-1 K R',   R = (M* - M) / sqrt(layers left, this one included)
//
// with M [hidden, n] the outputs of the last layer's feed-forward part that are
// to become M*, and the rest as in MEMIT.
package pmet

import (
	"context"
	"math"

	"editpipe/edit"
	"editpipe/edit/locate"
	"editpipe/edit/spread"
	"editpipe/models/arch"
)

const name = "pmet"

// When a search counts as having reached its target.
const (
	Argmax = "argmax" // every token of the target is the most probable one, in every prompt
	Equal  = "equal"  // mean probabilities of target and most probable tokens are equal as float32 numbers (the authors' code)
)

// How the target is tokenised.
const (
	Add   = "add"   // behind a space, as it is asked for
	Never = "never" // bare
)

// The search goes easier on the target once it is reached, and ends if the
// subject is still what it was (the authors' code).
const (
	eased     = 0.1  // weight of the likelihood in the next evaluation
	untouched = 0.01 // most weighted divergence at the subject
)

// Config is the configuration of PMET.
type Config struct {
	spread.Config
	Space string `set:"space" oneof:"add|never" doc:"whether the target is tokenised with the space before it; never: without, as EasyEdit does for models without gpt in their name"`
	Stop  string `set:"argmax_stop" oneof:"argmax|equal" doc:"when the target counts as reached: argmax, when every token is the most probable; equal, when mean probabilities are equal in float32 (the authors' code)"`
}

// Method is the method "pmet".
func Method() edit.Method {
	return edit.Define(edit.Spec[Config]{
		Name: name, Title: "PMET", Version: 1,
		Paper:     "Li et al. 2024, PMET: Precise Model Editing in a Transformer",
		Schedules: []edit.Kind{edit.Single, edit.Batch, edit.Sequential},
		Base:      base(), Presets: presets(),
		Validate: func(c Config) error { return c.Validate(name) },
		Needs:    func(c Config, _ *arch.Info) arch.Need { return c.Need(arch.FFNOut, arch.AttnOut) },
		Files:    func(c Config) ([]string, error) { return c.Files(), nil },
		Open:     func(_ context.Context, c Config, in edit.Env) (edit.Editor, error) { return open(c, in) },
		Prepare: func(ctx context.Context, c Config, in edit.PrepareEnv, out string) error {
			return c.Prepare(ctx, in, out)
		},
	})
}

// open makes an editor.
func open(c Config, in edit.Env) (*spread.Editor, error) {
	reached := argmax
	if c.Stop == Equal {
		reached = equal
	}
	return c.Open(in, spread.Rule{
		Method: name,
		Points: []arch.Point{arch.FFNOut, arch.AttnOut},
		Over:   func(left int) float64 { return math.Sqrt(float64(left)) },
		Bare:   c.Space == Never,
		Weigh:  weigh(reached),
	})
}

// weigh is the rule by which a search goes on.
func weigh(reached func(locate.Standing) bool) func(locate.Standing) (float64, bool) {
	return func(s locate.Standing) (float64, bool) {
		if !reached(s) {
			return 1, false
		}
		return eased, s.KL <= untouched
	}
}

// argmax says whether no token is more probable than the target's, anywhere.
func argmax(s locate.Standing) bool {
	for i, prompt := range s.LogProbs {
		for j, l := range prompt {
			if l < s.Best[i][j] {
				return false
			}
		}
	}
	return true
}

// equal says the same of the means over prompts, in float32, of geometric mean
// probabilities over tokens: a prompt that counts for nothing in them may fail.
func equal(s locate.Standing) bool { return probability(s.LogProbs) == probability(s.Best) }

func probability(logProbs [][]float64) float32 {
	var mean float32
	for _, prompt := range logProbs {
		var sum float32
		for _, l := range prompt {
			sum += float32(l)
		}
		mean += float32(math.Exp(float64(sum / float32(len(prompt)))))
	}
	return mean / float32(len(logProbs))
}
