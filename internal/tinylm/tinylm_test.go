package tinylm_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/internal/tinylm"
	"editpipe/onnx"
	"editpipe/ort"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

const (
	// sameModel bounds the difference between two exports of one float32
	// model: the same sums in another order. Logits are of order one to ten;
	// the largest difference seen is 7e-6.
	sameModel = 5e-5
	// halfModel bounds the difference between float16 and float32, which has
	// 11 significant bits and loses some at every layer. The largest seen is
	// 0.01.
	halfModel = 0.04
)

type feed = map[string]*tensor.Tensor

// write makes a model folder.
func write(t testing.TB, c tinylm.Config) string {
	t.Helper()
	dir := t.TempDir()
	if err := tinylm.Write(dir, c); err != nil {
		t.Fatal(err)
	}
	return dir
}

// model is one ONNX file of a folder, loaded.
type model struct {
	t *testing.T
	s *ort.Session
	c tinylm.Config
}

// load loads one file of a model, from memory where it has no external data.
func load(t *testing.T, env *ort.Env, c tinylm.Config, file string) *model {
	t.Helper()
	if c.ExternalData {
		dir := write(t, c)
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		return loadBytes(t, env, c, data, dir)
	}
	models, err := tinylm.Build(c, feed{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := models[file].Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return loadBytes(t, env, c, data, "")
}

func loadBytes(t *testing.T, env *ort.Env, c tinylm.Config, data []byte, dir string) *model {
	t.Helper()
	s, err := env.NewSession(t.Context(), data, ort.Options{Threads: 1, ExternalDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &model{t, s, c}
}

// run feeds in, without what the model has no input for, and returns every
// output.
func (m *model) run(in feed) feed {
	m.t.Helper()
	fed := feed{}
	for _, v := range m.s.Inputs() {
		x := in[v.Name]
		if x == nil {
			m.t.Fatalf("no value for input %s", v.Name)
		}
		fed[v.Name] = x
	}
	out := feed{}
	for _, v := range m.s.Outputs() {
		out[v.Name] = nil
	}
	if err := m.s.Run(m.t.Context(), fed, out); err != nil {
		m.t.Fatal(err)
	}
	return out
}

// ids makes inputs for token rows; a negative token is padding.
func ids(rows ...[]int64) feed {
	n := len(rows[0])
	var tokens, mask, positions []int64
	for _, row := range rows {
		for i, v := range row {
			tokens = append(tokens, max(v, 0))
			seen := int64(1)
			if v < 0 {
				seen = 0
			}
			mask = append(mask, seen)
			positions = append(positions, int64(i))
		}
	}
	return feed{
		"input_ids":      tensor.FromInt64s(tokens, len(rows), n),
		"attention_mask": tensor.FromInt64s(mask, len(rows), n),
		"position_ids":   tensor.FromInt64s(positions, len(rows), n),
	}
}

// row returns logits of one position.
func row(t *tensor.Tensor, b, i int) []float32 {
	n, v := t.Shape[1], t.Shape[2]
	at := (b*n + i) * v
	return t.Float32s()[at : at+v]
}

func gap(t *testing.T, a, b []float32) float64 {
	t.Helper()
	if len(a) != len(b) || len(a) == 0 {
		t.Fatalf("%d and %d values", len(a), len(b))
	}
	worst := 0.0
	for i := range a {
		d := math.Abs(float64(a[i]) - float64(b[i]))
		if math.IsNaN(d) {
			t.Fatal("not a number")
		}
		worst = max(worst, d)
	}
	return worst
}

func near(t *testing.T, what string, a, b []float32, tolerance float64) {
	t.Helper()
	if d := gap(t, a, b); d > tolerance {
		t.Errorf("%s: differs by %g, allowed %g", what, d, tolerance)
	}
}

var prompt = []int64{65, 200, 3, 77, 14, 150, 9}

// decoders are the decoder-only configs that the tests below go through.
func decoders() map[string]tinylm.Config {
	return map[string]tinylm.Config{
		"gpt2":      {Family: tinylm.GPT2},
		"gptj":      {Family: tinylm.GPTJ},
		"llama":     {Family: tinylm.LLaMA, FFN: 88},
		"llama_gqa": {Family: tinylm.LLaMA, KVHeads: 2, Layers: 3},
	}
}

func TestCausalityAndPadding(t *testing.T) {
	env := orttest.Open(t)
	for name, c := range decoders() {
		for _, c.NoPositionIDs = range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/nopos=%v", name, c.NoPositionIDs), func(t *testing.T) {
				m := load(t, env, c, "model.onnx")
				base := m.run(ids(prompt))["logits"]
				changed := append([]int64(nil), prompt...)
				changed[5] = 33
				other := m.run(ids(changed))["logits"]
				for i := range prompt {
					d := gap(t, row(base, 0, i), row(other, 0, i))
					if i < 5 && d > sameModel {
						t.Errorf("position %d sees a later token: %g", i, d)
					}
					if i >= 5 && d < 0.01 {
						t.Errorf("position %d does not see the change: %g", i, d)
					}
				}
				padded := append(append([]int64(nil), prompt...), -1, -1, -1)
				short := append(append([]int64(nil), prompt[:3]...), -1, -1, -1, -1, -1, -1, -1)
				batch := m.run(ids(padded, short))["logits"]
				for i := range prompt {
					near(t, "padded row", row(batch, 0, i), row(base, 0, i), sameModel)
				}
				for i := range 3 {
					near(t, "short row", row(batch, 1, i), row(base, 0, i), sameModel)
				}
				// A masked token in the middle must not be seen.
				hole := ids(prompt)
				hole["attention_mask"].Int64s()[2] = 0
				a := m.run(hole)["logits"]
				hole["input_ids"].Int64s()[2] = 120
				b := m.run(hole)["logits"]
				near(t, "behind a masked token", row(a, 0, 6), row(b, 0, 6), sameModel)
				if d := gap(t, row(a, 0, 6), row(base, 0, 6)); d < 0.01 {
					t.Errorf("the attention mask has no effect: %g", d)
				}
			})
		}
	}
}

// withCache adds empty or filled caches for a model that takes them.
func withCache(c tinylm.Config, in feed, from feed, pastLen int, dt tensor.DType) feed {
	layers, kv := max(c.Layers, 2), c.KVHeads
	if kv == 0 {
		kv = 4
	}
	for i := range layers {
		for _, kind := range []string{"key", "value"} {
			x := tensor.New(dt, in["input_ids"].Shape[0], kv, pastLen, 8)
			if from != nil {
				x = from[fmt.Sprintf("present.%d.%s", i, kind)]
			}
			in[fmt.Sprintf("past_key_values.%d.%s", i, kind)] = x
		}
	}
	return in
}

// steps runs the prompt as 4 tokens without a past, then 3 with one, and
// returns both logits. flag sets use_cache_branch where there is one.
func steps(m *model, start *model, useFlag bool) (first, second *tensor.Tensor) {
	m.t.Helper()
	flag := func(in feed, v byte) feed {
		if useFlag {
			in["use_cache_branch"] = tensor.New(tensor.Bool, 1)
			in["use_cache_branch"].Data[0] = v
		}
		return in
	}
	dt := tensor.F32
	if m.c.Float16 {
		dt = tensor.F16
	}
	out := start.run(flag(withCache(m.c, ids(prompt[:4]), nil, 0, dt), 0))
	in := ids(prompt[4:])
	in["attention_mask"] = ids(prompt)["attention_mask"]
	for i := range in["position_ids"].Int64s() {
		in["position_ids"].Int64s()[i] += 4
	}
	next := m.run(flag(withCache(m.c, in, out, 4, dt), 1))
	return out["logits"], next["logits"]
}

func TestPastEqualsFullRun(t *testing.T) {
	env := orttest.Open(t)
	cases := decoders()
	for name, c := range map[string]tinylm.Config{"gpt2": cases["gpt2"], "llama_gqa": cases["llama_gqa"]} {
		c.NoPositionIDs, c.Float16, c.SharedWeights = true, true, true
		cases[name+"_variant"] = c
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			tolerance := sameModel
			if c.Float16 {
				tolerance = halfModel
			}
			full := load(t, env, c, "model.onnx").run(ids(prompt))["logits"]
			check := func(what string, a, b *tensor.Tensor) {
				t.Helper()
				for i := range 4 {
					near(t, what+" first", row(a, 0, i), row(full, 0, i), tolerance)
				}
				for i := range 3 {
					near(t, what+" second", row(b, 0, i), row(full, 0, 4+i), tolerance)
				}
			}
			c := c
			c.Cache = tinylm.WithPast
			p := load(t, env, c, "model_with_past.onnx")
			a, b := steps(p, p, false) // an empty past is a first step
			check("with past", a, b)

			c.Cache = tinylm.Merged
			merged := load(t, env, c, "decoder_model_merged.onnx")
			a, b = steps(merged, merged, true)
			check("merged", a, b)

			// The merged model taken apart into its two branches.
			dir := write(t, c)
			var branch [2]*model
			for i, value := range []bool{false, true} {
				m, err := onnx.Open(filepath.Join(dir, "decoder_model_merged.onnx"))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = m.Close() }) // the session has its own copy
				if err := m.SelectBranch("use_cache_branch", value); err != nil {
					t.Fatal(err)
				}
				data, err := m.Bytes()
				if err != nil {
					t.Fatal(err)
				}
				branch[i] = loadBytes(t, env, c, data, "")
				for _, v := range branch[i].s.Inputs() {
					if v.Name == "use_cache_branch" || !value && strings.HasPrefix(v.Name, "past") {
						t.Errorf("branch %v still takes %s", value, v.Name)
					}
				}
			}
			a, b = steps(branch[1], branch[0], false)
			check("branches", a, b)
		})
	}
}

