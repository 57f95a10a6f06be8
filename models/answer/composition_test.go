package answer

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
	"editpipe/models/run"
	"editpipe/onnx"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// compositionsOfEach is how many of each form are asked.
const compositionsOfEach = 5

// compositions asks a model in many random ways, each time several rows together:
// by Score, of which some share beginnings of unequal lengths, and token by token
// as Generate does, while rows leave. Every answer is compared with that of the
// row alone, uncached. The result is the largest difference of a log-probability,
// in nats, and how often each saving was made.
func compositions(t *testing.T, lm *models.LM, r *rand.Rand, n int) (worst float64, saved map[string]int) {
	t.Helper()
	saved = map[string]int{}
	context := lm.Context()
	if context == 0 {
		context = 64
	}
	for range n {
		if r.IntN(2) == 0 {
			rows := composedRows(lm, r, context)
			s := newScoring(lm)
			for i, row := range rows {
				modeltest.Must(t, s.add(i, row))
			}
			if found, _ := beginnings(lm, run.Share(s.intake.Questions)); len(found) > 1 {
				saved["beginnings"]++
			}
			answers := score(t, lm, rows...)
			for i, row := range rows {
				modeltest.Must(t, answers[i].Err)
				for k, c := range answers[i].Targets {
					want := distributions(t, lm, row.Query.PromptIDs, row.Query.TargetIDs[k], row.Patch)
					for p, id := range c.IDs {
						worst = max(worst, math.Abs(c.LogProbs[p]-want[p][id]))
					}
				}
			}
		} else {
			worst = max(worst, decodeTogether(t, lm, r, context, saved))
		}
	}
	return worst, saved
}

// composedRows are some questions on their own and, mostly, some behind common
// beginnings of different lengths.
func composedRows(lm *models.LM, r *rand.Rand, context int) []Row {
	patches := []*patch.Patch{nil, nil, modeltest.RandomPatch(lm, r, 0.3)}
	var rows []Row
	for range r.IntN(4) {
		rows = append(rows, Row{Query: modeltest.RandomQuery(lm, r, 1+r.IntN(context-8), 1+r.IntN(4)), Patch: patches[r.IntN(3)]})
	}
	for range r.IntN(4) {
		before, p := modeltest.RandomQuery(lm, r, leastBeginning+r.IntN(context-leastBeginning-16), 1).PromptIDs, patches[r.IntN(3)]
		for range leastShare + r.IntN(3) {
			q := modeltest.RandomQuery(lm, r, 1+r.IntN(8), 1+r.IntN(4))
			q.PromptIDs = slices.Concat(before, q.PromptIDs)
			rows = append(rows, Row{Query: q, Patch: p})
		}
	}
	r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	return rows
}

// decodeTogether continues prompts of random lengths by random tokens, in the runs
// of Generate, and compares the distributions behind each.
func decodeTogether(t *testing.T, lm *models.LM, r *rand.Rand, context int, saved map[string]int) (worst float64) {
	t.Helper()
	steps := 2 + r.IntN(6)
	edited := modeltest.RandomPatch(lm, r, 0.3)
	var b run.Batch
	for range 1 + r.IntN(5) {
		ids := modeltest.RandomQuery(lm, r, 1+r.IntN(context-steps-1), 1).PromptIDs
		q := &run.Question{Sequence: run.Sequence{Prompt: ids}}
		if r.IntN(3) == 0 {
			q.Patch = edited
		}
		b.Questions = append(b.Questions, q)
	}
	for _, part := range aligned(t.Context(), lm, b, steps) {
		d := &decoding{lm: lm, cached: lm.Anatomy().Step != nil, specs: map[arch.Role]graph.Spec{}, patches: map[arch.Role]map[string]*tensor.Tensor{}}
		questions := slices.Clone(part.Questions)
		for range steps {
			logits, err := d.next(t.Context(), questions)
			modeltest.Must(t, err)
			if d.past != nil && slices.Min(d.past.From) != slices.Max(d.past.From) {
				saved["uneven"]++
			}
			for i, q := range questions {
				got := logSoftmax(logits.Float32s()[i*lm.Info().Vocab : (i+1)*lm.Info().Vocab])
				want := distributions(t, lm, q.Prompt, []int64{0}, q.Patch)[0]
				worst = max(worst, modeltest.MaxDiff64(got, want))
				q.Prompt = append(q.Prompt, r.Int64N(int64(lm.Info().Vocab)))
			}
			if len(questions) > 1 && r.IntN(3) == 0 {
				leaves := r.IntN(len(questions))
				var keep []int
				for i := range questions {
					if i != leaves {
						keep = append(keep, i)
					}
				}
				d.keep(keep)
				questions = slices.Delete(questions, leaves, leaves+1)
			}
		}
	}
	return worst
}

