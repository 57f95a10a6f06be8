// Package linear finds the linear maps of a graph: the products with a constant
// matrix, whatever operator an exporter writes them with. From each of them it
// goes back to where the matrix is stored. Projections of attention,
// feed-forward weights and the head of a language model are such maps.
package linear

import (
	"fmt"
	"slices"

	"editpipe/onnx"
)

// Matrix is the constant matrix of a linear map.
type Matrix struct {
	Name       string // initializer; "" for other constants
	Dims       []int64
	Transposed bool   // stored as [out, in]
	DType      string // as stored
	Compute    string // as multiplied; differs from DType behind a Cast
	Why        string // why it cannot be edited; "" if it can
}

// Map is a node that computes y = x W (+ c) with a constant matrix W.
type Map struct {
	Node    *onnx.Node
	At      int // position in execution order
	X, Y    string
	W       Matrix
	In, Out int
	Bias    string // initializer that the node itself adds
	Integer bool   // multiplies quantised activations
}

// Graph is a graph with its linear maps.
type Graph struct {
	Index *onnx.Index
	Nodes []*onnx.Node
	Maps  []*Map // in execution order

	at       map[*onnx.Node]int
	of       map[string]*Map // by output value
	users    map[string][]*Map
	constant map[string]bool
}

// Find finds the linear maps of a model's graph.
func Find(m *onnx.Model) *Graph {
	g := &Graph{
		Index: m.Graph.Index(), Nodes: m.Graph.Nodes, at: map[*onnx.Node]int{},
		of: map[string]*Map{}, users: map[string][]*Map{}, constant: map[string]bool{},
	}
	for i, n := range g.Nodes {
		g.at[n] = i
	}
	for i, n := range g.Nodes {
		l := g.linear(n)
		if l == nil {
			continue
		}
		l.At = i
		g.of[l.Y] = l
		g.Maps = append(g.Maps, l)
		if l.W.Name != "" {
			g.users[l.W.Name] = append(g.users[l.W.Name], l)
		}
	}
	for _, l := range g.Maps {
		g.markShared(l)
	}
	return g
}

// Of returns the linear map that computes a value, nil if none does.
func (g *Graph) Of(value string) *Map { return g.of[value] }

// At is a node's position in execution order.
func (g *Graph) At(n *onnx.Node) int { return g.at[n] }

// Readers are the nodes that use a value's content, not just its shape.
func (g *Graph) Readers(value string) []*onnx.Node {
	return slices.DeleteFunc(slices.Clone(g.Index.Consumers(value)), func(n *onnx.Node) bool { return n.OpType == "Shape" })
}

// passing lists operations that hand a value on unchanged but for its shape or
// number format.
var passing = map[string]bool{
	"Reshape": true, "Cast": true, "Identity": true, "Dropout": true, "Squeeze": true, "Unsqueeze": true,
	"DynamicQuantizeLinear": true, "QuantizeLinear": true, "DequantizeLinear": true,
}

// Passes says whether a node hands its first input on unchanged but for its shape
// or number format.
func Passes(n *onnx.Node) bool { return passing[n.OpType] }

// markShared refuses weights that more than the one linear map reads: a
// changed value would change the other reader too.
func (g *Graph) markShared(l *Map) {
	if l.W.Name == "" || l.W.Why != "" {
		return
	}
	for _, other := range g.users[l.W.Name] {
		if other != l {
			l.W.Why = fmt.Sprintf("the exporter merged equal weights: %q also serves node %s", l.W.Name, Label(other.Node))
			return
		}
	}
	if n := g.otherReader(l.W.Name, l.Node); n != nil {
		l.W.Why = fmt.Sprintf("%q is also read by node %s", l.W.Name, Label(n))
	}
}

// otherReader finds a node besides self that reads a constant, directly or
// through nodes that only pass it on.
func (g *Graph) otherReader(value string, self *onnx.Node) *onnx.Node {
	for _, c := range g.Index.Consumers(value) {
		if c == self {
			continue
		}
		switch c.OpType {
		case "Identity", "Transpose", "Cast":
			if n := g.otherReader(c.Outputs[0], self); n != nil {
				return n
			}
		default:
			return c
		}
	}
	return nil
}

// Label names a node in messages.
func Label(n *onnx.Node) string {
	if n.Name != "" {
		return n.Name
	}
	if len(n.Outputs) > 0 {
		return fmt.Sprintf("%s (output %s)", n.OpType, n.Outputs[0])
	}
	return n.OpType
}

