package kn

import (
	"cmp"
	"errors"
	"math"
	"slices"

	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/tensor"
)

// neuron is an element of the activation of a layer.
type neuron struct{ layer, index int }

func (n neuron) compare(m neuron) int {
	return cmp.Or(cmp.Compare(n.layer, m.layer), cmp.Compare(n.index, m.index))
}

// Shares of the prompts that have to agree on a neuron.
const (
	paperAgreement = 0.7
	portAgreement  = 0.4
)

// fewest is the fewest prompts that the paper's refinement lets agree, where
// there are so many.
const fewest = 3

// coarse lists the neurons of one prompt whose attribution is at least, in both
// programs more than, a share of the largest.
func (c Config) coarse(s scores) []neuron {
	top := math.Inf(-1)
	for _, layer := range s {
		top = max(top, slices.Max(layer))
	}
	if top <= 0 {
		return nil // nothing speaks for the object
	}
	var list []neuron
	for l, layer := range s {
		for i, x := range layer {
			if least := c.Threshold * top; x > least || c.paper() && x == least {
				list = append(list, neuron{l, i})
			}
		}
	}
	return list
}

// choose picks the neurons of a fact from the attributions of its prompts, in
// order of layer and index. r is what is known of its relation, or nil.
func (ed *editor) choose(prompts []scores, r *relation) []neuron {
	votes := map[neuron]int{}
	for _, s := range prompts {
		for _, n := range ed.c.coarse(s) {
			votes[n]++
		}
	}
	var list []neuron
	for n, v := range votes {
		if !ed.c.refines() || ed.c.agreed(v, len(prompts), r) && r.specific(n) {
			list = append(list, n)
		}
	}
	if ed.c.Most > 0 && len(list) > ed.c.Most {
		total := func(n neuron) (sum float64) {
			for _, s := range prompts {
				sum += s[n.layer][n.index]
			}
			return sum
		}
		slices.SortFunc(list, func(a, b neuron) int { return cmp.Or(cmp.Compare(total(b), total(a)), a.compare(b)) })
		list = list[:ed.c.Most]
	}
	slices.SortFunc(list, neuron.compare)
	return list
}

// agreement is the configured share of prompts that have to agree.
func (c Config) agreement() float64 {
	if c.paper() {
		return cmp.Or(c.Agreement, paperAgreement)
	}
	return cmp.Or(c.Agreement, portAgreement)
}

// agreed says whether enough prompts of n vote for a neuron.
func (c Config) agreed(votes, n int, r *relation) bool {
	share := c.agreement()
	if r != nil {
		share = r.Agreement
	}
	if !c.paper() {
		return float64(votes) > share*float64(n)
	}
	return float64(votes) >= max(share*float64(n), float64(min(fewest, n)))
}

// rows reads rows of down-projections as the patch in force has them.
type rows struct {
	lm      *models.LM
	on      *patch.Patch
	weights map[int][]float32 // by layer, unchanged
}

func (r *rows) row(n neuron, width int) ([]float64, error) {
	at := arch.WeightID{Layer: n.layer, Part: arch.FFNDown}
	if r.weights[n.layer] == nil {
		w, err := r.lm.Weight(at)
		if err != nil {
			return nil, err
		}
		r.weights[n.layer] = w.Float32s()
	}
	v := make([]float64, width)
	for j := range v {
		v[j] = float64(r.weights[n.layer][n.index*width+j])
	}
	for _, c := range r.on.Weights {
		if c.At == at && !c.Bias {
			c.AddRow(v, n.index)
		}
	}
	return v, nil
}

// update is the change of every layer that has neurons.
func (ed *editor) update(w *rows, f *fact, list []neuron) ([]patch.Weight, error) {
	toward, err := ed.direction(w.lm, f)
	if err != nil {
		return nil, err
	}
	var changes []patch.Weight
	for len(list) > 0 {
		layer := list[0].layer
		n := slices.IndexFunc(list, func(n neuron) bool { return n.layer != layer })
		if n < 0 {
			n = len(list)
		}
		c, err := ed.changeLayer(w, toward, list[:n])
		if err != nil {
			return nil, err
		}
		changes, list = append(changes, c), list[n:]
	}
	return changes, nil
}

// changeLayer changes the rows of one layer's neurons: by a multiple of the
// direction, or each to zero.
func (ed *editor) changeLayer(w *rows, toward []float64, list []neuron) (patch.Weight, error) {
	at := arch.WeightID{Layer: list[0].layer, Part: arch.FFNDown}
	in, width := w.lm.Info().Weight(at).In, len(toward)
	rank := 1
	if ed.c.Mode == Erase {
		rank = len(list)
	}
	u, v := tensor.New(tensor.F32, in, rank), tensor.New(tensor.F32, rank, width)
	if ed.c.Mode == Change {
		narrow(v.Float32s(), toward, 1)
	}
	for k, n := range list {
		scale := 1.0
		if ed.c.Mode == Erase || ed.c.paper() {
			row, err := w.row(n, width)
			if err != nil {
				return patch.Weight{}, err
			}
			if ed.c.Mode == Erase {
				u.Float32s()[n.index*rank+k] = 1
				narrow(v.Float32s()[k*width:], row, -1)
				continue
			}
			scale = norm(row)
		}
		u.Float32s()[n.index] = float32(scale)
	}
	return patch.Weight{At: at, U: u, V: v}, nil
}

// direction is what the rows of neurons move by, in norms of the row or as it is.
func (ed *editor) direction(lm *models.LM, f *fact) ([]float64, error) {
	old := f.gold
	switch ed.c.Variant {
	case Port:
		old = f.greedy[:1]
	case EasyEdit:
		old = f.greedy[:len(f.target)]
	}
	from, err := sum(lm, old)
	if err != nil {
		return nil, err
	}
	to, err := sum(lm, f.target)
	if err != nil {
		return nil, err
	}
	minus, plus := 1.0, 1.0
	switch {
	case ed.c.paper() && (norm(from) == 0 || norm(to) == 0):
		return nil, errNoDirection
	case ed.c.paper():
		minus, plus = ed.c.Old/norm(from), ed.c.New/norm(to)
	case len(old) == 1:
		minus = 2 // but the new object counts once, in both programs
	}
	for i := range to {
		to[i] = plus*to[i] - minus*from[i]
	}
	return to, nil
}

// errNoDirection is returned when the embeddings of an object add up to zero.
var errNoDirection = errors.New("the embedding of an object is zero, which gives no direction")

// sum adds up the embeddings of tokens.
func sum(lm *models.LM, ids []int64) ([]float64, error) {
	list, err := activation.Embeddings(lm, ids)
	if err != nil {
		return nil, err
	}
	total := make([]float64, len(list[0]))
	for _, e := range list {
		for i, x := range e {
			total[i] += float64(x)
		}
	}
	return total, nil
}

func norm(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x * x
	}
	return math.Sqrt(sum)
}

// narrow writes scale times v as float32.
func narrow(into []float32, v []float64, scale float64) {
	for i, x := range v {
		into[i] = float32(scale * x)
	}
}
