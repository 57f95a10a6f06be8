package ort

import (
	"google.golang.org/protobuf/encoding/protowire"

	"editpipe/tensor"
)

// probeModel is the serialised ONNX model Y = A B with 2 x 2 float32 matrices.
// It is written field by field (onnx.proto) because package onnx lies on the
// same floor as this one.
func probeModel() []byte {
	const elem = 1 // float32
	dim := field(1, number(1, 2))
	shape := field(2, append(append([]byte{}, dim...), dim...))
	return oneNode("MatMul", append(number(1, elem), shape...), "A", "B")
}

// copyModel is the model Y = A with tensors of one type and any shape.
func copyModel(dt tensor.DType) []byte {
	return oneNode("Identity", number(1, uint64(elementTypes[dt])), "A")
}

// oneNode is the model Y = op(inputs), all of one tensor type.
func oneNode(op string, tensorType []byte, inputs ...string) []byte {
	value := func(name string) []byte {
		return append(field(1, []byte(name)), field(2, field(1, tensorType))...)
	}
	var node, values []byte
	for _, name := range inputs {
		node = append(node, field(1, []byte(name))...)
		values = append(values, field(11, value(name))...)
	}
	node = append(node, field(2, []byte("Y"))...)
	node = append(node, field(4, []byte(op))...)

	graph := append(field(1, node), field(2, []byte("one node"))...)
	graph = append(graph, values...)
	graph = append(graph, field(12, value("Y"))...)

	model := number(1, 8) // IR version
	model = append(model, field(7, graph)...)
	return append(model, field(8, number(2, 17))...) // opset
}

// field encodes a length-delimited protobuf field, number a varint one.
func field(n protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), value)
}

func number(n protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), value)
}
