package arch

import (
	"fmt"

	"editpipe/onnx"
)

// weightRef is the constant matrix of a linear map, followed back to where it
// is stored.
type weightRef struct {
	name       string // initializer; "" for other constants
	dims       []int64
	transposed bool   // a Transpose stands between store and use
	dtype      string // as stored
	compute    string // as multiplied; differs from dtype behind a Cast
	why        string // why it cannot be edited; "" if it can
}

// linear is a node that computes y = x W (+ c) with a constant matrix W.
type linear struct {
	node    *onnx.Node
	at      int // position in execution order
	x, y    string
	w       weightRef // transposed here means stored as [out, in]
	in, out int
	bias    string // initializer that the node itself adds
	integer bool   // multiplies quantised activations
}

// graph is a model's graph with what the searches need.
type graph struct {
	ix      *onnx.Index
	nodes   []*onnx.Node
	at      map[*onnx.Node]int
	linears map[string]*linear // by output value
	order   []*linear          // in execution order
	users   map[string][]*linear
	constly map[string]bool
}

func newGraph(m *onnx.Model) *graph {
	g := &graph{
		ix: m.Graph.Index(), nodes: m.Graph.Nodes, at: map[*onnx.Node]int{},
		linears: map[string]*linear{}, users: map[string][]*linear{}, constly: map[string]bool{},
	}
	for i, n := range g.nodes {
		g.at[n] = i
	}
	for i, n := range g.nodes {
		l := g.linear(n)
		if l == nil {
			continue
		}
		l.at = i
		g.linears[l.y] = l
		g.order = append(g.order, l)
		if l.w.name != "" {
			g.users[l.w.name] = append(g.users[l.w.name], l)
		}
	}
	for _, l := range g.order {
		g.markShared(l)
	}
	return g
}

// markShared refuses weights that more than the one linear map reads: a
// changed value would change the other reader too.
func (g *graph) markShared(l *linear) {
	if l.w.name == "" || l.w.why != "" {
		return
	}
	for _, other := range g.users[l.w.name] {
		if other != l {
			l.w.why = fmt.Sprintf("the exporter merged equal weights: %q also serves node %s", l.w.name, label(other.node))
			return
		}
	}
	if n := g.otherReader(l.w.name, l.node); n != nil {
		l.w.why = fmt.Sprintf("%q is also read by node %s", l.w.name, label(n))
	}
}

// otherReader finds a node besides self that reads a constant, directly or
// through nodes that only pass it on.
func (g *graph) otherReader(value string, self *onnx.Node) *onnx.Node {
	for _, c := range g.ix.Consumers(value) {
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

func label(n *onnx.Node) string {
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
func (g *graph) weight(value string) *weightRef {
	var w weightRef
	for range 8 { // more nodes in between than any exporter writes
		if t := g.ix.Initializer(value); t != nil {
			w.name, w.dims, w.dtype = value, t.Dims, t.DType.String()
			return w.matrix()
		}
		n := g.ix.Producer(value)
		if n == nil || len(n.Inputs) == 0 && n.OpType != "Constant" {
			return nil
		}
		switch n.OpType {
		case "Constant":
			a := n.Attr("value")
			if a == nil || a.T == nil {
				return nil
			}
			w.dims, w.dtype = a.T.Dims, a.T.DType.String()
			w.refuse("the weight is stored in a Constant node; convert the checkpoint again to get an initializer")
			return w.matrix()
		case "Identity":
		case "Cast":
			if w.compute == "" {
				w.compute = onnx.DataType(n.Int("to", 0)).String()
			}
		case "Transpose":
			if perm := n.Ints("perm", []int64{1, 0}); len(perm) != 2 || perm[0] != 1 {
				return nil
			}
			w.transposed = !w.transposed
		case "DequantizeLinear":
			w.refuse("the weight is quantised (DequantizeLinear); edit an unquantised export")
		default:
			return nil
		}
		value = n.Inputs[0]
	}
	return nil
}

func (w *weightRef) refuse(why string) {
	if w.why == "" {
		w.why = why
	}
}

func (w *weightRef) matrix() *weightRef {
	if len(w.dims) != 2 || w.dims[0] <= 0 || w.dims[1] <= 0 {
		return nil
	}
	if w.compute == "" {
		w.compute = w.dtype
	}
	return w
}

// linear recognises a linear map; nil if the node is none.
func (g *graph) linear(n *onnx.Node) *linear {
	if len(n.Outputs) == 0 || len(n.Inputs) < 2 {
		return nil
	}
	l := &linear{node: n, x: n.Inputs[0], y: n.Outputs[0]}
	flip := false
	switch n.OpType {
	case "MatMul":
	case "Gemm":
		if n.Int("transA", 0) != 0 {
			return nil
		}
		flip = n.Int("transB", 0) != 0
		if len(n.Inputs) > 2 {
			l.bias = n.Inputs[2]
		}
	case "FusedMatMul":
		if n.Int("transA", 0) != 0 || n.Int("transBatchA", 0) != 0 || n.Int("transBatchB", 0) != 0 {
			return nil
		}
		flip = n.Int("transB", 0) != 0
	case "MatMulNBits":
		l.in, l.out = int(n.Int("K", 0)), int(n.Int("N", 0))
		l.w = weightRef{name: n.Inputs[1], dtype: fmt.Sprintf("int%d", n.Int("bits", 4)), why: "the weight is quantised (MatMulNBits); edit an unquantised export"}
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
		l.w, l.integer = *w, true
		l.in, l.out = int(w.dims[0]), int(w.dims[1])
		return l
	default:
		return nil
	}
	w := g.weight(n.Inputs[1])
	if w == nil {
		return nil
	}
	l.w = *w
	if flip {
		l.w.transposed = !l.w.transposed
	}
	l.in, l.out = int(w.dims[0]), int(w.dims[1])
	if l.w.transposed {
		l.in, l.out = l.out, l.in
	}
	if alpha := n.Float("alpha", 1); alpha != 1 {
		l.w.refuse(fmt.Sprintf("node %s scales its product by %g", label(n), alpha))
	}
	return l
}

// constant reports whether a value depends on no input of the graph.
func (g *graph) constant(value string) bool {
	if value == "" || g.ix.IsConst(value) {
		return true
	}
	if c, ok := g.constly[value]; ok {
		return c
	}
	n := g.ix.Producer(value)
	c := n != nil
	if n != nil {
		for _, in := range n.Inputs {
			c = c && g.constant(in)
		}
		for _, a := range n.Attrs {
			c = c && a.G == nil
		}
	}
	g.constly[value] = c
	return c
}