func TestFormsAgree(t *testing.T) {
	env := orttest.Open(t)
	type change struct {
		name  string
		apply func(c *tinylm.Config)
		only  string // the families or the type that have it, "" for all
	}
	changes := []change{
		{"opset 13", func(c *tinylm.Config) { c.Opset = 13 }, ""},
		{"opset 18", func(c *tinylm.Config) { c.Opset = 18 }, ""},
		{"opset 21", func(c *tinylm.Config) { c.Opset = 21 }, ""},
		{"LayerNormalization", func(c *tinylm.Config) { c.LayerNormOp = true }, "gpt2 gptj"},
		{"LayerNormalization and Gelu", func(c *tinylm.Config) { c.Opset, c.LayerNormOp, c.GeluOp = 20, true, true }, "gpt2 gptj"},
		{"Gelu", func(c *tinylm.Config) { c.Opset, c.GeluOp = 20, true }, "gpt2 gptj"},
		{"external data", func(c *tinylm.Config) { c.ExternalData = true }, ""},
		{"named weights", func(c *tinylm.Config) { c.NamedWeights = true }, "float32"},
		{"no scopes", func(c *tinylm.Config) { c.NoScopes = true }, "float32"},
		{"no position ids", func(c *tinylm.Config) { c.NoPositionIDs = true }, "float32"},
	}
	for name, c := range decoders() {
		if name == "llama" {
			continue // llama_gqa has all of it
		}
		t.Run(name, func(t *testing.T) {
			want := load(t, env, c, "model.onnx").run(ids(prompt))["logits"]
			for _, ch := range changes {
				for _, half := range []bool{false, true} {
					byFamily := ch.only != "" && ch.only != "float32"
					if half && ch.only == "float32" || byFamily && !strings.Contains(ch.only, name) {
						continue
					}
					v, tolerance := c, sameModel
					if v.Float16 = half; half {
						tolerance = halfModel
					}
					ch.apply(&v)
					got := load(t, env, v, "model.onnx").run(ids(prompt))["logits"]
					if (got.DType == tensor.F16) != half {
						t.Errorf("%s: logits are %v", ch.name, got.DType)
					}
					near(t, fmt.Sprintf("%s, float16 %v", ch.name, half), got.Float32s(), want.Float32s(), tolerance)
				}
			}
		})
	}
}

