package families

import (
	"fmt"
	"math"
	"testing"

	"editpipe/tensor"
)

// The second implementation. It takes a checkpoint's tensors by name and the
// content of its config.json, works in float64 and goes through a sequence
// token by token, each family in its own words. It must share no code with
// what writes or rewrites graphs.

// matrix is a tensor of one or two axes.
type matrix struct {
	rows, cols int // a vector has one row
	v          []float64
}

func (m matrix) row(i int) []float64 { return m.v[i*m.cols : (i+1)*m.cols] }

// paper is a model as its paper describes it.
type paper struct {
	t       testing.TB // that fails where config or tensors lack something
	config  map[string]any
	tensors map[string]matrix
	// shift, where set, may change what the feed-forward part of a layer gives
	// at a position before it is added to anything.
	shift func(layer, position int, out []float64)
}

// newPaper takes a checkpoint over.
func newPaper(t testing.TB, config map[string]any, checkpoint map[string]*tensor.Tensor) *paper {
	t.Helper()
	p := &paper{t: t, config: config, tensors: map[string]matrix{}}
	for name, x := range checkpoint {
		m := matrix{rows: 1, cols: x.Shape[0]}
		if len(x.Shape) == 2 {
			m.rows, m.cols = x.Shape[0], x.Shape[1]
		}
		for _, v := range x.Float32s() {
			m.v = append(m.v, float64(v))
		}
		p.tensors[name] = m
	}
	return p
}

// in is the model in another test.
func (p *paper) in(t testing.TB) *paper {
	q := *p
	q.t = t
	return &q
}

func (p *paper) tensor(name string) matrix {
	m, ok := p.tensors[name]
	if !ok {
		p.t.Helper()
		p.t.Fatalf("the checkpoint has no %s", name)
	}
	return m
}

// entry is what config.json has under a key.
func entry[T any](p *paper, key string) T {
	v, ok := p.config[key].(T)
	if !ok {
		p.t.Helper()
		p.t.Fatalf("config.json has no %T %s", v, key)
	}
	return v
}

func (p *paper) num(key string) float64 { return entry[float64](p, key) }
func (p *paper) int(key string) int     { return int(p.num(key)) }
func (p *paper) flag(key string) bool   { return entry[bool](p, key) }

// Arithmetic.

func sum(vectors ...[]float64) []float64 {
	out := make([]float64, len(vectors[0]))
	for _, v := range vectors {
		for i, x := range v {
			out[i] += x
		}
	}
	return out
}

func product(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] * b[i]
	}
	return out
}

func each(x []float64, f func(float64) float64) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = f(v)
	}
	return out
}

func dot(a, b []float64) (s float64) {
	for i, x := range a {
		s += x * b[i]
	}
	return s
}

// linear is y = W x (+ b): PyTorch's Linear, W of [out, in].
func (p *paper) linear(name string, x []float64) []float64 {
	w := p.tensor(name + ".weight")
	y := make([]float64, w.rows)
	for i := range y {
		y[i] = dot(w.row(i), x)
	}
	if b, ok := p.tensors[name+".bias"]; ok {
		y = sum(y, b.v)
	}
	return y
}

// conv1D is y = x W + b: GPT-2's layer, W of [in, out].
func (p *paper) conv1D(name string, x []float64) []float64 {
	w := p.tensor(name + ".weight")
	y := append([]float64(nil), p.tensor(name+".bias").v...)
	for i, v := range x {
		for j, u := range w.row(i) {
			y[j] += v * u
		}
	}
	return y
}

// layerNorm is Ba et al. 2016, equations 3 and 4.
func (p *paper) layerNorm(name string, epsilon float64, x []float64) []float64 {
	mean, square := 0.0, 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		square += (v - mean) * (v - mean) / float64(len(x))
	}
	y := each(x, func(v float64) float64 { return (v - mean) / math.Sqrt(square+epsilon) })
	return sum(product(y, p.tensor(name+".weight").v), p.tensor(name+".bias").v)
}

