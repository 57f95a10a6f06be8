package models

import (
	"context"
	"editpipe/models/arch"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"editpipe/ask"
	"editpipe/internal/tinylm"
	"editpipe/onnx"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

func score(t *testing.T, lm *LM, rows ...Row) []ask.Answer {
	t.Helper()
	a, err := lm.Score(t.Context(), rows)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// bake writes a model folder whose weight really is W + Delta.
func bake(t *testing.T, dir string, lm *LM, p *Patch) string {
	t.Helper()
	out := t.TempDir()
	must(t, os.CopyFS(out, os.DirFS(dir)))
	m, err := onnx.Open(filepath.Join(dir, "model.onnx"))
	must(t, err)
	defer m.Close()
	for _, at := range p.weights() {
		w := lm.info.Weight(at)
		value, err := lm.Weight(at)
		must(t, err)
		d, err := p.sum(at, false)
		must(t, err)
		for i, x := range d.Float32s() {
			value.Float32s()[i] += x
		}
		if w.Transposed {
			value, err = value.Transpose2D()
			must(t, err)
		}
		for i, init := range m.Graph.Initializers {
			if init.Name == w.Initializer {
				m.Graph.Initializers[i] = onnx.NewTensor(init.Name, value)
			}
		}
	}
	must(t, m.Save(filepath.Join(out, "model.onnx"), onnx.SaveOptions{}))
	return out
}

// TestPatchEqualsChangedFile compares patches with a model whose file holds the
// changed weights, in every stored orientation.
func TestPatchEqualsChangedFile(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{
		{Family: tinylm.GPT2}, {Family: tinylm.GPTJ}, {Family: tinylm.LLaMA}, {Family: tinylm.LLaMA, NamedWeights: true},
	} {
		t.Run(fmt.Sprintf("%s named=%v", c.Family, c.NamedWeights), func(t *testing.T) {
			dir := tinyFolder(t, c)
			lm := openModel(t, env, dir, Options{})
			r := rand.New(rand.NewPCG(1, 9))
			p := &Patch{}
			for _, part := range []arch.Part{arch.FFNDown, arch.FFNUp, arch.FFNGate} {
				if w := lm.info.FFNs[1].Weight(part); w != nil {
					p.Weights = append(p.Weights, Weight{At: w.ID, U: randn(r, 0.3, w.In, 3), V: randn(r, 0.3, 3, w.Out)})
				}
			}
			w := lm.info.FFNs[0].Down
			p.Weights = append(p.Weights, Weight{At: w.ID, U: randn(r, 0.3, w.In, 1), V: randn(r, 0.3, 1, w.Out)})
			mixed := p.Then(&Patch{Weights: []Weight{{At: w.ID, Delta: randn(r, 0.1, w.In, w.Out)}}})
			for name, p := range map[string]*Patch{"low rank": p, "with dense": mixed} {
				changed := openModel(t, env, bake(t, dir, lm, p), Options{})
				var rows, plain []Row
				for range 4 {
					q := randomQuery(lm, r, 3+r.IntN(8), 2)
					rows, plain = append(rows, Row{Query: q, Patch: p}), append(plain, Row{Query: q})
				}
				got := score(t, lm, rows...)
				if d := worstLogProb(t, got, score(t, lm, plain...)); d < 0.05 {
					t.Fatalf("%s: the patch moves nothing: %g", name, d)
				}
				if d := worstLogProb(t, got, score(t, changed, plain...)); d > logProbTolerance {
					t.Errorf("%s: patched model and changed file differ by %g", name, d)
				}
			}
			if n := len(lm.sessions); n > 3 {
				t.Errorf("%d sessions; slots at the down-projections, at all weights, and replaced weights make three", n)
			}
		})
	}
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
			dir := tinyFolder(t, c)
			lm := openModel(t, env, dir, Options{})
			small := openModel(t, env, dir, Options{MemoryBudget: 1})
			r := rand.New(rand.NewPCG(5, 5))
			edit, w := randomPatch(lm, r, 0.3), lm.info.FFNs[0].Down
			null := &Patch{Weights: []Weight{{At: w.ID, U: tensor.New(tensor.F32, w.In, 2), V: tensor.New(tensor.F32, 2, w.Out)}}}
			var rows, zeros []Row
			var alone []ask.Answer
			for i := range 12 {
				row := Row{Query: randomQuery(lm, r, 1+r.IntN(40), 1+r.IntN(4))}
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
				if d := worstLogProb(t, together, other); d > logProbTolerance {
					t.Errorf("together and %s differ by %g", name, d)
				}
			}
			if d := worstLogProb(t, together, score(t, lm, zeros...)); d != 0 {
				t.Errorf("no patch and a patch of zeros differ by %g", d)
			}
		})
	}
}

