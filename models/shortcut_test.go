package models

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/internal/tinylm"
	"editpipe/onnx"
	"editpipe/ort/orttest"
)

// oneRow makes a graph fail on more than one row.
func oneRow(t *testing.T) func(m *onnx.Model) {
	return func(m *onnx.Model) {
		must(t, m.Splice("position_ids", func(b *onnx.Builder, in string) (string, error) {
			return b.Op("Unsqueeze", []string{b.Op("Squeeze", []string{in, b.Int64s(0)}), b.Int64s(0)}), nil
		}))
	}
}

// TestFailedShortcuts: a graph with past that fails on several rows, as attention
// does that takes their lengths, ends nothing: the answers are those of the plain
// graph, and what was given up is said once.
func TestFailedShortcuts(t *testing.T) {
	env := orttest.Open(t)
	c := tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.WithPast}
	dir := tinyFolder(t, c)
	whole := openModel(t, env, dir, Options{Threads: 1})
	broken := tinyFolder(t, c)
	rewriteGraph(t, broken, "model_with_past.onnx", oneRow(t))
	lm := openModel(t, env, broken, Options{Threads: 1})
	r := rand.New(rand.NewPCG(6, 1))

	for range 2 {
		rows := behindBeginnings(lm, r, []*Patch{nil, randomPatch(lm, r, 0.3)}, 20, 30, 25)
		if d := worstLogProb(t, answersOf(t, lm, rows...), answersOf(t, whole, rows...)); d > logProbTolerance {
			t.Errorf("answers differ by %g", d)
		}
		o := ask.Sampling{MaxNew: 6}
		got, err := lm.Generate(t.Context(), rows, o)
		must(t, err)
		want, err := whole.Generate(t.Context(), rows, o)
		must(t, err)
		for i := range rows {
			if !slices.Equal(got[i].TextIDs, want[i].TextIDs) {
				t.Errorf("row %d: generated %v, want %v", i, got[i].TextIDs, want[i].TextIDs)
			}
		}
	}
	if said := lm.Abandoned(); len(said) != 2 || !strings.Contains(said[0], "questions begin with") || !strings.Contains(said[1], "cached keys") || len(whole.Abandoned()) != 0 {
		t.Errorf("given up: %q and %q", said, whole.Abandoned())
	}
}
