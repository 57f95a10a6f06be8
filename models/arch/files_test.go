package arch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func folder(t *testing.T, files ...string) string {
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
		{name: "one merged file", files: []string{"decoder_model_merged.onnx"}, file: "decoder_model_merged.onnx", forward: "decoder_model_merged.onnx"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t, c.files...)
			full := func(name string) string {
				if name == "" {
					return ""
				}
				return filepath.Join(dir, filepath.FromSlash(name))
			}
			got, err := layout(dir, full(c.file), c.seq2seq)
			if err != nil {
				t.Fatal(err)
			}
			want := Layout{Dir: dir, Forward: full(c.forward), Step: full(c.step), Encoder: full(c.encoder)}
			if got != want {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestOpenErrorsSayWhatToDo(t *testing.T) {
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
		{"damaged", []string{"config.json={}", "model.onnx=not a model"}, "", nil, []string{"model.onnx", "damaged"}},
		{"empty", []string{"config.json={}", "model.onnx"}, "", nil, []string{"model.onnx"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(filepath.Join(folder(t, c.files...), c.path))
			if err == nil {
				t.Fatal("opened")
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
	read := func(files ...string) Config {
		c, err := readConfig(folder(t, files...))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	gpt2 := read(`config.json={"model_type":"gpt2","n_layer":5,"n_embd":128,"n_head":4,"n_inner":null,"n_positions":64,"vocab_size":1200,"eos_token_id":1199}`)
	if gpt2.Layers != 5 || gpt2.Width != 128 || gpt2.Heads != 4 || gpt2.Context != 64 || gpt2.FFNWidth != 0 || len(gpt2.EOS) != 1 || gpt2.EOS[0] != 1199 {
		t.Errorf("gpt2: %+v", gpt2)
	}
	llama := read(`config.json={"model_type":"llama","num_hidden_layers":3,"hidden_size":32,"intermediate_size":88,"max_position_embeddings":64,"eos_token_id":[1,2]}`,
		`generation_config.json={"eos_token_id":[2,3]}`)
	if llama.Layers != 3 || llama.FFNWidth != 88 || len(llama.EOS) != 2 || llama.EOS[1] != 3 {
		t.Errorf("llama: %+v", llama)
	}
	t5 := read(`config.json={"model_type":"t5","is_encoder_decoder":true,"num_layers":4,"num_decoder_layers":6,"d_model":32,"d_ff":64,"n_positions":512,"decoder_start_token_id":0}`)
	if t5.Layers != 6 || t5.EncoderLayers != 4 || t5.Context != 0 || t5.DecoderStart == nil || *t5.DecoderStart != 0 || !t5.EncoderDecoder {
		t.Errorf("t5: %+v", t5)
	}
	nested := read(`config.json={"model_type":"gemma3","eos_token_id":9,"text_config":{"model_type":"gemma3_text","num_hidden_layers":7}}`)
	if nested.Layers != 7 || nested.ModelType != "gemma3_text" || len(nested.EOS) != 1 {
		t.Errorf("nested: %+v", nested)
	}
}
