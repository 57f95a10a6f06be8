package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Config is what config.json (and generation_config.json beside it) say, in
// the terms of this package. A zero field means the file does not say.
type Config struct {
	ModelType      string
	EncoderDecoder bool
	Layers         int // decoder layers
	EncoderLayers  int
	Width          int
	FFNWidth       int
	Heads          int // of the queries
	KVHeads        int // of keys and values, where a file says so
	HeadWidth      int
	Vocab          int
	Context        int // most positions; 0 when unbounded (relative positions)
	DType          string
	EOS            []int64
	BOS            *int64
	Pad            *int64
	DecoderStart   *int64
}

// intOrList is a JSON number or list of numbers; null is the empty list.
type intOrList []int64

func (l *intOrList) UnmarshalJSON(b []byte) error {
	b = bytes.TrimSpace(b)
	if bytes.Equal(b, []byte("null")) {
		return nil
	}
	if len(b) > 0 && b[0] == '[' {
		var v []int64
		if err := json.Unmarshal(b, &v); err != nil {
			return err
		}
		*l = v
		return nil
	}
	var v int64
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*l = intOrList{v}
	return nil
}

// rawConfig holds the spellings that model families use for the same thing.
type rawConfig struct {
	ModelType        string    `json:"model_type"`
	IsEncoderDecoder *bool     `json:"is_encoder_decoder"`
	NLayer           int       `json:"n_layer"`
	NumHiddenLayers  int       `json:"num_hidden_layers"`
	NumLayers        int       `json:"num_layers"`
	NumDecoderLayers int       `json:"num_decoder_layers"`
	DecoderLayers    int       `json:"decoder_layers"`
	EncoderLayers    int       `json:"encoder_layers"`
	NEmbd            int       `json:"n_embd"`
	HiddenSize       int       `json:"hidden_size"`
	DModel           int       `json:"d_model"`
	NInner           *int      `json:"n_inner"`
	IntermediateSize int       `json:"intermediate_size"`
	DFF              int       `json:"d_ff"`
	FFNDim           int       `json:"ffn_dim"`
	DecoderFFNDim    int       `json:"decoder_ffn_dim"`
	NHead            int       `json:"n_head"`
	NumHeads         int       `json:"num_heads"`
	NumAttnHeads     int       `json:"num_attention_heads"`
	NumKVHeads       int       `json:"num_key_value_heads"`
	HeadDim          int       `json:"head_dim"`
	VocabSize        int       `json:"vocab_size"`
	NPositions       int       `json:"n_positions"`
	NCtx             int       `json:"n_ctx"`
	MaxPositions     int       `json:"max_position_embeddings"`
	MaxSeqLen        int       `json:"max_seq_len"`
	TorchDType       string    `json:"torch_dtype"`
	EOS              intOrList `json:"eos_token_id"`
	BOS              intOrList `json:"bos_token_id"`
	Pad              intOrList `json:"pad_token_id"`
	DecoderStart     intOrList `json:"decoder_start_token_id"`

	TextConfig *rawConfig `json:"text_config"`
}

func firstSet(v ...int) int {
	for _, x := range v {
		if x > 0 {
			return x
		}
	}
	return 0
}

func firstID(l intOrList) *int64 {
	if len(l) == 0 {
		return nil
	}
	return &l[0]
}

// readConfig reads dir/config.json, and the generation settings beside it.
func readConfig(dir string) (Config, error) {
	path := filepath.Join(dir, "config.json")
	var r rawConfig
	if err := readJSON(path, &r); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return Config{}, fmt.Errorf("%w in %s: a model folder needs the config.json of its checkpoint", ErrNoConfig, dir)
		}
		return Config{}, fmt.Errorf("reading %s: %w", path, err)
	}
	if t := r.TextConfig; t != nil && r.NLayer+r.NumHiddenLayers+r.NumLayers == 0 {
		t.EOS, t.BOS = append(t.EOS, r.EOS...), append(t.BOS, r.BOS...)
		r = *t
	}
	c := Config{
		ModelType: r.ModelType,
		Width:     firstSet(r.NEmbd, r.DModel, r.HiddenSize),
		FFNWidth:  firstSet(r.IntermediateSize, r.DFF, r.DecoderFFNDim, r.FFNDim),
		Heads:     firstSet(r.NHead, r.NumAttnHeads, r.NumHeads),
		KVHeads:   r.NumKVHeads,
		HeadWidth: r.HeadDim,
		Vocab:     r.VocabSize,
		Context:   firstSet(r.NPositions, r.MaxPositions, r.NCtx, r.MaxSeqLen),
		DType:     r.TorchDType,
		EOS:       r.EOS, BOS: firstID(r.BOS), Pad: firstID(r.Pad), DecoderStart: firstID(r.DecoderStart),
	}
	if c.FFNWidth == 0 && r.NInner != nil {
		c.FFNWidth = *r.NInner
	}
	if r.IsEncoderDecoder != nil {
		c.EncoderDecoder = *r.IsEncoderDecoder
	}
	// num_layers counts the encoder where num_decoder_layers stands beside it.
	c.Layers = firstSet(r.NumDecoderLayers, r.DecoderLayers, r.NLayer, r.NumHiddenLayers, r.NumLayers)
	c.EncoderLayers = firstSet(r.EncoderLayers, r.NumLayers, r.NumHiddenLayers)
	if c.ModelType == "t5" || c.ModelType == "mt5" || c.ModelType == "umt5" {
		c.Context = 0 // relative positions: n_positions is a training length, not a limit
	}

	var g struct {
		EOS          intOrList `json:"eos_token_id"`
		DecoderStart intOrList `json:"decoder_start_token_id"`
	}
	gen := filepath.Join(dir, "generation_config.json")
	switch err := readJSON(gen, &g); {
	case err == nil:
		if len(g.EOS) > 0 {
			c.EOS = g.EOS
		}
		if c.DecoderStart == nil {
			c.DecoderStart = firstID(g.DecoderStart)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return Config{}, fmt.Errorf("reading %s: %w", gen, err)
	}
	return c, nil
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}
