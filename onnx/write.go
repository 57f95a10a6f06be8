package onnx

import (
	"fmt"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxMessage is the largest protobuf message that readers accept.
const maxMessage = math.MaxInt32

// copyBelow is the size up to which bytes are copied into the output buffer
// instead of being referenced.
const copyBelow = 4096

// rope is a protobuf message under construction: a list of pieces, so that
// weights are referenced and copied at most once, at the very end.
type rope struct {
	parts [][]byte // finished pieces
	tail  []byte   // piece being appended to
	size  int      // bytes in parts
}

func (r *rope) len() int { return r.size + len(r.tail) }

func (r *rope) flush() {
	if len(r.tail) > 0 {
		r.parts = append(r.parts, r.tail)
		r.size += len(r.tail)
		r.tail = nil
	}
}

// verbatim appends b as it is.
func (r *rope) verbatim(b []byte) {
	if len(b) < copyBelow {
		r.tail = append(r.tail, b...)
		return
	}
	r.flush()
	r.parts = append(r.parts, b)
	r.size += len(b)
}

func (r *rope) bytes(num protowire.Number, b []byte) {
	r.tail = protowire.AppendTag(r.tail, num, protowire.BytesType)
	r.tail = protowire.AppendVarint(r.tail, uint64(len(b)))
	r.verbatim(b)
}

// text writes a string unless it is empty.
func (r *rope) text(num protowire.Number, s string) {
	if s != "" {
		r.tail = protowire.AppendTag(r.tail, num, protowire.BytesType)
		r.tail = protowire.AppendString(r.tail, s)
	}
}

func (r *rope) int(num protowire.Number, v int64) {
	r.tail = protowire.AppendTag(r.tail, num, protowire.VarintType)
	r.tail = protowire.AppendVarint(r.tail, uint64(v))
}

func (r *rope) float(num protowire.Number, v float32) {
	r.tail = protowire.AppendTag(r.tail, num, protowire.Fixed32Type)
	r.tail = protowire.AppendFixed32(r.tail, math.Float32bits(v))
}

// message writes a sub-message built by fill.
func (r *rope) message(num protowire.Number, fill func(*rope)) {
	sub := &rope{}
	fill(sub)
	r.tail = protowire.AppendTag(r.tail, num, protowire.BytesType)
	r.tail = protowire.AppendVarint(r.tail, uint64(sub.len()))
	if len(sub.parts) == 0 {
		r.verbatim(sub.tail)
		return
	}
	sub.flush()
	r.flush()
	r.parts = append(r.parts, sub.parts...)
	r.size += sub.size
}

// Bytes serialises the model; external data stay references. It returns
// ErrTooLarge when the result does not fit into one protobuf message.
func (m *Model) Bytes() ([]byte, error) {
	r, err := m.rope()
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, r.len())
	for _, p := range r.parts {
		out = append(out, p...)
	}
	return out, nil
}

func (m *Model) rope() (*rope, error) {
	if m.Graph == nil {
		return nil, fmt.Errorf("onnx: writing %s: %w: no graph", m.label(), ErrFormat)
	}
	r := &rope{}
	r.int(1, m.IRVersion)
	for _, o := range m.Opsets {
		r.message(8, func(r *rope) {
			r.text(1, o.Domain)
			r.int(2, o.Version)
			r.verbatim([]byte(o.unknown))
		})
	}
	r.verbatim(m.unknown)
	r.message(7, func(r *rope) { putGraph(r, m.Graph) })
	for _, p := range m.Metadata {
		putProperty(r, 14, p)
	}
	for _, fn := range m.functions {
		r.message(25, func(r *rope) {
			r.verbatim(fn.before)
			for _, n := range fn.nodes {
				r.message(7, func(r *rope) { putNode(r, n) })
			}
			r.verbatim(fn.after)
		})
	}
	r.flush()
	if r.size > maxMessage {
		return nil, fmt.Errorf("onnx: writing %s: %w (%d bytes); save with external data", m.label(), ErrTooLarge, r.size)
	}
	return r, nil
}

func putProperty(r *rope, num protowire.Number, p Property) {
	r.message(num, func(r *rope) {
		r.text(1, p.Key)
		r.text(2, p.Value)
	})
}

