package train_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"editpipe/train"
)

// rounding bounds the error of a few float32 operations on numbers near 1.
const rounding = 2e-7

// The first two steps on the loss x^2 from x = 1, with gradient 2x, worked out
// by hand from PyTorch's formulas. Adam: m1 = .2, v1 = .004, so the first step is
// the rate; the gradient is 1.8, m2 = .36, v2 = .007236, and
// .1 (.36/.19) / sqrt(.007236/.001999) = .0995878.
func TestFirstSteps(t *testing.T) {
	adam := train.NewAdam(0.1)
	coupled, decoupled := adam, adam
	coupled.Decay, decoupled.Decay, decoupled.Decoupled = 0.5, 0.5, true
	for name, c := range map[string]struct {
		o    train.Optimiser
		want [2]float64
	}{
		"adam": {adam, [2]float64{0.9, 0.80041222}},
		// g = 2.5 and then 2.25: the same ratio as without decay.
		"adam, coupled decay": {coupled, [2]float64{0.9, 0.80041222}},
		// .95 x before each step: .95 - .1 = .85, then g = 1.7, m2 = .35,
		// v2 = .006886, .1 (.35/.19)/sqrt(.006886/.001999) = .09925156.
		"adamw":         {decoupled, [2]float64{0.85, 0.70824844}},
		"sgd":           {train.SGD{Rate: 0.1}, [2]float64{0.8, 0.64}},
		"sgd, momentum": {train.SGD{Rate: 0.1, Momentum: 0.9}, [2]float64{0.8, 0.46}},
		"sgd, all":      {train.SGD{Rate: 0.1, Momentum: 0.9, Decay: 0.5}, [2]float64{0.75, 0.3375}},
	} {
		t.Run(name, func(t *testing.T) {
			x := []float32{1}
			moments := make([][]float32, c.o.Moments())
			for i := range moments {
				moments[i] = make([]float32, 1)
			}
			for i, want := range c.want {
				c.o.Update(i+1, x, []float32{2 * x[0]}, moments)
				if d := math.Abs(float64(x[0]) - want); !(d <= rounding) {
					t.Errorf("step %d: %v, want %v", i+1, x[0], want)
				}
			}
		})
	}
}

// textbook is the rule of a paper in float64, with its bias corrected moments.
type textbook func(t int, x, g, m, v float64) (nx, nm, nv float64)

func adamBook(rate, b1, b2, eps, decay float64, decoupled bool) textbook {
	return func(t int, x, g, m, v float64) (float64, float64, float64) {
		if decoupled {
			x -= rate * decay * x
		} else {
			g += decay * x
		}
		m = b1*m + (1-b1)*g
		v = b2*v + (1-b2)*g*g
		mHat, vHat := m/(1-math.Pow(b1, float64(t))), v/(1-math.Pow(b2, float64(t)))
		return x - rate*mHat/(math.Sqrt(vHat)+eps), m, v
	}
}

func sgdBook(rate, momentum, decay float64) textbook {
	return func(_ int, x, g, m, _ float64) (float64, float64, float64) {
		m = momentum*m + g + decay*x
		return x - rate*m, m, 0
	}
}

// trajectory bounds what float32 variables and moments drift from float64 in 20
// steps over numbers of size 1.
const trajectory = 1e-6

// 20 steps on sum a (x - c)^2 / 2 with a from 1e-3 to 10, against float64.
func TestTrajectory(t *testing.T) {
	const width, steps = 64, 20
	adam := train.NewAdam(0.05)
	large := train.Adam{Rate: 0.05, Beta1: 0.8, Beta2: 0.95, Epsilon: 1e-2, Decay: 0.1}
	w := large
	w.Decoupled = true
	for name, c := range map[string]struct {
		o    train.Optimiser
		book textbook
	}{
		"adam":          {adam, adamBook(0.05, 0.9, 0.999, 1e-8, 0, false)},
		"adam, decay":   {large, adamBook(0.05, 0.8, 0.95, 1e-2, 0.1, false)},
		"adamw":         {w, adamBook(0.05, 0.8, 0.95, 1e-2, 0.1, true)},
		"sgd":           {train.SGD{Rate: 0.05}, sgdBook(0.05, 0, 0)},
		"sgd, momentum": {train.SGD{Rate: 0.02, Momentum: 0.9, Decay: 0.1}, sgdBook(0.02, 0.9, 0.1)},
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			x, m, v := make([]float64, width), make([]float64, width), make([]float64, width)
			a, centre, got := make([]float64, width), make([]float64, width), make([]float32, width)
			for i := range x {
				a[i], centre[i] = math.Pow(10, -3+4*r.Float64()), r.NormFloat64()
				got[i] = float32(r.NormFloat64())
				x[i] = float64(got[i])
			}
			moments := make([][]float32, c.o.Moments())
			for i := range moments {
				moments[i] = make([]float32, width)
			}
			gradient := make([]float32, width)
			for step := 1; step <= steps; step++ {
				for i := range x {
					gradient[i] = float32(a[i] * (float64(got[i]) - centre[i]))
					x[i], m[i], v[i] = c.book(step, x[i], a[i]*(x[i]-centre[i]), m[i], v[i])
				}
				c.o.Update(step, got, gradient, moments)
				if d := apart(got, x); d > trajectory {
					t.Fatalf("step %d is %.2g off, bound %g", step, d, trajectory)
				}
			}
		})
	}
}

func TestOptimiserCheck(t *testing.T) {
	nan := math.NaN()
	err := train.Adam{Rate: 0, Beta1: 1, Beta2: -0.1, Epsilon: nan, Decay: -1}.Check()
	wantError(t, err, "learning rate is 0", "beta 1 is 1", "beta 2 is -0.1", "epsilon is NaN", "weight decay is -1")
	wantError(t, train.SGD{Rate: nan, Momentum: 1, Decay: math.Inf(1)}.Check(), "learning rate is NaN", "momentum is 1", "weight decay is +Inf")
	for _, o := range []train.Optimiser{train.NewAdam(0.5), train.SGD{Rate: 1e-9, Momentum: 0.999}} {
		if err := o.Check(); err != nil {
			t.Error(err)
		}
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q lacks %q", err, p)
		}
	}
}