// TestScoreAgainstFullLogits compares the statistics with the logits of an
// uninstrumented run of the file.
func TestScoreAgainstFullLogits(t *testing.T) {
	env := orttest.Open(t)
	dir := tinyFolder(t, tinylm.Config{Family: tinylm.GPT2})
	lm := openModel(t, env, dir, Options{})
	prompt, target := []int64{5, 9, 2, 40}, []int64{7, 100, 3}
	a := score(t, lm, Row{Query: ask.Query{PromptIDs: prompt, TargetIDs: [][]int64{target}}})[0]
	if a.Err != nil {
		t.Fatal(a.Err)
	}
	raw := rawLogits(t, env, filepath.Join(dir, "model.onnx"), slices.Concat(prompt, target))
	vocab := lm.info.Vocab
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
		if c.Argmax[i] != int64(best) || math.Abs(c.LogProbs[i]-(float64(row[id])-math.Log(sum))) > logProbTolerance {
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
	dir := tinyFolder(t, tinylm.Config{Family: tinylm.LLaMA})
	lm := openModel(t, env, dir, Options{})
	tight := openModel(t, env, dir, Options{MemoryBudget: 1}) // every row a wave of its own
	r := rand.New(rand.NewPCG(6, 6))
	p := randomPatch(lm, r, 0.3)
	q := randomQuery(lm, r, 6, 2)
	context := q
	context.PromptIDs = append([]int64{11, 12, 13}, q.PromptIDs...)
	dense, err := p.Merge()
	must(t, err)
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
	want := func(patch *Patch, query ask.Query) float64 {
		dist := func(patch *Patch, query ask.Query) (out []float64) {
			// Scoring every word as the target gives the distribution.
			var rows []Row
			gold := q.TargetIDs[0]
			for at := range gold {
				for id := range lm.info.Vocab {
					rows = append(rows, Row{Patch: patch, Query: ask.Query{PromptIDs: slices.Concat(query.PromptIDs, gold[:at]), TargetIDs: [][]int64{{int64(id)}}}})
				}
			}
			for _, a := range score(t, lm, rows...) {
				out = append(out, a.Targets[0].LogProbs[0])
			}
			return out
		}
		a, b := dist(nil, q), dist(patch, query)
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
		if d := math.Abs(*got[i].KL - w); d > logProbTolerance {
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
		if (a.KL == nil) != (got[i].KL == nil) || a.KL != nil && math.Abs(*a.KL-*got[i].KL) > logProbTolerance {
			t.Errorf("row %d: KL depends on the memory budget", i)
		}
	}
}

// TestOneBadRow: rows that cannot be answered say why and harm nobody.
func TestOneBadRow(t *testing.T) {
	env := orttest.Open(t)
	lm := tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, Options{})
	ok := ask.Query{Prompt: "The capital of the", Targets: []string{"town"}}
	w := lm.info.FFNs[0].Down
	r := rand.New(rand.NewPCG(7, 7))
	nan := tensor.New(tensor.F32, w.In, 1)
	nan.Float32s()[0] = float32(math.NaN())
	with := func(c Weight) *Patch { return &Patch{Weights: []Weight{c}} }
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
		{"unknown id", Row{Query: ask.Query{PromptIDs: []int64{1, 99999}, Targets: []string{"x"}}}, ErrVocabulary},
		{"negative target id", Row{Query: ask.Query{PromptIDs: []int64{1}, TargetIDs: [][]int64{{-1}}}}, ErrVocabulary},
		{"NaN in a patch", Row{Query: ok, Patch: with(Weight{At: w.ID, U: nan, V: randn(r, 1, 1, w.Out)})}, ask.ErrNotFinite},
		{"no such layer", Row{Query: ok, Patch: with(Weight{At: down(9), U: randn(r, 1, w.In, 1), V: randn(r, 1, 1, w.Out)})}, ErrNotEditable},
		{"no such part", Row{Query: ok, Patch: with(Weight{At: arch.WeightID{Part: arch.FFNGate}, U: randn(r, 1, w.In, 1), V: randn(r, 1, 1, w.Out)})}, ErrNotEditable},
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
	var misfit *MisfitError
	a := score(t, lm, Row{Query: ok, Patch: with(Weight{At: w.ID, U: randn(r, 1, w.In+1, 1), V: randn(r, 1, 1, w.Out)})}, Row{Query: ok})
	if !errors.As(a[0].Err, &misfit) || a[1].Err != nil {
		t.Errorf("wrong shape: %v", a[0].Err)
	}
	g, err := lm.Generate(t.Context(), []Row{{Query: ask.Query{Prompt: long}}, {Query: ok}}, ask.Sampling{MaxNew: 2})
	must(t, err)
	if !errors.Is(g[0].Err, ask.ErrTooLong) || g[1].Err != nil {
		t.Errorf("generating: %v, %v", g[0].Err, g[1].Err)
	}
	if _, err := lm.Generate(t.Context(), nil, ask.Sampling{}); err == nil {
		t.Error("MaxNew of 0 was accepted")
	}
	if a := score(t, lm); len(a) != 0 {
		t.Error("answers to no questions")
	}
}

func TestDuplicatesAreComputedOnce(t *testing.T) {
	env := orttest.Open(t)
	lm := tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, Options{})
	r := rand.New(rand.NewPCG(8, 8))
	q, p := randomQuery(lm, r, 5, 2), randomPatch(lm, r, 0.3)
	w := lm.newWave()
	for i, row := range []Row{{Query: q}, {Query: q}, {Query: q, Patch: &Patch{}}, {Query: q, Patch: p}, {Query: q, Patch: p, Versus: &q}} {
		must(t, w.add(i, row))
	}
	if want := 2 * targets(q); len(w.jobs) != want {
		t.Errorf("%d sequences, want %d: each target unedited and edited", len(w.jobs), want)
	}
}

