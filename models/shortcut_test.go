package models

import (
	"editpipe/models/arch"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/internal/tinylm"
	"editpipe/onnx"
	"editpipe/ort/orttest"
)

// rewriteGraph changes a graph file of a model folder.
func rewriteGraph(t *testing.T, dir, file string, change func(m *onnx.Model)) {
	t.Helper()
	path := filepath.Join(dir, file)
	m, err := onnx.Open(path)
	must(t, err)
	change(m)
	must(t, m.Check())
	data, err := m.Bytes() // before the file is written anew
	must(t, err)
	must(t, m.Close())
	must(t, os.WriteFile(path, data, 0o644))
}

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
		if d := worstLogProb(t, score(t, lm, rows...), score(t, whole, rows...)); d > logProbTolerance {
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

// TestFailedSearchShortcuts: a search whose savings fail goes on without.
func TestFailedSearchShortcuts(t *testing.T) {
	env := orttest.Open(t)
	at := []arch.Site{{Layer: 0, Point: arch.FFNOut}}
	lm := tiny(t, env, tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.WithPast}, Options{Threads: 1})
	rows := lossRows(t, lm, rand.New(rand.NewPCG(4, 4)), at[0])
	h, err := lm.Hold(t.Context(), at, rows, 1)
	must(t, err)
	for _, x := range h.runs[0].kept {
		must(t, x.Close()) // so that its next run fails
	}
	compareHeld(t, lm, h, at, rows)
	must(t, h.Close())
	again, err := lm.Hold(t.Context(), at, rows, 1)
	must(t, err)
	if h.runs != nil || again.saves != savesLayers {
		t.Errorf("runs %v, then saving %d", h.runs, again.saves)
	}
	compareHeld(t, lm, again, at, rows)
	must(t, again.Close())
	if said := lm.Abandoned(); len(said) != 1 || !strings.Contains(said[0], "before the tokens") {
		t.Errorf("given up: %q", said)
	}
}
