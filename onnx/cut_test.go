package onnx_test

import (
	"errors"
	"slices"
	"testing"

	"editpipe/onnx"
	"editpipe/tensor"
)

func infos(names ...string) (v []*onnx.ValueInfo) {
	for _, n := range names {
		v = append(v, onnx.NewValueInfo(n, onnx.Float, scalar))
	}
	return v
}

// fork is a = x*w, (b, c) = Two(a), y = -b + c, z = v + v.
func fork(t *testing.T) (m *onnx.Model, a string, bc []string) {
	t.Helper()
	m, b := newScalars()
	x := b.Input("x", onnx.Float, scalar)
	v := b.Input("v", onnx.Float, scalar)
	w := b.Initializer("w", tensor.FromFloat32s([]float32{3}))
	b.Initializer("unused", tensor.FromFloat32s([]float32{9}))
	a = b.Op("Mul", []string{x, w})
	bc = b.OpN("Two", "test", []string{a}, 2)
	m.Opsets = append(m.Opsets, onnx.Opset{Domain: "test", Version: 1})
	b.Output(b.Op("Add", []string{b.Op("Neg", bc[:1]), bc[1]}), "y", onnx.Float, scalar)
	b.Output(b.Op("Add", []string{v, v}), "z", onnx.Float, scalar)
	mustCheck(t, m)
	return m, a, bc
}

func TestCut(t *testing.T) {
	m, a, bc := fork(t)
	before, _ := m.Bytes()
	tests := []struct {
		name    string
		inputs  []string
		outputs []string
		feed    map[string]float32
		want    map[string]float32
		nodes   int
	}{
		{"front", []string{"x"}, []string{a}, map[string]float32{"x": 2}, map[string]float32{a: 6}, 1},
		{"back", []string{a}, []string{"y"}, map[string]float32{a: 6}, map[string]float32{"y": 1}, 4},
		{"one output of a node is fed", []string{a, bc[0]}, []string{"y"},
			map[string]float32{a: 6, bc[0]: 100}, map[string]float32{"y": -92}, 4},
		{"an initializer becomes an input", []string{"x", "w"}, []string{a},
			map[string]float32{"x": 2, "w": 7}, map[string]float32{a: 14}, 1},
		{"two outputs", []string{"x", "v"}, []string{bc[1], "z"},
			map[string]float32{"x": 2, "v": 1}, map[string]float32{bc[1]: 8, "z": 2}, 4},
		{"unneeded input stays", []string{"x", "v"}, []string{a},
			map[string]float32{"x": 2, "v": 1}, map[string]float32{a: 6}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := m.Cut(infos(tt.inputs...), infos(tt.outputs...))
			if err != nil {
				t.Fatal(err)
			}
			mustCheck(t, c)
			got := eval(t, c, tt.feed)
			for k, v := range tt.want {
				if got[k] != v {
					t.Errorf("%s = %v, want %v", k, got[k], v)
				}
			}
			if len(got) != len(tt.want) || len(c.Graph.Nodes) != tt.nodes || len(c.Graph.Inputs) != len(tt.inputs) {
				t.Errorf("%d outputs, nodes %v, %d inputs", len(got), ops(c.Graph), len(c.Graph.Inputs))
			}
			if c.Graph.Index().Initializer("unused") != nil {
				t.Error("unused initializer kept")
			}
		})
	}
	after, _ := m.Bytes()
	if !slices.Equal(before, after) {
		t.Error("cutting changed the model")
	}
}

func TestCutKeepsOverridable(t *testing.T) {
	m, a, _ := fork(t)
	if err := m.Promote("w"); err != nil {
		t.Fatal(err)
	}
	c, err := m.Cut(infos("x"), infos(a))
	if err != nil {
		t.Fatal(err)
	}
	if got := eval(t, c, map[string]float32{"x": 2, "w": 10})[a]; got != 20 {
		t.Errorf("overridden: %v, want 20", got)
	}
	if got := eval(t, c, map[string]float32{"x": 2})[a]; got != 6 {
		t.Errorf("default: %v, want 6", got)
	}
}

func TestCutRefuses(t *testing.T) {
	m, a, _ := fork(t)
	tests := []struct {
		name            string
		inputs, outputs []string
		want            error
	}{
		{"unknown input", []string{"nowhere"}, []string{"y"}, onnx.ErrUndefined},
		{"unknown output", []string{"x"}, []string{"nowhere"}, onnx.ErrUndefined},
		{"missing input", []string{"x"}, []string{"z"}, onnx.ErrUndefined},
		{"twice", []string{a, a}, []string{"y"}, onnx.ErrDuplicate},
		{"pass through", []string{a}, []string{a}, onnx.ErrDuplicate},
	}
	for _, tt := range tests {
		if _, err := m.Cut(infos(tt.inputs...), infos(tt.outputs...)); !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		}
	}
}

func TestPrune(t *testing.T) {
	m, _, _ := fork(t)
	if err := m.Promote("unused"); err != nil {
		t.Fatal(err)
	}
	m.Graph.Outputs = m.Graph.Outputs[1:] // z only
	m.Prune()
	mustCheck(t, m)
	if got := ops(m.Graph); !slices.Equal(got, []string{"Add", "Identity"}) {
		t.Errorf("nodes %v", got)
	}
	if len(m.Graph.Initializers) != 0 || len(m.Graph.Inputs) != 2 {
		t.Errorf("%d initializers, %d inputs", len(m.Graph.Initializers), len(m.Graph.Inputs))
	}
}
