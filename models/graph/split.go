package graph

import (
	"errors"
	"fmt"
	"slices"

	"editpipe/onnx"
)

// ErrUndivided is returned when a graph has no half that stands.
var ErrUndivided = errors.New("the graph cannot be divided")

// Half is a part of a graph that gives Losses.
type Half uint8

// The halves of a graph. The outputs of the standing half are inputs of the moving
// one.
const (
	Whole    Half = iota
	Standing      // what the shifts and the losses do not reach
	Moving        // the rest
)

// split cuts a graph in two: the first computes what does not depend on the
// inputs in changing, the second everything else. The outputs of the first are
// inputs of the second, which reads those inputs of the whole that it needs
// itself under their own names. What depends on no input at all, and values of
// unknown type, which cannot be handed over, are computed where they are read.
func split(m *onnx.Model, changing []string) (first, second *onnx.Model, err error) {
	x := m.Graph.Index()
	var fixed []string
	var inputs, fixedInputs []*onnx.ValueInfo
	for _, in := range m.Graph.Inputs {
		if slices.Contains(changing, in.Name) {
			inputs = append(inputs, in)
			continue
		}
		fixed = append(fixed, in.Name)
		if x.Initializer(in.Name) == nil {
			fixedInputs = append(fixedInputs, in)
		}
	}
	moved := map[*onnx.Node]bool{} // nodes of the second
	after, before := x.Reach(changing...), x.Reach(fixed...)
	reads := func(v string) bool {
		return slices.ContainsFunc(x.Consumers(v), func(n *onnx.Node) bool { return moved[n] })
	}
	var handed []*onnx.ValueInfo
	for _, n := range slices.Backward(m.Graph.Nodes) {
		moved[n] = slices.ContainsFunc(n.Outputs, func(v string) bool {
			info := x.Info(v)
			return after[v] || before[v] && reads(v) && (info == nil || info.DType == onnx.Undefined)
		})
		for _, v := range n.Outputs {
			if !moved[n] && before[v] && reads(v) {
				handed = append(handed, x.Info(v))
			}
		}
	}
	if len(handed) == 0 {
		return nil, nil, fmt.Errorf("%w: all of it depends on the shifts", ErrUndivided)
	}
	for _, in := range fixedInputs {
		if reads(in.Name) {
			inputs = append(inputs, in)
		}
	}
	if first, err = m.Cut(fixedInputs, handed); err != nil {
		return nil, nil, err
	}
	if second, err = m.Cut(slices.Concat(inputs, handed), m.Graph.Outputs); err != nil {
		return nil, nil, err
	}
	return first, second, nil
}
