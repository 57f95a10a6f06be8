package loss

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/answer"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/models/run"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

const (
	// Central differences of float32 losses of order 1: the rounding of the loss,
	// 1e-7, over a step of 1e-2, and the third derivative times the step's square.
	differenceStep      = 1e-2
	differenceTolerance = 2e-3
)

// lossRows are rows of every kind of term, plain and patched, of different
// lengths; the reference comes from the model itself.
func lossRows(t *testing.T, lm *models.LM, r *rand.Rand, at ...arch.Site) []Row {
	t.Helper()
	edited := modeltest.RandomPatch(lm, r, 0.3)
	width := 0
	for _, s := range at {
		width += lm.Info().FFN(s.Side, s.Layer).Width(s.Point)
	}
	var rows []Row
	for i := range 5 {
		n := 4 + 3*i
		ids := modeltest.RandomQuery(lm, r, n, 1).PromptIDs
		row := Row{IDs: ids, At: i % n, Shift: modeltest.Randn(r, 0.5, width).Float32s()}
		if i%2 == 1 {
			row.Patch = edited
		}
		base := Row{IDs: ids, Terms: []Term{{Position: n - 1}}, Distributions: true}
		got, err := At(t.Context(), lm, at, []Row{base})
		modeltest.Must(t, err)
		modeltest.Must(t, got[0].Err)
		row.Terms = []Term{
			{Position: n - 2, Target: ids[n-1], NLL: 0.5},
			{Position: n - 1, Target: 3, Prob: 2},
			{Position: n - 1, Target: 5, KL: 0.7, Reference: got[0].Distributions.Float32s()},
			{Position: n - 1, Reverse: 0.3, NLL: 0.1, Reference: got[0].Distributions.Float32s()},
		}
		rows = append(rows, row)
	}
	rows[1].At, rows[2].At = len(rows[1].IDs)-1, 0
	return rows
}

// TestLossGradients compares gradients with central differences along random
// directions, for every architecture, in the company of other rows, at one site
// and at two.
func TestLossGradients(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{
		{Family: tinylm.GPT2}, {Family: tinylm.GPT2, Cache: tinylm.WithPast}, {Family: tinylm.GPTJ}, {Family: tinylm.LLaMA}, {Family: tinylm.LLaMA, NamedWeights: true, NoScopes: true},
	} {
		t.Run(fmt.Sprintf("%s %s %v", c.Family, c.Cache, c.NoScopes), func(t *testing.T) {
			lm := modeltest.Tiny(t, env, c, models.Options{Threads: 1})
			for _, at := range [][]arch.Site{
				{{Layer: 0, Point: arch.FFNOut}}, {{Layer: 0, Point: arch.Hidden}}, {{Layer: 0, Point: arch.FFNOut}, {Layer: 0, Point: arch.AttnOut}},
			} {
				r := rand.New(rand.NewPCG(4, 4))
				rows := lossRows(t, lm, r, at...)
				got, err := At(t.Context(), lm, at, rows)
				modeltest.Must(t, err)
				for i, row := range rows {
					modeltest.Must(t, got[i].Err)
					direction := modeltest.Randn(r, 1, len(row.Shift)).Float32s()
					norm := 0.0
					for _, x := range direction {
						norm += float64(x) * float64(x)
					}
					var want, slope float64
					for k, x := range direction {
						direction[k] = float32(float64(x) / math.Sqrt(norm))
						slope += float64(direction[k]) * float64(got[i].Gradient[k])
					}
					for _, sign := range []float64{1, -1} {
						moved := row
						moved.Shift = slices.Clone(row.Shift)
						for k, x := range direction {
							moved.Shift[k] += float32(sign * differenceStep * float64(x))
						}
						l, err := At(t.Context(), lm, at, []Row{moved})
						modeltest.Must(t, err)
						want += sign * l[0].Loss / (2 * differenceStep)
					}
					if math.Abs(slope-want) > differenceTolerance || slope == 0 {
						t.Errorf("%v row %d: slope %g, by differences %g", at, i, slope, want)
					}
				}
			}
		})
	}
}

