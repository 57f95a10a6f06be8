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
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"editpipe/edit"
	"editpipe/edit/locate"
	"editpipe/models"
)

const name = "memit"

// Config is the configuration of MEMIT. Its defaults are those of the reference
// implementation.
type Config struct {
	Layers    []int   `set:"layers" doc:"layers whose down-projections are changed, in ascending order; the value is searched behind the last"`
	Steps     int     `set:"v_num_grad_steps" doc:"most evaluations of the loss when the value is searched; updates are one fewer"`
	Rate      float64 `set:"v_lr" doc:"learning rate of that search"`
	Decay     float64 `set:"v_weight_decay" doc:"weight of the shift's norm over the value's squared norm in the loss"`
	Clamp     float64 `set:"clamp_norm_factor" doc:"largest norm of the shift, in norms of the value"`
	KL        float64 `set:"kl_factor" doc:"weight of the divergence at the subject in the loss"`
	Weight    float64 `set:"mom2_update_weight" doc:"weight of the second moments, which keep what is known, against the new keys"`
	FactToken string  `set:"fact_token" oneof:"subject_last|last" doc:"token at which the fact enters: last of the subject, or last of the prompt"`

	Covariance []string `set:"covariance" doc:"files of second moments, one for each layer in order, .npz with mom2.mom2 and mom2.count; empty: those prepared"`
	Contexts   string   `set:"contexts" doc:"file with a JSON list of contexts, each with one {}, the first {} alone; empty: those prepared, or else sampled"`
	Start      string   `set:"contexts_start" oneof:"words|endoftext" doc:"what sampled contexts start with: five common words, or the end-of-text token"`
	Tokens     int64    `set:"mom2_tokens" doc:"tokens to take second moments over when preparing; 0: ten times the width of a key"`
}

// defaults gives the reference's hyperparameters: layers 13 to 17 of GPT-2 with
// 48 layers, 3 to 8 of GPT-J, 4 to 8 of LLaMA and other deep models, and in
// proportion to GPT-2 with 48 layers elsewhere.
func defaults(info *models.Info) Config {
	first, last := 13*info.Layers/48, 17*info.Layers/48
	c := Config{
		Steps: 20, Rate: 0.5, Decay: 0.5, Clamp: 0.75, KL: 0.0625, Weight: 20000,
		FactToken: locate.SubjectLast, Start: locate.Words,
	}
	switch {
	case info.Family == "gptj" && info.Layers == 28:
		first, last, c.Steps, c.Weight = 3, 8, 25, 15000
	case info.Family != "gpt2" && info.Layers >= 28:
		first, last, c.Steps, c.Decay, c.Clamp, c.Weight = 4, 8, 25, 1e-3, 4, 15000
	}
	for l := first; l <= last; l++ {
		c.Layers = append(c.Layers, l)
	}
	return c
}

func validate(c Config) error {
	var errs []error
	if len(c.Layers) == 0 {
		errs = append(errs, errors.New("memit.layers: want at least one layer"))
	}
	for i, l := range c.Layers {
		if l < 0 || i > 0 && l <= c.Layers[i-1] {
			errs = append(errs, fmt.Errorf("memit.layers: %v: want layers of 0 or more in ascending order", c.Layers))
			break
		}
	}
	if len(c.Covariance) > 0 && len(c.Covariance) != len(c.Layers) {
		errs = append(errs, fmt.Errorf("memit.covariance: %d files for %d layers: want one for each", len(c.Covariance), len(c.Layers)))
	}
	for _, f := range []struct {
		key string
		ok  bool
	}{{"v_weight_decay", c.Decay >= 0}, {"kl_factor", c.KL >= 0}, {"mom2_tokens", c.Tokens >= 0}} {
		if !f.ok {
			errs = append(errs, fmt.Errorf("memit.%s: want 0 or more", f.key))
		}
	}
	if c.Steps < 1 || c.Rate <= 0 || c.Clamp <= 0 || c.Weight <= 0 {
		errs = append(errs, errors.New("memit.v_num_grad_steps, v_lr, clamp_norm_factor and mom2_update_weight: want more than 0"))
	}
	return errors.Join(errs...)
}

// Method is the method "memit".
func Method() edit.Method {
	return edit.Define(edit.Spec[Config]{
		Name: name, Title: "MEMIT", Version: 1,
		Paper:    "Meng et al. 2023, Mass-Editing Memory in a Transformer",
		Settings: []edit.Kind{edit.Single, edit.Batch, edit.Sequential},
		Defaults: defaults, Validate: validate,
		New: open, Files: files, Prepare: prepare,
	})
}

// files lists the files that the configuration names.
func files(c Config) ([]string, error) {
	list := append([]string(nil), c.Covariance...)
	if c.Contexts != "" {
		list = append(list, c.Contexts)
	}
	return list, nil
}

// Sampled contexts: one for each of the five words, ten tokens long.
const (
	contextCount  = 5
	contextLength = 10
)

// open reads what an editor needs.
func open(c Config, in edit.Inputs) (edit.Editor, error) {
	ed := &editor{c: c, seed: in.Seed, sampled: map[*models.LM][]string{}}
	if path := filepath.Join(in.Artifacts, locate.ContextsFile); c.Contexts == "" && in.Artifacts != "" {
		if _, err := os.Stat(path); err == nil {
			c.Contexts = path
		}
	}
	var err error
	if c.Contexts != "" {
		if ed.contexts, err = locate.ReadContexts(c.Contexts); err != nil {
			return nil, err
		}
	}
	for i, l := range c.Layers {
		path := filepath.Join(in.Artifacts, locate.MomentsFile(l))
		if len(c.Covariance) > 0 {
			path = c.Covariance[i]
		} else if _, err := os.Stat(path); in.Artifacts == "" || err != nil {
			return nil, fmt.Errorf("no second moments of layer %d: prepare the method, or pass one file for each layer with --set memit.covariance=FILE,FILE", l)
		}
		m, f, err := locate.ReadFactored(path)
		if err != nil {
			return nil, err
		}
		ed.layers = append(ed.layers, layer{index: l, moments: m, factor: f})
	}
	return ed, nil
}

// prepare takes second moments over running text and samples contexts.
func prepare(ctx context.Context, on edit.Base, c Config, in edit.PrepareInput, out string) error {
	contexts, err := locate.ContextsOf(ctx, on.LM, c.Start, in.Seed, contextCount, contextLength)
	if err != nil {
		return locate.Refused(err)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("preparing: %w", err)
	}
	if err := locate.WriteContexts(filepath.Join(out, locate.ContextsFile), contexts); err != nil {
		return err
	}
	return locate.PrepareMoments(ctx, on.LM, c.Layers, c.Tokens, in, out)
}

type editor struct {
	c        Config
	seed     int64
	contexts []string // nil: sampled from the model
	layers   []layer  // ascending

	mu      sync.Mutex
	sampled map[*models.LM][]string
}

// texts are the contexts for a model.
func (ed *editor) texts(ctx context.Context, lm *models.LM) ([]string, error) {
	if ed.contexts != nil {
		return ed.contexts, nil
	}
	ed.mu.Lock()
	defer ed.mu.Unlock()
	if ed.sampled[lm] == nil {
		list, err := locate.ContextsOf(ctx, lm, ed.c.Start, ed.seed, contextCount, contextLength)
		if err != nil {
			return nil, err
		}
		ed.sampled[lm] = list
	}
	return ed.sampled[lm], nil
}
