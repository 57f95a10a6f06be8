package answer

import (
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/models/run"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

func score(t *testing.T, lm *models.LM, rows ...Row) []ask.Answer {
	t.Helper()
	a, err := Score(t.Context(), lm, rows)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestPaddingAndCompany: rows alone, together, in other order, and under a
// budget that forces small runs give the same answers; a patch of zeros is no
// patch to the bit.
func TestPaddingAndCompany(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{
		{Family: tinylm.GPT2, NoPositionIDs: true}, {Family: tinylm.GPTJ}, {Family: tinylm.LLaMA, KVHeads: 2}, {Family: tinylm.T5},
	} {
		t.Run(string(c.Family), func(t *testing.T) {
			dir := modeltest.Folder(t, c)
			lm := modeltest.Open(t, env, dir, models.Options{})
			small := modeltest.Open(t, env, dir, models.Options{MemoryBudget: 1})
			r := rand.New(rand.NewPCG(5, 5))
			edit, w := modeltest.RandomPatch(lm, r, 0.3), lm.Info().FFNs[0].Down
			null := &patch.Patch{Weights: []patch.Weight{{At: w.ID, U: tensor.New(tensor.F32, w.In, 2), V: tensor.New(tensor.F32, 2, w.Out)}}}
			var rows, zeros []Row
			var alone []ask.Answer
			for i := range 12 {
				row := Row{Query: modeltest.RandomQuery(lm, r, 1+r.IntN(40), 1+r.IntN(4))}
				if i%4 == 0 {
					row.Patch = edit
				}
				rows = append(rows, row)
				if row.Patch == nil {
					row.Patch = null
				}
				zeros = append(zeros, row)
				alone = append(alone, score(t, lm, rows[i])...)
			}
			together := score(t, lm, rows...)
			backwards := slices.Clone(rows)
			slices.Reverse(backwards)
			turned := score(t, lm, backwards...)
			slices.Reverse(turned)
			for name, other := range map[string][]ask.Answer{"alone": alone, "backwards": turned, "small runs": score(t, small, rows...)} {
				if d := modeltest.WorstLogProb(t, together, other); d > modeltest.LogProbTolerance {
					t.Errorf("together and %s differ by %g", name, d)
				}
			}
			if d := modeltest.WorstLogProb(t, together, score(t, lm, zeros...)); d != 0 {
				t.Errorf("no patch and a patch of zeros differ by %g", d)
			}
		})
	}
}

// TestScoreAgainstFullLogits compares the statistics with the logits of an
// uninstrumented run of the file.
func TestScoreAgainstFullLogits(t *testing.T) {
	env := orttest.Open(t)
	dir := modeltest.Folder(t, tinylm.Config{Family: tinylm.GPT2})
	lm := modeltest.Open(t, env, dir, models.Options{})
	prompt, target := []int64{5, 9, 2, 40}, []int64{7, 100, 3}
	a := score(t, lm, Row{Query: ask.Query{PromptIDs: prompt, TargetIDs: [][]int64{target}}})[0]
	if a.Err != nil {
		t.Fatal(a.Err)
	}
	raw := modeltest.RawLogits(t, env, filepath.Join(dir, "model.onnx"), slices.Concat(prompt, target))
	vocab := lm.Info().Vocab
	for i, id := range target {
		row := raw[(len(prompt)+i-1)*vocab : (len(prompt)+i)*vocab]
		best, sum, rank := 0, 0.0, int32(0)
		for k, x := range row {
			sum += math.Exp(float64(x))
			if x > row[best] {
				best = k
			}
			if x > row[id] {
				rank++
			}
		}
		c := a.Targets[0]
		if c.Argmax[i] != int64(best) || math.Abs(c.LogProbs[i]-(float64(row[id])-math.Log(sum))) > modeltest.LogProbTolerance {
			t.Errorf("position %d: argmax %d, log-probability %g", i, c.Argmax[i], c.LogProbs[i])
		}
		if i == 0 && c.FirstRank != rank {
			t.Errorf("rank %d, want %d", c.FirstRank, rank)
		}
	}
	if a.PromptTokens != len(prompt) || !slices.Equal(a.Targets[0].IDs, target) {
		t.Errorf("%d prompt tokens, target %v", a.PromptTokens, a.Targets[0].IDs)
	}
}

func TestKLAgainstBase(t *testing.T) {
	env := orttest.Open(t)
	dir := modeltest.Folder(t, tinylm.Config{Family: tinylm.LLaMA})
	lm := modeltest.Open(t, env, dir, models.Options{})
	tight := modeltest.Open(t, env, dir, models.Options{MemoryBudget: 1}) // every row a set of its own
	r := rand.New(rand.NewPCG(6, 6))
	p := modeltest.RandomPatch(lm, r, 0.3)
	q := modeltest.RandomQuery(lm, r, 6, 2)
	context := q
	context.PromptIDs = append([]int64{11, 12, 13}, q.PromptIDs...)
	dense, err := p.Merge()
	modeltest.Must(t, err)
	other := q
	other.TargetIDs = [][]int64{{1}}
	rows := []Row{
		{Query: q, Patch: p, Versus: &q},       // edited against unedited
		{Query: q, Versus: &q},                 // against itself
		{Query: context, Patch: p, Versus: &q}, // another prompt, same target
		{Query: q, Patch: dense, Versus: &q},   // a run of its own
		{Query: q, Patch: p},                   // not asked
		{Query: q, Patch: p, Versus: &other},   // targets differ: nothing to compare
	}
	got := score(t, lm, rows...)
	want := func(p *patch.Patch, query ask.Query) float64 {
		dist := func(p *patch.Patch, query ask.Query) (out []float64) {
			// Scoring every word as the target gives the distribution.
			var rows []Row
			gold := q.TargetIDs[0]
			for at := range gold {
				for id := range lm.Info().Vocab {
					rows = append(rows, Row{Patch: p, Query: ask.Query{PromptIDs: slices.Concat(query.PromptIDs, gold[:at]), TargetIDs: [][]int64{{int64(id)}}}})
				}
			}
			for _, a := range score(t, lm, rows...) {
				out = append(out, a.Targets[0].LogProbs[0])
			}
			return out
		}
		a, b := dist(nil, q), dist(p, query)
		var sum float64
		for i := range a {
			sum += math.Exp(a[i]) * (a[i] - b[i])
		}
		return sum / float64(len(q.TargetIDs[0]))
	}
	for i, w := range []float64{want(p, q), 0, want(p, context), want(p, q)} {
		if got[i].KL == nil {
			t.Fatalf("row %d has no KL", i)
		}
		if d := math.Abs(*got[i].KL - w); d > modeltest.LogProbTolerance {
			t.Errorf("row %d: KL %g, want %g", i, *got[i].KL, w)
		}
	}
	if *got[0].KL < 1e-3 || *got[1].KL != 0 {
		t.Errorf("KL of the edited model %g, of the unedited %g", *got[0].KL, *got[1].KL)
	}
	if got[4].KL != nil || got[5].KL != nil {
		t.Error("KL where it was not asked for or cannot be had")
	}
	for i, a := range score(t, tight, rows...) {
		if (a.KL == nil) != (got[i].KL == nil) || a.KL != nil && math.Abs(*a.KL-*got[i].KL) > modeltest.LogProbTolerance {
			t.Errorf("row %d: KL depends on the memory budget", i)
		}
	}
}

// TestOneBadRow: rows that cannot be answered say why and harm nobody.
func TestOneBadRow(t *testing.T) {
	env := orttest.Open(t)
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, models.Options{})
	ok := ask.Query{Prompt: "The capital of the", Targets: []string{"town"}}
	w := lm.Info().FFNs[0].Down
	r := rand.New(rand.NewPCG(7, 7))
	nan := tensor.New(tensor.F32, w.In, 1)
	nan.Float32s()[0] = float32(math.NaN())
	with := func(c patch.Weight) *patch.Patch { return &patch.Patch{Weights: []patch.Weight{c}} }
	long := strings.Repeat(" the", lm.Context())
	for _, c := range []struct {
		name string
		row  Row
		is   error
	}{
		{"too long", Row{Query: ask.Query{Prompt: long, Targets: []string{"x"}}}, ask.ErrTooLong},
		{"too long with the target", Row{Query: ask.Query{Prompt: "the", Targets: []string{"x", long}}}, ask.ErrTooLong},
		{"no prompt", Row{Query: ask.Query{Targets: []string{"x"}}}, ask.ErrNoPrompt},
		{"no target", Row{Query: ask.Query{Prompt: "the"}}, ask.ErrNoTarget},
		{"empty target", Row{Query: ask.Query{Prompt: "the", Targets: []string{""}}}, ask.ErrNoTarget},
		{"unknown id", Row{Query: ask.Query{PromptIDs: []int64{1, 99999}, Targets: []string{"x"}}}, run.ErrVocabulary},
		{"negative target id", Row{Query: ask.Query{PromptIDs: []int64{1}, TargetIDs: [][]int64{{-1}}}}, run.ErrVocabulary},
		{"NaN in a patch", Row{Query: ok, Patch: with(patch.Weight{At: w.ID, U: nan, V: modeltest.Randn(r, 1, 1, w.Out)})}, ask.ErrNotFinite},
		{"no such layer", Row{Query: ok, Patch: with(patch.Weight{At: modeltest.Down(9), U: modeltest.Randn(r, 1, w.In, 1), V: modeltest.Randn(r, 1, 1, w.Out)})}, arch.ErrNotEditable},
		{"no such part", Row{Query: ok, Patch: with(patch.Weight{At: arch.WeightID{Part: arch.FFNGate}, U: modeltest.Randn(r, 1, w.In, 1), V: modeltest.Randn(r, 1, 1, w.Out)})}, arch.ErrNotEditable},
		{"bad comparison", Row{Query: ok, Versus: &ask.Query{Prompt: long, Targets: ok.Targets}}, ask.ErrTooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := score(t, lm, Row{Query: ok}, c.row, Row{Query: ok})
			if !errors.Is(a[1].Err, c.is) || len(a[1].Targets) != 0 {
				t.Errorf("error %v, want %v", a[1].Err, c.is)
			}
			if a[0].Err != nil || a[2].Err != nil || len(a[0].Targets) != 1 {
				t.Errorf("the others: %v, %v", a[0].Err, a[2].Err)
			}
		})
	}
	var misfit *patch.MisfitError
	a := score(t, lm, Row{Query: ok, Patch: with(patch.Weight{At: w.ID, U: modeltest.Randn(r, 1, w.In+1, 1), V: modeltest.Randn(r, 1, 1, w.Out)})}, Row{Query: ok})
	if !errors.As(a[0].Err, &misfit) || a[1].Err != nil {
		t.Errorf("wrong shape: %v", a[0].Err)
	}
	g, err := Generate(t.Context(), lm, []Row{{Query: ask.Query{Prompt: long}}, {Query: ok}}, ask.Sampling{MaxNew: 2})
	modeltest.Must(t, err)
	if !errors.Is(g[0].Err, ask.ErrTooLong) || g[1].Err != nil {
		t.Errorf("generating: %v, %v", g[0].Err, g[1].Err)
	}
	if _, err := Generate(t.Context(), lm, nil, ask.Sampling{}); err == nil {
		t.Error("MaxNew of 0 was accepted")
	}
	if a := score(t, lm); len(a) != 0 {
		t.Error("answers to no questions")
	}
}