// TestTwoSites: where one of two sites is not shifted, the other gives the loss
// and the gradient that it gives alone.
func TestTwoSites(t *testing.T) {
	lm := modeltest.Tiny(t, orttest.Open(t), tinylm.Config{Family: tinylm.GPT2}, models.Options{Threads: 1})
	r := rand.New(rand.NewPCG(9, 9))
	out, attention := arch.Site{Layer: 0, Point: arch.FFNOut}, arch.Site{Layer: 0, Point: arch.AttnOut}
	rows, width := lossRows(t, lm, r, out), lm.Info().Width
	for k, one := range []arch.Site{out, attention} {
		alone, err := At(t.Context(), lm, []arch.Site{one}, rows)
		modeltest.Must(t, err)
		wide := slices.Clone(rows)
		for i := range wide {
			both := [2][]float32{make([]float32, width), make([]float32, width)}
			both[k] = rows[i].Shift
			wide[i].Shift = slices.Concat(both[0], both[1])
			wide[i].Everywhere = i == 0
		}
		together, err := At(t.Context(), lm, []arch.Site{out, attention}, wide)
		modeltest.Must(t, err)
		for i, l := range together {
			modeltest.Must(t, l.Err)
			if i == 0 { // a row of both for every position
				if len(l.Gradient) != 2*width*len(rows[0].IDs) {
					t.Errorf("%d elements of gradient for %d positions", len(l.Gradient), len(rows[0].IDs))
				}
				continue
			}
			if d := modeltest.MaxDiff(l.Gradient[k*width:(k+1)*width], alone[i].Gradient); d > modeltest.LogProbTolerance || math.Abs(l.Loss-alone[i].Loss) > modeltest.LogProbTolerance {
				t.Errorf("%s row %d: loss %g, alone %g; gradients differ by %g", one, i, l.Loss, alone[i].Loss, d)
			}
		}
	}
	for _, at := range [][]arch.Site{nil, {out, out}, {out, attention, out}} {
		if _, err := At(t.Context(), lm, at, rows); !errors.Is(err, arch.ErrSite) {
			t.Errorf("%v: %v", at, err)
		}
	}
}

// TestBest: the most probable token's log-probability is the largest of the
// distribution.
func TestBest(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{{Family: tinylm.GPT2}, {Family: tinylm.LLaMA}} {
		lm := modeltest.Tiny(t, env, c, models.Options{Threads: 1})
		at := arch.Site{Layer: 0, Point: arch.FFNOut}
		rows := lossRows(t, lm, rand.New(rand.NewPCG(4, 4)), at)
		for i := range rows {
			rows[i].Distributions = true
		}
		got, err := At(t.Context(), lm, []arch.Site{at}, rows)
		modeltest.Must(t, err)
		for i, l := range got {
			modeltest.Must(t, l.Err)
			for k, best := range l.Best {
				if want := slices.Max(l.Distributions.Float32s()[k*lm.Info().Vocab : (k+1)*lm.Info().Vocab]); best != float64(want) {
					t.Errorf("%s row %d, term %d: %g, want %g", c.Family, i, k, best, want)
				}
			}
		}
	}
}

