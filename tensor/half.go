package tensor

import "math"

// halfToFloat widens an IEEE 754 binary16; exact for every value.
func halfToFloat(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp := uint32(h>>10) & 0x1f
	frac := uint32(h & 0x3ff)
	switch {
	case exp == 0x1f: // infinity, NaN
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	case exp == 0: // zero, subnormal: frac * 2^-24
		v := float32(frac) * (1.0 / (1 << 24))
		return math.Float32frombits(sign | math.Float32bits(v))
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// halfFromFloat narrows to binary16, to nearest, ties to even.
func halfFromFloat(v float64) uint16 {
	bits := math.Float64bits(v)
	sign := uint16(bits >> 48 & 0x8000)
	a := math.Abs(v)
	switch {
	case math.IsNaN(v):
		return sign | 0x7e00
	case a >= 65520: // half-way to the first value that does not fit, ties upwards
		return sign | 0x7c00
	case a < 0x1p-14: // subnormal: a multiple of 2^-24
		return sign | uint16(math.RoundToEven(a*0x1p24))
	}
	frac, exp := math.Frexp(a) // a = frac * 2^exp, frac in [0.5, 1)
	m := uint32(math.RoundToEven(frac * 2048))
	// m is in [1024, 2048]; its overflow into the exponent is what rounding up means.
	return sign | uint16(uint32(exp+13)<<10+m)
}

// bfloatFromFloat narrows to bfloat16, to nearest, ties to even.
func bfloatFromFloat(v float64) uint16 {
	if math.IsNaN(v) {
		return 0x7fc0
	}
	// Rounding to odd first keeps the second rounding from seeing a false tie.
	f := float32(v)
	bits := math.Float32bits(f)
	if float64(f) != v && !math.IsInf(float64(f), 0) && bits&1 == 0 {
		if math.Abs(float64(f)) > math.Abs(v) {
			bits--
		} else {
			bits++
		}
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}
