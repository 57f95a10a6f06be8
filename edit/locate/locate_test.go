package locate

import (
	"cmp"
	"context"
	"editpipe/models/activation"
	"editpipe/models/arch"
	"editpipe/models/run"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/ort/orttest"
	"editpipe/tensor"
	"editpipe/tensor/npz"
	"editpipe/token"
)

// Linear algebra in float64 on well-conditioned matrices of some tens of rows.
const solveTolerance = 1e-9

// Activations of one text in two runs of the model, which add up float32 in another
// order: 50 roundings (2^-24) of the largest element.
const runTolerance = 3e-6

// The divergence of a distribution from itself, of two graphs in float32, times a
// weight of 1e4, of a loss.
const stiffTolerance = 1e-3

func open(t *testing.T, c tinylm.Config) *models.LM {
	t.Helper()
	return openWith(t, c, models.Options{Threads: 1})
}

func openWith(t *testing.T, c tinylm.Config, o models.Options) *models.LM {
	t.Helper()
	dir := t.TempDir()
	if err := tinylm.Write(dir, c); err != nil {
		t.Fatal(err)
	}
	lm, err := models.Open(context.Background(), orttest.Open(t), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lm.Close(); err != nil {
			t.Error(err)
		}
	})
	return lm
}

// TestSubject: the span that the edit names, or else the first occurrence.
func TestSubject(t *testing.T) {
	for _, c := range []struct {
		prompt, subject string
		start, end      int32
		want            string // text before the subject and the subject itself; "" for an error
	}{
		{"Ada works as a", "Ada", 0, 3, "|Ada"},
		{"Ada works as a", "Ada", -1, -1, "|Ada"},
		{"Ada met Ada at", "Ada", 8, 11, "Ada met |Ada"},
		{"Ada met Ada at", "Ada", -1, -1, "|Ada"},
		{"The job of Łucja Żak's friend", "Łucja Żak", -1, -1, "The job of |Łucja Żak"},
		{"The job of {x} is", "{x}", 0, 0, "The job of |{x}"},
		{"ada works as a", "Ada", 0, 3, "|ada"},
		{"The job of ADA is", "Ada", -1, -1, "The job of |ADA"},
		{"The job of Sean O’Casey is", "Sean O'Casey", 11, 25, "The job of |Sean O’Casey"},
		{"The job of Sean O’Casey is", "Sean O'Casey", 0, 3, "The job of |Sean O’Casey"},
		{"Bob works as a", "Ada", 0, 3, ""},
		{"Bob works as a", "", -1, -1, ""},
		{"Bob", "Bob", 0, 9, "|Bob"},
	} {
		start, end, err := subject(dataset.Edit{Prompt: c.prompt, Subject: c.subject, SubjectStart: c.start, SubjectEnd: c.end})
		if c.want == "" {
			if nameless := c.subject == ""; nameless && !(errors.Is(err, ErrNoSubject) && errors.Is(err, edit.ErrUnsupported)) || !nameless && !errors.Is(err, ErrSubject) {
				t.Errorf("%q in %q: %v", c.subject, c.prompt, err)
			}
			continue
		}
		if err != nil || c.prompt[:start]+"|"+c.prompt[start:end] != c.want {
			t.Errorf("%q in %q: %d to %d, %v", c.subject, c.prompt, start, end, err)
		}
	}
}

func TestLastToken(t *testing.T) {
	spans := []token.Span{{}, {Start: 0, End: 3}, {Start: 3, End: 7}, {Start: 7, End: 9}, {Start: 7, End: 9}, {Start: 9, End: 9}}
	for end, want := range map[int]int{1: 1, 3: 1, 4: 2, 7: 2, 8: 4, 9: 4, 10: -1} {
		if got := lastToken(spans, end); got != want {
			t.Errorf("byte %d: token %d, want %d", end, got, want)
		}
	}
}

