//go:build shared

package models

import (
	"editpipe/models/arch"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"editpipe/ort/orttest"
)

// TestHeldLossesOfExports: every saving applies to exported models, and none
// changes a result.
func TestHeldLossesOfExports(t *testing.T) {
	dir, env := fixtures(t), orttest.Open(t)
	for _, path := range []string{"arch/gpt2", "arch/gptj", "arch/llama", "arch/llama_gqa", "world"} {
		t.Run(path, func(t *testing.T) {
			lm := openModel(t, env, filepath.Join(dir, filepath.FromSlash(path)), Options{Threads: 1})
			at := []arch.Site{{Layer: 0, Point: arch.FFNOut}}
			rows := lossRows(t, lm, rand.New(rand.NewPCG(4, 4)), at[0])
			for i := range rows {
				if i%2 == 0 {
					rows[i].Patch = nil
				}
			}
			for _, s := range []saving{savesLayers, savesBoth} {
				h, err := hold(t.Context(), lm, at, rows, 1, s)
				must(t, err)
				compareHeld(t, lm, h, at, rows)
				must(t, h.Close())
			}
		})
	}
}