// rmsNorm is Zhang and Sennrich 2019, equation 4, with gain offset + w.
func (p *paper) rmsNorm(name string, offset float64, x []float64) []float64 {
	root := math.Sqrt(dot(x, x)/float64(len(x)) + p.num("rms_norm_eps"))
	gain := each(p.tensor(name+".weight").v, func(w float64) float64 { return offset + w })
	return product(each(x, func(v float64) float64 { return v / root }), gain)
}

func relu(x float64) float64 { return max(x, 0) }
func silu(x float64) float64 { return x / (1 + math.Exp(-x)) }

// gelu is x Phi(x); geluTanh its approximation (Hendrycks and Gimpel 2016).
func gelu(x float64) float64 { return 0.5 * x * math.Erfc(-x/math.Sqrt2) }
func geluTanh(x float64) float64 {
	return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
}

// cut divides x into parts of equal length.
func cut(x []float64, parts int) [][]float64 {
	n := len(x) / parts
	out := make([][]float64, parts)
	for i := range out {
		out[i] = x[i*n : (i+1)*n]
	}
	return out
}

func join(parts [][]float64) (all []float64) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// turned rotates the first n dimensions of every head by the position (Su et
// al. 2021, equation 34): the two dimensions that place names for i by the angle
// position theta^(-2i/n), for i below n/2.
func turned(heads [][]float64, position, n int, theta float64, place func(i int) (a, b int)) [][]float64 {
	out := make([][]float64, len(heads))
	for h, x := range heads {
		y := append([]float64(nil), x...)
		for i := range n / 2 {
			angle := float64(position) * math.Pow(theta, -2*float64(i)/float64(n))
			a, b := place(i)
			y[a] = x[a]*math.Cos(angle) - x[b]*math.Sin(angle)
			y[b] = x[b]*math.Cos(angle) + x[a]*math.Sin(angle)
		}
		out[h] = y
	}
	return out
}

// neighbours pairs 0 with 1, 2 with 3 (the paper, GPT-J); halves pairs i with
// i + n/2 (GPT-NeoX and all that followed).
func neighbours(i int) (int, int)         { return 2 * i, 2*i + 1 }
func halves(n int) func(i int) (int, int) { return func(i int) (int, int) { return i, i + n/2 } }

// memory is what attention has seen in one layer: heads of every position.
type memory struct{ keys, values [][][]float64 }

// attend is attention of the latest position (Vaswani et al. 2017, equation 1).
// Heads share keys and values in groups (Ainslie et al. 2023). score is the
// weight's logarithm of key j in head h whose product is d. A window leaves
// out all but so many of the last positions (Beltagy et al. 2020), 0 none.
func (m *memory) attend(query, key, value [][]float64, window int, score func(h, j int, d float64) float64) []float64 {
	m.keys, m.values = append(m.keys, key), append(m.values, value)
	from := 0
	if window > 0 {
		from = max(0, len(m.keys)-window)
	}
	var out [][]float64
	for h, q := range query {
		g := h / (len(query) / len(key))
		var s []float64
		most := math.Inf(-1)
		for j := from; j < len(m.keys); j++ {
			s = append(s, score(h, j, dot(q, m.keys[j][g])))
			most = max(most, s[j-from])
		}
		total := 0.0
		mixed := make([]float64, len(value[g]))
		for i := range s {
			w := math.Exp(s[i] - most)
			total += w
			for k, v := range m.values[from+i][g] {
				mixed[k] += w * v
			}
		}
		out = append(out, each(mixed, func(v float64) float64 { return v / total }))
	}
	return join(out)
}

// scaled is the usual score, divided by the root of the head's width.
func scaled(width int) func(h, j int, d float64) float64 {
	return func(_, _ int, d float64) float64 { return d / math.Sqrt(float64(width)) }
}

