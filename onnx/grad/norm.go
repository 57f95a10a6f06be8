package grad

import (
	"editpipe/onnx"
)

// The norms compute in float32 where the model has 16 bits, as the runtime
// does.

// normalised is the gradient of a norm along the last axes.
type normalised struct {
	dx    string
	scale string // cotangent of the scale before it is reduced to its shape
	dy    string // that of the bias
}

func (s *step) wide(x string, dt onnx.DataType) string {
	if dt == onnx.Float16 || dt == onnx.BFloat16 {
		return s.cast(x, onnx.Float)
	}
	return x
}

func (s *step) narrow(x string, dt onnx.DataType) string {
	if dt == onnx.Float16 || dt == onnx.BFloat16 {
		return s.cast(x, dt)
	}
	return x
}

// normalise differentiates y = (x - m) r g + b, where m is the mean (0 if not
// centred) and r = 1 / sqrt(mean((x - m)^2) + epsilon). With n = (x - m) r and
// u = g dy: dx = r (u - mean(u) - n mean(u n)), without mean(u) if not centred.
func (s *step) normalise(x, scale, dy string, centred bool, epsilon float64, axes []int64) normalised {
	dt := s.dtype(s.in(0))
	work := dt
	if dt == onnx.Float16 || dt == onnx.BFloat16 {
		work = onnx.Float
	}
	x, dy, scale = s.wide(x, dt), s.wide(dy, dt), s.wide(scale, dt)
	if centred {
		x = s.sub(x, s.mean(x, axes...))
	}
	r := s.op("Reciprocal", s.op("Sqrt", s.add(s.mean(s.mul(x, x), axes...), s.number(epsilon, work))))
	n := s.mul(x, r)
	u := s.mul(dy, scale)
	d := u
	if centred {
		d = s.sub(d, s.mean(u, axes...))
	}
	d = s.mul(r, s.sub(d, s.mul(n, s.mean(s.mul(u, n), axes...))))
	return normalised{s.narrow(d, dt), s.narrow(s.mul(dy, n), dt), s.narrow(dy, dt)}
}

// lastAxes are the axes from attribute axis on.
func (s *step) lastAxes() []int64 {
	axis := s.n.Int("axis", -1)
	if axis >= 0 {
		rank := int64(len(s.shape(s.in(0))))
		if rank == 0 {
			s.fail("the rank of %q is not known", s.in(0))
			return []int64{-1}
		}
		axis -= rank
	}
	var axes []int64
	for ; axis < 0; axis++ {
		axes = append(axes, axis)
	}
	return axes
}

// onlyResult refuses cotangents of the statistics that norms can return.
func (s *step) onlyResult() {
	for i, dy := range s.dys {
		if i > 0 && i < 3 && dy != "" {
			s.fail("its output %d is used", i)
		}
	}
}

func layerNorm(s *step) {
	s.onlyResult()
	g := s.normalise(s.in(0), s.in(1), s.dy(), true, float64(s.n.Float("epsilon", 1e-5)), s.lastAxes())
	s.give(0, g.dx)
	s.giveReduced(1, g.scale)
	s.giveReduced(2, g.dy)
}

func rmsNorm(s *step) {
	s.onlyResult()
	g := s.normalise(s.in(0), s.in(1), s.dy(), false, float64(s.n.Float("epsilon", 1e-5)), s.lastAxes())
	s.give(0, g.dx)
	s.giveReduced(1, g.scale)
}

// skipNorm: the norm of the sum of input, skip and a bias; output 3 is the sum.
// Inputs: input, skip, gamma, then beta (only the centred form), then bias.
func skipNorm(s *step) {
	s.onlyResult()
	centred := s.n.OpType == "SkipLayerNormalization"
	biasAt := 3
	if centred {
		biasAt = 4
	}
	x := s.add(s.in(0), s.in(1))
	if s.in(biasAt) != "" {
		x = s.add(x, s.in(biasAt))
	}
	g := s.normalise(x, s.in(2), s.dy(), centred, float64(s.n.Float("epsilon", 1e-5)), []int64{-1})
	if len(s.dys) > 3 && s.dys[3] != "" {
		g.dx = s.add(g.dx, s.dys[3])
	}
	s.give(0, g.dx)
	s.giveReduced(1, g.dx)
	s.giveReduced(2, g.scale)
	if centred {
		s.giveReduced(3, g.dy)
	}
	s.giveReduced(biasAt, g.dx)
}

// lpNorm divides by the sum of magnitudes or the root of the sum of squares along
// an axis; zeros stay zeros.
func lpNorm(s *step) []string {
	x, axis := s.in(0), s.n.Int("axis", -1)
	op := map[int64]string{1: "ReduceL1", 2: "ReduceL2"}[s.n.Int("p", 2)]
	if op == "" {
		s.fail("its attribute p is %d", s.n.Int("p", 2))
		return nil
	}
	var size string
	if s.opset >= 18 {
		size = s.op(op, x, s.ints(axis))
	} else {
		size = s.b.Op(op, []string{x}, onnx.AttrInts("axes", axis))
	}
	return []string{s.op("Div", x, s.op("Where", s.op("Equal", size, s.scalar(0)), s.scalar(1), size))}
}
