package loss

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
	"editpipe/models/run"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// compareHeld asks held rows, all and some of them, and compares with Losses.
func compareHeld(t *testing.T, lm *models.LM, h *Held, at []arch.Site, rows []Row) {
	t.Helper()
	want, err := At(t.Context(), lm, at, rows)
	modeltest.Must(t, err)
	for _, which := range [][]int{{0, 1, 2, 3, 4}, {3, 1}, nil} {
		var some []Row
		for _, i := range which {
			some = append(some, rows[i])
		}
		got, err := h.Losses(t.Context(), which, some)
		modeltest.Must(t, err)
		if len(got) != len(which) {
			t.Fatalf("%d losses of %d rows", len(got), len(which))
		}
		for k, i := range which {
			modeltest.Must(t, got[k].Err)
			for what, d := range map[string]float64{
				"gradients": modeltest.MaxDiff(got[k].Gradient, want[i].Gradient), "log-probabilities": modeltest.MaxDiff64(got[k].LogProbs, want[i].LogProbs),
				"losses": modeltest.MaxDiff64([]float64{got[k].Loss}, []float64{want[i].Loss}), "best ones": modeltest.MaxDiff64(got[k].Best, want[i].Best),
			} {
				if !(d < modeltest.HeldTolerance) {
					t.Errorf("%v row %d: %s differ by %g", at, i, what, d)
				}
			}
			if (got[k].Distributions == nil) == rows[i].Distributions {
				t.Errorf("row %d: distributions %v", i, got[k].Distributions)
			}
		}
	}
}

// TestHeldLosses: no saving changes a loss or a gradient, with shifts and terms
// that differ from those held, plain rows and patched ones.
func TestHeldLosses(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{
		{Family: tinylm.GPT2, Cache: tinylm.WithPast}, {Family: tinylm.GPT2, Cache: tinylm.Merged}, {Family: tinylm.GPTJ, Cache: tinylm.WithPast},
		{Family: tinylm.LLaMA, Cache: tinylm.WithPast}, {Family: tinylm.LLaMA, Cache: tinylm.WithPast, KVHeads: 2}, {Family: tinylm.LLaMA, NamedWeights: true, NoScopes: true},
	} {
		t.Run(fmt.Sprint(c.Family, c.Cache, c.KVHeads), func(t *testing.T) {
			lm := modeltest.Tiny(t, env, c, models.Options{Threads: 1})
			for _, at := range [][]arch.Site{{{Layer: 0, Point: arch.FFNOut}}, {{Layer: 1, Point: arch.FFNOut}, {Layer: 1, Point: arch.AttnOut}}} {
				r := rand.New(rand.NewPCG(4, 4))
				rows := lossRows(t, lm, r, at[0])
				held := make([]Row, len(rows))
				for i := range rows {
					rows[i].Shift = modeltest.Randn(r, 0.5, len(at)*lm.Info().Width).Float32s()
					rows[i].Distributions = i%2 == 0
					if at[0].Layer == 1 {
						rows[i].Patch = nil
					}
					held[i] = rows[i]
					held[i].Shift, held[i].Distributions = nil, false
					for k := range held[i].Terms {
						held[i].Terms = append([]Term(nil), held[i].Terms...)
						held[i].Terms[k].NLL *= 2
					}
				}
				for _, s := range []saving{savesNothing, savesLayers, savesBoth} {
					if s == savesBoth && c.Cache == tinylm.NoCache {
						continue
					}
					h, err := hold(t.Context(), lm, at, held, 1, s)
					modeltest.Must(t, err)
					compareHeld(t, lm, h, at, rows)
					modeltest.Must(t, h.Close())
				}
			}
		})
	}
}

// TestHeldRuns: what does not fit into one run goes into several, down to one
// row in each, with the same results.
func TestHeldRuns(t *testing.T) {
	env := orttest.Open(t)
	at := []arch.Site{{Layer: 0, Point: arch.FFNOut}}
	for _, budget := range []int64{1, 1 << 22} {
		lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.WithPast}, models.Options{Threads: 2, MemoryBudget: budget})
		rows := lossRows(t, lm, rand.New(rand.NewPCG(4, 4)), at[0])
		for _, lanes := range []int{1, 2} {
			n, least := HoldRows(lm, at, rows, lanes), 1
			if budget > 1 {
				least = 2
			}
			if n < least || n > len(rows) || budget == 1 && n != 1 {
				t.Errorf("budget of %d shared by %d: %d rows in a run", budget, lanes, n)
			}
			h, err := Hold(t.Context(), lm, at, rows, lanes)
			modeltest.Must(t, err)
			if budget == 1 && len(h.runs) != len(rows) {
				t.Errorf("%d runs of %d rows", len(h.runs), len(rows))
			}
			compareHeld(t, lm, h, at, rows)
			modeltest.Must(t, h.Close())
			modeltest.Must(t, h.Close())
		}
	}
}

