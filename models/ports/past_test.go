package ports

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"editpipe/models/folder"
	"editpipe/models/linear"
	"editpipe/onnx"
	"editpipe/tensor"
)

// dims makes a shape; strings are symbolic.
func dims(of ...any) []onnx.Dim {
	var shape []onnx.Dim
	for _, d := range of {
		switch d := d.(type) {
		case string:
			shape = append(shape, onnx.Symbolic(d))
		case int:
			shape = append(shape, onnx.Dim{Value: int64(d)})
		}
	}
	return shape
}

const (
	width = 12
	vocab = 7
)

// decoder is the least model that has the ports of one.
type decoder struct {
	m *onnx.Model
	b *onnx.Builder
}

func newDecoder() *decoder {
	m := onnx.New(9, 17)
	m.Opsets = append(m.Opsets, onnx.Opset{Domain: msDomain, Version: 1})
	d := &decoder{m, m.Builder()}
	x := d.op("Gather", d.weight(vocab, width), d.b.Input("input_ids", onnx.Int64, dims("b", "t")))
	d.b.Output(d.op("MatMul", x, d.weight(width, vocab)), "logits", onnx.Float, dims("b", "t", vocab))
	return d
}

func (d *decoder) weight(rows, columns int) string {
	return d.b.Const(tensor.New(tensor.F32, rows, columns))
}

func (d *decoder) op(op string, in ...string) string { return d.b.Op(op, in) }

// TestPast: the axes of cache inputs as exporters declare them.
func TestPast(t *testing.T) {
	for _, c := range []struct {
		exporter, name string
		shape          []onnx.Dim
		rows, length   int
		err            string
	}{
		{"Optimum", "past_key_values.0.key", dims("batch_size", 4, "past_sequence_length", 8), 0, 2, ""},
		{"heads behind positions", "past_key_values.0.key", dims("batch", "past", 4, 8), 0, 1, ""},
		{"multi-query, one tensor", "past_key_values.0.key_value", dims("batch_size", "past_sequence_length", 16), 0, 1, ""},
		{"genai", "past_key_values.0.key", dims("batch_size", 4, "past_sequence_length", "kv_cache_dim"), 0, 2, ""},
		{"all symbolic", "past_key_values.0.value", dims("a", "b", "c", "d"), 0, 2, ""},
		{"ONNX Runtime's GPT-2", "past_0", dims(2, "batch_size", 4, "past_seq_len", 8), 1, 3, ""},
		{"the same, all symbolic", "past_0", dims("two", "batch_size", "heads", "past_seq_len", "width"), 1, 3, ""},
		{"hybrid", "past_conv.0", dims("batch_size", 32, 3), 0, -1, ""},
		{"static", "past_key_values.0.key", dims("batch", 4, 128, 8), 0, 0, "no dimension that grows"},
		{"static", "past_0", dims(2, 1, 4, 128, 8), 0, 0, "no dimension that grows"},
		{"unknown", "past_key_values.0.key", dims("batch", "x", "y"), 0, 0, "more than one growing"},
		{"no shape", "past_key_values.0.key", nil, 0, 0, "not declared"},
	} {
		p, err := pastOf(onnx.NewValueInfo(c.name, onnx.Float, c.shape))
		if c.err != "" {
			if !errors.Is(err, ErrGraph) || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), c.name) {
				t.Errorf("%s %s: %v", c.exporter, c.name, err)
			}
			continue
		}
		if err != nil || p.Rows != c.rows || p.Length != c.length || p.State() != (c.length < 0) {
			t.Errorf("%s %s: rows along %d, positions along %d (%v), want %d, %d", c.exporter, c.name, p.Rows, p.Length, err, c.rows, c.length)
		}
	}
}