// alibiSlope is the slope of head h (Press et al. 2022, section 3): for n
// heads, n a power of two, 2^(-8/n), 2^(-16/n), ...; beyond the largest power
// of two the slopes of twice as many heads, every other one.
func alibiSlope(h, heads int) float64 {
	n := 1
	for 2*n <= heads {
		n *= 2
	}
	if h < n {
		return math.Exp2(-8 * float64(h+1) / float64(n))
	}
	return math.Exp2(-8 * float64(2*(h-n)+1) / float64(2*n))
}

// logits runs the model over ids and returns the logits of every position.
func (p *paper) logits(ids []int64) [][]float64 {
	family := entry[string](p, "model_type")
	run := map[string]func() func(position int, id int64) []float64{
		"gpt2": p.gpt2, "gptj": p.gptj, "gpt_neo": p.gptNeo, "gpt_neox": p.gptNeoX, "opt": p.opt, "bloom": p.bloom,
		"falcon": p.falcon, "phi": p.phi2, "phi3": p.phi3, "llama": p.llama, "mistral": p.llama, "qwen2": p.llama, "qwen3": p.llama,
		"gemma2": p.gemma, "gemma3_text": p.gemma, "gpt_bigcode": p.starCoder,
	}[family]
	if run == nil {
		p.t.Fatalf("no paper of family %s", family)
	}
	step := run()
	var out [][]float64
	for i, id := range ids {
		out = append(out, step(i, id))
	}
	return out
}

// ffn lets shift change what a feed-forward part gave.
func (p *paper) ffn(layer, position int, out []float64) []float64 {
	if p.shift != nil {
		p.shift(layer, position, out)
	}
	return out
}

// times multiplies by a table's rows: a head that shares the embedding.
func (p *paper) times(table string, x []float64) []float64 {
	w := p.tensor(table)
	y := make([]float64, w.rows)
	for i := range y {
		y[i] = dot(w.row(i), x)
	}
	return y
}

// gpt2 is Radford et al. 2019: learned positions, norms before the parts.
func (p *paper) gpt2() func(position int, id int64) []float64 {
	heads, epsilon := p.int("n_head"), p.num("layer_norm_epsilon")
	mem := make([]memory, p.int("n_layer"))
	return func(position int, id int64) []float64 {
		x := sum(p.tensor("transformer.wte.weight").row(int(id)), p.tensor("transformer.wpe.weight").row(position))
		for l := range mem {
			at := fmt.Sprintf("transformer.h.%d.", l)
			qkv := cut(p.conv1D(at+"attn.c_attn", p.layerNorm(at+"ln_1", epsilon, x)), 3)
			a := mem[l].attend(cut(qkv[0], heads), cut(qkv[1], heads), cut(qkv[2], heads), 0, scaled(len(x)/heads))
			x = sum(x, p.conv1D(at+"attn.c_proj", a))
			f := each(p.conv1D(at+"mlp.c_fc", p.layerNorm(at+"ln_2", epsilon, x)), geluTanh)
			x = sum(x, p.ffn(l, position, p.conv1D(at+"mlp.c_proj", f)))
		}
		return p.times("transformer.wte.weight", p.layerNorm("transformer.ln_f", epsilon, x))
	}
}

