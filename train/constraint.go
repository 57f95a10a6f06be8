package train

import "math"

// Ball returns a [Variable.Project] onto the Euclidean ball of a radius around
// centre, nil for zero: what lies outside is pulled towards the centre onto the
// surface. A radius that is not a number makes x so. With centre nil and radius c |v0| it is the clamp of ROME and MEMIT.
func Ball(centre []float32, radius float64) func(x []float32) {
	return func(x []float32) {
		at := func(i int) float64 {
			if centre == nil {
				return 0
			}
			return float64(centre[i])
		}
		square := 0.0
		for i, v := range x {
			d := float64(v) - at(i)
			square += d * d
		}
		norm := math.Sqrt(square)
		if norm <= radius {
			return
		}
		for i, v := range x {
			c := at(i)
			x[i] = float32(c + (float64(v)-c)*(radius/norm))
		}
	}
}

// Box returns a [Variable.Project] onto the box of all x with |x_i - centre_i|
// <= bound, each bound of which is rounded to float32: the norm constraint of
// FT-L around the start value.
func Box(centre []float32, bound float64) func(x []float32) {
	b := float32(bound)
	return func(x []float32) {
		for i, c := range centre {
			x[i] = min(max(x[i], c-b), c+b)
		}
	}
}

// Norm returns the [Variable.Penalty] weight |x|, which is not squared. With
// weight decay/|v0|^2 it is the weight decay of ROME and MEMIT. Its derivative
// at 0 is taken to be 0, as PyTorch does.
func Norm(weight float64) func(x, gradient []float32) float64 {
	return func(x, gradient []float32) float64 {
		square := 0.0
		for _, v := range x {
			square += float64(v) * float64(v)
		}
		norm := math.Sqrt(square)
		if norm == 0 {
			return 0
		}
		for i, v := range x {
			gradient[i] = float32(float64(gradient[i]) + weight*float64(v)/norm)
		}
		return weight * norm
	}
}