func TestDuplicatesAreComputedOnce(t *testing.T) {
	env := orttest.Open(t)
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, models.Options{})
	r := rand.New(rand.NewPCG(8, 8))
	q, p := modeltest.RandomQuery(lm, r, 5, 2), modeltest.RandomPatch(lm, r, 0.3)
	s := newScoring(lm)
	for i, row := range []Row{{Query: q}, {Query: q}, {Query: q, Patch: &patch.Patch{}}, {Query: q, Patch: p}, {Query: q, Patch: p, Versus: &q}} {
		modeltest.Must(t, s.add(i, row))
	}
	if want := 2 * run.Targets(q); len(s.intake.Questions) != want {
		t.Errorf("%d sequences, want %d: each target unedited and edited", len(s.intake.Questions), want)
	}
}

func TestRoutesStandOutermostLast(t *testing.T) {
	env := orttest.Open(t)
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, models.Options{})
	var log []string
	r := rand.New(rand.NewPCG(9, 9))
	p := modeltest.RandomPatch(lm, r, 0.3)
	routed := (&patch.Patch{Routes: []patch.Route{modeltest.Suffix{Text: " a", Log: &log}}}).Then(p).Then(&patch.Patch{Routes: []patch.Route{modeltest.Suffix{Text: " b", Log: &log}}})
	q := func(prompt string) ask.Query { return ask.Query{Prompt: prompt, Targets: []string{"c"}} }
	got := score(t, lm, Row{Query: q("the"), Patch: routed}, Row{Query: q("the")}, Row{Query: q("an"), Patch: routed})
	want := score(t, lm, Row{Query: q("the b a"), Patch: p}, Row{Query: q("the")}, Row{Query: q("an b a"), Patch: p})
	if d := modeltest.WorstLogProb(t, got, want); d > modeltest.LogProbTolerance {
		t.Errorf("routed answers differ by %g", d)
	}
	if !slices.Equal(log, []string{" b", " a"}) {
		t.Errorf("routes were asked as %q; each once for all its rows, the last one first", log)
	}
	g, err := Generate(t.Context(), lm, []Row{{Query: q("the"), Patch: routed}, {Query: q("the b a"), Patch: p}}, ask.Sampling{MaxNew: 3})
	modeltest.Must(t, err)
	if !slices.Equal(g[0].TextIDs, g[1].TextIDs) {
		t.Errorf("routed generation %v, want %v", g[0].TextIDs, g[1].TextIDs)
	}
}