// starCoder is GPT-2 with ordinary linear layers (Li et al. 2023, section 5) and
// one key and value head for all (Shazeer 2019); without multi_query the
// published code orders the rows of c_attn by head.
func (p *paper) starCoder() func(position int, id int64) []float64 {
	heads, epsilon := p.int("n_head"), p.num("layer_norm_epsilon")
	mem := make([]memory, p.int("n_layer"))
	return func(position int, id int64) []float64 {
		x := sum(p.tensor("transformer.wte.weight").row(int(id)), p.tensor("transformer.wpe.weight").row(position))
		width := len(x) / heads
		for l := range mem {
			at := fmt.Sprintf("transformer.h.%d.", l)
			all := p.linear(at+"attn.c_attn", p.layerNorm(at+"ln_1", epsilon, x))
			var q, k, v [][]float64
			if p.flag("multi_query") {
				n := len(x)
				q, k, v = cut(all[:n], heads), [][]float64{all[n : n+width]}, [][]float64{all[n+width:]}
			} else {
				for _, head := range cut(all, heads) {
					q, k, v = append(q, head[:width]), append(k, head[width:2*width]), append(v, head[2*width:])
				}
			}
			x = sum(x, p.linear(at+"attn.c_proj", mem[l].attend(q, k, v, 0, scaled(width))))
			f := each(p.linear(at+"mlp.c_fc", p.layerNorm(at+"ln_2", epsilon, x)), geluTanh)
			x = sum(x, p.ffn(l, position, p.linear(at+"mlp.c_proj", f)))
		}
		return p.times("transformer.wte.weight", p.layerNorm("transformer.ln_f", epsilon, x))
	}
}

// gptj is Wang and Komatsuzaki 2021: attention and feed-forward part side by
// side behind one norm, neighbours of the first rotary_dim dimensions turned.
func (p *paper) gptj() func(position int, id int64) []float64 {
	heads, epsilon, n := p.int("n_head"), p.num("layer_norm_epsilon"), p.int("rotary_dim")
	mem := make([]memory, p.int("n_layer"))
	return func(position int, id int64) []float64 {
		x := p.tensor("transformer.wte.weight").row(int(id))
		for l := range mem {
			at := fmt.Sprintf("transformer.h.%d.", l)
			h := p.layerNorm(at+"ln_1", epsilon, x)
			turn := func(part string) [][]float64 {
				return turned(cut(p.linear(at+"attn."+part, h), heads), position, n, 10000, neighbours)
			}
			a := mem[l].attend(turn("q_proj"), turn("k_proj"), cut(p.linear(at+"attn.v_proj", h), heads), 0, scaled(len(x)/heads))
			f := p.linear(at+"mlp.fc_out", each(p.linear(at+"mlp.fc_in", h), geluTanh))
			x = sum(x, p.linear(at+"attn.out_proj", a), p.ffn(l, position, f))
		}
		return p.linear("lm_head", p.layerNorm("transformer.ln_f", epsilon, x))
	}
}

// gptNeo is Black et al. 2021: scores are not scaled, local layers see
// window_size positions.
func (p *paper) gptNeo() func(position int, id int64) []float64 {
	heads, epsilon := p.int("num_heads"), p.num("layer_norm_epsilon")
	kinds := entry[[]any](p, "attention_layers")
	mem := make([]memory, p.int("num_layers"))
	return func(position int, id int64) []float64 {
		x := sum(p.tensor("transformer.wte.weight").row(int(id)), p.tensor("transformer.wpe.weight").row(position))
		for l := range mem {
			at := fmt.Sprintf("transformer.h.%d.", l)
			window := 0
			if kinds[l] == "local" {
				window = p.int("window_size")
			}
			h := p.layerNorm(at+"ln_1", epsilon, x)
			part := func(name string) [][]float64 { return cut(p.linear(at+"attn.attention."+name, h), heads) }
			a := mem[l].attend(part("q_proj"), part("k_proj"), part("v_proj"), window, func(_, _ int, d float64) float64 { return d })
			x = sum(x, p.linear(at+"attn.attention.out_proj", a))
			f := each(p.linear(at+"mlp.c_fc", p.layerNorm(at+"ln_2", epsilon, x)), geluTanh)
			x = sum(x, p.ffn(l, position, p.linear(at+"mlp.c_proj", f)))
		}
		return p.times("transformer.wte.weight", p.layerNorm("transformer.ln_f", epsilon, x))
	}
}

