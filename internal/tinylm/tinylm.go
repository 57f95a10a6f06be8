// Package tinylm writes tiny language models with seeded random weights as
// folders of exported ONNX models, for the project's own tests. The graphs are
// shaped like the ones PyTorch's exporter and Optimum produce, quirks included:
// how shapes and masks are computed, how weights are named, folded or merged.
//
// A parameter depends only on the seed and its name, so two folders that
// differ in form alone (opset, naming, cache, external data) hold the same
// model.
package tinylm

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"editpipe/onnx"
	"editpipe/tensor"
)

// Family is an architecture.
type Family string

// The architectures.
const (
	// GPT2 has sequential blocks, learned positions and Conv1D weights in
	// Reshape, Gemm, Reshape.
	GPT2 Family = "gpt2"
	// GPTJ has parallel blocks and interleaved rotary positions.
	GPTJ Family = "gptj"
	// LLaMA has RMSNorm, SwiGLU and half-split rotary positions.
	LLaMA Family = "llama"
	// T5 is an encoder and a decoder with relative position biases.
	T5 Family = "t5"
)

// Cache says how a decoder offers past keys and values.
type Cache string

// The cache forms.
const (
	NoCache Cache = ""
	// WithPast adds model_with_past.onnx, which takes past_key_values.N.key
	// and .value of shape [batch, kv heads, past, head width] and returns
	// present.N.key and .value. T5: decoder_model.onnx returns
	// present.N.decoder.key, ... and present.N.encoder.key, ...;
	// decoder_with_past_model.onnx takes them.
	WithPast Cache = "past"
	// Merged writes decoder_model_merged.onnx instead of model.onnx (T5:
	// decoder_model.onnx): one If on the input use_cache_branch holds both
	// forms.
	Merged Cache = "merged"
)

// Config describes a model. The zero value of a field other than Family means
// the default given there.
type Config struct {
	Family  Family
	Layers  int // 2; T5: in the encoder and in the decoder
	Width   int // 32
	Heads   int // 4
	KVHeads int // Heads; LLaMA only: fewer make it grouped-query
	FFN     int // 4 * Width
	Vocab   int // the tokenizer's size
	Context int // 64

	Opset        int64 // 17; 13 to 21
	LayerNormOp  bool  // LayerNormalization (opset 17) instead of its parts; GPT-2 and GPT-J
	GeluOp       bool  // Gelu (opset 20) instead of its parts; not LLaMA
	Gated        bool  // T5: gated GELU and an untied head instead of ReLU and a tied one
	Float16      bool  // weights, activations, logits and cache in float16
	ExternalData bool  // weights in a file beside each model

	NoPositionIDs bool // no position_ids input: positions are counted in the graph; not T5
	Cache         Cache
	NamedWeights  bool // linear weights keep name and orientation, behind a Transpose (an export without constant folding)
	NoScopes      bool // node and value names carry no module path (an older exporter); not with Merged
	// SharedWeights gives the second layer (of the decoder) the first one's FFN
	// output matrix, merged into one initializer as the exporter merges equal
	// parameters: the second use reads it through an Identity node.
	SharedWeights bool

	Seed uint64
}

// withDefaults fills in the defaults.
func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.Layers, 2)
	def(&c.Width, 32)
	def(&c.Heads, 4)
	def(&c.KVHeads, c.Heads)
	def(&c.FFN, 4*c.Width)
	def(&c.Vocab, newVocabulary(c.Family).size())
	def(&c.Context, 64)
	if c.Opset == 0 {
		c.Opset = 17
	}
	return c
}

// validate returns every fault of a config whose defaults are filled in.
func (c Config) validate() error {
	var faults []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	switch c.Family {
	case GPT2, GPTJ, LLaMA, T5:
	default:
		refuse(true, "unknown family %q", c.Family)
	}
	refuse(min(c.Layers, c.Width, c.Heads, c.KVHeads, c.FFN, c.Context) < 1, "sizes must be positive")
	refuse(c.Heads > 0 && c.Width%c.Heads != 0, "width %d is not a multiple of %d heads", c.Width, c.Heads)
	refuse(c.KVHeads > 0 && c.Heads%c.KVHeads != 0, "%d heads are not a multiple of %d key heads", c.Heads, c.KVHeads)
	refuse(c.KVHeads != c.Heads && c.Family != LLaMA, "only llama has fewer key heads than heads")
	refuse(c.Heads > 0 && c.Width/c.Heads%4 != 0 && (c.Family == GPTJ || c.Family == LLaMA), "rotary heads need a width divisible by 4")
	refuse(c.Vocab < newVocabulary(c.Family).size(), "vocabulary of %d is smaller than the tokenizer's %d", c.Vocab, newVocabulary(c.Family).size())
	refuse(c.Opset < 13 || c.Opset > 21, "opset %d, want 13 to 21", c.Opset)
	refuse(c.LayerNormOp && (c.Opset < 17 || c.Family == LLaMA || c.Family == T5), "no LayerNormalization in %s at opset %d", c.Family, c.Opset)
	refuse(c.GeluOp && (c.Opset < 20 || c.Family == LLaMA || c.Family == T5 && !c.Gated), "no Gelu in %s at opset %d", c.Family, c.Opset)
	refuse(c.Gated && c.Family != T5, "only t5 has a gated form")
	refuse(c.Family == T5 && c.NoPositionIDs, "t5 never has position_ids")
	refuse(c.Cache != NoCache && c.Cache != WithPast && c.Cache != Merged, "unknown cache form %q", c.Cache)
	refuse(c.Cache == Merged && c.NoScopes, "merged decoders come from an exporter that writes scopes")
	refuse(c.SharedWeights && c.Layers < 2, "sharing needs two layers")
	return errors.Join(faults...)
}

