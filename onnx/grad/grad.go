// Package grad differentiates an ONNX graph into an ONNX graph: reverse-mode
// automatic differentiation that appends nodes to a model, so that gradients
// run wherever the model runs.
//
// The terms: the loss is the value that is differentiated; a wanted value is
// one with respect to which the loss is differentiated; the cotangent of a
// value v is the gradient d loss / d v, a tensor with the shape and type of v;
// the seed is the cotangent that the walk starts from, 1 for a scalar loss. A
// rule turns the cotangents of a node's outputs into those of its inputs.
//
// [Gradients] works in three phases.
//  1. Facts: one walk forwards derives element types and as much of the shapes
//     as can be known without running the model. Dimensions are numbers or
//     symbols, so that most sums over broadcast axes are known to be needless.
//  2. Marking: everything that a wanted value can influence is marked. Integers,
//     truth values and the operators with zero derivative end the marking.
//  3. One walk backwards over the marked nodes: sum the cotangents that reached
//     an output from its readers, then apply the rule of the operator. There is
//     one table from operators to rules; an operator that is not in it is an
//     [UnsupportedError].
//
// Operators that are compositions, such as the attention operators, are
// rewritten with simpler ones next to the node, and the walk goes back through
// those. The node itself is kept: what the model computes does not change.
//
// After broadcasting, one routine sums a cotangent back to the shape of the
// operand; if necessary, the axes are decided at run time.
//
// [AddHead] adds the losses that the editing methods share and [AddDelta] a
// trainable shift of a hidden value at chosen positions.
//
// Only operators of ONNX itself are added, and ONNX Runtime's own ones where the
// gradient is one of the same kind (the rotation back of its RotaryEmbedding).
// Models of opset 13 and later are supported.
package grad

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"editpipe/onnx"
)

var (
	// ErrIndependent is returned when the loss does not depend on a wanted
	// value by a path that can be differentiated.
	ErrIndependent = errors.New("the loss does not depend on it")
	// ErrOpset is returned for models of an opset before 13.
	ErrOpset = errors.New("gradients need opset 13 or later")
)

const (
	minOpset = 13
	// castLikeOpset is the first with CastLike, by which a number gets the type
	// of a value that is not known.
	castLikeOpset = 15
)

// UnsupportedError is returned when the path from a wanted value to the loss
// leads through a node that cannot be differentiated.
type UnsupportedError struct {
	Op   string // operator, with its domain if that is not the default one
	Node string // name of the node, or of its first output if it has none
	Why  string // "" if the operator has no rule at all
}

func (e *UnsupportedError) Error() string {
	if e.Why == "" {
		return fmt.Sprintf("operator %s of node %q has no gradient rule", e.Op, e.Node)
	}
	return fmt.Sprintf("operator %s of node %q cannot be differentiated: %s", e.Op, e.Node, e.Why)
}

// because is the reason seen from an operator that is composed of this one.
func (e *UnsupportedError) because() string {
	if e.Why == "" {
		return e.Op + " has no gradient rule"
	}
	return e.Why
}

// Gradients adds nodes to m that compute d loss / d w for every w in wrt and
// returns the names of these values, in the order of wrt; each has the shape
// and type of its w. The values become neither graph outputs nor anything else
// by themselves: see [onnx.Model.Expose]. If loss has several elements, the
// gradient is that of their sum. Types and shapes found out on the way are
// written into m where it has none. On error m is unchanged.
func Gradients(m *onnx.Model, loss string, wrt ...string) ([]string, error) {
	return gradients(m, map[string]string{loss: ""}, wrt)
}

// GradientsFrom is [Gradients] with given cotangents: seeds maps each value
// that the walk starts from to the value that holds its cotangent, of the same
// shape and type. The gradient of one model with respect to its inputs is the
// seed of the model that computed them, and a loss in a float16 model is seeded
// with a loss scale.
func GradientsFrom(m *onnx.Model, seeds map[string]string, wrt ...string) ([]string, error) {
	for value, seed := range seeds {
		if seed == "" {
			return nil, fmt.Errorf("grad: no seed for %q", value)
		}
	}
	return gradients(m, seeds, wrt)
}

