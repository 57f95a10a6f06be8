// Package neuron is the method "neuron" of the conformance suite: it edits by
// adding neurons in parallel to the feed-forward block of a layer, in closed
// form. No program lists it; it shows that a method may add networks to a
// model.
//
// For every token of a target there is one neuron, which reads what the block reads,
//
//	y' = y + max(0, k x + b) v,   k = x* / ((1-a) |x*|^2),   b = -a / (1-a),   v = -s |y*| g / |g|
//
// with x* and y* the block's input and output where the token is predicted, and
// g the gradient of the token's negative log-probability with respect to y
// there. The neuron's activation is 1 at x*, and 0 at every x whose component
// along x* is less than a x*. The form is that of Huang et al. 2023,
// "Transformer-Patcher: One Mistake Worth One Neuron", without the training.
package neuron

import (
	"context"
	"errors"
	"fmt"
	"math"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/loss"
	"editpipe/models/patch"
	"editpipe/models/run"
	"editpipe/tensor"
)

const name = "neuron"

// Config is the configuration of the method.
type Config struct {
	Below    int     `set:"below" doc:"layers between the one with the neurons and the head"`
	Strength float64 `set:"strength" doc:"s, the norm of what a neuron adds, relative to the norm of the block's output"`
	Reach    float64 `set:"reach" doc:"a, from 0 to below 1: the share of its own input above which a neuron is active"`
}

// Method is the method "neuron".
func Method() edit.Method {
	return edit.Define(edit.Spec[Config]{
		Name: name, Title: "Neurons in closed form", Version: 1,
		Schedules: []edit.Kind{edit.Single, edit.Batch, edit.Sequential},
		Base:      Config{Strength: 2, Reach: 0.9},
		Validate:  validate,
		Needs: func(c Config, i *arch.Info) arch.Need {
			in, out := c.sites(i)
			return arch.Need{Sites: []arch.Site{in, out}, Gradients: true}
		},
		Open: func(_ context.Context, c Config, in edit.Env) (edit.Editor, error) { return editor{c, in.LM}, nil },
	})
}

func validate(c Config) error {
	if c.Below < 0 || c.Strength <= 0 || c.Reach < 0 || c.Reach >= 1 {
		return errors.New("neuron.below: want 0 or more; neuron.strength: more than 0; neuron.reach: from 0 to below 1")
	}
	return nil
}

// sites are what the neurons' block reads and gives.
func (c Config) sites(i *arch.Info) (in, out arch.Site) {
	layer := i.Layers - 1 - c.Below
	return arch.Site{Layer: layer, Point: arch.FFNIn}, arch.Site{Layer: layer, Point: arch.FFNOut}
}

type editor struct {
	Config
	lm *models.LM
}

// Make adds the neurons of all edits of a group, each found on what stood before.
func (ed editor) Make(ctx context.Context, on *patch.Patch, groups [][]dataset.Edit) ([]edit.Made, error) {
	made := make([]edit.Made, len(groups))
	for i, edits := range groups {
		made[i].Patch, made[i].Err = ed.together(ctx, on, edits)
	}
	return made, nil
}

func (ed editor) together(ctx context.Context, on *patch.Patch, edits []dataset.Edit) (*patch.Patch, error) {
	added := &patch.Patch{Method: name}
	for _, e := range edits {
		s, err := ed.neurons(ctx, on, e)
		if err != nil {
			return nil, edit.Wrap(name, e.ID, err)
		}
		added.Edits, added.Splices = append(added.Edits, string(e.ID)), append(added.Splices, s)
	}
	return on.Then(added), nil
}

// neurons are those of an edit, one for each token of its target.
func (ed editor) neurons(ctx context.Context, on *patch.Patch, e dataset.Edit) (patch.Splice, error) {
	lm := ed.lm
	in, out := ed.sites(lm.Info())
	prompt, target, err := run.Continuation(lm, e.Prompt, e.Target)
	if err != nil {
		return patch.Splice{}, err
	}
	ids := append(append([]int64(nil), prompt...), target[:len(target)-1]...)
	row := activation.Row{Query: ask.Query{PromptIDs: prompt, TargetIDs: [][]int64{target}}, Patch: on}
	var losses []loss.Row
	for i, id := range target {
		at := len(prompt) - 1 + i
		row.Positions = append(row.Positions, at)
		losses = append(losses, loss.Row{IDs: ids, Patch: on, At: at, Terms: []loss.Term{{Position: at, Target: id, NLL: 1}}})
	}
	seen, err := activation.Trace(ctx, lm, []activation.Row{row}, in, out)
	if err == nil {
		err = seen[0].Err
	}
	if err != nil {
		return patch.Splice{}, fmt.Errorf("reading %s: %w", in, err)
	}
	slopes, err := loss.At(ctx, lm, []arch.Site{out}, losses)
	if err != nil {
		return patch.Splice{}, err
	}
	n, width := len(target), lm.Info().Width
	k, b, v := tensor.New(tensor.F32, width, n), tensor.New(tensor.F32, n), tensor.New(tensor.F32, n, width)
	for j, l := range slopes {
		if l.Err != nil {
			return patch.Splice{}, l.Err
		}
		x, y := seen[0].Values[0].Float32s()[j*width:(j+1)*width], seen[0].Values[1].Float32s()[j*width:(j+1)*width]
		size, slope := norm(x), norm(l.Gradient)
		if size == 0 || slope == 0 {
			return patch.Splice{}, fmt.Errorf("token %d of the target: the block's input or the loss's gradient is zero", j)
		}
		for i := range width {
			k.Float32s()[i*n+j] = float32(float64(x[i]) / ((1 - ed.Reach) * size * size))
			v.Float32s()[j*width+i] = float32(-ed.Strength * norm(y) / slope * float64(l.Gradient[i]))
		}
		b.Float32s()[j] = float32(-ed.Reach / (1 - ed.Reach))
	}
	return patch.Splice{At: out, Kind: graph.NeuronsReLU, Params: map[string]*tensor.Tensor{"k": k, "b": b, "v": v}}, nil
}

func norm(v []float32) float64 {
	sum := 0.0
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}
