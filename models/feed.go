package models

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"editpipe/models/arch"
	"editpipe/models/ports"
	"editpipe/onnx"
	"editpipe/tensor"
)

// maxReplaced bounds the sessions with replaced weights of one role: each may
// hold all weights again. Patches of further sets of weights use the slots.
const maxReplaced = 4

// newVariant is the graph that the jobs need in a role. only is the patch of all
// of them, if it is one.
func (lm *LM) newVariant(r role, jobs []*job, only *Patch) variant {
	if only.Binding() == BindDense {
		if v := lm.replacing(r, only); v.replaced != "" && lm.affords(v) {
			return v
		}
	}
	v := variant{role: r, slots: downSlots}
	for i, j := range jobs {
		if j.patch == nil || i > 0 && j.patch == jobs[i-1].patch {
			continue
		}
		v.biases = v.biases || j.patch.changesBias(r)
		for _, at := range j.patch.weights() {
			if at.Side == r.side() && at.Part != arch.FFNDown {
				v.slots = allSlots
			}
		}
	}
	return v
}

// replacing is the variant in which the weights that a dense patch changes are
// inputs; those that cannot be have slots. Nothing is replaced where all the
// dense changes would go through slots anyway.
func (lm *LM) replacing(r role, p *Patch) variant {
	v := variant{role: r, biases: p.changesBias(r)}
	var ids []string
	dense := false
	for _, at := range p.weights() {
		switch w := lm.weightIn(r, at); {
		case at.Side != r.side() || w == nil:
		case w.Overridable(lm.env.OverridesFloat16()):
			ids = append(ids, at.String())
			dense = dense || p.dense(at)
		case at.Part != arch.FFNDown:
			v.slots = allSlots
		default:
			v.slots = max(v.slots, downSlots)
		}
	}
	if dense {
		v.replaced = strings.Join(ids, " ")
	}
	return v
}

// changesBias says whether the patch changes a bias of the side that a role
// computes.
func (p *Patch) changesBias(r role) bool {
	return slices.ContainsFunc(p.biases(), func(at arch.WeightID) bool { return at.Side == r.side() })
}

// affords says whether there is a session of a variant, or room for one.
func (lm *LM) affords(v variant) bool {
	lm.mu.Lock()
	defer lm.mu.Unlock()
	sets := map[string]bool{v.replaced: true}
	for have := range lm.sessions {
		if have.role == v.role && have.replaced != "" {
			sets[have.replaced] = true
		}
	}
	return len(sets) <= maxReplaced
}

// patchFeeds builds the inputs that carry the patches of the jobs: factors for
// every slot of the variant, and the weights that it replaces.
func (lm *LM) patchFeeds(v variant, jobs []*job, only *Patch) (map[string]*tensor.Tensor, error) {
	patches := []*Patch{only}
	if only == nil {
		patches = make([]*Patch, len(jobs))
		for i, j := range jobs {
			patches[i] = j.patch
		}
	}
	feeds := map[string]*tensor.Tensor{}
	for _, w := range lm.slotted(v) {
		feeds[slotU(w.ID)], feeds[slotV(w.ID)] = factors(patches, w)
	}
	for _, f := range lm.biasSlots(v) {
		feeds[slotBias(f.Down.ID)] = biasShifts(patches, f.Down)
	}
	for _, w := range lm.replaced(v) {
		value, err := lm.stored(v.role, w.ID, w.Initializer)
		if err == nil {
			value, err = only.apply(w, value)
		}
		if err != nil {
			return nil, err
		}
		feeds[w.Initializer] = value
	}
	return feeds, nil
}

