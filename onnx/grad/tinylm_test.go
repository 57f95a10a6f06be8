package grad_test

import (
	"bytes"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/internal/tinylm"
	"editpipe/onnx"
	"editpipe/onnx/grad"
	"editpipe/ort"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

const (
	// Two exports of one model differ by rounding in float32.
	exportTolerance = 1e-4
	// float16 has 11 bits; errors of single operations grow along the path.
	halfTolerance = 3e-2
	// Differences of a float32 loss are rounded to about 1e-7 / step, and a
	// long step crosses the kinks of ReLU.
	directionStep, directionTolerance = 2e-3, 5e-3
	// lossScale keeps float16 cotangents away from the subnormal numbers.
	lossScale = 1024
)

// tiny is a tiny language model with a loss, a delta and their gradients.
type tiny struct {
	m        *onnx.Model
	h        *grad.Head
	weight   string // the feed-forward output matrix of the first block
	gradient map[string]string
	vocab    int
	half     bool
}

// build adds a shift of the first block's feed-forward output and
// differentiates with respect to it, the matrix that the output comes from and,
// for an encoder-decoder, the encoder's states.
func build(t testing.TB, c tinylm.Config) *tiny {
	t.Helper()
	dir := t.TempDir()
	if err := tinylm.Write(dir, c); err != nil {
		t.Fatal(err)
	}
	file := "model.onnx"
	switch {
	case c.Family == tinylm.T5:
		file = "decoder_model.onnx"
	case c.Cache == tinylm.Merged:
		file = "decoder_model_merged.onnx"
	case c.Cache == tinylm.WithPast:
		file = "model_with_past.onnx"
	}
	m := load(t, filepath.Join(dir, file))
	if c.Cache == tinylm.Merged {
		if err := m.SelectBranch("use_cache_branch", false); err != nil {
			t.Fatal(err)
		}
	}
	params, err := tinylm.Parameters(c)
	if err != nil {
		t.Fatal(err)
	}
	x := &tiny{m: m, half: c.Float16, gradient: map[string]string{}}
	x.weight, _ = findWeight(t, m, params[down(c.Family)])
	if x.weight == "" {
		t.Fatal("the feed-forward weight is not in the model")
	}
	if err := grad.AddDelta(m, activation(m, x.weight), "delta", "delta_positions"); err != nil {
		t.Fatal(err)
	}
	if x.h, err = grad.AddHead(m, "logits", ""); err != nil {
		t.Fatal(err)
	}
	logits := m.Graph.Index().Output("logits")
	x.vocab = int(logits.Shape[2].Value)

	wanted := []string{x.weight, "delta"}
	if c.Family == tinylm.T5 {
		wanted = append(wanted, "encoder_hidden_states")
	}
	seed := m.Builder().Input("loss_scale", onnx.Float, nil)
	got, err := grad.GradientsFrom(m, map[string]string{x.h.Loss: seed}, wanted...)
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range wanted {
		dt := onnx.Float
		if x.half && w != "delta" {
			dt = onnx.Float16
		}
		if err := m.Expose(got[i], dt, nil); err != nil {
			t.Fatal(err)
		}
		m.Graph.Outputs[len(m.Graph.Outputs)-1].HasShape = false
		x.gradient[w] = got[i]
	}
	expose(t, m, x.h.Loss)
	return x
}

// down is the name of the first block's feed-forward output matrix.
func down(f tinylm.Family) string {
	return map[tinylm.Family]string{
		tinylm.GPT2:  "transformer.h.0.mlp.c_proj.weight",
		tinylm.GPTJ:  "transformer.h.0.mlp.fc_out.weight",
		tinylm.LLaMA: "model.layers.0.mlp.down_proj.weight",
		tinylm.T5:    "decoder.block.0.layer.2.DenseReluDense.wo.weight",
	}[f]
}

// activation is the [batch, length, width] value that the product with a weight
// leads to: behind Transpose for named weights, behind Reshape for GPT-2.
func activation(m *onnx.Model, weight string) string {
	x := m.Graph.Index()
	v := weight
	for range 3 {
		n := x.Consumers(v)[0]
		if n.OpType == "Shape" {
			break
		}
		v = n.Outputs[0]
		if n.OpType == "MatMul" || n.OpType == "Reshape" {
			break
		}
	}
	return v
}

// feeds for two rows, the second of them padded.
func (x *tiny) feeds() feeds {
	const batch, length, width = 2, 6, 32
	r := rand.New(rand.NewPCG(9, 10))
	ids := make([]int64, batch*length)
	mask, positions := slices.Repeat([]int64{1}, batch*length), make([]int64, batch*length)
	for i := range ids {
		ids[i] = int64(r.IntN(x.vocab))
		positions[i] = int64(i % length)
	}
	copy(mask[2*length-2:], []int64{0, 0})
	float := func(v *tensor.Tensor) *tensor.Tensor {
		if !x.half {
			return v
		}
		h, err := v.Convert(tensor.F16)
		if err != nil {
			panic(err) // float32 always converts
		}
		return h
	}
	all := feeds{
		"input_ids":              tensor.FromInt64s(ids, batch, length),
		"attention_mask":         tensor.FromInt64s(mask, batch, length),
		"encoder_attention_mask": tensor.FromInt64s(mask, batch, length),
		"position_ids":           tensor.FromInt64s(positions, batch, length),
		"encoder_hidden_states":  float(random(r, tensor.F32, -1, 1, batch, length, width)),
		"delta":                  random(r, tensor.F32, -0.1, 0.1, 2, width),
		"delta_positions":        tensor.FromInt64s([]int64{0, 1, 1, 2}, 2, 2),
		"loss_scale":             tensor.FromFloat32s([]float32{1}),
		x.h.Positions:            tensor.FromInt64s([]int64{0, 4, 0, 5, 1, 3}, 3, 2),
		x.h.Targets:              tensor.FromInt64s([]int64{3, 5, 7}, 3),
		x.h.Weights:              tensor.FromFloat32s([]float32{1, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0.5}, 3, 4),
		x.h.Reference:            random(r, tensor.F32, -6, -4, 1, x.vocab),
	}
	if x.half {
		all["loss_scale"] = tensor.FromFloat32s([]float32{lossScale})
	}
	in := feeds{}
	for _, v := range x.m.Graph.Inputs {
		if strings.HasPrefix(v.Name, "past_key_values") {
			in[v.Name] = float(tensor.New(tensor.F32, batch, int(v.Shape[1].Value), 0, int(v.Shape[3].Value)))
		} else if all[v.Name] != nil {
			in[v.Name] = all[v.Name]
		}
	}
	return in
}

// scaled are the values of a gradient without the loss scale.
func (x *tiny) scaled(t testing.TB, g *tensor.Tensor) []float64 {
	t.Helper()
	v := floats(g)
	if x.half {
		for i := range v {
			v[i] /= lossScale
		}
	}
	return v
}

func (x *tiny) run(t testing.TB, e *ort.Env) map[string][]float64 {
	t.Helper()
	s := session(t, e, x.m)
	names := append(slices.Collect(maps.Values(x.gradient)), x.h.Loss)
	in := x.feeds()
	out := run(t, s, in, names...)
	for name, again := range run(t, s, in, names...) {
		if !bytes.Equal(again.Data, out[name].Data) {
			t.Errorf("%s differs between two runs", name)
		}
	}
	g := map[string][]float64{}
	for w, name := range x.gradient {
		g[w] = x.scaled(t, out[name])
	}
	return g
}

// TestDirection compares gradients of every family with the change of the loss
// along the gradient itself, the direction of the largest change.
func TestDirection(t *testing.T) {
	e := orttest.Open(t)
	for _, c := range []tinylm.Config{
		{Family: tinylm.GPT2}, {Family: tinylm.GPTJ}, {Family: tinylm.LLaMA}, {Family: tinylm.LLaMA, KVHeads: 2},
		{Family: tinylm.T5}, {Family: tinylm.T5, Gated: true},
	} {
		t.Run(string(c.Family), func(t *testing.T) {
			x := build(t, c)
			if err := x.m.Promote(x.weight); err != nil {
				t.Fatal(err)
			}
			s := session(t, e, x.m)
			in := x.feeds()
			w, err := x.m.Graph.Index().Initializer(x.weight).Value()
			if err != nil {
				t.Fatal(err)
			}
			in[x.weight] = w.Clone()
			for wanted, name := range x.gradient {
				g := floats(run(t, s, in, name)[name])
				norm := 0.0
				for _, v := range g {
					norm += v * v
				}
				norm = math.Sqrt(norm)
				base := in[wanted]
				at := func(step float64) float64 {
					moved := base.Clone()
					for i, v := range floats(base) {
						set(moved, i, v+step*g[i]/norm)
					}
					in[wanted] = moved
					defer func() { in[wanted] = base }()
					return floats(run(t, s, in, x.h.Loss)[x.h.Loss])[0]
				}
				slope := (at(directionStep) - at(-directionStep)) / (2 * directionStep)
				if d := math.Abs(slope-norm) / norm; d > directionTolerance || norm == 0 {
					t.Errorf("%s: the loss changes by %.6g along the gradient, whose norm is %.6g", wanted, slope, norm)
				}
			}
		})
	}
}

// TestExports checks that all exported forms of one model have the same
// gradients: opsets, fused operators, caches and float16.
func TestExports(t *testing.T) {
	e := orttest.Open(t)
	for base, variants := range map[tinylm.Config][]tinylm.Config{
		{Family: tinylm.GPT2}: {
			{Opset: 13}, {Opset: 14}, {Opset: 18}, {Opset: 21}, {LayerNormOp: true}, {Opset: 20, GeluOp: true, LayerNormOp: true},
			{NamedWeights: true}, {NoPositionIDs: true}, {Cache: tinylm.WithPast}, {Cache: tinylm.Merged}, {NoScopes: true, Opset: 13},
			{ExternalData: true}, {Float16: true}, {Float16: true, Opset: 20, GeluOp: true, LayerNormOp: true},
		},
		{Family: tinylm.GPTJ}: {
			{Opset: 13}, {Opset: 21, GeluOp: true}, {NamedWeights: true}, {Cache: tinylm.WithPast}, {Float16: true},
		},
		{Family: tinylm.LLaMA, KVHeads: 2}: {
			{Opset: 13}, {Opset: 21}, {NamedWeights: true}, {NoPositionIDs: true}, {Cache: tinylm.Merged}, {Float16: true},
		},
		{Family: tinylm.T5}:              {{Opset: 13}, {Opset: 21}, {NamedWeights: true}, {Float16: true}},
		{Family: tinylm.T5, Gated: true}: {{Opset: 13}, {Opset: 20, GeluOp: true}, {NoScopes: true}},
	} {
		var want map[string][]float64
		var weight string
		t.Run(string(base.Family), func(t *testing.T) {
			x := build(t, base)
			want = x.run(t, e)
			weight = x.weight
		})
		for _, c := range variants {
			c.Family, c.KVHeads, c.Gated = base.Family, base.KVHeads, base.Gated
			t.Run(string(base.Family)+"/variant", func(t *testing.T) {
				x := build(t, c)
				got := x.run(t, e)
				tolerance := exportTolerance
				if c.Float16 {
					tolerance = halfTolerance
				}
				for name, w := range want {
					g := got[name]
					if name == weight {
						g = got[x.weight]
						if c.NamedWeights && base.Family != tinylm.GPT2 { // stored as [out, in]
							g = transposed(g, 32)
						}
					}
					if err := relative(g, w); err > tolerance {
						t.Errorf("%+v: gradient of %s is off by %.2g", c, name, err)
					}
				}
			})
		}
	}
}

func transposed(v []float64, rows int) []float64 {
	out := make([]float64, len(v))
	columns := len(v) / rows
	for i := range v {
		out[i%columns*rows+i/columns] = v[i]
	}
	return out
}

// TestThreads checks that gradients do not depend on how work is divided in
// time: with several threads two runs agree to the bit.
func TestThreads(t *testing.T) {
	x := build(t, tinylm.Config{Family: tinylm.GPT2})
	s := sessionWith(t, orttest.Open(t), x.m, 2)
	names := slices.Collect(maps.Values(x.gradient))
	first := run(t, s, x.feeds(), names...)
	for range 5 {
		for name, again := range run(t, s, x.feeds(), names...) {
			if !bytes.Equal(again.Data, first[name].Data) {
				t.Fatalf("%s differs between two runs", name)
			}
		}
	}
}

// TestAnnotations runs models with every described value as output: types and
// known dimensions must be as described, and one name must stand for one length
// everywhere. This also checks the facts that the rules rely on.
func TestAnnotations(t *testing.T) {
	e := orttest.Open(t)
	for _, c := range []tinylm.Config{
		{Family: tinylm.GPT2}, {Family: tinylm.GPT2, Cache: tinylm.WithPast}, {Family: tinylm.GPTJ},
		{Family: tinylm.LLaMA, KVHeads: 2, Opset: 18}, {Family: tinylm.T5}, {Family: tinylm.T5, Gated: true, Float16: true},
	} {
		t.Run(string(c.Family), func(t *testing.T) {
			x := build(t, c)
			infos := slices.Clone(x.m.Graph.ValueInfos)
			if len(infos) < len(x.m.Graph.Nodes)*9/10 {
				t.Errorf("only %d of %d values are described", len(infos), len(x.m.Graph.Nodes))
			}
			var names []string
			for _, v := range infos {
				if err := x.m.Expose(v.Name, v.DType, nil); err != nil {
					t.Fatal(err)
				}
				x.m.Graph.Outputs[len(x.m.Graph.Outputs)-1].HasShape = false
				names = append(names, v.Name)
			}
			x.m.Graph.ValueInfos = nil
			out := run(t, session(t, e, x.m), x.feeds(), names...)
			lengths := map[string]int{}
			for _, v := range infos {
				got := out[v.Name]
				if onnx.TypeOf(got.DType) != v.DType || len(got.Shape) != len(v.Shape) {
					t.Fatalf("%s is %s %v, described as %s %v", v.Name, got.DType, got.Shape, v.DType, v.Shape)
				}
				for i, d := range v.Shape {
					if d.Param == "" {
						if int(d.Value) != got.Shape[i] {
							t.Errorf("%s has shape %v, described as %v", v.Name, got.Shape, v.Shape)
						}
						continue
					}
					if n, ok := lengths[d.Param]; ok && n != got.Shape[i] {
						t.Errorf("%s has shape %v, but %s was %d before", v.Name, got.Shape, d.Param, n)
					}
					lengths[d.Param] = got.Shape[i]
				}
			}
			for _, in := range x.m.Graph.Inputs {
				for i, d := range in.Shape {
					if n, ok := lengths[d.Param]; ok && d.Param != "" && n != x.feeds()[in.Name].Shape[i] {
						t.Errorf("input %s and a value disagree about %s", in.Name, d.Param)
					}
				}
			}
		})
	}
}
