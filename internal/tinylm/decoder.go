package tinylm

import (
	"fmt"
	"math"

	"editpipe/onnx"
	"editpipe/tensor"
)

// form is one way to export a decoder-only model.
type form uint8

const (
	plain form = iota // no cache
	first             // returns keys and values
	past              // takes and returns them
)

var (
	batch  = onnx.Symbolic("batch_size")
	length = onnx.Symbolic("sequence_length")
)

// decoder is a whole decoder in one form.
func (c Config) decoder(p *parameters, f form) *onnx.Model {
	e := newEmitter(c, p)
	e.inputs(f)
	e.language(f)
	return e.finish()
}

// merged is the model of Optimum's merged decoders: one If whose branches are
// the two forms, with matrices outside and everything else inside.
func (c Config) merged(p *parameters) *onnx.Model {
	outer := newEmitter(c, p)
	outer.inputs(past)
	outer.b.Input("use_cache_branch", onnx.Bool, onnx.Fixed(1))
	body := func(f form) *onnx.Graph {
		e := newEmitter(c, p)
		e.home, e.folded = outer.b, outer.folded
		e.language(f)
		return e.finish().Graph
	}
	then, other := body(past), body(first)
	then.Name, other.Name = "then_branch", "else_branch"
	node := &onnx.Node{
		Name: "optimum::if", OpType: "If", Inputs: []string{"use_cache_branch"},
		Attrs: []*onnx.Attribute{onnx.AttrGraph("then_branch", then), onnx.AttrGraph("else_branch", other)},
	}
	g := outer.b.Graph()
	for _, o := range then.Outputs {
		node.Outputs = append(node.Outputs, o.Name)
		g.Outputs = append(g.Outputs, onnx.NewValueInfo(o.Name, o.DType, o.Shape))
	}
	g.Nodes = append(g.Nodes, node)
	return outer.m
}

func (e *emitter) inputs(f form) {
	if e.Family == T5 {
		e.t5Inputs(f)
		return
	}
	keys := length
	if f == past {
		keys = onnx.Symbolic("past_sequence_length + sequence_length")
	}
	e.b.Input("input_ids", onnx.Int64, []onnx.Dim{batch, length})
	e.b.Input("attention_mask", onnx.Int64, []onnx.Dim{batch, keys})
	if !e.NoPositionIDs {
		e.b.Input("position_ids", onnx.Int64, []onnx.Dim{batch, length})
	}
	if f != past {
		return
	}
	for i := range e.Layers {
		for _, kind := range []string{"key", "value"} {
			e.b.Input(fmt.Sprintf("past_key_values.%d.%s", i, kind), e.dtype(), e.cacheShape("past_sequence_length"))
		}
	}
}

func (e *emitter) cacheShape(keys string) []onnx.Dim {
	return []onnx.Dim{batch, {Value: int64(e.KVHeads)}, onnx.Symbolic(keys), {Value: int64(e.headWidth())}}
}

func (c Config) headWidth() int { return c.Width / c.Heads }

// language emits everything from input_ids to logits.
func (e *emitter) language(f form) {
	switch e.Family {
	case GPT2:
		e.gpt2(f)
	case GPTJ:
		e.gptj(f)
	case LLaMA:
		e.llama(f)
	case T5:
		e.t5(f)
	}
}

func (e *emitter) logits(value string) {
	e.output(value, "logits", batch, length, onnx.Dim{Value: int64(e.Vocab)})
}

// pastLength is the number of cached positions, a scalar.
func (e *emitter) pastLength(f form) string {
	if f == past {
		return e.dim("past_key_values.0.key", 2)
	}
	return e.int(0)
}

// positions are the position ids, [batch or 1, length].
func (e *emitter) positions(f form) string {
	n := e.dim("input_ids", 1)
	if !e.NoPositionIDs {
		return e.reshape("position_ids", -1, n)
	}
	from := e.pastLength(f)
	counted := e.op("Range", from, e.op("Add", from, n), e.int(1))
	return e.reshape(e.unsqueeze(counted, 0), -1, n)
}

