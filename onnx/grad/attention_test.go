package grad_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"editpipe/onnx"
	"editpipe/onnx/grad"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

func shortInts(v []int64, shape ...int) *tensor.Tensor {
	t := tensor.New(tensor.I32, shape...)
	for i, x := range v {
		binary.LittleEndian.PutUint32(t.Data[4*i:], uint32(x))
	}
	return t
}

// attentionCases: two rows, two or four heads of four channels, five positions.
func attentionCases() []ruleCase {
	const microsoft = "com.microsoft"
	x := func(shape ...int) arg { return arg{shape: shape, low: -1, high: 1} }
	angles := func(shape ...int) arg { return given(x(shape...)) }
	rope := func(op, domain string, in []arg, a ...*onnx.Attribute) ruleCase {
		return ruleCase{op: op, domain: domain, in: in, attrs: a, single: true, opset: 23}
	}
	places := index([]int64{0, 1, 2, 3, 2, 3, 4, 5}, 2, 4)
	cases := []ruleCase{
		rope("RotaryEmbedding", "", []arg{x(2, 4, 6), angles(8, 1), angles(8, 1), places}, integer("num_heads", 3)),
		rope("RotaryEmbedding", "", []arg{x(2, 3, 4, 4), angles(8, 2), angles(8, 2), places}),
		rope("RotaryEmbedding", "", []arg{x(2, 3, 4, 6), angles(8, 2), angles(8, 2), fed(places)}, integer("rotary_embedding_dim", 4), integer("interleaved", 1)),
		rope("RotaryEmbedding", "", []arg{x(2, 3, 4, 4), angles(2, 4, 2), angles(2, 4, 2)}, integer("interleaved", 1)),
		rope("RotaryEmbedding", microsoft, []arg{x(2, 4, 12), places, angles(8, 2), angles(8, 2)}),
		rope("RotaryEmbedding", microsoft, []arg{x(2, 4, 12), ints(2), angles(8, 2), angles(8, 2)}, integer("interleaved", 1)),
		rope("RotaryEmbedding", microsoft, []arg{x(2, 4, 12), fed(places), angles(8, 1), angles(8, 1)}, integer("rotary_embedding_dim", 2), integer("num_heads", 3)),
		rope("RotaryEmbedding", microsoft, []arg{x(2, 3, 4, 4), places, angles(8, 2), angles(8, 2)}),
	}

	heads := func(n int64, more ...*onnx.Attribute) []*onnx.Attribute {
		return append([]*onnx.Attribute{integer("num_heads", n)}, more...)
	}
	multi := func(a []*onnx.Attribute, in ...arg) {
		cases = append(cases, ruleCase{op: "MultiHeadAttention", domain: microsoft, in: in, attrs: a, single: true, ranked: true, outs: 3, use: []int{0}, keep: true})
	}
	q, k, v := x(2, 3, 8), x(2, 5, 8), x(2, 5, 4)
	multi(heads(2), q, k, v)
	multi(heads(2, number("scale", 0.3)), q, k, v, x(20))
	multi(heads(2, integer("unidirectional", 1)), x(2, 5, 8), k, v)
	multi(heads(2), q, k, v, missing, int32s(ints(5, 3)))
	multi(heads(2), q, k, v, missing, int32s(index([]int64{1, 1, 1, 1, 1, 0, 0, 1, 1, 1}, 2, 5)))
	multi(heads(2, number("mask_filter_value", -2)), q, k, v, missing, int32s(index([]int64{1, 1, 0, 1, 0, 0, 0, 0, 0, 0}, 2, 5)), x(1, 2, 3, 5))
	multi(heads(2, integer("unidirectional", 1)), q, x(2, 3, 8), x(2, 3, 8), missing, missing, x(2, 1, 3, 5), x(2, 2, 2, 4), x(2, 2, 2, 4))
	multi(heads(2), q, x(2, 2, 5, 4), x(2, 2, 5, 4))

	group := func(a []*onnx.Attribute, in ...arg) {
		cases = append(cases, ruleCase{op: "GroupQueryAttention", domain: microsoft, in: in, attrs: a, single: true, outs: 3, use: []int{0}, keep: true})
	}
	kv := func(n, m int64, more ...*onnx.Attribute) []*onnx.Attribute {
		return heads(n, append(more, integer("kv_num_heads", m))...)
	}
	total := func(n int64) arg { return int32s(index([]int64{n})) }
	group(kv(4, 2), x(2, 5, 32), x(2, 5, 16), x(2, 5, 16), missing, missing, int32s(ints(4, 4)), total(5))
	group(kv(2, 2, number("scale", 0.7)), x(2, 5, 16), x(2, 5, 16), x(2, 5, 16), missing, missing, int32s(ints(4, 4)), total(5))
	group(kv(4, 1, number("softcap", 0.5)), x(2, 5, 48), missing, missing, missing, missing, int32s(ints(4, 4)), total(5))
	group(kv(4, 2, integer("local_window_size", 2)), x(2, 5, 32), x(2, 5, 16), x(2, 5, 16), missing, missing, int32s(ints(4, 4)), total(5))
	group(kv(4, 2, integer("smooth_softmax", 1)), x(2, 5, 32), x(2, 5, 16), x(2, 5, 16), missing, missing, int32s(ints(4, 4)), total(5))
	group(kv(2, 1, integer("do_rotary", 1)), x(2, 5, 32), x(2, 5, 16), x(2, 5, 16), missing, missing, int32s(ints(4, 4)), total(5), angles(8, 8), angles(8, 8))
	group(kv(2, 1, integer("do_rotary", 1)), x(2, 5, 64), x(2, 5, 32), x(2, 5, 32), missing, missing, int32s(ints(4, 4)), total(5), angles(8, 8), angles(8, 8)) // half of each head
	group(kv(2, 1, integer("do_rotary", 1), integer("rotary_interleaved", 1)), x(2, 5, 128), missing, missing, missing, missing, int32s(ints(4, 4)), total(5), angles(8, 8), angles(8, 8))
	group(kv(2, 1, integer("do_rotary", 1), integer("rotary_interleaved", 1)), x(2, 5, 64), missing, missing, missing, missing, int32s(ints(4, 4)), total(5), angles(8, 8), angles(8, 8))
	group(kv(2, 1), x(2, 5, 16), x(2, 5, 8), x(2, 5, 8), missing, missing, int32s(ints(4, 4)), total(5), missing, missing, missing, x(2, 1, 5, 5))
	group(kv(2, 1), x(2, 5, 16), x(2, 5, 8), x(2, 5, 8), missing, missing, int32s(ints(4, 4)), total(5), missing, missing, missing, missing, x(2))
	group(kv(2, 1, integer("do_rotary", 1)), x(2, 5, 32), x(2, 5, 16), x(2, 5, 16), missing, missing, int32s(ints(4, 4)), total(5), angles(8, 8), angles(8, 8), fed(index([]int64{0, 1, 2, 3, 4, 0, 1, 2, 3, 4}, 2, 5)))
	// One new token behind caches of unequal length, and several behind one.
	group(kv(4, 2, integer("do_rotary", 1)), x(2, 1, 64), x(2, 1, 32), x(2, 1, 32), x(2, 2, 6, 16), x(2, 2, 6, 16), int32s(ints(6, 3)), total(7), angles(8, 8), angles(8, 8))
	group(kv(4, 2, integer("local_window_size", 3)), x(2, 1, 32), x(2, 1, 16), x(2, 1, 16), x(2, 2, 6, 8), x(2, 2, 6, 8), int32s(ints(6, 3)), total(7))
	group(kv(4, 2, integer("do_rotary", 1)), x(1, 3, 64), x(1, 3, 32), x(1, 3, 32), x(1, 2, 4, 16), x(1, 2, 4, 16), int32s(ints(6)), total(7), angles(8, 8), angles(8, 8))
	group(kv(4, 2), x(1, 3, 32), x(1, 3, 16), x(1, 3, 16), x(1, 2, 4, 8), x(1, 2, 4, 8), int32s(ints(6)), total(7), missing, missing, missing, x(1, 1, 3, 7))

	// Rows padded on the right; a cache that is there, but empty or not yet used.
	padded := func(a []*onnx.Attribute, in ...arg) {
		group(a, in...)
		cases[len(cases)-1].rows = []int{5, 3}
	}
	padded(kv(4, 2), x(2, 5, 32), x(2, 5, 16), x(2, 5, 16), missing, missing, int32s(ints(4, 2)), total(5))
	padded(kv(2, 1), x(2, 5, 16), x(2, 5, 8), x(2, 5, 8), x(2, 1, 0, 8), x(2, 1, 0, 8), int32s(ints(4, 2)), total(5))
	padded(kv(2, 1, integer("do_rotary", 1)), x(2, 5, 32), x(2, 5, 16), x(2, 5, 16), x(2, 1, 8, 16), x(2, 1, 8, 16), int32s(ints(4, 2)), total(5), angles(9, 8), angles(9, 8))
	padded(kv(2, 1, integer("causal", 0)), x(2, 5, 16), x(2, 5, 8), x(2, 5, 8), missing, missing, int32s(ints(4, 2)), total(5))
	cases[len(cases)-1].but127 = true
	// Positions are given: of a first run one number counts.
	group(kv(2, 1, integer("do_rotary", 1)), x(2, 5, 32), x(2, 5, 16), x(2, 5, 16), missing, missing, int32s(ints(4, 4)), total(5), angles(9, 8), angles(9, 8), fed(index([]int64{3, 4, 5, 6, 7, 1, 2, 3, 4, 5}, 2, 5)))
	group(kv(2, 1, integer("do_rotary", 1)), x(2, 1, 32), x(2, 1, 16), x(2, 1, 16), x(2, 1, 6, 16), x(2, 1, 6, 16), int32s(ints(6, 3)), total(7), angles(9, 8), angles(9, 8), fed(index([]int64{3, 5}, 2, 1)))
	group(kv(2, 1, number("softcap", 0.5)), x(2, 5, 16), x(2, 5, 8), x(2, 5, 8), missing, missing, int32s(ints(4, 4)), total(5), missing, missing, missing, x(2, 1, 5, 5))

	own := func(a []*onnx.Attribute, in ...arg) {
		cases = append(cases, ruleCase{op: "Attention", domain: microsoft, in: in, attrs: a, single: true, outs: 1})
	}
	own(heads(2), x(2, 5, 6), x(6, 24), x(24))
	own(heads(2, integer("unidirectional", 1)), x(2, 5, 6), x(6, 24), x(24), int32s(index([]int64{1, 1, 1, 1, 1, 1, 1, 1, 0, 0}, 2, 5)))
	own(heads(2, list("qkv_hidden_sizes", 8, 8, 4), number("scale", 0.9)), x(2, 5, 6), x(6, 20), x(20), int32s(ints(5, 3)))
	own(heads(2, integer("unidirectional", 1)), x(2, 3, 6), x(6, 24), x(24), missing, x(2, 2, 2, 4, 4)) // behind a cache
	cases[len(cases)-1].outs = 2
	own(heads(2), x(2, 5, 6), x(6, 24), x(24), missing, missing, x(2, 2, 5, 5))

	plain := func(opset int64, outs []int, a []*onnx.Attribute, in ...arg) {
		c := ruleCase{op: "Attention", in: in, attrs: a, single: true, opset: opset, outs: 1}
		if outs != nil {
			c.outs, c.use = outs[len(outs)-1]+1, outs
		}
		cases = append(cases, c)
	}
	three := attrs(integer("q_num_heads", 4), integer("kv_num_heads", 2))
	plain(23, nil, nil, x(2, 2, 3, 4), x(2, 2, 5, 4), x(2, 2, 5, 3))
	plain(23, nil, attrs(number("scale", 0.4), number("softcap", 0.5)), x(2, 4, 3, 4), x(2, 2, 5, 4), x(2, 2, 5, 3))
	plain(23, nil, append(three, integer("is_causal", 1)), x(2, 5, 16), x(2, 5, 8), x(2, 5, 6))
	plain(23, nil, attrs(integer("is_causal", 1)), x(2, 2, 1, 4), x(2, 2, 5, 4), x(2, 2, 5, 3)) // a query alone
	cases[len(cases)-1].but127 = true
	plain(23, nil, nil, x(2, 2, 3, 4), x(2, 2, 5, 4), x(2, 2, 5, 3), truths("110111010111111", 3, 5))
	plain(23, nil, attrs(integer("is_causal", 1)), x(2, 2, 3, 4), x(2, 2, 5, 4), x(2, 2, 5, 3), truths("111111111111111111111010010000", 2, 1, 3, 5))
	plain(23, nil, nil, x(2, 4, 3, 4), x(2, 2, 5, 4), x(2, 2, 5, 3), x(4, 3, 5))
	plain(23, []int{0, 1, 2}, nil, x(2, 4, 3, 4), x(2, 2, 3, 4), x(2, 2, 3, 3), missing, x(2, 2, 2, 4), x(2, 2, 2, 3))
	plain(23, []int{0, 1, 2}, attrs(integer("is_causal", 1)), x(2, 4, 3, 4), x(2, 2, 3, 4), x(2, 2, 3, 3), x(3, 5), x(2, 2, 2, 4), x(2, 2, 2, 3))
	plain(23, nil, nil, x(2, 2, 3, 4), x(2, 2, 5, 4), x(2, 2, 5, 3), truths("110110000010111", 3, 5)) // a row is masked whole
	cases[len(cases)-1].but127 = true
	for _, lengths := range [][]int64{{5, 4}, {5, 2}} { // of which 2 are fewer than the queries
		plain(24, nil, attrs(integer("is_causal", 1)), x(2, 2, 3, 4), x(2, 2, 5, 4), x(2, 2, 5, 3), missing, missing, missing, fed(ints(lengths...)))
		cases[len(cases)-1].but127 = true
	}
	for mode := range int64(4) {
		plain(23, []int{0, 3}, attrs(integer("qk_matmul_output_mode", mode), number("softcap", 0.5)), x(2, 2, 3, 4), x(2, 2, 5, 4), x(2, 2, 5, 3), x(3, 5))
	}
	plain(24, nil, nil, x(2, 2, 3, 4), x(2, 2, 5, 4), x(2, 2, 5, 3), missing, missing, missing, fed(ints(5, 3)))
	plain(24, nil, attrs(integer("softmax_precision", 1)), x(2, 2, 3, 4), x(2, 2, 5, 4), x(2, 2, 5, 3), truths("110111111110111", 3, 5), missing, missing, fed(ints(4, 3)))
	for i := range cases {
		if c := &cases[i]; c.op == "Attention" && c.domain == "" && len(c.in[0].shape) == 3 {
			c.ranked = true
		}
	}
	return cases
}

