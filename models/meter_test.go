package models

import (
	"math/rand/v2"
	"sync"
	"testing"

	"editpipe/internal/tinylm"
	"editpipe/ort/orttest"
)

// TestMeter: sessions built while a meter runs are in its figures, and one may
// be read while others are built.
func TestMeter(t *testing.T) {
	env := orttest.Open(t)
	lm := tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, Options{})
	r := rand.New(rand.NewPCG(1, 1))
	w := lm.Info().FFNs[0].Up
	rows := []Row{
		{Query: randomQuery(lm, r, 4, 2)},
		{Query: randomQuery(lm, r, 4, 2), Patch: &Patch{Weights: []Weight{{At: w.ID, U: randn(r, 0.1, w.In, 1), V: randn(r, 0.1, 1, w.Out)}}}},
	}
	m := lm.StartMeter()
	if n := builtOf(lm); n != 0 {
		t.Errorf("%d sessions before the first question", n)
	}
	var wg sync.WaitGroup
	for _, row := range rows {
		wg.Go(func() {
			if _, err := lm.Score(t.Context(), []Row{row}); err != nil {
				t.Error(err)
			}
		})
	}
	for range 10 {
		builtOf(lm)
	}
	wg.Wait()
	u := m.Stop()
	if n := builtOf(lm); n != 2 {
		t.Errorf("%d sessions, want one with slots at the down-projections and one with all", n)
	}
	if u.Wall <= 0 || u.CPU <= 0 {
		t.Errorf("usage %+v", u)
	}
	if u.PeakVRAM != nil {
		t.Errorf("device memory of a model in main memory: %d", *u.PeakVRAM)
	}
}
