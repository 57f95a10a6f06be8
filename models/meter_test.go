package models_test

import (
	"math/rand/v2"
	"sync"
	"testing"

	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/models/patch"
	"editpipe/ort/orttest"
)

// TestMeter: sessions built while a meter runs are in its figures, and one may
// be read while others are built.
func TestMeter(t *testing.T) {
	env := orttest.Open(t)
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, models.Options{})
	r := rand.New(rand.NewPCG(1, 1))
	w := lm.Info().FFNs[0].Up
	rows := []answer.Row{
		{Query: modeltest.RandomQuery(lm, r, 4, 2)},
		{Query: modeltest.RandomQuery(lm, r, 4, 2), Patch: &patch.Patch{Weights: []patch.Weight{{At: w.ID, U: modeltest.Randn(r, 0.1, w.In, 1), V: modeltest.Randn(r, 0.1, 1, w.Out)}}}},
	}
	m := lm.StartMeter()
	if n := models.BuiltOf(lm); n != 0 {
		t.Errorf("%d sessions before the first question", n)
	}
	var wg sync.WaitGroup
	for _, row := range rows {
		wg.Go(func() {
			if _, err := answer.Score(t.Context(), lm, []answer.Row{row}); err != nil {
				t.Error(err)
			}
		})
	}
	for range 10 {
		models.BuiltOf(lm)
	}
	wg.Wait()
	u := m.Stop()
	if n := models.BuiltOf(lm); n != 2 {
		t.Errorf("%d sessions, want one with slots at the down-projections and one with all", n)
	}
	if u.Wall <= 0 || u.CPU <= 0 {
		t.Errorf("usage %+v", u)
	}
	if u.PeakVRAM != nil {
		t.Errorf("device memory of a model in main memory: %d", *u.PeakVRAM)
	}
}
