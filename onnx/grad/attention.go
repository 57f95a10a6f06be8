package grad

import (
	"math"

	"editpipe/onnx"
	"editpipe/tensor"
)

// attention is what the attention operators have in common, whatever order
// their inputs come in: for each head, y = softmax(cap(scale q kt) + bias) v
// over the keys that a query may see. Queries, keys and values are split into
// heads: [B, N, S, d], [B, M, T, d] and [B, M, T, e], where N is a multiple of
// M and the N / M heads of a group share their keys and values.
type attention struct {
	q, k, v string
	grouped bool   // N may differ from M
	count   string // M, of shape [1]
	all     string // N, of shape [1]
	scale   float64
	cap     float64
	bias    string        // added to the scores, broadcast to [B, N, S, T]; "" for none
	allowed string        // truth values likewise; "" for all
	sink    string        // one more score of every query, whose key has no value: [N, 1, 1]; "" for none
	whole   bool          // some query may see no key at all; it yields 0
	work    onnx.DataType // of the softmax; Undefined for that of the queries

	scores, capped, masked, probs string // along the way
}

// heads splits [B, S, n d] into [B, n, S, d].
func (s *step) heads(x string, n int64) string {
	return s.transpose(s.op("Reshape", x, s.ints(0, 0, n, -1)), 0, 2, 1, 3)
}

// joined undoes heads.
func (s *step) joined(x string) string {
	return s.op("Reshape", s.transpose(x, 0, 2, 1, 3), s.ints(0, 0, -1))
}

// attend adds the nodes of an attention and returns y, [B, N, S, e].
//
// The keys of a group are not repeated: its queries are put behind one another
// instead. Rows that are masked whole get probabilities of 0 and so give no
// gradient to anything, as ONNX wants it of Attention. (Before version 1.30 ONNX
// Runtime's output is the mean of all values there; nothing reads such rows.)
func (s *step) attend(a *attention) string {
	gather := func(x string) string { return x }
	spread := gather
	if a.grouped {
		length := s.dimOf(a.q, 2)
		gather = func(x string) string { return s.op("Reshape", x, s.concat(0, s.ints(0), a.count, s.ints(-1, 0))) }
		spread = func(x string) string { return s.op("Reshape", x, s.concat(0, s.ints(0), a.all, length, s.ints(0))) }
	}
	q := s.op("Mul", a.q, s.scaleOf(a))
	a.scores = spread(s.op("MatMul", gather(q), s.transpose(a.k, 0, 1, 3, 2)))
	x := a.scores
	if a.cap > 0 {
		x = s.times(s.op("Tanh", s.times(x, 1/a.cap)), a.cap)
	}
	a.capped = x
	if a.bias != "" {
		x = s.add(x, a.bias)
	}
	if a.allowed != "" {
		// A finite number: a row of -inf alone would make NaN.
		x = s.op("Where", a.allowed, x, s.lowest(a.q))
	}
	a.masked = x
	if a.work != onnx.Undefined {
		x = s.cast(x, a.work)
	}
	if a.sink != "" {
		size := s.op("Shape", x)
		column := s.concat(0, s.op("Slice", size, s.ints(0), s.ints(3), s.ints(0)), s.ints(1))
		x = s.concat(3, x, s.op("Expand", a.sink, column))
		x = s.b.Op("Softmax", []string{x}, onnx.AttrInt("axis", -1))
		x = s.b.OpN("Split", "", []string{x, s.concat(0, s.part(size, 3), s.ints(1))}, 2, onnx.AttrInt("axis", 3))[0]
	} else {
		x = s.b.Op("Softmax", []string{x}, onnx.AttrInt("axis", -1))
	}
	zero := s.number(0, a.work)
	if a.work == onnx.Undefined {
		zero = s.constant(0, a.q)
	}
	if a.allowed != "" && a.whole {
		x = s.op("Where", a.allowed, x, zero)
	}
	if a.bias != "" { // it may be -inf for every key
		x = s.op("Where", s.op("IsNaN", x), zero, x)
	}
	if a.work != onnx.Undefined {
		x = s.castLike(x, a.q)
	}
	a.probs = x
	return spread(s.op("MatMul", gather(x), a.v))
}

// lowest is a number below every score in the type of a value.
func (s *step) lowest(like string) string {
	if dt := s.fact(like).dtype; dt == onnx.Float16 || dt == onnx.Undefined {
		return s.constant(-65504, like)
	}
	return s.constant(-3e38, like)
}

