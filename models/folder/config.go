package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"editpipe/checkpoint"
)

// The files that describe a model beside its graphs. Exports of
// onnxruntime-genai may come with the second one alone.
const (
	configName      = "config.json"
	genaiConfigName = "genai_config.json"
)

// Config is what config.json says, with generation_config.json and
// genai_config.json beside it, in the terms of this project. A zero field means
// that no file says.
type Config struct {
	Files          []string // paths of the files read, the main one first
	ModelType      string
	EncoderDecoder bool
	Layers         int // decoder layers
	EncoderLayers  int
	Width          int
	FFNWidth       int
	Heads          int // of the queries
	KVHeads        int // of keys and values, where they differ from Heads or a file says so
	HeadWidth      int
	Window         int // positions that some layer's local attention reaches back, its own included
	Vocab          int
	Context        int // most positions; 0 when unbounded (relative positions)
	DType          string
	EOS            []int64
	BOS            *int64
	Pad            *int64
	DecoderStart   *int64
	Graph          string // file name of the decoder graph, of genai_config.json
}

// Main is the name of the main file.
func (c *Config) Main() string { return filepath.Base(c.Files[0]) }

// relative lists the families whose configuration names a training length where
// others name the most positions they can take in.
var relative = []string{"t5", "mt5", "umt5"}

// readConfig reads the configuration of the model in dir: config.json or, where
// there is none, genai_config.json; with both, the second fills what the first
// does not say.
func readConfig(dir string) (Config, error) {
	c, err := readHub(dir)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return Config{}, err
	}
	g, err := readGenAI(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && missing:
		return Config{}, noConfig(dir)
	case errors.Is(err, fs.ErrNotExist):
		return c, nil
	case err != nil:
		return Config{}, err
	case missing:
		return g, nil
	}
	for _, f := range []struct {
		into *int
		from int
	}{{&c.Layers, g.Layers}, {&c.Width, g.Width}, {&c.Heads, g.Heads}, {&c.KVHeads, g.KVHeads}, {&c.HeadWidth, g.HeadWidth}, {&c.Window, g.Window}, {&c.Vocab, g.Vocab}} {
		if *f.into == 0 {
			*f.into = f.from
		}
	}
	if c.Context == 0 && !slices.Contains(relative, c.ModelType) {
		c.Context = g.Context
	}
	if len(c.EOS) == 0 {
		c.EOS = g.EOS
	}
	if c.Pad == nil {
		c.Pad = g.Pad
	}
	c.Graph, c.Files = g.Graph, append(c.Files, g.Files...)
	return c, nil
}

func noConfig(where string) error {
	return fmt.Errorf("%w in %s: a model folder needs the config.json of its checkpoint, or the genai_config.json of its export", ErrNoConfig, where)
}