// TestLossesAgreeWithScore: without a shift log-probabilities are those of
// Score, also through a patch; a row in company is the row alone; zeros are no
// shift.
func TestLossesAgreeWithScore(t *testing.T) {
	env := orttest.Open(t)
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, models.Options{Threads: 1})
	r := rand.New(rand.NewPCG(5, 5))
	at := arch.Site{Layer: 1, Point: arch.FFNOut}
	for _, edited := range []*patch.Patch{nil, modeltest.RandomPatch(lm, r, 0.3)} {
		q := modeltest.RandomQuery(lm, r, 7, 2)
		target := q.TargetIDs[0]
		row := Row{IDs: slices.Concat(q.PromptIDs, target[:len(target)-1]), Patch: edited}
		for i, id := range target {
			row.Terms = append(row.Terms, Term{Position: 6 + i, Target: id, NLL: 1})
		}
		got, err := At(t.Context(), lm, []arch.Site{at}, []Row{row})
		modeltest.Must(t, err)
		want := score(t, lm, answer.Row{Query: q, Patch: edited})[0].Targets[0].LogProbs
		if d := modeltest.MaxDiff64(got[0].LogProbs, want); d > modeltest.LogProbTolerance {
			t.Errorf("log-probabilities differ from those of Score by %g", d)
		}
		sum := 0.0
		for _, l := range want {
			sum -= l
		}
		if math.Abs(got[0].Loss-sum) > modeltest.LogProbTolerance {
			t.Errorf("loss %g, want %g", got[0].Loss, sum)
		}
	}
	rows := lossRows(t, lm, r, at)
	together, err := At(t.Context(), lm, []arch.Site{at}, rows)
	modeltest.Must(t, err)
	for i, row := range rows {
		alone, err := At(t.Context(), lm, []arch.Site{at}, []Row{row})
		modeltest.Must(t, err)
		if d := modeltest.MaxDiff(alone[0].Gradient, together[i].Gradient); d > modeltest.LogProbTolerance || math.Abs(alone[0].Loss-together[i].Loss) > modeltest.LogProbTolerance {
			t.Errorf("row %d: gradient differs by %g in company", i, d)
		}
	}
	tight := modeltest.Open(t, env, lm.Info().Dir, models.Options{Threads: 1, MemoryBudget: 1}) // every row by itself
	split, err := At(t.Context(), tight, []arch.Site{at}, rows)
	modeltest.Must(t, err)
	for i := range rows {
		if d := modeltest.MaxDiff(split[i].Gradient, together[i].Gradient); d > modeltest.LogProbTolerance {
			t.Errorf("row %d: gradient differs by %g in a smaller run", i, d)
		}
	}
}

func TestLossErrors(t *testing.T) {
	env := orttest.Open(t)
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, models.Options{Threads: 1})
	at := arch.Site{Layer: 1, Point: arch.FFNOut}
	good := Row{IDs: []int64{1, 2, 3}, Terms: []Term{{Position: 2, Target: 1, NLL: 1}}}
	bad := func(change func(*Row)) Row {
		r := good
		r.Terms = slices.Clone(good.Terms)
		change(&r)
		return r
	}
	rows := []Row{
		good,
		bad(func(r *Row) { r.IDs = nil }),
		bad(func(r *Row) { r.Terms = nil }),
		bad(func(r *Row) { r.At = 3 }),
		bad(func(r *Row) { r.Shift = []float32{1} }),
		bad(func(r *Row) { r.Terms[0].Position = 3 }),
		bad(func(r *Row) { r.Terms[0].KL = 1 }),
		bad(func(r *Row) { r.Terms[0].Target = -1 }),
		bad(func(r *Row) { r.IDs = make([]int64, 100) }),
		bad(func(r *Row) { r.IDs = []int64{1 << 40} }),
	}
	want := map[int]error{3: arch.ErrSite, 7: run.ErrVocabulary, 8: ask.ErrTooLong, 9: run.ErrVocabulary}
	got, err := At(t.Context(), lm, []arch.Site{at}, rows)
	modeltest.Must(t, err)
	for i, l := range got {
		if (l.Err != nil) != (i > 0) || want[i] != nil && !errors.Is(l.Err, want[i]) {
			t.Errorf("row %d: %v", i, l.Err)
		}
	}
	if _, err := At(t.Context(), lm, []arch.Site{arch.Site{Layer: 9}}, rows); !errors.Is(err, arch.ErrSite) {
		t.Errorf("no such layer: %v", err)
	}
	for _, c := range []tinylm.Config{{Family: tinylm.T5}, {Family: tinylm.GPT2, Float16: true}} {
		other := modeltest.Tiny(t, env, c, models.Options{Threads: 1})
		if _, err := At(t.Context(), other, []arch.Site{at}, rows); !errors.Is(err, arch.ErrNoGradient) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, _, err := run.Continuation(lm, "Ada works as a", ""); !errors.Is(err, ask.ErrNoTarget) {
		t.Errorf("a target without tokens: %v", err)
	}
	before, behind, err := run.Continuation(lm, "Ada works as a", "pilot")
	modeltest.Must(t, err)
	joined := score(t, lm, answer.Row{Query: ask.Query{Prompt: "Ada works as a", Targets: []string{"pilot"}}})[0]
	if !slices.Equal(behind, joined.Targets[0].IDs) || len(before) != joined.PromptTokens {
		t.Errorf("continuation %v behind %v, Score took %v", behind, before, joined.Targets[0].IDs)
	}
}

