package onnx_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"editpipe/onnx"
	"editpipe/tensor"
)

func TestCheckRefuses(t *testing.T) {
	first := func(m *onnx.Model) *onnx.Tensor { return m.Graph.Initializers[0] }
	tests := []struct {
		name  string
		spoil func(m *onnx.Model)
		want  error
		says  string
	}{
		{"IR too old", func(m *onnx.Model) { m.IRVersion = 2 }, onnx.ErrVersion, "IR version 2"},
		{"IR too new", func(m *onnx.Model) { m.IRVersion = 14 }, onnx.ErrVersion, "IR version 14"},
		{"opset too new", func(m *onnx.Model) { m.Opsets[0].Version = 27 }, onnx.ErrVersion, "opset 27"},
		{"opset zero", func(m *onnx.Model) { m.Opsets[0].Version = 0 }, onnx.ErrVersion, "opset 0"},
		{"no graph", func(m *onnx.Model) { m.Graph = nil }, onnx.ErrFormat, "no graph"},
		{"cycle", func(m *onnx.Model) { m.Graph.Nodes[0].Inputs[0] = m.Graph.Nodes[1].Outputs[0] }, onnx.ErrCycle, "Mul"},
		{"reads itself", func(m *onnx.Model) { m.Graph.Nodes[0].Inputs[0] = m.Graph.Nodes[0].Outputs[0] }, onnx.ErrCycle, "Mul"},
		{"out of order", func(m *onnx.Model) {
			m.Graph.Nodes[0], m.Graph.Nodes[1] = m.Graph.Nodes[1], m.Graph.Nodes[0]
		}, onnx.ErrOrder, "Add"},
		{"dangling input", func(m *onnx.Model) { m.Graph.Nodes[0].Inputs[0] = "nowhere" }, onnx.ErrUndefined, "nowhere"},
		{"dangling output", func(m *onnx.Model) { m.Graph.Outputs[0].Name = "nowhere" }, onnx.ErrUndefined, "nowhere"},
		{"value twice", func(m *onnx.Model) { m.Graph.Nodes[1].Outputs[0] = m.Graph.Nodes[0].Outputs[0] }, onnx.ErrDuplicate, "Mul_output_0"},
		{"value named like an initializer", func(m *onnx.Model) { m.Graph.Nodes[1].Outputs[0] = "w" }, onnx.ErrDuplicate, "editpipe/Add"},
		{"initializer twice", func(m *onnx.Model) {
			m.Graph.Initializers = append(m.Graph.Initializers, first(m))
		}, onnx.ErrDuplicate, `"w"`},
		{"input twice", func(m *onnx.Model) { m.Graph.Inputs = append(m.Graph.Inputs, m.Graph.Inputs[0]) }, onnx.ErrDuplicate, `"x"`},
		{"attribute twice", func(m *onnx.Model) {
			m.Graph.Nodes[0].Attrs = []*onnx.Attribute{onnx.AttrInt("a", 1), onnx.AttrInt("a", 2)}
		}, onnx.ErrDuplicate, `"a"`},
		{"no operator", func(m *onnx.Model) { m.Graph.Nodes[0].OpType = "" }, onnx.ErrFormat, "no operator"},
		{"too little data", func(m *onnx.Model) { first(m).Dims = []int64{2} }, onnx.ErrSize, `initializer "w"`},
		{"too much data", func(m *onnx.Model) { first(m).Dims = []int64{0} }, onnx.ErrSize, "needs 0 bytes, has 4"},
		{"negative dimension", func(m *onnx.Model) { first(m).Dims = []int64{-1} }, onnx.ErrSize, "[-1]"},
		{"overflow", func(m *onnx.Model) { first(m).Dims = []int64{1 << 32, 1 << 32} }, onnx.ErrSize, "overflow"},
		// 2^62 float32 elements are 2^64 bytes: the product of the dimensions
		// fits, the size does not.
		{"overflow in bytes", func(m *onnx.Model) { first(m).Dims = []int64{1 << 31, 1 << 31} }, onnx.ErrSize, "overflow"},
		{"overflow beside a zero", func(m *onnx.Model) {
			first(m).Dims = []int64{math.MaxInt64, math.MaxInt64, 0}
		}, onnx.ErrSize, "overflow"},
		{"unknown type", func(m *onnx.Model) { first(m).DType = 99 }, onnx.ErrDataType, "type 99"},
		{"bad tensor in an attribute", func(m *onnx.Model) {
			bad := onnx.NewTensor("t", tensor.FromFloat32s([]float32{1}, 1))
			bad.Dims[0] = 3
			m.Graph.Nodes[0].Attrs = []*onnx.Attribute{onnx.AttrTensor("value", bad)}
		}, onnx.ErrSize, `attribute "value"`},
		{"dangling input in a branch", func(m *onnx.Model) {
			g := &onnx.Graph{Nodes: []*onnx.Node{{OpType: "Neg", Inputs: []string{"nowhere"}, Outputs: []string{"inner"}}}}
			m.Graph.Nodes[0].Attrs = []*onnx.Attribute{onnx.AttrGraph("then_branch", g)}
		}, onnx.ErrUndefined, "nowhere"},
		{"cycle through a branch", func(m *onnx.Model) {
			g := &onnx.Graph{Nodes: []*onnx.Node{{OpType: "Neg", Inputs: []string{"y"}, Outputs: []string{"inner"}}}}
			m.Graph.Nodes[0].Attrs = []*onnx.Attribute{onnx.AttrGraph("then_branch", g)}
		}, onnx.ErrCycle, "Mul"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, _ := chain(t)
			tt.spoil(m)
			err := m.Check()
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %q does not say %q", err, tt.says)
			}
		})
	}
}

