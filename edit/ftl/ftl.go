// Package ftl edits facts by fine-tuning one down-projection.
//
// With W [in, out] the down-projection of a layer and D its change, Adam
// minimises the mean negative log-likelihood of the targets over D, starting
// from 0, and cuts every element back to a box after each update:
//
//	D <- min(max(D - Adam(dL/dD), -eps), eps)
//
// FT-L: Zhu et al. 2020, "Modifying Memories in Transformer Models", section 3,
// in the form of Meng et al. 2022, "Locating and Editing Factual Associations
// in GPT", appendix E.1: all tokens of a target are scored at the last position
// of the prompt. FT-M: Zhang et al. 2024, "A Comprehensive Study of Knowledge
// Editing for Large Language Models": each token is scored given the tokens
// before it, and the prompt's tokens do not count.
//
// With x the inputs of the projection at every position and d the derivatives
// with respect to its outputs, dL/dD = x' d. If the projection has a bias, it
// is trained with the weight, as in the reference implementations; its
// derivative is the sum of d over positions.
package ftl

import (
	"context"
	"errors"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/locate"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/tensor"
	"editpipe/train"
)

// Ids of the methods.
const (
	promptLast = "ft-l"
	masked     = "ft-m"
)

// enough ends the training: a loss less than this, as in the reference
// implementations.
const enough = 1e-2

// Config is the configuration of both methods.
type Config struct {
	Layer int     `set:"layer" in:"layers" share:"21/32" doc:"layer whose down-projection is trained"`
	Steps int     `set:"num_steps" doc:"largest number of updates"`
	Rate  float64 `set:"lr" doc:"learning rate of Adam"`
	Decay float64 `set:"weight_decay" doc:"weight decay of the changed weight"`
	Bound float64 `set:"norm_constraint" doc:"largest change of an element (eps); 0: no limit"`
	Bias  bool    `set:"train_bias" doc:"train the bias of the down-projection as well, where it has one (reference implementations)"`
}

func validate(c Config) error {
	var errs []error
	if c.Decay < 0 || c.Bound < 0 {
		errs = append(errs, errors.New("weight_decay and norm_constraint: want 0 or more"))
	}
	if c.Steps < 1 || c.Rate <= 0 {
		errs = append(errs, errors.New("num_steps and lr: want more than 0"))
	}
	return errors.Join(errs...)
}

// Methods are "ft-l" and "ft-m".
func Methods() []edit.Method {
	return []edit.Method{
		method(promptLast, "FT-L", "Zhu et al. 2020, Modifying Memories in Transformer Models; Meng et al. 2022, Locating and Editing Factual Associations in GPT"),
		method(masked, "FT-M", "Zhang et al. 2024, A Comprehensive Study of Knowledge Editing for Large Language Models"),
	}
}

func method(name, title, paper string) edit.Method {
	return edit.Define(edit.Spec[Config]{
		Name: name, Title: title, Paper: paper, Version: 2,
		Schedules: []edit.Kind{edit.Single, edit.Batch, edit.Sequential},
		Base:      base(), Presets: presets(), Validate: validate, Needs: needs,
		Open: func(_ context.Context, c Config, in edit.Env) (edit.Editor, error) {
			return &editor{name: name, c: c, lm: in.LM}, nil
		},
	})
}

func needs(c Config, _ *arch.Info) arch.Need {
	return locate.Need([]int{c.Layer}, arch.FFNAct, arch.FFNOut)
}

type editor struct {
	name string
	c    Config
	lm   *models.LM
}

// Make trains a change for each group, which lowers the mean loss of its edits;
// losses and slopes are computed side by side, of as many groups as the memory
// budget has room for.
func (ed *editor) Make(ctx context.Context, on *patch.Patch, groups [][]dataset.Edit) ([]edit.Made, error) {
	made := make([]edit.Made, len(groups))
	at := locate.Down(ed.c.Layer)
	w := ed.lm.Info().Weight(at)
	most := max(int(ed.lm.Budget()/int64(copies*4*w.In*w.Out)), 1)
	for from := 0; from < len(groups); from += most {
		to := min(from+most, len(groups))
		if err := ed.train(ctx, on, at, w, groups[from:to], made[from:to]); err != nil {
			return made, err
		}
	}
	return made, nil
}

