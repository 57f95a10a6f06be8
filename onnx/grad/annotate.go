package grad

import (
	"fmt"

	"editpipe/onnx"
)

// annotate writes the known types and shapes into the model, for values of
// which the file says nothing. The runtime plans which buffers to reuse by
// comparing every value with every free buffer; without names for dimensions
// none of them ever fits, the list of free ones grows, and loading takes time
// proportional to the square of the number of nodes.
func annotate(m *onnx.Model) {
	f := newFacts(m)
	names := make(map[int]string, len(f.symbols))
	taken := make(map[string]bool, len(f.symbols))
	for name, symbol := range f.symbols {
		names[symbol] = name
		taken[name] = true
	}
	described := map[string]bool{}
	for _, list := range [][]*onnx.ValueInfo{m.Graph.Outputs, m.Graph.ValueInfos} {
		for _, v := range list {
			described[v.Name] = true
		}
	}
	for _, n := range m.Graph.Nodes {
		for _, o := range present(n.Outputs) {
			t := f.of[o]
			if described[o] || t.shape == nil || t.dtype == onnx.Undefined {
				continue
			}
			dims := make([]onnx.Dim, len(t.shape))
			for i, d := range t.shape {
				dims[i] = onnx.Dim{Value: d.n}
				if d.known() {
					continue
				}
				name := names[d.sym]
				for k := d.sym; name == ""; k += f.last {
					if s := fmt.Sprintf("dim_%d", k); !taken[s] {
						name, names[d.sym] = s, s
					}
				}
				dims[i] = onnx.Symbolic(name)
			}
			m.Graph.ValueInfos = append(m.Graph.ValueInfos, onnx.NewValueInfo(o, t.dtype, dims))
		}
	}
}