// What ONNX Runtime 1.27 and 1.30 load (measured) must not be refused here.
func TestCheckAcceptsWhatTheRuntimeLoads(t *testing.T) {
	for name, spoil := range map[string]func(m *onnx.Model){
		"both names of one domain": func(m *onnx.Model) {
			m.Opsets = append(m.Opsets, onnx.Opset{Domain: "ai.onnx", Version: 11})
		},
		"a version of 0": func(m *onnx.Model) {
			m.Opsets = append(m.Opsets, onnx.Opset{Domain: "com.microsoft", Version: 0})
		},
		"an output listed twice":     func(m *onnx.Model) { m.Graph.Outputs = append(m.Graph.Outputs, m.Graph.Outputs[0]) },
		"an initializer given twice": func(m *onnx.Model) { m.Graph.Initializers = append(m.Graph.Initializers, m.Graph.Initializers[0]) },
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := chain(t)
			constants := len(m.Graph.Initializers)
			spoil(m)
			data, err := m.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			again, err := onnx.Parse(data, "")
			if err != nil {
				t.Fatal(err)
			}
			if len(again.Graph.Initializers) != constants {
				t.Errorf("%d initializers, want %d", len(again.Graph.Initializers), constants)
			}
		})
	}
	m, _ := chain(t)
	m.Opsets = []onnx.Opset{{Domain: "ai.onnx", Version: 11}, {Version: 17}, {Domain: "x", Version: 3}}
	if v := m.Opset(""); v != 17 {
		t.Errorf("opset %d of two imports, want the last", v)
	}
	m.Graph.Initializers = append(m.Graph.Initializers, onnx.NewTensor("w", tensor.FromFloat32s([]float32{42})))
	data, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := onnx.Parse(data, ""); !errors.Is(err, onnx.ErrDuplicate) {
		t.Errorf("two initializers of one name that differ: %v", err)
	}
}

func TestCheckAcceptsBranchesReusingNames(t *testing.T) {
	mustCheck(t, merged(t))
}

func TestValueOfTypedData(t *testing.T) {
	f32 := func(bits ...uint32) (b []byte) {
		for _, v := range bits {
			b = append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
		}
		return b
	}
	le64 := func(values ...uint64) (b []byte) {
		for _, v := range values {
			for i := range 8 {
				b = append(b, byte(v>>(8*i)))
			}
		}
		return b
	}
	minus := func(v int64) uint64 { return uint64(-v) }
	tests := []struct {
		name  string
		dtype onnx.DataType
		data  []byte
		want  []byte
	}{
		{"float", onnx.Float, msg(4, f32(0x3f800000, 0xc0000000)), f32(0x3f800000, 0xc0000000)},
		{"double", onnx.Double, msg(10, le64(1, 2)), le64(1, 2)},
		{"int64", onnx.Int64, packed(7, 5, minus(6)), le64(5, minus(6))},
		{"int64 unpacked", onnx.Int64, append(num(7, 5), num(7, -6)...), le64(5, minus(6))},
		{"int32", onnx.Int32, packed(5, 5, minus(6)), f32(5, 0xfffffffa)},
		{"int8", onnx.Int8, packed(5, 5, minus(6)), []byte{5, 0xfa}},
		{"uint8", onnx.Uint8, packed(5, 5, 250), []byte{5, 250}},
		{"bool", onnx.Bool, packed(5, 1, 0), []byte{1, 0}},
		{"float16", onnx.Float16, packed(5, 0x3c00, 0xc000), []byte{0, 0x3c, 0, 0xc0}},
		{"bfloat16", onnx.BFloat16, packed(5, 0x3f80, 0xc000), []byte{0x80, 0x3f, 0, 0xc0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			model := func(dims int64, data []byte) []byte {
				var b []byte
				b = append(b, num(1, 8)...)
				b = append(b, msg(8, num(2, 17))...)
				return append(b, msg(7, msg(5, num(1, dims), num(2, int64(tt.dtype)), text(8, "t"), data))...)
			}
			m, err := onnx.Parse(model(2, tt.data), "")
			if err != nil {
				t.Fatal(err)
			}
			v, err := m.Graph.Initializers[0].Value()
			if err != nil {
				t.Fatal(err)
			}
			if string(v.Data) != string(tt.want) {
				t.Errorf("data %v, want %v", v.Data, tt.want)
			}
			if _, err := onnx.Parse(model(3, tt.data), ""); !errors.Is(err, onnx.ErrSize) {
				t.Errorf("one element too few: %v", err)
			}
			wrong := num(4, 1)
			if _, err := onnx.Parse(model(1, wrong), ""); err == nil {
				t.Error("data in a field of the wrong kind accepted")
			}
		})
	}
}

func TestValueOfUnsupportedType(t *testing.T) {
	bad := &onnx.Tensor{Name: "names", DType: onnx.String}
	if _, err := bad.Value(); !errors.Is(err, onnx.ErrDataType) || !strings.Contains(err.Error(), `"names"`) {
		t.Errorf("error %v", err)
	}
}