// TestFact: the marked token of every sequence ends where the subject ends.
func TestFact(t *testing.T) {
	lm := open(t, tinylm.Config{Family: tinylm.GPT2})
	contexts := []string{"{}", "Once. {}", "{curly} then {}"}
	e := dataset.Edit{Prompt: "The job of Łucja Żak's friend is", Subject: "Łucja Żak", SubjectStart: -1, Target: "cook"}
	f, err := NewFact(lm, e, contexts[:2], SubjectLast)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range append(slices.Clone(f.Prompts), f.Essence) {
		text, err := lm.Tokenizer().Decode(s.IDs[:s.At+1], true)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, "Żak") || strings.Contains(text, "friend") || strings.Contains(text, "is a") {
			t.Errorf("sequence %d: the subject ends behind %q", i, text)
		}
	}
	if before, target, err := run.Continuation(lm, e.Prompt, e.Target); err != nil || !slices.Equal(f.Target, target) || !slices.Equal(f.Prompts[0].IDs, before) {
		t.Errorf("target %v, want %v, %v", f.Target, target, err)
	}
	last, err := NewFact(lm, e, contexts[:2], Last)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range last.Prompts {
		if s.At != len(s.IDs)-1 {
			t.Errorf("sequence %d: position %d of %d", i, s.At, len(s.IDs))
		}
	}
	if _, err := NewFact(lm, e, []string{"{}", strings.Repeat("on and ", 40) + "{}"}, SubjectLast); !errors.Is(err, ask.ErrTooLong) {
		t.Errorf("a long context: %v", err)
	}
	if _, err := NewFact(lm, e, []string{"no slot"}, SubjectLast); err == nil {
		t.Error("a context without slot is accepted")
	}
	long := dataset.Edit{Subject: strings.Repeat("on and ", 40), Target: "cook"}
	long.Prompt = long.Subject
	if _, err := NewFact(lm, long, contexts[:1], SubjectLast); !errors.Is(err, ask.ErrTooLong) {
		t.Errorf("a long subject: %v", err)
	}
}