func gradients(m *onnx.Model, seeds map[string]string, wrt []string) ([]string, error) {
	nodes, constants := len(m.Graph.Nodes), len(m.Graph.Initializers)
	out, err := newWalk(m).run(seeds, wrt)
	if err != nil {
		m.Graph.Nodes = m.Graph.Nodes[:nodes]
		m.Graph.Initializers = m.Graph.Initializers[:constants]
		return nil, fmt.Errorf("grad: %w", err)
	}
	annotate(m)
	return out, nil
}

// walk is one differentiation.
type walk struct {
	graph
	m      *onnx.Model
	ix     *onnx.Index
	rules  map[string]rule
	marked map[string]bool     // what a wanted value can influence
	parts  map[string][]string // cotangents that reached a value so far
}

func newWalk(m *onnx.Model) *walk {
	return &walk{
		graph:  newGraph(m),
		m:      m,
		ix:     m.Graph.Index(),
		rules:  table(),
		marked: map[string]bool{},
		parts:  map[string][]string{},
	}
}

func (w *walk) run(seeds map[string]string, wrt []string) ([]string, error) {
	if w.opset < minOpset {
		return nil, fmt.Errorf("%w; this model has %d", ErrOpset, w.opset)
	}
	for _, v := range slices.Concat(slices.Sorted(maps.Keys(seeds)), wrt) {
		if w.ix.Producer(v) == nil && w.ix.Input(v) == nil && w.ix.Initializer(v) == nil {
			return nil, fmt.Errorf("%w: %q", onnx.ErrUndefined, v)
		}
		if dt := w.facts.of[v].dtype; dt != onnx.Undefined && !float(dt) {
			return nil, fmt.Errorf("%q has type %s; only floating point values have gradients", v, dt)
		}
	}
	w.mark(wrt)
	w.b.Scope("grad")
	for _, v := range slices.Sorted(maps.Keys(seeds)) {
		seed := seeds[v]
		if seed == "" {
			seed = w.filled(1, v)
		}
		w.parts[v] = append(w.parts[v], seed)
	}
	for _, n := range slices.Backward(slices.Clone(w.m.Graph.Nodes[:w.before])) {
		if err := w.visit(n); err != nil {
			return nil, err
		}
	}
	for v, seed := range seeds { // after the walk, which names the operator that is to blame
		if seed == "" && w.facts.of[v].dtype == onnx.Undefined && w.opset < castLikeOpset {
			return nil, fmt.Errorf("the type of %q is not known", v)
		}
	}
	return w.results(wrt)
}

// mark marks the wanted values and all they influence. Nodes whose branches or
// bodies capture a marked value count as its readers.
func (w *walk) mark(wrt []string) {
	queue := slices.Clone(wrt)
	for len(queue) > 0 {
		v := queue[0]
		queue = queue[1:]
		if w.marked[v] {
			continue
		}
		w.marked[v] = true
		for _, n := range w.ix.Consumers(v) {
			if !stops(n, v) {
				queue = append(queue, present(n.Outputs)...)
			}
		}
	}
}

