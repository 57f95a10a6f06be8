package folder

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func written(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLayout(t *testing.T) {
	for _, c := range []struct {
		name          string
		files         []string
		file          string
		seq2seq       bool
		forward, step string
		encoder       string
		others        string
	}{
		{name: "plain", files: []string{"model.onnx"}, forward: "model.onnx"},
		{name: "with past beside", files: []string{"model.onnx", "model_with_past.onnx"}, forward: "model.onnx", step: "model_with_past.onnx"},
		{name: "only with past", files: []string{"model_with_past.onnx"}, forward: "model_with_past.onnx", step: "model_with_past.onnx"},
		{name: "older names", files: []string{"decoder_model.onnx", "decoder_with_past_model.onnx"}, forward: "decoder_model.onnx", step: "decoder_with_past_model.onnx"},
		{name: "merged", files: []string{"decoder_model_merged.onnx"}, forward: "decoder_model_merged.onnx", step: "decoder_model_merged.onnx"},
		{name: "plain wins over merged", files: []string{"decoder_model_merged.onnx", "decoder_model.onnx"}, forward: "decoder_model.onnx", step: "decoder_model_merged.onnx"},
		{name: "seq2seq with past", seq2seq: true, files: []string{"encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx", "decoder_model_merged.onnx"}, forward: "decoder_model.onnx", step: "decoder_with_past_model.onnx", encoder: "encoder_model.onnx"},
		{name: "subfolder", files: []string{"onnx/model.onnx"}, forward: "onnx/model.onnx"},
		{name: "seq2seq", seq2seq: true, files: []string{"encoder_model.onnx", "decoder_model.onnx"}, forward: "decoder_model.onnx", encoder: "encoder_model.onnx"},
		{name: "one file", files: []string{"model.onnx", "other.onnx"}, file: "other.onnx", forward: "other.onnx"},
		{name: "formats beside each other", files: []string{"onnx/model.onnx", "onnx/model_q4.onnx", "onnx/model_fp16.onnx", "onnx/model_quantized.onnx"}, forward: "onnx/model.onnx", others: "model_fp16.onnx, model_quantized.onnx, model_q4.onnx"},
		{name: "no float32 among them", files: []string{"onnx/decoder_model_merged_q4f16.onnx", "onnx/decoder_model_merged_fp16.onnx"}, forward: "onnx/decoder_model_merged_fp16.onnx", step: "onnx/decoder_model_merged_fp16.onnx", others: "decoder_model_merged_q4f16.onnx"},
		{name: "seq2seq formats", seq2seq: true, files: []string{"onnx/encoder_model_quantized.onnx", "onnx/decoder_model_merged_quantized.onnx"}, forward: "onnx/decoder_model_merged_quantized.onnx", step: "onnx/decoder_model_merged_quantized.onnx", encoder: "onnx/encoder_model_quantized.onnx"},
		{name: "one merged file", files: []string{"decoder_model_merged.onnx"}, file: "decoder_model_merged.onnx", forward: "decoder_model_merged.onnx"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := written(t, c.files...)
			full := func(name string) string {
				if name == "" {
					return ""
				}
				return filepath.Join(dir, filepath.FromSlash(name))
			}
			got, err := layout(place{dir, full(c.file), []string{dir, filepath.Join(dir, "onnx")}}, Config{EncoderDecoder: c.seq2seq})
			if err != nil {
				t.Fatal(err)
			}
			want := Layout{Dir: dir, Forward: full(c.forward), Step: full(c.step), Encoder: full(c.encoder), Others: c.others}
			if got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string
		path  string
		is    error
		says  []string
	}{
		{"nothing there", nil, "nowhere", os.ErrNotExist, []string{"nowhere"}},
		{"no config", []string{"model.onnx"}, "", ErrNoConfig, []string{"config.json"}},
		{"bad config", []string{"config.json={", "model.onnx"}, "", nil, []string{"config.json"}},
		{"no model", []string{"config.json={}"}, "", ErrNoModel, []string{"model.onnx", "export or convert"}},
		{"unknown name", []string{"config.json={}", "mine.onnx"}, "", ErrNoModel, []string{"mine.onnx", "give its path"}},
		{"other file", []string{"config.json={}", "model.bin"}, "model.bin", ErrNoModel, []string{"model.bin"}},
		{"no encoder", []string{`config.json={"is_encoder_decoder":true}`, "decoder_model.onnx"}, "", ErrNoModel, []string{"encoder_model.onnx"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := Read(filepath.Join(written(t, c.files...), c.path))
			if err == nil {
				t.Fatal("read")
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v is not %v", err, c.is)
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not mention %q", err, s)
				}
			}
		})
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		name  string
		files []string
		want  Config // without Files
	}{
		{"gpt2", []string{`config.json={"model_type":"gpt2","n_layer":5,"n_embd":128,"n_head":4,"n_inner":null,"n_positions":64,"vocab_size":1200,"eos_token_id":1199}`},
			Config{ModelType: "gpt2", Layers: 5, Width: 128, Heads: 4, Context: 64, Vocab: 1200, EOS: []int64{1199}}},
		{"generation settings", []string{
			`config.json={"model_type":"llama","num_hidden_layers":3,"hidden_size":32,"intermediate_size":88,"max_position_embeddings":64,"eos_token_id":[1,2]}`,
			`generation_config.json={"eos_token_id":[2,3],"temperature":NaN}`},
			Config{ModelType: "llama", Layers: 3, EncoderLayers: 3, Width: 32, FFNWidth: 88, Context: 64, EOS: []int64{2, 3}}},
		{"t5", []string{`config.json={"model_type":"t5","is_encoder_decoder":true,"num_layers":4,"num_decoder_layers":6,"d_model":32,"d_ff":64,"d_kv":8,"n_positions":512,"decoder_start_token_id":0}`},
			Config{ModelType: "t5", EncoderDecoder: true, Layers: 6, EncoderLayers: 4, Width: 32, FFNWidth: 64, HeadWidth: 8, DecoderStart: new(int64)}},
		{"text apart", []string{`config.json={"model_type":"gemma3","eos_token_id":[9,8],"hidden_size":null,"text_config":{"model_type":"gemma3_text","num_hidden_layers":7,"eos_token_id":8,"hidden_size":32,"head_dim":16,"num_key_value_heads":1}}`},
			Config{ModelType: "gemma3_text", Layers: 7, EncoderLayers: 7, Width: 32, HeadWidth: 16, KVHeads: 1, EOS: []int64{8, 9}}},
		{"transformers 5", []string{`config.json={"model_type":"qwen3","dtype":"bfloat16","num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":16,"hidden_size":32,"max_position_embeddings":64,"rope_parameters":{"rope_theta":1000000,"rope_type":"default"},"layer_types":["full_attention","full_attention"],"sliding_window":8,"use_sliding_window":false}`},
			Config{ModelType: "qwen3", Layers: 2, EncoderLayers: 2, Heads: 4, KVHeads: 2, HeadWidth: 16, Width: 32, Context: 64, DType: "bfloat16"}},
		{"older spelling of the type", []string{`config.json={"torch_dtype":"float16"}`}, Config{DType: "float16"}},
		// What Python's json module writes: a byte order mark, 64.0, NaN and Infinity.
		{"as Python writes it", []string{"config.json=\ufeff" + `{"n_positions":64.0,"n_layer":2e0,"scale":Infinity,"x":[-Infinity,NaN],"name":"Infinity \"NaN\\","eos_token_id":7.0,"model_type":"gpt2"}`},
			Config{ModelType: "gpt2", Context: 64, Layers: 2, EOS: []int64{7}}},
		{"infinite is not given", []string{`config.json={"n_positions":Infinity,"max_position_embeddings":32}`}, Config{Context: 32}},
		{"what nobody asks for", []string{`config.json={"foo":1e400,"bar":[{"x":-1e999}],"n_positions":32}`}, Config{Context: 32}},
		// What nobody asks for, or what holds a value for each layer, stops no model.
		{"unused", []string{`config.json={"n_layer":2,"initializer_range":"none","num_experts":"many","intermediate_size":[64,96],"rope_scaling":7,"text_config":null,"vision_config":[],"num_heads":"?","n_head":4}`},
			Config{Layers: 2, Heads: 4}},
		{"multi-query", []string{`config.json={"n_head":4,"multi_query":true}`}, Config{Heads: 4, KVHeads: 1}},
		{"window", []string{`config.json={"sliding_window":4096}`}, Config{Window: 4096}},
		{"window not used", []string{`config.json={"sliding_window":4096,"use_sliding_window":false}`}, Config{}},
		{"window of some layers", []string{`config.json={"sliding_window":512,"layer_types":["sliding_attention","full_attention"]}`}, Config{Window: 512}},
		{"local attention", []string{`config.json={"window_size":6,"attention_types":[[["global","local"],1]]}`}, Config{Window: 6}},
		{"global attention", []string{`config.json={"window_size":6,"attention_types":[[["global"],2]]}`}, Config{}},
		{"genai", []string{`genai_config.json={"model":{"type":"phi3","vocab_size":96,"context_length":64,"bos_token_id":1,"eos_token_id":[2,3],"pad_token_id":4,
			"decoder":{"filename":"decoder.onnx","head_size":8,"hidden_size":32,"num_attention_heads":4,"num_hidden_layers":2,"num_key_value_heads":1,"sliding_window":{"window_size":16,"slide_inputs":false}}},"search":{"top_p":NaN}}`},
			Config{ModelType: "phi3", Vocab: 96, Context: 64, BOS: at(1), EOS: []int64{2, 3}, Pad: at(4), HeadWidth: 8, Width: 32, Heads: 4, Layers: 2, KVHeads: 1, Window: 16, Graph: "decoder.onnx"}},
		{"genai beside", []string{`config.json={"model_type":"phi3","num_hidden_layers":2,"eos_token_id":5,"head_dim":null}`,
			`genai_config.json={"model":{"type":"phi","context_length":64,"eos_token_id":[2,3],"decoder":{"head_size":8,"num_attention_heads":4,"num_hidden_layers":2}}}`},
			Config{ModelType: "phi3", Layers: 2, EncoderLayers: 2, EOS: []int64{5}, Context: 64, HeadWidth: 8, Heads: 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readConfig(written(t, c.files...))
			if err != nil {
				t.Fatal(err)
			}
			if got.Files = nil; !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func at(id int64) *int64 { return &id }

func TestConfigErrorsNameTheKey(t *testing.T) {
	for _, c := range []struct {
		file string
		says []string
	}{
		{`config.json={"n_layer":"two"}`, []string{"config.json", `"n_layer"`, "number"}},
		{`config.json={"n_layer":2.5}`, []string{`"n_layer"`, "whole number"}},
		{`config.json={"eos_token_id":"</s>"}`, []string{`"eos_token_id"`, "token id"}},
		{`config.json={"n_layer":2,}`, []string{"config.json"}},
		{`config.json=[1]`, []string{"config.json"}},
		{`genai_config.json={}`, []string{"genai_config.json", `"model"`}},
		{`genai_config.json={"model":{"decoder":{},"encoder":{"filename":"encoder.onnx"}}}`, []string{"genai_config.json", "encoder-decoder"}},
		{`genai_config.json={"model":{"decoder":{"pipeline":[{"embedding":{}}]}}}`, []string{"pipeline"}},
	} {
		_, err := readConfig(written(t, c.file))
		for _, s := range c.says {
			if err == nil || !strings.Contains(err.Error(), s) {
				t.Errorf("%s: %v does not mention %s", c.file, err, s)
			}
		}
	}
}

// The folders of transformers.js hold the graphs in a subfolder, which a user may name.
func TestConfigurationOneFolderUp(t *testing.T) {
	root := written(t, "a[1]/config.json={}", "a[1]/tokenizer.json={}", "a[1]/onnx/model.onnx", "a[1]/onnx/model_q4.onnx", "a[1]/other/readme.txt")
	dir := filepath.Join(root, "a[1]") // a name is no pattern
	for path, want := range map[string]string{"": "onnx/model.onnx", "onnx": "onnx/model.onnx", "onnx/": "onnx/model.onnx", "onnx/model_q4.onnx": "onnx/model_q4.onnx"} {
		p, err := locate(filepath.Join(dir, path))
		if err != nil {
			t.Errorf("%q: %v", path, err)
			continue
		}
		if l, err := layout(p, Config{}); err != nil || l.Dir != dir || l.Forward != filepath.Join(dir, want) || l.Tokenizer == "" {
			t.Errorf("%q: %+v, %v", path, l, err)
		}
	}
	if _, err := locate(filepath.Join(dir, "other")); !errors.Is(err, ErrNoConfig) {
		t.Errorf("a folder without graphs: %v", err)
	}
}

// Whatever a model is opened from is a folder of a model.
func TestIsModel(t *testing.T) {
	for _, c := range []struct {
		files []string
		dir   string
		want  bool
	}{
		{[]string{"config.json={}", "any.onnx"}, "", true},
		{[]string{"genai_config.json={}", "any.onnx"}, "", true},
		{[]string{"config.json={}", "onnx/model.onnx"}, "", true},
		{[]string{"config.json={}", "onnx/model.onnx"}, "onnx", true},
		{[]string{"config.json={}", "onnx/model.onnx", "other/readme.txt"}, "other", false},
		{[]string{"config.json={}", "readme.txt"}, "", false},
		{[]string{"any.onnx"}, "", false},
	} {
		if got := IsModel(filepath.Join(written(t, c.files...), c.dir)); got != c.want {
			t.Errorf("%v: %q: %v", c.files, c.dir, got)
		}
	}
}

// onnxruntime-genai names the graph; without config.json its name comes first.
func TestGraphThatGenAINames(t *testing.T) {
	genai := `genai_config.json={"model":{"decoder":{"filename":"phi.onnx"}}}`
	for _, c := range []struct {
		want  string
		files []string
	}{
		{"phi.onnx", []string{genai, "phi.onnx", "model.onnx"}},
		{"model.onnx", []string{genai, "config.json={}", "phi.onnx", "model.onnx"}},
		{"phi.onnx", []string{genai, "config.json={}", "phi.onnx"}},
		{"model.onnx", []string{genai, "model.onnx"}},
	} {
		dir := written(t, c.files...)
		p, err := locate(dir)
		if err != nil {
			t.Fatal(err)
		}
		conf, err := readConfig(p.dir)
		if err != nil {
			t.Fatal(err)
		}
		if l, err := layout(p, conf); err != nil || l.Forward != filepath.Join(dir, c.want) {
			t.Errorf("%v: %+v, %v, want %s", c.files, l, err, c.want)
		}
	}
}
