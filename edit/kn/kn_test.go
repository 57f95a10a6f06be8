package kn

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/edittest"
	"editpipe/edit/locate"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/answer"
	"editpipe/models/arch"
	"editpipe/models/loss"
	"editpipe/models/patch"
	"editpipe/tensor"
)

var update = flag.Bool("update", false, "write the golden figures anew")

const (
	// Of probabilities of order 1e-3 and changes of as much: the trapezoid rule
	// with 60 points leaves some 1e-7, float32 less.
	completeTolerance = 5e-7
	// Probabilities of one model through two graphs in float32.
	probTolerance = 1e-6
	// Rows of a change: sums of embeddings and products of norms, rounded to
	// float32 once or twice.
	ruleTolerance = 1e-6
	// Attributions in the golden figures, of order 1e-3, on other processors.
	goldenTolerance = 1e-6
	// Norms of changes in the golden figures, relative: of float32 rows, whose
	// factors differ by what attributions and probabilities do on other processors.
	normTolerance = 1e-4
)

func open1(t *testing.T, lm *models.LM, set map[string]string) *editor {
	t.Helper()
	c, err := Method().Configure(lm.Info(), set)
	if err != nil {
		t.Fatal(err)
	}
	return &editor{c: c.Value().(Config), lm: lm}
}

func made(t *testing.T, ed *editor, e dataset.Edit) *patch.Patch {
	t.Helper()
	made := edittest.Together(context.Background(), ed, &patch.Patch{}, e)
	if made.Err != nil {
		t.Fatal(made.Err)
	}
	return made.Patch
}

// attributions are those of the first prompt of an edit.
func attributions(t *testing.T, ed *editor, on *patch.Patch, e dataset.Edit) (*fact, scores) {
	t.Helper()
	f, err := ed.newFact(e)
	if err != nil {
		t.Fatal(err)
	}
	facts, errs := []*fact{f}, make([]error, 1)
	if err := ed.predict(context.Background(), on, facts, errs); err != nil {
		t.Fatal(err)
	}
	s, err := ed.attribute(context.Background(), on, facts, errs)
	if err != nil || errs[0] != nil {
		t.Fatal(err, errs[0])
	}
	return f, s[0][0]
}

func TestConformance(t *testing.T) {
	for label, o := range map[string]edittest.Options{
		"paper":    {},
		"port":     {Set: map[string]string{"variant": Port}},
		"easyedit": {Set: map[string]string{"variant": EasyEdit, "steps": "1"}},
		"erase":    {Set: map[string]string{"mode": Erase, "max_neurons": "3"}},
		"zeroing":  {Model: tinylm.Config{FFN: 16}, Set: map[string]string{"attribution": Zeroing}},
		"gptj":     {Model: tinylm.Config{Family: tinylm.GPTJ}, Set: map[string]string{"variant": Port}},
		"llama":    {Model: tinylm.Config{Family: tinylm.LLaMA}, Set: map[string]string{"variant": Port, "multi_token": "append"}},
	} {
		if o.Set == nil {
			o.Set = map[string]string{}
		}
		if o.Set["steps"] == "" {
			o.Set["steps"] = "4"
		}
		t.Run(label, func(t *testing.T) { edittest.Run(t, Method(), o) })
	}
}

