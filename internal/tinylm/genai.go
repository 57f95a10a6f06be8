package tinylm

import (
	"fmt"
	"math"
	"strings"

	"editpipe/onnx"
	"editpipe/tensor"
)

// microsoft is the domain of ONNX Runtime's own operators.
const microsoft = "com.microsoft"

// genai emits a decoder as onnxruntime-genai's model builder does: out of fused
// operators, with every weight as [in, out].
func (e *emitter) genai(f form) {
	a := e.a
	g := &fused{emitter: e, form: f}
	g.prepare()
	name := "model.embed_tokens.weight"
	table := e.initializer(name, e.p.embedding(name, e.Vocab, e.Width))
	x := e.within("/model/embed_tokens", func() string { return e.op("Gather", table, "input_ids") })
	if a.embedScale != 0 {
		x = e.within("/model/embed_tokens", func() string { return e.op("Mul", x, e.float(a.embedScale)) })
	}
	skip := ""
	for i := range e.Layers {
		var h string
		h, x = g.skipNorm(i, a.norm1, x, skip)
		attended := g.attend(i, h)
		if a.parallel {
			skip = e.within(fmt.Sprintf("/model/layers.%d/residual_add", i), func() string { return e.op("Add", attended, g.feedForward(i, h)) })
			continue
		}
		if a.post1 != "" {
			attended, _ = g.skipNorm(i, a.post1, attended, "")
		}
		h, x = g.skipNorm(i, a.norm2, x, attended)
		if skip = g.feedForward(i, h); a.post2 != "" {
			skip, _ = g.skipNorm(i, a.post2, skip, "")
		}
	}
	x, _ = g.norm(fmt.Sprintf("/model/layers.%d/final_norm_layernorm", e.Layers), "model."+a.lastNorm, fmt.Sprintf("model.layers.%d.final_norm_layernorm", e.Layers), x, skip, true)
	if e.LogitsToKeep != "" {
		x = e.kept(x)
	}
	if a.head != "" {
		x = g.linear("/lm_head", "lm_head", "lm_head", x, e.Width, e.Vocab, a.headBias)
	} else {
		x = g.matrix("/lm_head", "lm_head", e.p.values[name], x)
	}
	if a.lastCap != 0 {
		x = e.within("/lm_head/softcap", func() string { return e.softCap(x, a.lastCap) })
	}
	e.output(x, "logits", batch, length, onnx.Dim{Value: int64(e.Vocab)})
}

// fused emits with ONNX Runtime's operators.
type fused struct {
	*emitter
	form     form
	lengths  string         // GroupQueryAttention: positions of each row, without the last, int32 [batch, 1]
	total    string         // and of the longest row, int32 scalar
	biases   map[int]string // MultiHeadAttention: by window, [batch, 1, length, keys]
	cos, sin map[float64]string
}

// prepare emits what the layers share.
func (g *fused) prepare() {
	g.cos, g.sin, g.biases = map[float64]string{}, map[float64]string{}, map[int]string{}
	if g.Operator == GroupQuery {
		g.scope("/model/attn_mask_reformat/attn_mask_subgraph")
		summed := g.op("ReduceSum", "attention_mask", g.ints(1), onnx.AttrInt("keepdims", 1))
		g.lengths = g.to(g.op("Sub", summed, g.int(1)), onnx.Int32)
		g.total = g.to(g.dim("attention_mask", 1), onnx.Int32)
	}
	g.scope("/model/attn_mask_reformat")
	for i := range g.Layers {
		theta := g.layerTheta(i)
		if _, have := g.cos[theta]; g.a.rotated > 0 && !have {
			suffix := ""
			if len(g.cos) > 0 {
				suffix = "_local"
			}
			g.cos[theta] = g.initializer("cos_cache"+suffix, g.table(g.angles(g.a.rotated, theta, math.Cos)))
			g.sin[theta] = g.initializer("sin_cache"+suffix, g.table(g.angles(g.a.rotated, theta, math.Sin)))
		}
		if w := g.window(i); g.Operator == MultiHead && g.biases[w] == "" {
			g.biases[w] = g.scoreBias(g.form, w)
		}
	}
}

