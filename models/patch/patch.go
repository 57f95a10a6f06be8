// Package patch defines a patch, an edit as a value: additions to named weights
// and biases, splices, which are small networks between the value at a site and its
// readers, and routes that replace questions by others.
//
// A low-rank change W' = W + U V is never added to W: its factors travel with
// the row that is asked through it, so that every row of a run has its own
// edit, and edited and unedited rows can share a run; shorter ranks are padded
// with zeros. When all rows of a run carry the same patch its factors are fed
// once. A change of a bias and the parameters of a network travel with the rows
// likewise.
//
// Rows with different dense patches never share a run: the weights that such a
// patch changes are fed whole, W + Delta in the stored orientation, if the
// runtime accepts them, and W itself stays with the session. Float16 weights
// are replaced if the loaded runtime accepts overridable float16 initializers,
// as 1.30 does; 1.27 ended the process while it loaded such a graph and is
// never given one. Weights of other types are not replaced, nor are those of a
// fifth set of weights, since every set needs a session. Their changes go
// through the slots, as products with an identity matrix. arch.Info.Dense says
// which form a model takes.
//
// Against the unedited model, on one thread (GPT-2 form, 6 layers of width 256, 32
// rows of 20 tokens; medians of 40 runs in turn, BenchmarkDense of package answer),
// replacing one down-projection costs 1 %, its slot 7 %; replacing all six 14 %,
// their slots 42 %.
package patch

import (
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"

	"editpipe/models/arch"
	"editpipe/tensor"
)

// Patch is an edit as a value. The zero Patch, like a nil one, leaves the model
// as it is. A patch is not changed once it is in use.
type Patch struct {
	Method  string   // who made it; a method id
	Edits   []string // ids of the edits it holds, oldest first
	Weights []Weight // all are in force together; what goes to one weight adds up
	Splices []Splice // likewise; those at one place are one network
	Routes  []Route  // the last stands outermost
	// State is not applied: what the method needs to make the next patch.
	State map[string]*tensor.Tensor
}

// Binding says how rows with a patch are brought into a run.
type Binding uint8

// The bindings of a patch, see the package comment.
const (
	BindNone   Binding = iota // nothing to apply to the graph
	BindPerRow                // low-rank factors, biases and networks travel with the row
	BindDense                 // the run belongs to this patch
)

func (b Binding) String() string {
	return [...]string{"none", "per-row", "dense"}[b]
}

// Binding returns how the patch is applied; routes do not count.
func (p *Patch) Binding() Binding {
	switch {
	case p == nil || len(p.Weights)+len(p.Splices) == 0:
		return BindNone
	case slices.ContainsFunc(p.Weights, Weight.Dense):
		return BindDense
	}
	return BindPerRow
}

// at lists what the patch adds to a weight, or to its bias.
func (p *Patch) at(id arch.WeightID, bias bool) iter.Seq[Weight] {
	return func(yield func(Weight) bool) {
		if p == nil {
			return
		}
		for _, w := range p.Weights {
			if w.At == id && w.Bias == bias && !yield(w) {
				return
			}
		}
	}
}

// DenseAt says whether the patch adds a whole matrix to a weight.
func (p *Patch) DenseAt(at arch.WeightID) bool {
	return slices.ContainsFunc(p.Weights, func(w Weight) bool { return w.At == at && w.Dense() })
}

// Then returns a patch with the weights, splices and routes of p, then of q. Tensors
// are shared, not copied. State of q replaces state of p with the same name.
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
		Weights: slices.Concat(p.Weights, q.Weights),
		Splices: slices.Concat(p.Splices, q.Splices),
		Routes:  slices.Concat(p.Routes, q.Routes),
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

// Merge returns the patch with all that goes to a weight added up to one matrix,
// in order of the weights, and what goes to a bias to one vector; the rest stays.
// Merging pays once the ranks at a weight sum to more than in*out/(in+out).
func (p *Patch) Merge() (*Patch, error) {
	r := *p
	r.Weights = nil
	for _, bias := range []bool{false, true} {
		for _, at := range p.places(bias) {
			d, err := p.Sum(at, bias)
			if err != nil {
				return nil, err
			}
			r.Weights = append(r.Weights, Weight{At: at, Bias: bias, Delta: d})
		}
	}
	return &r, nil
}

// Matrices lists the weights that the patch changes, each once, in order of
// side, layer and part; those whose bias alone it changes are not among them.
func (p *Patch) Matrices() []arch.WeightID { return p.places(false) }

// Biases lists the weights whose bias the patch changes, likewise.
func (p *Patch) Biases() []arch.WeightID { return p.places(true) }

func (p *Patch) places(bias bool) []arch.WeightID {
	if p == nil {
		return nil
	}
	var ids []arch.WeightID
	for _, w := range p.Weights {
		if w.Bias == bias && !slices.Contains(ids, w.At) {
			ids = append(ids, w.At)
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

// Sum adds up what goes to one weight, [in, out] float32, or to its bias, [out].
func (p *Patch) Sum(at arch.WeightID, bias bool) (*tensor.Tensor, error) {
	var sum *tensor.Tensor
	for w := range p.at(at, bias) {
		d, err := w.Sum()
		if err != nil {
			return nil, err
		}
		if sum == nil {
			sum = d.Clone()
			continue
		}
		if !slices.Equal(sum.Shape, d.Shape) {
			return nil, fmt.Errorf("models: patch: %w", &MisfitError{What: w.Place(), Want: fmt.Sprint(d.Shape), Have: fmt.Sprint(sum.Shape)})
		}
		into := sum.Float32s()
		for i, x := range d.Float32s() {
			into[i] += x
		}
	}
	return sum, nil
}

// Bytes is the size of everything the patch holds but its routes.
func (p *Patch) Bytes() int64 {
	if p == nil {
		return 0
	}
	var n int64
	for _, w := range p.Weights {
		for _, t := range w.Tensors() {
			n += int64(t.Bytes())
		}
	}
	for _, s := range p.Splices {
		for _, t := range s.Tensors() {
			n += int64(t.Bytes())
		}
	}
	for _, t := range p.State {
		n += int64(t.Bytes())
	}
	return n
}

// DeltaNorm is the Frobenius norm of all that goes to weights and biases
// together. Of products it comes from the factors' Gram matrices,
// |UV|^2 = <U'U, VV'>, without forming them; that costs R^2 (in + out)
// multiplications for a total rank of R at a weight. It is not a number where the
// patch has splices: what they add is no change of a weight.
func (p *Patch) DeltaNorm() float64 {
	if len(p.Splices) > 0 {
		return math.NaN()
	}
	var sum float64
	for _, bias := range []bool{false, true} {
		for _, at := range p.places(bias) {
			sum += p.normSquared(at, bias)
		}
	}
	return math.Sqrt(sum)
}

func (p *Patch) normSquared(at arch.WeightID, bias bool) float64 {
	list := slices.Collect(p.at(at, bias))
	if slices.ContainsFunc(list, func(w Weight) bool { return w.Delta != nil }) {
		d, err := p.Sum(at, bias)
		if err != nil {
			return math.NaN() // shapes contradict each other; applying the patch says so
		}
		n := d.Norm()
		return n * n
	}
	var sum float64
	for i, a := range list {
		for j, b := range list[:i+1] {
			g := a.inner(b)
			if i != j {
				g *= 2
			}
			sum += g
		}
	}
	return max(sum, 0)
}
