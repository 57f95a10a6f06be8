package ort

import (
	"google.golang.org/protobuf/encoding/protowire"

	"editpipe/tensor"
)

// A graph is a small ONNX model written for a test.
type graph struct {
	nodes   []node
	inputs  []value
	outputs []value
	weights []weight
	ir      uint64 // 0: 8
}

type node struct {
	op      string
	in, out []string
	attrs   [][]byte
}

type value struct {
	name   string
	elem   uint64  // ONNX element type
	dims   []int64 // -1: symbolic
	noRank bool
}

type weight struct {
	name string
	t    *tensor.Tensor
}

const (
	elemF32  = 1
	elemU8   = 2
	elemI8   = 3
	elemI32  = 6
	elemI64  = 7
	elemStr  = 8
	elemBool = 9
	elemF16  = 10
	elemF64  = 11
	elemBF16 = 16
)

func cat(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func text(n int, s string) []byte { return field(protowire.Number(n), []byte(s)) }

func (v value) encode() []byte {
	t := number(1, v.elem)
	if !v.noRank {
		var shape []byte
		for _, d := range v.dims {
			dim := number(1, uint64(d))
			if d < 0 {
				dim = text(2, "n")
			}
			shape = append(shape, field(1, dim)...)
		}
		t = append(t, field(2, shape)...)
	}
	return cat(text(1, v.name), field(2, field(1, t)))
}

func (w weight) encode() []byte {
	var b []byte
	for _, d := range w.t.Shape {
		b = append(b, number(1, uint64(d))...)
	}
	return cat(b, number(2, uint64(elementTypes[w.t.DType])), text(8, w.name), field(9, w.t.Data))
}

func (g graph) encode() []byte {
	var b []byte
	for _, n := range g.nodes {
		var m []byte
		for _, s := range n.in {
			m = append(m, text(1, s)...)
		}
		for _, s := range n.out {
			m = append(m, text(2, s)...)
		}
		m = append(m, text(4, n.op)...)
		for _, a := range n.attrs {
			m = append(m, field(5, a)...)
		}
		b = append(b, field(1, m)...)
	}
	b = append(b, text(2, "test")...)
	for _, w := range g.weights {
		b = append(b, field(5, w.encode())...)
	}
	for _, v := range g.inputs {
		b = append(b, field(11, v.encode())...)
	}
	for _, v := range g.outputs {
		b = append(b, field(12, v.encode())...)
	}
	return b
}

// model wraps the graph up with opset 17.
func (g graph) model() []byte {
	ir := g.ir
	if ir == 0 {
		ir = 8
	}
	return cat(number(1, ir), field(7, g.encode()), field(8, number(2, 17)))
}

// Attributes by their numbers in onnx.proto: type is field 20.
func attrGraph(name string, g graph) []byte {
	return cat(text(1, name), field(6, g.encode()), number(20, 5))
}

func attrInt(name string, v uint64) []byte {
	return cat(text(1, name), number(3, v), number(20, 2))
}

// linear is Y = X W + B with X [n,3], W [3,2] overridable and B [2] constant.
func linear() graph {
	w := tensor.FromFloat32s([]float32{1, 2, 3, 4, 5, 6}, 3, 2)
	return graph{
		inputs:  []value{{name: "X", elem: elemF32, dims: []int64{-1, 3}}, {name: "W", elem: elemF32, dims: []int64{3, 2}}},
		outputs: []value{{name: "Y", elem: elemF32, dims: []int64{-1, 2}}, {name: "XW", elem: elemF32, dims: []int64{-1, 2}}},
		weights: []weight{{"W", w}, {"B", tensor.FromFloat32s([]float32{10, 20}, 2)}},
		nodes: []node{
			{op: "MatMul", in: []string{"X", "W"}, out: []string{"XW"}},
			{op: "Add", in: []string{"XW", "B"}, out: []string{"Y"}},
		},
	}
}

// identity passes X of one type and shape through to Y.
func identity(elem uint64, dims ...int64) graph {
	return graph{
		inputs:  []value{{name: "X", elem: elem, dims: dims}},
		outputs: []value{{name: "Y", elem: elem, dims: dims}},
		nodes:   []node{{op: "Identity", in: []string{"X"}, out: []string{"Y"}}},
	}
}

// loop multiplies X [n,n] by itself `trips` times, which is fed: a model that
// runs as long as one likes.
func loop(n int64) graph {
	square := []int64{n, n}
	body := graph{
		inputs:  []value{{name: "i", elem: elemI64}, {name: "go", elem: elemBool}, {name: "x", elem: elemF32, dims: square}},
		outputs: []value{{name: "on", elem: elemBool}, {name: "y", elem: elemF32, dims: square}},
		nodes: []node{
			{op: "Identity", in: []string{"go"}, out: []string{"on"}},
			{op: "MatMul", in: []string{"x", "M"}, out: []string{"y"}},
		},
	}
	return graph{
		inputs:  []value{{name: "trips", elem: elemI64}, {name: "M", elem: elemF32, dims: square}},
		outputs: []value{{name: "Z", elem: elemF32, dims: square}},
		nodes:   []node{{op: "Loop", in: []string{"trips", "", "M"}, out: []string{"Z"}, attrs: [][]byte{attrGraph("body", body)}}},
	}
}

// loopFeed feeds loop with the zero matrix.
func loopFeed(n int, trips int64) feed {
	return feed{"trips": tensor.FromInt64s([]int64{trips}), "M": tensor.New(tensor.F32, n, n)}
}