// skipNorm is a norm of a layer; see norm.
func (g *fused) skipNorm(layer int, module, x, skip string) (y, sum string) {
	scope := fmt.Sprintf("/model/layers.%d/%s", layer, slashed(module))
	name := fmt.Sprintf("model.layers.%d.%s", layer, module)
	return g.norm(scope, name, name, x, skip, false)
}

// norm normalises x, or the sum of x and skip, which it returns too unless it
// is the last. stored is the gain's name in the graph.
func (g *fused) norm(scope, name, stored, x, skip string, last bool) (y, sum string) {
	before := g.path
	defer func() { g.scope(before) }()
	g.scope(scope)
	epsilon := onnx.AttrFloat("epsilon", float32(g.a.epsilon))
	var gains []any
	operator := "SimplifiedLayerNormalization"
	if g.a.kind == layerNormal {
		operator = "LayerNormalization"
		gains = []any{g.initializer(stored+".weight", g.p.gain(name+".weight", g.Width)), g.initializer(stored+".bias", g.p.bias(name+".bias", g.Width))}
	} else {
		gains = []any{g.initializer(stored+".weight", g.plusOne(g.rmsGain(name)))}
	}
	if skip == "" {
		args := append([]any{x}, gains...)
		return g.op(operator, append(args, onnx.AttrInt("axis", -1), epsilon, onnx.AttrInt("stash_type", 1))...), x
	}
	args := append([]any{x, skip}, gains...)
	outs := g.opsOf(microsoft, "Skip"+operator, 4, append(args, epsilon)...)
	n := g.b.Graph().Nodes[len(g.b.Graph().Nodes)-1]
	n.Outputs[1], n.Outputs[2] = "", "" // mean and deviation are for training
	if last {
		n.Outputs = n.Outputs[:1]
	}
	return outs[0], outs[3]
}

// plusOne adds to a gain the 1 that its family adds in the model's code.
func (g *fused) plusOne(t *tensor.Tensor) *tensor.Tensor {
	if g.a.kind != rmsNormalPlusOne {
		return t
	}
	var v []float32
	for _, w := range t.Float32s() {
		v = append(v, 1+w)
	}
	return tensor.FromFloat32s(v, t.Shape...)
}

// linear is a torch Linear, stored transposed, with the bias apart.
func (g *fused) linear(scope, name, stored, x string, in, out int, bias bool) string {
	y := g.matrix(scope, stored, g.p.matrix(name+".weight", in, out, in), x)
	if !bias {
		return y
	}
	return g.within(scope, func() string {
		return g.op("Add", y, g.initializer(stored+".Add.bias", g.p.bias(name+".bias", out)))
	})
}

func (g *fused) matrix(scope, stored string, w *tensor.Tensor, x string) string {
	return g.within(scope, func() string {
		t, err := w.Transpose2D()
		if err != nil {
			panic(err) // every linear weight has two dimensions
		}
		return g.op("MatMul", x, g.initializer(stored+".MatMul.weight", t))
	})
}

// weigh is a linear module of a layer; at is where the builder puts it.
func (g *fused) weigh(layer int, x, module, at string, in, out int, bias bool) string {
	_, name := g.module(layer, module)
	return g.linear(fmt.Sprintf("/model/layers.%d/%s", layer, slashed(at)), name, fmt.Sprintf("model.layers.%d.%s", layer, at), x, in, out, bias)
}

func (g *fused) feedForward(layer int, h string) string {
	a := g.a
	scope := fmt.Sprintf("/model/layers.%d/mlp", layer)
	act := func(x string) string {
		at := scope + "/act_fn"
		if tanhGelu(a.act) {
			return g.within(at, func() string { return g.opsOf(microsoft, "FastGelu", 1, x)[0] })
		}
		return g.activation(at, x)
	}
	switch {
	case a.gateUp != "":
		w := int64(g.FFN)
		both := g.weigh(layer, h, a.gateUp, "mlp.gate_up_proj", g.Width, 2*g.FFN, a.ffnBias)
		halves := g.ops("Split", 2, both, g.ints(w, w), onnx.AttrInt("axis", -1))
		gate := act(halves[0])
		h = g.within(scope, func() string { return g.op("Mul", gate, halves[1]) })
	case a.gate != "":
		gate := g.weigh(layer, h, a.gate, "mlp.gate_proj", g.Width, g.FFN, a.ffnBias)
		up := g.weigh(layer, h, a.up, "mlp.up_proj", g.Width, g.FFN, a.ffnBias)
		gate = act(gate)
		h = g.within(scope, func() string { return g.op("Mul", gate, up) })
	default:
		h = act(g.weigh(layer, h, a.up, a.up, g.Width, g.FFN, a.ffnBias))
	}
	at := a.down
	if a.gate != "" {
		at = "mlp.down_proj"
	}
	return g.weigh(layer, h, a.down, at, g.FFN, g.Width, a.ffnBias)
}