// TestPastSizes: the number of heads, 2, and their width, 6, by whatever says so.
func TestPastSizes(t *testing.T) {
	open := dims("b", "heads", "past", "kv_cache_dim")
	fused := func(op string, attrs ...*onnx.Attribute) func(d *decoder, q, k string) {
		return func(d *decoder, q, k string) {
			d.b.OpN(op, msDomain, []string{q, k, k, "past_key_values.0.key", "past_key_values.0.key"}, 1, attrs...)
		}
	}
	concat := func(d *decoder, _, k string) {
		k = d.b.Op("Transpose", []string{d.op("Reshape", k, d.b.Int64s(0, 0, 2, 6))}, onnx.AttrInts("perm", 0, 2, 1, 3))
		d.b.Op("Concat", []string{"past_key_values.0.key", k}, onnx.AttrInt("axis", 2))
	}
	for _, c := range []struct {
		by      string
		reader  func(d *decoder, q, k string)
		past    []onnx.Dim
		present []onnx.Dim
		config  folder.Config
		fails   bool
	}{
		{"the output that extends it", concat, open, dims("b", 2, "total", 6), folder.Config{}, false},
		{"grouped attention and weights", fused("GroupQueryAttention", onnx.AttrInt("num_heads", 4), onnx.AttrInt("kv_num_heads", 2)), open, open, folder.Config{}, false},
		{"attention and weights", fused("MultiHeadAttention", onnx.AttrInt("num_heads", 2)), open, open, folder.Config{}, false},
		{"configuration", concat, open, open, folder.Config{KVHeads: 2, HeadWidth: 6}, false},
		{"configuration and weights", concat, open, open, folder.Config{Heads: 4, KVHeads: 2, Width: 40}, false},
		{"weights over width", concat, dims("b", "heads", "past", 6), open, folder.Config{Heads: 4}, false},
		{"declared heads", concat, dims("b", 2, "past", "kv_cache_dim"), open, folder.Config{}, false},
		{"nobody", func(d *decoder, q, k string) {}, open, open, folder.Config{}, true},
	} {
		d := newDecoder()
		m := d.m
		d.b.Input("past_key_values.0.key", onnx.Float, c.past)
		x := d.op("Gather", d.weight(vocab, width), "input_ids")
		c.reader(d, d.op("MatMul", x, d.weight(width, 24)), d.op("MatMul", x, d.weight(width, 12)))
		m.Graph.Outputs = append(m.Graph.Outputs, onnx.NewValueInfo("present.0.key", onnx.Float, c.present))
		ports, err := Of(m, linear.Find(m), false)
		if err != nil {
			t.Fatal(err)
		}
		err = ports.Configure(c.config)
		if c.fails {
			if !errors.Is(err, ErrGraph) || !strings.Contains(err.Error(), "past_key_values.0.key") {
				t.Errorf("%s: %v", c.by, err)
			}
			continue
		}
		if err != nil || !slices.Equal(ports.Past[0].Shape, []int64{-1, 2, -1, 6}) {
			t.Errorf("%s: %v, %v", c.by, ports.Past[0].Shape, err)
		}
	}
}

// TestPorts: inputs are known whatever number type they are declared with, and
// one of another type is named.
func TestPorts(t *testing.T) {
	for _, c := range []struct {
		name string
		dt   onnx.DataType
		err  string
	}{
		{"position_ids", onnx.Int32, ""}, {"num_logits_to_keep", onnx.Int64, ""}, {"logits_to_keep", onnx.Int32, ""},
		{"attention_mask", onnx.Bool, ""}, {"attention_mask", onnx.Float, ""},
		{"position_ids", onnx.Bool, "position_ids"}, {"attention_mask", onnx.String, "attention_mask"}, {"pixel_values", onnx.Float, "unknown input"},
	} {
		m := newDecoder().m
		m.Builder().Input(c.name, c.dt, dims("b", "t"))
		p, err := Of(m, linear.Find(m), false)
		if c.err != "" {
			if !errors.Is(err, ErrGraph) || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s of type %s: %v", c.name, c.dt, err)
			}
		} else if err != nil || p.Type(c.name) != c.dt || p.Type("input_ids") != onnx.Int64 {
			t.Errorf("%s: %v, type %s", c.name, err, p.Type(c.name))
		}
	}
}

// TestLengths: attention that takes lengths is noticed, in branches too.
func TestLengths(t *testing.T) {
	for op, want := range map[string]bool{"GroupQueryAttention": true, "MultiHeadAttention": false} {
		m := newDecoder().m
		b := m.Builder()
		inner := b.Body("then")
		inner.OpN(op, msDomain, []string{"input_ids", "", ""}, 1)
		m.Graph.Nodes = append(m.Graph.Nodes, &onnx.Node{OpType: "If", Inputs: []string{"input_ids"}, Outputs: []string{"x"}, Attrs: []*onnx.Attribute{onnx.AttrGraph("then_branch", inner.Graph())}})
		if got := takesLengths(m); got != want {
			t.Errorf("%s: %v", op, got)
		}
	}
}
