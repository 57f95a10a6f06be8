package grad

import (
	"math"

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
	axes := s.in(3)
	count := len(s.facts.of[s.in(1)].elems)
	if d := s.shape(s.in(1)).at(0); count == 0 && d.known() {
		count = int(d.n)
	}
	if count == 0 {
		s.fail("the number of sliced axes is not known")
		return
	}
	d, ds := s.dy(), s.shape(s.out())
	for i := range count {
		axis := int64(i)
		if axes != "" {
			elems := s.facts.of[axes].elems
			if i >= len(elems) || !elems[i].known() {
				s.fail("the sliced axes are computed")
				return
			}
			axis = elems[i].n
		}
		if s.shape(s.in(0)).at(int(axis)).equal(ds.at(int(axis))) && s.stepIs(i, 1) {
			continue // all of the axis
		}
		if !s.padAxis(&d, i, axis) {
			d = s.spreadAxis(d, i, axis)
		}
	}
	s.give(0, d)
}

// stepIs says whether the step of slice i is known to be n.
func (s *step) stepIs(i int, n int64) bool {
	if s.in(4) == "" {
		return n == 1
	}
	elems := s.facts.of[s.in(4)].elems
	return i < len(elems) && elems[i].is(n)
}

// padAxis undoes slice i by padding with zeros, if it has step 1 and its bounds
// are known.
func (s *step) padAxis(d *string, i int, axis int64) bool {
	xs := s.shape(s.in(0))
	length, taken := xs.at(int(axis)), s.shape(s.out()).at(int(axis))
	starts := s.facts.of[s.in(1)].elems
	at, ok := xs.axis(axis)
	if xs == nil || !ok || !s.stepIs(i, 1) || !length.known() || !taken.known() || i >= len(starts) || !starts[i].known() {
		return false
	}
	from, _ := span(starts[i].n, math.MaxInt64, int(length.n))
	pads := make([]int64, 2*len(xs))
	pads[at] = int64(from)
	pads[len(xs)+at] = length.n - taken.n - int64(from)
	*d = s.op("Pad", *d, s.ints(pads...))
	return true
}

// spreadAxis undoes slice i in general: slicing the positions 0, 1, ... of the
// axis in the same way tells which of them were taken; every position then
// gathers its cotangent, or a zero that stands behind the last one.
func (s *step) spreadAxis(d string, i int, axis int64) string {
	length := s.dimOf(s.in(0), int(axis))
	all := s.op("Range", s.integer(0), s.op("Squeeze", length, s.ints(0)), s.integer(1))
	bounds := []string{all, s.part(s.in(1), int64(i)), s.part(s.in(2), int64(i)), s.ints(0)}
	if s.in(4) != "" {
		bounds = append(bounds, s.part(s.in(4), int64(i)))
	}
	taken := s.op("Slice", bounds...)
	count := s.op("Shape", taken)
	from := s.op("ScatterElements", s.op("Expand", count, length), taken,
		s.op("Range", s.integer(0), s.op("Squeeze", count, s.ints(0)), s.integer(1)))

	// One slice of zeros, in the shape of what has been put back so far.
	before := s.op("Shape", d)
	place := axis
	if place < 0 {
		place += int64(len(s.shape(s.in(0))))
	}
	if place < 0 {
		s.fail("the rank of %q is not known", s.in(0))
		return d
	}
	one := s.op("ScatterElements", before, s.ints(place), s.ints(1))
	zero := s.op("Expand", s.number(0, s.dtype(s.in(0))), one)
	return s.b.Op("Gather", []string{s.concat(place, d, zero), from}, onnx.AttrInt("axis", place))
}

// cumSum: y_i = sum of x_j up to i, so dx_j = sum of dy_i from j on.
func cumSum(s *step) {
	s.give(0, s.b.Op("CumSum", []string{s.dy(), s.in(1)},
		onnx.AttrInt("exclusive", s.n.Int("exclusive", 0)), onnx.AttrInt("reverse", 1-s.n.Int("reverse", 0))))
}