// scaleOf is the factor of the scores, 1 / sqrt(d) unless the node gives one.
func (s *step) scaleOf(a *attention) string {
	if a.scale != 0 {
		return s.constant(a.scale, a.q)
	}
	if d := s.shape(a.q).at(3); d.known() && d.n > 0 {
		return s.constant(1/math.Sqrt(float64(d.n)), a.q)
	}
	d := s.cast(s.part(s.op("Shape", a.q), 3), onnx.Float)
	return s.castLike(s.op("Reciprocal", s.op("Sqrt", d)), a.q)
}

// upTo counts 0, 1, ... below n, which has shape [1].
func (s *step) upTo(n string) string {
	return s.op("Range", s.integer(0), s.op("Squeeze", n, s.ints(0)), s.integer(1))
}

// both combines two values, of which either may be missing.
func (s *step) both(op, a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return s.op(op, a, b)
}

// causal lets query i of q, [B, N, S, d], see key j if j <= i + offset. The offset
// has shape [1] or [B, 1, 1, 1], "" for 0; the number of keys has shape [1].
func (s *step) causal(q, offset, keys string) string {
	rows := s.op("Unsqueeze", s.upTo(s.dimOf(q, 2)), s.ints(1))
	if offset != "" {
		rows = s.add(rows, offset)
	}
	return s.op("LessOrEqual", s.upTo(keys), rows)
}

// biased splits the bias of a projection, [n d], among heads: [n, 1, d].
func (s *step) biased(x, bias string, n int64) string {
	return s.add(x, s.op("Unsqueeze", s.op("Reshape", bias, s.ints(n, -1)), s.ints(1)))
}

// after puts a cache before new keys or values.
func (s *step) after(past, x string) string {
	if past == "" {
		return x
	}
	return s.concat(2, past, x)
}

// multiHead: inputs query, key, value, bias, key_padding_mask, attention_bias,
// past_key, past_value; outputs y, present_key, present_value, qk.
func multiHead(s *step) []string {
	n := s.n.Int("num_heads", 0)
	if n <= 0 {
		s.fail("it has no attribute num_heads")
		return nil
	}
	if s.in(1) == "" || s.in(2) == "" || len(s.shape(s.in(0))) == 5 || len(s.shape(s.in(1))) == 5 {
		s.fail("queries, keys and values are packed into one input")
		return nil
	}
	if s.in(8) != "" || s.in(9) != "" {
		s.fail("it has an input past_sequence_length or cache_indirection")
		return nil
	}
	parts := make([]string, 3)
	for i := range parts {
		parts[i] = s.in(i)
		switch rank := len(s.shape(s.in(i))); {
		case rank == 4: // keys and values of another sequence, in heads already
		case rank == 3 || s.shape(s.in(i)) == nil && i == 0:
			parts[i] = s.heads(s.in(i), n)
		default:
			s.fail("the rank of %q is not known", s.in(i))
			return nil
		}
	}
	if bias := s.in(3); bias != "" {
		d, e := s.dimOf(s.in(0), -1), s.dimOf(s.in(2), -1)
		if len(s.shape(s.in(2))) == 4 {
			s.fail("it has a bias and values in heads")
			return nil
		}
		for i, b := range s.b.OpN("Split", "", []string{bias, s.concat(0, d, d, e)}, 3, onnx.AttrInt("axis", 0)) {
			parts[i] = s.biased(parts[i], b, n)
		}
	}
	k, v := s.after(s.in(6), parts[1]), s.after(s.in(7), parts[2])
	a := &attention{q: parts[0], k: k, v: v, scale: float64(s.n.Float("scale", 0)), bias: s.in(5)}
	if !s.restrict(a, s.in(4), s.in(6)) {
		return nil
	}
	return []string{s.joined(s.attend(a)), k, v, ""}
}

// restrict hides from the queries what a padding mask hides and, if the node says
// so, what comes later; the second last axis of past, "" for none, is that of
// earlier positions. It is false where it had to refuse.
func (s *step) restrict(a *attention, mask, past string) bool {
	keys := s.dimOf(a.k, 2)
	if mask != "" {
		if mask = s.filtered(mask, keys, a.q); mask == "" {
			return false
		}
		a.bias = s.both("Add", a.bias, mask)
	}
	if s.n.Int("unidirectional", 0) != 0 {
		offset := ""
		if past != "" {
			offset = s.dimOf(past, -2)
		}
		a.allowed = s.causal(a.q, offset, keys)
	}
	return true
}