// TestStopTexts hands a decoding the tokens of a text one by one.
func TestStopTexts(t *testing.T) {
	env := orttest.Open(t)
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, models.Options{})
	eos := lm.EOS()[0]
	ids := func(text string) []int64 {
		e, err := lm.Tokenizer().Encode(text)
		modeltest.Must(t, err)
		return e.IDs
	}
	for _, c := range []struct {
		name string
		say  []int64
		o    ask.Sampling
		text string
		by   string
	}{
		{"length", ids(" of the town is"), ask.Sampling{MaxNew: 2}, " of the", "length"},
		{"end of text", append(ids(" of the"), eos), ask.Sampling{MaxNew: 9}, " of the", "eos"},
		{"end of text at once", []int64{eos}, ask.Sampling{MaxNew: 9}, "", "eos"},
		{"newline", ids(" of the\n town"), ask.Sampling{MaxNew: 99, Stop: []string{"\n"}}, " of the", "newline"},
		{"within a token", ids(" of the"), ask.Sampling{MaxNew: 99, Stop: []string{"he"}}, " of t", "stop"},
		{"across tokens", ids(" of town. It"), ask.Sampling{MaxNew: 99, Stop: []string{"n. I"}}, " of tow", "stop"},
		{"the earliest of two", ids(" of the town"), ask.Sampling{MaxNew: 99, Stop: []string{"own", "the"}}, " of ", "stop"},
		{"at the very start", ids("the"), ask.Sampling{MaxNew: 99, Stop: []string{"t"}}, "", "stop"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := &continuation{question: &run.Question{Sequence: run.Sequence{Prompt: []int64{5}}}, prompt: 1}
			more := true
			for _, id := range c.say {
				if !more {
					break
				}
				logits := make([]float32, lm.Info().Vocab)
				logits[id] = 1
				var err error
				more, err = advance(lm, k, logits, c.o)
				modeltest.Must(t, err)
			}
			if more || k.text != c.text || k.stopped != c.by {
				t.Errorf("%q by %q (going on: %v), want %q by %q", k.text, k.stopped, more, c.text, c.by)
			}
			text, err := lm.Tokenizer().Decode(k.ids, true)
			modeltest.Must(t, err)
			if !strings.HasPrefix(text, c.text) {
				t.Errorf("tokens say %q, text is %q", text, c.text)
			}
			if n := len(k.ids); n > 0 {
				if text, err = lm.Tokenizer().Decode(k.ids[:n-1], true); err != nil || len(text) >= len(c.text) {
					t.Errorf("a token more than the text needs: %q without it (%v)", text, err)
				}
			}
		})
	}
}