// gptNeoX is Black et al. 2022, section 2.1: x + Attn(LN1(x)) + FF(LN2(x)),
// with rotary positions in the first quarter of each head.
func (p *paper) gptNeoX() func(position int, id int64) []float64 {
	heads, epsilon := p.int("num_attention_heads"), p.num("layer_norm_eps")
	mem := make([]memory, p.int("num_hidden_layers"))
	return func(position int, id int64) []float64 {
		x := p.tensor("gpt_neox.embed_in.weight").row(int(id))
		width := len(x) / heads
		n := int(p.num("rotary_pct") * float64(width))
		for l := range mem {
			at := fmt.Sprintf("gpt_neox.layers.%d.", l)
			var q, k, v [][]float64
			for _, head := range cut(p.linear(at+"attention.query_key_value", p.layerNorm(at+"input_layernorm", epsilon, x)), heads) {
				q, k, v = append(q, head[:width]), append(k, head[width:2*width]), append(v, head[2*width:])
			}
			q = turned(q, position, n, p.num("rotary_emb_base"), halves(n))
			k = turned(k, position, n, p.num("rotary_emb_base"), halves(n))
			a := p.linear(at+"attention.dense", mem[l].attend(q, k, v, 0, scaled(width)))
			base := x
			if !p.flag("use_parallel_residual") {
				base = sum(x, a)
			}
			f := each(p.linear(at+"mlp.dense_h_to_4h", p.layerNorm(at+"post_attention_layernorm", epsilon, base)), gelu)
			x = sum(x, a, p.ffn(l, position, p.linear(at+"mlp.dense_4h_to_h", f)))
		}
		return p.linear("embed_out", p.layerNorm("gpt_neox.final_layer_norm", epsilon, x))
	}
}

// opt is Zhang et al. 2022: ReLU, and a table of positions whose first two rows
// are unused.
func (p *paper) opt() func(position int, id int64) []float64 {
	const unused, epsilon = 2, 1e-5
	heads := p.int("num_attention_heads")
	mem := make([]memory, p.int("num_hidden_layers"))
	return func(position int, id int64) []float64 {
		x := sum(p.tensor("model.decoder.embed_tokens.weight").row(int(id)), p.tensor("model.decoder.embed_positions.weight").row(position+unused))
		for l := range mem {
			at := fmt.Sprintf("model.decoder.layers.%d.", l)
			h := p.layerNorm(at+"self_attn_layer_norm", epsilon, x)
			part := func(name string) [][]float64 { return cut(p.linear(at+"self_attn."+name, h), heads) }
			a := mem[l].attend(part("q_proj"), part("k_proj"), part("v_proj"), 0, scaled(len(x)/heads))
			x = sum(x, p.linear(at+"self_attn.out_proj", a))
			f := each(p.linear(at+"fc1", p.layerNorm(at+"final_layer_norm", epsilon, x)), relu)
			x = sum(x, p.ffn(l, position, p.linear(at+"fc2", f)))
		}
		return p.times("model.decoder.embed_tokens.weight", p.layerNorm("model.decoder.final_layer_norm", epsilon, x))
	}
}

// bloom is Scao et al. 2022, section 3.2: ALiBi, a norm behind the embedding.
func (p *paper) bloom() func(position int, id int64) []float64 {
	heads, epsilon := p.int("n_head"), p.num("layer_norm_epsilon")
	mem := make([]memory, p.int("n_layer"))
	return func(position int, id int64) []float64 {
		x := p.layerNorm("transformer.word_embeddings_layernorm", epsilon, p.tensor("transformer.word_embeddings.weight").row(int(id)))
		width := len(x) / heads
		for l := range mem {
			at := fmt.Sprintf("transformer.h.%d.", l)
			var q, k, v [][]float64
			for _, head := range cut(p.linear(at+"self_attention.query_key_value", p.layerNorm(at+"input_layernorm", epsilon, x)), heads) {
				q, k, v = append(q, head[:width]), append(k, head[width:2*width]), append(v, head[2*width:])
			}
			a := mem[l].attend(q, k, v, 0, func(h, j int, d float64) float64 {
				return d/math.Sqrt(float64(width)) - alibiSlope(h, heads)*float64(position-j)
			})
			x = sum(x, p.linear(at+"self_attention.dense", a))
			f := each(p.linear(at+"mlp.dense_h_to_4h", p.layerNorm(at+"post_attention_layernorm", epsilon, x)), geluTanh)
			x = sum(x, p.ffn(l, position, p.linear(at+"mlp.dense_4h_to_h", f)))
		}
		return p.times("transformer.word_embeddings.weight", p.layerNorm("transformer.ln_f", epsilon, x))
	}
}