// filtered turns a padding mask, of shape [B] (lengths), [B, T] or [B, S, T]
// (0 or 1), into a number that is added to the scores: not -inf, so that a row
// that is masked whole attends as if nothing was masked.
func (s *step) filtered(mask, keys, like string) string {
	var kept string
	switch ms := s.shape(mask); len(ms) {
	case 1:
		lengths := s.op("Unsqueeze", s.cast(mask, onnx.Int64), s.ints(1, 2, 3))
		kept = s.op("Less", s.upTo(keys), lengths)
		if d := ms[0]; !d.known() {
			break
		} else if b := s.shape(s.in(0)).at(0); b.known() && d.n != b.n {
			s.fail("its padding mask %q has neither one length a row nor 0 and 1", mask)
			return ""
		}
	case 2:
		kept = s.op("Unsqueeze", s.op("Greater", s.cast(mask, onnx.Int64), s.integer(0)), s.ints(1, 2))
	case 3:
		kept = s.op("Unsqueeze", s.op("Greater", s.cast(mask, onnx.Int64), s.integer(0)), s.ints(1))
	default:
		s.fail("the rank of its padding mask %q is not known, or 4", mask)
		return ""
	}
	return s.op("Where", kept, s.constant(0, like), s.constant(float64(s.n.Float("mask_filter_value", -10000)), like))
}

// groupQuery: inputs query, key, value, past_key, past_value, seqlens_k,
// total_sequence_length, cosines, sines, positions, attention_bias, head_sink;
// outputs y, present_key, present_value, qk.
//
// Instead of a mask it takes the number of tokens of each row, less one. The
// rows of a first run begin at 0 and are padded on the right; in a later run row
// b has its first new token behind those it has already, wherever the cache
// ends. The keys stay where they are here, cache before new ones, and are masked
// by the positions they have.
func groupQuery(s *step) []string {
	n, m := s.n.Int("num_heads", 0), s.n.Int("kv_num_heads", 0)
	if n <= 0 || m <= 0 {
		s.fail("it has no attributes num_heads and kv_num_heads")
		return nil
	}
	for _, name := range []string{"k_quant_type", "v_quant_type"} {
		if t := s.n.String(name, "NONE"); t != "NONE" {
			s.fail("its attribute %s is %q", name, t)
			return nil
		}
	}
	if s.n.Int("sliding_window_cache", 0) != 0 {
		s.fail("it has the attribute sliding_window_cache")
		return nil
	}
	for i, name := range []string{12: "k_scale", 13: "v_scale", 14: "q_norm_weight", 15: "k_norm_weight"} {
		if name != "" && s.in(i) != "" {
			s.fail("it has an input %s", name)
			return nil
		}
	}
	q, k, v := s.in(0), s.in(1), s.in(2)
	if k == "" {
		heads := s.b.OpN("Split", "", []string{s.op("Reshape", q, s.ints(0, 0, n+2*m, -1)), s.ints(n, m, m)}, 3, onnx.AttrInt("axis", 2))
		for i := range heads {
			heads[i] = s.op("Reshape", heads[i], s.ints(0, 0, -1))
		}
		q, k, v = heads[0], heads[1], heads[2]
	} else if a, b := s.shape(q).at(1), s.shape(k).at(1); a.known() && b.known() && a != b {
		s.fail("it has another number of keys than of queries")
		return nil
	}
	length := s.dimOf(s.in(0), 1)
	last := s.cast(s.op("Reshape", s.in(5), s.ints(-1, 1)), onnx.Int64)
	total := s.cast(s.op("Reshape", s.in(6), s.ints(1)), onnx.Int64)
	// Number of tokens that each row has already, and the positions of the new
	// ones: [B, 1] and [B, S].
	first := s.op("Equal", total, length)
	before := s.op("Where", first, s.integer(0), s.sub(s.add(last, s.integer(1)), length))
	places := s.add(before, s.upTo(length))
	if s.n.Int("do_rotary", 0) != 0 {
		at := places
		if given := s.in(9); given != "" { // of which a first run uses one number
			start := s.part(s.op("Reshape", given, s.ints(-1)), 0)
			at = s.op("Where", first, s.add(start, places), given)
		}
		q = s.rotate(q, at, s.in(7), s.in(8), n)
		k = s.rotate(k, at, s.in(7), s.in(8), m)
	}
	past := s.in(3)
	present := []string{s.heads(k, m), s.heads(v, m)}
	a := &attention{
		q: s.heads(q, n), k: s.after(past, present[0]), v: s.after(s.in(4), present[1]),
		grouped: n != m, all: s.ints(n), count: s.ints(m),
		scale: float64(s.n.Float("scale", 0)), cap: float64(s.n.Float("softcap", 0)), bias: s.in(10),
	}
	keyPlaces := places
	if past != "" {
		// What the cache holds behind a row's tokens is nothing to see.
		j := s.upTo(s.dimOf(past, 2))
		keyPlaces = s.concat(1, s.op("Where", s.op("Less", j, before), j, s.integer(math.MaxInt32)), places)
		present = []string{"", ""}
	}
	if a.bias != "" && past != "" {
		a.bias = s.columns(a.bias, keyPlaces)
	}
	keyPlaces = s.op("Unsqueeze", keyPlaces, s.ints(1, 2))
	queryPlaces := s.op("Unsqueeze", places, s.ints(1, 3))
	if s.n.Int("causal", 1) == 0 {
		a.allowed = s.op("LessOrEqual", keyPlaces, s.op("Unsqueeze", last, s.ints(2, 3)))
	} else {
		a.allowed = s.op("LessOrEqual", keyPlaces, queryPlaces)
	}
	if w := s.n.Int("local_window_size", -1); w >= 0 {
		a.allowed = s.op("And", a.allowed, s.op("Less", s.sub(queryPlaces, keyPlaces), s.integer(w)))
	}
	switch sink := s.in(11); {
	case sink != "":
		a.sink = s.op("Reshape", sink, s.ints(n, 1, 1))
	case s.n.Int("smooth_softmax", 0) == 1:
		a.sink = s.constant(0, a.q)
	}
	y := s.joined(s.attend(a))
	return []string{y, present[0], present[1], ""}
}

