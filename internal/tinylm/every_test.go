package tinylm

import (
	"runtime/debug"
	"slices"
	"testing"

	"editpipe/tensor"
)

// TestEveryCombination asks for every family from every exporter in every form
// of cache, with every choice there is: each is written soundly or refused by
// an error, and none panics.
func TestEveryCombination(t *testing.T) {
	choices := map[string]func(c *Config){
		"none":           func(*Config) {},
		"one key head":   func(c *Config) { c.KVHeads = 1 },
		"alibi":          func(c *Config) { c.Alibi = true },
		"sequential":     func(c *Config) { c.Sequential = true },
		"tied":           func(c *Config) { c.TiedHead = true },
		"gated":          func(c *Config) { c.Gated = true },
		"norm operator":  func(c *Config) { c.LayerNormOp = true },
		"gelu operator":  func(c *Config) { c.GeluOp, c.Opset = true, 20 },
		"opset 13":       func(c *Config) { c.Opset = 13 },
		"opset 24":       func(c *Config) { c.Opset = 24 },
		"float16":        func(c *Config) { c.Float16 = true },
		"no positions":   func(c *Config) { c.NoPositionIDs, c.Width = true, 64 },
		"logits to keep": func(c *Config) { c.LogitsToKeep = "num_logits_to_keep" },
		"named weights":  func(c *Config) { c.NamedWeights = true },
		"no scopes":      func(c *Config) { c.NoScopes = true },
		"shared weights": func(c *Config) { c.SharedWeights = true },
		"narrow heads":   func(c *Config) { c.HeadWidth = 4 },
	}
	decoders := slices.DeleteFunc(slices.Clone(families), func(f Family) bool { return f == T5 })
	built := []Family{Phi2, Phi3, LLaMA, Mistral, Qwen2, Qwen3, Gemma2, Gemma3}
	uncapped := slices.DeleteFunc(slices.Clone(built), func(f Family) bool { return f == Gemma2 })
	for _, x := range []struct {
		exporter Exporter
		operator Operator
		writes   []Family
		caches   []Cache // of decoder-only models
	}{
		{TorchScript, "", families, []Cache{NoCache, WithPast, Merged, OneFile}},
		{Dynamo, "", decoders, []Cache{NoCache, WithPast, OneFile}},
		{GenAI, GroupQuery, built, []Cache{NoCache, OneFile}},
		{GenAI, MultiHead, uncapped, []Cache{NoCache, OneFile}},
		{ORT, "", []Family{GPT2}, []Cache{NoCache, OneFile}},
	} {
		for _, family := range families {
			for _, cache := range []Cache{NoCache, WithPast, Merged, OneFile} {
				for choice, choose := range choices {
					if cache == NoCache && choice != "none" { // its files are among those of WithPast or OneFile
						continue
					}
					c := Config{Family: family, Exporter: x.exporter, Operator: x.operator, Cache: cache, Width: 32, Heads: 2, FFN: 16, Context: 8}
					choose(&c)
					known := slices.Contains(x.writes, family) && slices.Contains(x.caches, cache) && !(family == T5 && cache == OneFile)
					refused := soundOrRefused(t, c)
					if refused && known && choice == "none" || !refused && !known {
						t.Errorf("%s by %q %s, cache %q, %s: refused: %v", family, x.exporter, x.operator, cache, choice, refused)
					}
				}
			}
		}
	}
}

// soundOrRefused builds the models of c and checks them, unless it is refused.
func soundOrRefused(t *testing.T, c Config) (refused bool) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("%+v: panic: %v\n%s", c, r, debug.Stack())
		}
	}()
	models, err := Build(c, map[string]*tensor.Tensor{})
	if err != nil {
		return true
	}
	for file, m := range models {
		if err := m.Check(); err != nil {
			t.Errorf("%+v: %s: %v", c, file, err)
		}
	}
	return false
}