// roundedTolerance bounds how far gradients in float16, of 11 bits, may be from those
// in float32: some ten operations round by 5e-4 each, where the processor adds up
// in float16 in sums of 32 terms. The largest difference seen is 9e-4.
const roundedTolerance = 1e-2

// In float16 the gradients of attention are those of float32, rounded.
func TestAttentionOfHalves(t *testing.T) {
	e := orttest.Open(t)
	r := rand.New(rand.NewPCG(5, 6))
	in := feeds{
		"q": random(r, tensor.F32, -1, 1, 2, 5, 32), "k": random(r, tensor.F32, -1, 1, 2, 5, 16), "v": random(r, tensor.F32, -1, 1, 2, 5, 16),
		"cos": random(r, tensor.F32, -1, 1, 8, 8), "sin": random(r, tensor.F32, -1, 1, 8, 8), "seed": random(r, tensor.F32, -1, 1, 2, 5, 32),
	}
	wanted := []string{"q", "k", "v"}
	builds := map[string]func(b *onnx.Builder) string{
		"GroupQueryAttention": func(b *onnx.Builder) string {
			b.Initializer("lengths", shortInts([]int64{4, 4}, 2))
			b.Initializer("total", shortInts([]int64{5}))
			return b.OpN("GroupQueryAttention", "com.microsoft", []string{"q", "k", "v", "", "", "lengths", "total", "cos", "sin"}, 3,
				integer("num_heads", 2), integer("kv_num_heads", 1), integer("do_rotary", 1))[0]
		},
		"Attention": func(b *onnx.Builder) string {
			mask := tensor.New(tensor.Bool, 5, 5)
			for i := range mask.Data {
				mask.Data[i] = byte(i % 3 & 1)
			}
			for i := range 5 {
				mask.Data[6*i] = 1
			}
			return b.Op("Attention", []string{"q", "k", "v", b.Const(mask)}, integer("q_num_heads", 2), integer("kv_num_heads", 1))
		},
	}
	for name, build := range builds {
		t.Run(name, func(t *testing.T) {
			results := map[tensor.DType]feeds{}
			for _, dt := range []tensor.DType{tensor.F32, tensor.F16} {
				m := onnx.New(10, 23)
				m.Opsets = append(m.Opsets, onnx.Opset{Domain: "com.microsoft", Version: 1})
				b := m.Builder()
				fed := feeds{}
				for v, x := range in {
					var err error
					if fed[v], err = x.Convert(dt); err != nil {
						t.Fatal(err)
					}
					dims := make([]onnx.Dim, len(x.Shape))
					for i, d := range x.Shape {
						dims[i].Value = int64(d)
					}
					b.Input(v, onnx.TypeOf(dt), dims)
				}
				y := build(b)
				names, err := grad.GradientsFrom(m, map[string]string{y: "seed"}, wanted...)
				if err != nil {
					t.Fatal(err)
				}
				for _, n := range names {
					if err := m.Expose(n, onnx.TypeOf(dt), nil); err != nil {
						t.Fatal(err)
					}
					m.Graph.Outputs[len(m.Graph.Outputs)-1].HasShape = false
				}
				got := run(t, session(t, e, m), fed, names...)
				results[dt] = feeds{}
				for i, w := range wanted {
					if results[dt][w], err = got[names[i]].Convert(tensor.F32); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, w := range wanted {
				if err := relative(floats(results[tensor.F16][w]), floats(results[tensor.F32][w])); !(err <= roundedTolerance) {
					t.Errorf("gradient of %s is off by %.2g", w, err)
				}
			}
		})
	}
}