func TestSharedWeights(t *testing.T) {
	for name, c := range decoders() {
		for _, c.NamedWeights = range []bool{false, true} {
			c.SharedWeights = true
			p, err := tinylm.Parameters(c)
			if err != nil {
				t.Fatal(err)
			}
			equal := 0
			for a, x := range p {
				for b, y := range p {
					if a < b && len(x.Shape) == 2 && bytes.Equal(x.Data, y.Data) {
						equal++
						if !strings.Contains(a, ".0.") || !strings.Contains(b, ".1.") {
							t.Errorf("%s: %s equals %s", name, a, b)
						}
					}
				}
			}
			m, err := onnx.Open(filepath.Join(write(t, c), "model.onnx"))
			if err != nil {
				t.Fatal(err)
			}
			x := m.Graph.Index()
			merged := 0
			for _, n := range m.Graph.Nodes {
				if n.OpType == "Identity" && x.Initializer(n.Inputs[0]) != nil {
					merged++
				}
			}
			if equal != 1 || merged != 1 {
				t.Errorf("%s: %d equal pairs, %d merged initializers, want one", name, equal, merged)
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestT5(t *testing.T) {
	env := orttest.Open(t)
	for _, gated := range []bool{false, true} {
		t.Run(fmt.Sprintf("gated=%v", gated), func(t *testing.T) {
			c := tinylm.Config{Family: tinylm.T5, Gated: gated, Seed: 5}
			run := func(c tinylm.Config, source []int64, target []int64) *tensor.Tensor {
				in := ids(source)
				hidden := load(t, env, c, "encoder_model.onnx").run(in)["last_hidden_state"]
				return load(t, env, c, "decoder_model.onnx").run(feed{
					"encoder_hidden_states": hidden, "encoder_attention_mask": in["attention_mask"],
					"input_ids": ids(target)["input_ids"],
				})["logits"]
			}
			target := []int64{1, 50, 60, 70}
			base := run(c, prompt, target)
			padded := run(c, append(append([]int64(nil), prompt...), -1, -1), append(target[:4:4], -1))
			for i := range target {
				near(t, "padded", row(padded, 0, i), row(base, 0, i), sameModel)
			}
			later := run(c, prompt, []int64{1, 50, 61, 70})
			for i := range 2 {
				near(t, "later token", row(later, 0, i), row(base, 0, i), sameModel)
			}
			if d := gap(t, row(later, 0, 2), row(base, 0, 2)); d < 0.01 {
				t.Errorf("the decoder does not see its input: %g", d)
			}
			source := append([]int64(nil), prompt...)
			source[6] = 100
			if d := gap(t, row(run(c, source, target), 0, 0), row(base, 0, 0)); d < 0.01 {
				t.Errorf("the decoder does not see the encoder: %g", d)
			}
			variants := []tinylm.Config{
				{Opset: 13}, {Opset: 18}, {Opset: 21, GeluOp: gated}, {NamedWeights: true}, {ExternalData: true}, {NoScopes: true}, {Float16: true},
			}
			if !gated {
				variants = []tinylm.Config{{NamedWeights: true}, {Float16: true}} // the tied head differs in these
			}
			for _, v := range variants {
				v.Family, v.Gated, v.Seed = c.Family, c.Gated, c.Seed
				tolerance := sameModel
				if v.Float16 {
					tolerance = halfModel
				}
				near(t, fmt.Sprintf("%+v", v), run(v, prompt, target).Float32s(), base.Float32s(), tolerance)
			}
			v := c
			v.SharedWeights = true
			if d := gap(t, run(v, prompt, target).Float32s(), base.Float32s()); d < 0.01 {
				t.Error("sharing weights changes nothing")
			}
		})
	}
}

func TestT5PastEqualsFullRun(t *testing.T) {
	env := orttest.Open(t)
	c := tinylm.Config{Family: tinylm.T5, Gated: true, Seed: 5}
	in := ids(append(append([]int64(nil), prompt...), -1))
	hidden := load(t, env, c, "encoder_model.onnx").run(in)["last_hidden_state"]
	decode := func(m *model, target []int64, cache feed, branch byte) feed {
		fed := feed{
			"encoder_hidden_states": hidden, "encoder_attention_mask": in["attention_mask"],
			"input_ids": ids(target)["input_ids"], "use_cache_branch": tensor.New(tensor.Bool, 1),
		}
		fed["use_cache_branch"].Data[0] = branch
		for i := range 2 {
			for _, kind := range []string{"decoder.key", "decoder.value", "encoder.key", "encoder.value"} {
				x := tensor.New(tensor.F32, 1, 4, 0, 8)
				if cache != nil {
					x = cache[fmt.Sprintf("present.%d.%s", i, kind)]
				}
				fed[fmt.Sprintf("past_key_values.%d.%s", i, kind)] = x
			}
		}
		return m.run(fed)
	}
	target := []int64{1, 50, 60, 70, 80}
	full := decode(load(t, env, c, "decoder_model.onnx"), target, nil, 0)["logits"]
	check := func(what string, start, next *model) {
		t.Helper()
		a := decode(start, target[:3], nil, 0)
		b := decode(next, target[3:], a, 1)
		for i := range 3 {
			near(t, what+" first", row(a["logits"], 0, i), row(full, 0, i), sameModel)
		}
		for i := range 2 {
			near(t, what+" second", row(b["logits"], 0, i), row(full, 0, 3+i), sameModel)
		}
	}
	c.Cache = tinylm.WithPast
	check("with past", load(t, env, c, "decoder_model.onnx"), load(t, env, c, "decoder_with_past_model.onnx"))
	c.Cache = tinylm.Merged
	merged := load(t, env, c, "decoder_model_merged.onnx")
	check("merged", merged, merged)
	var branch [2]*model
	for i, value := range []bool{false, true} {
		models, err := tinylm.Build(c, feed{})
		if err != nil {
			t.Fatal(err)
		}
		m := models["decoder_model_merged.onnx"]
		if err := m.SelectBranch("use_cache_branch", value); err != nil {
			t.Fatal(err)
		}
		data, err := m.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		branch[i] = loadBytes(t, env, c, data, "")
	}
	check("branches", branch[0], branch[1])
}

func TestWriteIsDeterministic(t *testing.T) {
	c := tinylm.Config{Family: tinylm.LLaMA, Cache: tinylm.WithPast, ExternalData: true, Seed: 3}
	a, b := write(t, c), write(t, c)
	entries, err := os.ReadDir(a)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"config.json", "model.onnx", "model.onnx.data", "model_with_past.onnx", "model_with_past.onnx.data",
		"special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"}
	var files []string
	for _, e := range entries {
		files = append(files, e.Name())
		x, errA := os.ReadFile(filepath.Join(a, e.Name()))
		y, errB := os.ReadFile(filepath.Join(b, e.Name()))
		if errA != nil || errB != nil || !bytes.Equal(x, y) {
			t.Errorf("%s differs between two writes", e.Name())
		}
	}
	if strings.Join(files, " ") != strings.Join(want, " ") {
		t.Errorf("files %v", files)
	}
	c.Seed = 4
	x, _ := os.ReadFile(filepath.Join(a, "model.onnx.data"))
	y, _ := os.ReadFile(filepath.Join(write(t, c), "model.onnx.data"))
	if bytes.Equal(x, y) {
		t.Error("the seed has no effect")
	}
}

func TestWriteRefuses(t *testing.T) {
	tests := []struct {
		c    tinylm.Config
		says string
	}{
		{tinylm.Config{}, "unknown family"},
		{tinylm.Config{Family: tinylm.GPT2, Width: 30}, "multiple"},
		{tinylm.Config{Family: tinylm.GPT2, Opset: 12}, "opset 12"},
		{tinylm.Config{Family: tinylm.GPT2, Opset: 22}, "opset 22"},
		{tinylm.Config{Family: tinylm.GPT2, Opset: 14, LayerNormOp: true}, "LayerNormalization"},
		{tinylm.Config{Family: tinylm.GPTJ, GeluOp: true}, "Gelu"},
		{tinylm.Config{Family: tinylm.GPT2, KVHeads: 2}, "a key head for every head"},
		{tinylm.Config{Family: tinylm.LLaMA, KVHeads: 3}, "3 key heads"},
		{tinylm.Config{Family: tinylm.GPT2, Gated: true}, "gated"},
		{tinylm.Config{Family: tinylm.T5, NoPositionIDs: true}, "position_ids"},
		{tinylm.Config{Family: tinylm.GPT2, Vocab: 10}, "vocabulary"},
		{tinylm.Config{Family: tinylm.GPT2, Layers: 1, SharedWeights: true}, "two layers"},
		{tinylm.Config{Family: tinylm.GPT2, Layers: -1}, "positive"},
		{tinylm.Config{Family: tinylm.GPT2, Cache: "x"}, "cache form"},
		{tinylm.Config{Family: tinylm.GPT2, Exporter: tinylm.Dynamo, Opset: 17}, "want 18 to 24"},
		{tinylm.Config{Family: tinylm.GPT2, Exporter: tinylm.GenAI}, "model builder"},
		{tinylm.Config{Family: tinylm.GPTJ, Exporter: tinylm.ORT}, "is for gpt2"},
		{tinylm.Config{Family: tinylm.GPT2, Exporter: tinylm.ORT, Cache: tinylm.WithPast}, "one file"},
		{tinylm.Config{Family: tinylm.LLaMA, Exporter: tinylm.GenAI, Cache: tinylm.Merged}, "one file"},
		{tinylm.Config{Family: tinylm.Gemma2, Exporter: tinylm.GenAI, Operator: tinylm.MultiHead}, "soft cap"},
		{tinylm.Config{Family: tinylm.GPT2, Alibi: true}, "alibi"},
		{tinylm.Config{Family: tinylm.GPTNeoX, Width: 16}, "even width"},
		{tinylm.Config{Family: tinylm.T5, LogitsToKeep: "num_logits_to_keep"}, "own files"},
	}
	for _, tt := range tests {
		if err := tinylm.Write(t.TempDir(), tt.c); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%+v: error %v, want one saying %q", tt.c, err, tt.says)
		}
	}
}
