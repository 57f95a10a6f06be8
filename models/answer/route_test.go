package answer

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/patch"
	"editpipe/models/run"
	"editpipe/ort/orttest"
)

// toy is a route of a function, for the tests.
type toy func(ctx context.Context, m patch.Reader, q ask.Query) (patch.Way, error)

func (toy) Kind() string      { return "toy" }
func (toy) Save(string) error { return errors.New("not saved") }
func (f toy) Route(ctx context.Context, m patch.Reader, questions []ask.Query) ([]patch.Way, error) {
	ways := make([]patch.Way, len(questions))
	for i, q := range questions {
		var err error
		if ways[i], err = f(ctx, m, q); err != nil {
			return nil, err
		}
	}
	return ways, nil
}

// TestWays: a question is asked as its way says, in company of others, and one
// that cannot be asked takes no other with it.
func TestWays(t *testing.T) {
	lm := modeltest.Tiny(t, orttest.Open(t), tinylm.Config{Family: tinylm.GPT2}, models.Options{})
	r := rand.New(rand.NewPCG(4, 2))
	q := func(prompt string) ask.Query { return ask.Query{Prompt: prompt, Targets: []string{"town"}} }
	fault := errors.New("no")
	outer := toy(func(_ context.Context, _ patch.Reader, q ask.Query) (patch.Way, error) {
		q.Prompt += " of"
		return patch.Way{Query: q}, nil
	})
	inner := toy(func(_ context.Context, _ patch.Reader, in ask.Query) (patch.Way, error) {
		switch {
		case strings.HasPrefix(in.Prompt, "skip"):
			return patch.Way{Skip: true}, nil
		case strings.HasPrefix(in.Prompt, "fail"):
			return patch.Way{Err: fault}, nil
		case strings.HasPrefix(in.Prompt, "other"):
			return patch.Way{Query: in, Model: "small"}, nil
		}
		in.Prompt += " the"
		return patch.Way{Query: in}, nil
	})
	weights := modeltest.RandomPatch(lm, r, 0.3)
	p := weights.Then(&patch.Patch{Routes: []patch.Route{inner, outer}})
	prompts := []string{"a", "skip a", "fail a", "other a", "the"}
	var rows, plain []Row
	for _, prompt := range prompts {
		rows = append(rows, Row{Query: q(prompt), Patch: p})
		plain = append(plain, Row{Query: q(prompt + " of the"), Patch: weights})
	}
	plain[1] = Row{Query: q("skip a")}
	check := func(t *testing.T, got, want []ask.Answer, same func(a, b ask.Answer) bool) {
		t.Helper()
		if !errors.Is(got[2].Err, fault) {
			t.Errorf("a fault came back as %v", got[2].Err)
		}
		if err := got[3].Err; err == nil || !strings.Contains(err.Error(), `route toy sends the question to the model "small", and the patch has no such companion`) {
			t.Errorf("an unknown companion: %v", err)
		}
		for _, i := range []int{0, 1, 4} {
			if modeltest.Must(t, got[i].Err); !same(got[i], want[i]) {
				t.Errorf("%q is not asked as its way says", prompts[i])
			}
		}
	}
	check(t, score(t, lm, rows...), score(t, lm, plain...), func(a, b ask.Answer) bool {
		return modeltest.WorstLogProb(t, []ask.Answer{a}, []ask.Answer{b}) <= modeltest.LogProbTolerance && a.PromptTokens == b.PromptTokens
	})
	o := ask.Sampling{MaxNew: 3}
	got, err := Generate(t.Context(), lm, rows, o)
	modeltest.Must(t, err)
	want, err := Generate(t.Context(), lm, plain, o)
	modeltest.Must(t, err)
	check(t, got, want, func(a, b ask.Answer) bool { return slices.Equal(a.TextIDs, b.TextIDs) && len(a.TextIDs) > 0 })

	broken := toy(func(context.Context, patch.Reader, ask.Query) (patch.Way, error) { return patch.Way{}, fault })
	if _, err := Score(t.Context(), lm, []Row{{Query: q("a"), Patch: &patch.Patch{Routes: []patch.Route{broken}}}}); !errors.Is(err, fault) || !strings.Contains(err.Error(), "route toy") {
		t.Errorf("a route that fails: %v", err)
	}
	if _, err := Score(t.Context(), lm, []Row{{Query: q("a"), Patch: &patch.Patch{Routes: []patch.Route{lost{}}}}}); err == nil || !strings.Contains(err.Error(), "0 ways for 1 question") {
		t.Errorf("a route that loses questions: %v", err)
	}
}

// lost is a route that returns no ways.
type lost struct{ toy }

func (lost) Route(context.Context, patch.Reader, []ask.Query) ([]patch.Way, error) { return nil, nil }

