package edittest_test

import (
	"testing"

	"editpipe/edit"
	"editpipe/edit/edittest"
	"editpipe/edit/edittest/neuron"
	"editpipe/internal/tinylm"
)

// methods are the suite's own, by folder: each needs of editing what no method that
// programs list needs yet.
var methods = []edit.Method{
	neuron.Method(),
}

// TestOwnMethods puts the suite's own methods through the suite, on a model of every
// form of block.
func TestOwnMethods(t *testing.T) {
	for _, m := range methods {
		for _, family := range []tinylm.Family{tinylm.GPT2, tinylm.GPTJ, tinylm.LLaMA} {
			t.Run(m.Name+" "+string(family), func(t *testing.T) {
				edittest.Run(t, m, edittest.Options{Model: tinylm.Config{Family: family}})
			})
		}
	}
}
