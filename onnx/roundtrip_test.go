package onnx_test

import (
	"bytes"
	"testing"

	"editpipe/onnx"

	"google.golang.org/protobuf/encoding/protowire"
)

// Small helpers to write protobuf by hand.
func text(num protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), s)
}

func num(n protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), uint64(v))
}

func msg(n protowire.Number, parts ...[]byte) []byte {
	b := protowire.AppendTag(nil, n, protowire.BytesType)
	return protowire.AppendBytes(b, bytes.Join(parts, nil))
}

func packed(n protowire.Number, values ...uint64) []byte {
	var b []byte
	for _, v := range values {
		b = protowire.AppendVarint(b, v)
	}
	return msg(n, b)
}

// unknown is a group of fields that no version of the format has.
func unknown(tag string) []byte {
	b := text(1000, "unknown "+tag)
	b = protowire.AppendTag(b, 1001, protowire.StartGroupType)
	b = append(b, num(3, 7)...)
	b = protowire.AppendTag(b, 1001, protowire.EndGroupType)
	b = protowire.AppendFixed64(protowire.AppendTag(b, 1002, protowire.Fixed64Type), 42)
	return b
}

// handmade exercises every message of the format with unknown fields, fields
// that are carried but not interpreted, packed and unpacked numbers, and every
// attribute type.
func handmade() []byte {
	raw := msg(9, []byte{0, 0, 128, 63})
	shape := func(parts ...[]byte) []byte {
		return msg(2, msg(1, num(1, 1), msg(2, append(parts, unknown("shape"))...), unknown("tensor type")), text(6, "denotation"), unknown("type"))
	}
	dims := [][]byte{msg(1, num(1, 4), text(3, "DATA_BATCH")), msg(1, text(2, "n"), unknown("dim")), msg(1)}
	body := msg(6,
		msg(1, text(1, "x"), text(2, "deep"), text(4, "Identity"), unknown("inner node")),
		text(2, "body"),
		msg(12, text(1, "deep")),
		unknown("inner graph"))
	attr := func(parts ...[]byte) []byte { return msg(5, parts...) }
	float := protowire.AppendFixed32(protowire.AppendTag(nil, 2, protowire.Fixed32Type), 0x3f800000)
	floats := msg(7, protowire.AppendFixed32(protowire.AppendFixed32(nil, 1), 2))
	graph := msg(7,
		msg(1, text(1, "x"), text(1, ""), text(1, "w"), text(2, "h"), text(2, ""), text(3, "node"), text(4, "Custom"),
			text(7, "my.domain"), text(8, "overload"), msg(9, text(1, "k"), text(2, "v")), text(6, "doc"), unknown("node"),
			attr(text(1, "f"), float, num(20, 1), unknown("attribute")),
			attr(text(1, "i"), num(3, 0), num(20, 2)),
			attr(text(1, "s"), text(4, ""), num(20, 3)),
			attr(text(1, "t"), msg(5, num(1, 1), num(2, 1), raw, unknown("attribute tensor")), num(20, 4)),
			attr(text(1, "g"), body, num(20, 5)),
			attr(text(1, "floats"), floats, num(20, 6)),
			attr(text(1, "ints"), packed(8, 1, 2, ^uint64(0)), num(20, 7)),
			attr(text(1, "strings"), text(9, "a"), text(9, ""), num(20, 8)),
			attr(text(1, "tensors"), msg(10, num(2, 6), num(1, 2), packed(5, 1, 2)), num(20, 9)),
			attr(text(1, "graphs"), msg(11, text(2, "empty")), num(20, 10)),
			attr(text(1, "sparse"), msg(22, num(3, 4)), num(20, 11)),
			attr(text(1, "ref"), text(21, "outer"), num(20, 2), num(3, 5))),
		text(2, "main"),
		msg(5, packed(1, 1, 1), num(2, 1), text(8, "w"), raw, text(12, "doc"), msg(16, text(1, "a"), text(2, "b")), unknown("initializer")),
		msg(5, num(1, 2), num(2, 7), packed(7, 3, 4), text(8, "typed")),
		msg(11, text(1, "x"), shape(dims...), text(3, "doc"), unknown("value info")),
		msg(11, text(1, "sequence"), msg(2, msg(4, msg(1, msg(1, num(1, 1)))))),
		msg(11, text(1, "untyped")),
		msg(12, text(1, "h"), shape()),
		msg(13, text(1, "x"), shape(dims...)),
		msg(14, text(1, "w")),
		msg(15, msg(1, num(1, 1), num(2, 1), text(8, "sparse"), raw), msg(2, num(1, 1), num(2, 7), packed(7, 0)), num(3, 9)),
		text(10, "graph doc"),
		unknown("graph"))
	return bytes.Join([][]byte{
		num(1, 8), text(2, "producer"), text(3, "1.0"), num(5, 3), text(6, "doc"), graph,
		msg(8, text(1, ""), num(2, 17)), msg(8, text(1, "my.domain"), num(2, 1), unknown("opset")),
		msg(14, text(1, "key"), text(2, "value")), msg(20, unknown("training")),
		msg(25, text(1, "f"), msg(7, text(4, "Add"))), unknown("model"),
	}, nil)
}

