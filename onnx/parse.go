package onnx

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxDepth bounds the nesting of graphs in graphs; real models use two or three.
const maxDepth = 64

// Open reads the model at path, which stays mapped while the model is in use:
// weights are views of the file. It runs [Model.Check]. Nodes out of order are
// sorted. Call [Model.Close] to release the mapping; small files are simply
// read.
func Open(path string) (*Model, error) {
	st := newStore(filepath.Dir(path))
	data, err := st.openModel(filepath.Base(path))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("onnx: opening %s: %w", path, err), st.close())
	}
	m, err := parse(data, filepath.Base(path), st)
	if err != nil {
		return nil, errors.Join(err, st.close())
	}
	return m, nil
}

// Parse reads a model from data, which must not change afterwards; weights are
// views of it. dir is the folder of its external data, "" if there can be
// none. It runs [Model.Check]. Nodes out of order are sorted.
func Parse(data []byte, dir string) (*Model, error) {
	return parse(data, "", newStore(dir))
}

// Close releases the mapped files. Every tensor obtained from the model or
// from a clone or cut of it becomes invalid.
func (m *Model) Close() error { return m.store.close() }

func parse(data []byte, file string, st *store) (*Model, error) {
	d := &decoder{store: st}
	m := d.model(data)
	m.file, m.store, m.Dir = file, st, st.dir
	if d.err != nil {
		return nil, fmt.Errorf("onnx: reading %s: %w", m.label(), d.err)
	}
	if m.Graph == nil {
		return nil, fmt.Errorf("onnx: reading %s: %w: no graph", m.label(), ErrFormat)
	}
	m.Graph.dropTwins()
	m.Graph.sortIfNeeded()
	if err := m.Check(); err != nil {
		return nil, err
	}
	return m, nil
}

// dropTwins drops initializers that are given again with the same content, which
// some tools write and ONNX Runtime loads.
func (g *Graph) dropTwins() {
	first := make(map[string]*Tensor, len(g.Initializers))
	g.Initializers = slices.DeleteFunc(g.Initializers, func(t *Tensor) bool {
		before := first[t.Name]
		if before == nil {
			first[t.Name] = t
		}
		return before != nil && before.same(t)
	})
	for _, n := range g.Nodes {
		n.graphs((*Graph).dropTwins)
	}
}

// same says that two tensors are written in the same way.
func (t *Tensor) same(u *Tensor) bool {
	if (t.External == nil) != (u.External == nil) {
		return false
	}
	if e, f := t.External, u.External; e != nil && (e.Location != f.Location || e.Offset != f.Offset || e.Length != f.Length) {
		return false
	}
	return t.DType == u.DType && slices.Equal(t.Dims, u.Dims) && t.hasRaw == u.hasRaw &&
		bytes.Equal(t.raw, u.raw) && bytes.Equal(t.typed, u.typed)
}

// label names the model in error messages.
func (m *Model) label() string {
	if m.file == "" {
		return "model"
	}
	return m.file
}

// decoder walks protobuf messages; the first error sticks and ends the walk.
type decoder struct {
	store *store
	depth int
	err   error
}

// field is one field of a message. wire is the whole of it, tag included.
type field struct {
	num  protowire.Number
	typ  protowire.Type
	wire []byte
	b    []byte // content when length-delimited
	v    uint64 // content when a number
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: "+format, append([]any{ErrFormat}, args...)...)
	}
}

// walk calls known for each field of the message b and returns the fields that
// known did not claim. A single one is returned without a copy.
func (d *decoder) walk(what string, b []byte, known func(f field) bool) (unknown []byte) {
	for len(b) > 0 && d.err == nil {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			d.fail("%s: %v", what, protowire.ParseError(n))
			break
		}
		f := field{num: num, typ: typ}
		k := 0
		switch typ {
		case protowire.VarintType:
			f.v, k = protowire.ConsumeVarint(b[n:])
		case protowire.Fixed32Type:
			var v uint32
			v, k = protowire.ConsumeFixed32(b[n:])
			f.v = uint64(v)
		case protowire.Fixed64Type:
			f.v, k = protowire.ConsumeFixed64(b[n:])
		case protowire.BytesType:
			f.b, k = protowire.ConsumeBytes(b[n:])
			f.b = f.b[:len(f.b):len(f.b)]
		default:
			k = protowire.ConsumeFieldValue(num, typ, b[n:])
		}
		if k < 0 {
			d.fail("%s field %d: %v", what, num, protowire.ParseError(k))
			break
		}
		f.wire = b[: n+k : n+k]
		b = b[n+k:]
		if !known(f) && d.err == nil {
			if unknown == nil {
				unknown = f.wire
			} else {
				unknown = append(unknown, f.wire...)
			}
		}
	}
	return unknown
}

