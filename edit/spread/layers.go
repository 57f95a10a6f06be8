package spread

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"editpipe/edit"
	"editpipe/edit/locate"
	"editpipe/edit/moments"
	"editpipe/models/arch"
)

// Config is the configuration of the methods that spread a change over several
// layers, for a method's own to embed. The keys are named as in the reference
// implementations.
type Config struct {
	Layers    []int   `set:"layers" in:"layers" share:"13/48 to 17/48" doc:"layers whose down-projections are changed, in ascending order; the value is optimised at the last"`
	Steps     int     `set:"v_num_grad_steps" doc:"largest number of evaluations of the loss while the value is optimised; there is one update fewer"`
	Rate      float64 `set:"v_lr" doc:"learning rate of that optimisation"`
	Decay     float64 `set:"v_weight_decay" doc:"weight in the loss of the shift's norm divided by the value's squared norm"`
	Clamp     float64 `set:"clamp_norm_factor" doc:"largest norm of the shift, relative to the norm of the value"`
	KL        float64 `set:"kl_factor" doc:"weight of the KL divergence (essence prompt) in the loss"`
	Weight    float64 `set:"mom2_update_weight" doc:"weight of the second moments, which preserve what is known, relative to the new keys"`
	FactToken string  `set:"fact_token" oneof:"subject_last|last" doc:"token whose hidden state is edited: the last of the subject, or the last of the prompt"`

	Covariance []string `set:"covariance" doc:"files of second moments, one for each layer in order, .npz with mom2.mom2 and mom2.count; empty: the prepared ones"`
	Contexts   string   `set:"contexts" doc:"file with a JSON list of contexts, each with one {}, the first just {}; empty: the prepared ones, or else sampled ones"`
	Start      string   `set:"contexts_start" oneof:"words|endoftext" doc:"what sampled contexts start with: five common words, or the end-of-text token"`
	Tokens     int64    `set:"mom2_tokens" doc:"number of tokens for the second moments in prepare; 0: ten times the width of a key, at least 60,000"`
}

// Validate reports faults that tags cannot express.
func (c Config) Validate(method string) error {
	var errs []error
	if len(c.Layers) == 0 {
		errs = append(errs, fmt.Errorf("%s.layers: want at least one layer", method))
	}
	for i := 1; i < len(c.Layers); i++ {
		if c.Layers[i] <= c.Layers[i-1] {
			errs = append(errs, fmt.Errorf("%s.layers: %v: want layers in ascending order", method, c.Layers))
			break
		}
	}
	if len(c.Covariance) > 0 && len(c.Covariance) != len(c.Layers) {
		errs = append(errs, fmt.Errorf("%s.covariance: %d files for %d layers: want one for each", method, len(c.Covariance), len(c.Layers)))
	}
	for _, f := range []struct {
		key string
		ok  bool
	}{{"v_weight_decay", c.Decay >= 0}, {"kl_factor", c.KL >= 0}, {"mom2_tokens", c.Tokens >= 0}} {
		if !f.ok {
			errs = append(errs, fmt.Errorf("%s.%s: want 0 or more", method, f.key))
		}
	}
	if c.Steps < 1 || c.Rate <= 0 || c.Clamp <= 0 || c.Weight <= 0 {
		errs = append(errs, fmt.Errorf("%s.v_num_grad_steps, v_lr, clamp_norm_factor and mom2_update_weight: want more than 0", method))
	}
	return errors.Join(errs...)
}

// Need is what the methods ask of a model: the keys of all layers, and points of
// the last at which values are searched.
func (c Config) Need(points ...arch.Point) arch.Need {
	n := locate.Need(c.Layers, arch.FFNAct)
	for _, p := range points {
		n.Sites = append(n.Sites, arch.Site{Layer: c.Layers[len(c.Layers)-1], Point: p})
	}
	return n
}

// Files lists the files that the configuration names.
func (c Config) Files() []string {
	list := append([]string(nil), c.Covariance...)
	if c.Contexts != "" {
		list = append(list, c.Contexts)
	}
	return list
}

// Sampled contexts: one for each of the five words, ten tokens long.
const (
	contextCount  = 5
	contextLength = 10
)

// Prepare takes second moments over running text and samples contexts.
func (c Config) Prepare(ctx context.Context, in edit.PrepareEnv, out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("preparing: %w", err)
	}
	// First, as they need running text and say so at once.
	if err := moments.Prepare(ctx, c.Layers, c.Tokens, in, out); err != nil {
		return err
	}
	contexts, err := locate.ContextsOf(ctx, in.LM, c.Start, in.Seed, contextCount, contextLength)
	if err != nil {
		return edit.Refused(err)
	}
	return locate.WriteContexts(filepath.Join(out, locate.ContextsFile), contexts)
}

// Open reads what an editor needs. Its rule is the method's.
func (c Config) Open(in edit.Env, rule Rule) (*Editor, error) {
	s := &Editor{c: c, rule: rule, lm: in.LM}
	var err error
	s.contexts, err = locate.OpenTexts(c.Contexts, in.Artifacts, func(ctx context.Context) ([]string, error) {
		return locate.ContextsOf(ctx, in.LM, c.Start, in.Seed, contextCount, contextLength)
	})
	if err != nil {
		return nil, err
	}
	for i, l := range c.Layers {
		path := moments.Prepared(in.Artifacts, l)
		if len(c.Covariance) > 0 {
			path = c.Covariance[i]
		}
		if path == "" {
			return nil, fmt.Errorf("%w: no second moments of layer %d: prepare the method, or pass one file for each layer with --set %s.covariance=FILE,FILE", edit.ErrNotPrepared, l, rule.Method)
		}
		m, f, err := moments.ReadFactored(path)
		if err != nil {
			return nil, err
		}
		s.layers = append(s.layers, layer{index: l, moments: m, factor: f})
	}
	return s, nil
}
