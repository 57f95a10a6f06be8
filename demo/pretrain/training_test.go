package pretrain

import (
	"bytes"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"editpipe/ask"
	"editpipe/demo"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/ort"
	"editpipe/ort/orttest"
	"editpipe/tensor"
	"editpipe/train"
)

const (
	// rounding bounds how far sums of about a hundred float32 terms of size 10
	// differ when they are taken in another order.
	rounding = 2e-4
	// exported bounds what the exported graph, which writes norms and GELU out,
	// differs by from the training graph in the log-probability of an answer.
	exported = 1e-3
)

func tiny() Plan {
	return Plan{Seed: 3, Steps: 40, Rate: 3e-3, Size: Size{Layers: 2, Width: 16, Heads: 2, FFN: 24, Vocab: 600, Context: 256}}
}

func begun(t *testing.T, dir string) *Training {
	t.Helper()
	x, err := Begin(dir, tiny())
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func descending(t *testing.T, env *ort.Env, x *Training) *descent {
	t.Helper()
	from, err := x.state()
	if err != nil {
		t.Fatal(err)
	}
	d, err := x.descent(t.Context(), env, from, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func walk(t *testing.T, d *descent, steps int) (losses []float64) {
	t.Helper()
	for range steps {
		loss, norm, used, err := d.step(t.Context(), d.of.Plan.Rate)
		if err != nil {
			t.Fatal(err)
		}
		if !(norm > 0) || used < shards*shardTokens/2 {
			t.Errorf("step %d: gradient %v, %d tokens", d.Steps, norm, used)
		}
		losses = append(losses, loss)
	}
	return losses
}

// A training that was killed and resumed arrives at the bytes of one that was
// not, and the loss falls.
func TestResume(t *testing.T) {
	env := orttest.Open(t)
	dir := t.TempDir()
	x := begun(t, filepath.Join(dir, "a"))
	a := descending(t, env, x)
	losses := walk(t, a, 8)
	if !(losses[7] < losses[0]-0.1) {
		t.Errorf("the loss goes from %v to %v", losses[0], losses[7])
	}
	if uniform := math.Log(float64(x.Plan.Size.Vocab)); math.Abs(losses[0]-uniform) > 0.3 {
		t.Errorf("the first loss is %v, that of knowing nothing %v", losses[0], uniform)
	}
	if err := x.save(a.State); err != nil {
		t.Fatal(err)
	}

	y := begun(t, filepath.Join(dir, "b"))
	b := descending(t, env, y)
	walk(t, b, 3)
	if err := y.save(b.State); err != nil {
		t.Fatal(err)
	}
	walk(t, b, 2) // lost
	y = begun(t, filepath.Join(dir, "b"))
	b = descending(t, env, y)
	if b.Steps != 3 {
		t.Fatalf("resumed at step %d", b.Steps)
	}
	walk(t, b, 5)
	if err := y.save(b.State); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{stateFile, "tokenizer.json", planFile} {
		one, err := os.ReadFile(filepath.Join(dir, "a", name))
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(filepath.Join(dir, "b", name))
		if err != nil || !bytes.Equal(one, two) {
			t.Errorf("%s differs: %v", name, err)
		}
	}
	other := tiny()
	other.Seed++
	if _, err := Begin(filepath.Join(dir, "a"), other); !errors.Is(err, ErrOtherPlan) {
		t.Errorf("another plan in the same folder: %v", err)
	}
}

// Packed documents do not see each other: the loss of a row of documents is the
// sum of the losses of each alone.
func TestPackedDocumentsAreAlone(t *testing.T) {
	env := orttest.Open(t)
	x := begun(t, t.TempDir())
	d := descending(t, env, x)
	walk(t, d, 2) // away from the symmetric start
	r := rand.New(rand.NewPCG(1, 2))
	loss := func(p *rows) float64 {
		in := p.step()
		for w, v := range d.Weights {
			in[w] = v
		}
		out := map[string]*tensor.Tensor{outLoss: nil}
		if err := d.sessions[0].Run(t.Context(), in, out); err != nil {
			t.Fatal(err)
		}
		return float64(out[outLoss].Float32s()[0])
	}
	together := newRows(1, longRow, x.end)
	sum := 0.0
	for range 4 {
		s, err := tokens(x.Tokenizer, x.Facts.Document(r, First()), x.end, r)
		if err != nil {
			t.Fatal(err)
		}
		if together.add(s) < 0 {
			t.Fatal("no room")
		}
		alone := newRows(1, len(s.ids)-1, x.end)
		if alone.add(s) != 0 || len(alone.picked) == 0 {
			t.Fatal("a document does not fit its own row, or nothing of it counts")
		}
		sum += loss(alone)
	}
	if got := loss(together); math.Abs(got-sum) > rounding*sum {
		t.Errorf("loss %v together, %v apart", got, sum)
	}
}

// The exported model gives an answer the probability that the training graph
// gives it, and Measure finds right what is most probable there.
func TestExportedModel(t *testing.T) {
	env := orttest.Open(t)
	x := begun(t, t.TempDir())
	d := descending(t, env, x)
	walk(t, d, 5)
	before, err := x.Measure(t.Context(), env, d.Weights, 20, 1)
	if err != nil {
		t.Fatal(err)
	}
	rescale(d.Weights, 0.5) // a power of 2 is exact but for the epsilon of the norms
	if after, err := x.Measure(t.Context(), env, d.Weights, 20, 1); err != nil || !maps.Equal(before, after) {
		t.Errorf("rescaled weights answer otherwise (%v): %v, %v", err, before, after)
	}
	half, err := rounded(d.Weights, tensor.F16)
	if err != nil {
		t.Fatal(err)
	}
	if d.Weights, err = rounded(half, tensor.F32); err != nil {
		t.Fatal(err)
	}
	small, dir := t.TempDir(), t.TempDir()
	if err := x.Export(small, d.Weights); err != nil {
		t.Fatal(err)
	}
	if err := demo.Expand(os.DirFS(small), dir); err != nil {
		t.Fatal(err)
	}
	lm, err := models.Open(t.Context(), env, dir, models.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := lm.Close(); err != nil {
			t.Error(err)
		}
	}()
	info := lm.Info()
	if info.Layers != 2 || info.FFNWidth != 24 || info.Context != 256 || info.Vocab != 600 || len(info.Refusals) > 0 {
		t.Errorf("inspected as %+v", info)
	}
	for _, q := range x.Facts.Questions(1) {
		answers, err := answer.Score(t.Context(), lm, []answer.Row{{Query: ask.Query{Prompt: q.Prompt, Targets: q.Answers[:1]}}})
		if err != nil || answers[0].Err != nil {
			t.Fatal(err, answers[0].Err)
		}
		s, from, err := answered(x.Tokenizer, q.Prompt, q.Answers[0])
		if err != nil {
			t.Fatal(err)
		}
		for i := from; i < len(s.ids); i++ {
			s.count[i] = 1
		}
		p := newRows(1, len(s.ids), x.end)
		p.add(s)
		in := p.step()
		for w, v := range d.Weights {
			in[w] = v
		}
		out := map[string]*tensor.Tensor{outLoss: nil}
		if err := d.sessions[0].Run(t.Context(), in, out); err != nil {
			t.Fatal(err)
		}
		want := -float64(out[outLoss].Float32s()[0])
		if got := sum(answers[0].Targets[0].LogProbs); math.Abs(got-want) > exported*math.Abs(want) {
			t.Errorf("%q: log-probability %v, in training %v", q.Prompt, got, want)
		}
	}
}

// A target more probable than its goal teaches nothing, another one all it can.
func TestEnough(t *testing.T) {
	env := orttest.Open(t)
	x := begun(t, t.TempDir())
	d := descending(t, env, x)
	s, first, err := answered(x.Tokenizer, "Anything at all", "of")
	if err != nil {
		t.Fatal(err)
	}
	s.count[first] = 1
	run := func(goal float64) (loss, slope float64) {
		s.goal = goal
		p := newRows(1, len(s.ids), x.end)
		p.add(s)
		in, out := p.step(), map[string]*tensor.Tensor{outLoss: nil, outGradient + d.names[0]: nil}
		for w, v := range d.Weights {
			in[w] = v
		}
		if err := d.sessions[0].Run(t.Context(), in, out); err != nil {
			t.Fatal(err)
		}
		return float64(out[outLoss].Float32s()[0]), out[outGradient+d.names[0]].Norm()
	}
	loss, slope := run(1)
	if loss <= 0 || slope == 0 {
		t.Fatalf("loss %v, slope %v of an untrained model", loss, slope)
	}
	p := math.Exp(-loss)
	if l, g := run(1.1 * p); math.Abs(l-loss) > exported*loss || math.Abs(g-slope) > exported*slope {
		t.Errorf("below its goal: loss %v, slope %v, without one %v, %v", l, g, loss, slope)
	}
	if l, g := run(0.9 * p); math.Abs(l+math.Log(0.9*p)) > exported*loss || g != 0 {
		t.Errorf("above its goal: loss %v, slope %v, want %v and none", l, g, -math.Log(0.9*p))
	}
}

// From the turn on the answers of episodes count several times.
func TestTurn(t *testing.T) {
	x := begun(t, t.TempDir())
	plan := x.Plan
	plan.Turn = 5
	twice := func(step int) int {
		p, err := x.Facts.batch(x.Tokenizer, x.end, plan, step, 0)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for i := 1; i < len(p.picked); i++ {
			if p.picked[i] == p.picked[i-1] {
				n++
			}
		}
		return n
	}
	if n := twice(4); n > 0 {
		t.Errorf("before the turn %d places count more than once", n)
	}
	if twice(5) == 0 {
		t.Error("after the turn no place counts more than once")
	}
}

// Measure counts what a model that has learned one answer by heart knows.
func TestMeasure(t *testing.T) {
	env := orttest.Open(t)
	x := begun(t, t.TempDir())
	w, _, err := x.Weights()
	if err != nil {
		t.Fatal(err)
	}
	scores, err := x.Measure(t.Context(), env, w, 4, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range Tests() {
		if s := scores[string(test)]; s.Of != 4 || s.Right > 1 {
			t.Errorf("%s: %+v from a model that knows nothing", test, s)
		}
	}
	// A model whose output is the same token everywhere: its bias decides.
	s, from, err := answered(x.Tokenizer, "Anything at all", "of")
	if err != nil || from != len(s.ids)-1 {
		t.Fatalf("the answer has %d tokens, %v", len(s.ids)-from, err)
	}
	always := train.Values{}
	for name, v := range w {
		always[name] = v.Clone()
	}
	width := x.Plan.Size.Width
	embedding := always["transformer.wte.weight"].Float32s()[int(s.ids[from])*width:][:width]
	for i := range embedding {
		embedding[i] = 1
	}
	bias := always["transformer.ln_f.bias"].Float32s()
	for i := range bias {
		bias[i] = 100
	}
	e := examination(t, env, x, always)
	right := false
	if err := e.ask(t.Context(), s, from, &right); err != nil {
		t.Fatal(err)
	}
	if err := e.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !right {
		t.Error("the only answer the model gives is counted as wrong")
	}
}

func examination(t *testing.T, env *ort.Env, x *Training, w train.Values) *examiner {
	t.Helper()
	m, err := x.Plan.Size.answers(w)
	if err != nil {
		t.Fatal(err)
	}
	data, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	s, err := env.NewSession(t.Context(), data, ort.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &examiner{session: s, rows: newRows(2, shortRow, x.end), end: x.end}
}

// A revived neuron is active and leaves every answer as it was.
func TestRevive(t *testing.T) {
	x := begun(t, t.TempDir())
	w, _, err := x.Weights()
	if err != nil {
		t.Fatal(err)
	}
	size := x.Plan.Size
	energy := make([]float64, size.FFN)
	for j := range energy {
		energy[j] = 1
	}
	energy[5] = 0
	before := map[string][]float32{}
	for name, v := range w {
		before[name] = v.Clone().Float32s()
	}
	if n := size.revive(w, 1, energy, 1); n != 1 {
		t.Errorf("%d neurons revived", n)
	}
	for name, v := range w {
		changed := 0
		for i, value := range v.Float32s() {
			if value != before[name][i] {
				changed++
			}
		}
		want := 0
		switch name {
		case "transformer.h.1.mlp.c_fc.weight":
			want = size.Width
			if v.Float32s()[3*size.FFN+5] == before[name][3*size.FFN+5] {
				t.Error("the inputs of neuron 5 are as they were")
			}
		case "transformer.h.1.mlp.c_proj.weight":
			want = size.Width
			if v.Float32s()[5*size.Width] != 0 {
				t.Error("neuron 5 has outputs")
			}
		}
		if changed != want {
			t.Errorf("%d numbers of %s changed, want %d", changed, name, want)
		}
	}
}

func TestRate(t *testing.T) {
	p := Plan{Steps: 1000, Rate: 2}
	for step, want := range map[int]float64{0: 2. / warmUp, warmUp - 1: 2, 600: 2, 1000: 2 * lastRate} {
		if got := p.rate(step); math.Abs(got-want) > 1e-12 {
			t.Errorf("rate of step %d is %v, want %v", step, got, want)
		}
	}
	if mid := p.rate(860); math.Abs(mid-2*(lastRate+(1-lastRate)/2)) > 1e-9 {
		t.Errorf("half-way down the rate is %v", mid)
	}
}

func sum(v []float64) (s float64) {
	for _, x := range v {
		s += x
	}
	return s
}
