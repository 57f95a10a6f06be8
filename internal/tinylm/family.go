package tinylm

import (
	"fmt"
	"math"
)

// Family is an architecture.
type Family string

// The architectures, by the model_type of their config.json.
const (
	// GPT2 has sequential blocks, learned positions and Conv1D weights in
	// Reshape, Gemm, Reshape.
	GPT2 Family = "gpt2"
	// GPTJ has parallel blocks and interleaved rotary positions.
	GPTJ Family = "gptj"
	// GPTNeo has learned positions and attention without scaling, every second
	// layer within a window.
	GPTNeo Family = "gpt_neo"
	// GPTNeoX has parallel blocks with a norm for either branch, one matrix for
	// query, key and value of every head, and rotary positions in a quarter of
	// each head.
	GPTNeoX Family = "gpt_neox"
	// OPT has ReLU, positions that start at 2 and are counted by the attention
	// mask, and a feed-forward part whose rows and positions are one axis.
	OPT Family = "opt"
	// BLOOM has ALiBi, a norm behind the embedding and a fused query, key and value.
	BLOOM Family = "bloom"
	// Falcon has parallel blocks, multi-query attention and rotary positions;
	// with Alibi sequential blocks, as many key heads as heads and ALiBi; with
	// more key heads a norm for either branch.
	Falcon Family = "falcon"
	// Phi2 has parallel blocks, biases everywhere and rotary positions in a part of each head.
	Phi2 Family = "phi"
	// Phi3 is LLaMA with fused query, key and value, and fused gate and up-projection.
	Phi3 Family = "phi3"
	// LLaMA has RMSNorm, SwiGLU and half-split rotary positions.
	LLaMA Family = "llama"
	// Mistral is LLaMA with grouped-query attention within a window.
	Mistral Family = "mistral"
	// Qwen2 is LLaMA with biases in query, key and value.
	Qwen2 Family = "qwen2"
	// Qwen3 is LLaMA with a norm of every query and key head.
	Qwen3 Family = "qwen3"
	// Gemma2 has norms with gain 1+w before and behind either branch, GeGLU, a
	// scaled embedding, soft caps, and a window in every second layer.
	Gemma2 Family = "gemma2"
	// Gemma3 is Gemma2 without soft caps, with norms of query and key heads, and
	// positions that turn faster in layers with a window.
	Gemma3 Family = "gemma3_text"
	// StarCoder is GPT-2 with multi-query attention and Linear weights; with as
	// many key heads as heads, query, key and value stand head by head.
	StarCoder Family = "gpt_bigcode"
	// T5 is an encoder and a decoder with relative position biases.
	T5 Family = "t5"
)

var families = []Family{GPT2, GPTJ, GPTNeo, GPTNeoX, OPT, BLOOM, Falcon, Phi2, Phi3, LLaMA, Mistral, Qwen2, Qwen3, Gemma2, Gemma3, StarCoder, T5}

// normal is a way to normalise.
type normal uint8

const (
	layerNormal normal = iota
	rmsNormal
	rmsNormalPlusOne // the gain is 1 + w
)

// places is a way to tell a model where a token stands.
type places uint8

const (
	learned     places = iota
	rotary             // halves of each head's rotated part turn together
	rotaryPairs        // neighbours turn together
	alibi
)

// joint is how one matrix holds query, key and value.
type joint uint8

const (
	apart    joint = iota
	sideways       // all of query, then key, then value
	conv1D         // the same, stored [in, out]
	byHead         // query, key and value of the first head, of the second, ...
	byGroup        // the queries that share a key head, that key, that value, ...
)

// anatomy is what tells one decoder-only family from another. Modules are
// named as in a checkpoint, below the root or below a layer.
type anatomy struct {
	root, layers                             string
	embed, place, embedNorm, lastNorm, head  string // place: learned positions; head "" is the embedding's
	norm1, norm2                             string // norm2 "": both branches of a parallel block read norm1
	post1, post2                             string // norms behind the branches
	attention, q, k, v, qkv, qNorm, kNorm, o string
	mlp, up, gate, gateUp, down, activation  string // activation: the module's name

	kind              normal
	epsilon           float64
	positions         places
	offset            int     // of the first learned position
	rotated           int     // rotated dimensions of each head
	theta, localTheta float64 // of layers without and with a window
	joint             joint
	parallel          bool
	qkvBias, oBias    bool
	ffnBias, headBias bool
	flat              bool    // the feed-forward part works on [batch*length, width]
	act               string  // as config.json spells it
	scale             float64 // of attention scores
	alibiScaled       bool    // position biases are scaled with the scores
	cap, lastCap      float64 // soft caps of scores and of logits
	embedScale        float64
	everyWindow       func(layer int) bool // which layers look no further back than Window

	// How the exporter writes it.
	flatIDs  bool // input ids are reshaped to rows first
	triangle bool // later positions are hidden by a table of Context^2, not by a computed bias
	wide     bool // scores are computed in float32
}