// TestShares: targets that one run can answer are answered as they are alone.
func TestShares(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{{Family: tinylm.GPT2}, {Family: tinylm.T5}} {
		lm := modeltest.Tiny(t, env, c, models.Options{})
		r := rand.New(rand.NewPCG(12, 12))
		prompt := modeltest.RandomQuery(lm, r, 6, 1).PromptIDs
		q := ask.Query{PromptIDs: prompt, TargetIDs: [][]int64{{7, 8, 9}, {7, 9}, {7}, {3}, {7, 8, 9, 10}, {8, 8}}}
		shorter := ask.Query{PromptIDs: prompt[:4], TargetIDs: [][]int64{{prompt[4]}, {prompt[4], 11}}}
		edited := modeltest.RandomPatch(lm, r, 0.3)
		rows := []Row{{Query: q}, {Query: shorter}, {Query: q, Patch: edited, Versus: &q}, {Query: shorter, Patch: edited}}
		got := score(t, lm, rows...)
		for i, row := range rows {
			for k, target := range row.Query.TargetIDs {
				one := row
				one.Query.TargetIDs = [][]int64{target}
				alone := score(t, lm, one)[0].Targets[0]
				with := got[i].Targets[k]
				if !slices.Equal(with.IDs, target) || !slices.Equal(with.Argmax, alone.Argmax) || with.FirstRank != alone.FirstRank || modeltest.MaxDiff64(with.LogProbs, alone.LogProbs) > modeltest.LogProbTolerance {
					t.Errorf("%s row %d target %v: %+v, alone %+v", c.Family, i, target, with, alone)
				}
			}
		}
	}
	questions := func(ids ...[]int64) (list []*run.Question) {
		for _, v := range ids {
			list = append(list, &run.Question{Sequence: run.Sequence{Prompt: v[:1], Target: v[1:]}})
		}
		return list
	}
	// Only [1 2 4] and [1 2 3 4] are run: what is fed lacks the last token.
	list := questions([]int64{1, 2, 9}, []int64{1, 2, 4, 9}, []int64{1, 9}, []int64{1, 2, 3, 9}, []int64{1, 2, 3, 4, 9}, []int64{1, 2, 3, 8})
	left := run.Share(list)
	if len(left) != 2 || left[0] != list[1] || left[1] != list[4] || len(left[0].Shares)+len(left[1].Shares) != 4 {
		t.Errorf("%d left", len(left))
	}
	for _, h := range left {
		for _, q := range h.Shares {
			if !slices.Equal(q.Tokens(), h.Tokens()[:q.Fed()]) {
				t.Errorf("%v shares the run of %v", q.Tokens(), h.Tokens())
			}
		}
	}
}