// falcon is Almazrouei et al. 2023. The 1B models have ALiBi, which their code
// scales like the products it is added to; the 7B one query heads and a single
// key and value head; larger ones groups, each with its queries, its key and
// its value, and a norm for either branch.
func (p *paper) falcon() func(position int, id int64) []float64 {
	heads, epsilon := p.int("num_attention_heads"), p.num("layer_norm_epsilon")
	mem := make([]memory, p.int("num_hidden_layers"))
	return func(position int, id int64) []float64 {
		x := p.tensor("transformer.word_embeddings.weight").row(int(id))
		width := len(x) / heads
		for l := range mem {
			at := fmt.Sprintf("transformer.h.%d.", l)
			first, second := "input_layernorm", "input_layernorm"
			switch {
			case p.flag("new_decoder_architecture"):
				first, second = "ln_attn", "ln_mlp"
			case !p.flag("parallel_attn"):
				second = "post_attention_layernorm"
			}
			all := cut(p.linear(at+"self_attention.query_key_value", p.layerNorm(at+first, epsilon, x)), p.falconHeads())
			var q, k, v [][]float64
			group := p.falconGroup()
			for i := 0; i < len(all); i += group + 2 {
				q = append(q, all[i:i+group]...)
				k, v = append(k, all[i+group]), append(v, all[i+group+1])
			}
			score := scaled(width)
			if p.flag("alibi") {
				score = func(h, j int, d float64) float64 {
					return (d - alibiSlope(h, heads)*float64(position-j)) / math.Sqrt(float64(width))
				}
			} else {
				q = turned(q, position, width, p.num("rope_theta"), halves(width))
				k = turned(k, position, width, p.num("rope_theta"), halves(width))
			}
			a := p.linear(at+"self_attention.dense", mem[l].attend(q, k, v, 0, score))
			base := x
			if !p.flag("parallel_attn") {
				base = sum(x, a)
			}
			f := each(p.linear(at+"mlp.dense_h_to_4h", p.layerNorm(at+second, epsilon, base)), gelu)
			x = sum(x, a, p.ffn(l, position, p.linear(at+"mlp.dense_4h_to_h", f)))
		}
		return p.times("transformer.word_embeddings.weight", p.layerNorm("transformer.ln_f", epsilon, x))
	}
}

// falconGroup is how many query heads stand before a key and a value head.
func (p *paper) falconGroup() int {
	heads := p.int("num_attention_heads")
	switch {
	case p.flag("new_decoder_architecture"):
		return heads / p.int("num_kv_heads")
	case p.flag("multi_query"):
		return heads
	}
	return 1
}

func (p *paper) falconHeads() int {
	return p.int("num_attention_heads") / p.falconGroup() * (p.falconGroup() + 2)
}