// Write creates dir and writes the model into it: the ONNX models,
// config.json, tokenizer.json and the tokenizer's side files. The same config
// always gives the same bytes.
func Write(dir string, c Config) error {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return fmt.Errorf("tinylm: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("tinylm: %w", err)
	}
	for _, m := range c.export(newParameters(c)) {
		o := onnx.SaveOptions{}
		if c.ExternalData {
			o.ExternalOver = 1024 // as PyTorch: small tensors stay inside
		}
		if err := m.model.Check(); err != nil {
			return fmt.Errorf("tinylm: %s: %w", m.file, err)
		}
		if err := m.model.Save(filepath.Join(dir, m.file), o); err != nil {
			return fmt.Errorf("tinylm: %w", err)
		}
	}
	v := newVocabulary(c.Family)
	for name, content := range map[string]any{
		"config.json":             c.huggingFace(v),
		"tokenizer.json":          v.tokenizer(),
		"tokenizer_config.json":   v.tokenizerConfig(c),
		"special_tokens_map.json": v.specialTokens(),
	} {
		if err := writeJSON(filepath.Join(dir, name), content); err != nil {
			return fmt.Errorf("tinylm: %w", err)
		}
	}
	return nil
}

// Parameters returns the model's parameters as a checkpoint holds them: under
// their Hugging Face names, linear weights as [out, in], Conv1D weights as
// [in, out], float32, tied ones once. With Float16 the exported weights are
// these, rounded.
func Parameters(c Config) (map[string]*tensor.Tensor, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("tinylm: %w", err)
	}
	p := newParameters(c)
	c.export(p)
	return p.values, nil
}

// file is one exported model.
type file struct {
	file  string
	model *onnx.Model
}

// export makes the models of c, taking their parameters from p.
func (c Config) export(p *parameters) []file {
	var files []file
	add := func(name string, m *onnx.Model) { files = append(files, file{name, m}) }
	if c.Family == T5 {
		add("encoder_model.onnx", c.t5Encoder(p))
	}
	switch {
	case c.Cache == Merged:
		add("decoder_model_merged.onnx", c.merged(p))
	case c.Family == T5 && c.Cache == WithPast:
		add("decoder_model.onnx", c.decoder(p, first))
		add("decoder_with_past_model.onnx", c.decoder(p, past))
	case c.Family == T5:
		add("decoder_model.onnx", c.decoder(p, plain))
	default:
		add("model.onnx", c.decoder(p, plain))
		if c.Cache == WithPast {
			add("model_with_past.onnx", c.decoder(p, past))
		}
	}
	if c.NoScopes {
		for _, f := range files {
			anonymise(f.model.Graph)
		}
	}
	return files
}

// ir is the IR version that belongs to an opset.
func (c Config) ir() int64 {
	switch {
	case c.Opset <= 14:
		return 7
	case c.Opset <= 18:
		return 8
	case c.Opset <= 20:
		return 9
	}
	return 10
}

func (c Config) dtype() onnx.DataType {
	if c.Float16 {
		return onnx.Float16
	}
	return onnx.Float
}

// huggingFace is the content of config.json.
func (c Config) huggingFace(v vocabulary) map[string]any {
	cfg := map[string]any{
		"model_type": string(c.Family),
		"vocab_size": c.Vocab,
		"use_cache":  true,
	}
	set := func(kv map[string]any) {
		for k, v := range kv {
			cfg[k] = v
		}
	}
	end := v.ids[v.end]
	switch c.Family {
	case GPT2, GPTJ:
		set(map[string]any{
			"architectures": []string{map[Family]string{GPT2: "GPT2LMHeadModel", GPTJ: "GPTJForCausalLM"}[c.Family]},
			"n_layer":       c.Layers, "n_embd": c.Width, "n_head": c.Heads, "n_inner": c.FFN, "n_positions": c.Context,
			"activation_function": "gelu_new", "layer_norm_epsilon": layerNormEpsilon,
			"bos_token_id": end, "eos_token_id": end,
		})
		if c.Family == GPTJ {
			set(map[string]any{"rotary_dim": c.rotaryDim(), "tie_word_embeddings": false})
		}
	case LLaMA:
		set(map[string]any{
			"architectures":     []string{"LlamaForCausalLM"},
			"num_hidden_layers": c.Layers, "hidden_size": c.Width, "intermediate_size": c.FFN,
			"num_attention_heads": c.Heads, "num_key_value_heads": c.KVHeads, "max_position_embeddings": c.Context,
			"hidden_act": "silu", "rms_norm_eps": rmsNormEpsilon, "rope_theta": ropeTheta, "tie_word_embeddings": false,
			"bos_token_id": v.ids[v.start], "eos_token_id": end,
		})
	case T5:
		projection, activation := "relu", "relu"
		if c.Gated {
			projection, activation = "gated-gelu", "gelu_new"
		}
		set(map[string]any{
			"architectures": []string{"T5ForConditionalGeneration"}, "is_encoder_decoder": true,
			"num_layers": c.Layers, "num_decoder_layers": c.Layers, "d_model": c.Width, "d_ff": c.FFN,
			"num_heads": c.Heads, "d_kv": c.Width / c.Heads, "n_positions": c.Context,
			"feed_forward_proj": projection, "dense_act_fn": activation, "is_gated_act": c.Gated,
			"relative_attention_num_buckets": t5Buckets, "relative_attention_max_distance": t5MaxDistance,
			"layer_norm_epsilon": rmsNormEpsilon, "tie_word_embeddings": !c.Gated,
			"eos_token_id": end, "pad_token_id": v.ids[v.pad], "decoder_start_token_id": v.ids[v.pad],
		})
	}
	return cfg
}

func writeJSON(path string, content any) error {
	data, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