// TestHeldDense: rows of one dense patch share runs, of a graph in which its
// weights are inputs.
func TestHeldDense(t *testing.T) {
	env := orttest.Open(t)
	at := []arch.Site{{Layer: 0, Point: arch.FFNOut}}
	r := rand.New(rand.NewPCG(4, 4))
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.WithPast}, models.Options{Threads: 1})
	rows := lossRows(t, lm, r, at[0])
	dense := &patch.Patch{}
	for layer := range lm.Info().Layers {
		w := lm.Info().FFN(arch.Decoder, layer).Down
		dense.Weights = append(dense.Weights, patch.Weight{At: w.ID, Delta: modeltest.Randn(r, 0.1, w.In, w.Out)})
	}
	for i := range rows {
		rows[i].Patch = nil
		if i < 3 {
			rows[i].Patch = dense
		}
	}
	if n := HoldRows(lm, at, rows, 1); n != 3 {
		t.Errorf("%d rows in a run, 3 have the patch", n)
	}
	h, err := Hold(t.Context(), lm, at, rows, 1)
	modeltest.Must(t, err)
	if len(h.runs) != 2 || h.runs[0].spec.Take.Replaced == "" || h.runs[1].spec.Take.Replaced != "" {
		t.Errorf("%d runs", len(h.runs))
	}
	compareHeld(t, lm, h, at, rows)
	modeltest.Must(t, h.Close())
}

// TestHeldWithout: a model that does not allow a saving is asked without it, and
// what is wrong with a row is an error.
func TestHeldWithout(t *testing.T) {
	env := orttest.Open(t)
	at := []arch.Site{{Layer: 1, Point: arch.FFNOut}}
	for _, c := range []struct {
		model  tinylm.Config
		change func(rows []Row)
		role   arch.Role
	}{
		{tinylm.Config{Family: tinylm.GPT2}, func([]Row) {}, arch.Forward},
		{tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.WithPast, NoPositionIDs: true}, func([]Row) {}, arch.Forward},
		{tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.WithPast}, func([]Row) {}, arch.Step},
		// Nothing before the shifts, one of which is at every position.
		{tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.WithPast}, func(rows []Row) {
			for i := range rows {
				rows[i].At = 0
			}
			rows[0].Everywhere = true
		}, arch.Forward},
		// With padding longer than the context: one row is long before the shift,
		// another behind it.
		{tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.WithPast, Context: 16}, func(rows []Row) {
			rows[4].At, rows[3].At = len(rows[4].IDs)-2, 0
		}, arch.Forward},
	} {
		lm := modeltest.Tiny(t, env, c.model, models.Options{Threads: 1})
		rows := lossRows(t, lm, rand.New(rand.NewPCG(4, 4)), at[0])
		c.change(rows)
		h, err := Hold(t.Context(), lm, at, rows, 1)
		modeltest.Must(t, err)
		if len(h.runs) != 1 || h.runs[0].spec.Role != c.role {
			t.Errorf("%+v: %d runs, role %d, want %d", c.model, len(h.runs), h.runs[0].spec.Role, c.role)
		}
		compareHeld(t, lm, h, at, rows)
		outside := rows[1]
		outside.Terms = []Term{{Position: 0, NLL: 1}}
		if first, _ := rows[1].reach(); first > 0 {
			if _, err := h.Losses(t.Context(), []int{1}, []Row{outside}); err == nil || !strings.Contains(err.Error(), "row 1") {
				t.Errorf("a term before those held: %v", err)
			}
		}
		modeltest.Must(t, h.Close())

		bad := append([]Row(nil), rows...)
		bad[2].At = 99
		if _, err := Hold(t.Context(), lm, at, bad, 1); !errors.Is(err, arch.ErrSite) || !strings.Contains(err.Error(), "row 2") {
			t.Errorf("a position outside: %v", err)
		}
		if _, err := Hold(t.Context(), lm, []arch.Site{{Layer: 9, Point: arch.FFNOut}}, rows, 1); !errors.Is(err, arch.ErrSite) {
			t.Errorf("no such layer: %v", err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Hold(ended, lm, at, rows, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	}
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.T5}, models.Options{Threads: 1})
	if _, err := Hold(t.Context(), lm, at, nil, 1); !errors.Is(err, arch.ErrNoGradient) {
		t.Errorf("encoder-decoder: %v", err)
	}
}

