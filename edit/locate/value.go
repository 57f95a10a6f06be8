package locate

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/patch"
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
	// Weigh, if not nil, is asked after every evaluation of a fact how much the
	// likelihood weighs in the next one, and whether the search may end; it weighs
	// 1 in the first. Facts are searched on several goroutines.
	Weigh func(s Standing) (likelihood float64, enough bool)
}

// Standing is where the search for a fact stands after an evaluation.
type Standing struct {
	// LogProbs and Best are log-probabilities by prompt and token of the target:
	// of that token, and of the most probable one in its place.
	LogProbs, Best [][]float64
	KL             float64 // the divergence at the subject, weighted
}

// enough is the loss below which the search ends.
const enough = 0.05

// Found is the outcome of a search.
type Found struct {
	Shift  []float32 // the value is to move by this much; of several sites one behind the other
	Losses []float64 // of every evaluation, nats, all terms included
	Err    error
}

// shiftName names the variable of a site.
func shiftName(site int) string { return "shift" + strconv.Itoa(site) }

// Optimise searches, for each fact, the shift of the value at a site that
// minimises (Meng et al. 2022, equation 4)
//
//	mean over prompts and target tokens of -log p(target | prompt)
//	  + KL KL(p_shifted || p) of the essence at the subject
//	  + Decay |shift| / |start|^2
//
// with the same shift in every prompt and in the essence. starts are the values
// that the shifts are added to, in the first prompt. Facts are searched side by
// side: those share runs that are padded alike, so that what else is searched
// does not move the outcome. Facts without an entry in starts are passed over.
func Optimise(ctx context.Context, lm *models.LM, on *patch.Patch, at arch.Site, facts []*Fact, starts [][]float32, s Search) ([]Found, error) {
	return OptimiseAt(ctx, lm, on, []arch.Site{at}, facts, starts, s)
}

// OptimiseAt is Optimise with shifts at sites of one width that are searched
// together, each with a decay and a clamp of its own (Li et al. 2024, "PMET:
// Precise Model Editing in a Transformer", section 4.2). Starts and shifts hold
// those of the sites one behind the other.
func OptimiseAt(ctx context.Context, lm *models.LM, on *patch.Patch, at []arch.Site, facts []*Fact, starts [][]float32, s Search) ([]Found, error) {
	found := make([]Found, len(facts))
	o := &objective{lm: lm, patch: on, at: at, search: s}
	var problems []train.Problem
	var owner []int
	for i, f := range facts {
		if starts[i] == nil {
			continue
		}
		p, width := train.Problem{}, len(starts[i])/len(at)
		for k, site := range at {
			v := wide(starts[i][k*width : (k+1)*width])
			square := Dot(v, v)
			if square == 0 {
				found[i].Err = fmt.Errorf("locate: the value at %s is zero", site)
				break
			}
			p[shiftName(k)] = train.Variable{
				Start:   tensor.New(tensor.F32, width),
				Penalty: train.Norm(s.Decay / square),
				Project: train.Ball(nil, s.Clamp*math.Sqrt(square)),
			}
		}
		if found[i].Err != nil {
			continue
		}
		o.facts = append(o.facts, f)
		owner = append(owner, i)
		problems = append(problems, p)
	}
	reports, err := o.minimise(ctx, problems)
	if err != nil {
		return nil, err
	}
	for k, r := range reports {
		f := &found[owner[k]]
		f.Losses, f.Err = r.Losses, r.Err
		f.Shift = o.shift(r.Values)
	}
	return found, nil
}

// narrow converts to a float32 vector.
func narrow(v []float64) *tensor.Tensor {
	t := tensor.New(tensor.F32, len(v))
	for i, x := range v {
		t.Float32s()[i] = float32(x)
	}
	return t
}