// readHub reads dir/config.json, and the generation settings beside it. The
// names are those of all families and versions of transformers.
func readHub(dir string) (Config, error) {
	o, err := readObject(filepath.Join(dir, configName))
	if err != nil {
		return Config{}, err
	}
	top := o
	// Models that read more than text keep what is said of the text apart.
	if t := o.object("text_config"); t != nil {
		o = t.over(o)
	}
	c := Config{
		Files:     []string{top.path},
		ModelType: o.text("model_type"),
		Width:     o.size("n_embd", "d_model", "hidden_size", "n_embed"),
		FFNWidth:  o.size("intermediate_size", "d_ff", "decoder_ffn_dim", "ffn_dim", "n_inner"),
		Heads:     o.size("n_head", "num_attention_heads", "num_heads", "n_heads"),
		KVHeads:   o.size("num_key_value_heads", "num_kv_heads", "n_head_kv"),
		HeadWidth: o.size("head_dim", "d_kv"),
		Vocab:     o.size("vocab_size", "padded_vocab_size"),
		Context:   o.size("n_positions", "max_position_embeddings", "n_ctx", "max_seq_len"),
		DType:     o.text("dtype", "torch_dtype"),
		EOS:       o.ids("eos_token_id"), BOS: first(o.ids("bos_token_id")), Pad: first(o.ids("pad_token_id")),
		DecoderStart:   first(o.ids("decoder_start_token_id")),
		EncoderDecoder: o.truth("is_encoder_decoder"),
		// num_layers counts the encoder where num_decoder_layers stands beside it.
		Layers:        o.size("num_decoder_layers", "decoder_layers", "n_layer", "num_hidden_layers", "num_layers", "n_layers"),
		EncoderLayers: o.size("encoder_layers", "num_layers", "num_hidden_layers"),
		Window:        o.window(),
	}
	if c.KVHeads == 0 && o.truth("multi_query") {
		c.KVHeads = 1
	}
	for _, id := range top.ids("eos_token_id") {
		if !slices.Contains(c.EOS, id) {
			c.EOS = append(c.EOS, id)
		}
	}
	if slices.Contains(relative, c.ModelType) {
		c.Context = 0
	}
	g, err := readObject(filepath.Join(dir, "generation_config.json"))
	switch {
	case err == nil:
		if ids := g.ids("eos_token_id"); len(ids) > 0 {
			c.EOS = ids
		}
		if c.DecoderStart == nil {
			c.DecoderStart = first(g.ids("decoder_start_token_id"))
		}
		err = *g.fault
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	return c, errors.Join(*o.fault, err)
}

// readGenAI reads dir/genai_config.json.
func readGenAI(dir string) (Config, error) {
	top, err := readObject(filepath.Join(dir, genaiConfigName))
	if err != nil {
		return Config{}, err
	}
	m := top.object("model")
	if m == nil {
		return Config{}, fmt.Errorf("reading %s: it has no object \"model\"", top.path)
	}
	d := m.object("decoder")
	if d == nil {
		return Config{}, fmt.Errorf("reading %s: \"model\" has no object \"decoder\"", top.path)
	}
	switch {
	case m.object("encoder") != nil:
		return Config{}, fmt.Errorf("reading %s: it describes an encoder-decoder model; export it with Optimum, whose config.json says how to start the decoder", top.path)
	case len(d.list("pipeline")) > 0:
		return Config{}, fmt.Errorf("reading %s: the decoder is cut into a pipeline of graphs; export it as one graph", top.path)
	}
	c := Config{
		Files:     []string{top.path},
		ModelType: m.text("type"),
		Layers:    d.size("num_hidden_layers"),
		Width:     d.size("hidden_size"),
		Heads:     d.size("num_attention_heads"),
		KVHeads:   d.size("num_key_value_heads"),
		HeadWidth: d.size("head_size"),
		Vocab:     m.size("vocab_size"),
		Context:   m.size("context_length"),
		EOS:       m.ids("eos_token_id"), BOS: first(m.ids("bos_token_id")), Pad: first(m.ids("pad_token_id")),
		Graph: d.text("filename"),
	}
	if w := d.object("sliding_window"); w != nil {
		c.Window = w.size("window_size")
	}
	return c, *top.fault
}

// object is a JSON object of which single members are asked for. Members that
// nobody asks for can hold anything. What is asked for and is there in another
// form than known is a fault, of which the first is kept.
type object struct {
	path   string
	fault  *error
	values map[string]any
}

func readObject(path string) (*object, error) {
	o := &object{path: path, fault: new(error)}
	if err := checkpoint.ReadJSON(path, &o.values); err != nil {
		return nil, err
	}
	return o, nil
}

// over gives the members of o, and those of p that o does not have.
func (o *object) over(p *object) *object {
	both := &object{path: o.path, fault: o.fault, values: map[string]any{}}
	for _, values := range []map[string]any{p.values, o.values} {
		for k, v := range values {
			if v != nil {
				both.values[k] = v
			}
		}
	}
	return both
}

func (o *object) refuse(key string, value any, want string) {
	if *o.fault == nil {
		*o.fault = fmt.Errorf("reading %s: %q is %v, want %s", o.path, key, value, want)
	}
}

// object is a member that is an object, nil if it is none.
func (o *object) object(key string) *object {
	if m, ok := o.values[key].(map[string]any); ok {
		return &object{path: o.path, fault: o.fault, values: m}
	}
	return nil
}

// list is a member that is a list, nil if it is none.
func (o *object) list(key string) []any {
	l, _ := o.values[key].([]any)
	return l
}

// size is the first of the members that is a positive number. Lists and objects
// (a value for each layer) are left to the graph; words, truth values and
// fractions are faults.
func (o *object) size(keys ...string) int {
	for _, k := range keys {
		switch v := o.values[k].(type) {
		case float64:
			if v != math.Trunc(v) || math.Abs(v) > 1<<53 {
				o.refuse(k, v, "a whole number")
			} else if v > 0 {
				return int(min(v, math.MaxInt32))
			}
		case string, bool:
			o.refuse(k, fmt.Sprintf("%#v", v), "a number")
		}
	}
	return 0
}

// text is the first of the members that is a text.
func (o *object) text(keys ...string) string {
	for _, k := range keys {
		if s, ok := o.values[k].(string); ok && s != "" {
			return s
		}
	}
	return ""
}

// truth says whether a member is true.
func (o *object) truth(key string) bool { return o.values[key] == true }

// ids is a token id or a list of them; null is the empty list.
func (o *object) ids(key string) (list []int64) {
	v, found := o.values[key]
	if !found || v == nil {
		return nil
	}
	all, ok := v.([]any)
	if !ok {
		all = []any{v}
	}
	for _, x := range all {
		f, ok := x.(float64)
		if !ok || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			o.refuse(key, v, "a token id or a list of them")
			return nil
		}
		list = append(list, int64(f))
	}
	return list
}

func first(ids []int64) *int64 {
	if len(ids) == 0 {
		return nil
	}
	return &ids[0]
}

// window is how far local attention reaches back in the layers that have it: as
// Mistral and Gemma say it, or as GPT-Neo.
func (o *object) window() int {
	local := func(key string) bool {
		var named func(v any) bool
		named = func(v any) bool {
			switch v := v.(type) {
			case string:
				return strings.Contains(v, "local") || strings.Contains(v, "sliding") || strings.Contains(v, "chunked")
			case []any:
				return slices.ContainsFunc(v, named)
			}
			return false
		}
		return named(o.values[key])
	}
	switch {
	case local("attention_types") || local("attention_layers"):
		return o.size("window_size")
	case o.list("layer_types") != nil && !local("layer_types"), o.values["use_sliding_window"] == false:
		return 0
	}
	return o.size("sliding_window", "attention_chunk_size")
}