// attend is the attention of a layer with its output projection.
func (g *fused) attend(layer int, h string) string {
	a := g.a
	wide, narrow := g.Heads*g.HeadWidth, g.KVHeads*g.HeadWidth
	scope := fmt.Sprintf("/model/layers.%d/attn", layer)
	var q, k, v string
	if a.qkv != "" {
		q = g.weigh(layer, h, a.qkv, "attn.qkv_proj", g.Width, wide+2*narrow, a.qkvBias)
		if g.Operator == MultiHead || !g.NoPositionIDs {
			g.within(scope, func() string {
				parts := g.ops("Split", 3, q, g.ints(int64(wide), int64(narrow), int64(narrow)), onnx.AttrInt("axis", -1))
				q, k, v = parts[0], parts[1], parts[2]
				return ""
			})
		}
	} else {
		q = g.weigh(layer, h, a.q, "attn.q_proj", g.Width, wide, a.qkvBias)
		k = g.weigh(layer, h, a.k, "attn.k_proj", g.Width, narrow, a.qkvBias)
		v = g.weigh(layer, h, a.v, "attn.v_proj", g.Width, narrow, a.qkvBias)
	}
	if a.qNorm != "" {
		q, k = g.headNorm(layer, a.qNorm, q, g.Heads), g.headNorm(layer, a.kNorm, k, g.KVHeads)
	}
	if !g.NoPositionIDs {
		q, k = g.turn(layer, scope+"/q_rotary", q, g.Heads), g.turn(layer, scope+"/k_rotary", k, g.KVHeads)
	}
	h = g.within(scope, func() string {
		if g.Operator == MultiHead {
			return g.multiHead(layer, q, k, v)
		}
		return g.groupQuery(layer, q, k, v)
	})
	return g.weigh(layer, h, a.o, "attn.o_proj", wide, g.Width, a.oBias)
}

// headNorm normalises every head of x, [batch, length, heads*width].
func (g *fused) headNorm(layer int, module, x string, heads int) string {
	_, name := g.module(layer, module)
	part := strings.TrimPrefix(module, g.a.attention+".")
	stored := fmt.Sprintf("model.layers.%d.attn.%s.layernorm", layer, part)
	return g.within(fmt.Sprintf("/model/layers.%d/attn/%s", layer, part), func() string {
		flat := g.op("Reshape", x, g.ints(0, -1, int64(g.HeadWidth)))
		flat, _ = g.norm(g.path, name, stored, flat, "", false)
		return g.op("Reshape", flat, g.ints(0, -1, int64(heads*g.HeadWidth)))
	})
}

// turn applies rotary positions to x, [batch, length, heads*width].
func (g *fused) turn(layer int, scope, x string, heads int) string {
	theta := g.layerTheta(layer)
	return g.within(scope, func() string {
		args := []any{x, "position_ids", g.cos[theta], g.sin[theta], onnx.AttrInt("interleaved", 0)}
		if g.a.rotated < g.HeadWidth {
			args = append(args, onnx.AttrInt("num_heads", int64(heads)), onnx.AttrInt("rotary_embedding_dim", int64(g.a.rotated)))
		}
		return g.opsOf(microsoft, "RotaryEmbedding", 1, args...)[0]
	})
}

// caches are the names of a layer's caches; taken is "" where the graph takes none.
func (g *fused) caches(layer int) (takenKey, takenValue, givenKey, givenValue string) {
	if g.form == past {
		takenKey, takenValue = fmt.Sprintf("past_key_values.%d.key", layer), fmt.Sprintf("past_key_values.%d.value", layer)
	}
	return takenKey, takenValue, fmt.Sprintf("present.%d.key", layer), fmt.Sprintf("present.%d.value", layer)
}