// columns takes the columns of a bias, [B or 1, N or 1, S, ...], that belong to
// the positions of the keys, [B, T].
func (s *step) columns(bias, places string) string {
	size := s.op("Shape", bias)
	top := s.sub(s.part(size, 3), s.ints(1))
	rows := s.op("Slice", size, s.ints(1), s.ints(3), s.ints(0))
	at := s.op("Unsqueeze", s.op("Min", places, top), s.ints(1, 2))
	batch := s.part(s.op("Shape", places), 0)
	wide := s.op("Expand", bias, s.concat(0, batch, s.ints(1, 1, 1)))
	at = s.op("Expand", at, s.concat(0, s.ints(1), rows, s.ints(1)))
	return s.b.Op("GatherElements", []string{wide, at}, onnx.AttrInt("axis", 3))
}

// projected is ONNX Runtime's own Attention, which begins with the projection to
// queries, keys and values. Inputs: x, weights, bias, mask, past [2, B, N, P, d],
// attention_bias; outputs: y, present.
func projected(s *step) []string {
	n := s.n.Int("num_heads", 0)
	if n <= 0 {
		s.fail("it has no attribute num_heads")
		return nil
	}
	for _, name := range []string{"do_rotary", "past_present_share_buffer"} {
		if s.n.Int(name, 0) != 0 {
			s.fail("it has the attribute %s", name)
			return nil
		}
	}
	x := s.op("MatMul", s.in(0), s.in(1))
	if s.in(2) != "" {
		x = s.add(x, s.in(2))
	}
	sizes := s.n.Ints("qkv_hidden_sizes", nil)
	split := []string{x}
	if len(sizes) == 3 {
		split = append(split, s.ints(sizes...))
	} else {
		third := s.op("Div", s.dimOf(s.in(1), 1), s.integer(3))
		split = append(split, s.concat(0, third, third, third))
	}
	parts := s.b.OpN("Split", "", split, 3, onnx.AttrInt("axis", 2))
	for i := range parts {
		parts[i] = s.heads(parts[i], n)
	}
	k, v, past := parts[1], parts[2], s.in(4)
	a := &attention{q: parts[0], k: k, v: v, scale: float64(s.n.Float("scale", 0)), bias: s.in(5)}
	if past != "" {
		a.k = s.after(s.b.Op("Gather", []string{past, s.integer(0)}, onnx.AttrInt("axis", 0)), k)
		a.v = s.after(s.b.Op("Gather", []string{past, s.integer(1)}, onnx.AttrInt("axis", 0)), v)
	}
	if !s.restrict(a, s.in(3), past) {
		return nil
	}
	y := s.joined(s.attend(a))
	if len(s.dys) < 2 || s.dys[1] == "" {
		return []string{y}
	}
	return []string{y, s.concat(0, s.op("Unsqueeze", a.k, s.ints(0)), s.op("Unsqueeze", a.v, s.ints(0)))}
}