// visit applies the rule of one node, if a cotangent reached it and a marked
// value leads into it.
func (w *walk) visit(n *onnx.Node) error {
	reached := false
	for _, o := range present(n.Outputs) {
		reached = reached || w.marked[o] && len(w.parts[o]) > 0
	}
	if !reached {
		return nil
	}
	label := n.Name
	if label == "" {
		label = present(n.Outputs)[0]
	}
	w.b.Scope("grad/" + strings.TrimPrefix(label, "grad/"))
	op := n.OpType
	if n.Domain != "" && n.Domain != "ai.onnx" {
		op = n.Domain + "." + op
	}
	s := &step{walk: w, n: n}
	for _, o := range n.Outputs {
		dy := ""
		if o != "" && w.marked[o] {
			dy = w.cotangent(o)
		}
		s.dys = append(s.dys, dy)
	}
	if !slices.ContainsFunc(n.Inputs, func(v string) bool { return w.marked[v] && !stops(n, v) }) {
		// The output is wanted itself, or a branch captures a marked value.
		for _, v := range slices.Sorted(maps.Keys(w.marked)) {
			if slices.Contains(w.ix.Consumers(v), n) && !stops(n, v) {
				return &UnsupportedError{Op: op, Node: label, Why: fmt.Sprintf("a branch or body reads %q", v)}
			}
		}
		return nil
	}
	r := w.rules[op]
	if r == nil {
		return &UnsupportedError{Op: op, Node: label}
	}
	r(s)
	if s.why != "" {
		return &UnsupportedError{Op: op, Node: label, Why: s.why}
	}
	return nil
}

// composed makes the rule of an operator that can be written with plainer ones.
// build adds the nodes that compute its outputs, "" for those it leaves out; the
// walk goes back through these nodes instead. The operator itself stays, and the
// model computes what it did: only the gradient takes the longer way.
func composed(build func(s *step) []string) rule {
	return func(s *step) {
		s.learn()
		from := len(s.m.Graph.Nodes)
		results := build(s)
		s.learn()
		nodes := slices.Clone(s.m.Graph.Nodes[from:])
		for _, n := range nodes {
			if slices.ContainsFunc(n.Inputs, func(v string) bool { return s.marked[v] && !stops(n, v) }) {
				for _, o := range present(n.Outputs) {
					s.marked[o] = true
				}
			}
		}
		for i, dy := range s.dys {
			switch {
			case dy == "":
			case i >= len(results) || results[i] == "":
				s.fail("its output %d is used", i)
			default:
				s.parts[results[i]] = append(s.parts[results[i]], dy)
			}
		}
		for _, n := range slices.Backward(nodes) {
			if s.why != "" {
				return
			}
			var inner *UnsupportedError
			if err := s.visit(n); errors.As(err, &inner) {
				s.fail("%s", inner.because())
			}
		}
	}
}

// cotangent sums what reached a value; "" if nothing did.
func (w *walk) cotangent(v string) string {
	parts := w.parts[v]
	if len(parts) == 0 {
		return ""
	}
	sum := parts[0]
	for _, p := range parts[1:] {
		sum = w.op("Add", sum, p)
	}
	w.parts[v] = []string{sum}
	return sum
}

// results returns one value of the main graph for each wanted value: computed
// by a new node, and by one of its own, so that each can be exposed.
func (w *walk) results(wrt []string) ([]string, error) {
	w.b.Scope("grad")
	var out []string
	own := map[string]bool{}
	for _, n := range w.m.Graph.Nodes[w.before:] {
		for _, o := range n.Outputs {
			own[o] = true
		}
	}
	for _, v := range wrt {
		g := w.cotangent(v)
		if g == "" {
			return nil, fmt.Errorf("%q: %w", v, ErrIndependent)
		}
		if len(w.parts[v]) == 1 && !own[g] || slices.Contains(out, g) {
			g = w.op("Identity", g)
		}
		own[g] = true
		out = append(out, g)
	}
	return out, nil
}

// stops says that a node passes no gradient on to input v: its result does not
// change with it, or only in jumps.
func stops(n *onnx.Node, v string) bool {
	if !official(n) {
		return false
	}
	switch n.OpType {
	case "Shape", "Size", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "ArgMax", "ArgMin", "NonZero",
		"IsNaN", "IsInf", "Sign", "Floor", "Ceil", "Round":
		return true
	case "Cast":
		return !float(onnx.DataType(n.Int("to", 0)))
	case "CastLike", "Dropout":
		return n.Inputs[0] != v
	}
	return false
}

func float(dt onnx.DataType) bool {
	return dt == onnx.Float || dt == onnx.Double || dt == onnx.Float16 || dt == onnx.BFloat16
}

func present(values []string) []string {
	return slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" })
}
