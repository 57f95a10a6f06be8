package spread

import (
	"editpipe/edit/locate"
	"editpipe/edit/moments"
)

// layer is a layer to be changed, with what is known of its keys.
type layer struct {
	index   int
	moments *moments.Moments
	factor  *moments.Factor // of moments
}

// adjust returns the columns of (weight C + K K')^-1 K for the columns of K,
// in float64: in float32 the system loses half its digits.
func (l layer) adjust(weight float64, keys [][]float64) ([][]float64, error) {
	if len(keys) < l.moments.Width {
		return l.reduced(weight, keys)
	}
	return l.direct(weight, keys)
}

// direct solves the system as it stands, [width, width].
func (l layer) direct(weight float64, keys [][]float64) ([][]float64, error) {
	w := l.moments.Width
	a := make([]float64, w*w)
	for i, c := range l.moments.C {
		a[i] = weight * c
	}
	for _, k := range keys {
		for i, x := range k {
			row := a[i*w : (i+1)*w]
			for j, y := range k {
				row[j] += x * y
			}
		}
	}
	f, err := (&moments.Moments{Width: w, Count: l.moments.Count, C: a}).Factor()
	if err != nil {
		return nil, err
	}
	out := make([][]float64, len(keys))
	for i, k := range keys {
		out[i] = f.Solve(k)
	}
	return out, nil
}

// reduced gives the same as direct through a system of [n, n] for n keys
// (the identity of Woodbury):
//
//	Y = (weight C)^-1 K,   (weight C + K K')^-1 K = Y (I + K' Y)^-1
func (l layer) reduced(weight float64, keys [][]float64) ([][]float64, error) {
	n := len(keys)
	y, out := make([][]float64, n), make([][]float64, n)
	for i, k := range keys {
		y[i], out[i] = l.factor.Solve(k), make([]float64, len(k))
		for j := range y[i] {
			y[i][j] /= weight
		}
	}
	small := make([]float64, n*n)
	for i := range n {
		for j := range n {
			small[i*n+j] = locate.Dot(keys[i], y[j])
		}
		small[i*n+i]++
	}
	f, err := (&moments.Moments{Width: n, Count: l.moments.Count, C: small}).Factor()
	if err != nil {
		return nil, err
	}
	at := make([]float64, n)
	for j := range l.moments.Width {
		for i := range n {
			at[i] = y[i][j]
		}
		for i, x := range f.Solve(at) {
			out[i][j] = x
		}
	}
	return out, nil
}
