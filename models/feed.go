package models

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/onnx"
	"editpipe/tensor"
)

// take is how the patches of questions come into the graph of a role. only is the
// patch of all of them, if it is one.
func (lm *LM) take(r arch.Role, questions []*Question, only *Patch) graph.Take {
	if only.Binding() == BindDense {
		if t := lm.replacing(r, only); t.Replaced != "" && lm.Affords(r, t.Replaced) {
			return t
		}
	}
	t := graph.Take{Slots: graph.DownSlots}
	for i, q := range questions {
		if q.Patch == nil || i > 0 && q.Patch == questions[i-1].Patch {
			continue
		}
		t.Biases = t.Biases || q.Patch.changesBias(r.Side())
		for _, at := range q.Patch.weights() {
			if at.Side == r.Side() && at.Part != arch.FFNDown {
				t.Slots = graph.AllSlots
			}
		}
	}
	return t
}

// replacing takes in the weights that a dense patch changes themselves; those that
// cannot be replaced have slots. Nothing is replaced where all the dense changes
// would go through slots anyway.
func (lm *LM) replacing(r arch.Role, p *Patch) graph.Take {
	t := graph.Take{Biases: p.changesBias(r.Side())}
	var ids []string
	dense := false
	for _, at := range p.weights() {
		switch w := lm.anatomy.Graph(r).Weight(at); {
		case at.Side != r.Side() || w == nil:
		case w.Overridable(lm.env.OverridesFloat16()):
			ids = append(ids, at.String())
			dense = dense || p.dense(at)
		case at.Part != arch.FFNDown:
			t.Slots = graph.AllSlots
		default:
			t.Slots = max(t.Slots, graph.DownSlots)
		}
	}
	if dense {
		t.Replaced = strings.Join(ids, " ")
	}
	return t
}

// changesBias says whether the patch changes a bias of a side.
func (p *Patch) changesBias(side arch.Side) bool {
	return slices.ContainsFunc(p.biases(), func(at arch.WeightID) bool { return at.Side == side })
}

// patchFeeds builds the inputs that carry the patches of the questions: factors for
// every slot of the graph, and the weights that it takes in place of its own.
func (lm *LM) patchFeeds(s graph.Spec, questions []*Question, only *Patch) (map[string]*tensor.Tensor, error) {
	patches := []*Patch{only}
	if only == nil {
		patches = make([]*Patch, len(questions))
		for i, q := range questions {
			patches[i] = q.Patch
		}
	}
	feeds := map[string]*tensor.Tensor{}
	for _, w := range s.Slotted(lm.anatomy) {
		feeds[graph.SlotU(w.ID)], feeds[graph.SlotV(w.ID)] = factors(patches, w)
	}
	for _, f := range s.Biased(lm.anatomy) {
		feeds[graph.SlotBias(f.Down.ID)] = biasShifts(patches, f.Down)
	}
	for _, w := range s.Replaced(lm.anatomy) {
		value, err := lm.stored(s.Role, w.ID, w.Initializer)
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
	d, err := p.delta(w.ID)
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
	d, err := p.biasDelta(w.ID)
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
		if p == nil {
			continue
		}
		row := t.Float32s()[b*w.Out : (b+1)*w.Out]
		for _, c := range p.Changes {
			if c, ok := c.(Bias); ok && c.At == w.ID {
				for i, x := range c.Delta.Float32s() {
					row[i] += x
				}
			}
		}
	}
	return t
}

// pair is a change of a weight as a product: u [in, r], v [r, out].
type pair struct{ u, v *tensor.Tensor }

// pairs lists the changes of a weight. The dense ones are added up and written
// as a product with the identity of the smaller side, so that the slots serve
// them too.
func (p *Patch) pairs(w arch.Weight) []pair {
	if p == nil {
		return nil
	}
	var list []pair
	var dense []float32
	for _, c := range p.Changes {
		if c.change() != w.ID {
			continue
		}
		switch c := c.(type) {
		case LowRank:
			list = append(list, pair{c.U, c.V})
		case Dense:
			if dense == nil {
				dense = make([]float32, w.In*w.Out)
			}
			for i, x := range c.Delta.Float32s() {
				dense[i] += x
			}
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

// pad is the id that fills unused positions. Any id of the vocabulary does:
// nothing reads them.
func (lm *LM) pad() int64 {
	if id := lm.anatomy.Config.Pad; id != nil && *id >= 0 && *id < int64(lm.anatomy.Info.Vocab) {
		return *id
	}
	return 0
}

// feedTokens feeds the inputs that a graph has of ids and positions [B, T] and
// mask [B, past+T].
func feedTokens(feeds map[string]*tensor.Tensor, p arch.Ports, B, T int, ids, mask, pos []int64) {
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