// TestOptimise: without decay and with room to move the loss falls, the
// divergence at the subject is counted, the clamp holds, and facts side by side
// end where each ends alone, to the bit.
func TestOptimise(t *testing.T) {
	ctx := context.Background()
	lm := open(t, tinylm.Config{Family: tinylm.GPT2})
	at := arch.Site{Layer: 0, Point: arch.FFNOut}
	var facts []*Fact
	var starts [][]float32
	for _, e := range []dataset.Edit{
		{Prompt: "Ada works as a", Subject: "Ada", Target: "pilot"}, {Prompt: "The mayor of Rome is", Subject: "Rome", Target: "Cleo"}, {Prompt: "Zoe works as a", Subject: "Zoe", Target: "judge"},
	} {
		f, err := NewFact(lm, e, []string{"{}", "Yes. {}"}, SubjectLast)
		if err != nil {
			t.Fatal(err)
		}
		_, values, err := Recall(ctx, lm, nil, 0, f)
		if err != nil {
			t.Fatal(err)
		}
		facts, starts = append(facts, f), append(starts, values[0])
	}
	free := Search{Steps: 8, Rate: 0.5, Clamp: 100, KL: 0.0625}
	together, err := Optimise(ctx, lm, nil, at, facts, starts, free)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range together {
		falls := slices.IsSortedFunc(f.Losses, func(a, b float64) int { return cmp.Compare(b, a) })
		if f.Err != nil || len(f.Losses) != 8 || !falls || f.Losses[7] > f.Losses[0]-0.2 {
			t.Errorf("fact %d: losses %v, %v", i, f.Losses, f.Err)
		}
		alone, err := Optimise(ctx, lm, nil, at, facts[i:i+1], starts[i:i+1], free)
		if err != nil || !slices.Equal(alone[0].Shift, f.Shift) {
			t.Errorf("fact %d ends elsewhere in company, %v", i, err)
		}
	}
	tight := free
	tight.Clamp = 0.1
	clamped, err := Optimise(ctx, lm, nil, at, facts, starts, tight)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range clamped {
		v, d := wide(starts[i]), wide(f.Shift)
		if ratio := math.Sqrt(Dot(d, d) / Dot(v, v)); ratio > 0.1+1e-6 || ratio < 0.01 {
			t.Errorf("fact %d: the shift is %g of the value", i, ratio)
		}
	}
	stiff := free
	stiff.KL = 1e4
	held, err := Optimise(ctx, lm, nil, at, facts[:1], starts[:1], stiff)
	if err != nil {
		t.Fatal(err)
	}
	if l := held[0].Losses; math.Abs(l[0]-together[0].Losses[0]) > stiffTolerance*math.Abs(l[0]) || l[1] < together[0].Losses[1] {
		t.Errorf("a heavy divergence gives losses %v, a light one %v", l, together[0].Losses)
	}
	if skipped, err := Optimise(ctx, lm, nil, at, facts, [][]float32{nil, nil, nil}, free); err != nil || skipped[0].Losses != nil {
		t.Errorf("facts without start: %v, %v", skipped, err)
	}
	zero, err := Optimise(ctx, lm, nil, at, facts[:1], [][]float32{make([]float32, len(starts[0]))}, free)
	if err != nil || zero[0].Err == nil {
		t.Errorf("a value of zero: %v, %v", zero, err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := Optimise(ended, lm, nil, at, facts, starts, free); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestContexts(t *testing.T) {
	ctx := context.Background()
	lm := open(t, tinylm.Config{Family: tinylm.GPT2})
	for _, start := range []string{Words, EndOfText} {
		list, err := Contexts(ctx, lm, start, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != 21 || list[0] != "{}" {
			t.Errorf("%s: %q", start, list)
		}
		for i, c := range list[1:] {
			if strings.Count(c, "{}") != 1 || !strings.HasSuffix(c, ". {}") || start == Words && !strings.HasPrefix(c, starters()[i%5]) {
				t.Errorf("%s: context %d is %q", start, i+1, c)
			}
		}
		again, err := Contexts(ctx, lm, start, 3)
		if err != nil || !slices.Equal(list, again) {
			t.Errorf("%s: the same seed gives other contexts, %v", start, err)
		}
		other, err := Contexts(ctx, lm, start, 4)
		if err != nil || slices.Equal(list, other) {
			t.Errorf("%s: another seed gives the same contexts, %v", start, err)
		}
		path := filepath.Join(t.TempDir(), "contexts.json")
		if err := WriteContexts(path, list); err != nil {
			t.Fatal(err)
		}
		if back, err := ReadContexts(path); err != nil || !slices.Equal(back, list) {
			t.Errorf("read back %q, %v", back, err)
		}
	}
}

// TestSample: only the most probable are drawn, as often as they are probable.
func TestSample(t *testing.T) {
	p := []float64{0.1, 0.02, 0.3, 0.05, 0.2, 0.15, 0.18}
	logs := make([]float32, len(p))
	for i, x := range p {
		logs[i] = float32(math.Log(x))
	}
	r := rand.New(rand.NewPCG(1, 2))
	const draws = 20000
	count := map[int64]float64{}
	for range draws {
		count[sample(tensor.FromFloat32s(logs, 1, len(logs)), r)]++
	}
	for i, x := range p {
		want := x / 0.93
		if i == 1 || i == 3 {
			want = 0
		}
		if math.Abs(count[int64(i)]/draws-want) > 0.02 { // over five standard deviations
			t.Errorf("token %d: drawn %g, want %g", i, count[int64(i)]/draws, want)
		}
	}
}

// TestSolve: C times the solution is the right-hand side.
func TestSolve(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	const n = 30
	m := Moments{Width: n, Count: 100, C: make([]float64, n*n)}
	for range 100 {
		k := tensor.New(tensor.F32, 1, n)
		for i := range n {
			k.Float32s()[i] = float32(r.NormFloat64())
		}
		for i, x := range k.Float32s() {
			for j, y := range k.Float32s() {
				m.C[i*n+j] += float64(x) * float64(y) / 100
			}
		}
	}
	f, err := m.Factor()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]float64, n)
	for i := range b {
		b[i] = r.NormFloat64()
	}
	x := f.Solve(b)
	for i := range n {
		if d := math.Abs(Dot(m.C[i*n:(i+1)*n], x) - b[i]); d > solveTolerance {
			t.Errorf("row %d differs by %g", i, d)
		}
	}
	for i := range n { // two equal rows and columns
		m.C[i*n+3] = m.C[i*n+7]
	}
	copy(m.C[3*n:4*n], m.C[7*n:8*n])
	if _, err := m.Factor(); !errors.Is(err, ErrSingular) {
		t.Errorf("singular: %v", err)
	}
	m.C[0] = math.NaN()
	if _, err := m.Factor(); !errors.Is(err, ErrSingular) {
		t.Errorf("not a number: %v", err)
	}
}

// TestCollect: moments are those of traced keys, cut to the context and to the
// tokens asked for, and survive a file.
func TestCollect(t *testing.T) {
	ctx := context.Background()
	lm := open(t, tinylm.Config{Family: tinylm.GPT2, Width: 8, FFN: 16})
	texts := []string{"Ada works as a cook.", "", strings.Repeat("They live in a town by the sea. ", 20), "Zoe works as a judge.", "never read"}
	source := func(yield func(string, error) bool) {
		for i, text := range texts {
			if i == 4 {
				t.Error("more text was read than needed")
			}
			if !yield(text, nil) {
				return
			}
		}
	}
	total, want := 0, make([]float64, 16*16)
	for _, text := range texts[:4] {
		if text == "" {
			continue
		}
		ids, _, err := run.Prompt(lm, text)
		if err != nil {
			t.Fatal(err)
		}
		ids = ids[:min(len(ids), lm.Context())]
		for at := range ids {
			tr, err := activation.Trace(ctx, lm, []activation.Row{{Query: ask.Query{PromptIDs: ids[:at+1]}, Positions: []int{-1}}}, arch.Site{Layer: 1, Point: arch.FFNAct})
			if err != nil || tr[0].Err != nil {
				t.Fatal(err, tr[0].Err)
			}
			k := tr[0].Values[0].Float32s()
			for i, x := range k {
				for j, y := range k {
					want[i*16+j] += float64(x) * float64(y)
				}
			}
			total++
		}
	}
	dir := t.TempDir()
	if err := PrepareMoments(ctx, lm, []int{0, 1}, int64(total), edit.PrepareInput{Texts: source}, dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, MomentsFile(1))
	m, factor, err := ReadFactored(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, partialFile)); err == nil {
		t.Error("the sums of a finished collection were left")
	}
	if m.Count != int64(total) || m.Width != 16 {
		t.Errorf("%d tokens of width %d, want %d", m.Count, m.Width, total)
	}
	largest := math.Max(slices.Max(want), -slices.Min(want)) / float64(total)
	for i, x := range want {
		if math.Abs(m.C[i]-x/float64(total)) > 2*runTolerance*largest { // products of two
			t.Fatalf("element %d is %g, want %g", i, m.C[i], x/float64(total))
		}
	}
	if m.Model != lm.Hash() || m.Fits(lm, 1) != nil {
		t.Errorf("moments of model %q do not fit it", m.Model)
	}
	if err := m.Fits(lm, 5); !errors.Is(err, ErrMoments) {
		t.Errorf("no such layer: %v", err)
	}
	// The kept factor is that of the moments; one of other moments is passed over.
	direct, err := m.Factor()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]float64, 16)
	b[3] = 1
	if !slices.Equal(direct.Solve(b), factor.Solve(b)) {
		t.Error("the kept factor solves to something else")
	}
	other := &Moments{Width: 16, Count: 20, C: make([]float64, 256), Model: lm.Hash()}
	for i := range 16 {
		other.C[i*17] = 2
	}
	if err := other.Write(path); err != nil {
		t.Fatal(err)
	}
	if _, f, err := ReadFactored(path); err != nil || math.Abs(f.Solve(b)[3]-0.5) > solveTolerance {
		t.Errorf("with moments of twice the identity: %v", err)
	}
	broken := errors.New("broken")
	failing := edit.PrepareInput{Texts: func(yield func(string, error) bool) { yield("", broken) }}
	if err := PrepareMoments(ctx, lm, []int{1}, 10, failing, dir); !errors.Is(err, broken) {
		t.Errorf("a source that fails: %v", err)
	}
	if err := PrepareMoments(ctx, lm, []int{9}, 10, failing, dir); !errors.Is(err, ErrMoments) {
		t.Errorf("no such layer: %v", err)
	}
}

