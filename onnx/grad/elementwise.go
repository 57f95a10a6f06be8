package grad

import "editpipe/onnx"

func add(s *step) {
	s.giveReduced(0, s.dy())
	s.giveReduced(1, s.dy())
}

func sub(s *step) {
	s.giveReduced(0, s.dy())
	if s.wants(1) {
		s.giveReduced(1, s.op("Neg", s.dy()))
	}
}

func mul(s *step) {
	for i := range 2 {
		if s.wants(i) {
			s.giveReduced(i, s.mul(s.dy(), s.in(1-i)))
		}
	}
}

// y = a / b: da = dy / b, db = -y dy / b.
func div(s *step) {
	q := s.op("Div", s.dy(), s.in(1))
	s.giveReduced(0, q)
	if s.wants(1) {
		s.giveReduced(1, s.op("Neg", s.mul(q, s.out())))
	}
}

// y = x^p: dx = p x^(p-1) dy, dp = y log(x) dy. The exponents of the norms and
// of GELU are constants, for which products are faster and exact. At x = 0 the
// limits count: dx is 0 for p = 0 and dp is 0 for p >= 0.
func pow(s *step) {
	x, p := s.in(0), s.in(1)
	if c := s.fact(p).scalar; c != nil && s.wants(0) {
		d := s.dy()
		switch *c {
		case 0:
			d = s.filled(0, s.out())
		case 1:
		case 2:
			d = s.mul(d, s.times(x, 2))
		case 3:
			d = s.mul(d, s.times(s.mul(x, x), 3))
		default:
			d = s.mul(d, s.times(s.op("Pow", x, s.scalar(*c-1)), *c))
		}
		s.giveReduced(0, d)
	} else if s.wants(0) {
		q := p
		if s.dtype(p) != s.dtype(x) {
			q = s.cast(p, s.dtype(x))
		}
		d := s.mul(q, s.op("Pow", x, s.sub(q, s.scalar(1))))
		s.giveReduced(0, s.mul(s.dy(), s.op("Where", s.op("Equal", q, s.scalar(0)), s.scalar(0), d)))
	}
	if s.wants(1) {
		limit := s.op("And", s.op("Equal", x, s.scalar(0)), s.op("Not", s.op("Less", p, s.constant(0, p))))
		d := s.op("Where", limit, s.scalar(0), s.mul(s.out(), s.op("Log", x)))
		d = s.mul(s.dy(), d)
		if s.dtype(p) != s.dtype(x) {
			d = s.cast(d, s.dtype(p))
		}
		s.giveReduced(1, d)
	}
}

func sumAll(s *step) {
	for i := range s.n.Inputs {
		s.giveReduced(i, s.dy())
	}
}

func meanAll(s *step) {
	for i := range s.n.Inputs {
		s.giveReduced(i, s.times(s.dy(), 1/float64(len(s.n.Inputs))))
	}
}

// Min and Max share the gradient among the operands that attain the result.
func extremum(s *step) {
	masks := make([]string, len(s.n.Inputs))
	count := ""
	for i := range masks {
		masks[i] = s.op("Equal", s.in(i), s.out())
		m := s.cast(masks[i], s.dtype(s.out()))
		if count == "" {
			count = m
		} else {
			count = s.add(count, m)
		}
	}
	shared := s.op("Div", s.dy(), count)
	for i := range masks {
		if s.wants(i) {
			s.giveReduced(i, s.op("Where", masks[i], shared, s.scalar(0)))
		}
	}
}

func where(s *step) {
	zero := s.number(0, s.dtype(s.out()))
	if s.wants(1) {
		s.giveReduced(1, s.op("Where", s.in(0), s.dy(), zero))
	}
	if s.wants(2) {
		s.giveReduced(2, s.op("Where", s.in(0), zero, s.dy()))
	}
}

// Clip passes the gradient on inside the bounds and at them; the rest goes to
// the bound that was hit. A lower bound above the upper one counts for nothing:
// every element is the upper one then.
func clip(s *step) {
	x, low, high := s.in(0), s.in(1), s.in(2)
	zero := s.scalar(0)
	inside := s.dy()
	give := func(i int, hit string) {
		if s.wants(i) {
			s.give(i, s.like(s.sum(s.op("Where", hit, s.dy(), zero), nil, false), s.in(i)))
		}
	}
	over := ""
	if high != "" {
		over = s.op("Greater", x, high)
		if a, b := s.fact(low).scalar, s.fact(high).scalar; low != "" && (a == nil || b == nil || *a > *b) {
			over = s.op("Or", over, s.op("Greater", low, high))
		}
		inside = s.op("Where", over, zero, inside)
		give(2, over)
	}
	if low != "" {
		under := s.op("Less", x, low)
		inside = s.op("Where", under, zero, inside)
		if over != "" && s.wants(1) {
			under = s.op("And", under, s.op("Not", over))
		}
		give(1, under)
	}
	s.give(0, inside)
}

func neg(s *step) { s.give(0, s.op("Neg", s.dy())) }

func sqrt(s *step) { s.give(0, s.op("Div", s.times(s.dy(), 0.5), s.out())) }

func reciprocal(s *step) { s.give(0, s.op("Neg", s.mul(s.dy(), s.mul(s.out(), s.out())))) }

func exp(s *step) { s.give(0, s.mul(s.dy(), s.out())) }

func log(s *step) { s.give(0, s.op("Div", s.dy(), s.in(0))) }

func abs(s *step) { s.give(0, s.mul(s.dy(), s.op("Sign", s.in(0)))) }

func sin(s *step) { s.give(0, s.mul(s.dy(), s.op("Cos", s.in(0)))) }

func cos(s *step) { s.give(0, s.op("Neg", s.mul(s.dy(), s.op("Sin", s.in(0))))) }

// identity also serves Dropout, which exported models keep in inference mode.
func identity(s *step) {
	if s.n.OpType == "Dropout" {
		if t := s.in(2); t != "" {
			if e := s.fact(t).elems; len(e) != 1 || !e[0].is(0) {
				s.fail("it is in training mode")
			}
		}
	}
	s.give(0, s.dy())
}

func cast(s *step) {
	if s.dtype(s.in(0)) == s.fact(s.out()).dtype && s.dtype(s.in(0)) != onnx.Undefined {
		s.give(0, s.dy())
		return
	}
	s.give(0, s.cast(s.dy(), s.dtype(s.in(0))))
}