// weight follows a value back to a stored matrix; nil if it is computed or not
// a matrix.
func (g *Graph) weight(value string) *Matrix {
	var w Matrix
	for range 8 { // more nodes in between than any exporter writes
		if t := g.Index.Initializer(value); t != nil {
			w.Name, w.Dims, w.DType = value, t.Dims, t.DType.String()
			return w.matrix()
		}
		n := g.Index.Producer(value)
		if n == nil || len(n.Inputs) == 0 && n.OpType != "Constant" {
			return nil
		}
		switch n.OpType {
		case "Constant":
			a := n.Attr("value")
			if a == nil || a.T == nil {
				return nil
			}
			w.Dims, w.DType = a.T.Dims, a.T.DType.String()
			w.refuse("the weight is stored in a Constant node; convert the checkpoint again to get an initializer")
			return w.matrix()
		case "Identity":
		case "Cast":
			if w.Compute == "" {
				w.Compute = onnx.DataType(n.Int("to", 0)).String()
			}
		case "Transpose":
			if perm := n.Ints("perm", []int64{1, 0}); len(perm) != 2 || perm[0] != 1 {
				return nil
			}
			w.Transposed = !w.Transposed
		case "DequantizeLinear":
			w.refuse("the weight is quantised (DequantizeLinear); edit an unquantised export")
		default:
			return nil
		}
		value = n.Inputs[0]
	}
	return nil
}

func (w *Matrix) refuse(why string) {
	if w.Why == "" {
		w.Why = why
	}
}

func (w *Matrix) matrix() *Matrix {
	if len(w.Dims) != 2 || w.Dims[0] <= 0 || w.Dims[1] <= 0 {
		return nil
	}
	if w.Compute == "" {
		w.Compute = w.DType
	}
	return w
}

// linear recognises a linear map; nil if the node is none.
func (g *Graph) linear(n *onnx.Node) *Map {
	if len(n.Outputs) == 0 || len(n.Inputs) < 2 {
		return nil
	}
	l := &Map{Node: n, X: n.Inputs[0], Y: n.Outputs[0]}
	flip := false
	switch n.OpType {
	case "MatMul":
	case "Gemm":
		if n.Int("transA", 0) != 0 {
			return nil
		}
		flip = n.Int("transB", 0) != 0
		if len(n.Inputs) > 2 {
			l.Bias = n.Inputs[2]
		}
	case "FusedMatMul":
		if n.Int("transA", 0) != 0 || n.Int("transBatchA", 0) != 0 || n.Int("transBatchB", 0) != 0 {
			return nil
		}
		flip = n.Int("transB", 0) != 0
	case "MatMulNBits":
		l.In, l.Out = int(n.Int("K", 0)), int(n.Int("N", 0))
		l.W = Matrix{Name: n.Inputs[1], DType: fmt.Sprintf("int%d", n.Int("bits", 4)), Why: "the weight is quantised (MatMulNBits); edit an unquantised export"}
		return l
	case "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QLinearMatMul":
		at := 1
		if n.OpType == "QLinearMatMul" {
			at = 3
		}
		if at >= len(n.Inputs) {
			return nil
		}
		w := g.weight(n.Inputs[at])
		if w == nil {
			return nil
		}
		w.refuse("the weight is quantised (" + n.OpType + "); edit an unquantised export")
		l.W, l.Integer = *w, true
		l.In, l.Out = int(w.Dims[0]), int(w.Dims[1])
		return l
	default:
		return nil
	}
	w := g.weight(n.Inputs[1])
	if w == nil {
		return nil
	}
	l.W = *w
	if flip {
		l.W.Transposed = !l.W.Transposed
	}
	l.In, l.Out = int(w.Dims[0]), int(w.Dims[1])
	if l.W.Transposed {
		l.In, l.Out = l.Out, l.In
	}
	if alpha := n.Float("alpha", 1); alpha != 1 {
		l.W.refuse(fmt.Sprintf("node %s scales its product by %g", Label(n), alpha))
	}
	return l
}

// Constant reports whether a value depends on no input of the graph.
func (g *Graph) Constant(value string) bool {
	if value == "" || g.Index.IsConst(value) {
		return true
	}
	if c, ok := g.constant[value]; ok {
		return c
	}
	n := g.Index.Producer(value)
	c := n != nil
	if n != nil {
		for _, in := range n.Inputs {
			c = c && g.Constant(in)
		}
		for _, a := range n.Attrs {
			c = c && a.G == nil
		}
	}
	g.constant[value] = c
	return c
}
