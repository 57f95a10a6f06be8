package tinylm_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"editpipe/internal/tinylm"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// everyExport goes through every export of every family; without it a few
// stand for all.
var everyExport = false

// variants are the families with what each can be told about its anatomy.
func variants() map[string]tinylm.Config {
	return map[string]tinylm.Config{
		"gpt2":        {Family: tinylm.GPT2},
		"gptj":        {Family: tinylm.GPTJ},
		"gpt_neo":     {Family: tinylm.GPTNeo, Window: 3},
		"neox":        {Family: tinylm.GPTNeoX},
		"neox_seq":    {Family: tinylm.GPTNeoX, Sequential: true},
		"opt":         {Family: tinylm.OPT},
		"bloom":       {Family: tinylm.BLOOM, Heads: 6, Width: 48},
		"falcon":      {Family: tinylm.Falcon},
		"falcon_rw":   {Family: tinylm.Falcon, Alibi: true},
		"falcon_40b":  {Family: tinylm.Falcon, KVHeads: 2},
		"phi2":        {Family: tinylm.Phi2, Width: 64, Heads: 2},
		"phi3":        {Family: tinylm.Phi3, Width: 64, Window: 3},
		"llama":       {Family: tinylm.LLaMA, Width: 64},
		"llama_tied":  {Family: tinylm.LLaMA, Width: 64, TiedHead: true, KVHeads: 2},
		"mistral":     {Family: tinylm.Mistral, Width: 64, Window: 3},
		"qwen2":       {Family: tinylm.Qwen2, Width: 64, TiedHead: true},
		"qwen3":       {Family: tinylm.Qwen3},
		"gemma2":      {Family: tinylm.Gemma2, Window: 3},
		"gemma3":      {Family: tinylm.Gemma3, Window: 3},
		"starcoder":   {Family: tinylm.StarCoder},
		"starcoder_1": {Family: tinylm.StarCoder, KVHeads: 4},
	}
}

// exports are the ways to write a variant.
func exports(c tinylm.Config) map[string]tinylm.Config {
	list := map[string]tinylm.Config{}
	add := func(name string, change func(c *tinylm.Config)) {
		v := c
		change(&v)
		list[name] = v
	}
	for _, half := range []bool{false, true} {
		name := func(s string) string {
			if half {
				return s + " float16"
			}
			return s
		}
		for _, opset := range []int64{18, 20, 23, 24} {
			add(name(fmt.Sprint("dynamo ", opset)), func(c *tinylm.Config) {
				c.Exporter, c.Opset, c.Float16, c.NamedWeights, c.Cache = tinylm.Dynamo, opset, half, opset > 20, tinylm.OneFile
			})
		}
		add(name("torchscript"), func(c *tinylm.Config) { c.Float16, c.Cache = half, tinylm.OneFile })
		add(name("torchscript 13"), func(c *tinylm.Config) {
			c.Float16, c.Opset, c.NamedWeights, c.Cache = half, 13, true, tinylm.WithPast
			c.Int32Positions = true
		})
		add(name("merged"), func(c *tinylm.Config) {
			c.Float16, c.Cache, c.Subfolder, c.LogitsToKeep = half, tinylm.Merged, true, "num_logits_to_keep"
		})
		if c.Family == tinylm.GPT2 {
			add(name("ort"), func(c *tinylm.Config) { c.Exporter, c.Float16, c.Int32Positions = tinylm.ORT, half, true })
		}
		if slices.Contains([]tinylm.Family{tinylm.LLaMA, tinylm.Mistral, tinylm.Qwen2, tinylm.Qwen3, tinylm.Phi2, tinylm.Phi3, tinylm.Gemma2, tinylm.Gemma3}, c.Family) {
			add(name("group query"), func(c *tinylm.Config) { c.Exporter, c.Float16, c.NoPositionIDs = tinylm.GenAI, half, true })
			add(name("group query with positions"), func(c *tinylm.Config) { c.Exporter, c.Float16 = tinylm.GenAI, half })
			if c.Family != tinylm.Gemma2 {
				add(name("multi-head"), func(c *tinylm.Config) { c.Exporter, c.Float16, c.Operator = tinylm.GenAI, half, tinylm.MultiHead })
			}
		}
	}
	return list
}

// ask feeds tokens after what the caches of from hold.
func ask(m *model, from feed, before, tokens []int64) feed {
	m.t.Helper()
	in := ids(tokens)
	whole := append(slices.Clone(before), tokens...)
	in["attention_mask"] = ids(whole)["attention_mask"]
	for i := range in["position_ids"].Int64s() {
		in["position_ids"].Int64s()[i] += int64(len(before))
	}
	if m.c.Int32Positions {
		p := tensor.New(tensor.I32, in["position_ids"].Shape...)
		for i, v := range in["position_ids"].Int64s() {
			binary.LittleEndian.PutUint32(p.Data[4*i:], uint32(v))
		}
		in["position_ids"] = p
	}
	in["num_logits_to_keep"] = tensor.FromInt64s([]int64{0})
	in["use_cache_branch"] = tensor.New(tensor.Bool, 1)
	if from != nil {
		in["use_cache_branch"].Data[0] = 1
	}
	dt := tensor.F32
	if m.c.Float16 {
		dt = tensor.F16
	}
	for _, v := range m.s.Inputs() {
		name, isPast := strings.CutPrefix(v.Name, "past")
		if !isPast {
			continue
		}
		if name = strings.TrimPrefix(name, "_key_values"); from != nil {
			in[v.Name] = from["present"+name]
		} else if m.c.Exporter == tinylm.ORT {
			in[v.Name] = tensor.New(dt, 2, 1, 4, 0, 8)
		} else {
			in[v.Name] = tensor.New(dt, 1, int(v.Shape[1]), 0, m.headWidth())
		}
	}
	return m.run(in)
}

func (m *model) headWidth() int {
	switch m.c.Family {
	case tinylm.Phi2:
		return 32
	case tinylm.Qwen3, tinylm.Gemma2, tinylm.Gemma3, tinylm.Phi3, tinylm.LLaMA, tinylm.Mistral, tinylm.Qwen2:
		return 16
	}
	return 8
}

func TestExportsAgree(t *testing.T) {
	env := orttest.Open(t)
	few := []string{"gpt2", "opt", "bloom", "falcon", "mistral", "gemma3"}
	for name, c := range variants() {
		if !everyExport && !slices.Contains(few, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			want := load(t, env, c, "model.onnx").run(ids(prompt))["logits"]
			if want.DType != tensor.F32 {
				t.Fatal("not float32")
			}
			for form, v := range exports(c) {
				if !everyExport && (v.Float16 || v.Opset == 20 || v.Opset == 24) {
					continue
				}
				t.Run(form, func(t *testing.T) {
					tolerance := sameModel
					if v.Float16 {
						tolerance = halfModel
					}
					file := "model.onnx"
					switch v.Cache {
					case tinylm.WithPast:
						file = "model_with_past.onnx"
					case tinylm.Merged:
						file = "decoder_model_merged.onnx"
					}
					m := load(t, env, v, file)
					got := ask(m, nil, nil, prompt)
					near(t, "whole", got["logits"].Float32s(), want.Float32s(), tolerance)
					got = ask(m, nil, nil, prompt[:4])
					next := ask(m, got, prompt[:4], prompt[4:6])
					for i := range 2 {
						near(t, "two more", row(next["logits"], 0, i), row(want, 0, 4+i), tolerance)
					}
					last := ask(m, next, prompt[:6], prompt[6:])
					near(t, "one more", row(last["logits"], 0, 0), row(want, 0, 6), tolerance)
				})
			}
		})
	}
}