// TestCollectGoesOn: a collection that was cut short ends in the same bytes as
// one that was not, refuses other text, and leaves alone what is of another plan.
func TestCollectGoesOn(t *testing.T) {
	ctx := context.Background()
	lm := open(t, tinylm.Config{Family: tinylm.GPT2, Width: 8, FFN: 16})
	broken := errors.New("broken")
	const texts = 400
	source := func(upTo int, first string) edit.PrepareInput {
		return edit.PrepareInput{Texts: func(yield func(string, error) bool) {
			for i := range texts {
				text := fmt.Sprintf("Person %d works as a cook by the sea.", i)
				if i == 0 {
					text = first
				}
				if i == upTo {
					yield("", broken)
					return
				}
				if !yield(text, nil) {
					return
				}
			}
		}}
	}
	collect := func(in edit.PrepareInput, partial string) ([]*Moments, error) {
		c := &collection{lm: lm, layers: []int{0, 1}, perSum: 200}
		return c.collect(ctx, 1<<30, in, partial)
	}
	whole, err := collect(source(-1, "First."), filepath.Join(t.TempDir(), partialFile))
	if err != nil {
		t.Fatal(err)
	}
	partial := filepath.Join(t.TempDir(), partialFile)
	for _, stop := range []int{70, 150, 399} {
		if _, err := collect(source(stop, "First."), partial); !errors.Is(err, broken) {
			t.Fatalf("cut short at %d: %v", stop, err)
		}
	}
	if _, err := collect(source(-1, "Another."), partial); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), partial) {
		t.Errorf("going on with another text: %v", err)
	}
	saved, err := npz.Read(partial)
	if err != nil || saved[arrayTexts].Int64s()[0] < 300 {
		t.Fatalf("the sums of %v texts were saved, %v", saved[arrayTexts], err)
	}
	resumed, err := collect(source(-1, "First."), partial)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		if whole[i].Count != resumed[i].Count || !slices.Equal(whole[i].C, resumed[i].C) {
			t.Errorf("layer %d differs from a collection in one go", i)
		}
	}
	saved[arrayTokens] = tensor.New(tensor.I64, 0)
	damaged := filepath.Join(t.TempDir(), partialFile)
	if err := npz.Write(damaged, saved); err != nil {
		t.Fatal(err)
	}
	if _, err := collect(source(-1, "First."), damaged); !errors.Is(err, ErrMoments) || !strings.Contains(err.Error(), damaged) {
		t.Errorf("going on from a damaged file: %v", err)
	}
	c := &collection{lm: lm, layers: []int{1}, perSum: 200}
	_, err = c.collect(ctx, 1<<30, source(-1, "Another."), partial)
	if err != nil {
		t.Errorf("another plan: %v", err)
	}
}

