package models

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"editpipe/ask"
	"editpipe/internal/tinylm"
	"editpipe/ort/orttest"
)

// counted is a scorer that notes the size of every call and passes it on.
type counted struct {
	Scorer
	mu    sync.Mutex
	calls []string
}

func (c *counted) note(kind string, rows []Row) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, fmt.Sprintf("%s %d", kind, len(rows)))
}

func (c *counted) Score(ctx context.Context, rows []Row) ([]ask.Answer, error) {
	c.note("score", rows)
	return c.Scorer.Score(ctx, rows)
}

func (c *counted) Generate(ctx context.Context, rows []Row, o ask.Sampling) ([]ask.Answer, error) {
	c.note("generate", rows)
	return c.Scorer.Generate(ctx, rows, o)
}

// TestGatherMakesCommonCalls: wraps that ask once, several times, at the same
// time, in both ways, or not at all share as few calls as their order allows,
// and each gets its own answers.
func TestGatherMakesCommonCalls(t *testing.T) {
	env := orttest.Open(t)
	lm := tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, Options{})
	r := rand.New(rand.NewPCG(1, 1))
	row := func() []Row { return []Row{{Query: randomQuery(lm, r, 2+r.IntN(9), 2)}} }
	check := func(ctx context.Context, g gathered, rows []Row) error {
		got, err := g.Score(ctx, rows)
		if err != nil {
			return err
		}
		want, err := lm.Score(ctx, rows)
		if err != nil {
			return err
		}
		if len(got) != len(want) || worstLogProb(t, got, want) > logProbTolerance {
			return errors.New("answers of somebody else")
		}
		return nil
	}
	once, thrice, both, apart := row(), slices.Concat(row(), row(), row()), [][]Row{row(), row()}, row()
	core := &counted{Scorer: lm}
	err := gather(t.Context(), core, []func(context.Context, gathered) error{
		func(context.Context, gathered) error { return nil },
		func(ctx context.Context, g gathered) error { return check(ctx, g, once) },
		func(ctx context.Context, g gathered) error {
			for i := range thrice {
				if err := check(ctx, g, thrice[:i+1]); err != nil {
					return err
				}
			}
			return nil
		},
		func(ctx context.Context, g gathered) error {
			errs := make([]error, len(both))
			var wg sync.WaitGroup
			for i := range both {
				wg.Go(func() { errs[i] = check(ctx, g, both[i]) })
			}
			wg.Wait()
			return errors.Join(errs...)
		},
		func(ctx context.Context, g gathered) error {
			got, err := g.Generate(ctx, apart, ask.Sampling{MaxNew: 3})
			if err == nil && len(got[0].TextIDs) != 3 && got[0].StoppedBy == "length" {
				err = fmt.Errorf("generated %v", got[0].TextIDs)
			}
			return err
		},
	})
	must(t, err)
	// Three rounds, for the wrap that asks three times, and one generation.
	scores, rows := 0, 0
	for _, c := range core.calls {
		var n int
		if _, err := fmt.Sscanf(c, "score %d", &n); err == nil {
			scores, rows = scores+1, rows+n
		}
	}
	if len(core.calls) != scores+1 || scores != 3 || rows != 1+1+2+3+2 {
		t.Errorf("calls %q", core.calls)
	}
}

// lock is a wrap that asks while it holds a lock of others, against the rules.
type lock struct {
	suffix
	mu *sync.Mutex
}

type locked struct {
	lock
	Scorer
}

func (l lock) Around(next Scorer) Scorer { return locked{l, l.suffix.Around(next)} }

func (l locked) Score(ctx context.Context, rows []Row) ([]ask.Answer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Scorer.Score(ctx, rows)
}

