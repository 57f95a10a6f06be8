package grad

import (
	"math"
	"slices"

	"editpipe/onnx"
)

// elementwise computes the elements of a small integer or boolean tensor.
func elementwise(op string, ins []fact) []num {
	size := 1
	for _, x := range ins {
		if x.elems == nil {
			return nil
		}
		if len(x.elems) != 1 {
			size = len(x.elems)
		}
	}
	out := make([]num, size)
	for i := range out {
		var v []num
		for _, x := range ins {
			if len(x.elems) == 1 {
				v = append(v, x.elems[0])
			} else if i < len(x.elems) {
				v = append(v, x.elems[i])
			} else {
				return nil
			}
		}
		out[i] = compute(op, v)
	}
	return out
}

func compute(op string, v []num) num {
	truth := func(b bool) num {
		if b {
			return known(1)
		}
		return known(0)
	}
	switch op {
	case "Where":
		if v[0].known() && len(v) == 3 {
			if v[0].n != 0 {
				return v[1]
			}
			return v[2]
		}
		return unknown
	case "Equal":
		// A dimension is never negative: the test for -1 in an expanded shape.
		if v[0].equal(v[1]) {
			return known(1)
		}
		negative := func(a num) bool { return a.known() && a.n < 0 }
		if v[0].known() && v[1].known() || v[0].sym > 0 && negative(v[1]) || v[1].sym > 0 && negative(v[0]) {
			return known(0)
		}
		return unknown
	case "Mul", "Div":
		if len(v) == 2 && v[1].is(1) {
			return v[0]
		}
		if op == "Mul" && v[0].is(1) {
			return v[1]
		}
	case "Add", "Sub":
		if len(v) == 2 && v[1].is(0) {
			return v[0]
		}
		if op == "Add" && v[0].is(0) {
			return v[1]
		}
		if op == "Sub" && len(v) == 2 && v[0].equal(v[1]) {
			return known(0)
		}
	}
	if len(v) != 2 || !v[0].known() || !v[1].known() {
		return unknown
	}
	a, b := v[0].n, v[1].n
	switch op {
	case "Add":
		return known(a + b)
	case "Sub":
		return known(a - b)
	case "Mul":
		return known(a * b)
	case "Div":
		if b != 0 {
			return known(a / b)
		}
	case "Min":
		return known(min(a, b))
	case "Max":
		return known(max(a, b))
	case "Less":
		return truth(a < b)
	case "Greater":
		return truth(a > b)
	case "And":
		return truth(a != 0 && b != 0)
	case "Or":
		return truth(a != 0 || b != 0)
	}
	return unknown
}

// total is the number of elements of a shape.
func total(s shape) num {
	if s == nil {
		return unknown
	}
	n := int64(1)
	for _, d := range s {
		if !d.known() {
			return unknown
		}
		n *= d.n
	}
	return known(n)
}

// places are the positions along an axis that a Slice takes.
func places(start, end, step, length int64) []int64 {
	clamp := func(v, low, high int64) int64 {
		if v < 0 {
			v += length
		}
		return min(max(v, low), high)
	}
	var taken []int64
	if step > 0 {
		for i := clamp(start, 0, length); i < clamp(end, 0, length); i += step {
			taken = append(taken, i)
		}
	} else if length > 0 {
		for i := clamp(start, 0, length-1); i > clamp(end, -1, length-1); i += step {
			taken = append(taken, i)
		}
	}
	return taken
}

