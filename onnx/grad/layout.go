package grad

import (
	"slices"

	"editpipe/onnx"
)

// relayout: operators that keep the elements in order.
func relayout(s *step) { s.give(0, s.like(s.dy(), s.in(0))) }

func transpose(s *step) {
	perm := s.n.Ints("perm", nil)
	if perm == nil {
		s.give(0, s.op("Transpose", s.dy())) // reverses the axes, so it undoes itself
		return
	}
	inverse := make([]int64, len(perm))
	for i, p := range perm {
		inverse[p] = int64(i)
	}
	s.give(0, s.transpose(s.dy(), inverse...))
}

// concat cuts the parts out of dY again.
func concat(s *step) {
	axis := s.n.Int("axis", 0)
	sum, start := known(0), s.ints(0)
	for i, v := range s.n.Inputs {
		d := s.shape(v).at(int(axis))
		var end string
		if sum.known() && d.known() {
			sum = known(sum.n + d.n)
			end = s.ints(sum.n)
		} else {
			sum = unknown
			end = s.add(start, s.dimOf(v, int(axis)))
		}
		if s.wants(i) {
			s.give(i, s.op("Slice", s.dy(), start, end, s.ints(axis)))
		}
		start = end
	}
}

func split(s *step) {
	parts := make([]string, len(s.n.Outputs))
	for i, o := range s.n.Outputs {
		if o == "" {
			s.fail("output %d is left out", i)
			return
		}
		parts[i] = s.dyOf(i)
	}
	s.give(0, s.concat(s.n.Int("axis", 0), parts...))
}

func expand(s *step) { s.giveReduced(0, s.dy()) }

// tile sums over the repeats: axis i of dY is one axis of repeats and one of
// elements.
func tile(s *step) {
	x := s.in(0)
	rank := len(s.shape(x))
	if s.shape(x) == nil {
		s.fail("the rank of %q is not known", x)
		return
	}
	pairs := s.concat(1, s.op("Unsqueeze", s.in(1), s.ints(1)), s.op("Unsqueeze", s.shapeOf(x), s.ints(1)))
	wide := s.reshape(s.dy(), s.op("Reshape", pairs, s.ints(-1)))
	axes := make([]int64, rank)
	for i := range axes {
		axes[i] = int64(2 * i)
	}
	if rank == 0 {
		s.give(0, s.dy())
		return
	}
	s.give(0, s.sum(wide, axes, false))
}

// slice puts dY back to where it was cut out of zeros, one axis after the
// other.
func slice(s *step) {
	x := s.in(0)
	xs := s.shape(x)
	starts := s.fact(s.in(1)).elems
	count := len(starts)
	if d := s.shape(s.in(1)).at(0); starts == nil && d.known() {
		count = int(d.n)
	}
	if xs == nil || count == 0 {
		s.fail("the rank of %q or the number of sliced axes is not known", x)
		return
	}
	d := s.dy()
	for i := range count {
		axis := i
		if s.in(3) != "" {
			axes, ok := s.fact(s.in(3)).elems, false
			if i < len(axes) && axes[i].known() {
				axis, ok = xs.axis(axes[i].n)
			}
			if !ok {
				s.fail("the sliced axes are computed")
				return
			}
		}
		d = s.unslice(d, i, axis)
	}
	s.give(0, d)
}

// unslice undoes slice i, along an axis: by padding with zeros if a known piece
// was cut out in one; else every position along the axis gathers its cotangent,
// or a zero that is put behind the last one.
func (s *step) unslice(d string, i, axis int) string {
	length := s.shape(s.in(0))[axis]
	if length.equal(s.shape(s.out()).at(axis)) && s.bound(4, i).is(1) {
		return d // all of it
	}
	rank := len(s.shape(s.in(0)))
	pads := make([]int64, 2*rank)
	start, end, by := s.bound(1, i), s.bound(2, i), s.bound(4, i)
	var from string
	if length.known() && start.known() && end.known() && by.known() && by.n != 0 {
		taken := places(start.n, end.n, by.n, length.n)
		n := int64(len(taken))
		if n > 0 && by.n == 1 {
			pads[axis], pads[rank+axis] = taken[0], length.n-taken[0]-n
			return s.op("Pad", d, s.ints(pads...))
		}
		source := slices.Repeat([]int64{n}, int(length.n))
		for j, at := range taken {
			source[at] = int64(j)
		}
		from = s.ints(source...)
	} else {
		from = s.sources(i, axis)
	}
	pads[rank+axis] = 1
	return s.b.Op("Gather", []string{s.op("Pad", d, s.ints(pads...)), from}, onnx.AttrInt("axis", int64(axis)))
}