func putGraph(r *rope, g *Graph) {
	for _, n := range g.Nodes {
		r.message(1, func(r *rope) { putNode(r, n) })
	}
	r.text(2, g.Name)
	for _, t := range g.Initializers {
		r.message(5, func(r *rope) { putTensor(r, t) })
	}
	for _, v := range g.Inputs {
		r.message(11, func(r *rope) { putValueInfo(r, v) })
	}
	for _, v := range g.Outputs {
		r.message(12, func(r *rope) { putValueInfo(r, v) })
	}
	for _, v := range g.ValueInfos {
		r.message(13, func(r *rope) { putValueInfo(r, v) })
	}
	for _, s := range g.sparse {
		r.bytes(15, s.wire)
	}
	r.verbatim(g.unknown)
}

func putNode(r *rope, n *Node) {
	// Empty names are kept: their position says which input is left out.
	for _, s := range n.Inputs {
		r.bytes(1, []byte(s))
	}
	for _, s := range n.Outputs {
		r.bytes(2, []byte(s))
	}
	r.text(3, n.Name)
	r.text(4, n.OpType)
	for _, a := range n.Attrs {
		r.message(5, func(r *rope) { putAttribute(r, a) })
	}
	r.text(7, n.Domain)
	r.verbatim(n.unknown)
}

func putAttribute(r *rope, a *Attribute) {
	r.text(1, a.Name)
	switch a.Type {
	case AttrTypeFloat:
		r.float(2, a.F)
	case AttrTypeInt:
		r.int(3, a.I)
	case AttrTypeString:
		r.bytes(4, a.S)
	}
	if a.T != nil {
		r.message(5, func(r *rope) { putTensor(r, a.T) })
	}
	if a.G != nil {
		r.message(6, func(r *rope) { putGraph(r, a.G) })
	}
	for _, v := range a.Floats {
		r.float(7, v)
	}
	for _, v := range a.Ints {
		r.int(8, v)
	}
	for _, v := range a.Strings {
		r.bytes(9, v)
	}
	for _, t := range a.Tensors {
		r.message(10, func(r *rope) { putTensor(r, t) })
	}
	for _, g := range a.Graphs {
		r.message(11, func(r *rope) { putGraph(r, g) })
	}
	if a.Type != AttrUndefined {
		r.int(20, int64(a.Type))
	}
	r.verbatim(a.unknown)
}

func putTensor(r *rope, t *Tensor) {
	for _, d := range t.Dims {
		r.int(1, d)
	}
	r.int(2, int64(t.DType))
	r.verbatim(t.typed)
	r.text(8, t.Name)
	if t.hasRaw && t.External == nil {
		r.bytes(9, t.raw)
	}
	if e := t.External; e != nil {
		putProperty(r, 13, Property{"location", e.Location})
		putProperty(r, 13, Property{"offset", strconv.FormatInt(e.Offset, 10)})
		if e.Length >= 0 {
			putProperty(r, 13, Property{"length", strconv.FormatInt(e.Length, 10)})
		}
		for _, p := range e.more {
			putProperty(r, 13, p)
		}
		r.int(14, externalLocation)
	}
	r.verbatim(t.unknown)
}

func putValueInfo(r *rope, v *ValueInfo) {
	r.text(1, v.Name)
	tensor := v.DType != Undefined || v.HasShape || len(v.tensorRest) > 0
	if tensor || len(v.typeRest) > 0 {
		r.message(2, func(r *rope) {
			if tensor {
				r.message(1, func(r *rope) { putTensorType(r, v) })
			}
			r.verbatim(v.typeRest)
		})
	}
	r.verbatim(v.unknown)
}

func putTensorType(r *rope, v *ValueInfo) {
	if v.DType != Undefined {
		r.int(1, int64(v.DType))
	}
	if v.HasShape {
		r.message(2, func(r *rope) {
			for _, x := range v.Shape {
				r.message(1, func(r *rope) {
					if x.Value >= 0 {
						r.int(1, x.Value)
					} else {
						r.text(2, x.Param)
					}
					r.verbatim([]byte(x.unknown))
				})
			}
			r.verbatim(v.shapeRest)
		})
	}
	r.verbatim(v.tensorRest)
}