// TestGatherNeverHangs: a lock shared between wraps costs time, an error or the
// end of the context ends all.
func TestGatherNeverHangs(t *testing.T) {
	env := orttest.Open(t)
	lm := tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, Options{})
	q := ask.Query{Prompt: "the", Targets: []string{"town"}}
	var mu sync.Mutex
	through := func(w Wrap) Row { return Row{Query: q, Patch: &Patch{Wraps: []Wrap{w}}} }
	got := score(t, lm, through(lock{suffix{Text: " a"}, &mu}), through(lock{suffix{Text: " of"}, &mu}))
	plain := func(prompt string) Row { return Row{Query: ask.Query{Prompt: prompt, Targets: q.Targets}} }
	if d := worstLogProb(t, got, score(t, lm, plain("the a"), plain("the of"))); d > logProbTolerance {
		t.Errorf("answers differ by %g", d)
	}

	broken := errors.New("broken")
	ctx, cancel := context.WithCancel(t.Context())
	for name, c := range map[string]struct {
		first func(context.Context) error
		want  error
	}{
		"error":  {func(context.Context) error { return broken }, broken},
		"cancel": {func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() }, context.Canceled},
	} {
		err := gather(ctx, lm, []func(context.Context, gathered) error{
			func(ctx context.Context, _ gathered) error { return c.first(ctx) },
			func(ctx context.Context, g gathered) error {
				<-ctx.Done() // must come, and what is asked afterwards must return
				_, err := g.Score(ctx, []Row{{Query: q}})
				return err
			},
		})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "cancel" {
			ctx, cancel = context.WithCancel(t.Context())
		}
	}
	cancel()

	// A wrap that returns while it still asks holds nobody up.
	start := time.Now()
	var stray sync.WaitGroup
	must(t, gather(t.Context(), lm, []func(context.Context, gathered) error{
		func(ctx context.Context, g gathered) error {
			stray.Go(func() { _, _ = g.Score(t.Context(), []Row{{Query: q}}) })
			return nil
		},
		func(ctx context.Context, g gathered) error {
			for range 5 {
				if _, err := g.Score(ctx, []Row{{Query: q}}); err != nil {
					return err
				}
			}
			return nil
		},
	}))
	stray.Wait()
	if d := time.Since(start); d > 5*patience {
		t.Errorf("%v for five questions", d)
	}

	// What a wrap kept may still be asked when all is over.
	var kept gathered
	must(t, gather(t.Context(), lm, []func(context.Context, gathered) error{func(_ context.Context, g gathered) error { kept = g; return nil }}))
	late, err := kept.Score(t.Context(), []Row{{Query: q}})
	must(t, err)
	must(t, late[0].Err)
}

// TestWrapsSeeTheModel: the scorer that a wrap is given counts tokens as the
// model does.
func TestWrapsSeeTheModel(t *testing.T) {
	env := orttest.Open(t)
	lm := tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, Options{})
	var next Scorer
	must(t, errors.Join(gather(t.Context(), lm, []func(context.Context, gathered) error{
		func(_ context.Context, g gathered) error { next = within{lm, g}; return nil },
	})))
	m, ok := next.(interface {
		PromptTokens(prompt, target string) (int, error)
		Context() int
	})
	if !ok {
		t.Fatalf("%T counts no tokens", next)
	}
	got, err := m.PromptTokens("the town", "of")
	must(t, err)
	want, err := lm.PromptTokens("the town", "of")
	must(t, err)
	if got != want || m.Context() != lm.Context() {
		t.Errorf("%d tokens of %d, want %d of %d", got, m.Context(), want, lm.Context())
	}
}

// TestManyWraps: every edit with its own wrap, and some without.
func TestManyWraps(t *testing.T) {
	env := orttest.Open(t)
	lm := tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, Options{})
	var rows, plain []Row
	for i := range 40 {
		text := strings.Repeat(" of", i%7)
		p := &Patch{Wraps: []Wrap{suffix{Text: text}}}
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
	if d := worstLogProb(t, got, score(t, lm, plain...)); d > logProbTolerance {
		t.Errorf("wrapped answers differ by %g", d)
	}
	if got[0].KL == nil || *got[0].KL > logProbTolerance || got[2].KL == nil || *got[2].KL < 1e-4 {
		t.Error("divergence from the unwrapped question")
	}
}