// apply returns a stored weight with all the patch's changes of it, in the
// stored orientation and element type.
func (p *Patch) apply(w arch.Weight, stored *tensor.Tensor) (*tensor.Tensor, error) {
	d, err := p.sum(w.ID, false)
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

// applyBias returns a stored bias with all the patch's changes of it, in the
// stored shape and element type.
func (p *Patch) applyBias(w arch.Weight, stored *tensor.Tensor) (*tensor.Tensor, error) {
	d, err := p.sum(w.ID, true)
	if err != nil {
		return nil, err
	}
	wide, err := stored.Convert(tensor.F32)
	if err != nil {
		return nil, fmt.Errorf("models: changing the %s: %w", biasOf(w.ID), err)
	}
	sum := tensor.New(tensor.F32, stored.Shape...)
	for i, x := range wide.Float32s() {
		sum.Float32s()[i] = x + d.Float32s()[i]
	}
	return sum.Convert(stored.DType)
}

// biasShifts stacks what patches add to the bias of a weight, [B, 1, out]; if
// none does, B is 1 and all is zero.
func biasShifts(patches []*Patch, w arch.Weight) *tensor.Tensor {
	if !slices.ContainsFunc(patches, func(p *Patch) bool { return slices.Contains(p.biases(), w.ID) }) {
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

// factors stacks what patches change at a weight: U [B, in, r] and V
// [B, r, out], r the largest rank among them, shorter ones padded with zeros.
// If none touches the weight the slot is idle: B and r are 1 and all is zero.
// (Rank 0 would do on the CPU; other providers need not support empty tensors.)
func factors(patches []*Patch, w arch.Weight) (u, v *tensor.Tensor) {
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

// tokens adds ids, mask, positions and the past, empty unless given, for the jobs'
// rows, padded on the right.
//
// Attention that takes lengths is told that padding counts, which the causal order
// keeps from the tokens anyway: ONNX Runtime leaves what it gives back behind a
// row's length as memory happens to be, and what is not a number there would
// spread to the gradients of the tokens.
func (in *input) tokens(feeds map[string]*tensor.Tensor) {
	p := in.lm.graph(in.v.role).Ports
	B, T, before := in.rows, in.T, in.past.padded()
	ids, mask, pos := make([]int64, B*T), make([]int64, B*(before+T)), make([]int64, B*T)
	pad := in.lm.pad()
	for b, j := range in.jobs {
		start, row := in.past.start(b), mask[b*(before+T):(b+1)*(before+T)]
		for t := range start {
			row[before-1-t] = 1
		}
		n := copy(ids[b*T:(b+1)*T], j.ids[start:j.fed()])
		for t := range T {
			pos[b*T+t] = int64(start + t)
			if t < n || p.Lengths {
				row[before+t] = 1
			}
			if t >= n {
				ids[b*T+t] = pad
			}
		}
	}
	feedTokens(feeds, p, B, T, ids, mask, pos)
	for _, c := range p.Past {
		if in.past != nil {
			feeds[c.In] = in.past.values[c.In]
		} else {
			feeds[c.In] = emptyPast(c, B)
		}
	}
}

// pad is the id that fills unused positions. Any id of the vocabulary does:
// nothing reads them.
func (lm *LM) pad() int64 {
	if id := lm.anatomy.Config.Pad; id != nil && *id >= 0 && *id < int64(lm.info.Vocab) {
		return *id
	}
	return 0
}

// feedTokens feeds the inputs that a graph has of ids and positions [B, T] and
// mask [B, past+T].
func feedTokens(feeds map[string]*tensor.Tensor, p ports.Ports, B, T int, ids, mask, pos []int64) {
	feed := func(name string, v []int64, shape ...int) {
		if name != "" {
			feeds[name] = integers(p.Type(name), v, shape...)
		}
	}
	feed(p.IDs, ids, B, T)
	feed(p.Mask, mask, B, len(mask)/B)
	feed(p.Positions, pos, B, T)
	feed(p.TokenTypes, make([]int64, B*T), B, T)
	at := make([]int64, T)
	for t := range at {
		at[t] = int64(len(mask)/B - T + t)
	}
	feed(p.CachePosition, at, T)
	feed(p.KeepLogits, []int64{0}, slices.Repeat([]int{1}, p.KeepRank)...)
}

// integers makes a tensor of the element type an input wants.
func integers(dt onnx.DataType, v []int64, shape ...int) *tensor.Tensor {
	switch dt {
	case onnx.Int32:
		t := tensor.New(tensor.I32, shape...)
		for i, x := range v {
			binary.LittleEndian.PutUint32(t.Data[4*i:], uint32(int32(x)))
		}
		return t
	case onnx.Bool, onnx.Int8, onnx.Uint8:
		t := tensor.New(map[onnx.DataType]tensor.DType{onnx.Bool: tensor.Bool, onnx.Int8: tensor.I8, onnx.Uint8: tensor.U8}[dt], shape...)
		for i, x := range v {
			t.Data[i] = byte(x)
		}
		return t
	case onnx.Float:
		f := make([]float32, len(v))
		for i, x := range v {
			f[i] = float32(x)
		}
		return tensor.FromFloat32s(f, shape...)
	}
	return tensor.FromInt64s(v, shape...)
}