// bound is element i of an input of a Slice; steps that are left out are 1.
func (s *step) bound(input, i int) num {
	if s.in(input) == "" {
		return known(1)
	}
	if elems := s.fact(s.in(input)).elems; i < len(elems) {
		return elems[i]
	}
	return unknown
}

// sources is for every position along an axis the position in dY that was taken
// from it, or the first one behind dY: slicing the positions in the same way
// tells which were taken.
func (s *step) sources(i, axis int) string {
	count := func(n string) string {
		return s.op("Range", s.integer(0), s.op("Squeeze", n, s.ints(0)), s.integer(1))
	}
	length := s.dimOf(s.in(0), axis)
	bounds := []string{count(length), s.part(s.in(1), int64(i)), s.part(s.in(2), int64(i)), s.ints(0)}
	if s.in(4) != "" {
		bounds = append(bounds, s.part(s.in(4), int64(i)))
	}
	taken := s.op("Slice", bounds...)
	n := s.op("Shape", taken)
	return s.op("ScatterElements", s.op("Expand", n, length), taken, count(n))
}

// pad: what was put around by one number is cut off by the opposite padding. The
// other modes copy elements, so that each axis is a Gather.
// Inputs: x, pads, value, axes.
func pad(s *step) {
	switch mode := s.n.String("mode", "constant"); mode {
	case "constant":
		bounds := func(pads string) []string {
			in := []string{s.dy(), s.op("Neg", pads)}
			if s.in(3) != "" {
				in = append(in, "", s.in(3))
			}
			return in
		}
		if s.wants(0) {
			s.give(0, s.op("Pad", bounds(s.in(1))...))
		}
		if s.wants(2) {
			inside := s.sum(s.op("Pad", bounds(s.op("Max", s.in(1), s.integer(0)))...), nil, false)
			s.give(2, s.like(s.sub(s.sum(s.dy(), nil, false), inside), s.in(2)))
		}
	case "reflect", "edge", "wrap":
		composed(padCopies)(s)
	default:
		s.fail("its mode is %q", mode)
	}
}

func padCopies(s *step) []string {
	x := s.in(0)
	var axes []int64
	if s.in(3) == "" {
		for i := range s.shape(x) {
			axes = append(axes, int64(i))
		}
	} else {
		for _, e := range s.fact(s.in(3)).elems {
			axes = append(axes, e.n)
			if !e.known() {
				axes = nil
				break
			}
		}
	}
	if axes == nil {
		s.fail("the rank of %q or the padded axes are not known", x)
		return nil
	}
	for i, axis := range axes {
		ends := s.concat(0, s.part(s.in(1), int64(i)), s.part(s.in(1), int64(i+len(axes))))
		from := s.b.Op("Pad", []string{s.upTo(s.dimOf(s.in(0), int(axis))), ends}, s.n.Attr("mode"))
		x = s.b.Op("Gather", []string{x, from}, onnx.AttrInt("axis", axis))
	}
	return []string{x}
}

// trilu keeps one triangle, of the gradient too.
func trilu(s *step) {
	in := append([]string{s.dy()}, s.n.Inputs[1:]...)
	s.give(0, s.b.OpN(s.n.OpType, s.n.Domain, in, 1, s.n.Attrs...)[0])
}

// cumSum: y_i = sum of x_j up to i, so dx_j = sum of dy_i from j on.
func cumSum(s *step) {
	s.give(0, s.b.Op("CumSum", []string{s.dy(), s.in(1)},
		onnx.AttrInt("exclusive", s.n.Int("exclusive", 0)), onnx.AttrInt("reverse", 1-s.n.Int("reverse", 0))))
}
