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
		e.b.Input("position_ids", e.positionType(), []onnx.Dim{batch, length})
	}
	if e.LogitsToKeep != "" {
		e.b.Input(e.LogitsToKeep, onnx.Int64, nil)
	}
	if f != past {
		return
	}
	for i := range e.Layers {
		if e.Exporter == ORT {
			e.b.Input(fmt.Sprintf("past_%d", i), e.dtype(), stackedShape("past_seq_len"))
			continue
		}
		for _, kind := range []string{"key", "value"} {
			e.b.Input(fmt.Sprintf("past_key_values.%d.%s", i, kind), e.dtype(), e.cacheShape("past_sequence_length"))
		}
	}
}

func (c Config) positionType() onnx.DataType {
	if c.Int32Positions {
		return onnx.Int32
	}
	return onnx.Int64
}

func (e *emitter) cacheShape(keys string) []onnx.Dim {
	width := onnx.Dim{Value: int64(e.HeadWidth)}
	if e.Exporter == GenAI {
		width = onnx.Symbolic("kv_cache_dim")
	}
	return []onnx.Dim{batch, {Value: int64(e.KVHeads)}, onnx.Symbolic(keys), width}
}

// stackedShape is that of a cache of keys and values in one tensor.
func stackedShape(keys string) []onnx.Dim {
	return []onnx.Dim{{Value: 2}, batch, onnx.Symbolic("num_heads"), onnx.Symbolic(keys), onnx.Symbolic("head_size")}
}

// language emits everything from input_ids to logits.
func (e *emitter) language(f form) {
	switch {
	case e.Family == T5:
		e.t5(f)
	case e.Exporter == GenAI:
		e.genai(f)
	default:
		e.torch(f)
	}
}

// lastLayers emits the norm and the vocabulary product behind the last layer.
func (e *emitter) lastLayers(x string) {
	a := e.a
	e.scope("/" + slashed(a.root))
	x, _ = e.norm("/"+slashed(a.root)+"/"+a.lastNorm, x, a.root+"."+a.lastNorm)
	if a.flatIDs {
		x = e.reshape(x, -1, e.dim("input_ids", 1), e.Width)
	}
	if e.LogitsToKeep != "" {
		e.scope("")
		x = e.kept(x)
	}
	if a.head != "" {
		x = e.linear("/"+a.head, x, a.head, e.Width, e.Vocab, a.headBias)
	} else {
		e.scope("/lm_head")
		name := a.root + "." + a.embed + ".weight"
		x = e.project(x, name, e.p.values[name])
	}
	if a.lastCap != 0 {
		e.scope("")
		x = e.softCap(x, a.lastCap)
	}
	e.output(x, "logits", batch, length, onnx.Dim{Value: int64(e.Vocab)})
}

// kept are the last positions of x for which logits are wanted; of 0 all: a slice
// from -0.
func (e *emitter) kept(x string) string {
	return e.op("Slice", x, e.op("Neg", e.unsqueeze(e.LogitsToKeep, 0)), e.ints(math.MaxInt64), e.ints(1), e.ints(1))
}

// softCap is cap tanh(x / cap) (Gemma 2, section 2).
func (e *emitter) softCap(x string, cap float64) string {
	return e.op("Mul", e.op("Tanh", e.op("Div", x, e.float(cap))), e.float(cap))
}

