package models

import (
	"editpipe/models/arch"
	"fmt"
	"maps"
	"math"
	"slices"

	"editpipe/tensor"
)

// Change is one change of a weight: LowRank, Dense or Bias.
type Change interface {
	change() arch.WeightID
}

// LowRank adds U V to a weight. Orientation is that of y = x W, W [in, out],
// whatever the model's file stores.
type LowRank struct {
	At arch.WeightID
	U  *tensor.Tensor // [in, r]
	V  *tensor.Tensor // [r, out]
}

// Dense adds Delta to a weight. Rows with different dense changes cannot share
// a run.
type Dense struct {
	At    arch.WeightID
	Delta *tensor.Tensor // [in, out]
}

// Bias adds Delta to the bias of a down-projection, y = x W + b + Delta. The
// model must have one there, so that the change can be written into it.
type Bias struct {
	At    arch.WeightID  // of the down-projection
	Delta *tensor.Tensor // [out]
}

func (c LowRank) change() arch.WeightID { return c.At }
func (c Dense) change() arch.WeightID   { return c.At }
func (c Bias) change() arch.WeightID    { return c.At }

// Patch is an edit as a value. The zero Patch, like a nil one, leaves the model
// as it is. A patch is not changed once it is in use.
type Patch struct {
	Method  string   // who made it; a method id
	Edits   []string // ids of the edits it holds, oldest first
	Changes []Change // all are in force together; changes of one weight add up
	Wraps   []Wrap   // the last stands outermost
	// State is not applied: what the method needs to make the next patch.
	State map[string]*tensor.Tensor
}

// Binding says how rows with a patch are brought into a run.
type Binding uint8

// The bindings of a patch, see the package comment.
const (
	BindNone   Binding = iota // nothing to apply to the graph
	BindPerRow                // low-rank factors and biases travel with the row
	BindDense                 // the run belongs to this patch
)

func (b Binding) String() string {
	return [...]string{"none", "per-row", "dense"}[b]
}

// Binding returns how the patch is applied; wraps do not count.
func (p *Patch) Binding() Binding {
	if p == nil || len(p.Changes) == 0 {
		return BindNone
	}
	for _, c := range p.Changes {
		if _, dense := c.(Dense); dense {
			return BindDense
		}
	}
	return BindPerRow
}

// dense says whether the patch has a dense change of a weight.
func (p *Patch) dense(at arch.WeightID) bool {
	return slices.ContainsFunc(p.Changes, func(c Change) bool {
		d, ok := c.(Dense)
		return ok && d.At == at
	})
}

// Then returns a patch with the changes and wraps of p, then of q. Tensors are
// shared, not copied. State of q replaces state of p with the same name.
func (p *Patch) Then(q *Patch) *Patch {
	if p == nil {
		p = &Patch{}
	}
	if q == nil {
		q = &Patch{}
	}
	r := &Patch{
		Method:  q.Method,
		Edits:   slices.Concat(p.Edits, q.Edits),
		Changes: slices.Concat(p.Changes, q.Changes),
		Wraps:   slices.Concat(p.Wraps, q.Wraps),
	}
	if r.Method == "" {
		r.Method = p.Method
	}
	if len(p.State)+len(q.State) > 0 {
		r.State = map[string]*tensor.Tensor{}
		maps.Copy(r.State, p.State)
		maps.Copy(r.State, q.State)
	}
	return r
}

// Merge returns the patch with all changes of a weight added up to one Dense
// change, in order of the weights, and those of a bias to one Bias. Merging pays
// once the ranks at a weight sum to more than in*out/(in+out).
func (p *Patch) Merge() (*Patch, error) {
	r := *p
	r.Changes = nil
	for _, at := range p.weights() {
		d, err := p.delta(at)
		if err != nil {
			return nil, err
		}
		r.Changes = append(r.Changes, Dense{At: at, Delta: d})
	}
	for _, at := range p.biases() {
		d, err := p.biasDelta(at)
		if err != nil {
			return nil, err
		}
		r.Changes = append(r.Changes, Bias{At: at, Delta: d})
	}
	return &r, nil
}

// weights lists the weights that the patch changes, each once, in order of
// side, layer and part; those whose bias alone it changes are not among them.
func (p *Patch) weights() []arch.WeightID { return p.places(false) }

// biases lists the weights whose bias the patch changes, likewise.
func (p *Patch) biases() []arch.WeightID { return p.places(true) }

func (p *Patch) places(bias bool) []arch.WeightID {
	if p == nil {
		return nil
	}
	var ids []arch.WeightID
	for _, c := range p.Changes {
		_, is := c.(Bias)
		if id := c.change(); is == bias && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, compareIDs)
	return ids
}

func compareIDs(a, b arch.WeightID) int {
	if a.Side != b.Side {
		return int(a.Side) - int(b.Side)
	}
	if a.Layer != b.Layer {
		return a.Layer - b.Layer
	}
	return int(a.Part) - int(b.Part)
}