// TestShiftEverywhere: a shift at every position has the slope that differences
// give, and a row of gradient for each position, the one that a single shift has.
func TestShiftEverywhere(t *testing.T) {
	env := orttest.Open(t)
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, models.Options{Threads: 1})
	r := rand.New(rand.NewPCG(8, 8))
	at := arch.Site{Layer: 0, Point: arch.FFNOut}
	single := lossRows(t, lm, r, at)
	width := lm.Info().Width
	direction := modeltest.Randn(r, float32(1/math.Sqrt(float64(width))), width).Float32s()
	var spread, up, down []Row
	for i := range single {
		single[i].Shift = nil
		row := single[i]
		row.Everywhere = true
		spread = append(spread, row)
		for _, moved := range []struct {
			rows *[]Row
			by   float32
		}{{&up, differenceStep}, {&down, -differenceStep}} {
			row.Shift = make([]float32, width)
			for k, x := range direction {
				row.Shift[k] = moved.by * x
			}
			*moved.rows = append(*moved.rows, row)
		}
	}
	score := func(rows []Row) []Loss {
		t.Helper()
		got, err := At(t.Context(), lm, []arch.Site{at}, rows)
		modeltest.Must(t, err)
		for _, l := range got {
			modeltest.Must(t, l.Err)
		}
		return got
	}
	// Rows of both forms, of different lengths, in one run.
	together := score(append(slices.Clone(spread), single...))
	high, low := score(up), score(down)
	for i, row := range spread {
		all, one := together[i].Gradient, together[len(spread)+i].Gradient
		if len(all) != len(row.IDs)*width || len(one) != width {
			t.Fatalf("row %d: %d and %d elements", i, len(all), len(one))
		}
		if d := modeltest.MaxDiff(all[row.At*width:(row.At+1)*width], one); d > modeltest.LogProbTolerance {
			t.Errorf("row %d: position %d differs from a shift there by %g", i, row.At, d)
		}
		slope := 0.0
		for k, x := range all {
			slope += float64(x) * float64(direction[k%width])
		}
		if want := (high[i].Loss - low[i].Loss) / (2 * differenceStep); math.Abs(slope-want) > differenceTolerance || slope == 0 {
			t.Errorf("row %d: slope %g, by differences %g", i, slope, want)
		}
	}
}

