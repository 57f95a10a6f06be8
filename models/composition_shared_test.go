//go:build shared

package models

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"editpipe/ort/orttest"
)

// TestCompositionsOfExports: whatever rows are asked together, and however what
// they share is computed, an exported model answers as it does each alone.
func TestCompositionsOfExports(t *testing.T) {
	dir, env := fixtures(t), orttest.Open(t)
	for _, c := range []struct {
		path string
		n    int
	}{
		{"../cases/models/gpt_neo", 1000}, {"../cases/models/opt", 200},
		{"arch/gpt2", 100}, {"arch/gptj", 100}, {"arch/llama", 100}, {"arch/llama_gqa", 100}, {"world", 50},
	} {
		t.Run(filepath.Base(c.path), func(t *testing.T) {
			lm := openModel(t, env, filepath.Join(dir, filepath.FromSlash(c.path)), Options{Threads: 1})
			worst, saved := compositions(t, lm, rand.New(rand.NewPCG(9, 1)), c.n)
			t.Logf("largest difference of %d compositions %.2g nats; savings %v", c.n, worst, saved)
			if worst > logProbTolerance {
				t.Errorf("answers differ by %g nats", worst)
			}
		})
	}
}
