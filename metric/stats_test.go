package metric

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"testing"
)

func within(t *testing.T, what string, got, want, tol float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tol) {
		t.Errorf("%s is %v, want %v within %v", what, got, want, tol)
	}
}

// For k = 0 the upper end is z^2/(n+z^2), for k = n the lower one n/(n+z^2); the
// middle case solves (p-t)^2 = z^2 t(1-t)/n, which is checked by insertion.
func TestWilson(t *testing.T) {
	z2 := Z95 * Z95
	i := Wilson(0, 10, Z95)
	within(t, "lower end of 0/10", i.Lo, 0, 0)
	within(t, "upper end of 0/10", i.Hi, z2/(10+z2), closeTo)
	i = Wilson(10, 10, Z95)
	within(t, "lower end of 10/10", i.Lo, 10/(10+z2), closeTo)
	within(t, "upper end of 10/10", i.Hi, 1, 0)
	i = Wilson(95, 100, Z95)
	for _, end := range []float64{i.Lo, i.Hi} {
		within(t, "equation at the end", (0.95-end)*(0.95-end), z2*end*(1-end)/100, closeTo)
	}
	if !(0.88 < i.Lo && i.Lo < 0.89 && 0.975 < i.Hi && i.Hi < 0.98) {
		t.Errorf("95 of 100: %v", i)
	}
	if i := Wilson(0, 0, Z95); i != (Interval{0, 1}) {
		t.Errorf("no trials: %v", i)
	}
}

// Published outputs of SplitMix64 with seed 1234567.
func TestStreamIsSplitMix64(t *testing.T) {
	s := stream{key: 1234567}
	for i, want := range []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423} {
		if got := s.next(); got != want {
			t.Errorf("output %d is %d, want %d", i, got, want)
		}
	}
	a, b := newStream(1, 0), newStream(1, 1)
	if a.next() == b.next() {
		t.Error("replicates share a stream")
	}
}

// half makes n samples, every second one 1, in clusters of the given size.
func half(n, size int) []Sample {
	var out []Sample
	for i := range n {
		out = append(out, Sample{Record: fmt.Sprintf("%04d", i), Cluster: fmt.Sprint(i / size), Value: float64(i / size % 2), Weight: 1})
	}
	return out
}

// The bootstrapped mean of 100 zeros and ones, half of each, is Binomial(100,
// 0.5)/100, whose 2.5 % and 97.5 % quantiles are 0.40 and 0.60. In clusters of
// two equal samples only 50 are independent: Binomial(50, 0.5)/50 has 0.36 and
// 0.64. One step of the distribution is allowed.
func TestBootstrap(t *testing.T) {
	for _, c := range []struct {
		size   int
		lo, hi float64
	}{{1, 0.40, 0.60}, {2, 0.36, 0.64}} {
		i, err := Bootstrap(half(100, c.size), 10000, 3)
		if err != nil {
			t.Fatal(err)
		}
		step := float64(c.size)/100 + closeTo
		within(t, "lower end", i.Lo, c.lo, step)
		within(t, "upper end", i.Hi, c.hi, step)
	}
}

func TestBootstrapIsRepeatable(t *testing.T) {
	s := half(30, 1)
	a, err := Bootstrap(s, 500, 9)
	if err != nil {
		t.Fatal(err)
	}
	s[0], s[29] = s[29], s[0]
	if b, _ := Bootstrap(s, 500, 9); a != b {
		t.Errorf("order of samples changes the interval: %v, %v", a, b)
	}
	// Another seed draws otherwise: over 20 seeds not all intervals agree.
	differs := false
	for seed := range int64(20) {
		b, _ := Bootstrap(s, 500, seed)
		differs = differs || a != b
	}
	if !differs {
		t.Error("the seed does not matter")
	}
	for i := range s {
		s[i].Value = 0.3
	}
	if b, _ := Bootstrap(s, 100, 1); math.Abs(b.Lo-0.3) > closeTo || math.Abs(b.Hi-0.3) > closeTo {
		t.Errorf("interval of a constant: %v", b)
	}
	if _, err := Bootstrap(s[:1], 100, 1); !errors.Is(err, ErrTooFew) {
		t.Errorf("one record: %v", err)
	}
	if _, err := Bootstrap(s, 0, 1); err == nil {
		t.Error("no replicates are accepted")
	}
	if _, err := BootstrapOf(5, 10, 1, func([]int) (float64, bool) { return 0, false }); !errors.Is(err, ErrTooFew) {
		t.Errorf("undefined statistic: %v", err)
	}
}