// want fails unless f has wire type t.
func (d *decoder) want(f field, t protowire.Type) bool {
	if f.typ != t {
		d.fail("field %d has wire type %d, want %d", f.num, f.typ, t)
		return false
	}
	return true
}

func (d *decoder) bytes(f field, to *[]byte) bool {
	if d.want(f, protowire.BytesType) {
		*to = f.b
	}
	return true
}

func (d *decoder) text(f field, to *string) bool {
	if d.want(f, protowire.BytesType) {
		*to = string(f.b)
	}
	return true
}

func (d *decoder) texts(f field, to *[]string) bool {
	if d.want(f, protowire.BytesType) {
		*to = append(*to, string(f.b))
	}
	return true
}

func (d *decoder) int(f field, to *int64) bool {
	if d.want(f, protowire.VarintType) {
		*to = int64(f.v)
	}
	return true
}

// ints reads a repeated integer field, packed or not.
func (d *decoder) ints(f field, to *[]int64) bool {
	if f.typ != protowire.BytesType {
		if d.want(f, protowire.VarintType) {
			*to = append(*to, int64(f.v))
		}
		return true
	}
	for b := f.b; len(b) > 0; {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			d.fail("field %d: %v", f.num, protowire.ParseError(n))
			return true
		}
		*to = append(*to, int64(v))
		b = b[n:]
	}
	return true
}

// floats reads a repeated float field, packed or not.
func (d *decoder) floats(f field, to *[]float32) bool {
	if f.typ != protowire.BytesType {
		if d.want(f, protowire.Fixed32Type) {
			*to = append(*to, math.Float32frombits(uint32(f.v)))
		}
		return true
	}
	for b := f.b; len(b) > 0; {
		v, n := protowire.ConsumeFixed32(b)
		if n < 0 {
			d.fail("field %d: %v", f.num, protowire.ParseError(n))
			return true
		}
		*to = append(*to, math.Float32frombits(v))
		b = b[n:]
	}
	return true
}

// once guards a singular message field: protobuf would merge a second one,
// which no exporter writes and which would need a copy of the first.
func (d *decoder) once(f field, seen bool, what string) bool {
	if seen {
		d.fail("%s given twice", what)
		return false
	}
	return d.want(f, protowire.BytesType)
}

func (d *decoder) model(b []byte) *Model {
	m := &Model{}
	m.unknown = d.walk("model", b, func(f field) bool {
		switch f.num {
		case 1:
			return d.int(f, &m.IRVersion)
		case 7:
			if d.once(f, m.Graph != nil, "graph") {
				m.Graph = d.graph(f.b)
			}
			return true
		case 8:
			if d.want(f, protowire.BytesType) {
				m.Opsets = append(m.Opsets, d.opset(f.b))
			}
			return true
		case 14:
			if d.want(f, protowire.BytesType) {
				m.Metadata = append(m.Metadata, d.property(f.b))
			}
			return true
		case 25:
			if d.want(f, protowire.BytesType) {
				m.functions = append(m.functions, d.function(f.b))
			}
			return true
		}
		return false
	})
	return m
}

func (d *decoder) function(b []byte) *function {
	fn := &function{}
	fn.after = d.walk("function", b, func(f field) bool {
		switch {
		case f.num < 7:
			fn.before = append(fn.before, f.wire...)
		case f.num > 7:
			return false
		case d.want(f, protowire.BytesType):
			fn.nodes = append(fn.nodes, d.node(f.b))
		}
		return true
	})
	return fn
}

