//go:build shared

package tinylm_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"editpipe/internal/tinylm"
	"editpipe/ort/orttest"
	"editpipe/tensor"
	"editpipe/tensor/npz"
	"editpipe/tensor/safetensors"
)

// TestFixtureWeights fills the graphs of this package with the weights of the
// exported fixtures and compares logits with those that PyTorch computed.
func TestFixtureWeights(t *testing.T) {
	root := os.Getenv("EDITPIPE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	root = filepath.Join(root, "fixtures", "arch")
	if _, err := os.Stat(root); err != nil {
		t.Skipf("no folder %s (set EDITPIPE_SHARED)", root)
	}
	env := orttest.Open(t)
	small := func(c tinylm.Config) tinylm.Config {
		c.Vocab = 1200
		return c
	}
	for name, c := range map[string]tinylm.Config{
		"gpt2":      small(tinylm.Config{Family: tinylm.GPT2, Layers: 3}),
		"gptj":      small(tinylm.Config{Family: tinylm.GPTJ, Layers: 3, Heads: 2}),
		"llama":     small(tinylm.Config{Family: tinylm.LLaMA, Layers: 3, FFN: 88}),
		"llama_gqa": small(tinylm.Config{Family: tinylm.LLaMA, KVHeads: 2, FFN: 88}),
		"t5":        small(tinylm.Config{Family: tinylm.T5, FFN: 64}),
		"t5_gated":  small(tinylm.Config{Family: tinylm.T5, FFN: 64, Gated: true}),
	} {
		for _, c.NamedWeights = range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				dir := filepath.Join(root, name)
				shards, err := filepath.Glob(filepath.Join(dir, "checkpoint", "*.safetensors"))
				if err != nil || len(shards) == 0 {
					t.Fatalf("no checkpoint in %s: %v", dir, err)
				}
				params := map[string]*tensor.Tensor{}
				for _, s := range shards {
					part, _, err := safetensors.Read(s)
					if err != nil {
						t.Fatal(err)
					}
					maps.Copy(params, part)
				}
				given := maps.Clone(params)
				models, err := tinylm.Build(c, params)
				if err != nil {
					t.Fatal(err)
				}
				for p := range params {
					if given[p] == nil {
						t.Errorf("the checkpoint has no parameter %s", p)
					}
				}
				in := feed{}
				for _, f := range []string{"input_ids", "attention_mask", "position_ids", "decoder_input_ids", "logits"} {
					x, err := npz.ReadNPY(filepath.Join(dir, "oracle", f+".npy"))
					if os.IsNotExist(err) || err != nil && f != "input_ids" && f != "logits" {
						continue
					}
					if err != nil {
						t.Fatal(err)
					}
					in[f] = x
				}
				run := func(file string, in feed) feed {
					data, err := models[file].Bytes()
					if err != nil {
						t.Fatal(err)
					}
					return loadBytes(t, env, c, data, "").run(in)
				}
				var got *tensor.Tensor
				if c.Family == tinylm.T5 {
					hidden := run("encoder_model.onnx", in)["last_hidden_state"]
					got = run("decoder_model.onnx", feed{
						"encoder_hidden_states": hidden, "encoder_attention_mask": in["attention_mask"],
						"input_ids": in["decoder_input_ids"],
					})["logits"]
				} else {
					got = run("model.onnx", in)["logits"]
				}
				d := gap(t, got.Float32s(), in["logits"].Float32s())
				t.Logf("largest difference %.3g", d)
				if d > sameModel {
					t.Errorf("differs from PyTorch by %g", d)
				}
			})
		}
	}
}

// TestFixtureConfigKeys compares config.json with the fixtures': every key
// that both have must have the same kind of value.
func TestFixtureConfigKeys(t *testing.T) {
	root := os.Getenv("EDITPIPE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	for _, f := range []tinylm.Family{tinylm.GPT2, tinylm.GPTJ, tinylm.LLaMA, tinylm.T5} {
		theirs, err := os.ReadFile(filepath.Join(root, "fixtures", "arch", string(f), "config.json"))
		if err != nil {
			t.Skipf("no fixture: %v (set EDITPIPE_SHARED)", err)
		}
		ours, err := os.ReadFile(filepath.Join(write(t, tinylm.Config{Family: f}), "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		var a, b map[string]any
		if err := json.Unmarshal(theirs, &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(ours, &b); err != nil {
			t.Fatal(err)
		}
		for k, v := range b {
			w, ok := a[k]
			if !ok && k != "architectures" && k != "n_positions" && k != "tie_word_embeddings" {
				t.Errorf("%s: the fixture has no key %s", f, k)
			}
			if x, y := kind(v), kind(w); ok && w != nil && x != y {
				t.Errorf("%s: %s is a %s, in the fixture a %s", f, k, x, y)
			}
		}
	}
}

func kind(v any) string {
	switch v.(type) {
	case float64:
		return "number"
	case string:
		return "string"
	case bool:
		return "bool"
	}
	return "other"
}
