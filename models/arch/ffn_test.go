package arch

import (
	"fmt"
	"strings"
	"testing"

	"editpipe/models/ports"
	"editpipe/onnx"
	"editpipe/tensor"
)

const (
	testWidth = 4
	testInner = 12
	testVocab = 7
)

// stack builds decoders block by block. Attention is one head without a mask:
// enough to show what must not be taken for a feed-forward block.
type stack struct {
	b *onnx.Builder
	m *onnx.Model
	n int
	// block writes the feed-forward part: from the normed input and the
	// residual stream to the next residual stream.
	block func(s *stack, x, residual string) string
}

func (s *stack) weight(rows, cols int) string {
	s.n++
	v := make([]float32, rows*cols)
	for i := range v {
		v[i] = float32((i*7+s.n*13)%11-5) / 10
	}
	return s.b.Const(tensor.FromFloat32s(v, rows, cols))
}

func (s *stack) vector(n int) string {
	s.n++
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(s.n) / 100
	}
	return s.b.Const(tensor.FromFloat32s(v, n))
}

func (s *stack) op(op string, in ...string) string { return s.b.Op(op, in) }

func (s *stack) norm(x string) string {
	return s.b.Op("LayerNormalization", []string{x, s.vector(testWidth), s.vector(testWidth)}, onnx.AttrInt("axis", -1))
}

func (s *stack) attention(x string) string {
	q, k, v := s.op("MatMul", x, s.weight(testWidth, testWidth)), s.op("MatMul", x, s.weight(testWidth, testWidth)), s.op("MatMul", x, s.weight(testWidth, testWidth))
	scores := s.op("MatMul", q, s.b.Op("Transpose", []string{k}, onnx.AttrInts("perm", 0, 2, 1)))
	mixed := s.op("MatMul", s.b.Op("Softmax", []string{scores}, onnx.AttrInt("axis", -1)), v)
	return s.op("MatMul", mixed, s.weight(testWidth, testWidth))
}

// build makes a model of n blocks.
func build(n int, block func(s *stack, x, residual string) string) *onnx.Model {
	m := onnx.New(9, 17)
	m.Opsets = append(m.Opsets, onnx.Opset{Domain: "com.microsoft", Version: 1})
	s := &stack{m: m, b: m.Builder(), block: block}
	ids := s.b.Input("input_ids", onnx.Int64, []onnx.Dim{onnx.Symbolic("b"), onnx.Symbolic("t")})
	h := s.op("Gather", s.weight(testVocab, testWidth), ids)
	for range n {
		h = s.op("Add", s.attention(s.norm(h)), h)
		h = s.block(s, s.norm(h), h)
	}
	logits := s.op("MatMul", s.norm(h), s.weight(testWidth, testVocab))
	s.b.Output(logits, "logits", onnx.Float, []onnx.Dim{onnx.Symbolic("b"), onnx.Symbolic("t"), {Value: testVocab}})
	return m
}

func (s *stack) fused(op string, attrs []*onnx.Attribute, outputs int, in ...string) []string {
	return s.b.OpN(op, "com.microsoft", in, outputs, attrs...)
}