func TestQuantile(t *testing.T) {
	v := []float64{1, 2, 4, 8}
	for q, want := range map[float64]float64{0: 1, 1: 8, 0.5: 3, 0.25: 1.75} {
		within(t, fmt.Sprint("quantile ", q), quantile(v, q), want, closeTo)
	}
}

func TestPair(t *testing.T) {
	a := []Sample{{"x", "c", 1, 1}, {"y", "d", 0.5, 4}, {"z", "z", 1, 1}}
	b := []Sample{{"w", "w", 1, 1}, {"y", "d", 0.25, 4}, {"x", "c", 0, 1}}
	got, alone := Pair(a, b)
	if want := []Sample{{"x", "c", 1, 1}, {"y", "d", 0.25, 1}}; !reflect.DeepEqual(got, want) || alone != 2 {
		t.Errorf("%v, %d alone; want %v, 2", got, alone, want)
	}
}

// With n equal differences only the two of 2^n sign patterns that flip none or
// all reach the observed mean: p = 2^(1-n). Whole clusters flip together.
func TestSignFlip(t *testing.T) {
	const replicates = 9999
	for _, c := range []struct{ n, size, clusters int }{{3, 1, 3}, {4, 1, 4}, {8, 2, 4}} {
		var d []Sample
		for i := range c.n {
			d = append(d, Sample{Record: fmt.Sprint(i), Cluster: fmt.Sprint(i / c.size), Value: 0.1, Weight: 1})
		}
		p, err := SignFlip(d, replicates, 11)
		if err != nil {
			t.Fatal(err)
		}
		want := math.Pow(2, float64(1-c.clusters))
		within(t, "p", p, want, 5*math.Sqrt(want*(1-want)/replicates)) // five standard errors
	}
	zero := []Sample{{"a", "a", 0, 1}, {"b", "b", 0, 1}}
	if p, err := SignFlip(zero, 99, 1); err != nil || p != 1 {
		t.Errorf("no difference: %v, %v", p, err)
	}
	var strong []Sample
	for i := range 40 {
		strong = append(strong, Sample{Record: fmt.Sprint(i), Cluster: fmt.Sprint(i), Value: 1, Weight: 1})
	}
	if p, err := SignFlip(strong, 999, 1); err != nil || p != 1.0/1000 { // 2^-39 is never drawn
		t.Errorf("40 equal differences: %v, %v", p, err)
	}
	if _, err := SignFlip(zero[:1], 99, 1); !errors.Is(err, ErrTooFew) {
		t.Errorf("one record: %v", err)
	}
}

// 2 * (C(6,0) + C(6,1)) / 2^6 = 14/64; 2 / 2^10; an even split is p = 1.
func TestMcNemar(t *testing.T) {
	for _, c := range []struct {
		b, c int
		want float64
	}{{1, 5, 14.0 / 64}, {5, 1, 14.0 / 64}, {0, 10, 2.0 / 1024}, {4, 4, 1}, {0, 0, 1}, {0, 1, 1}} {
		within(t, fmt.Sprint(c.b, c.c), McNemar(c.b, c.c), c.want, 1e-11) // Lgamma loses a few digits
	}
	// A large case in exact integers.
	tail := new(big.Int)
	for i := range int64(401) {
		tail.Add(tail, new(big.Int).Binomial(1000, i))
	}
	want, _ := new(big.Rat).SetFrac(tail, new(big.Int).Lsh(big.NewInt(1), 999)).Float64()
	within(t, "600 against 400, relative", McNemar(600, 400)/want, 1, 1e-9)
}

func TestHolm(t *testing.T) {
	got := Holm([]float64{0.01, 0.04, 0.03, 0.9})
	for i, want := range []float64{0.04, 0.09, 0.09, 0.9} {
		within(t, fmt.Sprint("p", i), got[i], want, closeTo)
	}
	if got := Holm([]float64{0.6, 0.7}); got[0] != 1 || got[1] != 1 {
		t.Errorf("%v exceeds 1", got)
	}
	if got := Holm(nil); len(got) != 0 {
		t.Errorf("%v", got)
	}
}