// heads splits [batch, length, heads*width] into [batch, length, heads, width].
func (e *emitter) heads(x string, heads int) string {
	return e.reshape(x, e.dim(x, 0), e.dim(x, 1), heads, e.headWidth())
}

// mergeHeads turns [batch, heads, length, width] into [batch, length, all].
func (e *emitter) mergeHeads(x string) string {
	x = e.transpose(x, 0, 2, 1, 3)
	return e.reshape(x, e.dim(x, 0), e.dim(x, 1), e.Width)
}

// cached puts the cached keys or values of a layer before x, which is
// [batch, heads, length, width], and returns them for the next call.
func (e *emitter) cached(x string, layer int, kind string, f form) string {
	if f == plain {
		return x
	}
	if f == past {
		x = e.concat(-2, fmt.Sprintf("past_key_values.%d.%s", layer, kind), x)
	}
	e.output(x, fmt.Sprintf("present.%d.%s", layer, kind), e.cacheShape("past_sequence_length + sequence_length")...)
	return x
}

// triangle hides later positions from scores [batch, heads, queries, keys] by
// a lookup in a triangular table, as GPT-2 and GPT-J do.
func (e *emitter) triangle(scores, q, k, lowest string) string {
	table := tensor.New(tensor.Bool, 1, 1, e.Context, e.Context)
	for i := range e.Context {
		for j := range i + 1 {
			table.Data[i*e.Context+j] = 1
		}
	}
	queries, keys := e.dim(q, 2), e.dim(k, 2)
	from := e.unsqueeze(e.op("Sub", keys, queries), 0)
	rows := e.slice(e.constant(table), from, e.unsqueeze(keys, 0), 2)
	return e.op("Where", e.slice(rows, e.ints(0), e.unsqueeze(keys, 0), 3), scores, lowest)
}

// gpt2 emits GPT-2 (Radford et al. 2019).
func (e *emitter) gpt2(f form) {
	e.scope("/transformer")
	flat := e.reshape("input_ids", -1, e.dim("input_ids", 1))
	positions := e.positions(f)
	mask := e.maskBias("attention_mask")
	wte := e.initializer("transformer.wte.weight", e.p.embedding("transformer.wte.weight", e.Vocab, e.Width))
	wpe := e.initializer("transformer.wpe.weight", e.p.embedding("transformer.wpe.weight", e.Context, e.Width))
	token := e.within("/transformer/wte", func() string { return e.op("Gather", wte, flat) })
	place := e.within("/transformer/wpe", func() string { return e.op("Gather", wpe, positions) })
	x := e.op("Add", token, place)
	for i := range e.Layers {
		scope, name := fmt.Sprintf("/transformer/h.%d", i), fmt.Sprintf("transformer.h.%d", i)
		e.scope(scope)
		h := e.layerNorm(scope+"/ln_1", x, name+".ln_1")
		h = e.conv1D(scope+"/attn/c_attn", h, name+".attn.c_attn", e.Width, 3*e.Width)
		h = e.within(scope+"/attn", func() string {
			w := int64(e.Width)
			qkv := e.ops("Split", 3, h, e.ints(w, w, w), onnx.AttrInt("axis", 2))
			for j := range qkv {
				qkv[j] = e.transpose(e.heads(qkv[j], e.Heads), 0, 2, 1, 3)
			}
			q, k, v := qkv[0], e.cached(qkv[1], i, "key", f), e.cached(qkv[2], i, "value", f)
			scores := e.op("MatMul", q, e.transpose(k, 0, 1, 3, 2))
			scores = e.op("Div", scores, e.float(math.Sqrt(float64(e.headWidth()))))
			scores = e.op("Add", e.triangle(scores, q, k, e.float(e.lowest())), mask)
			return e.mergeHeads(e.op("MatMul", e.op("Softmax", scores, onnx.AttrInt("axis", -1)), v))
		})
		h = e.conv1D(scope+"/attn/c_proj", h, name+".attn.c_proj", e.Width, e.Width)
		x = e.op("Add", h, x)
		h = e.layerNorm(scope+"/ln_2", x, name+".ln_2")
		h = e.conv1D(scope+"/mlp/c_fc", h, name+".mlp.c_fc", e.Width, e.FFN)
		h = e.gelu(scope+"/mlp/act", h)
		h = e.conv1D(scope+"/mlp/c_proj", h, name+".mlp.c_proj", e.FFN, e.Width)
		x = e.op("Add", x, h)
	}
	e.scope("/transformer")
	x = e.layerNorm("/transformer/ln_f", x, "transformer.ln_f")
	x = e.reshape(x, -1, e.dim("input_ids", 1), e.Width)
	e.scope("/lm_head")
	e.logits(e.project(x, "transformer.wte.weight", e.p.values["transformer.wte.weight"]))
}

