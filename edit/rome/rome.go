// Package rome edits a fact by a change of rank one in one down-projection.
//
// ROME: Meng et al. 2022, "Locating and Editing Factual Associations in GPT",
// section 3.1. With W [in, out] the down-projection of the layer, y = k W + b,
// C the second moments of its keys k, and v* the value with which the model
// predicts the new object,
//
//	W' = W + u (v* - y*) / (k* u),   u = C^-1 k* / |C^-1 k*|
//
// so that k* W' + b = v*. k* is the mean key of the subject over contexts, y*
// the value there: one key throughout, as in R-ROME (Gupta et al. 2024,
// "Rebuilding ROME: Resolving Model Collapse during Sequential Model Editing").
// The code of 2022 computes u from the mean key, but the denominator and y*
// from the bare prompt; so does key=mixed.
package rome

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/locate"
	"editpipe/edit/moments"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/tensor"
)

const name = "rome"

// Which key the update is made with.
const (
	Unified = "unified" // the mean key everywhere (R-ROME)
	Mixed   = "mixed"   // the mean key and that of the bare prompt (code of 2022)
)

// ErrDenominator is returned when the key is nearly at right angles to the
// direction of the update, which would be of any size.
var ErrDenominator = errors.New("the key is at right angles to the update")

// smallest is the least |k u| / |k| that is divided by: below it float32 keys
// do not determine the quotient.
const smallest = 1e-6

// Config is the configuration of ROME.
type Config struct {
	Layer     int     `set:"layer" in:"layers" share:"17/48" doc:"layer whose down-projection is changed"`
	Steps     int     `set:"v_num_grad_steps" doc:"largest number of evaluations of the loss while the value is optimised; there is one update fewer"`
	Rate      float64 `set:"v_lr" doc:"learning rate of that optimisation"`
	Decay     float64 `set:"v_weight_decay" doc:"weight in the loss of the shift's norm divided by the value's squared norm"`
	Clamp     float64 `set:"clamp_norm_factor" doc:"largest norm of the shift, relative to the norm of the value"`
	KL        float64 `set:"kl_factor" doc:"weight of the KL divergence (essence prompt) in the loss"`
	Adjust    bool    `set:"mom2_adjustment" doc:"multiply the key by the inverse of the second moments; needs a covariance"`
	FactToken string  `set:"fact_token" oneof:"subject_last|last" doc:"token whose hidden state is edited: the last of the subject, or the last of the prompt"`
	Key       string  `set:"key" oneof:"unified|mixed" doc:"unified: one mean key throughout (R-ROME); mixed: as in the code of 2022"`

	Covariance string `set:"covariance" doc:"file of second moments of the layer, .npz with mom2.mom2 and mom2.count; empty: the prepared one"`
	Contexts   string `set:"contexts" doc:"file with a JSON list of contexts, each with one {}, the first just {}; empty: the prepared ones, or else sampled ones"`
	Start      string `set:"contexts_start" oneof:"words|endoftext" doc:"what sampled contexts start with: five common words, or the end-of-text token (code of 2022)"`
	Tokens     int64  `set:"mom2_tokens" doc:"number of tokens for the second moments in prepare; 0: ten times the width of a key, at least 60,000"`
}

func validate(c Config) error {
	var errs []error
	for _, f := range []struct {
		key string
		ok  bool
	}{{"v_weight_decay", c.Decay >= 0}, {"kl_factor", c.KL >= 0}, {"mom2_tokens", c.Tokens >= 0}} {
		if !f.ok {
			errs = append(errs, fmt.Errorf("rome.%s: want 0 or more", f.key))
		}
	}
	if c.Steps < 1 || c.Rate <= 0 || c.Clamp <= 0 {
		errs = append(errs, errors.New("rome.v_num_grad_steps, v_lr and clamp_norm_factor: want more than 0"))
	}
	return errors.Join(errs...)
}

// Method is the method "rome".
func Method() edit.Method {
	return edit.Define(edit.Spec[Config]{
		Name: name, Title: "ROME", Version: 1,
		Paper:     "Meng et al. 2022, Locating and Editing Factual Associations in GPT",
		Schedules: []edit.Kind{edit.Single, edit.Sequential},
		Base:      base(), Presets: presets(), Validate: validate,
		Needs: needs, Open: open, Files: files, Prepare: prepare,
	})
}

func needs(c Config, _ *arch.Info) arch.Need {
	return locate.Need([]int{c.Layer}, arch.FFNAct, arch.FFNOut)
}

// files lists the files that the configuration names.
func files(c Config) ([]string, error) {
	var list []string
	for _, path := range []string{c.Covariance, c.Contexts} {
		if path != "" {
			list = append(list, path)
		}
	}
	return list, nil
}

