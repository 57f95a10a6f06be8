package onnx_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"editpipe/onnx"
	"editpipe/tensor"
)

// chain is y = -(x*w + 1), z = the sum before the sign.
func chain(t *testing.T) (m *onnx.Model, sum string) {
	t.Helper()
	m, b := newScalars()
	x := b.Input("x", onnx.Float, scalar)
	w := b.Initializer("w", tensor.FromFloat32s([]float32{3}))
	sum = b.Op("Add", []string{b.Op("Mul", []string{x, w}), b.Scalar(1)})
	b.Output(b.Op("Neg", []string{sum}), "y", onnx.Float, scalar)
	mustCheck(t, m)
	return m, sum
}

func double(b *onnx.Builder, in string) (string, error) {
	return b.Op("Mul", []string{in, b.Scalar(2)}), nil
}

func TestPromote(t *testing.T) {
	m, _ := chain(t)
	if err := m.Promote("w"); err != nil {
		t.Fatal(err)
	}
	if err := m.Promote("w"); err != nil {
		t.Fatalf("second time: %v", err)
	}
	mustCheck(t, m)
	if got := eval(t, m, map[string]float32{"x": 2})["y"]; got != -7 {
		t.Errorf("default: y = %v, want -7", got)
	}
	if got := eval(t, m, map[string]float32{"x": 2, "w": 5})["y"]; got != -11 {
		t.Errorf("overridden: y = %v, want -11", got)
	}
	if err := m.Promote("nope"); !errors.Is(err, onnx.ErrUndefined) {
		t.Errorf("unknown name: %v", err)
	}
}

func TestPromoteLeavesOtherConstantsOfIR3Constant(t *testing.T) {
	m, _ := chain(t)
	m.IRVersion = 3
	for _, init := range m.Graph.Initializers {
		m.Graph.Inputs = append(m.Graph.Inputs, onnx.NewValueInfo(init.Name, onnx.Float, scalar))
	}
	mustCheck(t, m)
	if err := m.Promote("w"); err != nil {
		t.Fatal(err)
	}
	mustCheck(t, m)
	var inputs []string
	for _, v := range m.Graph.Inputs {
		inputs = append(inputs, v.Name)
	}
	if !slices.Equal(inputs, []string{"x", "w"}) || m.IRVersion != 4 {
		t.Errorf("inputs %v, IR %d", inputs, m.IRVersion)
	}
}

func TestExpose(t *testing.T) {
	m, sum := chain(t)
	for range 2 {
		if err := m.Expose(sum, onnx.Float, scalar); err != nil {
			t.Fatal(err)
		}
	}
	mustCheck(t, m)
	if got := eval(t, m, map[string]float32{"x": 2}); len(got) != 2 || got[sum] != 7 {
		t.Errorf("outputs %v, want %s = 7", got, sum)
	}
	for _, name := range []string{"x", "w", "", "nope"} {
		if err := m.Expose(name, onnx.Float, scalar); !errors.Is(err, onnx.ErrUndefined) {
			t.Errorf("exposing %q: %v", name, err)
		}
	}
}