// blocks are the forms a feed-forward block may take. down says whether its
// down-projection is editable, gated whether there is a gate.
var blocks = map[string]struct {
	block    func(s *stack, x, residual string) string
	editable bool
	gated    bool
	why      string
	siteless bool // no activations to read
}{
	"relu": {editable: true, block: func(s *stack, x, r string) string {
		up := s.op("Relu", s.op("MatMul", x, s.weight(testWidth, testInner)))
		return s.op("Add", r, s.op("MatMul", up, s.weight(testInner, testWidth)))
	}},
	"biases, gelu op, dropout": {editable: true, block: func(s *stack, x, r string) string {
		up := s.op("Gelu", s.op("Add", s.op("MatMul", x, s.weight(testWidth, testInner)), s.vector(testInner)))
		return s.op("Add", s.op("Dropout", s.op("Add", s.vector(testWidth), s.op("MatMul", up, s.weight(testInner, testWidth)))), r)
	}},
	"erf gelu": {editable: true, block: func(s *stack, x, r string) string {
		u := s.op("MatMul", x, s.weight(testWidth, testInner))
		e := s.op("Add", s.op("Erf", s.op("Div", u, s.b.Scalar(1.41421))), s.b.Scalar(1))
		up := s.op("Mul", s.op("Mul", u, e), s.b.Scalar(0.5))
		return s.op("Add", r, s.op("MatMul", up, s.weight(testInner, testWidth)))
	}},
	"contrib BiasGelu": {editable: true, block: func(s *stack, x, r string) string {
		up := s.fused("BiasGelu", nil, 1, s.op("MatMul", x, s.weight(testWidth, testInner)), s.vector(testInner))[0]
		return s.op("Add", r, s.op("MatMul", up, s.weight(testInner, testWidth)))
	}},
	"contrib FastGelu": {editable: true, block: func(s *stack, x, r string) string {
		up := s.fused("FastGelu", nil, 1, s.op("MatMul", x, s.weight(testWidth, testInner)), s.vector(testInner))[0]
		return s.op("Add", r, s.op("MatMul", up, s.weight(testInner, testWidth)))
	}},
	"contrib QuickGelu gate": {editable: true, gated: true, block: func(s *stack, x, r string) string {
		gate := s.fused("QuickGelu", nil, 1, s.op("MatMul", x, s.weight(testWidth, testInner)))[0]
		up := s.op("Mul", gate, s.op("MatMul", x, s.weight(testWidth, testInner)))
		return s.op("Add", r, s.op("MatMul", up, s.weight(testInner, testWidth)))
	}},
	"SwiGLU, up first": {editable: true, gated: true, block: func(s *stack, x, r string) string {
		u := s.op("MatMul", x, s.weight(testWidth, testInner))
		g := s.op("MatMul", x, s.weight(testWidth, testInner))
		up := s.op("Mul", u, s.op("Mul", g, s.op("Sigmoid", g)))
		return s.op("Add", s.op("MatMul", up, s.weight(testInner, testWidth)), r)
	}},
	"gate and up in one matrix": {editable: true, block: func(s *stack, x, r string) string {
		both := s.b.OpN("Split", "", []string{s.op("MatMul", x, s.weight(testWidth, 2*testInner)), s.b.Int64s(testInner, testInner)}, 2, onnx.AttrInt("axis", -1))
		up := s.op("Mul", both[1], s.op("Mul", both[0], s.op("Sigmoid", both[0])))
		return s.op("Add", r, s.op("MatMul", up, s.weight(testInner, testWidth)))
	}},
	"Gemm between Reshapes, stored transposed": {editable: true, block: func(s *stack, x, r string) string {
		flat := s.op("Reshape", x, s.b.Int64s(-1, testWidth))
		u := s.b.Op("Gemm", []string{flat, s.weight(testInner, testWidth), s.vector(testInner)}, onnx.AttrInt("transB", 1))
		d := s.b.Op("Gemm", []string{s.op("Relu", u), s.weight(testWidth, testInner), s.vector(testWidth)}, onnx.AttrInt("transB", 1))
		return s.op("Add", r, s.op("Reshape", d, s.op("Shape", x)))
	}},
	"unfolded Transpose": {editable: true, block: func(s *stack, x, r string) string {
		t := func(w string) string { return s.b.Op("Transpose", []string{w}, onnx.AttrInts("perm", 1, 0)) }
		up := s.op("Relu", s.op("MatMul", x, t(s.weight(testInner, testWidth))))
		return s.op("Add", r, s.op("MatMul", up, t(s.weight(testWidth, testInner))))
	}},
	"SkipLayerNormalization with sum": {editable: true, block: func(s *stack, x, r string) string {
		d := s.op("MatMul", s.op("Relu", s.op("MatMul", x, s.weight(testWidth, testInner))), s.weight(testInner, testWidth))
		return s.fused("SkipLayerNormalization", nil, 4, d, r, s.vector(testWidth), s.vector(testWidth))[3]
	}},
	"scaled product": {editable: false, why: "scales its product", block: func(s *stack, x, r string) string {
		up := s.op("Relu", s.op("MatMul", x, s.weight(testWidth, testInner)))
		d := s.fused("FusedMatMul", []*onnx.Attribute{onnx.AttrFloat("alpha", 0.5)}, 1, up, s.weight(testInner, testWidth))[0]
		return s.op("Add", r, d)
	}},
	"MatMulNBits": {editable: false, why: "quantised", block: func(s *stack, x, r string) string {
		nbits := func(x string, k, n int64) string {
			return s.fused("MatMulNBits", []*onnx.Attribute{onnx.AttrInt("K", k), onnx.AttrInt("N", n), onnx.AttrInt("bits", 4), onnx.AttrInt("block_size", 16)}, 1,
				x, s.b.Const(tensor.New(tensor.U8, int(n), 1, 8)), s.vector(int(n)))[0]
		}
		return s.op("Add", r, nbits(s.op("Relu", nbits(x, testWidth, testInner)), testInner, testWidth))
	}},
	"DequantizeLinear": {editable: false, why: "quantised", block: func(s *stack, x, r string) string {
		dq := func(k, n int) string {
			return s.op("DequantizeLinear", s.b.Const(tensor.New(tensor.I8, k, n)), s.b.Scalar(0.1))
		}
		up := s.op("Relu", s.op("MatMul", x, dq(testWidth, testInner)))
		return s.op("Add", r, s.op("MatMul", up, dq(testInner, testWidth)))
	}},
	"dynamic quantisation": {editable: false, siteless: true, why: "quantised", block: func(s *stack, x, r string) string {
		mm := func(x string, k, n int) string {
			q := s.b.OpN("DynamicQuantizeLinear", "", []string{x}, 3)
			i := s.op("MatMulInteger", q[0], s.b.Const(tensor.New(tensor.I8, k, n)), q[2])
			return s.op("Mul", s.b.Op("Cast", []string{i}, onnx.AttrInt("to", int64(onnx.Float))), s.op("Mul", q[1], s.b.Scalar(0.1)))
		}
		return s.op("Add", r, mm(s.op("Relu", mm(x, testWidth, testInner)), testInner, testWidth))
	}},
	"Constant node": {editable: false, why: "Constant node", block: func(s *stack, x, r string) string {
		v := make([]float32, testInner*testWidth)
		w := s.b.Op("Constant", nil, onnx.AttrTensor("value", onnx.NewTensor("", tensor.FromFloat32s(v, testInner, testWidth))))
		return s.op("Add", r, s.op("MatMul", s.op("Relu", s.op("MatMul", x, s.weight(testWidth, testInner))), w))
	}},
}