// layout: operators that arrange elements.
func (f *facts) layout(n *onnx.Node) []fact {
	x := f.in(n, 0)
	t := fact{dtype: x.dtype}
	switch n.OpType {
	case "Reshape":
		t.shape = f.reshaped(x.shape, f.in(n, 1), n.Int("allowzero", 0) != 0)
		if len(t.shape) <= 1 && t.shape != nil {
			t.elems = x.elems
		}
	case "Flatten":
		t.shape = f.ranked(2)
	case "Transpose":
		perm := n.Ints("perm", nil)
		if perm == nil && x.shape != nil {
			t.shape = slices.Clone(x.shape)
			slices.Reverse(t.shape)
		}
		for _, p := range perm {
			t.shape = append(t.shape, f.dim(x.shape.at(int(p))))
		}
	case "Squeeze":
		t.shape = f.squeezed(n, x.shape)
		if len(t.shape) <= 1 && t.shape != nil {
			t.elems = x.elems
		}
	case "Unsqueeze":
		axes, ok := f.axes(n)
		if !ok || x.shape == nil {
			break
		}
		rank := len(x.shape) + len(axes)
		t.shape = slices.Clone(x.shape)
		at := make([]int, len(axes))
		for i, a := range axes {
			if a < 0 {
				a += int64(rank)
			}
			at[i] = int(a)
		}
		slices.Sort(at)
		for _, a := range at {
			if a < 0 || a > len(t.shape) {
				t.shape = f.ranked(rank)
				break
			}
			t.shape = slices.Insert(t.shape, a, known(1))
		}
		if rank <= 1 {
			t.elems = x.elems
		}
	case "Pad":
		pads := f.in(n, 1).elems
		for i, d := range x.shape {
			switch {
			case len(pads) != 2*len(x.shape) || !pads[i].known() || !pads[len(x.shape)+i].known():
				d = f.symbol()
			case d.known():
				d.n += pads[i].n + pads[len(x.shape)+i].n
			case !pads[i].is(0) || !pads[len(x.shape)+i].is(0):
				d = f.symbol()
			}
			t.shape = append(t.shape, d)
		}
	case "Concat":
		return []fact{f.concat(n)}
	case "Split":
		return f.split(n, x)
	case "Slice":
		return []fact{f.slice(n, x)}
	case "Expand":
		t.shape = f.broadcast(x.shape, f.fromElems(f.in(n, 1).elems))
	case "Tile":
		if x.shape == nil {
			break
		}
		t.shape = f.ranked(len(x.shape))
		for i, r := range f.in(n, 1).elems {
			switch d := x.shape.at(i); {
			case i >= len(t.shape):
			case r.is(1):
				t.shape[i] = d
			case d.is(1):
				t.shape[i] = f.dim(r)
			case r.known() && d.known():
				t.shape[i] = known(r.n * d.n)
			}
		}
	}
	return []fact{t}
}

// reshaped resolves the target of a Reshape. A dimension of -1 is computed by
// cancelling what the other dimensions have in common with the input.
func (f *facts) reshaped(from shape, target fact, allowZero bool) shape {
	if target.elems == nil {
		if d := target.shape.at(0); len(target.shape) == 1 && d.known() {
			return f.ranked(int(d.n))
		}
		return nil
	}
	out := make(shape, len(target.elems))
	infer := -1
	rest, number := slices.Clone(from), int64(1) // what is left for the -1
	ok := from != nil
	for i, e := range target.elems {
		if e.is(0) && !allowZero {
			e = from.at(i)
		}
		if e.is(-1) {
			infer = i
			continue
		}
		out[i] = f.dim(e)
		if e.known() {
			number *= e.n
		} else if j := slices.IndexFunc(rest, e.equal); j >= 0 {
			rest = slices.Delete(rest, j, j+1)
		} else {
			ok = false
		}
	}
	if infer < 0 {
		return out
	}
	out[infer] = f.symbol()
	var symbols []num
	product := int64(1)
	for _, d := range rest {
		if d.known() {
			product *= d.n
		} else {
			symbols = append(symbols, d)
		}
	}
	switch {
	case !ok || number == 0 || product%number != 0:
	case len(symbols) == 0:
		out[infer] = known(product / number)
	case len(symbols) == 1 && product == number:
		out[infer] = symbols[0]
	}
	return out
}

func (f *facts) squeezed(n *onnx.Node, s shape) shape {
	axes, ok := f.axes(n)
	if !ok || s == nil {
		return nil
	}
	gone := map[int]bool{}
	for _, a := range axes {
		i, ok := s.axis(a)
		if !ok {
			return nil
		}
		gone[i] = true
	}
	out := shape{}
	for i, d := range s {
		if len(axes) == 0 && !d.known() {
			return nil
		}
		if !gone[i] && (len(axes) > 0 || d.n != 1) {
			out = append(out, d)
		}
	}
	return out
}

func (f *facts) concat(n *onnx.Node) fact {
	var t fact
	for i := range n.Inputs {
		x := f.in(n, i)
		if t.dtype == onnx.Undefined {
			t.dtype = x.dtype
		}
		if t.shape == nil && x.shape != nil {
			t.shape = slices.Clone(x.shape)
		}
	}
	axis, ok := t.shape.axis(n.Int("axis", 0))
	if t.shape == nil || !ok {
		t.shape = nil
		return t
	}
	sum := int64(0)
	t.elems = []num{}
	for i := range n.Inputs {
		x := f.in(n, i)
		d := x.shape.at(axis)
		if !d.known() {
			sum = -1
		} else if sum >= 0 {
			sum += d.n
		}
		if x.elems == nil || t.elems == nil || len(t.shape) != 1 {
			t.elems = nil
		} else {
			t.elems = append(t.elems, x.elems...)
		}
		for j := range t.shape {
			if x.shape.at(j).known() {
				t.shape[j] = x.shape[j]
			}
		}
	}
	t.shape[axis] = f.dim(known(sum))
	return t
}

