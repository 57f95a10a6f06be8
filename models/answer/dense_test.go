package answer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
	"editpipe/models/run"
	"editpipe/ort/orttest"
)

// The same weight, added up before the product or after it: 80 roundings of
// float32, relative (see logProbTolerance).
const denseTolerance = 5e-6

// through scores the queries through a patch in the graph that set chooses.
func through(t testing.TB, lm *models.LM, rows []Row, set func(*graph.Take)) []float64 {
	t.Helper()
	s := newScoring(lm)
	var questions []*run.Question
	for _, r := range rows {
		_, all, err := run.JoinAll(lm, r.Query)
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range all {
			q := &run.Question{Sequence: j.Sequence, Patch: r.Patch}
			questions, s.of[q] = append(questions, q), &scored{}
		}
	}
	made := run.New(lm, arch.Forward, questions, rows[0].Patch)
	set(&made.Spec.Take)
	if err := s.score(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	var out []float64
	for _, q := range questions {
		if err := s.of[q].err; err != nil {
			t.Fatal(err)
		}
		out = append(out, s.of[q].out.LogProbs...)
	}
	return out
}

// slotForm undoes the choice to replace weights.
func slotForm(k *graph.Take) { k.Replaced, k.Slots = "", graph.AllSlots }

// TestReplacedWeightsEqualSlots: a weight fed whole gives what its change gives
// through a slot.
func TestReplacedWeightsEqualSlots(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{
		{Family: tinylm.GPT2}, {Family: tinylm.GPTJ, NamedWeights: true}, {Family: tinylm.LLaMA, Opset: 13, NamedWeights: true, NoScopes: true},
		{Family: tinylm.LLaMA, ExternalData: true, Cache: tinylm.WithPast},
	} {
		t.Run(fmt.Sprintf("%s %s external=%v", c.Family, c.Cache, c.ExternalData), func(t *testing.T) {
			lm := modeltest.Tiny(t, env, c, models.Options{})
			r := rand.New(rand.NewPCG(3, 1))
			a, b := lm.Info().FFNs[0].Down, lm.Info().FFNs[1].Up
			p := &patch.Patch{Weights: []patch.Weight{
				{At: a.ID, Delta: modeltest.Randn(r, 0.1, a.In, a.Out)},
				{At: a.ID, U: modeltest.Randn(r, 0.3, a.In, 2), V: modeltest.Randn(r, 0.3, 2, a.Out)},
				{At: b.ID, U: modeltest.Randn(r, 0.3, b.In, 1), V: modeltest.Randn(r, 0.3, 1, b.Out)},
			}}
			var rows []Row
			for range 4 {
				rows = append(rows, Row{Query: modeltest.RandomQuery(lm, r, 3+r.IntN(9), 3), Patch: p})
			}
			replaced := through(t, lm, rows, func(k *graph.Take) {
				if k.Replaced != "decoder.0.ffn_down decoder.1.ffn_up" || k.Slots != graph.NoSlots {
					t.Errorf("take %+v", *k)
				}
			})
			slots := through(t, lm, rows, slotForm)
			if d := modeltest.MaxDiff64(replaced, slots); d > denseTolerance {
				t.Errorf("replaced weights and slots differ by %g", d)
			}
			if !strings.HasSuffix(lm.Info().Dense, "weights replaced for a run") {
				t.Errorf("dense: %s", lm.Info().Dense)
			}
		})
	}
}

// TestHalfWeights: where the runtime takes overridable float16 weights the
// changed weight is fed, rounded as an exported model stores it, so the two agree
// but for the order of sums; an older runtime is given slots.
func TestHalfWeights(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{
		{Family: tinylm.GPT2, Float16: true}, {Family: tinylm.GPTJ, Float16: true},
		{Family: tinylm.LLaMA, Float16: true, ExternalData: true, Cache: tinylm.WithPast},
	} {
		t.Run(fmt.Sprintf("%s %s", c.Family, c.Cache), func(t *testing.T) {
			lm := modeltest.Tiny(t, env, c, models.Options{})
			if !strings.Contains(lm.Info().Dense, "float16, replaced") {
				t.Errorf("dense: %s", lm.Info().Dense)
			}
			r := rand.New(rand.NewPCG(3, 7))
			a := lm.Info().FFNs[0].Down
			p := &patch.Patch{Weights: []patch.Weight{{At: a.ID, Delta: modeltest.Randn(r, 0.1, a.In, a.Out)}}}
			var rows, plain []Row
			for range 4 {
				q := modeltest.RandomQuery(lm, r, 3+r.IntN(9), 3)
				rows, plain = append(rows, Row{Query: q, Patch: p}), append(plain, Row{Query: q})
			}
			want := graph.Take{Replaced: "decoder.0.ffn_down"}
			if !env.OverridesFloat16() {
				want = graph.Take{Slots: graph.DownSlots}
			}
			fed := through(t, lm, rows, func(k *graph.Take) {
				if *k != want {
					t.Errorf("take %+v, want %+v", *k, want)
				}
			})
			if d := modeltest.MaxDiff64(fed, through(t, lm, rows, slotForm)); d > modeltest.HalfTolerance {
				t.Errorf("the patch and slots differ by %g", d)
			}
			if !env.OverridesFloat16() {
				return
			}
			to := t.TempDir()
			modeltest.Must(t, lm.Export(t.Context(), p, to))
			exported := through(t, modeltest.Open(t, env, to, models.Options{}), plain, func(*graph.Take) {})
			tolerance := denseTolerance
			if c.Family == tinylm.GPT2 {
				// Around a constant weight the runtime fuses product and bias,
				// and float16 values are rounded once less.
				tolerance = modeltest.HalfTolerance
			}
			if d := modeltest.MaxDiff64(fed, exported); d > tolerance {
				t.Errorf("the patch and the exported model differ by %g", d)
			}
		})
	}
}

// BenchmarkDense compares runs of 32 rows of 20 tokens on one thread: unedited,
// with one down-projection replaced, with all of them replaced, and the same
// through slots. The forms take turns, so that a busy machine slows them alike;
// the medians are reported.
func BenchmarkDense(b *testing.B) {
	env := orttest.Open(b)
	lm := modeltest.Tiny(b, env, tinylm.Config{Family: tinylm.GPT2, Width: 256, Layers: 6, Vocab: 2000, Heads: 4}, models.Options{Threads: 1})
	r := rand.New(rand.NewPCG(1, 1))
	one, all := &patch.Patch{}, &patch.Patch{}
	for i, f := range lm.Info().FFNs {
		d := patch.Weight{At: f.Down.ID, Delta: modeltest.Randn(r, 0.01, f.Down.In, f.Down.Out)}
		if all.Weights = append(all.Weights, d); i == 2 {
			one.Weights = append(one.Weights, d)
		}
	}
	type form struct {
		name  string
		patch *patch.Patch
		set   func(*graph.Take)
	}
	nothing := func(*graph.Take) {}
	forms := []form{
		{"unedited", nil, nothing}, {"one-replaced", one, nothing}, {"one-slot", one, func(k *graph.Take) { k.Replaced, k.Slots = "", graph.DownSlots }},
		{"all-replaced", all, nothing}, {"all-slots", all, func(k *graph.Take) { k.Replaced, k.Slots = "", graph.DownSlots }},
	}
	times := map[string][]time.Duration{}
	var rows []Row
	for range 16 {
		rows = append(rows, Row{Query: modeltest.RandomQuery(lm, r, 19, 2)})
	}
	timed := func(f form) time.Duration {
		for i := range rows {
			rows[i].Patch = f.patch
		}
		start := time.Now()
		through(b, lm, rows, f.set)
		return time.Since(start)
	}
	for _, f := range forms {
		timed(f) // the session
	}
	for b.Loop() {
		for _, f := range forms {
			times[f.name] = append(times[f.name], timed(f))
		}
	}
	for _, f := range forms {
		slices.Sort(times[f.name])
		b.ReportMetric(times[f.name][len(times[f.name])/2].Seconds()*1000, f.name+"-ms")
	}
}