func TestSplice(t *testing.T) {
	m, sum := chain(t)
	if err := m.Splice(sum, double); err != nil {
		t.Fatal(err)
	}
	mustCheck(t, m)
	if got := eval(t, m, map[string]float32{"x": 2})["y"]; got != -14 {
		t.Errorf("y = %v, want -14", got)
	}
	// A second splice goes between the value and the first.
	err := m.Splice(sum, func(b *onnx.Builder, in string) (string, error) {
		return b.Op("Add", []string{in, b.Scalar(100)}), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	mustCheck(t, m)
	if got := eval(t, m, map[string]float32{"x": 2})["y"]; got != -214 {
		t.Errorf("y = %v, want -214", got)
	}
}

func TestSpliceKeepsOutputName(t *testing.T) {
	m, sum := chain(t)
	if err := m.Expose(sum, onnx.Float, scalar); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{sum, "y", "x", "w"} {
		if err := m.Splice(value, double); err != nil {
			t.Fatal(err)
		}
		mustCheck(t, m)
	}
	got := eval(t, m, map[string]float32{"x": 2})
	// x and w doubled: 2*2*2*3+1 = 25; the sum doubled: 50; y doubled: -100.
	if len(got) != 2 || got[sum] != 50 || got["y"] != -100 {
		t.Errorf("outputs %v", got)
	}
}

func TestSpliceReachesIntoBranches(t *testing.T) {
	m, b := newScalars()
	x := b.Input("x", onnx.Float, scalar)
	c := b.Input("c", onnx.Bool, scalar)
	h := b.Op("Neg", []string{x})
	then, other := b.Body("then"), b.Body("else")
	// One branch passes the captured value through, the other defines a value
	// of that name itself and must not be touched.
	then.Graph().Outputs = []*onnx.ValueInfo{onnx.NewValueInfo(h, onnx.Float, scalar)}
	other.Graph().Nodes = []*onnx.Node{{OpType: "Add", Inputs: []string{x, x}, Outputs: []string{h}}}
	other.Graph().Outputs = []*onnx.ValueInfo{onnx.NewValueInfo(h, onnx.Float, scalar)}
	y := b.Op("If", []string{c}, onnx.AttrGraph("then_branch", then.Graph()), onnx.AttrGraph("else_branch", other.Graph()))
	b.Output(y, "y", onnx.Float, scalar)
	mustCheck(t, m)
	if n := len(m.Graph.Index().Consumers(h)); n != 1 {
		t.Fatalf("%d consumers of the captured value", n)
	}
	if err := m.Splice(h, double); err != nil {
		t.Fatal(err)
	}
	mustCheck(t, m)
	for c, want := range map[float32]float32{1: -6, 0: 6} {
		if got := eval(t, m, map[string]float32{"x": 3, "c": c})["y"]; got != want {
			t.Errorf("c=%v: y = %v, want %v", c, got, want)
		}
	}
}

func TestSpliceWaitsForLaterValues(t *testing.T) {
	m, b := newScalars()
	x := b.Input("x", onnx.Float, scalar)
	early := b.Op("Neg", []string{x})
	use := b.Op("Neg", []string{early})
	late := b.Op("Add", []string{x, x})
	b.Output(use, "y", onnx.Float, scalar)
	b.Output(late, "z", onnx.Float, scalar)
	err := m.Splice(early, func(b *onnx.Builder, in string) (string, error) {
		return b.Op("Add", []string{in, late}), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	mustCheck(t, m)
	if got := eval(t, m, map[string]float32{"x": 5})["y"]; got != -5 {
		t.Errorf("y = %v, want -(-5 + 10)", got)
	}
}

func TestSpliceFailureChangesNothing(t *testing.T) {
	m, sum := chain(t)
	before, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	tests := []struct {
		name, value string
		build       func(*onnx.Builder, string) (string, error)
		want        error
	}{
		{"build fails", sum, func(b *onnx.Builder, in string) (string, error) {
			b.Input("extra", onnx.Float, scalar)
			b.Op("Neg", []string{in})
			return "", boom
		}, boom},
		{"unknown result", sum, func(*onnx.Builder, string) (string, error) { return "nowhere", nil }, onnx.ErrUndefined},
		{"unknown value", "nowhere", double, onnx.ErrUndefined},
		{"reads its own consumer", sum, func(b *onnx.Builder, in string) (string, error) {
			return b.Op("Add", []string{in, "y"}), nil
		}, onnx.ErrCycle},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := m.Splice(tt.value, tt.build); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			after, err := m.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(before, after) {
				t.Error("the model changed")
			}
		})
	}
}

func TestFreshNamesAvoidBranches(t *testing.T) {
	m, b := newScalars()
	c := b.Input("c", onnx.Bool, scalar)
	body := b.Body("branch")
	body.Graph().Nodes = []*onnx.Node{{
		Name: "editpipe/Neg", OpType: "Constant", Outputs: []string{"editpipe/Neg_1_output_0"},
		Attrs: []*onnx.Attribute{onnx.AttrTensor("value", onnx.NewTensor("", tensor.FromFloat32s([]float32{1})))},
	}}
	body.Graph().Outputs = []*onnx.ValueInfo{onnx.NewValueInfo("editpipe/Neg_1_output_0", onnx.Float, scalar)}
	y := b.Op("If", []string{c}, onnx.AttrGraph("then_branch", body.Graph()), onnx.AttrGraph("else_branch", body.Graph()))
	fresh := m.Builder()
	z := fresh.Op("Neg", []string{y})
	n := m.Graph.Index().Producer(z)
	if n.Name == "editpipe/Neg" || strings.Contains(z, "Neg_1_output_0") && z == "editpipe/Neg_1_output_0" {
		t.Errorf("node %q, value %q collide with the branch", n.Name, z)
	}
	b.Output(z, "y", onnx.Float, scalar)
	mustCheck(t, m)
}

func TestCloneIsIndependent(t *testing.T) {
	m, sum := chain(t)
	before, _ := m.Bytes()
	c := m.Clone()
	if err := c.Splice(sum, double); err != nil {
		t.Fatal(err)
	}
	if err := c.Promote("w"); err != nil {
		t.Fatal(err)
	}
	c.Graph.Nodes[0].Inputs[0] = "changed"
	c.Graph.Initializers[0].Dims = append(c.Graph.Initializers[0].Dims, 7)
	after, _ := m.Bytes()
	if !slices.Equal(before, after) {
		t.Error("changing the clone changed the original")
	}
}
