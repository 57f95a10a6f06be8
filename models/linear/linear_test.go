package linear

import (
	"strings"
	"testing"

	"editpipe/onnx"
	"editpipe/tensor"
)

// TestFind: a map from 3 to 5 in the forms that exporters give it.
func TestFind(t *testing.T) {
	type built struct {
		b *onnx.Builder
		x string
	}
	stored := func(g built, rows, columns int) string {
		return g.b.Const(tensor.New(tensor.F32, rows, columns))
	}
	op := func(g built, domain, name, x, w string, attrs ...*onnx.Attribute) string {
		return g.b.OpN(name, domain, []string{x, w}, 1, attrs...)[0]
	}
	for name, c := range map[string]struct {
		build      func(g built) string
		transposed bool
		compute    string // float32
		why        string // part of it
		none       bool
	}{
		"MatMul": {build: func(g built) string { return op(g, "", "MatMul", g.x, stored(g, 3, 5)) }},
		"Gemm":   {build: func(g built) string { return op(g, "", "Gemm", g.x, stored(g, 5, 3), onnx.AttrInt("transB", 1)) }, transposed: true},
		"Transpose": {build: func(g built) string {
			return op(g, "", "MatMul", g.x, g.b.Op("Transpose", []string{stored(g, 5, 3)}))
		}, transposed: true},
		"turned twice": {build: func(g built) string {
			return op(g, "", "Gemm", g.x, g.b.Op("Transpose", []string{stored(g, 3, 5)}), onnx.AttrInt("transB", 1))
		}},
		"Cast": {build: func(g built) string {
			return op(g, "", "MatMul", g.x, g.b.Op("Cast", []string{stored(g, 3, 5)}, onnx.AttrInt("to", int64(onnx.Float16))))
		}, compute: "float16"},
		"FusedMatMul": {build: func(g built) string {
			return op(g, "com.microsoft", "FusedMatMul", g.x, stored(g, 5, 3), onnx.AttrInt("transB", 1))
		}, transposed: true},
		"scaled": {build: func(g built) string {
			return op(g, "com.microsoft", "FusedMatMul", g.x, stored(g, 3, 5), onnx.AttrFloat("alpha", 0.5))
		}, why: "scales its product by 0.5"},
		"Constant": {build: func(g built) string {
			w := g.b.Op("Constant", nil, onnx.AttrTensor("value", onnx.NewTensor("", tensor.New(tensor.F32, 3, 5))))
			return op(g, "", "MatMul", g.x, w)
		}, why: "Constant node"},
		"read twice": {build: func(g built) string {
			w := stored(g, 3, 5)
			g.b.Op("Abs", []string{g.b.Op("Identity", []string{w})})
			return op(g, "", "MatMul", g.x, w)
		}, why: "also read by node"},
		"merged": {build: func(g built) string {
			w := stored(g, 3, 5)
			op(g, "", "MatMul", g.b.Op("Neg", []string{g.x}), w)
			return op(g, "", "MatMul", g.x, w)
		}, why: "merged equal weights"},
		"of two computed values": {build: func(g built) string {
			return op(g, "", "MatMul", g.x, g.b.Op("Transpose", []string{g.x}))
		}, none: true},
		"turned input": {build: func(g built) string { return op(g, "", "Gemm", g.x, stored(g, 3, 5), onnx.AttrInt("transA", 1)) }, none: true},
		"vector":       {build: func(g built) string { return op(g, "", "MatMul", g.x, g.b.Const(tensor.New(tensor.F32, 3))) }, none: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := onnx.New(9, 17)
			g := built{b: m.Builder()}
			g.x = g.b.Input("x", onnx.Float, onnx.Fixed(2, 3))
			y := c.build(g)
			maps := Find(m)
			l := maps.Of(y)
			if c.none {
				if l != nil {
					t.Fatalf("got %+v, want none", l)
				}
				return
			}
			if l == nil {
				t.Fatal("not found")
			}
			if c.compute == "" {
				c.compute = "float32"
			}
			if l.X != "x" || l.In != 3 || l.Out != 5 || l.W.Transposed != c.transposed || l.W.DType != "float32" || l.W.Compute != c.compute {
				t.Errorf("got %+v", l)
			}
			if (l.W.Why == "") != (c.why == "") || !strings.Contains(l.W.Why, c.why) {
				t.Errorf("not editable because %q, want %q", l.W.Why, c.why)
			}
			if maps.Nodes[l.At] != l.Node || maps.At(l.Node) != l.At {
				t.Errorf("at %d, the node at %d", l.At, maps.At(l.Node))
			}
		})
	}
}

// Constant is what no input of the graph decides; who reads a shape alone is no reader.
func TestConstantAndReaders(t *testing.T) {
	m := onnx.New(9, 17)
	b := m.Builder()
	x := b.Input("x", onnx.Float, onnx.Fixed(2, 3))
	still := b.Op("Neg", []string{b.Op("Add", []string{b.Const(tensor.New(tensor.F32, 3)), b.Const(tensor.New(tensor.F32, 1))})})
	b.Op("Shape", []string{x})
	moves := b.Op("Add", []string{x, still})
	g := Find(m)
	if !g.Constant(still) || g.Constant(moves) || g.Constant(x) {
		t.Errorf("constant: %v, %v, %v", g.Constant(still), g.Constant(moves), g.Constant(x))
	}
	if r := g.Readers(x); len(r) != 1 || r[0].OpType != "Add" {
		t.Errorf("%d readers", len(r))
	}
}
