//go:build shared

package loss

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"editpipe/internal/modeltest"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/ort/orttest"
)

// TestHeldLossesOfExports: every saving applies to exported models, and none
// changes a result.
func TestHeldLossesOfExports(t *testing.T) {
	dir, env := modeltest.Fixtures(t), orttest.Open(t)
	for _, path := range []string{"arch/gpt2", "arch/gptj", "arch/llama", "arch/llama_gqa", "world"} {
		t.Run(path, func(t *testing.T) {
			lm := modeltest.Open(t, env, filepath.Join(dir, filepath.FromSlash(path)), models.Options{Threads: 1})
			at := []arch.Site{{Layer: 0, Point: arch.FFNOut}}
			rows := lossRows(t, lm, rand.New(rand.NewPCG(4, 4)), at[0])
			for i := range rows {
				if i%2 == 0 {
					rows[i].Patch = nil
				}
			}
			for _, s := range []saving{savesLayers, savesBoth} {
				h, err := hold(t.Context(), lm, at, rows, 1, s)
				modeltest.Must(t, err)
				compareHeld(t, lm, h, at, rows)
				modeltest.Must(t, h.Close())
			}
		})
	}
}
