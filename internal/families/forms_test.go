package families

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/internal/tinylm"
	"editpipe/ort"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// every goes through every form of every family; without it, in the default
// tests, a few stand for all.
var every = false

const (
	// formTolerance bounds how far a float32 graph may be from the float64
	// implementation, relative to the largest logit. Each of some thirty
	// operations on the way to a logit rounds to 6e-8, in sums of up to a hundred
	// and twenty-eight terms; the largest difference seen is 7e-7.
	formTolerance = 1e-5
	// halfTolerance is the same for float16, which rounds to 5e-4; the largest
	// seen is 2.2e-3.
	halfTolerance = 1e-2
)

// variants are the families, with the choices that each leaves. Heads of 16
// and rotated parts of 16 are the least that GroupQueryAttention takes. The
// first layer of a parallel block knows nothing but the token, so that the keys
// of its feed-forward part are no more than there are tokens: it is narrower.
func variants() map[string]tinylm.Config {
	list := map[string]tinylm.Config{
		"gpt2":               {Family: tinylm.GPT2},
		"gptj":               {Family: tinylm.GPTJ, FFN: 64},
		"gpt_neo":            {Family: tinylm.GPTNeo, Window: 3},
		"gpt_neox":           {Family: tinylm.GPTNeoX, FFN: 64},
		"gpt_neox_in_turn":   {Family: tinylm.GPTNeoX, Sequential: true, FFN: 64},
		"opt":                {Family: tinylm.OPT},
		"bloom":              {Family: tinylm.BLOOM, Heads: 6, Width: 48},
		"falcon_1b":          {Family: tinylm.Falcon, Alibi: true},
		"falcon_7b":          {Family: tinylm.Falcon, FFN: 64},
		"falcon_40b":         {Family: tinylm.Falcon, KVHeads: 2, FFN: 64},
		"phi2":               {Family: tinylm.Phi2, Width: 64, Heads: 2, FFN: 64},
		"phi3":               {Family: tinylm.Phi3, Width: 64, Window: 3, FFN: 96},
		"llama":              {Family: tinylm.LLaMA, Width: 64, FFN: 96},
		"llama_tied_grouped": {Family: tinylm.LLaMA, Width: 64, TiedHead: true, KVHeads: 2, FFN: 96},
		"mistral":            {Family: tinylm.Mistral, Width: 64, Window: 3, FFN: 96},
		"qwen2":              {Family: tinylm.Qwen2, Width: 64, TiedHead: true, FFN: 96},
		"qwen3":              {Family: tinylm.Qwen3},
		"gemma2":             {Family: tinylm.Gemma2, Window: 3, Layers: 3},
		"gemma3":             {Family: tinylm.Gemma3, Window: 3, Layers: 3},
		"starcoder":          {Family: tinylm.StarCoder},
		"starcoder_by_head":  {Family: tinylm.StarCoder, KVHeads: 4},
	}
	for name, c := range list {
		c.Seed = 17
		list[name] = c
	}
	return list
}

// forms are the ways in which a family is exported.
func forms(c tinylm.Config) map[string]tinylm.Config {
	list := map[string]tinylm.Config{}
	add := func(name string, change func(c *tinylm.Config)) {
		change(&c)
		list[name] = c
	}
	torch := c
	add("torchscript", func(*tinylm.Config) {})
	c = torch
	add("torchscript 13", func(c *tinylm.Config) {
		c.Opset, c.NamedWeights, c.Cache, c.Int32Positions = 13, true, tinylm.WithPast, true
	})
	c = torch
	add("torchscript 17 without scopes", func(c *tinylm.Config) { c.NoScopes, c.NoPositionIDs, c.Cache = true, true, tinylm.OneFile })
	c = torch
	add("transformers.js", func(c *tinylm.Config) {
		c.Cache, c.Subfolder, c.LogitsToKeep = tinylm.Merged, true, "num_logits_to_keep"
	})
	for _, opset := range []int64{18, 20, 23, 24} {
		c = torch
		add(fmt.Sprint("dynamo ", opset), func(c *tinylm.Config) {
			c.Exporter, c.Opset, c.NamedWeights, c.Cache = tinylm.Dynamo, opset, opset%2 == 0, tinylm.OneFile
		})
	}
	switch c.Family {
	case tinylm.GPT2:
		c = torch
		add("onnxruntime's own", func(c *tinylm.Config) { c.Exporter, c.Int32Positions = tinylm.ORT, true })
	case tinylm.LLaMA, tinylm.Mistral, tinylm.Qwen2, tinylm.Qwen3, tinylm.Phi2, tinylm.Phi3, tinylm.Gemma2, tinylm.Gemma3:
		c = torch
		add("group query", func(c *tinylm.Config) { c.Exporter, c.NoPositionIDs, c.ExternalData = tinylm.GenAI, true, true })
		c = torch
		add("group query with positions", func(c *tinylm.Config) { c.Exporter = tinylm.GenAI })
		if c.Family != tinylm.Gemma2 { // the operator has no soft cap
			c = torch
			add("multi-head", func(c *tinylm.Config) { c.Exporter, c.Operator = tinylm.GenAI, tinylm.MultiHead })
		}
	}
	return list
}

