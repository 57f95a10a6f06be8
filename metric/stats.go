package metric

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// Z95 is the 97.5 % quantile of the standard normal distribution.
const Z95 = 1.959963984540054

// ErrTooFew is returned when an interval or test is asked of fewer than two clusters.
var ErrTooFew = errors.New("metric: too few independent records")

// Interval is a confidence interval.
type Interval struct{ Lo, Hi float64 }

// Wilson is the score interval of k successes in n independent trials (Wilson
// 1927); z is the normal quantile, Z95 for 95 %. It is [0, 1] for n = 0.
func Wilson(k, n int, z float64) Interval {
	if n == 0 {
		return Interval{0, 1}
	}
	p, m, z2 := float64(k)/float64(n), float64(n), z*z
	centre := p + z2/(2*m)
	half := z * math.Sqrt(p*(1-p)/m+z2/(4*m*m))
	i := Interval{(centre - half) / (1 + z2/m), (centre + half) / (1 + z2/m)}
	if k == 0 { // exact ends, which rounding would miss
		i.Lo = 0
	}
	if k == n {
		i.Hi = 1
	}
	return i
}

// stream is a counter-based generator: the i-th number of the r-th replicate
// depends on seed, r and i alone. It is SplitMix64 (Steele et al. 2014) with
// its state written as a key and a counter.
type stream struct{ key, n uint64 }

const golden = 0x9e3779b97f4a7c15

func newStream(seed int64, replicate int) stream {
	return stream{key: mix(mix(uint64(seed)+golden) + uint64(replicate)*golden)}
}

func (s *stream) next() uint64 {
	s.n++
	return mix(s.key + s.n*golden)
}

// below is uniform in [0, n), up to n/2^64.
func (s *stream) below(n int) int {
	hi, _ := bits.Mul64(s.next(), uint64(n))
	return int(hi)
}

func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// clusters groups samples by cluster, in the order of cluster names.
func clusters(samples []Sample) [][]Sample {
	by := map[string][]Sample{}
	var names []string
	for _, s := range samples {
		if _, ok := by[s.Cluster]; !ok {
			names = append(names, s.Cluster)
		}
		by[s.Cluster] = append(by[s.Cluster], s)
	}
	slices.Sort(names)
	out := make([][]Sample, len(names))
	for i, n := range names {
		slices.SortFunc(by[n], func(a, b Sample) int { return cmp.Compare(a.Record, b.Record) })
		out[i] = by[n]
	}
	return out
}

// Bootstrap is the 95 % percentile interval of the mean, resampling whole
// clusters with replacement. Differences of paired samples (see Pair) give the
// interval of a difference. Equal seeds give equal intervals.
func Bootstrap(samples []Sample, replicates int, seed int64) (Interval, error) {
	groups := clusters(samples)
	sums, weights := make([]float64, len(groups)), make([]float64, len(groups))
	for i, g := range groups {
		for _, s := range g {
			sums[i] += s.Value * s.Weight
			weights[i] += s.Weight
		}
	}
	return BootstrapOf(len(groups), replicates, seed, func(draw []int) (float64, bool) {
		var v, w float64
		for _, i := range draw {
			v += sums[i]
			w += weights[i]
		}
		return v / w, w > 0
	})
}

// BootstrapOf is the 95 % percentile interval of any statistic of n clusters,
// such as a harmonic mean: stat is given the positions drawn, n of them with
// repetitions, and says whether it is defined for them. Percentiles are
// interpolated between order statistics.
func BootstrapOf(n, replicates int, seed int64, stat func(draw []int) (float64, bool)) (Interval, error) {
	if n < 2 {
		return Interval{}, fmt.Errorf("%w: %d clusters, want 2 or more", ErrTooFew, n)
	}
	if replicates < 1 {
		return Interval{}, fmt.Errorf("metric: %d bootstrap replicates, want 1 or more", replicates)
	}
	draw := make([]int, n)
	var got []float64
	for r := range replicates {
		s := newStream(seed, r)
		for i := range draw {
			draw[i] = s.below(n)
		}
		if v, ok := stat(draw); ok {
			got = append(got, v)
		}
	}
	if len(got) == 0 {
		return Interval{}, fmt.Errorf("%w: the statistic is defined for no replicate", ErrTooFew)
	}
	slices.Sort(got)
	return Interval{quantile(got, 0.025), quantile(got, 0.975)}, nil
}

// quantile interpolates linearly between sorted values.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	lo := int(at)
	if lo+1 == len(sorted) {
		return sorted[lo]
	}
	return sorted[lo] + (at-float64(lo))*(sorted[lo+1]-sorted[lo])
}

// Pair gives the differences a - b of the records that both have, with a's
// clusters and equal weights, and how many records only one of them has.
func Pair(a, b []Sample) (differences []Sample, alone int) {
	other := map[string]float64{}
	for _, s := range b {
		other[s.Record] = s.Value
	}
	for _, s := range a {
		v, ok := other[s.Record]
		if !ok {
			alone++
			continue
		}
		delete(other, s.Record)
		differences = append(differences, Sample{Record: s.Record, Cluster: s.Cluster, Value: s.Value - v, Weight: 1})
	}
	return differences, alone + len(other)
}

// SignFlip is the two-sided p-value of a mean difference of 0, from random
// flips of the signs of whole clusters:
// p = (1 + #{|flipped mean| >= |mean|}) / (1 + replicates).
func SignFlip(differences []Sample, replicates int, seed int64) (float64, error) {
	groups := clusters(differences)
	if len(groups) < 2 {
		return 0, fmt.Errorf("%w: %d clusters, want 2 or more", ErrTooFew, len(groups))
	}
	if replicates < 1 {
		return 0, fmt.Errorf("metric: %d sign-flip replicates, want 1 or more", replicates)
	}
	sums := make([]float64, len(groups))
	for i, g := range groups {
		for _, s := range g {
			sums[i] += s.Value * s.Weight
		}
	}
	// Sums of the same terms in other signs differ by rounding; a relative
	// 1e-12 is far above that and far below any difference of interest.
	const slack = 1 - 1e-12
	seen := math.Abs(sum(sums)) * slack
	flipped := make([]float64, len(sums))
	hits := 0
	for r := range replicates {
		s := newStream(seed, r)
		for i, v := range sums {
			if s.next()>>63 == 1 {
				v = -v
			}
			flipped[i] = v
		}
		if math.Abs(sum(flipped)) >= seen {
			hits++
		}
	}
	return float64(1+hits) / float64(1+replicates), nil
}

// McNemar is the exact two-sided p-value for paired outcomes: b pairs went one
// way, c the other, each way equally likely if there is no difference
// (binomial tail, doubled, at most 1).
func McNemar(b, c int) float64 {
	n, k := b+c, min(b, c)
	logFactorial := func(n int) float64 {
		v, _ := math.Lgamma(float64(n) + 1)
		return v
	}
	var tail float64
	for i := 0; i <= k; i++ {
		tail += math.Exp(logFactorial(n) - logFactorial(i) - logFactorial(n-i) - float64(n)*math.Ln2)
	}
	return min(1, 2*tail)
}

// Holm adjusts p-values for the number of tests (Holm 1979), in the order given.
func Holm(p []float64) []float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p[a], p[b]) })
	out := make([]float64, len(p))
	running := 0.0
	for rank, i := range order {
		running = max(running, min(1, p[i]*float64(len(p)-rank)))
		out[i] = running
	}
	return out
}
