package arch

import (
	"slices"
	"strings"
	"testing"

	"editpipe/onnx"
)

// operations lists what the function is made of, in execution order.
func operations(a Activation) []string {
	var list []string
	for _, n := range a.nodes {
		list = append(list, n.OpType)
	}
	return list
}

// TestActivationOfEveryForm: the nodes of the activation function are found in
// every form of block, without what stands before and behind them; a copy of them
// reads another value and shares nothing else.
func TestActivationOfEveryForm(t *testing.T) {
	silu := []string{"Sigmoid", "Mul"}
	want := map[string][]string{
		"relu": {"Relu"}, "biases, gelu op, dropout": {"Gelu"}, "erf gelu": {"Div", "Erf", "Add", "Mul", "Mul"},
		"contrib BiasGelu": {"Gelu"}, "contrib FastGelu": {"FastGelu"}, "contrib QuickGelu gate": {"QuickGelu"},
		"SwiGLU, up first": silu, "gate and up in one matrix": silu, "Gemm between Reshapes, stored transposed": {"Relu"},
		"unfolded Transpose": {"Relu"}, "SkipLayerNormalization with sum": {"Relu"}, "scaled product": {"Relu"},
		"MatMulNBits": {"Relu"}, "DequantizeLinear": {"Relu"}, "Constant node": {"Relu"},
	}
	for name, c := range blocks {
		t.Run(name, func(t *testing.T) {
			g := analysed(t, build(2, c.block))
			f := &g.FFNs[1]
			a, why := f.Activation()
			if got := operations(a); !slices.Equal(got, want[name]) || (why == "") != (len(got) > 0) {
				t.Fatalf("found %v, %q; want %v", got, why, want[name])
			}
			if c.siteless {
				if !strings.Contains(why, "quantised") {
					t.Errorf("not found because %q", why)
				}
				return
			}
			m := g.Model.Clone()
			before := len(m.Graph.Nodes)
			b := m.Builder()
			x := b.Input("other", onnx.Float, []onnx.Dim{{Value: 2}, {Value: 3}})
			b.Output(a.Copy(b, x), "copied", onnx.Float, []onnx.Dim{{Value: 2}, {Value: 3}})
			if err := m.Check(); err != nil {
				t.Fatal(err)
			}
			added := m.Graph.Nodes[before:]
			if len(added) != len(a.nodes)+1 { // and the Identity that names the output
				t.Fatalf("%d nodes were added", len(added))
			}
			own := map[string]bool{"other": true}
			ix := m.Graph.Index()
			for _, n := range added {
				for _, in := range n.Inputs {
					if !own[in] && ix.Initializer(in) == nil {
						t.Errorf("the copy reads %s", in)
					}
				}
				for _, o := range n.Outputs {
					own[o] = true
				}
			}
		})
	}
}

func TestSitesReadBack(t *testing.T) {
	for _, side := range []Side{Decoder, Encoder} {
		for _, p := range Points() {
			want := Site{side, 12, p}
			if got, err := ParseSite(want.String()); err != nil || got != want {
				t.Errorf("%s reads as %v, %v", want, got, err)
			}
		}
	}
	for _, s := range []string{"", "decoder.3", "decoder.3.", "decoder.03.ffn_out", "decoder.-1.ffn_out", "middle.3.ffn_out", "decoder.3.ffn_down", "decoder.3.ffn_out.x"} {
		if got, err := ParseSite(s); err == nil || !strings.Contains(err.Error(), "decoder.3.ffn_out") {
			t.Errorf("%q reads as %v, %v", s, got, err)
		}
	}
}
