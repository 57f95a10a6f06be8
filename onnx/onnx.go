// Package onnx reads, checks, rewrites and writes ONNX models.
//
// A [Model] is the typed form of one ONNX file. Reading does not copy weights:
// tensor data remain sub-slices of the mapped file, or references into external
// data files. Fields of the format that this package does not interpret are
// kept verbatim at every level and written back, so a model that is read and
// saved loses nothing.
//
// The rewriting operations are the ones that editing a language model needs:
// making a weight overridable ([Model.Promote]), publishing an inner value
// ([Model.Expose]), inserting nodes after a value ([Model.Splice]), cutting a
// piece out of a model ([Model.Cut]), and choosing one branch of a merged
// decoder ([Model.SelectBranch]). They leave the model untouched when they
// return an error.
//
// Field numbers and semantics follow the ONNX intermediate representation
// (IR versions 3 to 13).
package onnx

import "slices"

// The IR and default-domain opset versions that [Model.Check] accepts. The
// upper ends are what ONNX Runtime 1.30 loads.
const (
	MinIR    = 3
	MaxIR    = 13
	MinOpset = 1
	MaxOpset = 26
)

// Model is one ONNX model.
type Model struct {
	IRVersion int64
	Opsets    []Opset
	Graph     *Graph
	Metadata  []Property
	// Dir is the folder that external data locations are relative to.
	Dir string

	functions []*function
	file      string // name for error messages, "" when parsed from memory
	store     *store
	unknown   []byte // other fields, verbatim: producer, training info, ...
}

// function is an operator that the model brings along, kept for the tensors in
// its body.
type function struct {
	nodes []*Node
	// Verbatim, in the order of the fields: name, inputs, outputs, ... and
	// opset imports, domain, ...
	before, after []byte
}

// Opset says which version of an operator set the model uses. The empty domain
// is the default one, "ai.onnx".
type Opset struct {
	Domain  string
	Version int64

	unknown string
}

// Property is one entry of a string map.
type Property struct{ Key, Value string }

// Graph is the main graph or the body of an If, Loop or Scan. Nodes are in
// topological order.
type Graph struct {
	Name         string
	Nodes        []*Node
	Initializers []*Tensor
	Inputs       []*ValueInfo
	Outputs      []*ValueInfo
	ValueInfos   []*ValueInfo

	sparse  []sparse
	unknown []byte
}

// sparse is a sparse initializer, kept verbatim; only its name is needed.
type sparse struct {
	name     string
	external bool   // its values or indices are in another file
	wire     []byte // the SparseTensorProto message
}

// Node is one operation. An empty string among Inputs or Outputs stands for an
// optional one that is left out.
type Node struct {
	Name, OpType, Domain string
	Inputs, Outputs      []string
	Attrs                []*Attribute

	unknown []byte
}

// AttrType is the kind of an attribute's value.
type AttrType int32

// The attribute types of the format; types beyond these are kept verbatim.
const (
	AttrUndefined   AttrType = 0
	AttrTypeFloat   AttrType = 1
	AttrTypeInt     AttrType = 2
	AttrTypeString  AttrType = 3
	AttrTypeTensor  AttrType = 4
	AttrTypeGraph   AttrType = 5
	AttrTypeFloats  AttrType = 6
	AttrTypeInts    AttrType = 7
	AttrTypeStrings AttrType = 8
	AttrTypeTensors AttrType = 9
	AttrTypeGraphs  AttrType = 10
)

// Attribute is a named constant of a node; Type says which field holds it.
type Attribute struct {
	Name    string
	Type    AttrType
	F       float32
	I       int64
	S       []byte
	T       *Tensor
	G       *Graph
	Floats  []float32
	Ints    []int64
	Strings [][]byte
	Tensors []*Tensor
	Graphs  []*Graph

	unknown []byte
}

// ValueInfo names a value and gives its type.
type ValueInfo struct {
	Name     string
	DType    DataType // Undefined when the value is not a dense tensor or has no type
	Shape    []Dim
	HasShape bool // false: rank unknown

	// Verbatim parts of the enclosing messages that are not interpreted.
	unknown, typeRest, tensorRest, shapeRest []byte
}

