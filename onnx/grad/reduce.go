package grad

import "editpipe/onnx"

// spread gives a value that has the shape of output 0 the rank of input 0
// again, with length 1 along the reduced axes.
func (s *step) spread(v string) string {
	if s.n.Int("keepdims", 1) != 0 {
		return v
	}
	if axes := s.n.Ints("axes", nil); axes != nil {
		return s.op("Unsqueeze", v, s.ints(axes...))
	}
	if s.in(1) == "" { // all axes: a scalar broadcasts by itself
		return v
	}
	return s.op("Unsqueeze", v, s.in(1))
}

// reduces is false for the reduction over no axes that leaves its input alone.
func (s *step) reduces() bool {
	if s.n.Int("noop_with_empty_axes", 0) == 0 {
		return true
	}
	axes, ok := s.facts.axes(s.n)
	if !ok {
		s.fail("whether it reduces is decided at run time")
	}
	return len(axes) > 0
}

func reduceSum(s *step) {
	if !s.reduces() {
		s.give(0, s.dy())
		return
	}
	s.give(0, s.expand(s.spread(s.dy()), s.in(0)))
}

func reduceMean(s *step) {
	if !s.reduces() {
		s.give(0, s.dy())
		return
	}
	s.give(0, s.expand(s.spread(s.perElement(s.dy())), s.in(0)))
}

// perElement divides by the number of elements that the mean was taken over.
func (s *step) perElement(dy string) string {
	xs := s.shape(s.in(0))
	axes, ok := s.facts.axes(s.n)
	count := int64(1)
	for _, a := range axes {
		d := xs.at(int(a))
		ok = ok && d.known()
		count *= d.n
	}
	if n := total(xs); len(axes) == 0 {
		ok = ok && n.known()
		count = n.n
	}
	if ok && count > 0 {
		return s.times(dy, 1/float64(count))
	}
	n := s.op("Div", s.op("Size", s.in(0)), s.op("Size", s.out()))
	return s.op("Div", dy, s.cast(n, s.dtype(s.in(0))))
}

// reduceExtremum shares the gradient among the elements that attain the result.
func reduceExtremum(s *step) {
	if !s.reduces() {
		s.give(0, s.dy())
		return
	}
	x := s.in(0)
	hit := s.op("Equal", x, s.spread(s.out()))
	count := s.summed(s.castLike(hit, x))
	s.give(0, s.op("Where", hit, s.spread(s.op("Div", s.dy(), count)), s.scalar(0)))
}

// summed adds up along the axes of the reduction.
func (s *step) summed(x string) string {
	inputs := []string{x}
	if axes := s.n.Ints("axes", nil); axes != nil {
		inputs = append(inputs, s.ints(axes...))
	} else if s.in(1) != "" {
		inputs = append(inputs, s.in(1))
	}
	return s.b.Op("ReduceSum", inputs, onnx.AttrInt("keepdims", s.n.Int("keepdims", 1)))
}

func reduceL1(s *step) {
	s.give(0, s.mul(s.spreadOr(s.dy()), s.op("Sign", s.in(0))))
}

// y = |x|: dx = x / y, and 0 at 0.
func reduceL2(s *step) {
	y := s.spreadOr(s.out())
	d := s.op("Div", s.mul(s.spreadOr(s.dy()), s.in(0)), y)
	s.give(0, s.op("Where", s.op("Equal", y, s.scalar(0)), s.scalar(0), d))
}

func reduceSumSquare(s *step) {
	s.give(0, s.mul(s.spreadOr(s.dy()), s.times(s.in(0), 2)))
}

func reduceLogSum(s *step) {
	s.give(0, s.expand(s.spreadOr(s.op("Div", s.dy(), s.op("Exp", s.out()))), s.in(0)))
}

func reduceLogSumExp(s *step) {
	s.give(0, s.mul(s.spreadOr(s.dy()), s.op("Exp", s.sub(s.in(0), s.spreadOr(s.out())))))
}

// spreadOr is spread, or nothing for a reduction over no axes, which is applied
// to each element.
func (s *step) spreadOr(v string) string {
	if !s.reduces() {
		return v
	}
	return s.spread(v)
}

// reduceProd: an element's gradient is the product of the others. Where zeros are
// among them it is not y / x: one zero alone gets the product of the rest.
func reduceProd(s *step) {
	if !s.reduces() {
		s.give(0, s.dy())
		return
	}
	x := s.in(0)
	zero := s.op("Equal", x, s.scalar(0))
	zeros := s.spread(s.summed(s.castLike(zero, x)))
	others := s.op("Where", zero, s.scalar(1), x)
	rest := s.b.OpN("ReduceProd", "", append([]string{others}, s.n.Inputs[1:]...), 1, s.n.Attrs...)[0]
	product := s.mul(s.spread(rest), s.spread(s.dy()))
	counted := s.op("Where", zero, s.scalar(1), s.scalar(0))
	s.give(0, s.op("Where", s.op("Equal", zeros, counted), s.op("Div", product, others), s.scalar(0)))
}

// y = softmax(x): dx = y (dy - sum(y dy)).
func softmax(s *step) {
	axis := s.n.Int("axis", -1)
	inner := s.sum(s.mul(s.dy(), s.out()), []int64{axis}, true)
	s.give(0, s.masked(axis, s.mul(s.out(), s.sub(s.dy(), inner))))
}

// y = x - log sum exp x: dx = dy - exp(y) sum(dy).
func logSoftmax(s *step) {
	axis := s.n.Int("axis", -1)
	s.give(0, s.masked(axis, s.sub(s.dy(), s.mul(s.op("Exp", s.out()), s.sum(s.dy(), []int64{axis}, true)))))
}

// masked gives 0 to the rows of a softmax that are masked whole. Their result is
// NaN in all places, which exporters replace by 0 behind it: the cotangent of
// such a row is 0, but 0 NaN is NaN, and would spread to every key and weight.
func (s *step) masked(axis int64, dx string) string {
	first := s.op("Slice", s.out(), s.ints(0), s.ints(1), s.ints(axis))
	return s.op("Where", s.op("IsNaN", first), s.constant(0, s.out()), dx)
}