func analysed(t *testing.T, m *onnx.Model) *Graph {
	t.Helper()
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	g, err := Analyse("test", m, Decoder)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestBlocksOfEveryForm(t *testing.T) {
	for name, c := range blocks {
		t.Run(name, func(t *testing.T) {
			const layers = 3
			g := analysed(t, build(layers, c.block))
			if len(g.FFNs) != layers {
				t.Fatalf("%d blocks found, want %d", len(g.FFNs), layers)
			}
			last := -1
			for i, f := range g.FFNs {
				d := f.Down
				if f.Layer != i || d.ID != (WeightID{Decoder, i, FFNDown}) {
					t.Errorf("block %d calls itself %v", i, d.ID)
				}
				if d.In != testInner || d.Out != testWidth {
					t.Errorf("down-projection is %d x %d", d.In, d.Out)
				}
				if d.Editable != c.editable || !strings.Contains(d.Why, c.why) || c.editable != (d.Why == "") {
					t.Errorf("editable %v (%q), want %v (%q)", d.Editable, d.Why, c.editable, c.why)
				}
				if (f.Gate != nil) != c.gated {
					t.Errorf("gate found: %v", f.Gate != nil)
				}
				for _, p := range []Point{FFNIn, FFNAct, FFNOut, Hidden} {
					if v, why := f.Value(p); (v == "") != c.siteless || (why != "") != c.siteless {
						t.Errorf("%s is read from %q: %s", p, v, why)
					}
				}
				ix := g.Model.Graph.Index()
				if attn := ix.Producer(f.Attention); attn == nil || ix.Producer(attn.Inputs[0]).OpType != "MatMul" || ix.Consumers(f.Attention)[0].OpType != "Add" {
					t.Errorf("attention is read from %q: %s", f.Attention, f.Missing[AttnOut])
				}
				at := producerIndex(g.Model, d.Output)
				if at <= last {
					t.Errorf("block %d stands at node %d, behind %d", i, at, last)
				}
				last = at
			}
			if g.Head.X == "" || g.Head.Width != testWidth {
				t.Errorf("head %+v", g.Head)
			}
		})
	}
}

func producerIndex(m *onnx.Model, value string) int {
	for i, n := range m.Graph.Nodes {
		for _, o := range n.Outputs {
			if o == value {
				return i
			}
		}
	}
	return -1
}

// TestGateIsTheActivatedBranch checks which of two equal-shaped matrices is
// called the gate, whichever the graph computes first.
func TestGateIsTheActivatedBranch(t *testing.T) {
	m := build(1, blocks["SwiGLU, up first"].block)
	f := analysed(t, m).FFNs[0]
	ix := m.Graph.Index()
	sigmoid := false
	for _, n := range ix.Consumers(f.Gate.Output) {
		sigmoid = sigmoid || n.OpType == "Sigmoid"
	}
	if !sigmoid {
		t.Error("the gate does not feed the activation")
	}
	for _, n := range ix.Consumers(f.Up.Output) {
		if n.OpType == "Sigmoid" {
			t.Error("the up-projection feeds the activation")
		}
	}
}

// TestParallelBlock: attention and feed-forward are summed before the residual;
// the block's output is the last of the sums.
func TestParallelBlock(t *testing.T) {
	var last string
	m := build(2, func(s *stack, x, r string) string {
		up := s.op("Relu", s.op("MatMul", x, s.weight(testWidth, testInner)))
		sum := s.op("Add", s.attention(x), s.op("MatMul", up, s.weight(testInner, testWidth)))
		last = s.op("Add", sum, r)
		return last
	})
	g := analysed(t, m)
	if len(g.FFNs) != 2 || g.FFNs[1].Hidden != last {
		t.Errorf("%d blocks, output %q, want %q", len(g.FFNs), g.FFNs[1].Hidden, last)
	}
	// Another attention stands before the block here.
	for _, f := range g.FFNs {
		if v, why := f.Value(AttnOut); v != "" || !strings.Contains(why, "4 attention output projections") {
			t.Errorf("attention is read from %q: %q", v, why)
		}
	}
}

// TestAttentionOutput: behind fused attention, with a bias, beside the
// feed-forward part, and where the bias cannot be had.
func TestAttentionOutput(t *testing.T) {
	relu := func(s *stack, x string) string {
		return s.op("MatMul", s.op("Relu", s.op("MatMul", x, s.weight(testWidth, testInner))), s.weight(testInner, testWidth))
	}
	var want []string
	fused := func(s *stack, x string) string {
		h := s.fused("MultiHeadAttention", []*onnx.Attribute{onnx.AttrInt("num_heads", 1)}, 1, x, x, x)[0]
		return s.op("MatMul", h, s.weight(testWidth, testWidth))
	}
	keep := func(v string) string {
		want = append(want, v)
		return v
	}
	for name, c := range map[string]struct {
		block func(s *stack, h string) string
		why   string
	}{
		"fused with bias": {func(s *stack, h string) string {
			h = s.op("Add", keep(s.op("Add", fused(s, s.norm(h)), s.vector(testWidth))), h)
			return s.op("Add", relu(s, s.norm(h)), h)
		}, ""},
		"beside, feed-forward first": {func(s *stack, h string) string {
			x := s.norm(h)
			f := relu(s, x)
			return s.op("Add", s.op("Add", keep(s.attention(x)), f), h)
		}, ""},
		"bias within the norm": {func(s *stack, h string) string {
			out := s.fused("SkipLayerNormalization", nil, 4, fused(s, s.norm(h)), h, s.vector(testWidth), s.vector(testWidth), s.vector(testWidth))
			return s.op("Add", relu(s, out[0]), out[3])
		}, "the bias is added inside"},
		"no attention": {func(s *stack, h string) string {
			return s.op("Add", relu(s, s.norm(h)), h)
		}, "0 attention output projections found in 2 blocks"},
	} {
		want = nil
		m := onnx.New(9, 17)
		m.Opsets = append(m.Opsets, onnx.Opset{Domain: "com.microsoft", Version: 1})
		s := &stack{m: m, b: m.Builder()}
		ids := s.b.Input("input_ids", onnx.Int64, []onnx.Dim{onnx.Symbolic("b"), onnx.Symbolic("t")})
		h := s.op("Gather", s.weight(testVocab, testWidth), ids)
		h = c.block(s, c.block(s, h))
		s.b.Output(s.op("MatMul", s.norm(h), s.weight(testWidth, testVocab)), "logits", onnx.Float, []onnx.Dim{onnx.Symbolic("b"), onnx.Symbolic("t"), {Value: testVocab}})
		g := analysed(t, m)
		if len(g.FFNs) != 2 {
			t.Errorf("%s: %d blocks", name, len(g.FFNs))
			continue
		}
		for i, f := range g.FFNs {
			v, why := f.Value(AttnOut)
			if c.why == "" && (v != want[i] || why != "") || c.why != "" && (v != "" || !strings.Contains(why, c.why)) {
				t.Errorf("%s, block %d: read from %q: %q", name, i, v, why)
			}
		}
	}
}

func TestMergedWeightsAreRefused(t *testing.T) {
	for _, through := range []string{"directly", "Identity", "Transpose"} {
		t.Run(through, func(t *testing.T) {
			var first string
			m := build(2, func(s *stack, x, r string) string {
				up := s.op("Relu", s.op("MatMul", x, s.weight(testWidth, testInner)))
				w := first
				switch {
				case first == "" && through == "Transpose":
					first = s.weight(testWidth, testInner)
					w = s.b.Op("Transpose", []string{first}, onnx.AttrInts("perm", 1, 0))
				case first == "":
					first = s.weight(testInner, testWidth)
					w = first
				case through == "Identity":
					w = s.op("Identity", first)
				case through == "Transpose":
					w = s.b.Op("Transpose", []string{first}, onnx.AttrInts("perm", 1, 0))
				}
				return s.op("Add", r, s.op("MatMul", up, w))
			})
			for _, f := range analysed(t, m).FFNs {
				if f.Down.Editable || !strings.Contains(f.Down.Why, "merged equal weights") {
					t.Errorf("layer %d: editable %v: %q", f.Layer, f.Down.Editable, f.Down.Why)
				}
				if !f.Up.Editable {
					t.Errorf("layer %d: the up-projection is not shared: %q", f.Layer, f.Up.Why)
				}
			}
		})
	}
}

// TestNoFalseBlocks: two matrices without an activation between, and a gated
// attention output, are not feed-forward blocks.
func TestNoFalseBlocks(t *testing.T) {
	near := map[string]func(s *stack, x, r string) string{
		"no activation": func(s *stack, x, r string) string {
			return s.op("Add", r, s.op("MatMul", s.op("MatMul", x, s.weight(testWidth, testInner)), s.weight(testInner, testWidth)))
		},
		"gated attention": func(s *stack, x, r string) string {
			gate := s.op("Sigmoid", s.op("MatMul", x, s.weight(testWidth, testWidth)))
			return s.op("Add", r, s.op("MatMul", s.op("Mul", gate, s.attention(x)), s.weight(testWidth, testWidth)))
		},
		"other width": func(s *stack, x, r string) string {
			wide := s.op("MatMul", s.op("Relu", s.op("MatMul", x, s.weight(testWidth, testInner))), s.weight(testInner, testWidth+1))
			return s.op("Add", r, s.op("MatMul", wide, s.weight(testWidth+1, testWidth)))
		},
	}
	for name, block := range near {
		t.Run(name, func(t *testing.T) {
			if f := analysed(t, build(2, block)).FFNs; len(f) != 0 {
				t.Errorf("%d blocks found, the first is %+v", len(f), f[0].Down)
			}
		})
	}
}

func TestParseWeightID(t *testing.T) {
	for _, id := range []WeightID{{Decoder, 0, FFNDown}, {Encoder, 31, FFNGate}, {Decoder, 7, FFNUp}} {
		got, err := ParseWeightID(id.String())
		if err != nil || got != id {
			t.Errorf("%s reads back as %v, %v", id, got, err)
		}
	}
	for _, s := range []string{"", "decoder", "decoder.1", "decoder.1.ffn_down.x", "middle.1.ffn_down", "decoder.-1.ffn_down", "decoder.01.ffn_down", "decoder.1.wo", "decoder.x.ffn_down"} {
		if id, err := ParseWeightID(s); err == nil {
			t.Errorf("%q reads as %v", s, id)
		}
	}
}

func TestUnknownInputIsNamed(t *testing.T) {
	m := build(1, blocks["relu"].block)
	m.Builder().Input("pixel_values", onnx.Float, onnx.Fixed(1, 3))
	_, err := Analyse("test", m, Decoder)
	if err == nil || !strings.Contains(err.Error(), "pixel_values") {
		t.Errorf("error %v does not name the input", err)
	}
	if !strings.Contains(fmt.Sprint(err), ports.ErrGraph.Error()) {
		t.Errorf("error %v is not ports.ErrGraph", err)
	}
}
