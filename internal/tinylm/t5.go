package tinylm

import (
	"fmt"
	"math"

	"editpipe/onnx"
)

// Relative position buckets of T5 (Raffel et al. 2020, section 2.1).
const (
	t5Buckets     = 16
	t5MaxDistance = 32
)

func (c Config) t5Encoder(p *parameters) *onnx.Model {
	e := newEmitter(c, p)
	source := onnx.Symbolic("encoder_sequence_length")
	e.b.Input("input_ids", onnx.Int64, []onnx.Dim{batch, source})
	e.b.Input("attention_mask", onnx.Int64, []onnx.Dim{batch, source})
	e.scope("/encoder")
	x := e.t5Embed("encoder")
	mask := e.maskBias("attention_mask")
	var bias string
	for i := range e.Layers {
		block := fmt.Sprintf("block.%d", i)
		x = e.t5Sublayer("encoder", block, 0, "SelfAttention", x, func(h, scope, name string) string {
			if i == 0 {
				bias = e.op("Add", e.t5Positions(name, e.dim(h, 1), true), mask)
			}
			return e.t5Attend(scope, name, h, e.t5Heads(scope, name, h, "k"), e.t5Heads(scope, name, h, "v"), bias)
		})
		x = e.t5FFN("encoder", block, 1, x)
	}
	e.scope("/encoder")
	x, _ = e.rmsNorm("/encoder/final_layer_norm", x, "encoder.final_layer_norm")
	e.output(x, "last_hidden_state", batch, source, onnx.Dim{Value: int64(e.Width)})
	return e.finish()
}

// t5Inputs declares the decoder's inputs. With a past it needs no encoder
// output, whose keys and values are cached; a merged decoder takes both.
func (e *emitter) t5Inputs(f form) {
	source, target := onnx.Symbolic("encoder_sequence_length"), onnx.Symbolic("decoder_sequence_length")
	e.b.Input("encoder_attention_mask", onnx.Int64, []onnx.Dim{batch, source})
	e.b.Input("input_ids", onnx.Int64, []onnx.Dim{batch, target})
	if f != past || e.Cache == Merged {
		e.b.Input("encoder_hidden_states", e.dtype(), []onnx.Dim{batch, source, {Value: int64(e.Width)}})
	}
	if f != past {
		return
	}
	for i := range e.Layers {
		for _, kind := range []string{"decoder.key", "decoder.value"} {
			e.b.Input(fmt.Sprintf("past_key_values.%d.%s", i, kind), e.dtype(), e.cacheShape("past_decoder_sequence_length"))
		}
		for _, kind := range []string{"encoder.key", "encoder.value"} {
			e.b.Input(fmt.Sprintf("past_key_values.%d.%s", i, kind), e.dtype(), e.cacheShape("encoder_sequence_length"))
		}
	}
}

// t5 emits the decoder. It takes no mask of its own: padding on the right
// comes later than everything that counts.
func (e *emitter) t5(f form) {
	target := onnx.Symbolic("decoder_sequence_length")
	e.scope("/decoder")
	x := e.t5Embed("decoder")
	before := e.int(0)
	if f == past {
		before = e.dim("past_key_values.0.decoder.key", 2)
	}
	keys := e.op("Add", before, e.dim("input_ids", 1))
	column := e.op("Range", e.int(0), keys, e.int(1))
	row := e.op("Range", before, keys, e.int(1))
	seen := e.op("LessOrEqual", column, e.unsqueeze(row, 1))
	causal := e.op("Sub", e.float(1), e.to(e.unsqueeze(e.unsqueeze(seen, 0), 1), e.dtype()))
	causal = e.op("Mul", causal, e.float(e.lowest()))
	cross := e.maskBias("encoder_attention_mask")
	var bias string
	for i := range e.Layers {
		block := fmt.Sprintf("block.%d", i)
		x = e.t5Sublayer("decoder", block, 0, "SelfAttention", x, func(h, scope, name string) string {
			k := e.cached(e.t5Heads(scope, name, h, "k"), i, "decoder.key", f)
			v := e.cached(e.t5Heads(scope, name, h, "v"), i, "decoder.value", f)
			if i == 0 {
				all := e.t5Positions(name, keys, false)
				rows := e.slice(all, e.unsqueeze(before, 0), e.unsqueeze(keys, 0), 2)
				bias = e.op("Add", rows, causal)
			}
			return e.t5Attend(scope, name, h, k, v, bias)
		})
		x = e.t5Sublayer("decoder", block, 1, "EncDecAttention", x, func(h, scope, name string) string {
			var kv [2]string
			for j, kind := range []string{"key", "value"} {
				if f == past {
					kv[j] = fmt.Sprintf("past_key_values.%d.encoder.%s", i, kind)
					if e.Cache == Merged { // both branches must return the same outputs
						e.output(e.op("Identity", kv[j]), fmt.Sprintf("present.%d.encoder.%s", i, kind), e.cacheShape("encoder_sequence_length")...)
					}
					continue
				}
				kv[j] = e.cached(e.t5Heads(scope, name, "encoder_hidden_states", kind[:1]), i, "encoder."+kind, f)
			}
			return e.t5Attend(scope, name, h, kv[0], kv[1], cross)
		})
		x = e.t5FFN("decoder", block, 2, x)
	}
	e.scope("/decoder")
	x, _ = e.rmsNorm("/decoder/final_layer_norm", x, "decoder.final_layer_norm")
	e.scope("")
	head := "shared.weight"
	if e.Gated {
		head = "lm_head.weight"
	} else { // a tied head is scaled
		x = e.op("Mul", x, e.float(1/math.Sqrt(float64(e.Width))))
	}
	e.scope("/lm_head")
	w := e.p.embedding(head, e.Vocab, e.Width)
	if e.NamedWeights && !e.Gated {
		head = "decoder.embed_tokens.weight"
	}
	e.output(e.project(x, head, w), "logits", batch, target, onnx.Dim{Value: int64(e.Vocab)})
}