func TestRoutesStandOutermostLast(t *testing.T) {
	env := orttest.Open(t)
	lm := tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, Options{})
	var log []string
	r := rand.New(rand.NewPCG(9, 9))
	p := randomPatch(lm, r, 0.3)
	routed := (&Patch{Routes: []Route{suffix{" a", &log}}}).Then(p).Then(&Patch{Routes: []Route{suffix{" b", &log}}})
	q := func(prompt string) ask.Query { return ask.Query{Prompt: prompt, Targets: []string{"c"}} }
	got := score(t, lm, Row{Query: q("the"), Patch: routed}, Row{Query: q("the")}, Row{Query: q("an"), Patch: routed})
	want := score(t, lm, Row{Query: q("the b a"), Patch: p}, Row{Query: q("the")}, Row{Query: q("an b a"), Patch: p})
	if d := worstLogProb(t, got, want); d > logProbTolerance {
		t.Errorf("routed answers differ by %g", d)
	}
	if !slices.Equal(log, []string{" b", " a"}) {
		t.Errorf("routes were asked as %q; each once for all its rows, the last one first", log)
	}
	g, err := lm.Generate(t.Context(), []Row{{Query: q("the"), Patch: routed}, {Query: q("the b a"), Patch: p}}, ask.Sampling{MaxNew: 3})
	must(t, err)
	if !slices.Equal(g[0].TextIDs, g[1].TextIDs) {
		t.Errorf("routed generation %v, want %v", g[0].TextIDs, g[1].TextIDs)
	}
}