// rotaryDim is the part of each head of GPT-J that is rotated.
func (c Config) rotaryDim() int { return c.headWidth() / 2 }

// angles returns f of position times frequency, [context, n/2], for the n
// rotated dimensions of a head (Su et al. 2021, equation 15).
func (c Config) angles(n int, f func(float64) float64) [][]float32 {
	rows := make([][]float32, c.Context)
	for pos := range rows {
		for i := range n / 2 {
			rows[pos] = append(rows[pos], float32(f(float64(pos)*math.Pow(ropeTheta, -2*float64(i)/float64(n)))))
		}
	}
	return rows
}

// table is a constant of the model's type with the columns of both halves.
func (e *emitter) table(left, right [][]float32) string {
	var all []float32
	for i := range left {
		all = append(append(all, left[i]...), right[i]...)
	}
	return e.constant(e.cast(tensor.FromFloat32s(all, len(left), len(left[0])+len(right[0]))))
}

// gptj emits GPT-J (Wang and Komatsuzaki 2021).
func (e *emitter) gptj(f form) {
	e.scope("/transformer")
	flat := e.reshape("input_ids", -1, e.dim("input_ids", 1))
	positions := e.positions(f)
	mask := e.to(e.maskBias("attention_mask"), onnx.Float)
	wte := e.initializer("transformer.wte.weight", e.p.embedding("transformer.wte.weight", e.Vocab, e.Width))
	x := e.within("/transformer/wte", func() string { return e.op("Gather", wte, flat) })
	rotated := e.rotaryDim()
	for i := range e.Layers {
		scope, name := fmt.Sprintf("/transformer/h.%d", i), fmt.Sprintf("transformer.h.%d", i)
		e.scope(scope)
		h := e.layerNorm(scope+"/ln_1", x, name+".ln_1")
		var qkv [3]string
		for j, p := range []string{"q_proj", "k_proj", "v_proj"} {
			qkv[j] = e.linear(scope+"/attn/"+p, h, name+".attn."+p, e.Width, e.Width, false)
		}
		a := e.within(scope+"/attn", func() string {
			v := e.transpose(e.heads(qkv[2], e.Heads), 0, 2, 1, 3)
			at := e.op("Gather", e.table(e.angles(rotated, math.Sin), e.angles(rotated, math.Cos)), positions)
			half := int64(rotated / 2)
			sincos := e.ops("Split", 2, at, e.ints(half, half), onnx.AttrInt("axis", -1))
			for j, part := range sincos { // each angle twice, for the two dimensions it turns
				part = e.unsqueeze(part, 3)
				sincos[j] = e.unsqueeze(e.reshape(e.concat(-1, part, part), e.dim(part, 0), e.dim(part, 1), rotated), 2)
			}
			q := e.transpose(e.turn(e.heads(qkv[0], e.Heads), sincos[0], sincos[1]), 0, 2, 1, 3)
			k := e.transpose(e.turn(e.heads(qkv[1], e.Heads), sincos[0], sincos[1]), 0, 2, 1, 3)
			k, v = e.cached(k, i, "key", f), e.cached(v, i, "value", f)
			// Attention runs in float32 in any model.
			scores := e.op("MatMul", e.to(q, onnx.Float), e.transpose(e.to(k, onnx.Float), 0, 1, 3, 2))
			scores = e.triangle(scores, q, k, e.float32(-math.MaxFloat32))
			scores = e.op("Add", e.op("Div", scores, e.float32(math.Sqrt(float64(e.headWidth())))), mask)
			weights := e.to(e.op("Softmax", scores, onnx.AttrInt("axis", -1)), e.dtype())
			return e.mergeHeads(e.op("MatMul", weights, v))
		})
		a = e.linear(scope+"/attn/out_proj", a, name+".attn.out_proj", e.Width, e.Width, false)
		h = e.linear(scope+"/mlp/fc_in", h, name+".mlp.fc_in", e.Width, e.FFN, true)
		h = e.gelu(scope+"/mlp/act", h)
		h = e.linear(scope+"/mlp/fc_out", h, name+".mlp.fc_out", e.FFN, e.Width, true)
		x = e.op("Add", e.op("Add", a, h), x)
	}
	e.scope("/transformer")
	x = e.layerNorm("/transformer/ln_f", x, "transformer.ln_f")
	x = e.reshape(x, -1, e.dim("input_ids", 1), e.Width)
	e.logits(e.linear("/lm_head", x, "lm_head", e.Width, e.Vocab, true))
}

