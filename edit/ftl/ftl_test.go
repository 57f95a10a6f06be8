package ftl

import (
	"context"
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/edittest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/models/run"
	"editpipe/tensor"
	"editpipe/train"
)

const (
	// Central differences of float32 losses of order 5: the rounding of the loss,
	// 1e-6, over a step of 1e-2, and the third derivative times the step's square.
	differenceStep      = 1e-2
	differenceTolerance = 2e-3
	lossTolerance       = 1e-4 // one loss computed by two graphs in float32
	// Adam's first step is the rate but for its epsilon, 1e-8, over the gradient.
	rateTolerance = 1e-2
)

func method1(t *testing.T, id string) edit.Method {
	t.Helper()
	for _, m := range Methods() {
		if m.Name == id {
			return m
		}
	}
	t.Fatalf("no method %s", id)
	return edit.Method{}
}

func open1(t *testing.T, lm *models.LM, id string, set map[string]string) *editor {
	t.Helper()
	m := method1(t, id)
	c, err := m.Configure(lm.Info(), set)
	if err != nil {
		t.Fatal(err)
	}
	return &editor{name: id, c: c.Value().(Config), lm: lm}
}

func made(t *testing.T, ed *editor, on *patch.Patch, edits ...dataset.Edit) edit.Made {
	t.Helper()
	made := edittest.Together(context.Background(), ed, on, edits...)
	if made.Err != nil {
		t.Fatal(made.Err)
	}
	if n := len(made.Patch.Weights); n != 2 {
		t.Fatalf("%d changes, want one of the weight and one of its bias", n)
	}
	return made
}