// TestStopTexts hands a decoding the tokens of a text one by one.
func TestStopTexts(t *testing.T) {
	env := orttest.Open(t)
	lm := tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, Options{})
	eos := lm.EOS()[0]
	ids := func(text string) []int64 {
		e, err := lm.tok.Encode(text)
		must(t, err)
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
			k := &continuation{job: &job{joined: joined{ids: []int64{5, 0}, first: 1}}, prompt: 1}
			more := true
			for _, id := range c.say {
				if !more {
					break
				}
				logits := make([]float32, lm.info.Vocab)
				logits[id] = 1
				var err error
				more, err = lm.advance(k, logits, c.o)
				must(t, err)
			}
			if more || k.text != c.text || k.stopped != c.by {
				t.Errorf("%q by %q (going on: %v), want %q by %q", k.text, k.stopped, more, c.text, c.by)
			}
			text, err := lm.tok.Decode(k.ids, true)
			must(t, err)
			if !strings.HasPrefix(text, c.text) {
				t.Errorf("tokens say %q, text is %q", text, c.text)
			}
			if n := len(k.ids); n > 0 {
				if text, err = lm.tok.Decode(k.ids[:n-1], true); err != nil || len(text) >= len(c.text) {
					t.Errorf("a token more than the text needs: %q without it (%v)", text, err)
				}
			}
		})
	}
}

func TestConcurrentScores(t *testing.T) {
	env := orttest.Open(t)
	lm := tiny(t, env, tinylm.Config{Family: tinylm.GPTJ}, Options{})
	r := rand.New(rand.NewPCG(10, 10))
	rows := []Row{{Query: randomQuery(lm, r, 8, 2)}, {Query: randomQuery(lm, r, 5, 2), Patch: randomPatch(lm, r, 0.3)}}
	var wg sync.WaitGroup
	got := make([][]ask.Answer, 4)
	for i := range got {
		wg.Go(func() { got[i], _ = lm.Score(context.Background(), rows) })
	}
	wg.Wait()
	for _, g := range got {
		if g == nil || worstLogProb(t, g, got[0]) != 0 {
			t.Error("concurrent calls differ")
		}
	}
	if len(lm.sessions) != 1 {
		t.Errorf("%d sessions were built for one graph", len(lm.sessions))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := lm.Score(ctx, rows); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled call: %v", err)
	}
	must(t, lm.Close())
	if _, err := lm.Score(context.Background(), rows); !errors.Is(err, ErrClosed) {
		t.Errorf("closed model: %v", err)
	}
}

func TestOpenChecksTheTokenizer(t *testing.T) {
	env := orttest.Open(t)
	dir := tinyFolder(t, tinylm.Config{Family: tinylm.GPT2})
	path := filepath.Join(dir, "tokenizer.json")
	var tok map[string]any
	b, err := os.ReadFile(path)
	must(t, err)
	must(t, json.Unmarshal(b, &tok))
	vocab := tok["model"].(map[string]any)["vocab"].(map[string]any)
	for i := range 5 {
		vocab[fmt.Sprintf("extra%d", i)] = 283 + len(vocab) + i
	}
	b, err = json.Marshal(tok)
	must(t, err)
	must(t, os.WriteFile(path, b, 0o644))
	if _, err := Open(t.Context(), env, dir, Options{}); !errors.Is(err, ErrTokenizer) || !strings.Contains(fmt.Sprint(err), "tokenizer.json") {
		t.Errorf("a tokenizer larger than the model was accepted: %v", err)
	}
	// Without a tokenizer ids still work, texts are refused.
	must(t, os.Remove(path))
	lm := openModel(t, env, dir, Options{Name: "bare"})
	a := score(t, lm, Row{Query: ask.Query{Prompt: "x", Targets: []string{"y"}}}, Row{Query: ask.Query{PromptIDs: []int64{1}, TargetIDs: [][]int64{{2}}}})
	if !errors.Is(a[0].Err, ErrTokenizer) || a[1].Err != nil {
		t.Errorf("errors %v, %v", a[0].Err, a[1].Err)
	}
	if lm.Tokenizer() != nil || lm.TokenizerHash() != "" || lm.Name() != "bare" {
		t.Error("what a model without tokenizer says of itself")
	}
}

