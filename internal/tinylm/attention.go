package tinylm

import (
	"math"

	"editpipe/onnx"
	"editpipe/tensor"
)

// attend is the attention of a layer with its output projection.
func (e *emitter) attend(s *state, layer int, h string) string {
	a := e.a
	scope, _ := e.module(layer, a.attention)
	parts := e.projections(layer, h)
	h = e.within(scope, func() string {
		var q, k, v string
		if a.positions == rotaryPairs && !e.fusedRotary() { // turned before heads and positions change places
			v = e.transpose(e.heads(parts[2], e.KVHeads), 0, 2, 1, 3)
			sin, cos := e.sinesOfPairs(s.positions, layer)
			q = e.transpose(e.turnPairs(e.heads(parts[0], e.Heads), sin, cos), 0, 2, 1, 3)
			k = e.transpose(e.turnPairs(e.heads(parts[1], e.KVHeads), sin, cos), 0, 2, 1, 3)
		} else {
			q, k, v = e.split(parts)
			if a.qNorm != "" {
				q, _ = e.layerNormal(layer, q, a.qNorm)
				k, _ = e.layerNormal(layer, k, a.kNorm)
			}
			if a.rotated > 0 {
				q, k = e.rotate(s, layer, q, k)
			}
		}
		k, v = e.cached(k, layer, "key", s.form), e.cached(v, layer, "value", s.form)
		k, v = e.stacked(k, v, layer, s.form)
		return e.mergeHeads(e.mix(s, layer, q, k, v))
	})
	return e.weigh(layer, h, a.o, e.Heads*e.HeadWidth, e.Width, a.oBias)
}

// projections are query, key and value of h, [batch, length, heads*width], or
// the one value that holds all three.
func (e *emitter) projections(layer int, h string) []string {
	a := e.a
	wide, narrow := e.Heads*e.HeadWidth, e.KVHeads*e.HeadWidth
	if a.joint != apart {
		return []string{e.weigh(layer, h, a.qkv, e.Width, wide+2*narrow, a.qkvBias)}
	}
	return []string{
		e.weigh(layer, h, a.q, e.Width, wide, a.qkvBias),
		e.weigh(layer, h, a.k, e.Width, narrow, a.qkvBias),
		e.weigh(layer, h, a.v, e.Width, narrow, a.qkvBias),
	}
}

// split turns projections into queries, keys and values, [batch, heads, length, width].
func (e *emitter) split(parts []string) (q, k, v string) {
	turned := func(x string) string { return e.transpose(x, 0, 2, 1, 3) }
	all, w := parts[0], int64(e.HeadWidth)
	switch e.a.joint {
	case sideways, conv1D:
		wide, narrow := int64(e.Heads)*w, int64(e.KVHeads)*w
		parts = e.ops("Split", 3, all, e.ints(wide, narrow, narrow), onnx.AttrInt("axis", 2))
	case byHead:
		if e.Family == GPTNeoX { // cut within each head's three widths
			all = e.reshape(all, e.dim(all, 0), e.dim(all, 1), e.Heads, 3*e.HeadWidth)
			cut := func(from, to int64) string { return turned(e.slice(all, e.ints(from), e.ints(to), 3)) }
			return cut(0, w), cut(w, 2*w), cut(2*w, math.MaxInt64)
		}
		all = e.reshape(all, e.dim(all, 0), e.dim(all, 1), e.Heads, 3, e.HeadWidth)
		pick := func(i int64) string { return turned(e.op("Gather", all, e.int(i), onnx.AttrInt("axis", 3))) }
		return pick(0), pick(1), pick(2)
	case byGroup:
		b, n := e.dim(all, 0), e.dim(all, 1)
		all = e.reshape(all, b, n, e.KVHeads, e.Heads/e.KVHeads+2, e.HeadWidth)
		cut := func(from, to int64, heads int) string {
			return turned(e.reshape(e.slice(all, e.ints(from), e.ints(to), 3), b, n, heads, e.HeadWidth))
		}
		return cut(0, -2, e.Heads), cut(-2, -1, e.KVHeads), cut(-1, math.MaxInt64, e.KVHeads)
	}
	return turned(e.heads(parts[0], e.Heads)), turned(e.heads(parts[1], e.KVHeads)), turned(e.heads(parts[2], e.KVHeads))
}

