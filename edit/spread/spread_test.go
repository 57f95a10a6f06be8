package spread

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/edittest"
	"editpipe/edit/locate"
	"editpipe/edit/moments"
	"editpipe/internal/tinylm"
	"editpipe/models/arch"
	"editpipe/models/patch"
)

// Two ways of solving one system in float64.
const systemTolerance = 1e-8

// Activations of one text in two runs of the model, which add up float32 in another
// order: 50 roundings (2^-24) of the largest element.
const runTolerance = 3e-6

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
	m := &moments.Moments{Width: width, Count: int64(4 * width), C: make([]float64, width*width)}
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
					back[i][a] = weight * locate.Dot(l.moments.C[a*len(x):(a+1)*len(x)], x)
					for _, k := range keys {
						back[i][a] += k[a] * locate.Dot(k, x)
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
	lm := edittest.Open(t, tinylm.Config{Family: tinylm.GPT2})
	ctx := context.Background()
	contexts := []string{"{}", "Once. {}", "Then so. {}", "I see. {}"}
	f, err := locate.NewFact(lm, dataset.Edit{Prompt: "Ada works as a", Subject: "Ada", Target: "pilot"}, contexts, locate.SubjectLast, false)
	if err != nil {
		t.Fatal(err)
	}
	keys, _, err := locate.Recall(ctx, lm, nil, 1, f)
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

// TestBadEditIsBlamedFirst: in a batch with an edit that cannot be made, that one
// is blamed before anything is searched, since those that remain are tried again.
func TestBadEditIsBlamedFirst(t *testing.T) {
	lm := edittest.Open(t, tinylm.Config{Family: tinylm.GPT2})
	searched := 0
	l, _ := random(t, lm.Info().FFN(arch.Decoder, 0).Down.In, 1)
	list := filepath.Join(t.TempDir(), "bare.json")
	if err := locate.WriteContexts(list, []string{"{}"}); err != nil {
		t.Fatal(err)
	}
	contexts, err := locate.OpenTexts(list, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &Editor{
		lm:       lm,
		c:        Config{Layers: []int{l.index}, Steps: 2, Rate: 0.1, Clamp: 1, Weight: 1, FactToken: locate.SubjectLast},
		contexts: contexts, layers: []layer{l},
		rule: Rule{
			Method: "test", Points: []arch.Point{arch.Hidden}, Over: func(left int) float64 { return float64(left) },
			Weigh: func(locate.Standing) (float64, bool) { searched++; return 1, false },
		},
	}
	good := dataset.Edit{ID: "good", Prompt: "Ada works as a", Subject: "Ada", Target: "pilot"}
	bad := dataset.Edit{ID: "bad", Prompt: "Ada works as a", Subject: "Zoe", Target: "pilot"}
	made := edittest.Together(context.Background(), s, &patch.Patch{}, good, bad)
	var blamed *edit.Error
	if !errors.As(made.Err, &blamed) || blamed.Edit != bad.ID || !errors.Is(made.Err, locate.ErrSubject) {
		t.Errorf("got %v", made.Err)
	}
	if searched != 0 {
		t.Errorf("%d evaluations were made before", searched)
	}
	if made := edittest.Together(context.Background(), s, &patch.Patch{}, good); made.Err != nil || searched != 2 {
		t.Errorf("the good one alone: %d evaluations, %v", searched, made.Err)
	}
}