// standardAttention is ONNX's own. Inputs: Q, K, V, attn_mask, past_key,
// past_value, nonpad_kv_seqlen; outputs: Y, present_key, present_value, qk.
func standardAttention(s *step) []string {
	rank := len(s.shape(s.in(0)))
	n, m := s.n.Int("q_num_heads", 0), s.n.Int("kv_num_heads", 0)
	if s.shape(s.in(0)) == nil && n == 0 {
		rank = 4 // three axes need the attribute
	}
	if rank != 4 && (rank != 3 || n <= 0 || m <= 0) {
		s.fail("the rank of %q is not known", s.in(0))
		return nil
	}
	a := &attention{q: s.in(0), k: s.in(1), v: s.in(2), scale: float64(s.n.Float("scale", 0)), cap: float64(s.n.Float("softcap", 0))}
	if rank == 3 {
		a.q, a.k, a.v = s.heads(a.q, n), s.heads(a.k, m), s.heads(a.v, m)
	}
	a.all, a.count = s.dimOf(a.q, 1), s.dimOf(a.k, 1)
	x, y := s.shape(a.q).at(1), s.shape(a.k).at(1)
	a.grouped = !x.equal(y)
	past := s.in(4)
	a.k, a.v = s.after(past, a.k), s.after(s.in(5), a.v)
	keys := s.dimOf(a.k, 2)

	if mask := s.in(3); mask != "" {
		boolean := s.dtype(mask) == onnx.Bool
		fill := s.constant(math.Inf(-1), mask)
		if boolean {
			fill = s.once("false", func() string { return s.cast(s.integer(0), onnx.Bool) })
		}
		if !s.shape(mask).at(-1).equal(s.shape(a.k).at(2)) {
			// A mask may end before the keys do.
			size := s.op("Shape", mask)
			rank := s.op("Sub", s.op("Add", s.op("Shape", size), s.op("Shape", size)), s.ints(1))
			none := s.b.Op("ConstantOfShape", []string{rank}, onnx.AttrTensor("value", onnx.NewTensor("", tensor.FromInt64s([]int64{0}, 1))))
			mask = s.op("Pad", mask, s.concat(0, none, s.sub(keys, s.part(size, -1))), fill)
		}
		if boolean {
			a.allowed, a.whole = mask, true
		} else {
			a.bias = mask
		}
	}
	if used := s.in(6); used != "" {
		lengths := s.op("Unsqueeze", used, s.ints(1, 2, 3))
		a.allowed, a.whole = s.both("And", a.allowed, s.op("Less", s.upTo(keys), lengths)), true
	}
	if s.n.Int("is_causal", 0) != 0 {
		offset := ""
		switch {
		case past != "":
			offset = s.dimOf(past, 2)
		case s.in(6) != "":
			// The last query is that of the last token, as ONNX has it. Before
			// version 1.30 ONNX Runtime lets the first query begin at key 0, and
			// a query that is alone see every key.
			offset = s.op("Unsqueeze", s.sub(s.in(6), s.dimOf(a.q, 2)), s.ints(1, 2, 3))
		}
		a.allowed = s.both("And", a.allowed, s.causal(a.q, offset, keys))
		a.whole = a.whole || s.in(6) != ""
	}
	if dt := onnx.DataType(s.n.Int("softmax_precision", 0)); dt != onnx.Undefined && dt != s.fact(a.q).dtype {
		a.work = dt
	}
	out := s.attend(a)
	if rank == 3 {
		out = s.joined(out)
	}
	product := []string{a.scores, a.capped, a.masked, a.probs}
	mode := s.n.Int("qk_matmul_output_mode", 0)
	if mode < 0 || mode > 3 {
		s.fail("its attribute qk_matmul_output_mode is %d", mode)
		return nil
	}
	return []string{out, a.k, a.v, product[mode]}
}