func (d *decoder) opset(b []byte) (o Opset) {
	o.unknown = string(d.walk("opset", b, func(f field) bool {
		switch f.num {
		case 1:
			return d.text(f, &o.Domain)
		case 2:
			return d.int(f, &o.Version)
		}
		return false
	}))
	return o
}

func (d *decoder) property(b []byte) (p Property) {
	d.walk("property", b, func(f field) bool {
		switch f.num {
		case 1:
			return d.text(f, &p.Key)
		case 2:
			return d.text(f, &p.Value)
		}
		return false
	})
	return p
}

func (d *decoder) graph(b []byte) *Graph {
	g := &Graph{}
	if d.depth++; d.depth > maxDepth {
		d.fail("graphs nested more than %d deep", maxDepth)
		return g
	}
	defer func() { d.depth-- }()
	g.unknown = d.walk("graph", b, func(f field) bool {
		if f.num == 2 {
			return d.text(f, &g.Name)
		}
		if f.num != 1 && f.num != 5 && (f.num < 11 || f.num > 13) && f.num != 15 {
			return false
		}
		if !d.want(f, protowire.BytesType) {
			return true
		}
		switch f.num {
		case 1:
			g.Nodes = append(g.Nodes, d.node(f.b))
		case 5:
			g.Initializers = append(g.Initializers, d.tensor(f.b))
		case 11:
			g.Inputs = append(g.Inputs, d.valueInfo(f.b))
		case 12:
			g.Outputs = append(g.Outputs, d.valueInfo(f.b))
		case 13:
			g.ValueInfos = append(g.ValueInfos, d.valueInfo(f.b))
		case 15:
			s := sparse{wire: f.b}
			d.walk("sparse initializer", f.b, func(f field) bool {
				if (f.num == 1 || f.num == 2) && d.want(f, protowire.BytesType) {
					t := d.tensor(f.b)
					s.external = s.external || t.External != nil
					if f.num == 1 {
						s.name = t.Name
					}
				}
				return true
			})
			g.sparse = append(g.sparse, s)
		}
		return true
	})
	return g
}

func (d *decoder) node(b []byte) *Node {
	n := &Node{}
	n.unknown = d.walk("node", b, func(f field) bool {
		switch f.num {
		case 1:
			return d.texts(f, &n.Inputs)
		case 2:
			return d.texts(f, &n.Outputs)
		case 3:
			return d.text(f, &n.Name)
		case 4:
			return d.text(f, &n.OpType)
		case 5:
			if d.want(f, protowire.BytesType) {
				n.Attrs = append(n.Attrs, d.attribute(f.b))
			}
			return true
		case 7:
			return d.text(f, &n.Domain)
		}
		return false
	})
	return n
}

func (d *decoder) attribute(b []byte) *Attribute {
	a := &Attribute{}
	var found AttrType // for old files that leave the type out
	see := func(t AttrType) { found = t }
	a.unknown = d.walk("attribute", b, func(f field) bool {
		switch f.num {
		case 1:
			return d.text(f, &a.Name)
		case 2:
			see(AttrTypeFloat)
			if d.want(f, protowire.Fixed32Type) {
				a.F = math.Float32frombits(uint32(f.v))
			}
			return true
		case 3:
			see(AttrTypeInt)
			return d.int(f, &a.I)
		case 4:
			see(AttrTypeString)
			return d.bytes(f, &a.S)
		case 5:
			see(AttrTypeTensor)
			if d.once(f, a.T != nil, "tensor attribute") {
				a.T = d.tensor(f.b)
			}
			return true
		case 6:
			see(AttrTypeGraph)
			if d.once(f, a.G != nil, "graph attribute") {
				a.G = d.graph(f.b)
			}
			return true
		case 7:
			see(AttrTypeFloats)
			return d.floats(f, &a.Floats)
		case 8:
			see(AttrTypeInts)
			return d.ints(f, &a.Ints)
		case 9:
			see(AttrTypeStrings)
			if d.want(f, protowire.BytesType) {
				a.Strings = append(a.Strings, f.b)
			}
			return true
		case 10:
			see(AttrTypeTensors)
			if d.want(f, protowire.BytesType) {
				a.Tensors = append(a.Tensors, d.tensor(f.b))
			}
			return true
		case 11:
			see(AttrTypeGraphs)
			if d.want(f, protowire.BytesType) {
				a.Graphs = append(a.Graphs, d.graph(f.b))
			}
			return true
		case 20:
			var t int64
			d.int(f, &t)
			a.Type = AttrType(t)
			return true
		}
		return false
	})
	if a.Type == AttrUndefined {
		a.Type = found
	}
	return a
}

