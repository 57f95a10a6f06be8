package patch

import (
	"fmt"
	"slices"

	"editpipe/models/arch"
	"editpipe/tensor"
)

// Ranks maps each weight to the rank fed for it.
type Ranks map[arch.WeightID]int

// Ranks are those at which the patch is fed as products.
func (p *Patch) Ranks() Ranks {
	r := Ranks{}
	if p == nil {
		return r
	}
	dense := map[arch.WeightID]bool{}
	for _, w := range p.Weights {
		if w.Bias || w.Dense() && dense[w.At] { // matrices for one weight are added up before they are fed
			continue
		}
		dense[w.At] = dense[w.At] || w.Dense()
		r[w.At] += w.Rank()
	}
	return r
}

// ChangesBias says whether the patch changes a bias of a side.
func (p *Patch) ChangesBias(side arch.Side) bool {
	return slices.ContainsFunc(p.Biases(), func(at arch.WeightID) bool { return at.Side == side })
}

// Apply returns a stored weight with all the patch's changes of it, in the
// stored orientation and element type.
func (p *Patch) Apply(w arch.Weight, stored *tensor.Tensor) (*tensor.Tensor, error) {
	d, err := p.Sum(w.ID, false)
	if err == nil && w.Transposed {
		d, err = d.Transpose2D()
	}
	if err != nil {
		return nil, err
	}
	wide := stored
	if stored.DType != tensor.F32 {
		if wide, err = stored.Convert(tensor.F32); err != nil {
			return nil, fmt.Errorf("models: changing %s: %w", w.ID, err)
		}
	}
	sum := tensor.New(tensor.F32, stored.Shape...)
	v := sum.Float32s()
	base, delta := wide.Float32s(), d.Float32s()
	for i := range v {
		v[i] = base[i] + delta[i]
	}
	if stored.DType == tensor.F32 {
		return sum, nil
	}
	return sum.Convert(stored.DType)
}

// ApplyBias returns a stored bias with all the patch's changes of it, in the
// stored shape and element type.
func (p *Patch) ApplyBias(w arch.Weight, stored *tensor.Tensor) (*tensor.Tensor, error) {
	d, err := p.Sum(w.ID, true)
	if err != nil {
		return nil, err
	}
	wide, err := stored.Convert(tensor.F32)
	if err != nil {
		return nil, fmt.Errorf("models: changing the %s: %w", arch.Place{ID: w.ID, Bias: true}, err)
	}
	sum := tensor.New(tensor.F32, stored.Shape...)
	for i, x := range wide.Float32s() {
		sum.Float32s()[i] = x + d.Float32s()[i]
	}
	return sum.Convert(stored.DType)
}

// BiasShifts stacks what patches add to the bias of a weight, [B, 1, out]; if
// none does, B is 1 and all is zero.
func BiasShifts(patches []*Patch, w arch.Weight) *tensor.Tensor {
	if !slices.ContainsFunc(patches, func(p *Patch) bool { return slices.Contains(p.Biases(), w.ID) }) {
		return tensor.New(tensor.F32, 1, 1, w.Out)
	}
	t := tensor.New(tensor.F32, len(patches), 1, w.Out)
	for b, p := range patches {
		row := t.Float32s()[b*w.Out : (b+1)*w.Out]
		for c := range p.at(w.ID, true) {
			for i, x := range c.Delta.Float32s() {
				row[i] += x
			}
		}
	}
	return t
}

// pair is a change of a weight as a product: u [in, r], v [r, out].
type pair struct{ u, v *tensor.Tensor }

// pairs lists what a patch adds to a weight. Whole matrices are added up and
// written as a product with the identity of the smaller side, so that the slots
// serve them too.
func (p *Patch) pairs(w arch.Weight) []pair {
	var list []pair
	var dense []float32
	for c := range p.at(w.ID, false) {
		if !c.Dense() {
			list = append(list, pair{c.U, c.V})
			continue
		}
		if dense == nil {
			dense = make([]float32, w.In*w.Out)
		}
		for i, x := range c.Delta.Float32s() {
			dense[i] += x
		}
	}
	if dense == nil {
		return list
	}
	change := tensor.FromFloat32s(dense, w.In, w.Out)
	n := min(w.In, w.Out)
	eye := tensor.New(tensor.F32, n, n)
	for i := range n {
		eye.Float32s()[i*n+i] = 1
	}
	if w.Out <= w.In {
		return append(list, pair{change, eye})
	}
	return append(list, pair{eye, change})
}

// Factors stacks what patches change at a weight: U [B, in, r] and V
// [B, r, out], r the largest rank among them, shorter ones padded with zeros.
// If none touches the weight the slot is idle: B and r are 1 and all is zero.
// (Rank 0 would do on the CPU; other providers need not support empty tensors.)
func Factors(patches []*Patch, w arch.Weight) (u, v *tensor.Tensor) {
	r := 0
	lists := make([][]pair, len(patches))
	for b, p := range patches {
		lists[b] = p.pairs(w)
		n := 0
		for _, f := range lists[b] {
			n += f.u.Shape[1]
		}
		r = max(r, n)
	}
	if r == 0 {
		return tensor.New(tensor.F32, 1, w.In, 1), tensor.New(tensor.F32, 1, 1, w.Out)
	}
	us, vs := make([]float32, len(patches)*w.In*r), make([]float32, len(patches)*r*w.Out)
	for b, list := range lists {
		at := 0
		for _, f := range list {
			k, src := f.u.Shape[1], f.u.Float32s()
			for i := range w.In {
				copy(us[(b*w.In+i)*r+at:], src[i*k:(i+1)*k])
			}
			copy(vs[(b*r+at)*w.Out:], f.v.Float32s())
			at += k
		}
	}
	return tensor.FromFloat32s(us, len(patches), w.In, r), tensor.FromFloat32s(vs, len(patches), r, w.Out)
}
