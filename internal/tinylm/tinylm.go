// Package tinylm writes tiny language models with seeded random weights as
// folders of exported ONNX models, for the project's own tests. The graphs are
// shaped like the ones that PyTorch's two exporters with Optimum,
// onnxruntime-genai's model builder and ONNX Runtime's own scripts produce, quirks
// included: how shapes and masks are computed, which operators are fused, how
// weights are named, folded or merged.
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
	"slices"
	"strings"

	"editpipe/onnx"
	"editpipe/tensor"
)

// Exporter is the program whose graphs are imitated.
type Exporter string

// The exporters.
const (
	// TorchScript is torch.onnx's first exporter, as Optimum uses it: shapes are
	// computed node by node, names tell the module.
	TorchScript Exporter = ""
	// Dynamo is torch.onnx.export(dynamo=True): values are named after calls,
	// masks are boolean, and from opset 23 on Attention, RotaryEmbedding and
	// RMSNormalization are single operators.
	Dynamo Exporter = "dynamo"
	// GenAI is onnxruntime-genai's model builder: ONNX Runtime's fused operators,
	// caches whose last dimension is symbolic, and genai_config.json instead of
	// config.json. Always one file, which takes and gives the cache.
	GenAI Exporter = "genai"
	// ORT is ONNX Runtime's own script for GPT-2: keys and values of a layer in
	// one cache, past_N, [2, batch, heads, past, width] with only the 2 known.
	// Always one file.
	ORT Exporter = "ort"
)

// Operator is the attention operator of GenAI.
type Operator string

// The attention operators.
const (
	GroupQuery Operator = "GroupQueryAttention"
	MultiHead  Operator = "MultiHeadAttention"
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
	// OneFile makes model.onnx itself take and return the cache. Not T5.
	OneFile Cache = "one"
)