// open reads what an editor needs.
func open(_ context.Context, c Config, in edit.Env) (edit.Editor, error) {
	ed := &editor{c: c, lm: in.LM}
	var err error
	ed.contexts, err = locate.OpenTexts(c.Contexts, in.Artifacts, func(ctx context.Context) ([]string, error) {
		return locate.Contexts(ctx, in.LM, c.Start, in.Seed)
	})
	if err != nil || !c.Adjust {
		return ed, err
	}
	path := cmp.Or(c.Covariance, moments.Prepared(in.Artifacts, c.Layer))
	if path == "" {
		return nil, fmt.Errorf("%w: no second moments of layer %d: prepare the method, pass --set rome.covariance=FILE, or leave them out with --set rome.mom2_adjustment=false", edit.ErrNotPrepared, c.Layer)
	}
	ed.moments, ed.factor, err = moments.ReadFactored(path)
	return ed, err
}

// prepare takes second moments over running text and samples contexts.
func prepare(ctx context.Context, c Config, in edit.PrepareEnv, out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("preparing: %w", err)
	}
	if c.Adjust { // first, as it needs running text and says so at once
		if err := moments.Prepare(ctx, []int{c.Layer}, c.Tokens, in, out); err != nil {
			return err
		}
	}
	contexts, err := locate.Contexts(ctx, in.LM, c.Start, in.Seed)
	if err != nil {
		return edit.Refused(err)
	}
	return locate.WriteContexts(filepath.Join(out, locate.ContextsFile), contexts)
}

type editor struct {
	c        Config
	lm       *models.LM
	contexts *locate.Texts
	moments  *moments.Moments
	factor   *moments.Factor // nil without adjustment
}

// Make makes edits side by side: their values are searched together.
func (ed *editor) Make(ctx context.Context, on *patch.Patch, groups [][]dataset.Edit) ([]edit.Made, error) {
	made := make([]edit.Made, len(groups))
	if ed.moments != nil {
		if err := ed.moments.Fits(ed.lm, ed.c.Layer); err != nil {
			return nil, err
		}
	}
	contexts, err := ed.contexts.All(ctx)
	if err != nil {
		return nil, err
	}
	facts := make([]*locate.Fact, len(groups))
	keys, values := make([][][]float32, len(groups)), make([][][]float32, len(groups))
	starts := make([][]float32, len(groups))
	for i, edits := range groups {
		if facts[i], made[i].Err = locate.NewFact(ed.lm, edits[0], contexts, ed.c.FactToken, false); made[i].Err != nil {
			continue
		}
		if keys[i], values[i], err = locate.Recall(ctx, ed.lm, on, ed.c.Layer, facts[i]); err != nil {
			return made, err
		}
		starts[i] = values[i][0]
	}
	search := locate.Search{Steps: ed.c.Steps, Rate: ed.c.Rate, Decay: ed.c.Decay, Clamp: ed.c.Clamp, KL: ed.c.KL}
	found, err := locate.Optimise(ctx, ed.lm, on, arch.Site{Layer: ed.c.Layer, Point: arch.FFNOut}, facts, starts, search)
	if err != nil {
		return made, err
	}
	for i, edits := range groups {
		if made[i].Err == nil {
			made[i].Err = found[i].Err
		}
		if made[i].Err != nil {
			continue
		}
		change, err := ed.update(keys[i], values[i], found[i].Shift)
		if err != nil {
			made[i].Err = err
			continue
		}
		change.At = locate.Down(ed.c.Layer)
		n := len(found[i].Losses)
		made[i] = edit.Made{
			Patch:   on.Then(&patch.Patch{Method: name, Edits: []string{string(edits[0].ID)}, Weights: []patch.Weight{change}}),
			Efforts: []edit.Effort{{Steps: int32(n), FinalLoss: float32(found[i].Losses[n-1])}},
		}
	}
	return made, nil
}

// update is the change of rank one: see the package comment. keys and values
// are those of the prompts, the bare one first, and shift leads from the first
// value to v*.
func (ed *editor) update(keys, values [][]float32, shift []float32) (patch.Weight, error) {
	key, value := locate.Mean(keys), locate.Mean(values)
	u := key
	if ed.factor != nil {
		u = ed.factor.Solve(key)
	}
	length := math.Sqrt(locate.Dot(u, u))
	if ed.c.Key == Mixed {
		key, value = locate.Mean(keys[:1]), locate.Mean(values[:1])
	}
	along := locate.Dot(key, u) / length
	if size := math.Sqrt(locate.Dot(key, key)); !(math.Abs(along) > smallest*size) {
		return patch.Weight{}, fmt.Errorf("%w: k u is %.2g, the key's norm %.2g", ErrDenominator, along, size)
	}
	left, right := make([]float32, len(u)), make([]float32, len(value))
	for i, x := range u {
		left[i] = float32(x / length)
	}
	for i, y := range value {
		right[i] = float32((float64(values[0][i]) + float64(shift[i]) - y) / along)
	}
	return patch.Weight{U: tensor.FromFloat32s(left, len(left), 1), V: tensor.FromFloat32s(right, 1, len(right))}, nil
}