// TestTooFewTokens: moments of fewer tokens than a key has elements are singular,
// also where rounding to float32 makes them look otherwise.
func TestTooFewTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mom2.npz")
	rounded := &Moments{Width: 2, Count: 1, C: []float64{1, 0.1, 0.1, 0.01 + 1e-8}} // of the key (1, 0.1)
	if err := rounded.Write(path); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ReadFactored(path); !errors.Is(err, ErrSingular) || !strings.Contains(err.Error(), path) {
		t.Errorf("two elements, one token: %v", err)
	}
	rounded.Count = 2
	if err := rounded.Write(path); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ReadFactored(path); err != nil {
		t.Errorf("the same after two tokens: %v", err)
	}
}

func TestReadMomentsRefusesDamage(t *testing.T) {
	square, count := tensor.FromFloat32s([]float32{1, 0, 0, 1}, 2, 2), tensor.FromInt64s([]int64{3}, 1)
	for label, arrays := range map[string]map[string]*tensor.Tensor{
		"no count":    {arraySum: square},
		"no sum":      {arrayCount: count},
		"not square":  {arraySum: tensor.FromFloat32s([]float32{1, 2}, 1, 2), arrayCount: count},
		"no tokens":   {arraySum: square, arrayCount: tensor.FromInt64s([]int64{0}, 1)},
		"not finite":  {arraySum: tensor.FromFloat32s([]float32{1, 0, 0, float32(math.Inf(1))}, 2, 2), arrayCount: count},
		"not numbers": {arraySum: tensor.FromInt64s([]int64{1, 0, 0, 1}, 2, 2), arrayCount: count},
	} {
		path := filepath.Join(t.TempDir(), "mom2.npz")
		if err := npz.Write(path, arrays); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadMoments(path); !errors.Is(err, ErrMoments) {
			t.Errorf("%s: %v", label, err)
		}
	}
}