// distributions are log-probabilities at a target's positions behind a prompt, of
// one sequence in an uncached run of its own.
func distributions(t *testing.T, lm *models.LM, prompt, target []int64, p *patch.Patch) [][]float64 {
	t.Helper()
	q := &run.Question{Sequence: run.Sequence{Prompt: prompt, Target: target}, Patch: p}
	one := run.New(lm, arch.Forward, []*run.Question{q}, p)
	for at := range target {
		one.Want(0, len(prompt)-1+at)
	}
	logits, err := one.Logits(t.Context())
	modeltest.Must(t, err)
	out := make([][]float64, len(target))
	for at := range target {
		out[at] = logSoftmax(logits.Float32s()[at*lm.Info().Vocab : (at+1)*lm.Info().Vocab])
	}
	return out
}

func logSoftmax(logits []float32) []float64 {
	top, sum := math.Inf(-1), 0.0
	for _, x := range logits {
		top = max(top, float64(x))
	}
	for _, x := range logits {
		sum += math.Exp(float64(x) - top)
	}
	out := make([]float64, len(logits))
	for i, x := range logits {
		out[i] = float64(x) - top - math.Log(sum)
	}
	return out
}

// TestState: state that does not grow is zero before the first position, so that
// scoring goes as without it, and generation does without the cache.
func TestState(t *testing.T) {
	env := orttest.Open(t)
	c := tinylm.Config{Family: tinylm.LLaMA, Cache: tinylm.OneFile}
	plain, dir := modeltest.Tiny(t, env, c, models.Options{Threads: 1}), modeltest.Folder(t, c)
	const width, taps = 32, 2
	modeltest.RewriteGraph(t, dir, "model.onnx", func(m *onnx.Model) {
		b := m.Builder()
		shape := []onnx.Dim{onnx.Symbolic("batch_size"), {Value: width}, {Value: taps}}
		state := b.Input("past_conv.0", onnx.Float, shape)
		b.Output(b.Op("Identity", []string{state}), "present_conv.0", onnx.Float, shape)
		modeltest.Must(t, m.Splice("logits", func(b *onnx.Builder, in string) (string, error) {
			kept := b.Op("Reshape", []string{state, b.Int64s(0, -1)})
			kept = b.Op("Unsqueeze", []string{b.Op("Gather", []string{kept, b.Int64s(0)}, onnx.AttrInt("axis", 1)), b.Int64s(1)})
			return b.Op("Add", []string{in, kept}), nil
		}))
	})
	lm := modeltest.Open(t, env, dir, models.Options{Threads: 1})
	r := rand.New(rand.NewPCG(9, 2))
	rows := behindBeginnings(lm, r, []*patch.Patch{nil, modeltest.RandomPatch(lm, r, 0.3)}, 20, 30)
	if d := modeltest.WorstLogProb(t, score(t, lm, rows...), score(t, plain, rows...)); d > modeltest.LogProbTolerance {
		t.Errorf("scores differ by %g", d)
	}
	o := ask.Sampling{MaxNew: 5}
	got, err := Generate(t.Context(), lm, rows[:6], o)
	modeltest.Must(t, err)
	want, err := Generate(t.Context(), plain, rows[:6], o)
	modeltest.Must(t, err)
	for i := range got {
		if !slices.Equal(got[i].TextIDs, want[i].TextIDs) {
			t.Errorf("row %d: %v, want %v", i, got[i].TextIDs, want[i].TextIDs)
		}
	}
	if len(lm.Info().Refusals) != 1 || !strings.Contains(lm.Info().Refusals[0], "past_conv.0") || !strings.Contains(lm.Info().Generation, "re-run") {
		t.Errorf("refusals %q, generation %q", lm.Info().Refusals, lm.Info().Generation)
	}
}

// TestCompositions: rows are answered together, in runs that share beginnings and
// keep keys and values, as each is alone and without a cache, whatever the form of
// attention.
func TestCompositions(t *testing.T) {
	env := orttest.Open(t)
	for name, c := range modeltest.AttentionForms {
		t.Run(name, func(t *testing.T) {
			lm := modeltest.Tiny(t, env, c, models.Options{Threads: 1})
			worst, saved := compositions(t, lm, rand.New(rand.NewPCG(9, 1)), compositionsOfEach)
			t.Logf("largest difference %.2g nats; savings %v; %s", worst, saved, lm.Info().Generation)
			if !(worst <= modeltest.LogProbTolerance) {
				t.Errorf("answers differ by %g nats", worst)
			}
			if lm.Anatomy().Step == nil || len(lm.Abandoned()) > 0 {
				t.Errorf("no cached graph, or given up: %q, %q", lm.Info().Refusals, lm.Abandoned())
			}
		})
	}
}
