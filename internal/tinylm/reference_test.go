package tinylm_test

import (
	"fmt"
	"math"
	"testing"

	"editpipe/internal/tinylm"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// reference computes logits from a checkpoint in plain Go and float64,
// following the published definitions and sharing no code with the graphs.
type reference struct {
	p     map[string]*tensor.Tensor
	heads int
	kv    int
}

func (r reference) vec(name string) []float64 {
	var out []float64
	for _, v := range r.p[name].Float32s() {
		out = append(out, float64(v))
	}
	return out
}

// times is x W, with W [in, out], or [out, in] when transposed.
func (r reference) times(x []float64, name string, transposed bool) []float64 {
	w := r.p[name]
	v := w.Float32s()
	in, out := w.Shape[0], w.Shape[1]
	if transposed {
		in, out = out, in
	}
	if len(x) != in {
		panic(fmt.Sprintf("%s takes %d, got %d", name, in, len(x)))
	}
	y := make([]float64, out)
	for i := range in {
		for j := range out {
			if transposed {
				y[j] += x[i] * float64(v[j*in+i])
			} else {
				y[j] += x[i] * float64(v[i*out+j])
			}
		}
	}
	return y
}

func plus(a, b []float64) []float64 {
	c := make([]float64, len(a))
	for i := range a {
		c[i] = a[i] + b[i]
	}
	return c
}

func (r reference) layerNorm(x []float64, name string) []float64 {
	w, b := r.vec(name+".weight"), r.vec(name+".bias")
	mean, variance := 0.0, 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x))
	}
	y := make([]float64, len(x))
	for i := range x {
		y[i] = (x[i]-mean)/math.Sqrt(variance+1e-5)*w[i] + b[i]
	}
	return y
}

func (r reference) rmsNorm(x []float64, name string) []float64 {
	w := r.vec(name + ".weight")
	square := 0.0
	for _, v := range x {
		square += v * v / float64(len(x))
	}
	y := make([]float64, len(x))
	for i := range x {
		y[i] = x[i] / math.Sqrt(square+1e-6) * w[i]
	}
	return y
}

// attend is causal attention of the last position over all; k and v hold a
// row per position.
func (r reference) attend(q []float64, k, v [][]float64) []float64 {
	width := len(q) / r.heads
	out := make([]float64, len(q))
	for h := range r.heads {
		at := h * r.kv / r.heads * width // the head that it shares
		total := 0.0
		weights := make([]float64, len(k))
		for j := range k {
			score := 0.0
			for i := range width {
				score += q[h*width+i] * k[j][at+i]
			}
			weights[j] = math.Exp(score / math.Sqrt(float64(width)))
			total += weights[j]
		}
		for j := range k {
			for i := range width {
				out[h*width+i] += weights[j] / total * v[j][at+i]
			}
		}
	}
	return out
}

func embed(t *tensor.Tensor, id int) []float64 {
	n := t.Shape[1]
	var out []float64
	for _, v := range t.Float32s()[id*n : (id+1)*n] {
		out = append(out, float64(v))
	}
	return out
}

func gelu(x []float64) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = 0.5 * v * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
	}
	return y
}

func (r reference) gpt2(tokens []int64, layers int) (logits [][]float64) {
	keys, values := make([][][]float64, layers), make([][][]float64, layers)
	for pos, id := range tokens {
		x := plus(embed(r.p["transformer.wte.weight"], int(id)), embed(r.p["transformer.wpe.weight"], pos))
		n := len(x)
		for l := range layers {
			name := fmt.Sprintf("transformer.h.%d.", l)
			conv := func(x []float64, part string) []float64 {
				return plus(r.times(x, name+part+".weight", false), r.vec(name+part+".bias"))
			}
			qkv := conv(r.layerNorm(x, name+"ln_1"), "attn.c_attn")
			keys[l], values[l] = append(keys[l], qkv[n:2*n]), append(values[l], qkv[2*n:])
			x = plus(x, conv(r.attend(qkv[:n], keys[l], values[l]), "attn.c_proj"))
			x = plus(x, conv(gelu(conv(r.layerNorm(x, name+"ln_2"), "mlp.c_fc")), "mlp.c_proj"))
		}
		logits = append(logits, r.times(r.layerNorm(x, "transformer.ln_f"), "transformer.wte.weight", true))
	}
	return logits
}