// Config describes a model. The zero value of a field other than Family means
// the default given there.
type Config struct {
	Family    Family
	Layers    int // 2; T5: in the encoder and in the decoder
	Width     int // 32
	Heads     int // 4
	KVHeads   int // fewer than Heads make attention grouped-query; by family
	HeadWidth int // Width / Heads; Qwen 3 and Gemma: twice that
	FFN       int // 4 * Width
	Vocab     int // the tokenizer's size
	Context   int // 64
	Window    int // of layers that have one: 6

	Alibi      bool // Falcon: ALiBi, sequential blocks, biases and a key head for every head
	Sequential bool // GPT-NeoX: no parallel blocks
	TiedHead   bool // LLaMA, Mistral, Qwen: the embedding is the head

	Exporter     Exporter
	Operator     Operator // GenAI: GroupQuery
	Opset        int64    // 17, from 13; Dynamo: 18, up to 24; GenAI: 21
	LayerNormOp  bool     // LayerNormalization (opset 17) instead of its parts; families that have it
	GeluOp       bool     // Gelu (opset 20) instead of its parts; families that have it
	Gated        bool     // T5: gated GELU and an untied head instead of ReLU and a tied one
	Float16      bool     // weights, activations, logits and cache in float16
	ExternalData bool     // weights in a file beside each model

	// NoPositionIDs leaves out the position_ids input: positions are counted in
	// the graph, by GenAI in the attention operator. Not T5. OPT, BLOOM and
	// Falcon with Alibi never have it.
	NoPositionIDs  bool
	Int32Positions bool // position_ids are int32
	Cache          Cache
	LogitsToKeep   string // name of a scalar input: logits of so many last positions, 0 for all
	Subfolder      bool   // models in onnx/, the rest above, as transformers.js has it
	NamedWeights   bool   // linear weights keep name and orientation, behind a Transpose (an export without constant folding)
	NoScopes       bool   // node and value names carry no module path (an older exporter); not with Merged
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
	switch c.Family {
	case StarCoder:
		def(&c.KVHeads, 1)
	case Falcon:
		if !c.Alibi {
			def(&c.KVHeads, 1)
		}
	case Mistral, Qwen2, Qwen3, Gemma2, Gemma3:
		def(&c.KVHeads, max(1, c.Heads/2))
	}
	def(&c.KVHeads, c.Heads)
	if c.Heads > 0 {
		width := c.Width / c.Heads
		if c.Family == Qwen3 || c.Family == Gemma2 || c.Family == Gemma3 {
			width *= 2
		}
		def(&c.HeadWidth, width)
	}
	def(&c.FFN, 4*c.Width)
	def(&c.Vocab, newVocabulary(c.Family).size())
	def(&c.Context, 64)
	def(&c.Window, 6)
	opset := int64(17)
	switch c.Exporter {
	case Dynamo:
		opset = 18
	case GenAI:
		opset = 21
		if c.Operator == "" {
			c.Operator = GroupQuery
		}
	}
	if c.Cache == NoCache && (c.Exporter == GenAI || c.Exporter == ORT) {
		c.Cache = OneFile
	}
	if c.Opset == 0 {
		c.Opset = opset
	}
	if c.Exporter == Dynamo {
		c.LayerNormOp, c.GeluOp = true, c.Opset >= 20
	}
	if c.Family == OPT || c.Family == BLOOM || c.Alibi {
		c.NoPositionIDs = true
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
	if !slices.Contains(families, c.Family) {
		return fmt.Errorf("unknown family %q", c.Family)
	}
	a := c.anatomy()
	refuse(min(c.Layers, c.Width, c.Heads, c.KVHeads, c.FFN, c.Context, c.Window, c.HeadWidth) < 1, "sizes must be positive")
	refuse(c.Heads > 0 && c.Width%c.Heads != 0, "width %d is not a multiple of %d heads", c.Width, c.Heads)
	refuse(c.KVHeads > 0 && c.Heads%c.KVHeads != 0, "%d heads are not a multiple of %d key heads", c.Heads, c.KVHeads)
	refuse(c.KVHeads != c.Heads && !c.grouped(), "%s has a key head for every head", c.Family)
	refuse(c.HeadWidth != c.Width/max(c.Heads, 1) && !slices.Contains([]Family{Qwen3, Gemma2, Gemma3, Mistral}, c.Family), "heads of %s share the width", c.Family)
	refuse(a.rotated%2 != 0 || a.rotated == 0 && a.theta != 0, "rotary heads need a rotated part of an even width, not %d", a.rotated)
	refuse(c.Vocab < newVocabulary(c.Family).size(), "vocabulary of %d is smaller than the tokenizer's %d", c.Vocab, newVocabulary(c.Family).size())
	lowest, highest := int64(13), int64(21)
	if c.Exporter == Dynamo {
		lowest, highest = 18, 24
	}
	refuse(c.Opset < lowest || c.Opset > highest, "opset %d, want %d to %d", c.Opset, lowest, highest)
	if c.Exporter != Dynamo { // which takes the operators that there are
		refuse(c.LayerNormOp && (c.Opset < 17 || c.Family == T5 || a.kind != layerNormal), "no LayerNormalization in %s at opset %d", c.Family, c.Opset)
		gelu := strings.HasPrefix(a.act, "gelu") || c.Family == T5 && c.Gated
		refuse(c.GeluOp && (c.Opset < 20 || !gelu), "no Gelu in %s at opset %d", c.Family, c.Opset)
	}
	refuse(c.Gated && c.Family != T5, "only t5 has a gated form")
	refuse(c.Alibi && c.Family != Falcon, "only falcon has a form with alibi")
	refuse(c.Sequential && c.Family != GPTNeoX, "only gpt_neox has a sequential form")
	refuse(c.TiedHead && !slices.Contains([]Family{LLaMA, Mistral, Qwen2, Qwen3}, c.Family), "no choice of head in %s", c.Family)
	refuse(c.Family == T5 && c.NoPositionIDs, "t5 never has position_ids")
	refuse(c.Family == T5 && (c.Exporter != TorchScript || c.LogitsToKeep != "" || c.Cache == OneFile), "t5 is written by TorchScript in its own files only")
	refuse(!slices.Contains([]Cache{NoCache, WithPast, Merged, OneFile}, c.Cache), "unknown cache form %q", c.Cache)
	refuse(c.Cache == Merged && c.NoScopes, "merged decoders come from an exporter that writes scopes")
	refuse(c.Cache == Merged && c.Exporter != TorchScript, "merged decoders come from TorchScript")
	refuse(c.Cache != OneFile && (c.Exporter == GenAI || c.Exporter == ORT), "%s writes one file, which takes and gives the cache", c.Exporter)
	refuse(c.SharedWeights && c.Layers < 2, "sharing needs two layers")
	switch c.Exporter {
	case TorchScript, Dynamo:
	case GenAI:
		refuse(!slices.Contains([]Family{LLaMA, Mistral, Qwen2, Qwen3, Phi2, Phi3, Gemma2, Gemma3}, c.Family), "the model builder does not know %s", c.Family)
		refuse(a.act != "silu" && !tanhGelu(a.act), "the model builder has no activation %q", a.act)
		refuse(c.Operator != GroupQuery && c.Operator != MultiHead, "unknown operator %q", c.Operator)
		refuse(c.Operator == MultiHead && (c.NoPositionIDs || a.cap != 0), "MultiHeadAttention needs position_ids and has no soft cap")
		refuse(c.Operator == GroupQuery && c.NoPositionIDs && (c.HeadWidth%16 != 0 || a.rotated%16 != 0), "GroupQueryAttention turns heads of a width divisible by 16 only, and as wide a part of them")
		refuse(c.SharedWeights || c.NamedWeights || c.NoScopes, "the model builder merges and names weights in its own way")
	case ORT:
		refuse(c.Family != GPT2, "ONNX Runtime's own script is for gpt2")
	default:
		refuse(true, "unknown exporter %q", c.Exporter)
	}
	return errors.Join(faults...)
}

// grouped says whether heads may share keys and values.
func (c Config) grouped() bool {
	switch c.Family {
	case LLaMA, Mistral, Qwen2, Qwen3, Phi3, Gemma2, Gemma3:
		return true
	case StarCoder:
		return c.KVHeads == 1
	case Falcon:
		return !c.Alibi
	}
	return false
}

// Write creates dir and writes the model into it: the ONNX models,
// config.json, tokenizer.json and the tokenizer's side files. The same config
// always gives the same bytes.
func Write(dir string, c Config) error {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return fmt.Errorf("tinylm: %w", err)
	}
	models := dir
	if c.Subfolder {
		models = filepath.Join(dir, "onnx")
	}
	if err := os.MkdirAll(models, 0o755); err != nil {
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
		if err := m.model.Save(filepath.Join(models, m.file), o); err != nil {
			return fmt.Errorf("tinylm: %w", err)
		}
	}
	v := newVocabulary(c.Family)
	files := map[string]any{
		"config.json":             c.huggingFace(v),
		"tokenizer.json":          v.tokenizer(),
		"tokenizer_config.json":   v.tokenizerConfig(c),
		"special_tokens_map.json": v.specialTokens(),
	}
	if c.Exporter == GenAI {
		delete(files, "config.json")
		files["genai_config.json"] = c.genaiConfig(v)
	}
	for name, content := range files {
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
	case c.Cache == OneFile:
		add("model.onnx", c.decoder(p, past))
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
	if c.Exporter == Dynamo {
		for _, f := range files {
			dynamoNames(f.model.Graph)
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
	case c.Opset <= 22:
		return 10
	}
	return 11
}

func (c Config) dtype() onnx.DataType {
	if c.Float16 {
		return onnx.Float16
	}
	return onnx.Float
}

func writeJSON(path string, content any) error {
	data, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