// TestCompleteness: integrated gradients of a layer sum to the probability of
// the object less what it is with the layer's activation at zero. A sum at
// points of one distance becomes the trapezoid rule by the values at both ends.
func TestCompleteness(t *testing.T) {
	for family, variants := range map[tinylm.Family][]string{tinylm.GPT2: {Paper, Port}, tinylm.GPTJ: {Paper}, tinylm.LLaMA: {Port}} {
		for _, variant := range variants {
			t.Run(string(family)+" "+variant, func(t *testing.T) {
				lm := edittest.Open(t, tinylm.Config{Family: family})
				ed, on := open1(t, lm, map[string]string{"variant": variant, "steps": "60"}), &patch.Patch{}
				e := edittest.Edits()[0]
				f, s := attributions(t, ed, on, e)
				for l := range s {
					ends := make([]float64, 2) // slopes of the probability along the activation
					want := 0.0
					for k, id := range f.gold {
						ids := f.prompts[0]
						if ed.c.appends() {
							ids = slices.Concat(ids, f.gold[:k])
						}
						whole, slope1 := along(t, lm, ed.c.point(), ids, id, l, 1)
						none, slope0 := along(t, lm, ed.c.point(), ids, id, l, 0)
						n := float64(len(f.gold))
						want += (whole - none) / n
						ends[0] += slope0 / n
						ends[1] += slope1 / n
					}
					got, m := 0.0, float64(ed.c.Steps)
					for _, x := range s[l] {
						got += x
					}
					if variant == Paper {
						got += (ends[1] - ends[0]) / (2 * m)
					} else {
						got = (m*got - (ends[0]+ends[1])/2) / (m - 1)
					}
					t.Logf("layer %d: attributions sum to %.8f, the probability moves by %.8f", l, got, want)
					if math.Abs(got-want) > completeTolerance || math.Abs(want) < 100*completeTolerance {
						t.Errorf("layer %d: attributions sum to %g, the probability moves by %g", l, got, want)
					}
				}
			})
		}
	}
}

// along is the probability of a token, and its slope along the activation of a
// layer, with that activation at a multiple of itself.
func along(t *testing.T, lm *models.LM, p arch.Point, ids []int64, id int64, layer int, scale float64) (prob, slope float64) {
	t.Helper()
	ctx := context.Background()
	tr, err := activation.Trace(ctx, lm, []activation.Row{{Query: ask.Query{PromptIDs: ids}, Positions: []int{-1}}}, arch.Site{Layer: layer, Point: p})
	if err != nil || tr[0].Err != nil {
		t.Fatal(err, tr[0].Err)
	}
	a := tr[0].Values[0].Float32s()
	shift := make([]float32, len(a))
	for i, x := range a {
		shift[i] = float32((scale - 1) * float64(x))
	}
	// Through another graph than the method's.
	l, err := loss.At(ctx, lm, []arch.Site{{Layer: layer, Point: p}}, []loss.Row{{
		IDs: ids, At: len(ids) - 1, Shift: shift, Terms: []loss.Term{{Position: len(ids) - 1, Target: id, Prob: 1}},
	}})
	if err != nil || l[0].Err != nil {
		t.Fatal(err, l[0].Err)
	}
	for i, g := range l[0].Gradient {
		slope += float64(a[i]) * float64(g)
	}
	return l[0].Loss, slope
}

// TestZeroing: on a prompt of one token, a neuron at zero is a row of the
// down-projection at zero.
func TestZeroing(t *testing.T) {
	lm, ctx := edittest.Open(t, tinylm.Config{}), context.Background()
	ed, on := open1(t, lm, map[string]string{"attribution": Zeroing, "refine": "no"}), &patch.Patch{}
	f := &fact{prompts: [][]int64{{5}}, gold: []int64{7}, target: []int64{8}}
	s, err := ed.attribute(ctx, on, []*fact{f}, make([]error, 1))
	if err != nil {
		t.Fatal(err)
	}
	q := ask.Query{PromptIDs: []int64{5}, TargetIDs: [][]int64{{7}}}
	rows := []answer.Row{{Query: q}}
	w := lm.Info().FFN(arch.Decoder, 1).Down
	weight, err := lm.Weight(w.ID)
	if err != nil {
		t.Fatal(err)
	}
	some := []int{0, 3, w.In - 1}
	for _, i := range some {
		u, v := tensor.New(tensor.F32, w.In, 1), tensor.New(tensor.F32, 1, w.Out)
		u.Float32s()[i] = -1
		copy(v.Float32s(), weight.Float32s()[i*w.Out:(i+1)*w.Out])
		rows = append(rows, answer.Row{Query: q, Patch: &patch.Patch{Weights: []patch.Weight{{At: w.ID, U: u, V: v}}}})
	}
	answers, err := answer.Score(ctx, lm, rows)
	if err != nil {
		t.Fatal(err)
	}
	p := func(i int) float64 { return math.Exp(answers[i].Targets[0].LogProbs[0]) }
	for k, i := range some {
		want := p(0) - p(k+1)
		if got := s[0][0][1][i]; math.Abs(got-want) > probTolerance || want == 0 {
			t.Errorf("neuron %d: attribution %g, without the row the probability loses %g", i, got, want)
		}
	}
}

