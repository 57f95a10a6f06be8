package ort

import "google.golang.org/protobuf/encoding/protowire"

// probeModel is the serialised ONNX model Y = A B with 2 x 2 float32 matrices.
// It is written field by field (onnx.proto) because package onnx lies on the
// same floor as this one.
func probeModel() []byte {
	const elem = 1 // float32
	dim := field(1, number(1, 2))
	value := func(name string) []byte {
		shape := field(2, append(append([]byte{}, dim...), dim...))
		return append(field(1, []byte(name)), field(2, field(1, append(number(1, elem), shape...)))...)
	}
	var node []byte
	for _, name := range []string{"A", "B"} {
		node = append(node, field(1, []byte(name))...)
	}
	node = append(node, field(2, []byte("Y"))...)
	node = append(node, field(4, []byte("MatMul"))...)

	graph := append(field(1, node), field(2, []byte("probe"))...)
	graph = append(graph, field(11, value("A"))...)
	graph = append(graph, field(11, value("B"))...)
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
