package onnx_test

import (
	"fmt"
	"testing"

	"editpipe/onnx"
	"editpipe/tensor"
)

// eval computes a graph of scalars with a handful of operators, so that a
// rewrite can be checked by what the graph means rather than by how it looks.
// Booleans are 0 and 1.
func eval(t *testing.T, m *onnx.Model, in map[string]float32) map[string]float32 {
	t.Helper()
	env := map[string]float32{}
	for _, v := range m.Graph.Inputs {
		if x, ok := in[v.Name]; ok {
			env[v.Name] = x
		}
	}
	out, err := evalGraph(m.Graph, env)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func evalGraph(g *onnx.Graph, outer map[string]float32) (map[string]float32, error) {
	env := map[string]float32{}
	for k, v := range outer {
		env[k] = v
	}
	fed := map[string]bool{}
	for _, v := range g.Inputs {
		if _, ok := outer[v.Name]; ok {
			fed[v.Name] = true
		}
	}
	for _, t := range g.Initializers {
		if fed[t.Name] {
			continue // overridden
		}
		v, err := scalarOf(t)
		if err != nil {
			return nil, err
		}
		env[t.Name] = v
	}
	for _, n := range g.Nodes {
		var x []float32
		for _, name := range n.Inputs {
			v, ok := env[name]
			if !ok {
				return nil, fmt.Errorf("%s reads %q, which has no value", n.OpType, name)
			}
			x = append(x, v)
		}
		var y []float32
		switch n.OpType {
		case "Add":
			y = []float32{x[0] + x[1]}
		case "Mul":
			y = []float32{x[0] * x[1]}
		case "Neg":
			y = []float32{-x[0]}
		case "Not":
			y = []float32{1 - x[0]}
		case "Identity":
			y = x
		case "Two": // two outputs: x+1 and x+2
			y = []float32{x[0] + 1, x[0] + 2}
		case "Constant":
			v, err := scalarOf(n.Attr("value").T)
			if err != nil {
				return nil, err
			}
			y = []float32{v}
		case "If":
			branch := n.Attr("else_branch").G
			if x[0] != 0 {
				branch = n.Attr("then_branch").G
			}
			out, err := evalGraph(branch, env)
			if err != nil {
				return nil, err
			}
			for _, o := range branch.Outputs {
				y = append(y, out[o.Name])
			}
		default:
			return nil, fmt.Errorf("no rule for %s", n.OpType)
		}
		for i, o := range n.Outputs {
			if o != "" {
				env[o] = y[i]
			}
		}
	}
	out := map[string]float32{}
	for _, o := range g.Outputs {
		v, ok := env[o.Name]
		if !ok {
			return nil, fmt.Errorf("output %q has no value", o.Name)
		}
		out[o.Name] = v
	}
	return out, nil
}

func scalarOf(t *onnx.Tensor) (float32, error) {
	v, err := t.Value()
	if err != nil {
		return 0, err
	}
	if v.DType == tensor.Bool {
		return float32(v.Data[0]), nil
	}
	return v.Float32s()[0], nil
}

var scalar = []onnx.Dim{}

// newScalars returns an empty model and its builder.
func newScalars() (*onnx.Model, *onnx.Builder) {
	m := onnx.New(8, 17)
	return m, m.Builder()
}

func mustCheck(t *testing.T, m *onnx.Model) {
	t.Helper()
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
}

func ops(g *onnx.Graph) (list []string) {
	for _, n := range g.Nodes {
		list = append(list, n.OpType)
	}
	return list
}