// TestChoose: thresholds, agreement and limit, with numbers that binary
// fractions hold exactly.
func TestChoose(t *testing.T) {
	one := scores{{1, 0.25, 0.125}, {0.5, -4, 0.25}}
	two := scores{{0, 2, 0}, {2, 0.5, 0}}
	three := scores{{0, 1, 1}, {1, 0, 1}}
	list := func(n ...int) (out []neuron) {
		for i := 0; i < len(n); i += 2 {
			out = append(out, neuron{n[i], n[i+1]})
		}
		return out
	}
	for i, c := range []struct {
		set     Config
		prompts []scores
		of      *relation
		want    []neuron
	}{
		{Config{Variant: Paper, Threshold: 0.25, Refine: "no"}, []scores{one}, nil, list(0, 0, 0, 1, 1, 0, 1, 2)},
		{Config{Variant: Port, Threshold: 0.25, Refine: asVariant}, []scores{one}, nil, list(0, 0, 1, 0)},
		{Config{Variant: Port, Threshold: 0.25, Most: 1, Refine: asVariant}, []scores{one}, nil, list(0, 0)},
		{Config{Variant: Port, Threshold: 0.25, Refine: asVariant}, []scores{{{-1, -2}}}, nil, nil},
		{Config{Variant: Port, Threshold: 0.25, Refine: asVariant}, []scores{one, two}, nil, list(0, 0, 0, 1, 1, 0)},
		{Config{Variant: Paper, Threshold: 0.5, Refine: asVariant}, []scores{one, two}, nil, list(1, 0)},        // both prompts: fewer than three
		{Config{Variant: Paper, Threshold: 0.5, Refine: asVariant}, []scores{one, two, three}, nil, list(1, 0)}, // all three
		{Config{Variant: Port, Threshold: 0.5, Refine: "yes", Agreement: 0.5}, []scores{one, two, three, three}, nil, list(0, 1, 1, 0)},
		{Config{Variant: Paper, Threshold: 0.5, Refine: asVariant, Agreement: 0.75}, []scores{one, two, three, three}, nil, list(0, 1, 1, 0)},
		// One prompt is enough in this relation, but (0, 1) occurs in 3 of its 20 facts.
		{Config{Variant: Paper, Threshold: 0.5, Refine: asVariant}, []scores{one, two}, &relation{Agreement: 0.1, Facts: 20, Neurons: map[string]int{"0.1": 3, "1.0": 2}}, list(1, 0)},
		{Config{Variant: Port, Threshold: 0.5, Refine: "yes"}, []scores{one, two, three}, &relation{Agreement: 0.25, Facts: 20, Neurons: map[string]int{"0.1": 3, "1.0": 2}}, list(0, 0, 0, 2, 1, 0, 1, 2)},
	} {
		if got := (&editor{c: c.set}).choose(c.prompts, c.of); !slices.Equal(got, c.want) {
			t.Errorf("case %d: neurons %v, want %v", i, got, c.want)
		}
	}
}

