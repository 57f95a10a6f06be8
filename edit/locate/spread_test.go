package locate

import (
	"context"
	"editpipe/models/arch"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/internal/tinylm"
)

// Two ways of solving one system in float64.
const systemTolerance = 1e-8

// Terms of a loss added up in float32 by the graph and in float64 here: 16 roundings
// (2^-24).
const termTolerance = 1e-6

// random is a layer with second moments of random keys, and keys to edit.
func random(t *testing.T, width, n int) (layer, [][]float64) {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(width), uint64(n)))
	vector := func() []float64 {
		v := make([]float64, width)
		for i := range v {
			v[i] = r.NormFloat64()
		}
		return v
	}
	m := &Moments{Width: width, Count: int64(4 * width), C: make([]float64, width*width)}
	for range m.Count {
		for i, x := range vector() {
			m.C[i*width+i] += x * x / float64(m.Count)
		}
	}
	// One direction that all keys share, as in models.
	common := vector()
	for i, x := range common {
		for j, y := range common {
			m.C[i*width+j] += x * y
		}
	}
	f, err := m.Factor()
	if err != nil {
		t.Fatal(err)
	}
	keys := make([][]float64, n)
	for i := range keys {
		keys[i] = vector()
	}
	return layer{moments: m, factor: f}, keys
}

// off is the norm of a - b over that of b.
func off(a, b [][]float64) float64 {
	var d, size float64
	for i := range b {
		for j := range b[i] {
			d += (a[i][j] - b[i][j]) * (a[i][j] - b[i][j])
			size += b[i][j] * b[i][j]
		}
	}
	return math.Sqrt(d / size)
}

// TestReducedIsDirect: both forms solve (weight C + K K') X = K, which is also
// multiplied out.
func TestReducedIsDirect(t *testing.T) {
	for _, weight := range []float64{1e-3, 1, 100, 20000} {
		for _, n := range []int{1, 2, 7, 23, 24, 40} {
			l, keys := random(t, 24, n)
			direct, err := l.direct(weight, keys)
			if err != nil {
				t.Fatal(err)
			}
			reduced, err := l.reduced(weight, keys)
			if err != nil {
				t.Fatal(err)
			}
			chosen, err := l.adjust(weight, keys)
			if err != nil {
				t.Fatal(err)
			}
			if d := off(reduced, direct); d > systemTolerance {
				t.Errorf("weight %g, %d keys: the forms differ by %g", weight, n, d)
			}
			if d := off(chosen, direct); d > systemTolerance {
				t.Errorf("weight %g, %d keys: the chosen form differs by %g", weight, n, d)
			}
			back := make([][]float64, n)
			for i, x := range direct {
				back[i] = make([]float64, len(x))
				for a := range x {
					back[i][a] = weight * Dot(l.moments.C[a*len(x):(a+1)*len(x)], x)
					for _, k := range keys {
						back[i][a] += k[a] * Dot(k, x)
					}
				}
			}
			if d := off(back, keys); d > systemTolerance {
				t.Errorf("weight %g, %d keys: multiplied out it is off by %g", weight, n, d)
			}
		}
	}
}

// TestSameKeyTwice: n equal keys share what one key does with 1/n of the weight.
func TestSameKeyTwice(t *testing.T) {
	l, keys := random(t, 24, 1)
	const n = 4
	many, err := l.adjust(100, slices.Repeat(keys, n))
	if err != nil {
		t.Fatal(err)
	}
	one, err := l.adjust(100.0/n, keys)
	if err != nil {
		t.Fatal(err)
	}
	sum := make([]float64, 24)
	for _, column := range many {
		for i, x := range column {
			sum[i] += x
		}
	}
	if d := off([][]float64{sum}, one); d > systemTolerance {
		t.Errorf("they differ by %g", d)
	}
}

// TestKey: the bare prompt has half the weight.
func TestKey(t *testing.T) {
	lm := open(t, tinylm.Config{Family: tinylm.GPT2})
	ctx := context.Background()
	contexts := []string{"{}", "Once. {}", "Then so. {}", "I see. {}"}
	f, err := NewFact(lm, dataset.Edit{Prompt: "Ada works as a", Subject: "Ada", Target: "pilot"}, contexts, SubjectLast)
	if err != nil {
		t.Fatal(err)
	}
	keys, _, err := Recall(ctx, lm, nil, 1, f)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 4} {
		traces, err := read(ctx, lm, nil, f.Prompts[:n], arch.Site{Layer: 1, Point: arch.FFNAct})
		if err != nil {
			t.Fatal(err)
		}
		largest := 0.0
		for _, x := range keys[0] {
			largest = max(largest, math.Abs(float64(x)))
		}
		for i, x := range key(traces) {
			want := float64(keys[0][i])
			if n > 1 {
				want = want/2 + (float64(keys[1][i])+float64(keys[2][i])+float64(keys[3][i]))/6
			}
			if math.Abs(x-want) > runTolerance*largest {
				t.Fatalf("%d contexts: element %d is %g, want %g", n, i, x, want)
			}
		}
	}
}