// phi2 is Li et al. 2023 (phi-1.5, whose shape Phi-2 has): one norm for both
// branches, rotary positions in a part of each head, biases everywhere.
func (p *paper) phi2() func(position int, id int64) []float64 {
	heads, epsilon := p.int("num_attention_heads"), p.num("layer_norm_eps")
	mem := make([]memory, p.int("num_hidden_layers"))
	return func(position int, id int64) []float64 {
		x := p.tensor("model.embed_tokens.weight").row(int(id))
		width := len(x) / heads
		n := int(p.num("partial_rotary_factor") * float64(width))
		for l := range mem {
			at := fmt.Sprintf("model.layers.%d.", l)
			h := p.layerNorm(at+"input_layernorm", epsilon, x)
			turn := func(part string) [][]float64 {
				return turned(cut(p.linear(at+"self_attn."+part, h), heads), position, n, p.num("rope_theta"), halves(n))
			}
			a := mem[l].attend(turn("q_proj"), turn("k_proj"), cut(p.linear(at+"self_attn.v_proj", h), heads), 0, scaled(width))
			f := p.linear(at+"mlp.fc2", each(p.linear(at+"mlp.fc1", h), geluTanh))
			x = sum(x, p.linear(at+"self_attn.dense", a), p.ffn(l, position, f))
		}
		return p.linear("lm_head", p.layerNorm("model.final_layernorm", epsilon, x))
	}
}

// phi3 is Abdin et al. 2024: LLaMA's block with its matrices joined, in which
// every layer has a window.
func (p *paper) phi3() func(position int, id int64) []float64 {
	heads, shared := p.int("num_attention_heads"), p.int("num_key_value_heads")
	mem := make([]memory, p.int("num_hidden_layers"))
	return func(position int, id int64) []float64 {
		x := p.tensor("model.embed_tokens.weight").row(int(id))
		width := len(x) / heads
		for l := range mem {
			at := fmt.Sprintf("model.layers.%d.", l)
			all := cut(p.linear(at+"self_attn.qkv_proj", p.rmsNorm(at+"input_layernorm", 0, x)), heads+2*shared)
			q := turned(all[:heads], position, width, p.num("rope_theta"), halves(width))
			k := turned(all[heads:heads+shared], position, width, p.num("rope_theta"), halves(width))
			a := mem[l].attend(q, k, all[heads+shared:], p.int("sliding_window"), scaled(width))
			x = sum(x, p.linear(at+"self_attn.o_proj", a))
			both := cut(p.linear(at+"mlp.gate_up_proj", p.rmsNorm(at+"post_attention_layernorm", 0, x)), 2)
			x = sum(x, p.ffn(l, position, p.linear(at+"mlp.down_proj", product(each(both[0], silu), both[1]))))
		}
		return p.linear("lm_head", p.rmsNorm("model.norm", 0, x))
	}
}

// llama is Touvron et al. 2023 and what differs from it little: Mistral (Jiang
// et al. 2023) has a window, Qwen2 (Yang et al. 2024) biases in query, key and
// value, Qwen3 (Yang et al. 2025, section 2) norms of queries and keys. A shared
// head is the embedding.
func (p *paper) llama() func(position int, id int64) []float64 {
	heads, shared := p.int("num_attention_heads"), p.int("num_key_value_heads")
	window := 0
	if p.config["model_type"] == "mistral" {
		window = p.int("sliding_window")
	}
	mem := make([]memory, p.int("num_hidden_layers"))
	return func(position int, id int64) []float64 {
		x := p.tensor("model.embed_tokens.weight").row(int(id))
		for l := range mem {
			at := fmt.Sprintf("model.layers.%d.", l)
			h := p.rmsNorm(at+"input_layernorm", 0, x)
			part := func(name string, n int) [][]float64 { return cut(p.linear(at+"self_attn."+name, h), n) }
			q, k := part("q_proj", heads), part("k_proj", shared)
			if p.config["model_type"] == "qwen3" {
				q, k = p.normed(at+"self_attn.q_norm", 0, q), p.normed(at+"self_attn.k_norm", 0, k)
			}
			width := len(q[0])
			q = turned(q, position, width, p.num("rope_theta"), halves(width))
			k = turned(k, position, width, p.num("rope_theta"), halves(width))
			a := mem[l].attend(q, k, part("v_proj", shared), window, scaled(width))
			x = sum(x, p.linear(at+"self_attn.o_proj", a))
			h = p.rmsNorm(at+"post_attention_layernorm", 0, x)
			f := product(each(p.linear(at+"mlp.gate_proj", h), silu), p.linear(at+"mlp.up_proj", h))
			x = sum(x, p.ffn(l, position, p.linear(at+"mlp.down_proj", f)))
		}
		x = p.rmsNorm("model.norm", 0, x)
		if p.flag("tie_word_embeddings") {
			return p.times("model.embed_tokens.weight", x)
		}
		return p.linear("lm_head", x)
	}
}