// given declares two outputs of an attention as the layer's caches.
func (g *fused) given(layer int, k, v string) {
	_, _, key, value := g.caches(layer)
	g.output(k, key, g.cacheShape("total_sequence_length")...)
	g.output(v, value, g.cacheShape("total_sequence_length")...)
}

// groupQuery is GroupQueryAttention: causal by itself, with a length per row
// instead of a mask. Without position ids it turns queries and keys itself.
func (g *fused) groupQuery(layer int, q, k, v string) string {
	pastKey, pastValue, _, _ := g.caches(layer)
	args := []any{q, k, v, pastKey, pastValue, g.lengths, g.total}
	rotary := int64(0)
	if g.NoPositionIDs {
		theta := g.layerTheta(layer)
		args, rotary = append(args, g.cos[theta], g.sin[theta]), 1
	}
	args = append(args, onnx.AttrInt("num_heads", int64(g.Heads)), onnx.AttrInt("kv_num_heads", int64(g.KVHeads)),
		onnx.AttrFloat("scale", float32(g.a.scale)), onnx.AttrInt("do_rotary", rotary), onnx.AttrInt("rotary_interleaved", 0))
	if w := g.window(layer); w > 0 {
		args = append(args, onnx.AttrInt("local_window_size", int64(w)))
	}
	if g.a.cap != 0 {
		args = append(args, onnx.AttrFloat("softcap", float32(g.a.cap)))
	}
	out := g.opsOf(microsoft, "GroupQueryAttention", 3, args...)
	g.given(layer, out[1], out[2])
	return out[0]
}

// multiHead is MultiHeadAttention, which needs a key head for every head:
// fewer are joined with the cache and repeated before it.
func (g *fused) multiHead(layer int, q, k, v string) string {
	pastKey, pastValue, _, _ := g.caches(layer)
	attributes := []any{onnx.AttrInt("num_heads", int64(g.Heads)), onnx.AttrFloat("scale", float32(g.a.scale))}
	bias := g.biases[g.window(layer)]
	if g.KVHeads == g.Heads {
		args := []any{q, k, v, "", "", bias, pastKey, pastValue}
		out := g.opsOf(microsoft, "MultiHeadAttention", 3, append(args, attributes...)...)
		g.given(layer, out[1], out[2])
		return out[0]
	}
	spread := func(x, kind string) string {
		x = g.cached(g.transpose(g.heads(x, g.KVHeads), 0, 2, 1, 3), layer, kind, g.form)
		x = g.transpose(g.repeat(x), 0, 2, 1, 3)
		return g.reshape(x, g.dim(x, 0), g.dim(x, 1), g.Heads*g.HeadWidth)
	}
	k, v = spread(k, "key"), spread(v, "value")
	return g.opsOf(microsoft, "MultiHeadAttention", 1, append([]any{q, k, v, "", "", bias}, attributes...)...)[0]
}

// genaiConfig is the content of genai_config.json.
func (c Config) genaiConfig(v vocabulary) map[string]any {
	inputs := map[string]any{
		"input_ids": "input_ids", "attention_mask": "attention_mask",
		"past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value",
	}
	if !c.NoPositionIDs {
		inputs["position_ids"] = "position_ids"
	}
	start := v.end
	if v.start != "" {
		start = v.start
	}
	return map[string]any{
		"model": map[string]any{
			"type": string(c.Family), "vocab_size": c.Vocab, "context_length": c.Context,
			"bos_token_id": v.ids[start], "eos_token_id": v.ids[v.end], "pad_token_id": v.ids[v.end],
			"decoder": map[string]any{
				"session_options": map[string]any{"log_id": "onnxruntime-genai", "provider_options": []any{}},
				"filename":        "model.onnx",
				"head_size":       c.HeadWidth, "hidden_size": c.Width,
				"num_attention_heads": c.Heads, "num_key_value_heads": c.KVHeads, "num_hidden_layers": c.Layers,
				"inputs":  inputs,
				"outputs": map[string]any{"logits": "logits", "present_key_names": "present.%d.key", "present_value_names": "present.%d.value"},
			},
		},
		"search": map[string]any{"do_sample": false, "max_length": c.Context, "min_length": 0, "num_beams": 1, "temperature": 1.0, "top_k": 1, "top_p": 1.0},
	}
}