// TestRule adds up the change of single rows on another way.
func TestRule(t *testing.T) {
	lm := edittest.Open(t, tinylm.Config{})
	w := lm.Info().FFN(arch.Decoder, 1).Down
	weight, err := lm.Weight(w.ID)
	if err != nil {
		t.Fatal(err)
	}
	low := patch.Weight{At: w.ID, U: tensor.New(tensor.F32, w.In, 1), V: tensor.New(tensor.F32, 1, w.Out)}
	dense := patch.Weight{At: w.ID, Delta: tensor.New(tensor.F32, w.In, w.Out)}
	for i := range low.U.Float32s() {
		low.U.Float32s()[i] = float32(i%5) / 8
	}
	for j := range low.V.Float32s() {
		low.V.Float32s()[j] = float32(j%7) / 8
		dense.Delta.Float32s()[6*w.Out+j] = 0.25
	}
	on := &patch.Patch{Weights: []patch.Weight{low, dense}}
	chosen := []neuron{{0, 2}, {1, 6}, {1, 9}}
	f := &fact{gold: []int64{11}, greedy: []int64{12, 13}, target: []int64{14, 15}}
	e, err := activation.Embeddings(lm, []int64{11, 12, 13, 14, 15})
	if err != nil {
		t.Fatal(err)
	}
	length := func(v []float64) float64 {
		sum := 0.0
		for _, x := range v {
			sum += x * x
		}
		return math.Sqrt(sum)
	}
	for label, c := range map[string]struct {
		set  map[string]string
		want func(row []float64, j int) float64
		f    *fact
	}{
		"port": {map[string]string{"variant": Port}, func(_ []float64, j int) float64 {
			return float64(e[3][j]) + float64(e[4][j]) - 2*float64(e[1][j])
		}, f},
		"easyedit": {map[string]string{"variant": EasyEdit}, func(_ []float64, j int) float64 {
			return float64(e[3][j]) + float64(e[4][j]) - float64(e[1][j]) - float64(e[2][j])
		}, f},
		"easyedit, one token": {map[string]string{"variant": EasyEdit}, func(_ []float64, j int) float64 {
			return float64(e[3][j]) - 2*float64(e[1][j])
		}, &fact{gold: f.gold, greedy: f.greedy[:1], target: f.target[:1]}},
		"paper": {map[string]string{"lambda_old": "3"}, func(row []float64, j int) float64 {
			var from, to []float64
			for k := range e[0] {
				from, to = append(from, float64(e[0][k])), append(to, float64(e[3][k])+float64(e[4][k]))
			}
			return length(row) * (8*to[j]/length(to) - 3*from[j]/length(from))
		}, f},
		"erase": {map[string]string{"mode": Erase}, func(row []float64, j int) float64 { return -row[j] }, f},
	} {
		t.Run(label, func(t *testing.T) {
			ed := open1(t, lm, c.set)
			changes, err := ed.update(&rows{lm: lm, on: on, weights: map[int][]float32{}}, c.f, chosen)
			if err != nil {
				t.Fatal(err)
			}
			if len(changes) != 2 {
				t.Fatalf("%d layers change, want 2", len(changes))
			}
			last := changes[1]
			got, err := tensor.MatMul(last.U, last.V)
			if err != nil {
				t.Fatal(err)
			}
			for i := range w.In {
				row := make([]float64, w.Out)
				for j := range row {
					row[j] = float64(weight.Float32s()[i*w.Out+j]) + float64(low.U.Float32s()[i])*float64(low.V.Float32s()[j]) + float64(dense.Delta.Float32s()[i*w.Out+j])
				}
				for j := range row {
					want := 0.0
					if i == 6 || i == 9 {
						want = c.want(row, j)
					}
					if d := math.Abs(float64(got.Float32s()[i*w.Out+j]) - want); d > ruleTolerance*max(1, math.Abs(want)) {
						t.Fatalf("row %d moves by %g, want %g", i, got.Float32s()[i*w.Out+j], want)
					}
				}
			}
		})
	}
}