// gptj rotates neighbouring pairs of the first half of each head and adds
// attention and MLP of the same normalised input.
func (r reference) gptj(tokens []int64, layers int) (logits [][]float64) {
	keys, values := make([][][]float64, layers), make([][][]float64, layers)
	for pos, id := range tokens {
		x := embed(r.p["transformer.wte.weight"], int(id))
		width := len(x) / r.heads
		rotated := width / 2
		turn := func(x []float64) []float64 {
			y := append([]float64(nil), x...)
			for h := range r.heads {
				for i := range rotated / 2 {
					a := float64(pos) / math.Pow(10000, float64(2*i)/float64(rotated))
					p, q := h*width+2*i, h*width+2*i+1
					y[p] = x[p]*math.Cos(a) - x[q]*math.Sin(a)
					y[q] = x[q]*math.Cos(a) + x[p]*math.Sin(a)
				}
			}
			return y
		}
		for l := range layers {
			name := fmt.Sprintf("transformer.h.%d.", l)
			h := r.layerNorm(x, name+"ln_1")
			keys[l] = append(keys[l], turn(r.times(h, name+"attn.k_proj.weight", true)))
			values[l] = append(values[l], r.times(h, name+"attn.v_proj.weight", true))
			a := r.attend(turn(r.times(h, name+"attn.q_proj.weight", true)), keys[l], values[l])
			a = r.times(a, name+"attn.out_proj.weight", true)
			f := gelu(plus(r.times(h, name+"mlp.fc_in.weight", true), r.vec(name+"mlp.fc_in.bias")))
			f = plus(r.times(f, name+"mlp.fc_out.weight", true), r.vec(name+"mlp.fc_out.bias"))
			x = plus(x, plus(a, f))
		}
		x = r.layerNorm(x, "transformer.ln_f")
		logits = append(logits, plus(r.times(x, "lm_head.weight", true), r.vec("lm_head.bias")))
	}
	return logits
}

func (r reference) llama(tokens []int64, layers int) (logits [][]float64) {
	keys, values := make([][][]float64, layers), make([][][]float64, layers)
	for pos, id := range tokens {
		x := embed(r.p["model.embed_tokens.weight"], int(id))
		width := len(x) / r.heads
		turn := func(x []float64) []float64 {
			y := make([]float64, len(x))
			for h := range len(x) / width {
				for i := range width / 2 {
					a := float64(pos) / math.Pow(10000, float64(2*i)/float64(width))
					p, q := h*width+i, h*width+i+width/2
					y[p] = x[p]*math.Cos(a) - x[q]*math.Sin(a)
					y[q] = x[q]*math.Cos(a) + x[p]*math.Sin(a)
				}
			}
			return y
		}
		for l := range layers {
			name := fmt.Sprintf("model.layers.%d.", l)
			linear := func(x []float64, part string) []float64 { return r.times(x, name+part+".weight", true) }
			h := r.rmsNorm(x, name+"input_layernorm")
			keys[l] = append(keys[l], turn(linear(h, "self_attn.k_proj")))
			values[l] = append(values[l], linear(h, "self_attn.v_proj"))
			a := r.attend(turn(linear(h, "self_attn.q_proj")), keys[l], values[l])
			x = plus(x, linear(a, "self_attn.o_proj"))
			h = r.rmsNorm(x, name+"post_attention_layernorm")
			gate, up := linear(h, "mlp.gate_proj"), linear(h, "mlp.up_proj")
			for i, g := range gate {
				up[i] *= g / (1 + math.Exp(-g))
			}
			x = plus(x, linear(up, "mlp.down_proj"))
		}
		logits = append(logits, r.times(r.rmsNorm(x, "model.norm"), "lm_head.weight", true))
	}
	return logits
}

func TestAgainstReference(t *testing.T) {
	env := orttest.Open(t)
	for name, c := range decoders() {
		t.Run(name, func(t *testing.T) {
			c.Seed = 11
			p, err := tinylm.Parameters(c)
			if err != nil {
				t.Fatal(err)
			}
			r := reference{p: p, heads: 4, kv: 4}
			if c.KVHeads > 0 {
				r.kv = c.KVHeads
			}
			layers := max(c.Layers, 2)
			var want [][]float64
			switch c.Family {
			case tinylm.GPT2:
				want = r.gpt2(prompt, layers)
			case tinylm.GPTJ:
				want = r.gptj(prompt, layers)
			default:
				want = r.llama(prompt, layers)
			}
			got := load(t, env, c, "model.onnx").run(ids(prompt))["logits"]
			worst, spread := 0.0, 0.0
			for i := range prompt {
				for j, v := range row(got, 0, i) {
					worst = max(worst, math.Abs(float64(v)-want[i][j]))
					spread = max(spread, math.Abs(want[i][j]))
				}
			}
			t.Logf("largest logit %.3g, largest difference %.3g", spread, worst)
			if worst > sameModel || spread < 1 {
				t.Errorf("largest logit %g, largest difference %g, allowed %g", spread, worst, sameModel)
			}
		})
	}
}
