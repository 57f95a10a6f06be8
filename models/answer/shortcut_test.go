package answer

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/patch"
	"editpipe/onnx"
	"editpipe/ort/orttest"
)

// oneRow makes a graph fail on more than one row.
func oneRow(t *testing.T) func(m *onnx.Model) {
	return func(m *onnx.Model) {
		modeltest.Must(t, m.Splice("position_ids", func(b *onnx.Builder, in string) (string, error) {
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
	dir := modeltest.Folder(t, c)
	whole := modeltest.Open(t, env, dir, models.Options{Threads: 1})
	broken := modeltest.Folder(t, c)
	modeltest.RewriteGraph(t, broken, "model_with_past.onnx", oneRow(t))
	lm := modeltest.Open(t, env, broken, models.Options{Threads: 1})
	r := rand.New(rand.NewPCG(6, 1))

	for range 2 {
		rows := behindBeginnings(lm, r, []*patch.Patch{nil, modeltest.RandomPatch(lm, r, 0.3)}, 20, 30, 25)
		if d := modeltest.WorstLogProb(t, score(t, lm, rows...), score(t, whole, rows...)); d > modeltest.LogProbTolerance {
			t.Errorf("answers differ by %g", d)
		}
		o := ask.Sampling{MaxNew: 6}
		got, err := Generate(t.Context(), lm, rows, o)
		modeltest.Must(t, err)
		want, err := Generate(t.Context(), whole, rows, o)
		modeltest.Must(t, err)
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