// turn rotates pairs of neighbouring dimensions in the first part of each head
// of x, [batch, length, heads, width].
func (e *emitter) turn(x, sin, cos string) string {
	rotated, width := int64(e.rotaryDim()), int64(e.headWidth())
	turned := e.slice(x, e.ints(0), e.ints(rotated), 3)
	rest := e.slice(x, e.ints(rotated), e.ints(width), 3)
	even := e.op("Slice", turned, e.ints(0), e.ints(rotated), e.ints(3), e.ints(2))
	odd := e.op("Slice", turned, e.ints(1), e.ints(rotated), e.ints(3), e.ints(2))
	pairs := e.concat(-1, e.unsqueeze(e.op("Neg", odd), 4), e.unsqueeze(even, 4))
	crossed := e.reshape(pairs, e.dim(x, 0), e.dim(x, 1), e.Heads, int(rotated))
	turned = e.op("Add", e.op("Mul", turned, cos), e.op("Mul", crossed, sin))
	return e.concat(-1, turned, rest)
}

// llama emits LLaMA (Touvron et al. 2023), grouped-query where KVHeads says so.
func (e *emitter) llama(f form) {
	e.scope("/model")
	positions := e.to(e.positions(f), onnx.Int64)
	embed := e.initializer("model.embed_tokens.weight", e.p.embedding("model.embed_tokens.weight", e.Vocab, e.Width))
	x := e.within("/model/embed_tokens", func() string { return e.op("Gather", embed, "input_ids") })
	mask := e.llamaMask(f)
	width := e.headWidth()
	for i := range e.Layers {
		scope, name := fmt.Sprintf("/model/layers.%d", i), fmt.Sprintf("model.layers.%d", i)
		e.scope(scope)
		h, residual := e.rmsNorm(scope+"/input_layernorm", x, name+".input_layernorm")
		q := e.linear(scope+"/self_attn/q_proj", h, name+".self_attn.q_proj", e.Width, e.Width, false)
		k := e.linear(scope+"/self_attn/k_proj", h, name+".self_attn.k_proj", e.Width, e.KVHeads*width, false)
		v := e.linear(scope+"/self_attn/v_proj", h, name+".self_attn.v_proj", e.Width, e.KVHeads*width, false)
		h = e.within(scope+"/self_attn", func() string {
			q = e.transpose(e.heads(q, e.Heads), 0, 2, 1, 3)
			k = e.transpose(e.heads(k, e.KVHeads), 0, 2, 1, 3)
			v = e.transpose(e.heads(v, e.KVHeads), 0, 2, 1, 3)
			c, s := e.angles(width, math.Cos), e.angles(width, math.Sin)
			cos := e.unsqueeze(e.op("Gather", e.table(c, c), positions), 1)
			sin := e.unsqueeze(e.op("Gather", e.table(s, s), positions), 1)
			q, k = e.rotate(q, cos, sin), e.rotate(k, cos, sin)
			k, v = e.cached(k, i, "key", f), e.cached(v, i, "value", f)
			k, v = e.repeat(k), e.repeat(v)
			scores := e.op("MatMul", q, e.transpose(k, 0, 1, 3, 2))
			scores = e.op("Add", e.op("Div", scores, e.float(math.Sqrt(float64(width)))), mask)
			weights := e.to(e.op("Softmax", e.to(scores, onnx.Float), onnx.AttrInt("axis", -1)), e.dtype())
			return e.mergeHeads(e.op("MatMul", weights, v))
		})
		h = e.linear(scope+"/self_attn/o_proj", h, name+".self_attn.o_proj", e.Width, e.Width, false)
		x = e.op("Add", residual, h)
		h, residual = e.rmsNorm(scope+"/post_attention_layernorm", x, name+".post_attention_layernorm")
		gate := e.linear(scope+"/mlp/gate_proj", h, name+".mlp.gate_proj", e.Width, e.FFN, false)
		gate = e.within(scope+"/mlp/act_fn", func() string { return e.op("Mul", gate, e.op("Sigmoid", gate)) })
		up := e.linear(scope+"/mlp/up_proj", h, name+".mlp.up_proj", e.Width, e.FFN, false)
		h = e.within(scope+"/mlp", func() string { return e.op("Mul", gate, up) })
		h = e.linear(scope+"/mlp/down_proj", h, name+".mlp.down_proj", e.FFN, e.Width, false)
		x = e.op("Add", residual, h)
	}
	e.scope("/model")
	x, _ = e.rmsNorm("/model/norm", x, "model.norm")
	e.logits(e.linear("/lm_head", x, "lm_head", e.Width, e.Vocab, false))
}