// TestHeldCompositions: no saving of a search changes a loss or a gradient, for
// rows that begin to be shifted at different positions.
func TestHeldCompositions(t *testing.T) {
	env := orttest.Open(t)
	at := []arch.Site{{Layer: 0, Point: arch.FFNOut}}
	for name, saves := range map[string]saving{
		"local windows": savesBoth, "sliding window, dynamo": savesBoth, "alibi, merged": savesBoth, "positions of the mask": savesBoth,
		"MultiHeadAttention, window": savesBoth, "stacked": savesBoth, "positions counted": savesLayers, "GroupQueryAttention": savesLayers,
	} {
		t.Run(name, func(t *testing.T) {
			lm := modeltest.Tiny(t, env, modeltest.AttentionForms[name], models.Options{Threads: 1})
			rows := lossRows(t, lm, rand.New(rand.NewPCG(4, 4)), at[0])
			h, err := Hold(t.Context(), lm, at, rows, 1)
			modeltest.Must(t, err)
			if h.saves != saves || len(lm.Abandoned()) > 0 {
				t.Errorf("saving %d, want %d; given up %q", h.saves, saves, lm.Abandoned())
			}
			compareHeld(t, lm, h, at, rows)
			modeltest.Must(t, h.Close())
		})
	}
}

// TestPaddingBehindLengths: what attention that takes lengths gives back behind a
// row is that of a computation, the same every time. Were it whatever memory held,
// gradients of the row could become NaN.
func TestPaddingBehindLengths(t *testing.T) {
	env := orttest.Open(t)
	lm := modeltest.Tiny(t, env, modeltest.AttentionForms["GroupQueryAttention"], models.Options{Threads: 1})
	site := arch.Site{Layer: 0, Point: arch.AttnOut}
	r := rand.New(rand.NewPCG(4, 5))
	rows := lossRows(t, lm, r, arch.Site{Layer: 0, Point: arch.FFNOut})
	var questions []*run.Question
	for _, n := range []int{3, 20, 9} {
		questions = append(questions, &run.Question{Sequence: run.Sequence{Prompt: modeltest.RandomQuery(lm, r, n, 1).PromptIDs}})
	}
	var first []float32
	for range 5 {
		_, err := At(t.Context(), lm, []arch.Site{{Layer: 0, Point: arch.FFNOut}}, rows) // leaves other numbers in memory
		modeltest.Must(t, err)
		made := run.New(lm, arch.Forward, questions, nil)
		made.Spec.Give = graph.Taps{Top: site.Layer}
		var tapped []int64
		for i := range len(questions) * made.T {
			tapped = append(tapped, int64(i))
		}
		made.Inputs[graph.TapRows] = tensor.FromInt64s(tapped, len(tapped))
		made.Outputs[graph.Tap(site)] = nil
		modeltest.Must(t, made.Compute(t.Context()))
		got := made.Outputs[graph.Tap(site)].Float32s()
		if first == nil {
			first = got
		}
		if !slices.Equal(got, first) {
			t.Fatal("padding is not computed")
		}
	}
}

// TestFailedSearchShortcuts: a search whose savings fail goes on without.
func TestFailedSearchShortcuts(t *testing.T) {
	env := orttest.Open(t)
	at := []arch.Site{{Layer: 0, Point: arch.FFNOut}}
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.WithPast}, models.Options{Threads: 1})
	rows := lossRows(t, lm, rand.New(rand.NewPCG(4, 4)), at[0])
	h, err := Hold(t.Context(), lm, at, rows, 1)
	modeltest.Must(t, err)
	for _, x := range h.runs[0].kept {
		modeltest.Must(t, x.Close()) // so that its next run fails
	}
	compareHeld(t, lm, h, at, rows)
	modeltest.Must(t, h.Close())
	again, err := Hold(t.Context(), lm, at, rows, 1)
	modeltest.Must(t, err)
	if h.runs != nil || again.saves != savesLayers {
		t.Errorf("runs %v, then saving %d", h.runs, again.saves)
	}
	compareHeld(t, lm, again, at, rows)
	modeltest.Must(t, again.Close())
	if said := lm.Abandoned(); len(said) != 1 || !strings.Contains(said[0], "before the tokens") {
		t.Errorf("given up: %q", said)
	}
}
