package onnx_test

import (
	"maps"
	"slices"
	"testing"

	"editpipe/onnx"
)

// nested is x -> y -> an If whose branch reads y, and z beside it.
func nested() (m *onnx.Model, y, chosen, beside string) {
	m = onnx.New(9, 17)
	b := m.Builder()
	x, condition := b.Input("x", onnx.Float, nil), b.Input("condition", onnx.Bool, nil)
	y = b.Op("Neg", []string{x})
	then, other := b.Body("then"), b.Body("else")
	then.Output(then.Op("Abs", []string{y}), "a", onnx.Float, nil)
	other.Output(other.Op("Identity", []string{condition}), "b", onnx.Float, nil)
	chosen = b.Op("If", []string{condition}, onnx.AttrGraph("then_branch", then.Graph()), onnx.AttrGraph("else_branch", other.Graph()))
	beside = b.Op("Not", []string{condition})
	return m, y, chosen, beside
}

func TestReach(t *testing.T) {
	m, y, chosen, beside := nested()
	x := m.Graph.Index()
	for _, c := range []struct{ from, want []string }{
		{[]string{"x"}, []string{"x", y, chosen}},
		{[]string{y}, []string{y, chosen}},
		{[]string{"condition"}, []string{"condition", chosen, beside}},
		{[]string{beside, "x"}, []string{beside, "x", y, chosen}},
		{nil, nil},
	} {
		slices.Sort(c.want)
		if got := slices.Sorted(maps.Keys(x.Reach(c.from...))); !slices.Equal(got, c.want) {
			t.Errorf("from %v: got %v, want %v", c.from, got, c.want)
		}
	}
}

func TestVisit(t *testing.T) {
	m, _, _, _ := nested()
	want := []*onnx.Graph{m.Graph}
	for _, n := range m.Graph.Nodes {
		for _, a := range n.Attrs {
			want = append(want, a.G)
		}
	}
	var seen []*onnx.Graph
	m.Graph.Visit(func(g *onnx.Graph) { seen = append(seen, g) })
	if len(seen) != 3 || !slices.Equal(seen, want) {
		t.Errorf("%d graphs visited, want the outer one and both branches", len(seen))
	}
}
