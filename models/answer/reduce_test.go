package answer

import (
	"errors"
	"math"
	"testing"

	"editpipe/ask"
	"editpipe/models/run"
)

// reduced is what Score finds of a sequence with these logits.
func reduced(seq run.Sequence, logits []float32, vocab int, eos []int64) *scored {
	q := &run.Question{Sequence: seq}
	s := &scoring{eos: eos, of: map[*run.Question]*scored{q: {}}}
	s.reduce(q, logits, vocab)
	return s.of[q]
}

// TestEndTokenArgmax: any end token may follow the target.
func TestEndTokenArgmax(t *testing.T) {
	for best, want := range []bool{false, true, false, true} {
		logits := make([]float32, 8) // one target token, then the end
		logits[4+best] = 1
		j := reduced(run.Sequence{Target: []int64{2, 1}, Ends: true}, logits, 4, []int64{1, 3})
		p := 1 / (3 + math.E)
		if best == 1 {
			p *= math.E
		}
		if j.out.EOSArgmax != want || math.Abs(*j.out.EOSLogProb-math.Log(p)) > 1e-6 || len(j.out.LogProbs) != 1 {
			t.Errorf("best %d: %+v", best, j.out)
		}
	}
	if j := reduced(run.Sequence{Target: []int64{0, 1}, Ends: true}, []float32{0, 0, 0, float32(math.NaN())}, 2, []int64{1}); j.err == nil {
		t.Error("NaN behind the target was not noticed")
	}
}

func TestReduce(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	const vocab = 4
	// Position 0: gold 2 ties with 0 for the largest; position 1: gold 1 is third.
	logits := []float32{3, 1, 3, 0 /**/, 5, 2, 2.5, -1}
	j := reduced(run.Sequence{Target: []int64{2, 1}}, logits, vocab, nil)
	if j.err != nil {
		t.Fatal(j.err)
	}
	if j.out.Argmax[0] != 0 || j.out.Argmax[1] != 0 {
		t.Errorf("argmax %v; a tie goes to the lowest id", j.out.Argmax)
	}
	if j.out.FirstRank != 1 {
		t.Errorf("rank %d of the first gold token, want 1: an equal logit with a lower id comes before it", j.out.FirstRank)
	}
	if j.out.MinGap != 0 {
		t.Errorf("gap %g, want 0", j.out.MinGap)
	}
	for i, gold := range []int{2, 1} {
		row := logits[i*vocab : (i+1)*vocab]
		var sum float64
		for _, x := range row {
			sum += math.Exp(float64(x))
		}
		if want := float64(row[gold]) - math.Log(sum); math.Abs(j.out.LogProbs[i]-want) > 1e-12 {
			t.Errorf("log-probability %g, want %g", j.out.LogProbs[i], want)
		}
	}
	for _, bad := range []float32{inf, -inf, nan} {
		j := reduced(run.Sequence{Target: []int64{2, 1}}, []float32{3, 1, 3, 0, 5, 2, bad, -1}, vocab, nil)
		if !errors.Is(j.err, ask.ErrNotFinite) {
			t.Errorf("%g: error %v", bad, j.err)
		}
	}
}

// TestKL compares with the definition, and is in the direction base || question.
func TestKL(t *testing.T) {
	p, q := []float32{2, 0, -1}, []float32{0, 1, 0}
	base, other := &run.Question{Sequence: run.Sequence{Target: []int64{1}}}, &run.Question{Sequence: run.Sequence{Target: []int64{1}}}
	c := &comparison{base: base}
	s := &scoring{of: map[*run.Question]*scored{base: {keep: true}, other: {compare: []*comparison{c}}}}
	s.reduce(base, p, 3)
	s.reduce(other, q, 3)
	soft := func(l []float32) (out []float64) {
		var sum float64
		for _, x := range l {
			sum += math.Exp(float64(x))
		}
		for _, x := range l {
			out = append(out, math.Exp(float64(x))/sum)
		}
		return out
	}
	a, b := soft(p), soft(q)
	var want, turned float64
	for i := range a {
		want += a[i] * math.Log(a[i]/b[i])
		turned += b[i] * math.Log(b[i]/a[i])
	}
	if math.Abs(c.kl-want) > 1e-6 {
		t.Errorf("KL %g, want %g (the other direction is %g)", c.kl, want, turned)
	}
}

func TestScanOneWord(t *testing.T) {
	if p := scan([]float32{1}, 0); p.best != 0 || p.gap != 0 || p.logSum != 1 {
		t.Errorf("%+v", p)
	}
}