// TestTokens: where objects come from and what they are attributed behind.
func TestTokens(t *testing.T) {
	lm := edittest.Open(t, tinylm.Config{})
	e := edittest.Edits()[0]
	for label, c := range map[string]struct {
		set    map[string]string
		spaced bool
		append bool
	}{
		"paper": {nil, true, true},
		"port":  {map[string]string{"variant": Port}, false, false},
		"mixed": {map[string]string{"variant": Port, "space": "add", "multi_token": "append"}, true, true},
		"bare":  {map[string]string{"space": "never", "multi_token": "bare"}, false, false},
	} {
		ed := open1(t, lm, c.set)
		f, s := attributions(t, ed, &patch.Patch{}, e)
		text, err := lm.Tokenizer().Decode(f.target, false)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]string{true: " pilot", false: "pilot"}[c.spaced]; text != want {
			t.Errorf("%s: the target is %q", label, text)
		}
		if len(f.gold) < 2 {
			t.Fatalf("%s: the old object has %d tokens, the test wants several", label, len(f.gold))
		}
		// The mean over the tokens, each asked behind what precedes it.
		want := make([]float64, len(s[0]))
		for k, id := range f.gold {
			ids := f.prompts[0]
			if c.append {
				ids = slices.Concat(ids, f.gold[:k])
			}
			_, one := attributionsOf(t, ed, lm, ids, id)
			for i, x := range one[0] {
				want[i] += x / float64(len(f.gold))
			}
		}
		for i, x := range s[0] {
			if math.Abs(x-want[i]) > probTolerance {
				t.Fatalf("%s: neuron %d: %g, token by token %g", label, i, x, want[i])
			}
		}
	}
	e.GroundTruth = ""
	ed := open1(t, lm, nil)
	f, _ := attributions(t, ed, &patch.Patch{}, e)
	answers, err := answer.Generate(context.Background(), lm, []answer.Row{{Query: ask.Query{PromptIDs: f.prompts[0]}}}, ask.Sampling{MaxNew: len(f.target)})
	if err != nil {
		t.Fatal(err)
	}
	if len(answers[0].TextIDs) != len(f.target) || !slices.Equal(f.gold, answers[0].TextIDs) {
		t.Errorf("without an old object %v, the model says %v", f.gold, answers[0].TextIDs)
	}
}

func attributionsOf(t *testing.T, ed *editor, lm *models.LM, ids []int64, id int64) (*fact, scores) {
	t.Helper()
	f := &fact{prompts: [][]int64{ids}, gold: []int64{id}, target: []int64{id}}
	errs := make([]error, 1)
	s, err := ed.attribute(context.Background(), &patch.Patch{}, []*fact{f}, errs)
	if err != nil || errs[0] != nil {
		t.Fatal(err, errs[0])
	}
	return f, s[0][0]
}

// TestChain: an edit on top of another is attributed through it.
func TestChain(t *testing.T) {
	lm := edittest.Open(t, tinylm.Config{})
	ed, e := open1(t, lm, nil), edittest.Edits()
	first := made(t, ed, e[0])
	_, plain := attributions(t, ed, &patch.Patch{}, e[1])
	_, through := attributions(t, ed, first, e[1])
	if slices.Equal(plain[0], through[0]) {
		t.Error("an edit in force does not move attributions")
	}
}

