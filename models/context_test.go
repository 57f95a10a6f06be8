package models_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/ort/orttest"
)

// reconfigure changes members of a model's config.json; nil takes one away.
func reconfigure(t *testing.T, dir string, changes map[string]any) string {
	t.Helper()
	path := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(path)
	modeltest.Must(t, err)
	c := map[string]any{}
	modeltest.Must(t, json.Unmarshal(data, &c))
	for k, v := range changes {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	data, err = json.Marshal(c)
	modeltest.Must(t, err)
	modeltest.Must(t, os.WriteFile(path, data, 0o644))
	return dir
}

// TestContextIsTheSmaller: the most positions are those of the configuration or
// of the graph's table of positions, whichever is smaller; rotary positions that
// are computed have no table.
func TestContextIsTheSmaller(t *testing.T) {
	const table, all = 24, 0
	for _, c := range []struct {
		c    tinylm.Config
		key  string
		rows int // of the table; 0: none
	}{
		{tinylm.Config{Family: tinylm.GPT2}, "n_positions", table},
		{tinylm.Config{Family: tinylm.GPT2, NoPositionIDs: true, Cache: tinylm.WithPast, NoScopes: true}, "n_positions", table},
		{tinylm.Config{Family: tinylm.GPT2, Opset: 20, Cache: tinylm.Merged}, "n_positions", table},
		{tinylm.Config{Family: tinylm.GPTJ}, "n_positions", table},
		{tinylm.Config{Family: tinylm.GPTJ, NoPositionIDs: true}, "n_positions", table},
		{tinylm.Config{Family: tinylm.T5}, "n_positions", all},
	} {
		c.c.Context = table
		t.Run(fmt.Sprintf("%s %v %s", c.c.Family, c.c.NoPositionIDs, c.c.Cache), func(t *testing.T) {
			dir := modeltest.Folder(t, c.c)
			for _, said := range []any{nil, table / 2, float64(table), 1000} {
				info, err := models.Inspect(reconfigure(t, dir, map[string]any{c.key: said}))
				modeltest.Must(t, err)
				want, from := c.rows, "rows of"
				if said == table/2 && c.rows > 0 {
					want, from = table/2, "config.json"
				}
				if said == float64(table) && c.rows > 0 {
					from = "config.json"
				}
				if want == 0 {
					from = ""
				}
				if info.Context != want || !strings.HasPrefix(info.ContextFrom, from) || said == 1000 && want > 0 && !strings.Contains(info.ContextFrom, "1000") {
					t.Errorf("config says %v: context %d (%s), want %d (%s)", said, info.Context, info.ContextFrom, want, from)
				}
			}
		})
	}
}

// TestLongRowLeavesOthers: a row beyond the table is too long, whatever the
// configuration says, and the others are answered.
func TestLongRowLeavesOthers(t *testing.T) {
	env := orttest.Open(t)
	c := tinylm.Config{Family: tinylm.GPT2, Context: 24}
	whole := modeltest.Tiny(t, env, c, models.Options{})
	r := rand.New(rand.NewPCG(5, 5))
	rows := []answer.Row{{Query: modeltest.RandomQuery(whole, r, 30, 2)}, {Query: modeltest.RandomQuery(whole, r, 20, 2)}, {Query: modeltest.RandomQuery(whole, r, 23, 1)}, {Query: modeltest.RandomQuery(whole, r, 22, 2)}}
	want, err := answer.Score(t.Context(), whole, rows)
	modeltest.Must(t, err)
	for _, said := range []any{nil, 1000} {
		lm := modeltest.Open(t, env, reconfigure(t, modeltest.Folder(t, c), map[string]any{"n_positions": said}), models.Options{})
		got, err := answer.Score(t.Context(), lm, rows)
		modeltest.Must(t, err)
		for i, a := range got {
			if errors.Is(a.Err, ask.ErrTooLong) != (i == 0) || errors.Is(want[i].Err, ask.ErrTooLong) != (i == 0) {
				t.Errorf("config says %v: row %d: %v, with the whole configuration %v", said, i, a.Err, want[i].Err)
			}
		}
		if d := modeltest.WorstLogProb(t, got[1:], want[1:]); d != 0 {
			t.Errorf("config says %v: answers differ by %g", said, d)
		}
	}
}