func all(int) bool        { return true }
func odd(layer int) bool  { return layer%2 == 1 }
func even(layer int) bool { return layer%2 == 0 }

// gemma3Pattern is Gemma 3's sliding_window_pattern: one layer in so many sees
// everything. The real one is 6, which tiny models would never reach.
const gemma3Pattern = 2

// anatomy returns the family's.
func (c Config) anatomy() anatomy {
	gpt := anatomy{ // GPT-2 and what descends from it
		root: "transformer", layers: "h", embed: "wte", lastNorm: "ln_f", norm1: "ln_1", norm2: "ln_2",
		attention: "attn", mlp: "mlp", activation: "mlp.act", epsilon: layerNormEpsilon, ffnBias: true, act: "gelu_new",
		scale: 1 / math.Sqrt(float64(c.HeadWidth)), flatIDs: true, triangle: true,
	}
	llama := anatomy{
		root: "model", layers: "layers", embed: "embed_tokens", lastNorm: "norm", head: "lm_head",
		norm1: "input_layernorm", norm2: "post_attention_layernorm",
		attention: "self_attn", q: "self_attn.q_proj", k: "self_attn.k_proj", v: "self_attn.v_proj", o: "self_attn.o_proj",
		mlp: "mlp", up: "mlp.up_proj", gate: "mlp.gate_proj", down: "mlp.down_proj", activation: "mlp.act_fn",
		kind: rmsNormal, epsilon: rmsNormEpsilon, positions: rotary, rotated: c.HeadWidth, theta: ropeTheta, act: "silu",
		scale: 1 / math.Sqrt(float64(c.HeadWidth)),
	}
	if c.TiedHead {
		llama.head = ""
	}
	switch a := gpt; c.Family {
	case GPT2, StarCoder:
		a.place, a.qkv, a.o, a.up, a.down = "wpe", "attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"
		a.joint, a.qkvBias, a.oBias = conv1D, true, true
		if c.Family == StarCoder {
			a.joint, a.act = sideways, "gelu_pytorch_tanh"
			if c.KVHeads > 1 {
				a.joint = byHead
			}
		}
		return a
	case GPTJ:
		a.head, a.headBias, a.norm2, a.parallel, a.wide = "lm_head", true, "", true, true
		a.q, a.k, a.v, a.o = "attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.out_proj"
		a.up, a.down = "mlp.fc_in", "mlp.fc_out"
		a.positions, a.rotated, a.theta = rotaryPairs, c.rotaryDim(), ropeTheta
		return a
	case GPTNeo:
		a.place, a.attention, a.wide, a.scale, a.oBias = "wpe", "attn.attention", true, 1, true
		a.q, a.k, a.v, a.o = "attn.attention.q_proj", "attn.attention.k_proj", "attn.attention.v_proj", "attn.attention.out_proj"
		a.up, a.down, a.everyWindow = "mlp.c_fc", "mlp.c_proj", odd
		return a
	case GPTNeoX:
		a.root, a.layers, a.embed, a.lastNorm, a.head = "gpt_neox", "layers", "embed_in", "final_layer_norm", "embed_out"
		a.norm1, a.norm2, a.parallel = "input_layernorm", "post_attention_layernorm", !c.Sequential
		a.attention, a.qkv, a.o, a.joint, a.qkvBias, a.oBias = "attention", "attention.query_key_value", "attention.dense", byHead, true, true
		a.up, a.down, a.act = "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", "gelu"
		a.positions, a.rotated, a.theta, a.flatIDs = rotary, c.rotaryDim(), ropeTheta, false
		return a
	case OPT:
		a.root, a.layers, a.embed, a.place, a.lastNorm = "model.decoder", "layers", "embed_tokens", "embed_positions", "final_layer_norm"
		a.norm1, a.norm2, a.attention, a.activation = "self_attn_layer_norm", "final_layer_norm", "self_attn", "activation_fn"
		a.q, a.k, a.v, a.o = "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"
		a.qkvBias, a.oBias, a.up, a.down, a.act, a.flat = true, true, "fc1", "fc2", "relu", true
		a.mlp, a.offset, a.triangle = "", 2, false
		return a
	case BLOOM, Falcon:
		a.embed, a.attention, a.norm1, a.norm2 = "word_embeddings", "self_attention", "input_layernorm", "post_attention_layernorm"
		a.qkv, a.o, a.joint, a.up, a.down = "self_attention.query_key_value", "self_attention.dense", byHead, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h"
		a.positions, a.triangle, a.flatIDs = alibi, false, false
		if c.Family == BLOOM {
			a.embedNorm, a.activation = "word_embeddings_layernorm", "mlp.gelu_impl"
			a.qkvBias, a.oBias = true, true
			return a
		}
		a.act, a.alibiScaled = "gelu", true
		if c.Alibi {
			a.qkvBias, a.oBias = true, true
			return a
		}
		a.positions, a.rotated, a.theta, a.ffnBias = rotary, c.HeadWidth, ropeTheta, false
		a.parallel, a.norm2, a.joint = true, "", sideways
		if c.KVHeads > 1 {
			a.norm1, a.norm2, a.joint = "ln_attn", "ln_mlp", byGroup
		}
		return a
	case T5:
		return anatomy{}
	}
	switch a := llama; c.Family {
	case Phi2:
		a.kind, a.epsilon, a.norm2, a.parallel, a.lastNorm = layerNormal, layerNormEpsilon, "", true, "final_layernorm"
		a.o, a.up, a.gate, a.down, a.act = "self_attn.dense", "mlp.fc1", "", "mlp.fc2", "gelu_new"
		a.qkvBias, a.oBias, a.ffnBias, a.headBias, a.rotated = true, true, true, true, c.rotaryDim()
		return a
	case Phi3:
		a.qkv, a.joint, a.gateUp, a.activation, a.everyWindow = "self_attn.qkv_proj", sideways, "mlp.gate_up_proj", "mlp.activation_fn", all
		return a
	case Mistral:
		a.everyWindow = all
		return a
	case Qwen2:
		a.qkvBias = true
		return a
	case Qwen3:
		a.qNorm, a.kNorm = "self_attn.q_norm", "self_attn.k_norm"
		return a
	case Gemma2, Gemma3:
		a.kind, a.head, a.act, a.embedScale = rmsNormalPlusOne, "", "gelu_pytorch_tanh", math.Sqrt(float64(c.Width))
		a.post1, a.norm2, a.post2 = "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm"
		a.scale = 1 / math.Sqrt(gemmaAttentionScalar)
		if c.Family == Gemma2 {
			a.cap, a.lastCap, a.everyWindow = gemmaScoreCap, gemmaLogitCap, even
			return a
		}
		a.qNorm, a.kNorm, a.localTheta, a.theta = "self_attn.q_norm", "self_attn.k_norm", ropeTheta, 100*ropeTheta
		a.everyWindow = func(layer int) bool { return (layer+1)%gemma3Pattern != 0 }
		return a
	}
	return llama
}