// TestGolden holds a tiny model's neurons and largest attributions fast.
func TestGolden(t *testing.T) {
	lm := edittest.Open(t, tinylm.Config{})
	var got []string
	for _, set := range []map[string]string{{}, {"variant": Port}, {"variant": EasyEdit, "steps": "1"}} {
		ed := open1(t, lm, set)
		for _, e := range edittest.Edits() {
			_, s := attributions(t, ed, &patch.Patch{}, e)
			top := math.Inf(-1)
			for _, layer := range s {
				top = max(top, slices.Max(layer))
			}
			p := made(t, ed, e)
			got = append(got, fmt.Sprintf("%s %s %d %.9f %.5f", ed.c.Variant, e.ID, len(ed.choose([]scores{s}, nil)), top, p.DeltaNorm()))
		}
	}
	path := filepath.Join("testdata", "golden.txt")
	if *update {
		if err := os.WriteFile(path, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(want) != len(got) {
		t.Fatalf("%d lines, want %d", len(got), len(want))
	}
	for i := range got {
		var a, b struct {
			variant, id string
			n           int
			top, norm   float64
		}
		fmt.Sscan(got[i], &a.variant, &a.id, &a.n, &a.top, &a.norm)
		fmt.Sscan(want[i], &b.variant, &b.id, &b.n, &b.top, &b.norm)
		if a.variant != b.variant || a.id != b.id || a.n != b.n || math.Abs(a.top-b.top) > goldenTolerance || math.Abs(a.norm/b.norm-1) > normTolerance {
			t.Errorf("got  %s\nwant %s", got[i], want[i])
		}
	}
}

// TestRefused: what the method or the model does not allow.
func TestRefused(t *testing.T) {
	ctx := context.Background()
	t.Run("edits", func(t *testing.T) {
		lm := edittest.Open(t, tinylm.Config{})
		good := edittest.Edits()[0]
		config, err := Method().Configure(lm.Info(), map[string]string{"steps": "2"})
		if err != nil {
			t.Fatal(err)
		}
		ed, err := Method().Open(ctx, config, edit.Env{LM: lm})
		if err != nil {
			t.Fatal(err)
		}
		if made := edittest.Together(ctx, ed, nil, edittest.Edits()...); !errors.Is(made.Err, edit.ErrUnsupported) {
			t.Errorf("three edits at once: %v", made.Err)
		}
		empty, long, blank, nameless := good, good, good, good
		nameless.Subject, nameless.SubjectStart, nameless.SubjectEnd = "", -1, -1
		empty.Target, long.Prompt, blank.Prompt = "", strings.Repeat("word ", 100), ""
		made := edittest.Apart(t, ed, nil, []dataset.Edit{empty, good, long, blank, nameless})
		for i, want := range []error{ask.ErrNoTarget, nil, ask.ErrTooLong, ask.ErrNoPrompt, locate.ErrNoSubject} {
			if !errors.Is(made[i].Err, want) {
				t.Errorf("edit %d: %v, want %v", i, made[i].Err, want)
			}
		}
		if !errors.Is(made[4].Err, edit.ErrUnsupported) {
			t.Errorf("without a subject: %v", made[4].Err)
		}
		if len(made[1].Patch.Weights) == 0 {
			t.Error("the good edit beside them changes nothing")
		}
	})
	for label, c := range map[string]tinylm.Config{
		"encoder-decoder": {Family: tinylm.T5}, "float16": {Float16: true}, "shared weights": {SharedWeights: true},
	} {
		t.Run(label, func(t *testing.T) {
			lm := edittest.Open(t, c)
			config, err := Method().Configure(lm.Info(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Method().Open(ctx, config, edit.Env{LM: lm}); !errors.Is(err, edit.ErrUnsupported) {
				t.Errorf("got %v", err)
			}
		})
	}
	for _, set := range []map[string]string{
		{"steps": "0"}, {"adaptive_threshold": "1"}, {"p": "2"}, {"max_neurons": "-1"}, {"lambda_new": "-1"}, {"variant": "bert"},
	} {
		if _, err := Method().Configure(&arch.Info{}, set); err == nil {
			t.Errorf("%v is taken", set)
		}
	}
}

// TestDefaults are the published settings.
func TestDefaults(t *testing.T) {
	for family, want := range map[string]float64{"": 0.2, "gpt2": 0.2, "gptj": 0.1, "llama": 0.2} {
		config, err := Method().Configure(&arch.Info{Family: family}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c := config.Value().(Config); c.Threshold != want || c.Steps != 20 || c.Old != 1 || c.New != 8 {
			t.Errorf("%s: %+v", family, c)
		}
	}
	for _, c := range []struct {
		set  Config
		want []float64
	}{
		{Config{Variant: Paper, Steps: 4}, []float64{0, 0.25, 0.5, 0.75}},
		{Config{Variant: Port, Steps: 5}, []float64{0, 0.25, 0.5, 0.75, 1}},
		{Config{Variant: EasyEdit, Steps: 1}, []float64{0}},
	} {
		for k, x := range c.want {
			if got := c.set.alpha(k); got != x {
				t.Errorf("%s: point %d at %g, want %g", c.set.Variant, k, got, x)
			}
		}
	}
}
