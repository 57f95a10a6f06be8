package train

import (
	"errors"
	"fmt"
	"math"
)

// An Optimiser turns gradients into steps. It holds settings only; what it
// remembers lies with the caller.
//
// Variables and moments are float32, as PyTorch keeps them for float32
// parameters; each update is computed in float64 and rounded once, so that a
// trajectory follows PyTorch's up to the rounding of float32 arithmetic.
type Optimiser interface {
	// Moments is how many numbers are remembered for each element of a variable.
	Moments() int
	// Update makes update number step, counted from 1, in place. Each of the
	// moments is as long as x and zero before the first update.
	Update(step int, x, gradient []float32, moments [][]float32)
	// Check returns all faults of the settings.
	Check() error
}

// Adam is torch.optim.Adam, and torch.optim.AdamW if Decoupled. With gradient g,
//
//	x <- (1 - Rate Decay) x   if Decoupled, else   g <- g + Decay x
//	m <- Beta1 m + (1 - Beta1) g
//	v <- Beta2 v + (1 - Beta2) g^2
//	x <- x - Rate m/(1 - Beta1^t) / (sqrt(v)/sqrt(1 - Beta2^t) + Epsilon)
//
// (Kingma and Ba, arXiv 1412.6980, algorithm 1; Loshchilov and Hutter, arXiv
// 1711.05101, algorithm 2, with a decay that is scaled by the rate.)
type Adam struct {
	Rate         float64
	Beta1, Beta2 float64
	Epsilon      float64
	Decay        float64 // weight decay
	Decoupled    bool    // AdamW
}

// NewAdam returns Adam with betas of 0.9 and 0.999, an epsilon of 1e-8 and no
// weight decay, which all of the editing methods use.
func NewAdam(rate float64) Adam {
	return Adam{Rate: rate, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8}
}

// Moments is 2: m and v.
func (a Adam) Moments() int { return 2 }

// Check returns all faults of the settings.
func (a Adam) Check() error {
	return errors.Join(
		within("learning rate", a.Rate, math.SmallestNonzeroFloat64, math.MaxFloat64),
		within("beta 1", a.Beta1, 0, belowOne),
		within("beta 2", a.Beta2, 0, belowOne),
		within("epsilon", a.Epsilon, 0, math.MaxFloat64),
		within("weight decay", a.Decay, 0, math.MaxFloat64),
	)
}

// corrections returns the step size Rate/(1 - Beta1^t) and sqrt(1 - Beta2^t).
func (a Adam) corrections(step int) (size, root float64) {
	t := float64(step)
	return a.Rate / (1 - math.Pow(a.Beta1, t)), math.Sqrt(1 - math.Pow(a.Beta2, t))
}

// Update implements [Optimiser].
func (a Adam) Update(step int, x, gradient []float32, moments [][]float32) {
	size, root := a.corrections(step)
	first, second := moments[0], moments[1]
	for i := range x {
		p, g := float64(x[i]), float64(gradient[i])
		if a.Decoupled {
			p *= 1 - a.Rate*a.Decay
		} else {
			g += a.Decay * p
		}
		m, v := float64(first[i]), float64(second[i])
		m += (1 - a.Beta1) * (g - m)
		v = a.Beta2*v + (1-a.Beta2)*g*g
		first[i], second[i] = float32(m), float32(v)
		x[i] = float32(p - size*m/(math.Sqrt(v)/root+a.Epsilon))
	}
}

// SGD is torch.optim.SGD without dampening: with gradient g,
//
//	g <- g + Decay x
//	b <- Momentum b + g
//	x <- x - Rate b
type SGD struct {
	Rate     float64
	Momentum float64
	Decay    float64 // weight decay
}

// Moments is 1, or 0 without momentum.
func (s SGD) Moments() int {
	if s.Momentum == 0 {
		return 0
	}
	return 1
}

// Check returns all faults of the settings.
func (s SGD) Check() error {
	return errors.Join(
		within("learning rate", s.Rate, math.SmallestNonzeroFloat64, math.MaxFloat64),
		within("momentum", s.Momentum, 0, belowOne),
		within("weight decay", s.Decay, 0, math.MaxFloat64),
	)
}

// Update implements [Optimiser].
func (s SGD) Update(_ int, x, gradient []float32, moments [][]float32) {
	for i := range x {
		p, g := float64(x[i]), float64(gradient[i])
		g += s.Decay * p
		if s.Momentum != 0 {
			g += s.Momentum * float64(moments[0][i])
			moments[0][i] = float32(g)
		}
		x[i] = float32(p - s.Rate*g)
	}
}

// belowOne is the largest number less than 1.
const belowOne = 1 - 0x1p-53

// within is an error unless low <= v <= high; NaN is not.
func within(name string, v, low, high float64) error {
	switch {
	case v >= low && v <= high:
		return nil
	case low == math.SmallestNonzeroFloat64:
		return fmt.Errorf("%s is %v, want a positive number", name, v)
	case high == belowOne:
		return fmt.Errorf("%s is %v, want at least 0 and less than 1", name, v)
	}
	return fmt.Errorf("%s is %v, want at least 0", name, v)
}