func (f *facts) split(n *onnx.Node, x fact) []fact {
	sizes := f.in(n, 1).elems
	axis, ok := x.shape.axis(n.Int("axis", 0))
	out := make([]fact, len(n.Outputs))
	for i := range out {
		out[i].dtype = x.dtype
		if x.shape == nil || !ok {
			continue
		}
		out[i].shape = slices.Clone(x.shape)
		d := x.shape[axis]
		switch {
		case i < len(sizes):
			d = f.dim(sizes[i])
		case len(n.Inputs) < 2 && d.known() && d.n%int64(len(out)) == 0:
			d.n /= int64(len(out))
		default:
			d = f.symbol()
		}
		out[i].shape[axis] = d
	}
	return out
}

// slice knows slices of step 1 along known axes from and to known places.
func (f *facts) slice(n *onnx.Node, x fact) fact {
	t := fact{dtype: x.dtype}
	if x.shape == nil {
		return t
	}
	starts, ends, axes, steps := f.in(n, 1).elems, f.in(n, 2).elems, f.in(n, 3).elems, f.in(n, 4).elems
	if len(n.Inputs) < 4 || n.Inputs[3] == "" {
		for i := range starts {
			axes = append(axes, known(int64(i)))
		}
	}
	if starts == nil || axes == nil {
		t.shape = f.ranked(len(x.shape))
		return t
	}
	t.shape = slices.Clone(x.shape)
	for i, a := range axes {
		axis, ok := x.shape.axis(a.n)
		if !ok || !a.known() {
			t.shape = f.ranked(len(x.shape))
			return t
		}
		d := x.shape[axis]
		step := known(1)
		if i < len(steps) {
			step = steps[i]
		}
		t.shape[axis] = f.symbol()
		if i >= len(starts) || i >= len(ends) || !step.known() || step.n == 0 || !starts[i].known() {
			continue
		}
		whole := ends[i].known() && ends[i].n >= math.MaxInt32 || ends[i].equal(d)
		switch {
		case starts[i].is(0) && whole && step.n == 1:
			t.shape[axis] = d
		case starts[i].is(0) && ends[i].sym > 0 && step.n == 1 && d.known() && d.n > 1:
			// A mask or a table of positions, cut to the length of the input. It
			// is long enough, or combining the two fails.
			t.shape[axis] = ends[i]
		case d.known() && ends[i].known():
			taken := places(starts[i].n, ends[i].n, step.n, d.n)
			t.shape[axis] = known(int64(len(taken)))
			if len(x.shape) == 1 && len(x.elems) == int(d.n) {
				t.elems = []num{}
				for _, at := range taken {
					t.elems = append(t.elems, x.elems[at])
				}
			}
		}
	}
	return t
}

func (f *facts) gather(n *onnx.Node) fact {
	x, index := f.in(n, 0), f.in(n, 1)
	t := fact{dtype: x.dtype}
	switch n.OpType {
	case "GatherElements":
		t.shape = index.shape
	case "GatherND":
		k := index.shape.at(-1)
		batch := int(n.Int("batch_dims", 0))
		if x.shape == nil || !k.known() || len(index.shape) == 0 || batch+int(k.n) > len(x.shape) {
			break
		}
		t.shape = append(slices.Clone(index.shape[:len(index.shape)-1]), x.shape[batch+int(k.n):]...)
	case "Gather":
		axis, ok := x.shape.axis(n.Int("axis", 0))
		if !ok || x.shape == nil || index.shape == nil {
			break
		}
		t.shape = slices.Concat(x.shape[:axis], index.shape, x.shape[axis+1:])
		if t.shape == nil {
			t.shape = shape{}
		}
		if len(x.shape) == 1 && x.elems != nil && index.elems != nil {
			t.elems = []num{}
			for _, e := range index.elems {
				i, ok := shape(x.elems).axis(e.n) // an index counts like an axis
				if !ok || !e.known() {
					t.elems = nil
					break
				}
				t.elems = append(t.elems, x.elems[i])
			}
		}
	}
	return t
}
