package grad

import "math"

func tanh(s *step) {
	s.give(0, s.mul(s.dy(), s.sub(s.scalar(1), s.mul(s.out(), s.out()))))
}

func sigmoid(s *step) {
	s.give(0, s.mul(s.dy(), s.mul(s.out(), s.sub(s.scalar(1), s.out()))))
}

func erf(s *step) {
	x := s.in(0)
	bell := s.op("Exp", s.op("Neg", s.mul(x, x)))
	s.give(0, s.mul(s.dy(), s.times(bell, 2/math.Sqrt(math.Pi))))
}

// relu has derivative 0 at 0.
func relu(s *step) {
	zero := s.scalar(0)
	s.give(0, s.op("Where", s.op("Greater", s.in(0), zero), s.dy(), zero))
}

func softplus(s *step) { s.give(0, s.mul(s.dy(), s.op("Sigmoid", s.in(0)))) }

func gelu(s *step) {
	d := s.geluExact(s.in(0))
	if s.n.String("approximate", "none") == "tanh" {
		d = s.geluTanh(s.in(0))
	}
	s.give(0, s.mul(s.dy(), d))
}

// fastGelu is the tanh approximation of x + bias.
func fastGelu(s *step) {
	x := s.in(0)
	if s.in(1) != "" {
		x = s.add(x, s.in(1))
	}
	d := s.mul(s.dy(), s.geluTanh(x))
	s.give(0, d)
	s.giveReduced(1, d)
}

// biasGelu is the exact function of x + bias.
func biasGelu(s *step) {
	d := s.mul(s.dy(), s.geluExact(s.add(s.in(0), s.in(1))))
	s.give(0, d)
	s.giveReduced(1, d)
}

// leakyRelu has derivative 1 at 0.
func leakyRelu(s *step) {
	slope := s.times(s.dy(), float64(s.n.Float("alpha", 0.01)))
	s.give(0, s.op("Where", s.op("Less", s.in(0), s.scalar(0)), slope, s.dy()))
}

func pRelu(s *step) []string {
	x := s.in(0)
	return []string{s.op("Where", s.op("Less", x, s.scalar(0)), s.mul(s.in(1), x), x)}
}

// elu: y = a (e^x - 1) below 0; y' = y + a.
func elu(s *step) {
	below := s.mul(s.dy(), s.add(s.out(), s.scalar(float64(s.n.Float("alpha", 1)))))
	s.give(0, s.op("Where", s.op("Less", s.in(0), s.scalar(0)), below, s.dy()))
}

// hardSigmoid: y = a x + b between 0 and 1.
func hardSigmoid(s *step) {
	slope := s.times(s.dy(), float64(s.n.Float("alpha", 0.2)))
	inside := s.op("And", s.op("Greater", s.out(), s.scalar(0)), s.op("Less", s.out(), s.scalar(1)))
	s.give(0, s.op("Where", inside, slope, s.scalar(0)))
}

// hardSwish: y = x min(1, max(0, x / 6 + 1 / 2)).
func hardSwish(s *step) {
	x := s.in(0)
	inside := s.mul(s.dy(), s.add(s.times(x, 1./3), s.scalar(0.5)))
	above := s.op("Where", s.op("Less", x, s.scalar(3)), inside, s.dy())
	s.give(0, s.op("Where", s.op("Greater", x, s.scalar(-3)), above, s.scalar(0)))
}

func mish(s *step) []string {
	return []string{s.mul(s.in(0), s.op("Tanh", s.op("Softplus", s.in(0))))}
}

// quickGelu: y = x s(ax) with the logistic function s; y' = s + ax s (1 - s).
// Swish is the same with a = 1 unless it says otherwise.
func quickGelu(s *step) {
	alpha := float32(1.702)
	if s.n.OpType == "Swish" {
		alpha = 1
	}
	u := s.times(s.in(0), float64(s.n.Float("alpha", alpha)))
	g := s.op("Sigmoid", u)
	d := s.mul(g, s.add(s.scalar(1), s.mul(u, s.sub(s.scalar(1), g))))
	s.give(0, s.mul(s.dy(), d))
}

// geluExact is the derivative of x P(x), P being the normal distribution
// function: P(x) + x p(x).
func (s *step) geluExact(x string) string {
	p := s.times(s.add(s.op("Erf", s.times(x, math.Sqrt2/2)), s.scalar(1)), 0.5)
	density := s.times(s.op("Exp", s.times(s.mul(x, x), -0.5)), 1/math.Sqrt(2*math.Pi))
	return s.add(p, s.mul(x, density))
}

// geluTanh is the derivative of x (1 + t) / 2 with t = tanh(c (x + a x^3)):
// (1 + t) / 2 + x (1 - t^2) c (1 + 3 a x^2) / 2.
func (s *step) geluTanh(x string) string {
	const a = 0.044715
	c := math.Sqrt(2 / math.Pi)
	one := s.scalar(1)
	square := s.mul(x, x)
	t := s.op("Tanh", s.mul(s.times(x, c), s.add(one, s.times(square, a))))
	slope := s.mul(s.times(x, c/2), s.add(one, s.times(square, 3*a)))
	return s.add(s.times(s.add(one, t), 0.5), s.mul(slope, s.sub(one, s.mul(t, t))))
}
