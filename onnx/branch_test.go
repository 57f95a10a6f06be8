package onnx_test

import (
	"errors"
	"testing"

	"editpipe/onnx"
	"editpipe/tensor"
)

// merged is shaped like a merged decoder: both branches define the same names,
// some of which also occur outside; outputs are computed, captured, constant,
// or one value given twice; and the first branch holds a further If.
//
//	then: p = h + 10 + past, q = h, r = 5, s = p
//	else: p = -h * 4,        q = k, r = 7, s = if negated cond then 1 else 2
func merged(t *testing.T) *onnx.Model {
	t.Helper()
	m, b := newScalars()
	x := b.Input("x", onnx.Float, scalar)
	b.Input("past", onnx.Float, scalar)
	cond := b.Input("use_cache_branch", onnx.Bool, onnx.Fixed(1))
	w := b.Initializer("w", tensor.FromFloat32s([]float32{3}))
	h := b.Op("Mul", []string{x, w})
	val := func(names ...string) (v []*onnx.ValueInfo) { return infos(names...) }
	num := func(name string, v float32) *onnx.Tensor {
		return onnx.NewTensor(name, tensor.FromFloat32s([]float32{v}))
	}
	then := &onnx.Graph{
		Name: "then",
		Nodes: []*onnx.Node{
			{Name: "n", OpType: "Add", Inputs: []string{h, "w"}, Outputs: []string{"inner"}},
			{Name: "m", OpType: "Add", Inputs: []string{"inner", "past"}, Outputs: []string{"p_branch"}},
		},
		Initializers: []*onnx.Tensor{num("w", 10), num("five", 5)}, // hides the outer w
		Outputs:      val("p_branch", h, "five", "p_branch"),
	}
	deep := func(name string, v float32) *onnx.Graph {
		return &onnx.Graph{Name: name, Initializers: []*onnx.Tensor{num("p", v)},
			Nodes:   []*onnx.Node{{OpType: "Identity", Inputs: []string{"p"}, Outputs: []string{"deep"}}},
			Outputs: val("deep")}
	}
	other := &onnx.Graph{
		Name: "else",
		Nodes: []*onnx.Node{
			{Name: "n", OpType: "Neg", Inputs: []string{h}, Outputs: []string{"inner"}},
			{Name: "m", OpType: "Mul", Inputs: []string{"inner", "four"}, Outputs: []string{"p_branch"}},
			{Name: "k", OpType: "Identity", Inputs: []string{"p_branch"}, Outputs: []string{"q"}},
			{Name: "not", OpType: "Not", Inputs: []string{cond}, Outputs: []string{"negated"}},
			{Name: "if", OpType: "If", Inputs: []string{"negated"}, Outputs: []string{"chosen"}, Attrs: []*onnx.Attribute{
				onnx.AttrGraph("then_branch", deep("a", 1)), onnx.AttrGraph("else_branch", deep("b", 2))}},
		},
		Initializers: []*onnx.Tensor{num("four", 4), num("five", 7)},
		Outputs:      val("p_branch", "q", "five", "chosen"),
	}
	m.Graph.Nodes = append(m.Graph.Nodes, &onnx.Node{
		Name: "optimum::if", OpType: "If", Inputs: []string{cond}, Outputs: []string{"p", "q", "r", "s"},
		Attrs: []*onnx.Attribute{onnx.AttrGraph("then_branch", then), onnx.AttrGraph("else_branch", other)},
	})
	m.Graph.Outputs = val("p", "q", "r", "s")
	mustCheck(t, m)
	return m
}

func TestSelectBranch(t *testing.T) {
	for _, value := range []bool{true, false} {
		m := merged(t)
		cond := float32(0)
		if value {
			cond = 1
		}
		feed := map[string]float32{"x": 2, "past": 100, "use_cache_branch": cond}
		want := eval(t, m, feed)
		if err := m.SelectBranch("use_cache_branch", value); err != nil {
			t.Fatal(err)
		}
		mustCheck(t, m)
		for _, n := range m.Graph.Nodes {
			if n.OpType == "If" {
				t.Errorf("value %v: an If is left", value)
			}
		}
		x := m.Graph.Index()
		if x.Input("use_cache_branch") != nil {
			t.Error("the condition is still an input")
		}
		if (x.Input("past") != nil) != value {
			t.Errorf("value %v: past is an input: %v", value, !value)
		}
		got := eval(t, m, feed)
		for k, v := range want {
			if got[k] != v {
				t.Errorf("value %v: %s = %v, merged model has %v", value, k, got[k], v)
			}
		}
		if len(got) != len(want) {
			t.Errorf("outputs %v, want %v", got, want)
		}
		again, err := m.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := onnx.Parse(again, ""); err != nil {
			t.Errorf("value %v: re-reading: %v", value, err)
		}
	}
}

// TestMergedMeaning pins the numbers that TestSelectBranch compares with.
func TestMergedMeaning(t *testing.T) {
	m := merged(t)
	for cond, want := range map[float32][4]float32{1: {116, 6, 5, 116}, 0: {-24, -24, 7, 1}} {
		got := eval(t, m, map[string]float32{"x": 2, "past": 100, "use_cache_branch": cond})
		for i, name := range []string{"p", "q", "r", "s"} {
			if got[name] != want[i] {
				t.Errorf("cond %v: %s = %v, want %v", cond, name, got[name], want[i])
			}
		}
	}
}

func TestSelectBranchRefuses(t *testing.T) {
	m := merged(t)
	for name, want := range map[string]error{"nowhere": onnx.ErrUndefined, "x": onnx.ErrDataType} {
		if err := m.SelectBranch(name, true); !errors.Is(err, want) {
			t.Errorf("%s: error %v, want %v", name, err, want)
		}
	}
	m.Graph.Inputs = append(m.Graph.Inputs, onnx.NewValueInfo("other", onnx.Bool, scalar))
	if err := m.SelectBranch("other", true); !errors.Is(err, onnx.ErrUndefined) {
		t.Errorf("input without an If: %v", err)
	}
}