// copies is how many arrays of the size of the weight a training holds: the
// change, its gradient, the two moments, and the change once more in the patch.
const copies = 5

// train trains the changes of groups side by side and fills in what becomes of
// them. It returns what keeps all of them from being made.
func (ed *editor) train(ctx context.Context, on *patch.Patch, at arch.WeightID, w *arch.Weight, groups [][]dataset.Edit, made []edit.Made) (err error) {
	var tasks []*task
	var problems []train.Problem
	var places []int
	for i, list := range groups {
		k, err := newTask(ctx, ed.name, ed.lm, on, at, list)
		if err == nil {
			var p train.Problem
			if p, err = ed.problem(on, at, w); err == nil {
				tasks, problems, places = append(tasks, k), append(problems, p), append(places, i)
				continue
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		made[i].Err = err
	}
	if len(tasks) == 0 {
		return nil
	}
	o := newObjective(ed.name, ed.lm, on, at, tasks)
	defer func() { err = errors.Join(err, o.searches.Close()) }()
	reports, err := train.Minimise(ctx, o, problems, train.Config{
		Optimiser: train.NewAdam(ed.c.Rate), Steps: ed.c.Steps, UpdateLast: true, Stop: train.Below(enough),
	})
	if err != nil {
		return err
	}
	for k, r := range reports {
		if made[places[k]].Err = r.Err; r.Err == nil {
			made[places[k]] = ed.made(on, at, tasks[k], r)
		}
	}
	return nil
}

// made is what becomes of a group whose change was trained.
func (ed *editor) made(on *patch.Patch, at arch.WeightID, k *task, r train.Report) edit.Made {
	p := with(on, at, r.Values)
	p.Method = ed.name
	efforts := make([]edit.Effort, len(k.edits))
	for i, e := range k.edits {
		p.Edits = append(p.Edits, string(e.ID))
		efforts[i] = edit.Effort{Steps: int32(r.Updates), FinalLoss: float32(r.Losses[len(r.Losses)-1])}
	}
	// Changes of one weight add up to one, or a sequence would keep every step.
	p, err := p.Merge()
	if err != nil {
		return edit.Made{Err: err}
	}
	return edit.Made{Patch: p, Efforts: efforts}
}

// problem is the training of a weight and of its bias.
func (ed *editor) problem(on *patch.Patch, at arch.WeightID, w *arch.Weight) (train.Problem, error) {
	type part struct {
		name  string
		shape []int
		value func(*models.LM, *patch.Patch, arch.WeightID) ([]float32, error)
	}
	parts := []part{{variable, []int{w.In, w.Out}, weight}}
	if ed.c.Bias && w.Bias != "" {
		parts = append(parts, part{biasVariable, []int{w.Out}, bias})
	}
	p := train.Problem{}
	for _, part := range parts {
		v := train.Variable{Start: tensor.New(tensor.F32, part.shape...)}
		if ed.c.Bound > 0 {
			v.Project = train.Box(v.Start.Float32s(), ed.c.Bound)
		}
		if ed.c.Decay > 0 {
			value, err := part.value(ed.lm, on, at)
			if err != nil {
				return nil, err
			}
			v.Penalty = decay(value, ed.c.Decay)
		}
		p[part.name] = v
	}
	return p, nil
}

// decay adds weight decay to the gradient, as Adam does that trains the weight
// itself; the loss does not count it.
func decay(weight []float32, rate float64) func(x, gradient []float32) float64 {
	return func(x, gradient []float32) float64 {
		for i, d := range x {
			gradient[i] += float32(rate * (float64(weight[i]) + float64(d)))
		}
		return 0
	}
}