func (p *paper) normed(name string, offset float64, heads [][]float64) [][]float64 {
	out := make([][]float64, len(heads))
	for i, h := range heads {
		out[i] = p.rmsNorm(name, offset, h)
	}
	return out
}

// gemma is Gemma 2 (Riviere et al. 2024, section 2) and Gemma 3 (Kamath et al.
// 2025, section 2): norms with gain 1 + w on both sides of either part, the
// embedding times the root of the width, GeGLU, windows in some layers. Gemma 2
// caps scores and logits softly; Gemma 3 normalises queries and keys instead,
// and turns those of layers with a window by a base of their own.
func (p *paper) gemma() func(position int, id int64) []float64 {
	heads, shared := p.int("num_attention_heads"), p.int("num_key_value_heads")
	third := p.config["model_type"] == "gemma3_text"
	mem := make([]memory, p.int("num_hidden_layers"))
	return func(position int, id int64) []float64 {
		x := p.tensor("model.embed_tokens.weight").row(int(id))
		x = each(x, func(v float64) float64 { return v * math.Sqrt(p.num("hidden_size")) })
		for l := range mem {
			at := fmt.Sprintf("model.layers.%d.", l)
			// Gemma 2: every layer with an even number; Gemma 3: all but the last
			// of every sliding_window_pattern.
			local := l%2 == 0
			theta := p.num("rope_theta")
			if third {
				if local = (l+1)%p.int("sliding_window_pattern") != 0; local {
					theta = p.num("rope_local_base_freq")
				}
			}
			window := 0
			if local {
				window = p.int("sliding_window")
			}
			h := p.rmsNorm(at+"input_layernorm", 1, x)
			part := func(name string, n int) [][]float64 { return cut(p.linear(at+"self_attn."+name, h), n) }
			q, k := part("q_proj", heads), part("k_proj", shared)
			if third {
				q, k = p.normed(at+"self_attn.q_norm", 1, q), p.normed(at+"self_attn.k_norm", 1, k)
			}
			width := p.int("head_dim")
			q = turned(q, position, width, theta, halves(width))
			k = turned(k, position, width, theta, halves(width))
			a := mem[l].attend(q, k, part("v_proj", shared), window, func(_, _ int, d float64) float64 {
				d /= math.Sqrt(p.num("query_pre_attn_scalar"))
				if !third {
					d = p.capped("attn_logit_softcapping", d)
				}
				return d
			})
			x = sum(x, p.rmsNorm(at+"post_attention_layernorm", 1, p.linear(at+"self_attn.o_proj", a)))
			h = p.rmsNorm(at+"pre_feedforward_layernorm", 1, x)
			f := product(each(p.linear(at+"mlp.gate_proj", h), geluTanh), p.linear(at+"mlp.up_proj", h))
			x = sum(x, p.rmsNorm(at+"post_feedforward_layernorm", 1, p.ffn(l, position, p.linear(at+"mlp.down_proj", f))))
		}
		y := p.times("model.embed_tokens.weight", p.rmsNorm("model.norm", 1, x))
		if third {
			return y
		}
		return each(y, func(v float64) float64 { return p.capped("final_logit_softcapping", v) })
	}
}

func (p *paper) capped(key string, v float64) float64 { return p.num(key) * math.Tanh(v/p.num(key)) }
