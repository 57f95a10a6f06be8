package pretrain

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"editpipe/demo"
	"editpipe/file"
	"editpipe/internal/tinylm"
	"editpipe/onnx"
	"editpipe/tensor"
	"editpipe/tensor/safetensors"
	"editpipe/train"
)

// Export writes weights, such as the Released ones, and the tokenizer into dir in
// the embedded form of package demo.
func (t *Training) Export(dir string, w train.Values) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("pretrain: exporting: %w", err)
	}
	half, err := rounded(w, tensor.F16)
	if err != nil {
		return err
	}
	if err := safetensors.Write(filepath.Join(dir, demo.WeightsFile), half, nil); err != nil {
		return fmt.Errorf("pretrain: exporting: %w", err)
	}
	graphs, err := t.Plan.Size.graphs(w)
	if err != nil {
		return err
	}
	for name, m := range graphs {
		data, err := m.Bytes()
		if err != nil {
			return fmt.Errorf("pretrain: exporting %s: %w", name, err)
		}
		if err := writePacked(dir, name, data); err != nil {
			return err
		}
	}
	config, err := json.MarshalIndent(t.Plan.Size.config(t.end), "", "  ")
	if err != nil {
		return fmt.Errorf("pretrain: exporting: %w", err)
	}
	if err := file.Write(filepath.Join(dir, "config.json"), append(config, '\n')); err != nil {
		return err
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"} {
		data, err := os.ReadFile(filepath.Join(t.Dir, name))
		if err != nil {
			return fmt.Errorf("pretrain: exporting: %w", err)
		}
		if err := file.Write(filepath.Join(dir, name), data); err != nil {
			return err
		}
	}
	return nil
}

func writePacked(dir, name string, data []byte) error {
	name, data, err := demo.Pack(name, data)
	if err != nil {
		return fmt.Errorf("pretrain: exporting: %w", err)
	}
	return file.Write(filepath.Join(dir, name), data)
}

// graphs are the exported graphs by file name, the plain one and the one with
// past keys and values; the weights are inputs of both.
func (s Size) graphs(w train.Values) (map[string]*onnx.Model, error) {
	dir, err := os.MkdirTemp("", "pretrain-*")
	if err != nil {
		return nil, fmt.Errorf("pretrain: exporting: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := tinylm.Write(dir, s.graph(false)); err != nil {
		return nil, fmt.Errorf("pretrain: exporting: %w", err)
	}
	out := map[string]*onnx.Model{}
	for _, name := range []string{"model.onnx", "model_with_past.onnx"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("pretrain: exporting: %w", err)
		}
		m, err := onnx.Parse(data, "")
		if err != nil {
			return nil, fmt.Errorf("pretrain: exporting: %w", err)
		}
		b := m.Builder()
		found := 0
		m.Graph.Initializers = slices.DeleteFunc(m.Graph.Initializers, func(t *onnx.Tensor) bool {
			v := w[t.Name]
			if v == nil {
				return false
			}
			var shape []onnx.Dim
			for _, n := range v.Shape {
				shape = append(shape, onnx.Dim{Value: int64(n)})
			}
			b.Input(t.Name, onnx.Float, shape)
			found++
			return true
		})
		if found != len(w) {
			return nil, fmt.Errorf("pretrain: exporting: %s reads %d of %d weights", name, found, len(w))
		}
		out[name] = m
	}
	return out, nil
}

// config is config.json as GPT-2's checkpoints have it.
func (s Size) config(end int64) map[string]any {
	return map[string]any{
		"model_type": "gpt2", "architectures": []string{"GPT2LMHeadModel"}, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
		"n_layer": s.Layers, "n_embd": s.Width, "n_head": s.Heads, "n_inner": s.FFN, "n_positions": s.Context, "vocab_size": s.Vocab,
		"bos_token_id": end, "eos_token_id": end, "tie_word_embeddings": true, "use_cache": true,
	}
}