// TestShiftEach: a shift for every position gives the losses and slopes that the
// same change of the down-projection's output gives as a patch.
func TestShiftEach(t *testing.T) {
	env := orttest.Open(t)
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, models.Options{Threads: 1})
	r := rand.New(rand.NewPCG(8, 9))
	at, w := arch.Site{Layer: 1, Point: arch.FFNOut}, lm.Info().FFNs[1].Down
	delta := modeltest.Randn(r, 0.1, w.In, w.Out)
	edited := &patch.Patch{Weights: []patch.Weight{{At: w.ID, Delta: delta}}}
	rows := lossRows(t, lm, r, at)
	var patched []Row
	for i := range rows {
		rows[i].Shift, rows[i].Patch, rows[i].Everywhere = nil, nil, true
		changed := rows[i]
		changed.Patch = edited
		patched = append(patched, changed)
		positions := make([]int, len(rows[i].IDs))
		for p := range positions {
			positions[p] = p
		}
		got, err := activation.Trace(t.Context(), lm, []activation.Row{{Query: ask.Query{PromptIDs: rows[i].IDs}, Positions: positions}}, arch.Site{Layer: 1, Point: arch.FFNAct})
		modeltest.Must(t, err)
		modeltest.Must(t, got[0].Err)
		add, err := tensor.MatMul(tensor.FromFloat32s(got[0].Values[0].Float32s(), len(positions), w.In), delta)
		modeltest.Must(t, err)
		rows[i].Shift = add.Float32s()
	}
	want, err := At(t.Context(), lm, []arch.Site{at}, patched)
	modeltest.Must(t, err)
	// Rows of one shift and of one for each position, of different lengths, in one run.
	one := rows[0]
	one.Shift = make([]float32, w.Out)
	got, err := At(t.Context(), lm, []arch.Site{at}, append(slices.Clone(rows), one))
	modeltest.Must(t, err)
	for i := range rows {
		modeltest.Must(t, got[i].Err)
		if d := math.Abs(got[i].Loss - want[i].Loss); d > modeltest.LogProbTolerance {
			t.Errorf("row %d: losses differ by %g", i, d)
		}
		if d := modeltest.MaxDiff(got[i].Gradient, want[i].Gradient); d > modeltest.LogProbTolerance {
			t.Errorf("row %d: slopes differ by %g", i, d)
		}
	}
	if modeltest.Must(t, got[len(rows)].Err); math.Abs(got[len(rows)].Loss-got[0].Loss) < modeltest.LogProbTolerance {
		t.Error("the shifts move no loss")
	}
	rows[0].Everywhere = false
	if got, err := At(t.Context(), lm, []arch.Site{at}, rows[:1]); err != nil || got[0].Err == nil {
		t.Errorf("a shift for each position of a row that is shifted at one: %v", err)
	}
}

// TestBiasIsShift: in a loss a changed bias is a shift at every position behind
// the projection, and leaves the room for a further one.
func TestBiasIsShift(t *testing.T) {
	lm := modeltest.Tiny(t, orttest.Open(t), tinylm.Config{Family: tinylm.GPT2}, models.Options{Threads: 1})
	r := rand.New(rand.NewPCG(3, 9))
	at := arch.Site{Layer: 0, Point: arch.FFNOut}
	rows := lossRows(t, lm, r, at)
	shift := modeltest.Randn(r, 0.5, lm.Info().Width)
	moved, patched := slices.Clone(rows), slices.Clone(rows)
	for i := range rows {
		moved[i].Everywhere, moved[i].Shift = true, shift.Float32s()
		patched[i].Everywhere, patched[i].Shift = true, nil
		patched[i].Patch = rows[i].Patch.Then(&patch.Patch{Weights: []patch.Weight{{At: modeltest.Down(0), Bias: true, Delta: shift}}})
	}
	want, err := At(t.Context(), lm, []arch.Site{at}, moved)
	modeltest.Must(t, err)
	got, err := At(t.Context(), lm, []arch.Site{at}, patched)
	modeltest.Must(t, err)
	for i := range got {
		modeltest.Must(t, got[i].Err)
		if d := modeltest.MaxDiff(got[i].Gradient, want[i].Gradient); d > modeltest.LogProbTolerance || math.Abs(got[i].Loss-want[i].Loss) > modeltest.LogProbTolerance {
			t.Errorf("row %d: loss %g, want %g; gradients differ by %g", i, got[i].Loss, want[i].Loss, d)
		}
	}
}

// score asks rows; the runtime must not fail.
func score(t *testing.T, lm *models.LM, rows ...answer.Row) []ask.Answer {
	t.Helper()
	answers, err := answer.Score(t.Context(), lm, rows)
	modeltest.Must(t, err)
	return answers
}