// objectiveOf is the objective of one training.
func objectiveOf(t *testing.T, id string, lm *models.LM, on *patch.Patch, at arch.WeightID, edits []dataset.Edit) *objective {
	t.Helper()
	k, err := newTask(context.Background(), id, lm, on, at, edits)
	if err != nil {
		t.Fatal(err)
	}
	o := newObjective(id, lm, on, at, []*task{k})
	t.Cleanup(func() {
		if err := o.searches.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

func delta(m edit.Made) []float32 { return m.Patch.Weights[0].Delta.Float32s() }

func biasDelta(m edit.Made) []float32 { return m.Patch.Weights[1].Delta.Float32s() }

func TestConformance(t *testing.T) {
	for _, m := range Methods() {
		for _, f := range []tinylm.Family{tinylm.GPT2, tinylm.LLaMA} {
			t.Run(m.Name+" "+string(f), func(t *testing.T) {
				edittest.Run(t, m, edittest.Options{Model: tinylm.Config{Family: f}, Set: map[string]string{"num_steps": "5"}})
			})
		}
	}
}

// TestGradient compares slopes with central differences, for several edits at
// once, on top of an earlier change, whichever way the file stores the weight,
// of weight and bias, where there is one.
func TestGradient(t *testing.T) {
	for _, c := range []tinylm.Config{{Family: tinylm.GPT2}, {Family: tinylm.GPTJ}, {Family: tinylm.LLaMA, NamedWeights: true}} {
		t.Run(string(c.Family), func(t *testing.T) {
			lm, ctx := edittest.Open(t, c), context.Background()
			at := arch.WeightID{Layer: 0, Part: arch.FFNDown}
			w := lm.Info().Weight(at)
			r := rand.New(rand.NewPCG(1, 2))
			random := func(scale float64) train.Values {
				x := train.Values{variable: tensor.New(tensor.F32, w.In, w.Out)}
				if w.Bias != "" {
					x[biasVariable] = tensor.New(tensor.F32, w.Out)
				}
				for _, name := range slices.Sorted(maps.Keys(x)) {
					for i := range x[name].Float32s() {
						x[name].Float32s()[i] = float32(scale * r.NormFloat64())
					}
				}
				return x
			}
			base := &patch.Patch{Method: masked, Weights: []patch.Weight{{At: at, Delta: random(0.02)[variable]}}}
			for _, id := range []string{promptLast, masked} {
				o := objectiveOf(t, id, lm, base, at, edittest.Edits())
				evaluate := func(x train.Values) (float64, train.Values) {
					l, g, err := o.Evaluate(ctx, []int{0}, []train.Values{x})
					if err != nil {
						t.Fatal(err)
					}
					return l[0], g[0]
				}
				here := random(0.02)
				_, g := evaluate(here)
				for name, direction := range random(1) {
					norm, slope := direction.Norm(), 0.0
					for i, x := range direction.Float32s() {
						slope += float64(g[name].Float32s()[i]) * float64(x) / norm
					}
					moved := func(by float64) float64 {
						x := maps.Clone(here)
						x[name] = here[name].Clone()
						for i, d := range direction.Float32s() {
							x[name].Float32s()[i] += float32(by * float64(d) / norm)
						}
						l, _ := evaluate(x)
						return l
					}
					want := (moved(differenceStep) - moved(-differenceStep)) / (2 * differenceStep)
					if math.Abs(slope-want) > differenceTolerance || slope == 0 {
						t.Errorf("%s, %s: slope %g, by differences %g", id, name, slope, want)
					}
				}
			}
		})
	}
}

// TestBox: no element leaves the box, many end on its wall, and a second edit
// has a box around the first.
func TestBox(t *testing.T) {
	lm := edittest.Open(t, tinylm.Config{})
	ed, edits := open1(t, lm, promptLast, map[string]string{"norm_constraint": "0.001", "num_steps": "10"}), edittest.Edits()
	const bound = float32(0.001)
	first := made(t, ed, &patch.Patch{}, edits[0])
	within := func(d []float32) (walls int) {
		t.Helper()
		for i, x := range d {
			if x > bound || x < -bound {
				t.Fatalf("element %d moved by %g", i, x)
			}
			if x == bound || x == -bound {
				walls++
			}
		}
		return walls
	}
	if walls := within(biasDelta(first)); walls == 0 {
		t.Error("no element of the bias ends on the wall")
	}
	if walls := within(delta(first)); walls == 0 {
		t.Error("no element ends on the wall; ten steps of 5e-4 must bring some there")
	}
	second := made(t, ed, first.Patch, edits[1])
	further := false
	for i, x := range delta(second) {
		// The sum of two changes is rounded once.
		if d := float64(x) - float64(delta(first)[i]); math.Abs(d) > float64(bound)+1e-9 {
			t.Fatalf("element %d moved by %g more", i, d)
		}
		further = further || x > bound || x < -bound
	}
	if !further {
		t.Error("the second edit stays in the box of the first")
	}
	free := made(t, open1(t, lm, promptLast, map[string]string{"norm_constraint": "0", "num_steps": "10"}), &patch.Patch{}, edits[0])
	if slices.Max(delta(free)) <= bound {
		t.Error("without a box no element passes it")
	}
}

// TestFirstStep: Adam's first step moves each element by the rate, against its
// gradient; with a decay that outweighs the loss, against the weight.
func TestFirstStep(t *testing.T) {
	lm := edittest.Open(t, tinylm.Config{})
	at := arch.WeightID{Layer: 0, Part: arch.FFNDown}
	w, err := lm.Weight(at)
	if err != nil {
		t.Fatal(err)
	}
	one := map[string]string{"num_steps": "1", "lr": "0.0001"}
	plain := delta(made(t, open1(t, lm, masked, one), &patch.Patch{}, edittest.Edits()[0]))
	full := 0
	for i, x := range plain {
		if math.Abs(float64(x)) > 1e-4*(1+rateTolerance) {
			t.Fatalf("element %d moved by %g", i, x)
		}
		if math.Abs(float64(x)) > 1e-4*(1-rateTolerance) {
			full++
		}
	}
	if full < len(plain)/2 {
		t.Errorf("%d of %d elements moved by the rate", full, len(plain))
	}
	b, err := lm.Bias(at)
	if err != nil {
		t.Fatal(err)
	}
	base := &patch.Patch{Weights: []patch.Weight{{At: at, Delta: w}, {Bias: true, At: at, Delta: b}}} // both are doubled
	one["weight_decay"] = "1e6"
	p := made(t, open1(t, lm, masked, one), base, edittest.Edits()[0])
	for name, c := range map[string][2][]float32{"weight": {w.Float32s(), delta(p)}, "bias": {b.Float32s(), biasDelta(p)}} {
		for i, x := range c[1] {
			v := float64(c[0][i])
			if step := float64(x) - v; math.Abs(v) > 1e-3 && math.Abs(step+math.Copysign(1e-4, v)) > 1e-4*rateTolerance {
				t.Fatalf("%s: element %d of %g moved by %g", name, i, v, step)
			}
		}
	}
	one["train_bias"] = "false"
	alone := edittest.Together(context.Background(), open1(t, lm, masked, one), &patch.Patch{}, edittest.Edits()[0])
	if alone.Err != nil || len(alone.Patch.Weights) != 1 {
		t.Errorf("without the bias %+v", alone)
	}
}

// TestObjectives: for a target of one token the methods are the same. For others
// the first loss of ft-m is what Score says of the target, and that of ft-l the
// probability of all its tokens at one position.
func TestObjectives(t *testing.T) {
	lm, ctx := edittest.Open(t, tinylm.Config{}), context.Background()
	long := edittest.Edits()[0]
	prompt, target, err := run.Continuation(lm, long.Prompt, long.Target)
	if err != nil {
		t.Fatal(err)
	}
	if len(target) < 2 {
		t.Fatalf("%q has %d tokens, the test wants several", long.Target, len(target))
	}
	at := arch.WeightID{Layer: 0, Part: arch.FFNDown}
	loss := func(id string) float64 {
		o := objectiveOf(t, id, lm, &patch.Patch{}, at, []dataset.Edit{long})
		w := lm.Info().Weight(at)
		l, _, err := o.Evaluate(ctx, []int{0}, []train.Values{{variable: tensor.New(tensor.F32, w.In, w.Out)}})
		if err != nil {
			t.Fatal(err)
		}
		return l[0]
	}
	bag := ask.Query{PromptIDs: prompt}
	for _, id := range target {
		bag.TargetIDs = append(bag.TargetIDs, []int64{id})
	}
	answers, err := answer.Score(ctx, lm, []answer.Row{{Query: ask.Query{Prompt: long.Prompt, Targets: []string{long.Target}}}, {Query: bag}})
	if err != nil {
		t.Fatal(err)
	}
	mean := func(a ask.Answer) (sum float64) {
		if a.Err != nil {
			t.Fatal(a.Err)
		}
		for _, c := range a.Targets {
			for _, l := range c.LogProbs {
				sum -= l / float64(len(target))
			}
		}
		return sum
	}
	for id, want := range map[string]float64{masked: mean(answers[0]), promptLast: mean(answers[1])} {
		if got := loss(id); math.Abs(got-want) > lossTolerance {
			t.Errorf("%s: first loss %g, Score says %g", id, got, want)
		}
	}
	for _, id := range []string{promptLast, masked} {
		one := lossRow(id, prompt, target[:1], 1)
		if len(one.IDs) != len(prompt) || len(one.Terms) != 1 || one.Terms[0].Position != len(prompt)-1 || one.Terms[0].NLL != 1 {
			t.Errorf("%s: a target of one token gives %+v", id, one)
		}
	}
}

// TestLearns: training makes the targets likely, of one edit and of three, and
// the effort says what Score says.
func TestLearns(t *testing.T) {
	lm, ctx := edittest.Open(t, tinylm.Config{}), context.Background()
	edits := edittest.Edits()
	nll := func(p *patch.Patch) (sum float64) {
		var rows []answer.Row
		for _, e := range edits {
			rows = append(rows, answer.Row{Patch: p, Query: ask.Query{Prompt: e.Prompt, Targets: []string{e.Target}}})
		}
		answers, err := answer.Score(ctx, lm, rows)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range answers {
			if a.Err != nil {
				t.Fatal(a.Err)
			}
			for _, l := range a.Targets[0].LogProbs {
				sum -= l / float64(len(a.Targets[0].LogProbs)*len(edits))
			}
		}
		return sum
	}
	set := map[string]string{"norm_constraint": "0", "lr": "0.01", "num_steps": "100"}
	before, p := nll(nil), made(t, open1(t, lm, masked, set), &patch.Patch{}, edits...)
	after := nll(p.Patch)
	if len(p.Efforts) != len(edits) {
		t.Fatalf("%d efforts for %d edits", len(p.Efforts), len(edits))
	}
	for i, e := range edits {
		effort, loss := p.Efforts[i], float64(p.Efforts[i].FinalLoss)
		if effort.Steps < 2 || loss >= before {
			t.Errorf("edit %s: effort %+v", e.ID, effort)
		}
		if loss < enough && math.Abs(loss-after) > lossTolerance {
			t.Errorf("stopped at a loss of %g, Score says %g", loss, after)
		}
	}
	if after > before/10 {
		t.Errorf("the loss went from %g to %g", before, after)
	}
}

func TestErrors(t *testing.T) {
	ctx := context.Background()
	t.Run("edits", func(t *testing.T) {
		lm := edittest.Open(t, tinylm.Config{})
		ed, good := open1(t, lm, masked, map[string]string{"num_steps": "1"}), edittest.Edits()
		bad := edittest.Edits()[:2]
		bad[0].Target = ""
		bad[1].Prompt += strings.Repeat(" and on", 60)
		for i, want := range []error{ask.ErrNoTarget, ask.ErrTooLong} {
			err := edittest.Together(ctx, ed, &patch.Patch{}, good[2], bad[i]).Err
			var blamed *edit.Error
			if !errors.Is(err, want) || !errors.As(err, &blamed) || blamed.Edit != bad[i].ID {
				t.Errorf("edit %d: %v, want %v", i, err, want)
			}
		}
		for _, set := range []map[string]string{{"lr": "0"}, {"layer": "-1"}, {"num_steps": "0"}, {"norm_constraint": "-1"}, {"weight_decay": "-1"}} {
			if _, err := method1(t, promptLast).Configure(lm.Info(), set); err == nil {
				t.Errorf("%v: accepted", set)
			}
		}
		if _, err := method1(t, promptLast).Configure(lm.Info(), map[string]string{"layer": "9"}); err == nil || !strings.Contains(err.Error(), "the model has 2 layers") {
			t.Errorf("no such layer: %v", err)
		}
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if made := edittest.Together(gone, ed, &patch.Patch{}, good[0]); !errors.Is(made.Err, context.Canceled) {
			t.Errorf("cancelled: %v", made.Err)
		}
	})
	for label, c := range map[string]tinylm.Config{"encoder-decoder": {Family: tinylm.T5}, "half precision": {Float16: true}} {
		t.Run(label, func(t *testing.T) {
			lm := edittest.Open(t, c)
			m := method1(t, masked)
			config, err := m.Configure(lm.Info(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.Open(ctx, config, edit.Env{LM: lm}); !errors.Is(err, edit.ErrUnsupported) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestDefaults are the published settings.
func TestDefaults(t *testing.T) {
	for _, c := range []struct {
		family string
		layers int
		want   Config
	}{
		{"gpt2", 48, Config{Layer: 0, Bound: 5e-4}}, {"gpt2", 36, Config{Layer: 0, Bound: 1e-3}}, {"gpt2", 24, Config{Layer: 0, Bound: 2e-3}},
		{"gptj", 28, Config{Layer: 0, Bound: 5e-5}}, {"llama", 32, Config{Layer: 21}}, {"", 0, Config{}},
	} {
		c.want.Steps, c.want.Rate, c.want.Bias = 25, 5e-4, true
		config, err := method1(t, promptLast).Configure(&arch.Info{Family: c.family, Layers: c.layers}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := config.Value().(Config); got != c.want {
			t.Errorf("%s with %d layers: %+v", c.family, c.layers, got)
		}
	}
}