// rotate turns dimension i of each head of x, [batch, heads, length, width],
// together with dimension i + width/2.
func (e *emitter) rotate(x, cos, sin string) string {
	half, width := int64(e.headWidth()/2), int64(e.headWidth())
	low := e.slice(x, e.ints(0), e.ints(half), 3)
	high := e.slice(x, e.ints(half), e.ints(width), 3)
	crossed := e.concat(-1, e.op("Neg", high), low)
	return e.op("Add", e.op("Mul", x, cos), e.op("Mul", crossed, sin))
}

// repeat gives every query head its copy of a shared key or value head.
func (e *emitter) repeat(x string) string {
	n := e.Heads / e.KVHeads
	if n == 1 {
		return x
	}
	b, keys := e.dim(x, 0), e.dim(x, 2)
	wide := e.op("Expand", e.unsqueeze(x, 2), e.shape(b, e.KVHeads, n, keys, e.headWidth()))
	return e.reshape(wide, b, e.Heads, keys, e.headWidth())
}

// llamaMask is the sum of the causal mask and the attention mask,
// [batch, 1, length, keys].
func (e *emitter) llamaMask(f form) string {
	b, n := e.dim("input_ids", 0), e.dim("input_ids", 1)
	fill := func(shape string, v float64) string {
		t := e.cast(tensor.FromFloat32s([]float32{float32(v)}, 1))
		return e.op("ConstantOfShape", shape, onnx.AttrTensor("value", onnx.NewTensor("", t)))
	}
	hidden := fill(e.shape(n, n), e.lowest())
	column := e.op("Range", e.int(0), n, e.int(1))
	row := e.reshape(e.op("Add", column, e.int(1)), n, 1)
	causal := e.op("Where", e.op("Less", column, row), e.float(0), hidden)
	keys := n
	if f == past {
		before := e.pastLength(f)
		causal = e.concat(-1, fill(e.shape(n, before), 0), causal)
		keys = e.op("Add", n, before)
	}
	full := e.shape(b, 1, n, keys)
	causal = e.op("Expand", e.unsqueeze(e.unsqueeze(causal, 0), 1), full)
	wide := e.op("Expand", e.unsqueeze(e.unsqueeze("attention_mask", 1), 2), full)
	absent := e.op("Sub", e.float(1), e.to(wide, e.dtype()))
	padding := e.op("Where", e.to(absent, onnx.Bool), e.float(e.lowest()), absent)
	return e.op("Add", padding, causal)
}