func TestRoundTripKeepsEverything(t *testing.T) {
	data := handmade()
	m, err := onnx.Parse(data, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*onnx.Model{m, m.Clone()} {
		again, err := m.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		// The only liberty taken: an empty default domain is not written.
		sameModel(t, bytes.Replace(data, msg(8, text(1, ""), num(2, 17)), msg(8, num(2, 17)), 1), again)
	}

	g := m.Graph
	n := g.Nodes[0]
	if len(n.Inputs) != 3 || n.Inputs[1] != "" || len(n.Attrs) != 12 {
		t.Errorf("node %+v", n)
	}
	if got := n.Ints("ints", nil); len(got) != 3 || got[2] != -1 {
		t.Errorf("ints %v", got)
	}
	if n.Int("i", 9) != 0 || n.Int("absent", 9) != 9 || n.Int("f", 9) != 9 || n.Float("f", 9) != 1 || n.String("s", "x") != "" {
		t.Error("attribute accessors")
	}
	x := g.Inputs[0]
	if x.DType != onnx.Float || len(x.Shape) != 3 || x.Shape[0].Value != 4 || x.Shape[1].Param != "n" || x.Shape[2].Value != -1 {
		t.Errorf("input %+v", x)
	}
	if m.Opset("ai.onnx") != 17 || m.Opset("my.domain") != 1 || m.Opset("none") != 0 {
		t.Errorf("opsets %v", m.Opsets)
	}
	v, err := g.Initializers[1].Value()
	if err != nil {
		t.Fatal(err)
	}
	if got := v.Int64s(); len(got) != 2 || got[0] != 3 || got[1] != 4 {
		t.Errorf("typed data %v", got)
	}
}

func TestParseSortsNodes(t *testing.T) {
	m, b := newScalars()
	x := b.Input("x", onnx.Float, scalar)
	b.Output(b.Op("Neg", []string{b.Op("Add", []string{x, x})}), "y", onnx.Float, scalar)
	nodes := m.Graph.Nodes
	nodes[0], nodes[2] = nodes[2], nodes[0]
	data, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	m, err = onnx.Parse(data, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := eval(t, m, map[string]float32{"x": 3})["y"]; got != -6 {
		t.Errorf("y = %v, want -6", got)
	}
}

func TestRawDataAreViews(t *testing.T) {
	data := handmade()
	m, err := onnx.Parse(data, "")
	if err != nil {
		t.Fatal(err)
	}
	v, err := m.Graph.Initializers[0].Value()
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(data, []byte{0, 0, 128, 63})
	for ; at >= 0; at = bytes.LastIndex(data[:at], []byte{0, 0, 128, 63}) {
		if &data[at] == &v.Data[0] {
			return
		}
	}
	t.Error("the weight was copied")
}