func (e *emitter) t5Embed(side string) string {
	name := side + ".embed_tokens.weight"
	table := e.initializer(name, e.p.embedding("shared.weight", e.Vocab, e.Width))
	flat := e.reshape("input_ids", -1, e.dim("input_ids", 1))
	return e.within("/"+side+"/embed_tokens", func() string { return e.op("Gather", table, flat) })
}

// t5Sublayer is norm, body and residual.
func (e *emitter) t5Sublayer(side, block string, layer int, module, x string, body func(h, scope, name string) string) string {
	scope := fmt.Sprintf("/%s/%s/layer.%d", side, block, layer)
	name := fmt.Sprintf("%s.%s.layer.%d", side, block, layer)
	e.scope(scope)
	h, residual := e.rmsNorm(scope+"/layer_norm", x, name+".layer_norm")
	h = e.within(scope+"/"+module, func() string { return body(h, scope+"/"+module, name+"."+module) })
	return e.op("Add", residual, h)
}

func (e *emitter) t5FFN(side, block string, layer int, x string) string {
	return e.t5Sublayer(side, block, layer, "DenseReluDense", x, func(h, scope, name string) string {
		if e.Gated {
			gate := e.linear(scope+"/wi_0", h, name+".wi_0", e.Width, e.FFN, false)
			gate = e.gelu(scope+"/act", gate)
			h = e.op("Mul", gate, e.linear(scope+"/wi_1", h, name+".wi_1", e.Width, e.FFN, false))
		} else {
			h = e.linear(scope+"/wi", h, name+".wi", e.Width, e.FFN, false)
			h = e.within(scope+"/act", func() string { return e.op("Relu", h) })
		}
		return e.linear(scope+"/wo", h, name+".wo", e.FFN, e.Width, false)
	})
}

// t5Heads is projection q, k or v of x, [batch, heads, length, width].
func (e *emitter) t5Heads(scope, name, x, part string) string {
	x = e.linear(scope+"/"+part, x, name+"."+part, e.Width, e.Width, false)
	return e.transpose(e.heads(x, e.Heads), 0, 2, 1, 3)
}

// t5Attend is attention of h to keys and values; T5 does not scale the scores.
func (e *emitter) t5Attend(scope, name, h, k, v, bias string) string {
	q := e.t5Heads(scope, name, h, "q")
	scores := e.op("Add", e.op("MatMul", q, e.transpose(k, 0, 1, 3, 2)), bias)
	weights := e.to(e.op("Softmax", e.to(scores, onnx.Float), onnx.AttrInt("axis", -1)), e.dtype())
	return e.linear(scope+"/o", e.mergeHeads(e.op("MatMul", weights, v)), name+".o", e.Width, e.Width, false)
}

// t5Positions looks up the learned bias of every query and key position,
// [1, heads, length, length].
func (e *emitter) t5Positions(name, length string, bothWays bool) string {
	place := e.op("Range", e.int(0), length, e.int(1))
	offset := e.op("Sub", e.unsqueeze(place, 0), e.unsqueeze(place, 1)) // key minus query
	buckets := int64(t5Buckets)
	var side string
	var distance string
	if bothWays {
		buckets /= 2
		later := e.to(e.op("Greater", offset, e.int(0)), onnx.Int64)
		side = e.op("Mul", later, e.int(buckets))
		distance = e.op("Abs", offset)
	} else {
		distance = e.op("Neg", e.op("Min", offset, e.int(0)))
	}
	exact := buckets / 2
	ratio := e.op("Div", e.to(distance, onnx.Float), e.float32(float64(exact)))
	scaled := e.op("Div", e.op("Log", ratio), e.float32(math.Log(float64(t5MaxDistance)/float64(exact))))
	far := e.to(e.op("Mul", scaled, e.float32(float64(buckets-exact))), onnx.Int64)
	far = e.op("Min", e.op("Add", far, e.int(exact)), e.int(buckets-1))
	bucket := e.op("Where", e.op("Less", distance, e.int(exact)), distance, far)
	if bothWays {
		bucket = e.op("Add", side, bucket)
	}
	weight := name + ".relative_attention_bias.weight"
	table := e.initializer(weight, e.p.get(weight, 0, 0.5, t5Buckets, e.Heads))
	values := e.within(e.path+"/relative_attention_bias", func() string { return e.op("Gather", table, bucket) })
	return e.unsqueeze(e.transpose(values, 2, 0, 1), 0)
}