const (
	// gemmaAttentionScalar is query_pre_attn_scalar, whose root divides scores;
	// it need not be the head's width.
	gemmaAttentionScalar = 24
	// The soft caps of the released Gemma 2 are 50 and 30. Here they are lower,
	// so that tiny models reach their bend.
	gemmaScoreCap = 5
	gemmaLogitCap = 6
)

// window is how many positions, its own included, a query of a layer looks
// back to; 0 is all.
func (e *emitter) window(layer int) int {
	if e.a.everyWindow == nil || !e.a.everyWindow(layer) {
		return 0
	}
	return e.Window
}

// layerTheta is the base of a layer's rotary frequencies.
func (e *emitter) layerTheta(layer int) float64 {
	if e.a.localTheta != 0 && e.window(layer) > 0 {
		return e.a.localTheta
	}
	return e.a.theta
}

// slopes are ALiBi's, one a head: a geometric sequence that starts at its own
// ratio for a power of two, and takes every second of the next power's for the
// heads beyond (Press et al. 2022, section 3 and the authors' code).
func (c Config) slopes() []float32 {
	power := 1
	for power*2 <= c.Heads {
		power *= 2
	}
	sequence := func(n, i int) float32 { return float32(math.Pow(2, -8*float64(i+1)/float64(n))) }
	var s []float32
	for i := range c.Heads {
		if i < power {
			s = append(s, sequence(power, i))
		} else {
			s = append(s, sequence(2*power, 2*(i-power)))
		}
	}
	return s
}

// rotaryDim is the rotated part of each head where it is not all of it.
func (c Config) rotaryDim() int {
	if c.Family == GPTNeoX {
		return c.HeadWidth / 4
	}
	return c.HeadWidth / 2
}

// module is the scope and the name of a layer's module.
func (e *emitter) module(layer int, below string) (scope, name string) {
	a := e.a
	scope = fmt.Sprintf("/%s/%s.%d/%s", slashed(a.root), a.layers, layer, slashed(below))
	return scope, fmt.Sprintf("%s.%s.%d.%s", a.root, a.layers, layer, below)
}