func (d *decoder) tensor(b []byte) *Tensor {
	t := &Tensor{}
	var location int64
	var entries []Property
	var entriesWire []byte
	t.unknown = d.walk("tensor", b, func(f field) bool {
		switch f.num {
		case 1:
			return d.ints(f, &t.Dims)
		case 2:
			var v int64
			d.int(f, &v)
			t.DType = DataType(v)
			return true
		case 4, 5, 6, 7, 10, 11:
			if t.typed == nil {
				t.typed = f.wire
			} else {
				t.typed = append(t.typed, f.wire...)
			}
			return true
		case 8:
			return d.text(f, &t.Name)
		case 9:
			t.hasRaw = true
			return d.bytes(f, &t.raw)
		case 13:
			if d.want(f, protowire.BytesType) {
				entries = append(entries, d.property(f.b))
				entriesWire = append(entriesWire, f.wire...)
			}
			return true
		case 14:
			return d.int(f, &location)
		}
		return false
	})
	if location != externalLocation {
		t.unknown = append(t.unknown, entriesWire...)
		return t
	}
	t.External = &External{Length: -1, store: d.store}
	for _, p := range entries {
		switch p.Key {
		case "location":
			t.External.Location = p.Value
		case "offset":
			t.External.Offset = d.count(t.Name, p)
		case "length":
			t.External.Length = d.count(t.Name, p)
		default:
			t.External.more = append(t.External.more, p)
		}
	}
	return t
}

// count reads an offset or length of external data.
func (d *decoder) count(tensor string, p Property) int64 {
	v, err := strconv.ParseInt(p.Value, 10, 64)
	if err != nil || v < 0 {
		d.fail("tensor %q: external data %s %q is not a byte count", tensor, p.Key, p.Value)
	}
	return v
}

func (d *decoder) valueInfo(b []byte) *ValueInfo {
	v := &ValueInfo{}
	typed, tensor := false, false
	v.unknown = d.walk("value info", b, func(f field) bool {
		switch f.num {
		case 1:
			return d.text(f, &v.Name)
		case 2:
			if !d.once(f, typed, "type") {
				return true
			}
			typed = true
			v.typeRest = d.walk("type", f.b, func(f field) bool {
				if f.num != 1 {
					return false
				}
				if d.once(f, tensor, "tensor type") {
					tensor = true
					d.tensorType(f.b, v)
				}
				return true
			})
			return true
		}
		return false
	})
	return v
}

func (d *decoder) tensorType(b []byte, v *ValueInfo) {
	v.tensorRest = d.walk("tensor type", b, func(f field) bool {
		switch f.num {
		case 1:
			var t int64
			d.int(f, &t)
			v.DType = DataType(t)
			return true
		case 2:
			if d.once(f, v.HasShape, "shape") {
				v.HasShape = true
				v.shapeRest = d.walk("shape", f.b, func(f field) bool {
					if f.num != 1 {
						return false
					}
					if d.want(f, protowire.BytesType) {
						v.Shape = append(v.Shape, d.dim(f.b))
					}
					return true
				})
			}
			return true
		}
		return false
	})
}

func (d *decoder) dim(b []byte) Dim {
	x := Dim{Value: -1}
	x.unknown = string(d.walk("dimension", b, func(f field) bool {
		switch f.num {
		case 1:
			x.Param = ""
			return d.int(f, &x.Value)
		case 2:
			x.Value = -1
			return d.text(f, &x.Param)
		}
		return false
	}))
	if x.Value < 0 {
		x.Value = -1 // some exporters write -1 for "unknown"
	}
	return x
}