// delta sums the changes of one weight, [in, out] float32.
func (p *Patch) delta(at arch.WeightID) (*tensor.Tensor, error) {
	var sum []float32
	var shape []int
	for _, c := range p.Changes {
		if c.change() != at {
			continue
		}
		var d *tensor.Tensor
		switch c := c.(type) {
		case Bias:
			continue
		case Dense:
			d = c.Delta
		case LowRank:
			u, v := tensor.FromFloat32s(c.U.Float32s(), c.U.Shape...), tensor.FromFloat32s(c.V.Float32s(), c.V.Shape...)
			var err error
			if d, err = tensor.MatMul(u, v); err != nil {
				return nil, fmt.Errorf("models: patch: %s: multiplying factors: %w", at, err)
			}
		}
		if sum == nil {
			sum, shape = slices.Clone(d.Float32s()), d.Shape
			continue
		}
		if !slices.Equal(shape, d.Shape) {
			return nil, fmt.Errorf("models: patch: %w", &MisfitError{What: at.String(), Want: fmt.Sprint(d.Shape), Have: fmt.Sprint(shape)})
		}
		for i, x := range d.Float32s() {
			sum[i] += x
		}
	}
	return tensor.FromFloat32s(sum, shape...), nil
}

// biasDelta sums the changes of one bias, [out] float32.
func (p *Patch) biasDelta(at arch.WeightID) (*tensor.Tensor, error) {
	var sum []float32
	for _, c := range p.Changes {
		b, ok := c.(Bias)
		if !ok || b.At != at {
			continue
		}
		d := b.Delta.Float32s()
		if sum == nil {
			sum = slices.Clone(d)
			continue
		}
		if len(sum) != len(d) {
			return nil, fmt.Errorf("models: patch: %w", &MisfitError{What: biasOf(at), Want: fmt.Sprint([]int{len(d)}), Have: fmt.Sprint([]int{len(sum)})})
		}
		for i, x := range d {
			sum[i] += x
		}
	}
	return tensor.FromFloat32s(sum, len(sum)), nil
}

// biasOf names the bias of a weight in messages.
func biasOf(at arch.WeightID) string { return "bias of " + at.String() }

// Bytes is the size of everything the patch holds but its wraps.
func (p *Patch) Bytes() int64 {
	if p == nil {
		return 0
	}
	var n int64
	for _, c := range p.Changes {
		switch c := c.(type) {
		case LowRank:
			n += int64(c.U.Bytes()) + int64(c.V.Bytes())
		case Dense:
			n += int64(c.Delta.Bytes())
		case Bias:
			n += int64(c.Delta.Bytes())
		}
	}
	for _, t := range p.State {
		n += int64(t.Bytes())
	}
	return n
}

// DeltaNorm is the Frobenius norm of all the weights' and biases' changes
// together. For low-rank changes it comes from the factors' Gram matrices,
// |UV|^2 = <U'U, VV'>, without forming the product; that costs R^2 (in + out)
// multiplications for a total rank of R at a weight.
func (p *Patch) DeltaNorm() float64 {
	var sum float64
	for _, at := range p.weights() {
		sum += p.normSquared(at)
	}
	for _, at := range p.biases() {
		d, err := p.biasDelta(at)
		if err != nil {
			return math.NaN() // as below
		}
		n := d.Norm()
		sum += n * n
	}
	return math.Sqrt(sum)
}

func (p *Patch) normSquared(at arch.WeightID) float64 {
	var lows []LowRank
	dense := false
	for _, c := range p.Changes {
		if c.change() != at {
			continue
		}
		switch c := c.(type) {
		case LowRank:
			lows = append(lows, c)
		case Dense:
			dense = true
		}
	}
	if dense {
		d, err := p.delta(at)
		if err != nil {
			return math.NaN() // shapes contradict each other; applying the patch says so
		}
		n := d.Norm()
		return n * n
	}
	var sum float64
	for i, a := range lows {
		for j, b := range lows[:i+1] {
			g := gramProduct(a, b)
			if i != j {
				g *= 2
			}
			sum += g
		}
	}
	return max(sum, 0)
}

// gramProduct is <Ua Va, Ub Vb> = sum_kl (Ua'Ub)_kl (Va Vb')_kl.
func gramProduct(a, b LowRank) float64 {
	ra, rb := a.U.Shape[1], b.U.Shape[1]
	ua, ub, va, vb := a.U.Float32s(), b.U.Float32s(), a.V.Float32s(), b.V.Float32s()
	g := make([]float64, ra*rb)
	for i := range a.U.Shape[0] {
		for k, x := range ua[i*ra : (i+1)*ra] {
			if x == 0 {
				continue
			}
			row := g[k*rb : (k+1)*rb]
			for l, y := range ub[i*rb : (i+1)*rb] {
				row[l] += float64(x) * float64(y)
			}
		}
	}
	out := a.V.Shape[1]
	var sum float64
	for k := range ra {
		for l := range rb {
			var dot float64
			for j, x := range va[k*out : (k+1)*out] {
				dot += float64(x) * float64(vb[l*out+j])
			}
			sum += dot * g[k*rb+l]
		}
	}
	return sum
}