// mix is what attention makes of q, k and v, all [batch, heads, length, width].
func (e *emitter) mix(s *state, layer int, q, k, v string) string {
	a := e.a
	if e.Exporter == Dynamo && a.cap == 0 {
		return e.dotProduct(s, layer, q, k, v)
	}
	if e.KVHeads > 1 || a.joint != sideways { // else multiplication spreads the one head
		k, v = e.repeat(k), e.repeat(v)
	}
	scaled := func(scores string) string {
		if a.scale == 1 {
			return scores
		}
		return e.op("Div", scores, e.number(1/a.scale))
	}
	w := e.window(layer)
	var scores string
	switch {
	case a.wide:
		scores = e.op("MatMul", e.to(q, onnx.Float), e.transpose(e.to(k, onnx.Float), 0, 1, 3, 2))
		scores = e.triangle(scores, q, k, e.float32(-math.MaxFloat32), w)
		scores = e.op("Add", scaled(scores), s.padding)
	case a.triangle:
		scores = scaled(e.op("MatMul", q, e.transpose(k, 0, 1, 3, 2)))
		scores = e.op("Add", e.triangle(scores, q, k, e.float(e.lowest()), w), s.padding)
		return e.op("MatMul", e.op("Softmax", scores, onnx.AttrInt("axis", -1)), v)
	default:
		scores = e.op("MatMul", q, e.transpose(k, 0, 1, 3, 2))
		switch {
		case s.alibi != "" && a.alibiScaled:
			scores = scaled(e.op("Add", scores, s.alibi))
		case s.alibi != "":
			scores = e.op("Add", s.alibi, scaled(scores))
		default:
			scores = scaled(scores)
		}
		if a.cap != 0 {
			scores = e.softCap(scores, a.cap)
		}
		scores = e.to(e.op("Add", scores, e.asBias(s.biases[w])), onnx.Float)
	}
	return e.op("MatMul", e.to(e.op("Softmax", scores, onnx.AttrInt("axis", -1)), e.dtype()), v)
}

// number is a scalar of the type in which scores are computed.
func (e *emitter) number(v float64) string {
	if e.a.wide {
		return e.float32(v)
	}
	return e.float(v)
}

// repeat gives every query head its copy of a shared key or value head.
func (e *emitter) repeat(x string) string {
	n := e.Heads / e.KVHeads
	if n == 1 {
		return x
	}
	b, keys := e.dim(x, 0), e.dim(x, 2)
	wide := e.op("Expand", e.unsqueeze(x, 2), e.shape(b, e.KVHeads, n, keys, e.HeadWidth))
	return e.reshape(wide, b, e.Heads, keys, e.HeadWidth)
}

// scoreBias is the sum of the causal mask and the attention mask,
// [batch, 1, length, keys]. With a window, positions that far back are hidden
// too; like every export it counts slots of the cache, not positions.
func (e *emitter) scoreBias(f form, window int) string {
	if e.Exporter == Dynamo {
		return e.seen(f, window)
	}
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
	if window > 0 {
		key := e.op("Range", e.int(0), keys, e.int(1))
		query := e.reshape(e.op("Range", e.pastLength(f), keys, e.int(1)), n, 1)
		far := e.op("LessOrEqual", key, e.op("Sub", query, e.int(int64(window))))
		causal = e.op("Where", far, e.float(e.lowest()), causal)
	}
	full := e.shape(b, 1, n, keys)
	causal = e.op("Expand", e.unsqueeze(e.unsqueeze(causal, 0), 1), full)
	wide := e.op("Expand", e.unsqueeze(e.unsqueeze("attention_mask", 1), 2), full)
	absent := e.op("Sub", e.float(1), e.to(wide, e.dtype()))
	padding := e.op("Where", e.to(absent, onnx.Bool), e.float(e.lowest()), absent)
	return e.op("Add", padding, causal)
}

// Rotary positions.