// pastLength is the number of cached positions, a scalar.
func (e *emitter) pastLength(f form) string {
	switch {
	case f != past:
		return e.int(0)
	case e.Exporter == ORT:
		return e.dim("past_0", 3)
	}
	return e.dim("past_key_values.0.key", 2)
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

// maskPositions counts the positions that the attention mask shows,
// [batch, keys], from 0; masked ones are at before.
func (e *emitter) maskPositions(before int64) string {
	mask := e.to("attention_mask", onnx.Int64)
	counted := e.op("Mul", e.op("CumSum", mask, e.int(1)), mask)
	counted = e.op("Sub", counted, e.int(1))
	if before == -1 {
		return counted
	}
	return e.op("Mul", counted, mask)
}

// heads splits [batch, length, heads*width] into [batch, length, heads, width].
func (e *emitter) heads(x string, heads int) string {
	return e.reshape(x, e.dim(x, 0), e.dim(x, 1), heads, e.HeadWidth)
}

// mergeHeads turns [batch, heads, length, width] into [batch, length, all].
func (e *emitter) mergeHeads(x string) string {
	x = e.transpose(x, 0, 2, 1, 3)
	return e.reshape(x, e.dim(x, 0), e.dim(x, 1), e.Heads*e.HeadWidth)
}

// cached puts the cached keys or values of a layer before x, which is
// [batch, heads, length, width], and returns them for the next call.
func (e *emitter) cached(x string, layer int, kind string, f form) string {
	if f == plain || e.Exporter == ORT {
		return x
	}
	if f == past {
		x = e.concat(-2, fmt.Sprintf("past_key_values.%d.%s", layer, kind), x)
	}
	e.output(x, fmt.Sprintf("present.%d.%s", layer, kind), e.cacheShape("past_sequence_length + sequence_length")...)
	return x
}

// stacked is cached for keys and values in one tensor, [2, batch, heads,
// length, width].
func (e *emitter) stacked(k, v string, layer int, f form) (string, string) {
	if f == plain || e.Exporter != ORT {
		return k, v
	}
	before := fmt.Sprintf("past_%d", layer)
	axis := onnx.AttrInt("axis", 0)
	k = e.concat(-2, e.op("Gather", before, e.int(0), axis), k)
	v = e.concat(-2, e.op("Gather", before, e.int(1), axis), v)
	e.output(e.concat(0, e.unsqueeze(k, 0), e.unsqueeze(v, 0)), fmt.Sprintf("present_%d", layer), stackedShape("total_seq_len")...)
	return k, v
}

// triangle hides later positions from scores [batch, heads, queries, keys] by
// a lookup in a triangular table, as GPT-2 and its descendants do. With a
// window the table also hides earlier ones.
func (e *emitter) triangle(scores, q, k, lowest string, window int) string {
	table := tensor.New(tensor.Bool, 1, 1, e.Context, e.Context)
	for i := range e.Context {
		for j := range i + 1 {
			if window == 0 || i-j < window {
				table.Data[i*e.Context+j] = 1
			}
		}
	}
	queries, keys := e.dim(q, 2), e.dim(k, 2)
	from := e.unsqueeze(e.op("Sub", keys, queries), 0)
	rows := e.slice(e.constant(table), from, e.unsqueeze(keys, 0), 2)
	return e.op("Where", e.slice(rows, e.ints(0), e.unsqueeze(keys, 0), 3), scores, lowest)
}

// state is what the layers of one graph share.
type state struct {
	form      form
	positions string         // [batch or 1, length]; "" where nothing turns
	biases    map[int]string // by window: what is added to scores; boolean masks with Attention-23
	alibi     string         // [batch, heads, 1, keys]
	padding   string         // of graphs with triangles: [batch, 1, 1, keys]
}

// torch emits a decoder as PyTorch's exporters write it.
func (e *emitter) torch(f form) {
	a := e.a
	e.scope("/" + slashed(a.root))
	s := &state{form: f, biases: map[int]string{}}
	x := e.embed(s)
	for i := range e.Layers {
		if a.parallel {
			x = e.parallelLayer(s, i, x)
		} else {
			x = e.sequentialLayer(s, i, x)
		}
	}
	e.lastLayers(x)
}

// embed emits the embedding and what the layers share.
func (e *emitter) embed(s *state) string {
	a := e.a
	ids := "input_ids"
	if a.flatIDs {
		ids = e.reshape("input_ids", -1, e.dim("input_ids", 1))
	}
	turns := a.positions == rotary || a.positions == rotaryPairs
	switch {
	case turns && !a.triangle:
		s.positions = e.to(e.positions(s.form), onnx.Int64)
	case turns || a.place != "" && a.offset == 0:
		s.positions = e.positions(s.form)
	}
	if a.triangle {
		s.padding = e.maskBias("attention_mask")
		if e.a.wide {
			s.padding = e.to(s.padding, onnx.Float)
		}
	}
	name := a.root + "." + a.embed + ".weight"
	table := e.initializer(name, e.p.embedding(name, e.Vocab, e.Width))
	placeName := a.root + "." + a.place + ".weight"
	var placeTable string
	if a.place != "" {
		placeTable = e.initializer(placeName, e.p.embedding(placeName, e.Context+a.offset, e.Width))
	}
	scope := "/" + slashed(a.root) + "/"
	x := e.within(scope+a.embed, func() string { return e.op("Gather", table, ids) })
	if a.embedScale != 0 {
		x = e.op("Mul", x, e.float(a.embedScale))
	}
	if a.place != "" {
		place := e.within(scope+a.place, func() string {
			at := s.positions
			if a.offset != 0 {
				at = e.op("Add", e.maskPositions(-1), e.int(int64(a.offset)))
				if s.form == past {
					at = e.op("Slice", at, e.unsqueeze(e.pastLength(s.form), 0), e.ints(math.MaxInt64), e.ints(1), e.ints(1))
				}
			}
			return e.op("Gather", placeTable, at)
		})
		x = e.op("Add", x, place)
	}
	if a.embedNorm != "" {
		x, _ = e.norm(scope+a.embedNorm, x, a.root+"."+a.embedNorm)
	}
	if a.positions == alibi {
		slopes := e.constant(e.cast(tensor.FromFloat32s(e.slopes(), e.Heads, 1)))
		at := e.to(e.unsqueeze(e.maskPositions(0), 1), e.dtype())
		s.alibi = e.unsqueeze(e.op("Mul", slopes, at), 2)
	}
	if !a.triangle {
		for i := range e.Layers {
			if w := e.window(i); s.biases[w] == "" {
				s.biases[w] = e.scoreBias(s.form, w)
			}
		}
	}
	return x
}

// sequentialLayer is attention, then the feed-forward part, with a residual
// each.
func (e *emitter) sequentialLayer(s *state, layer int, x string) string {
	a := e.a
	e.layerScope(layer)
	h, residual := e.layerNormal(layer, x, a.norm1)
	h = e.attend(s, layer, h)
	if a.post1 != "" {
		h, _ = e.layerNormal(layer, h, a.post1)
	}
	x = e.add(h, residual)
	var shape string
	if a.flat {
		shape = e.op("Shape", x)
		x = e.reshape(x, -1, e.Width)
	}
	h, residual = e.layerNormal(layer, x, a.norm2)
	h = e.feedForward(layer, h)
	if a.post2 != "" {
		h, _ = e.layerNormal(layer, h, a.post2)
	}
	x = e.op("Add", residual, h)
	if a.flat {
		x = e.op("Reshape", x, shape)
	}
	return x
}

// add is the first residual addition, in the exporter's order.
func (e *emitter) add(h, residual string) string {
	if e.a.kind == layerNormal {
		return e.op("Add", h, residual)
	}
	return e.op("Add", residual, h)
}

// parallelLayer adds attention and feed-forward part of one input.
func (e *emitter) parallelLayer(s *state, layer int, x string) string {
	e.layerScope(layer)
	h, _ := e.layerNormal(layer, x, e.a.norm1)
	attended := e.attend(s, layer, h)
	if e.a.norm2 != "" {
		h, _ = e.layerNormal(layer, x, e.a.norm2)
	}
	h = e.feedForward(layer, h)
	return e.op("Add", e.op("Add", attended, h), x)
}

func (e *emitter) layerScope(layer int) {
	e.scope(fmt.Sprintf("/%s/%s.%d", slashed(e.a.root), e.a.layers, layer))
}

func (e *emitter) layerNormal(layer int, x, module string) (y, residual string) {
	scope, name := e.module(layer, module)
	return e.norm(scope, x, name)
}

// weigh is a linear module of a layer.
func (e *emitter) weigh(layer int, x, module string, in, out int, bias bool) string {
	scope, name := e.module(layer, module)
	switch {
	case e.a.joint == conv1D:
		return e.conv1D(scope, x, name, in, out)
	case e.a.flat && (module == e.a.up || module == e.a.down):
		return e.gemm(scope, x, name, in, out)
	}
	return e.linear(scope, x, name, in, out, bias)
}

// feedForward is the feed-forward part of a layer without its norms.
func (e *emitter) feedForward(layer int, h string) string {
	a := e.a
	scope, _ := e.module(layer, a.activation)
	mlp, _ := e.module(layer, a.mlp)
	switch {
	case a.gateUp != "":
		both := e.weigh(layer, h, a.gateUp, e.Width, 2*e.FFN, a.ffnBias)
		w := int64(e.FFN)
		halves := e.ops("Split", 2, both, e.ints(w, w), onnx.AttrInt("axis", -1))
		gate := e.activation(scope, halves[0])
		h = e.within(mlp, func() string { return e.op("Mul", halves[1], gate) })
	case a.gate != "":
		gate := e.activation(scope, e.weigh(layer, h, a.gate, e.Width, e.FFN, a.ffnBias))
		up := e.weigh(layer, h, a.up, e.Width, e.FFN, a.ffnBias)
		h = e.within(mlp, func() string { return e.op("Mul", gate, up) })
	default:
		h = e.activation(scope, e.weigh(layer, h, a.up, e.Width, e.FFN, a.ffnBias))
	}
	return e.weigh(layer, h, a.down, e.FFN, e.Width, a.ffnBias)
}