// checkpoint is the second implementation of a model, whose exporter is
// TorchScript: it writes the checkpoint's config.json.
func checkpoint(t testing.TB, c tinylm.Config) *paper {
	t.Helper()
	p, err := tinylm.Parameters(c)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := tinylm.Write(dir, c); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	config := map[string]any{}
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	return newPaper(t, config, p)
}

// graph is one exported file, loaded.
type graph struct {
	t testing.TB
	s *ort.Session
	c tinylm.Config
}

// load writes a model and loads one of its files.
func load(t testing.TB, env *ort.Env, c tinylm.Config, file string) *graph {
	t.Helper()
	dir := t.TempDir()
	if err := tinylm.Write(dir, c); err != nil {
		t.Fatal(err)
	}
	if c.Subfolder {
		file = filepath.Join("onnx", file)
	}
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	s, err := env.NewSession(t.Context(), data, ort.Options{Threads: 1, ExternalDir: filepath.Dir(filepath.Join(dir, file))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &graph{t, s, c}
}

type values = map[string]*tensor.Tensor

// run asks for every output with ids behind what the caches of from hold; nil
// is no cache.
func (g *graph) run(from values, before, ids []int64) values {
	g.t.Helper()
	n := len(ids)
	mask, positions := make([]int64, len(before)+n), make([]int64, n)
	for i := range mask {
		mask[i] = 1
	}
	for i := range positions {
		positions[i] = int64(len(before) + i)
	}
	known := values{
		"input_ids": tensor.FromInt64s(ids, 1, n), "attention_mask": tensor.FromInt64s(mask, 1, len(mask)),
		"position_ids": tensor.FromInt64s(positions, 1, n), "num_logits_to_keep": tensor.FromInt64s([]int64{0}),
		"use_cache_branch": tensor.New(tensor.Bool, 1),
	}
	if from != nil {
		known["use_cache_branch"].Data[0] = 1
	}
	if g.c.Int32Positions {
		x := tensor.New(tensor.I32, 1, n)
		for i, v := range positions {
			binary.LittleEndian.PutUint32(x.Data[4*i:], uint32(v))
		}
		known["position_ids"] = x
	}
	dtype := tensor.F32
	if g.c.Float16 {
		dtype = tensor.F16
	}
	in, out := values{}, values{}
	for _, v := range g.s.Inputs() {
		kind, cache := strings.CutPrefix(strings.Replace(v.Name, "past_key_values", "past", 1), "past")
		switch {
		case !cache:
			in[v.Name] = known[v.Name]
		case from != nil:
			in[v.Name] = from["present"+kind]
		default: // an empty cache
			shape := make([]int, len(v.Shape))
			for i, d := range v.Shape {
				shape[i] = int(d)
			}
			if len(shape) == 5 { // keys and values in one
				shape = []int{2, 1, 4, 0, 8}
			} else {
				shape[0], shape[2], shape[3] = 1, 0, g.headWidth()
			}
			in[v.Name] = tensor.New(dtype, shape...)
		}
	}
	for _, v := range g.s.Outputs() {
		out[v.Name] = nil
	}
	if err := g.s.Run(g.t.Context(), in, out); err != nil {
		g.t.Fatal(err)
	}
	return out
}

// headWidth is what the symbolic dimensions of a cache stand for.
func (g *graph) headWidth() int {
	width, heads := max(g.c.Width, 32), g.c.Heads
	if heads == 0 {
		heads = 4
	}
	switch g.c.Family {
	case tinylm.Qwen3, tinylm.Gemma2, tinylm.Gemma3: // twice the share of the width
		return 2 * width / heads
	}
	return width / heads
}

// gap is the largest difference of logits from the second implementation's,
// from a position on, relative to the largest of those.
func gap(t testing.TB, got *tensor.Tensor, want [][]float64, from int) float64 {
	t.Helper()
	n, v := got.Shape[1], got.Shape[2]
	if from+n > len(want) || v != len(want[0]) {
		t.Fatalf("logits %v from %d, want %d x %d", got.Shape, from, len(want), len(want[0]))
	}
	scale, worst := 0.0, 0.0
	for _, row := range want {
		for _, x := range row {
			scale = max(scale, math.Abs(x))
		}
	}
	for i, x := range got.Float32s() {
		d := math.Abs(float64(x) - want[from+i/v][i%v])
		if math.IsNaN(d) {
			t.Fatal("not a number")
		}
		worst = max(worst, d)
	}
	if scale < 1 {
		t.Fatalf("the largest logit is %g: differences would not show", scale)
	}
	return worst / scale
}

// prompt is longer than every window.
var prompt = []int64{65, 200, 3, 77, 14, 150, 9, 31, 65}

// TestForms compares what ONNX Runtime makes of every form with the second
// implementation: the whole sequence at once, and in parts with the cache
// between.
func TestForms(t *testing.T) {
	few := map[string][]string{
		"gpt2": {"onnxruntime's own"}, "gpt_neo": {"torchscript"}, "opt": {"torchscript"}, "bloom": {"dynamo 23"}, "falcon_7b": {"torchscript"},
		"falcon_40b": {"dynamo 18"}, "mistral": {"transformers.js", "group query"}, "phi3": {"multi-head"}, "gemma3": {"dynamo 24", "group query with positions"},
	}
	env := orttest.Open(t)
	for _, name := range slices.Sorted(maps.Keys(variants())) {
		if !every && few[name] == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			c := variants()[name]
			want := checkpoint(t, c).logits(prompt)
			all := forms(c)
			for _, form := range slices.Sorted(maps.Keys(all)) {
				if !every && !slices.Contains(few[name], form) {
					continue
				}
				for _, half := range []bool{false, true} {
					if half && !every {
						continue
					}
					what, tolerance := form, formTolerance
					if half {
						what, tolerance = form+", float16", halfTolerance
					}
					t.Run(what, func(t *testing.T) {
						c := all[form]
						c.Float16 = half
						compare(t, env, c, want, tolerance)
					})
				}
			}
		})
	}
}

func compare(t *testing.T, env *ort.Env, c tinylm.Config, want [][]float64, tolerance float64) {
	near := func(what string, got values, from int) {
		t.Helper()
		d := gap(t, got["logits"], want, from)
		t.Logf("%s: differs by %.2g of the largest logit", what, d)
		if d > tolerance {
			t.Errorf("%s: differs by %g of the largest logit, allowed %g", what, d, tolerance)
		}
	}
	step, start := "model.onnx", "model.onnx"
	switch c.Cache {
	case tinylm.WithPast:
		step = "model_with_past.onnx"
	case tinylm.Merged:
		step, start = "decoder_model_merged.onnx", "decoder_model_merged.onnx"
	}
	m := load(t, env, c, start)
	near("whole", m.run(nil, nil, prompt), 0)
	if c.Cache == tinylm.NoCache && c.Exporter != tinylm.GenAI && c.Exporter != tinylm.ORT {
		return
	}
	if step != start {
		m = load(t, env, c, step)
	}
	first := m.run(nil, nil, prompt[:5])
	near("beginning", first, 0)
	second := m.run(first, prompt[:5], prompt[5:8])
	near("three more", second, 5)
	near("one more", m.run(second, prompt[:8], prompt[8:]), 8)
}
