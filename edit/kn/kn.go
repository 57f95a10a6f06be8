// Package kn edits facts through knowledge neurons: the elements of the
// feed-forward activations that the probability of an object depends on most.
//
// Dai et al. 2022, "Knowledge Neurons in Pretrained Transformers". With a[l] the
// activation of layer l at the last position of a prompt (section 3.1; there: at
// the mask), the attribution of neuron i is
//
//	a[l][i] / m  sum over k of  d P(object | a[l] := alpha_k a[l]) / d a[l][i]
//
// Neurons above a share of the largest attribution are kept and, if the fact
// has several prompts, only those that enough of them share (section 3.2). The
// rows v of the down-projection [in, out] that they select are moved from the
// embedding of the old object to that of the new one (section 5.1):
//
//	v' = v - lambda1 |v| e_old / |e_old| + lambda2 |v| e_new / |e_new|
//
// This was made for BERT, with objects of one token. Two later programs
// implement it for left-to-right models, with choices of their own: the code of
// Meng et al. 2022, "Locating and Editing Factual Associations in GPT", and
// EasyEdit. Config has all three as variants. All of them change a layer's rows
// by multiples of one vector, so an edit is a change of rank one in every layer
// it changes.
package kn

import (
	"context"
	"errors"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/locate"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/patch"
)

const name = "kn"

// Variants of the method, each chosen as a whole.
const (
	Paper    = "paper"    // Dai et al. 2022, carried over to left-to-right models
	Port     = "port"     // code of Meng et al. 2022
	EasyEdit = "easyedit" // code of Zhang et al. 2024
)

// What becomes of the neurons' rows.
const (
	Change = "edit"  // they move from the old object to the new one
	Erase  = "erase" // they become zero, so that the old object is forgotten
)

// How attributions are found.
const (
	Integrated = "integrated" // integrated gradients
	Zeroing    = "zeroing"    // the loss of probability without the neuron
)

// asVariant leaves a key to the variant.
const asVariant = "variant"

// Config is the configuration of KN.
type Config struct {
	Variant     string  `set:"variant" oneof:"paper|port|easyedit" doc:"which rules: the paper's, those of ROME's code (port), or EasyEdit's"`
	Mode        string  `set:"mode" oneof:"edit|erase" doc:"edit: rows move to the new object; erase: rows become zero"`
	Attribution string  `set:"attribution" oneof:"integrated|zeroing" doc:"integrated gradients, or the drop in probability when a neuron is set to zero (one row per neuron)"`
	Steps       int     `set:"steps" doc:"number of points of the integral"`
	Threshold   float64 `set:"adaptive_threshold" doc:"smallest attribution of a neuron, as a share of the largest"`
	Refine      string  `set:"refine" oneof:"variant|yes|no" doc:"keep only neurons that several prompts share; variant: yes for the paper's, no for the others"`
	Agreement   float64 `set:"p" doc:"share of the prompts that must have a neuron in common; 0: the variant's (paper 0.7, others 0.4)"`
	Most        int     `set:"max_neurons" doc:"largest number of neurons per edit, those with the largest attributions; 0: no limit"`
	Tokens      string  `set:"multi_token" oneof:"variant|append|bare" doc:"append: later tokens of the old object are attributed after the earlier ones; bare: on the bare prompt, as ROME's code and EasyEdit do"`
	Space       string  `set:"space" oneof:"variant|add|never" doc:"add: objects are tokenised with a space before them; never: without, as ROME's code and EasyEdit do"`
	Old         float64 `set:"lambda_old" doc:"lambda1 of the paper's rule"`
	New         float64 `set:"lambda_new" doc:"lambda2 of the paper's rule"`
	Facts       int     `set:"relation_facts" doc:"largest number of facts of a relation that prepare looks at"`
}

func validate(c Config) error {
	var errs []error
	if c.Steps < 1 || c.Facts < 1 {
		errs = append(errs, errors.New("steps and relation_facts: want more than 0"))
	}
	if c.Threshold < 0 || c.Threshold >= 1 || c.Agreement < 0 || c.Agreement > 1 {
		errs = append(errs, errors.New("adaptive_threshold and p: want a share, the former below 1"))
	}
	if c.Most < 0 || c.Old < 0 || c.New < 0 {
		errs = append(errs, errors.New("max_neurons, lambda_old and lambda_new: want 0 or more"))
	}
	return errors.Join(errs...)
}

// Method is the method "kn".
func Method() edit.Method {
	return edit.Define(edit.Spec[Config]{
		Name: name, Title: "KN", Version: 1,
		Paper:     "Dai et al. 2022, Knowledge Neurons in Pretrained Transformers",
		Schedules: []edit.Kind{edit.Single, edit.Sequential},
		Base:      base(), Presets: presets(), Validate: validate,
		Needs: needs, Open: open, Prepare: prepare,
	})
}

// needs are the down-projections and the neurons of all layers.
func needs(c Config, info *arch.Info) arch.Need {
	layers := make([]int, info.Layers)
	for l := range layers {
		layers[l] = l
	}
	return locate.Need(layers, c.point())
}

// open reads what preparing wrote, if the configuration has a use for it.
func open(_ context.Context, c Config, in edit.Env) (edit.Editor, error) {
	ed := &editor{c: c, lm: in.LM}
	var err error
	if c.refines() {
		ed.relations, err = readRelations(in.Artifacts)
	}
	return ed, err
}

// paper says whether the choices are the paper's.
func (c Config) paper() bool { return c.Variant == Paper }

// point is where neurons are: behind the activation function, or before it as
// both programs have it.
func (c Config) point() arch.Point {
	if c.paper() {
		return arch.FFNAct
	}
	return arch.FFNPre
}

// alpha is the scale of the activation at point k of the integral: that of a
// left Riemann sum, or of points that include both ends.
func (c Config) alpha(k int) float64 {
	switch {
	case c.paper():
		return float64(k) / float64(c.Steps)
	case c.Steps == 1:
		return 0
	}
	return float64(k) / float64(c.Steps-1)
}

func (c Config) refines() bool   { return c.Refine == "yes" || c.Refine == asVariant && c.paper() }
func (c Config) appends() bool   { return c.Tokens == "append" || c.Tokens == asVariant && c.paper() }
func (c Config) addsSpace() bool { return c.Space == "add" || c.Space == asVariant && c.paper() }

// editor makes edits.
type editor struct {
	c         Config
	lm        *models.LM
	relations map[string]*relation // nil where nothing was prepared
}

// Make makes edits side by side: their attributions share runs.
func (ed *editor) Make(ctx context.Context, on *patch.Patch, groups [][]dataset.Edit) ([]edit.Made, error) {
	made := make([]edit.Made, len(groups))
	facts, errs := make([]*fact, len(groups)), make([]error, len(groups))
	for i, edits := range groups {
		facts[i], errs[i] = ed.newFact(edits[0])
	}
	err := ed.predict(ctx, on, facts, errs)
	var scores [][]scores
	if err == nil {
		scores, err = ed.attribute(ctx, on, facts, errs)
	}
	w := &rows{lm: ed.lm, on: on, weights: map[int][]float32{}}
	for i, edits := range groups {
		if made[i].Err = errs[i]; err != nil || errs[i] != nil {
			continue
		}
		changes, err := ed.update(w, facts[i], ed.choose(scores[i], ed.relation(edits[0])))
		if err != nil {
			made[i].Err = err
			continue
		}
		made[i].Patch = on.Then(&patch.Patch{Method: name, Edits: []string{string(edits[0].ID)}, Weights: changes})
	}
	return made, err
}
