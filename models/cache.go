package models

import (
	"slices"

	"editpipe/models/ports"
	"editpipe/tensor"
)

// emptyPast is the past before the first position of B rows: a cache of length
// 0, or state of zeros.
func emptyPast(c ports.Past, B int) *tensor.Tensor {
	shape := make([]int, len(c.Shape))
	for i, d := range c.Shape {
		shape[i] = int(d)
	}
	shape[c.Rows] = B
	if !c.State() {
		shape[c.Length] = 0
	}
	dt, err := c.DType.Tensor()
	if err != nil {
		dt = tensor.F32
	}
	return tensor.New(dt, shape...)
}

// takeRows copies the listed rows, which lie along an axis.
func takeRows(t *tensor.Tensor, axis int, rows []int) *tensor.Tensor {
	shape, outer := slices.Clone(t.Shape), 1
	for _, d := range t.Shape[:axis] {
		outer *= d
	}
	size := 0 // bytes of a row within one index of the axes before
	if n := outer * t.Shape[axis]; n > 0 {
		size = len(t.Data) / n
	}
	shape[axis] = len(rows)
	out := tensor.New(t.DType, shape...)
	for o := range outer {
		for i, r := range rows {
			copy(out.Data[(o*len(rows)+i)*size:][:size], t.Data[(o*t.Shape[axis]+r)*size:])
		}
	}
	return out
}

// past is what stands in for the first positions of the rows of a run. Rows of
// fewer positions are padded in front.
//
// Attention of every form counts back from the newest position: with a window,
// with biases by distance, or with neither. Padding between a row and what follows
// it would make its own positions look further away than they are.
type past struct {
	values map[string]*tensor.Tensor // keys and values by input name
	from   []int                     // how many tokens of each row it stands for
	length int                       // to which it is padded
}

// start is the first position of a row that is computed.
func (p *past) start(row int) int {
	if p == nil {
		return 0
	}
	return p.from[row]
}

// padded is the length of the past of every row.
func (p *past) padded() int {
	if p == nil {
		return 0
	}
	return p.length
}

// settled is the past that the outputs of a run of T positions make. Of each row
// b, the first lengths[b] positions count; what was computed behind them becomes
// padding.
func (lm *LM) settled(r role, outputs map[string]*tensor.Tensor, lengths []int, T int) *past {
	p := &past{values: map[string]*tensor.Tensor{}, from: lengths, length: T}
	padded := slices.ContainsFunc(lengths, func(n int) bool { return n != T })
	for _, c := range lm.caches(r) {
		p.values[c.In] = outputs[c.out]
		if padded && !c.Cross {
			settleRows(c.Past, outputs[c.out], lengths)
		}
	}
	return p
}

// settleRows moves the first lengths[b] positions of every row b of a cache to
// its end, in place.
func settleRows(c ports.Past, t *tensor.Tensor, lengths []int) {
	T := t.Shape[c.Length]
	blocks, within, size := 1, 1, t.DType.Size() // blocks of T positions; those of one row that follow each other
	for i, d := range t.Shape {
		switch {
		case i > c.Length:
			size *= d
		case i < c.Length:
			blocks *= d
			if i > c.Rows {
				within *= d
			}
		}
	}
	for k := range blocks {
		n := lengths[k/within%len(lengths)]
		block := t.Data[k*T*size : (k+1)*T*size]
		copy(block[(T-n)*size:], block[:n*size])
	}
}

// extend takes in what a run of one more position of every row makes.
func (p *past) extend(caches []cache, outputs map[string]*tensor.Tensor) {
	for _, c := range caches {
		p.values[c.In] = outputs[c.out]
	}
	for b := range p.from {
		p.from[b]++
	}
	p.length++
}

// take is the past of the listed rows.
func (p *past) take(lm *LM, rows []int) *past {
	q := &past{values: map[string]*tensor.Tensor{}, length: p.length}
	for _, c := range lm.anatomy.Step.Ports.Past {
		q.values[c.In] = takeRows(p.values[c.In], c.Rows, rows)
	}
	for _, r := range rows {
		q.from = append(q.from, p.from[r])
	}
	return q
}
