package locate

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"editpipe/models"
	"editpipe/tensor"
	"editpipe/train"
)

// Search says how a value is optimised; the names in brackets are those of the
// reference implementation.
type Search struct {
	Steps int     // evaluations; updates are one fewer [v_num_grad_steps]
	Rate  float64 // of Adam [v_lr]
	Decay float64 // weight of |shift| / |value|^2 [v_weight_decay]
	Clamp float64 // largest |shift| / |value| [clamp_norm_factor]
	KL    float64 // weight of the divergence at the subject [kl_factor]
}

// enough is the loss below which the search ends.
const enough = 0.05

// Found is the outcome of a search.
type Found struct {
	Shift  []float32 // the value is to move by this much
	Losses []float64 // of every evaluation, nats, all terms included
	Err    error
}

// shiftName names the one variable of a search.
const shiftName = "shift"

// Optimise searches, for each fact, the shift of the value at a site that
// minimises (Meng et al. 2022, equation 4)
//
//	mean over prompts and target tokens of -log p(target | prompt)
//	  + KL KL(p_shifted || p) of the essence at the subject
//	  + Decay |shift| / |start|^2
//
// with the same shift in every prompt and in the essence. starts are the values
// that the shifts are added to, in the first prompt. Facts are searched side by
// side: those share runs whose longest sequences are equally long, so that what
// else is searched does not move the outcome. Facts without an entry in starts are passed over.
func Optimise(ctx context.Context, lm *models.LM, patch *models.Patch, at models.Site, facts []*Fact, starts [][]float32, s Search) ([]Found, error) {
	found := make([]Found, len(facts))
	o := &objective{lm: lm, patch: patch, at: at, kl: s.KL}
	var problems []train.Problem
	var owner []int
	for i, f := range facts {
		if starts[i] == nil {
			continue
		}
		v := wide(starts[i])
		square := Dot(v, v)
		if square == 0 {
			found[i].Err = fmt.Errorf("locate: the value at %s is zero", at)
			continue
		}
		o.facts = append(o.facts, f)
		owner = append(owner, i)
		problems = append(problems, train.Problem{shiftName: {
			Start:   tensor.New(tensor.F32, len(starts[i])),
			Penalty: train.Norm(s.Decay / square),
			Project: train.Ball(nil, s.Clamp*math.Sqrt(square)),
		}})
	}
	if len(problems) == 0 {
		return found, nil
	}
	if err := o.remember(ctx); err != nil {
		return nil, err
	}
	reports, err := train.Minimise(ctx, o, problems, train.Config{Optimiser: train.NewAdam(s.Rate), Steps: s.Steps, Stop: train.Below(enough)})
	if err != nil {
		return nil, err
	}
	for k, r := range reports {
		f := &found[owner[k]]
		f.Losses, f.Err = r.Losses, r.Err
		f.Shift = r.Values[shiftName].Float32s()
	}
	return found, nil
}

// objective is the part of the loss that the model computes.
type objective struct {
	lm         *models.LM
	patch      *models.Patch
	at         models.Site
	kl         float64
	facts      []*Fact
	references [][]float32 // log-distributions of the essence before the edit
}

// remember reads the references.
func (o *objective) remember(ctx context.Context) error {
	for _, f := range o.facts {
		losses, err := o.losses(ctx, []models.LossRow{{
			IDs: f.Essence.IDs, Patch: o.patch, At: f.Essence.At,
			Terms: []models.LossTerm{{Position: f.Essence.At}}, Distributions: true,
		}})
		if err != nil {
			return err
		}
		o.references = append(o.references, losses[0].Distributions.Float32s())
	}
	return nil
}

// losses asks for rows of facts, all of which are known to fit the model.
func (o *objective) losses(ctx context.Context, rows []models.LossRow) ([]models.Loss, error) {
	losses, err := o.lm.Losses(ctx, o.at, rows)
	if err != nil {
		return nil, err
	}
	for _, l := range losses {
		if l.Err != nil {
			return nil, l.Err
		}
	}
	return losses, nil
}

// Evaluate implements train.Objective.
func (o *objective) Evaluate(ctx context.Context, problems []int, at []train.Values) ([]float64, []train.Values, error) {
	sums, gradients := make([]float64, len(problems)), make([]train.Values, len(problems))
	alike := map[int][]int{} // places in problems by longest sequence
	for k, p := range problems {
		n := o.facts[p].longest()
		alike[n] = append(alike[n], k)
	}
	for _, n := range slices.Sorted(maps.Keys(alike)) {
		var rows []models.LossRow
		var owner []int
		for _, k := range alike[n] {
			more := o.rows(problems[k], at[k][shiftName].Float32s())
			rows = append(rows, more...)
			owner = append(owner, slices.Repeat([]int{k}, len(more))...)
		}
		losses, err := o.losses(ctx, rows)
		if err != nil {
			return nil, nil, err
		}
		slopes := map[int][]float64{}
		for i, l := range losses {
			k := owner[i]
			sums[k] += l.Loss
			if slopes[k] == nil {
				slopes[k] = make([]float64, len(l.Gradient))
			}
			for j, x := range l.Gradient {
				slopes[k][j] += float64(x)
			}
		}
		for k, slope := range slopes {
			gradients[k] = train.Values{shiftName: narrow(slope)}
		}
	}
	return sums, gradients, nil
}

// rows are those of a fact with a shift.
func (o *objective) rows(fact int, shift []float32) []models.LossRow {
	f := o.facts[fact]
	var rows []models.LossRow
	each := 1 / float64(len(f.Prompts)*len(f.Target))
	for _, s := range f.Prompts {
		r := models.LossRow{IDs: slices.Concat(s.IDs, f.Target[:len(f.Target)-1]), Patch: o.patch, At: s.At, Shift: shift}
		for j, id := range f.Target {
			r.Terms = append(r.Terms, models.LossTerm{Position: len(s.IDs) - 1 + j, Target: id, NLL: each})
		}
		rows = append(rows, r)
	}
	return append(rows, models.LossRow{
		IDs: f.Essence.IDs, Patch: o.patch, At: f.Essence.At, Shift: shift,
		Terms: []models.LossTerm{{Position: f.Essence.At, KL: o.kl, Reference: o.references[fact]}},
	})
}

// narrow converts to a float32 vector.
func narrow(v []float64) *tensor.Tensor {
	t := tensor.New(tensor.F32, len(v))
	for i, x := range v {
		t.Float32s()[i] = float32(x)
	}
	return t
}
