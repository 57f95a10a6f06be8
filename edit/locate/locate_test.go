package locate

import (
	"cmp"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/run"
	"editpipe/ort/orttest"
	"editpipe/tensor"
	"editpipe/token"
)

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
	f, err := NewFact(lm, e, contexts[:2], SubjectLast, false)
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
	last, err := NewFact(lm, e, contexts[:2], Last, false)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range last.Prompts {
		if s.At != len(s.IDs)-1 {
			t.Errorf("sequence %d: position %d of %d", i, s.At, len(s.IDs))
		}
	}
	if _, err := NewFact(lm, e, []string{"{}", strings.Repeat("on and ", 40) + "{}"}, SubjectLast, false); !errors.Is(err, ask.ErrTooLong) {
		t.Errorf("a long context: %v", err)
	}
	if _, err := NewFact(lm, e, []string{"no slot"}, SubjectLast, false); err == nil {
		t.Error("a context without slot is accepted")
	}
	long := dataset.Edit{Subject: strings.Repeat("on and ", 40), Target: "cook"}
	long.Prompt = long.Subject
	if _, err := NewFact(lm, long, contexts[:1], SubjectLast, false); !errors.Is(err, ask.ErrTooLong) {
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
		f, err := NewFact(lm, e, []string{"{}", "Yes. {}"}, SubjectLast, false)
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
