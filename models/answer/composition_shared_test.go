//go:build shared

package answer

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"editpipe/internal/modeltest"
	"editpipe/models"
	"editpipe/ort/orttest"
)

// TestCompositionsOfExports: whatever rows are asked together, and however what
// they share is computed, an exported model answers as it does each alone.
func TestCompositionsOfExports(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []struct {
		path string
		n    int
	}{
		{"cases/models/gpt_neo", 1000}, {"cases/models/opt", 200},
		{"fixtures/arch/gpt2", 100}, {"fixtures/arch/gptj", 100}, {"fixtures/arch/llama", 100}, {"fixtures/arch/llama_gqa", 100}, {"fixtures/world", 50},
	} {
		t.Run(filepath.Base(c.path), func(t *testing.T) {
			lm := modeltest.Open(t, env, modeltest.Shared(t, filepath.FromSlash(c.path)), models.Options{Threads: 1})
			worst, saved := compositions(t, lm, rand.New(rand.NewPCG(9, 1)), c.n)
			t.Logf("largest difference of %d compositions %.2g nats; savings %v", c.n, worst, saved)
			if !(worst <= modeltest.LogProbTolerance) {
				t.Errorf("answers differ by %g nats", worst)
			}
		})
	}
}

// TestManyCompositions is TestCompositions with many more.
func TestManyCompositions(t *testing.T) {
	env := orttest.Open(t)
	for name, c := range modeltest.AttentionForms {
		t.Run(name, func(t *testing.T) {
			worst, saved := compositions(t, modeltest.Tiny(t, env, c, models.Options{Threads: 1}), rand.New(rand.NewPCG(9, 3)), 100)
			t.Logf("largest difference %.2g nats; savings %v", worst, saved)
			if !(worst <= modeltest.LogProbTolerance) {
				t.Errorf("answers differ by %g nats", worst)
			}
		})
	}
}