// angles returns f of position times frequency, [context, n/2], for the n
// rotated dimensions of a head (Su et al. 2021, equation 15).
func (c Config) angles(n int, theta float64, f func(float64) float64) [][]float32 {
	rows := make([][]float32, c.Context)
	for pos := range rows {
		for i := range n / 2 {
			rows[pos] = append(rows[pos], float32(f(float64(pos)*math.Pow(theta, -2*float64(i)/float64(n)))))
		}
	}
	return rows
}

// table is a tensor of the model's type with the columns of all parts.
func (e *emitter) table(parts ...[][]float32) *tensor.Tensor {
	var all []float32
	width := 0
	for i := range parts[0] {
		width = 0
		for _, p := range parts {
			all = append(all, p[i]...)
			width += len(p[i])
		}
	}
	return e.cast(tensor.FromFloat32s(all, len(parts[0]), width))
}

// sinesOfPairs are sine and cosine of the rotated dimensions, each twice for
// the two dimensions it turns, [batch, length, 1, rotated].
func (e *emitter) sinesOfPairs(positions string, layer int) (sin, cos string) {
	n, theta := e.a.rotated, e.layerTheta(layer)
	at := e.op("Gather", e.constant(e.table(e.angles(n, theta, math.Sin), e.angles(n, theta, math.Cos))), positions)
	half := int64(n / 2)
	both := e.ops("Split", 2, at, e.ints(half, half), onnx.AttrInt("axis", -1))
	for j, part := range both {
		part = e.unsqueeze(part, 3)
		both[j] = e.unsqueeze(e.reshape(e.concat(-1, part, part), e.dim(part, 0), e.dim(part, 1), n), 2)
	}
	return both[0], both[1]
}

// turnPairs rotates pairs of neighbouring dimensions in the first part of each
// head of x, [batch, length, heads, width].
func (e *emitter) turnPairs(x, sin, cos string) string {
	rotated, width := int64(e.a.rotated), int64(e.HeadWidth)
	turned := e.slice(x, e.ints(0), e.ints(rotated), 3)
	rest := e.slice(x, e.ints(rotated), e.ints(width), 3)
	first := e.op("Slice", turned, e.ints(0), e.ints(rotated), e.ints(3), e.ints(2))
	second := e.op("Slice", turned, e.ints(1), e.ints(rotated), e.ints(3), e.ints(2))
	pairs := e.concat(-1, e.unsqueeze(e.op("Neg", second), 4), e.unsqueeze(first, 4))
	crossed := e.reshape(pairs, e.dim(x, 0), e.dim(x, 1), e.Heads, int(rotated))
	turned = e.op("Add", e.op("Mul", turned, cos), e.op("Mul", crossed, sin))
	return e.concat(-1, turned, rest)
}

// rotate turns dimension i of each head's rotated part together with dimension
// i + rotated/2; q and k are [batch, heads, length, width].
func (e *emitter) rotate(s *state, layer int, q, k string) (string, string) {
	n, theta := e.a.rotated, e.layerTheta(layer)
	if e.fusedRotary() {
		return e.rotaryEmbedding(s, layer, q, k)
	}
	c, t := e.angles(n, theta, math.Cos), e.angles(n, theta, math.Sin)
	cos := e.unsqueeze(e.op("Gather", e.constant(e.table(c, c)), s.positions), 1)
	sin := e.unsqueeze(e.op("Gather", e.constant(e.table(t, t)), s.positions), 1)
	return e.turnHalves(q, cos, sin), e.turnHalves(k, cos, sin)
}

func (e *emitter) turnHalves(x, cos, sin string) string {
	half, rotated := int64(e.a.rotated/2), int64(e.a.rotated)
	turned, rest := x, ""
	if e.a.rotated < e.HeadWidth {
		turned = e.slice(x, e.ints(0), e.ints(rotated), 3)
		rest = e.slice(x, e.ints(rotated), e.ints(math.MaxInt64), 3)
	}
	low := e.slice(turned, e.ints(0), e.ints(half), 3)
	high := e.slice(turned, e.ints(half), e.ints(rotated), 3)
	crossed := e.concat(-1, e.op("Neg", high), low)
	turned = e.op("Add", e.op("Mul", turned, cos), e.op("Mul", crossed, sin))
	if rest == "" {
		return turned
	}
	return e.concat(-1, turned, rest)
}