// TestReader: a route counts tokens as the model does, and the context that it
// sees leaves room for what is generated.
func TestReader(t *testing.T) {
	lm := modeltest.Tiny(t, orttest.Open(t), tinylm.Config{Family: tinylm.GPT2}, models.Options{})
	var seen []int
	look := toy(func(_ context.Context, m patch.Reader, q ask.Query) (patch.Way, error) {
		got, err := m.PromptTokens(q.Prompt, "of")
		if err != nil {
			return patch.Way{}, err
		}
		want, err := run.PromptTokens(lm, q.Prompt, "of")
		if got != want || want < 3 {
			t.Errorf("%d tokens, want %d", got, want)
		}
		seen = append(seen, m.Context())
		return patch.Way{Query: q}, err
	})
	row := Row{Query: ask.Query{Prompt: "the town", Targets: []string{"of"}}, Patch: &patch.Patch{Routes: []patch.Route{look}}}
	score(t, lm, row)
	for _, n := range []int{5, lm.Context(), 2 * lm.Context()} {
		_, err := Generate(t.Context(), lm, []Row{row}, ask.Sampling{MaxNew: n})
		modeltest.Must(t, err)
	}
	if want := []int{lm.Context(), lm.Context() - 5, 1, 1}; !slices.Equal(seen, want) {
		t.Errorf("contexts %v, want %v", seen, want)
	}
}

// TestManyRoutes: every edit with its own route, and some without.
func TestManyRoutes(t *testing.T) {
	lm := modeltest.Tiny(t, orttest.Open(t), tinylm.Config{Family: tinylm.GPT2}, models.Options{})
	var rows, plain []Row
	for i := range 40 {
		text := strings.Repeat(" of", i%7)
		p := &patch.Patch{Routes: []patch.Route{modeltest.Suffix{Text: text}}}
		for _, target := range []string{"town", "the"} {
			q := ask.Query{Prompt: "the", Targets: []string{target}}
			rows = append(rows, Row{Query: q, Patch: p, Versus: &q})
			with := q
			with.Prompt += text
			plain = append(plain, Row{Query: with})
		}
	}
	rows, plain = append(rows, plain[3]), append(plain, plain[3])
	got := score(t, lm, rows...)
	if d := modeltest.WorstLogProb(t, got, score(t, lm, plain...)); d > modeltest.LogProbTolerance {
		t.Errorf("routed answers differ by %g", d)
	}
	if got[0].KL == nil || *got[0].KL > modeltest.LogProbTolerance || got[2].KL == nil || *got[2].KL < 1e-4 {
		t.Error("divergence from the question as it came in")
	}
}

// nearest is a route that remembers texts: a question that is nearest to one of
// them is asked behind it, the others as if there were no patch.
type nearest struct {
	toy
	texts  []string
	within float64
	went   *[]string // which text each question was put behind, "" none
}

func (n nearest) Route(ctx context.Context, m patch.Reader, questions []ask.Query) ([]patch.Way, error) {
	texts := slices.Clone(n.texts)
	for _, q := range questions {
		texts = append(texts, q.Prompt)
	}
	v, err := m.Embed(ctx, texts)
	if err != nil {
		return nil, err
	}
	keys, asked := v[:len(n.texts)], v[len(n.texts):]
	ways := make([]patch.Way, len(questions))
	for i, q := range questions {
		best, at := math.Inf(1), 0
		for k := range keys {
			var d float64
			for j := range keys[k] {
				d += math.Pow(float64(keys[k][j]-asked[i][j]), 2)
			}
			if d < best {
				best, at = d, k
			}
		}
		ways[i] = patch.Way{Query: q, Skip: best > n.within}
		text := ""
		if !ways[i].Skip {
			text = n.texts[at]
			ways[i].Query.Prompt = text + " " + q.Prompt
		}
		*n.went = append(*n.went, text)
	}
	return ways, nil
}

// TestRoutesArePure: the same questions go the same ways all at once, one by one,
// and in pairs from the last.
func TestRoutesArePure(t *testing.T) {
	lm := modeltest.Tiny(t, orttest.Open(t), tinylm.Config{Family: tinylm.GPT2}, models.Options{Threads: 1})
	questions := []string{"the town", "of the town is", "a", "the town of", "it is", "of", "the the the", "is a town"}
	var went []string
	p := &patch.Patch{Routes: []patch.Route{nearest{texts: []string{"the town", "it is a"}, within: 1e9, went: &went}}}
	row := func(i int) Row {
		return Row{Query: ask.Query{Prompt: questions[i], Targets: []string{"town"}}, Patch: p}
	}
	var rows []Row
	for i := range questions {
		rows = append(rows, row(i))
	}
	all := score(t, lm, rows...)
	want := slices.Clone(went)
	if slices.Contains(want, "") || len(slices.Compact(slices.Sorted(slices.Values(want)))) != 2 {
		t.Fatalf("the ways are %q; the test wants both", want)
	}
	went = nil
	for i := range questions {
		if d := modeltest.WorstLogProb(t, score(t, lm, row(i)), all[i:i+1]); d > modeltest.LogProbTolerance {
			t.Errorf("%q alone answers otherwise by %g", questions[i], d)
		}
	}
	if !slices.Equal(went, want) {
		t.Errorf("one by one the ways are %q, together %q", went, want)
	}
	went = nil
	for i := len(questions) - 2; i >= 0; i -= 2 {
		score(t, lm, row(i+1), row(i))
	}
	slices.Reverse(went)
	if !slices.Equal(went, want) {
		t.Errorf("in pairs the ways are %q, together %q", went, want)
	}
	far := &patch.Patch{Routes: []patch.Route{nearest{texts: []string{"the town"}, within: -1, went: &went}}}
	if d := modeltest.WorstLogProb(t, score(t, lm, Row{Query: rows[0].Query, Patch: far}), score(t, lm, Row{Query: rows[0].Query})); d != 0 {
		t.Errorf("out of scope the answer differs by %g", d)
	}
}