// Dim is one dimension. Value is -1 when it is symbolic (Param) or unknown.
type Dim struct {
	Value int64
	Param string

	unknown string
}

// Fixed returns the dimensions of a shape known in full.
func Fixed(dims ...int64) []Dim {
	s := make([]Dim, len(dims))
	for i, d := range dims {
		s[i].Value = d
	}
	return s
}

// Symbolic returns a dimension named param.
func Symbolic(param string) Dim { return Dim{Value: -1, Param: param} }

// NewValueInfo describes a tensor value.
func NewValueInfo(name string, dt DataType, shape []Dim) *ValueInfo {
	return &ValueInfo{Name: name, DType: dt, Shape: shape, HasShape: true}
}

// New returns an empty model of the given IR version and default-domain opset.
func New(ir, opset int64) *Model {
	return &Model{
		IRVersion: ir,
		Opsets:    []Opset{{Version: opset}},
		Graph:     &Graph{Name: "main"},
		store:     newStore(""),
	}
}

// Opset returns the version of a domain's operator set, 0 if the model does
// not import it. "" and "ai.onnx" are the same domain. Of several imports of one
// domain the last counts, as it does for ONNX Runtime.
func (m *Model) Opset(domain string) int64 {
	for _, o := range slices.Backward(m.Opsets) {
		if plainDomain(o.Domain) == plainDomain(domain) {
			return o.Version
		}
	}
	return 0
}

func plainDomain(d string) string {
	if d == "ai.onnx" {
		return ""
	}
	return d
}

// Attr returns the attribute called name, nil if the node has none.
func (n *Node) Attr(name string) *Attribute {
	for _, a := range n.Attrs {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// Int returns an integer attribute, def if it is absent or of another type.
func (n *Node) Int(name string, def int64) int64 {
	if a := n.Attr(name); a != nil && a.Type == AttrTypeInt {
		return a.I
	}
	return def
}

// Ints returns an integer list attribute, def if it is absent or of another type.
func (n *Node) Ints(name string, def []int64) []int64 {
	if a := n.Attr(name); a != nil && a.Type == AttrTypeInts {
		return a.Ints
	}
	return def
}

// Float returns a float attribute, def if it is absent or of another type.
func (n *Node) Float(name string, def float32) float32 {
	if a := n.Attr(name); a != nil && a.Type == AttrTypeFloat {
		return a.F
	}
	return def
}

// String returns a string attribute, def if it is absent or of another type.
func (n *Node) String(name, def string) string {
	if a := n.Attr(name); a != nil && a.Type == AttrTypeString {
		return string(a.S)
	}
	return def
}

// graphs calls f for every graph held by the node's attributes.
func (n *Node) graphs(f func(*Graph)) {
	for _, a := range n.Attrs {
		if a.G != nil {
			f(a.G)
		}
		for _, g := range a.Graphs {
			f(g)
		}
	}
}

// Visit calls f for a graph and the graphs within it, outermost first.
func (g *Graph) Visit(f func(*Graph)) {
	f(g)
	for _, n := range g.Nodes {
		n.graphs(func(inner *Graph) { inner.Visit(f) })
	}
}

// Attribute constructors.

// AttrInt is an integer attribute.
func AttrInt(name string, v int64) *Attribute {
	return &Attribute{Name: name, Type: AttrTypeInt, I: v}
}

// AttrInts is an integer list attribute.
func AttrInts(name string, v ...int64) *Attribute {
	return &Attribute{Name: name, Type: AttrTypeInts, Ints: v}
}

// AttrFloat is a float attribute.
func AttrFloat(name string, v float32) *Attribute {
	return &Attribute{Name: name, Type: AttrTypeFloat, F: v}
}

// AttrString is a string attribute.
func AttrString(name, v string) *Attribute {
	return &Attribute{Name: name, Type: AttrTypeString, S: []byte(v)}
}

// AttrTensor is a tensor attribute.
func AttrTensor(name string, t *Tensor) *Attribute {
	return &Attribute{Name: name, Type: AttrTypeTensor, T: t}
}

// AttrGraph is a graph attribute, such as a branch of an If.
func AttrGraph(name string, g *Graph) *Attribute {
	return &Attribute{Name: name, Type: AttrTypeGraph, G: g}
}