// TestWeigh: after each evaluation a method says how much the likelihood weighs
// in the next one, and when the search ends; it is told of every prompt and of the
// divergence.
func TestWeigh(t *testing.T) {
	ctx := context.Background()
	lm := open(t, tinylm.Config{Family: tinylm.GPT2})
	f, err := NewFact(lm, dataset.Edit{Prompt: "Ada works as a", Subject: "Ada", Target: "pilot"}, []string{"{}", "Yes. {}"}, SubjectLast)
	if err != nil {
		t.Fatal(err)
	}
	at := arch.Site{Layer: 0, Point: arch.FFNOut}
	_, values, err := Recall(ctx, lm, nil, 0, f)
	if err != nil {
		t.Fatal(err)
	}
	var seen []Standing
	found, err := Optimise(ctx, lm, nil, at, []*Fact{f}, values[:1], Search{
		Steps: 9, Rate: 0.1, Clamp: 100, KL: 0.5,
		Weigh: func(s Standing) (float64, bool) {
			seen = append(seen, s)
			return 0.25, len(seen) == 4
		},
	})
	if err != nil || found[0].Err != nil {
		t.Fatal(err, found[0].Err)
	}
	if len(seen) != 4 || len(found[0].Losses) != 4 {
		t.Fatalf("told of %d evaluations of %d, want 4", len(seen), len(found[0].Losses))
	}
	for i, s := range seen {
		if len(s.LogProbs) != 2 || len(s.Best) != 2 || len(s.LogProbs[0]) != len(f.Target) {
			t.Fatalf("evaluation %d: %+v", i, s)
		}
		nll := 0.0
		for k, prompt := range s.LogProbs {
			for j, l := range prompt {
				if l > s.Best[k][j] {
					t.Errorf("evaluation %d: %g is more than the best, %g", i, l, s.Best[k][j])
				}
				nll -= l / float64(2*len(prompt))
			}
		}
		weight := 0.25
		if i == 0 {
			weight = 1
		}
		if want := weight*nll + s.KL; math.Abs(found[0].Losses[i]-want) > termTolerance*math.Abs(want) {
			t.Errorf("evaluation %d: loss %g, want %g", i, found[0].Losses[i], want)
		}
	}
	if seen[3].KL <= 0 {
		t.Errorf("the divergence is %g after three updates", seen[3].KL)
	}
}

// TestBadEditIsBlamedFirst: in a batch with an edit that cannot be made, that one
// is blamed before anything is searched, since those that remain are tried again.
func TestBadEditIsBlamedFirst(t *testing.T) {
	lm := open(t, tinylm.Config{Family: tinylm.GPT2})
	searched := 0
	l, _ := random(t, lm.Info().FFN(arch.Decoder, 0).Down.In, 1)
	s := &Spreader{
		c:        Spreading{Layers: []int{l.index}, Steps: 2, Rate: 0.1, Clamp: 1, Weight: 1, FactToken: SubjectLast},
		contexts: []string{bare}, layers: []layer{l},
		rule: Spread{
			Method: "test", Points: []arch.Point{arch.Hidden}, Over: func(left int) float64 { return float64(left) },
			Weigh: func(Standing) (float64, bool) { searched++; return 1, false },
		},
	}
	good := dataset.Edit{ID: "good", Prompt: "Ada works as a", Subject: "Ada", Target: "pilot"}
	bad := dataset.Edit{ID: "bad", Prompt: "Ada works as a", Subject: "Zoe", Target: "pilot"}
	_, err := s.Edit(context.Background(), edit.Base{LM: lm}, []dataset.Edit{good, bad})
	var blamed *edit.Error
	if !errors.As(err, &blamed) || blamed.Edit != bad.ID || !errors.Is(err, ErrSubject) {
		t.Errorf("got %v", err)
	}
	if searched != 0 {
		t.Errorf("%d evaluations were made before", searched)
	}
	if _, err := s.Edit(context.Background(), edit.Base{LM: lm}, []dataset.Edit{good}); err != nil || searched != 2 {
		t.Errorf("the good one alone: %d evaluations, %v", searched, err)
	}
}
