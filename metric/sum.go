package metric

import "math"

// sum adds with Neumaier's compensation (1974), so that the error does not grow
// with the number of terms. Callers give terms in a fixed order.
func sum(v []float64) float64 {
	var total, lost float64
	for _, x := range v {
		t := total + x
		if math.Abs(total) >= math.Abs(x) {
			lost += (total - t) + x
		} else {
			lost += (x - t) + total
		}
		total = t
	}
	return total + lost
}

// mean of at least one value.
func mean(v []float64) float64 { return sum(v) / float64(len(v)) }
