package models

import (
	"encoding/binary"
	"fmt"
	"strings"

	"editpipe/models/arch"
	"editpipe/onnx"
	"editpipe/tensor"
)

// bindings says which slots and promoted weights the jobs of one batch need on
// one side of the model. Down-projections have slots always: an idle slot costs
// a few per cent of a run at most, a second session costs the weights again.
func bindings(jobs []*job, side Side) (slotSet, string) {
	slots, dense := downSlots, ""
	seen := map[*Patch]bool{}
	for _, j := range jobs {
		p := j.patch
		if p == nil || seen[p] {
			continue
		}
		seen[p] = true
		if p.Binding() == BindDense {
			dense = p.denseKey(side) // the batch holds no other patch
		}
		for _, c := range p.Changes {
			l, ok := c.(LowRank)
			if ok && l.At.Side == side && l.At.Part != FFNDown && !inKey(dense, l.At) {
				slots = allSlots
			}
		}
	}
	return slots, dense
}

// inKey reports whether a key of promoted weights names id.
func inKey(key string, id WeightID) bool {
	return strings.Contains(","+key+",", ","+id.String()+",")
}

// patchFeeds builds the inputs that carry the patches of the jobs: factors for
// every slot of the variant, and the promoted weights.
func (lm *LM) patchFeeds(v variant, jobs []*job, only *Patch) (map[string]*tensor.Tensor, error) {
	feeds := map[string]*tensor.Tensor{}
	for _, w := range lm.slotted(v) {
		if inKey(v.dense, w.ID) {
			// The dense replacement holds all changes of this weight.
			feeds[slotU(w.ID)], feeds[slotV(w.ID)] = factors(nil, w)
			continue
		}
		if only != nil {
			feeds[slotU(w.ID)], feeds[slotV(w.ID)] = factors([]*Patch{only}, w)
			continue
		}
		patches := make([]*Patch, len(jobs))
		for i, j := range jobs {
			patches[i] = j.patch
		}
		feeds[slotU(w.ID)], feeds[slotV(w.ID)] = factors(patches, w)
	}
	if v.dense == "" {
		return feeds, nil
	}
	for _, name := range strings.Split(v.dense, ",") {
		id, err := ParseWeightID(name)
		if err != nil {
			return nil, err
		}
		in, value, err := lm.replaced(v.role, id, only)
		if err != nil {
			return nil, err
		}
		feeds[in] = value
	}
	return feeds, nil
}

// factors stacks the low-rank changes that patches make at a weight: U
// [B, in, r] and V [B, r, out], r the largest rank among them, shorter ones
// padded with zeros. If none touches the weight the slot is idle: B and r are 1
// and all is zero. (Rank 0 would do on the CPU; other providers need not
// support empty tensors.)
func factors(patches []*Patch, w Weight) (u, v *tensor.Tensor) {
	r := 0
	for _, p := range patches {
		if p != nil {
			r = max(r, p.rank(w.ID))
		}
	}
	if r == 0 {
		return tensor.New(tensor.F32, 1, w.In, 1), tensor.New(tensor.F32, 1, 1, w.Out)
	}
	us, vs := make([]float32, len(patches)*w.In*r), make([]float32, len(patches)*r*w.Out)
	for b, p := range patches {
		if p == nil {
			continue
		}
		at := 0
		for _, c := range p.Changes {
			l, ok := c.(LowRank)
			if !ok || l.At != w.ID {
				continue
			}
			k := l.U.Shape[1]
			src := l.U.Float32s()
			for i := range w.In {
				copy(us[(b*w.In+i)*r+at:], src[i*k:(i+1)*k])
			}
			copy(vs[(b*r+at)*w.Out:], l.V.Float32s())
			at += k
		}
	}
	return tensor.FromFloat32s(us, len(patches), w.In, r), tensor.FromFloat32s(vs, len(patches), r, w.Out)
}

// replaced returns the initializer that holds a weight and the value that
// takes its place under a patch, stored as the file stores it.
func (lm *LM) replaced(r role, id WeightID, p *Patch) (string, *tensor.Tensor, error) {
	base, err := lm.stored(r, id)
	if err != nil {
		return "", nil, err
	}
	delta, err := p.delta(id)
	if err != nil {
		return "", nil, err
	}
	w := lm.weightIn(r, id)
	if w.Transposed {
		if delta, err = delta.Transpose2D(); err != nil {
			return "", nil, fmt.Errorf("models: turning the change of %s: %w", id, err)
		}
	}
	wide, err := base.Convert(tensor.F32)
	if err != nil {
		return "", nil, fmt.Errorf("models: reading %s: %w", id, err)
	}
	sum := make([]float32, wide.Len())
	d := delta.Float32s()
	for i, x := range wide.Float32s() {
		sum[i] = x + d[i]
	}
	value, err := tensor.FromFloat32s(sum, wide.Shape...).Convert(base.DType)
	if err != nil {
		return "", nil, fmt.Errorf("models: storing the changed %s: %w", id, err)
	}
	return w.Initializer, value, nil
}

// tokens adds ids, mask, positions and an empty past for the jobs' rows, padded
// on the right.
func (in *input) tokens(feeds map[string]*tensor.Tensor) {
	p := in.lm.graph(in.v.role).Ports
	B, T := in.rows, in.T
	ids, mask, pos := make([]int64, B*T), make([]int64, B*T), make([]int64, B*T)
	pad := in.lm.pad()
	for b, j := range in.jobs {
		n := copy(ids[b*T:(b+1)*T], j.ids[:j.fed()])
		for t := range T {
			pos[b*T+t] = int64(t)
			if t < n {
				mask[b*T+t] = 1
			} else {
				ids[b*T+t] = pad
			}
		}
	}
	feedTokens(feeds, p, B, T, ids, mask, pos)
	for _, c := range p.Past {
		feeds[c.In] = emptyPast(c, B)
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
func feedTokens(feeds map[string]*tensor.Tensor, p arch.Ports, B, T int, ids, mask, pos []int64) {
	feeds[p.IDs] = integers(p.IDType, ids, B, T)
	if p.Mask != "" {
		feeds[p.Mask] = integers(p.MaskType, mask, B, len(mask)/B)
	}
	if p.Positions != "" {
		feeds[p.Positions] = tensor.FromInt64s(pos, B, T)
	}
	if p.TokenTypes != "" {
		feeds[p.TokenTypes] = tensor.New(tensor.I64, B, T)
	}
	if p.CachePosition != "" {
		past := len(mask)/B - T
		at := make([]int64, T)
		for t := range at {
			at[t] = int64(past + t)
		}
		feeds[p.CachePosition] = tensor.FromInt64s(at, T)
	}
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
	case onnx.Bool:
		t := tensor.New(tensor.Bool, shape...)
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

// emptyPast is a cache of length 0 for B rows.
func emptyPast(c arch.Past, B int) *tensor.Tensor {
	shape := make([]int, len(c.Shape))
	for i, d := range c.Shape {
		shape[i] = int(d)
	}
	shape[0], shape[c.Length] = B, 0
	dt, err := c.DType.Tensor()
	if err != nil {
		dt = tensor.F32
	}
	return tensor.New(dt, shape...)
}