func TestHashAndProtocol(t *testing.T) {
	env := orttest.Open(t)
	c := tinylm.Config{Family: tinylm.GPT2, ExternalData: true}
	a, b := tiny(t, env, c, Options{}), tiny(t, env, c, Options{})
	c.Seed = 1
	other := tiny(t, env, c, Options{})
	if a.Hash() != b.Hash() || len(a.Hash()) != 64 {
		t.Error("the same model in two folders has two hashes")
	}
	if a.Hash() == other.Hash() {
		t.Error("other weights in the external file have the same hash")
	}
	p := &Patch{Weights: []Weight{{At: down(0), U: tensor.New(tensor.F32, a.info.FFNWidth, 1), V: tensor.New(tensor.F32, 1, a.info.Width)}}}
	meta := PatchMeta{ModelHash: a.Hash(), TokenizerHash: a.TokenizerHash()}
	var misfit *MisfitError
	if err := b.Fits(p, meta); err != nil {
		t.Error(err)
	}
	if err := other.Fits(p, meta); !errors.As(err, &misfit) || misfit.What != "model hash" {
		t.Errorf("%v", err)
	}
	for _, part := range []string{"scorer=", "join=", "padding=right", "provider=cpu", "dtype=float32", "tf32=n/a"} {
		if !strings.Contains(a.ProtocolID(), part) {
			t.Errorf("%q lacks %q", a.ProtocolID(), part)
		}
	}
}

// TestRiders: targets that one run can answer are answered as they are alone.
func TestRiders(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{{Family: tinylm.GPT2}, {Family: tinylm.T5}} {
		lm := tiny(t, env, c, Options{})
		r := rand.New(rand.NewPCG(12, 12))
		prompt := randomQuery(lm, r, 6, 1).PromptIDs
		q := ask.Query{PromptIDs: prompt, TargetIDs: [][]int64{{7, 8, 9}, {7, 9}, {7}, {3}, {7, 8, 9, 10}, {8, 8}}}
		shorter := ask.Query{PromptIDs: prompt[:4], TargetIDs: [][]int64{{prompt[4]}, {prompt[4], 11}}}
		patch := randomPatch(lm, r, 0.3)
		rows := []Row{{Query: q}, {Query: shorter}, {Query: q, Patch: patch, Versus: &q}, {Query: shorter, Patch: patch}}
		got := score(t, lm, rows...)
		for i, row := range rows {
			for k, target := range row.Query.TargetIDs {
				one := row
				one.Query.TargetIDs = [][]int64{target}
				alone := score(t, lm, one)[0].Targets[0]
				with := got[i].Targets[k]
				if !slices.Equal(with.IDs, target) || !slices.Equal(with.Argmax, alone.Argmax) || with.FirstRank != alone.FirstRank || maxDiff64(with.LogProbs, alone.LogProbs) > logProbTolerance {
					t.Errorf("%s row %d target %v: %+v, alone %+v", c.Family, i, target, with, alone)
				}
			}
		}
	}
	jobs := func(ids ...[]int64) (list []*job) {
		for _, v := range ids {
			list = append(list, &job{joined: joined{ids: v, first: 1}})
		}
		return list
	}
	// Only [1 2 4] and [1 2 3 4] are run: what is fed lacks the last token.
	list := jobs([]int64{1, 2, 9}, []int64{1, 2, 4, 9}, []int64{1, 9}, []int64{1, 2, 3, 9}, []int64{1, 2, 3, 4, 9}, []int64{1, 2, 3, 8})
	hosts := share(list)
	if len(hosts) != 2 || hosts[0] != list[1] || hosts[1] != list[4] || len(hosts[0].riders)+len(hosts[1].riders) != 4 {
		t.Errorf("%d hosts", len(hosts))
	}
	for _, h := range hosts {
		for _, j := range h.riders {
			if !slices.Equal(j.ids[:j.fed()], h.ids[:j.fed()]) {
				t.Errorf("%v rides on %v", j.ids, h.ids)
			}
		}
	}
}

func maxDiff64(a, b []float64) (worst float64) {
	for i, x := range a {
		worst = max(worst, relative(x, b[i]))
	}
	return worst
}
