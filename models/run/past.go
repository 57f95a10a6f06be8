package run

import (
	"slices"

	"editpipe/models"
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

// Past is what stands in for the first positions of the rows of a run. Rows of
// fewer positions are padded in front.
//
// Attention of every form counts back from the newest position: with a window,
// with biases by distance, or with neither. Padding between a row and what follows
// it would make its own positions look further away than they are.
type Past struct {
	Values map[string]*tensor.Tensor // keys and values by input name; nil: the caller feeds them
	From   []int                     // how many tokens of each row it stands for
	length int                       // to which it is padded
}

// NewPast is a past of the first from[b] positions of every row b, padded to a
// length, whose keys and values the caller feeds.
func NewPast(from []int, length int) *Past { return &Past{From: from, length: length} }

// start is the first position of a row that is computed.
func (p *Past) start(row int) int {
	if p == nil {
		return 0
	}
	return p.From[row]
}

// padded is the length of the past of every row.
func (p *Past) padded() int {
	if p == nil {
		return 0
	}
	return p.length
}

// Settled is the past that the keys and values of a computed run make. What was
// computed behind a row's tokens becomes padding.
func (r *Run) Settled() *Past {
	p := &Past{Values: map[string]*tensor.Tensor{}, length: r.T}
	for b := range r.Questions {
		p.From = append(p.From, len(r.tokens(b)))
	}
	padded := slices.ContainsFunc(p.From, func(n int) bool { return n != r.T })
	for _, c := range r.lm.Anatomy().Caches(r.Spec.Role) {
		p.Values[c.In] = r.Outputs[c.Present]
		if padded && !c.Cross {
			settleRows(c.Past, r.Outputs[c.Present], p.From)
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

// Extend takes in what a run of one more position of every row made.
func (p *Past) Extend(r *Run) {
	for _, c := range r.lm.Anatomy().Caches(r.Spec.Role) {
		p.Values[c.In] = r.Outputs[c.Present]
	}
	for b := range p.From {
		p.From[b]++
	}
	p.length++
}

// Length is the number of positions that the past of every row is padded to.
func (p *Past) Length() int { return p.length }

// Take is the past of the listed rows.
func (p *Past) Take(lm *models.LM, rows []int) *Past {
	q := &Past{Values: map[string]*tensor.Tensor{}, length: p.length}
	for _, c := range lm.Anatomy().Step.Ports.Past {
		q.Values[c.In] = takeRows(p.Values[c.In], c.Rows, rows)
	}
	for _, r := range rows {
		q.From = append(q.From, p.From[r])
	}
	return q
}
