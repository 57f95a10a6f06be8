package tinylm

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"

	"editpipe/tensor"
)

// parameters makes the weights of a model as they are asked for.
type parameters struct {
	seed   uint64
	alias  map[string]string // parameter -> the one it equals
	values map[string]*tensor.Tensor
}

func newParameters(c Config) *parameters {
	p := &parameters{seed: c.Seed, alias: map[string]string{}, values: map[string]*tensor.Tensor{}}
	if c.SharedWeights {
		a := c.anatomy()
		down := func(layer int) string { return fmt.Sprintf("%s.%s.%d.%s.weight", a.root, a.layers, layer, a.down) }
		if c.Family == T5 {
			down = func(layer int) string { return fmt.Sprintf("decoder.block.%d.layer.2.DenseReluDense.wo.weight", layer) }
		}
		p.alias[down(1)] = down(0)
	}
	return p
}

// get returns a parameter with independent normal elements of the given mean
// and standard deviation, drawn from a generator seeded by the name.
func (p *parameters) get(name string, mean, std float64, shape ...int) *tensor.Tensor {
	if t := p.values[name]; t != nil {
		return t
	}
	source := name
	if a, ok := p.alias[name]; ok {
		source = a
	}
	h := fnv.New64a()
	h.Write([]byte(source)) // never fails
	r := rand.New(rand.NewPCG(p.seed, h.Sum64()))
	n := 1
	for _, d := range shape {
		n *= d
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(mean + std*r.NormFloat64())
	}
	p.values[name] = tensor.FromFloat32s(v, shape...)
	return p.values[name]
}

// The scales keep activations of order one through any number of layers, so
// that the logits of different prompts differ clearly.

func (p *parameters) matrix(name string, fanIn int, shape ...int) *tensor.Tensor {
	return p.get(name, 0, 1/math.Sqrt(float64(fanIn)), shape...)
}

func (p *parameters) embedding(name string, rows, width int) *tensor.Tensor {
	return p.get(name, 0, 0.5, rows, width)
}

func (p *parameters) gain(name string, width int) *tensor.Tensor {
	return p.get(name, 1, 0.1, width)
}

func (p *parameters) bias(name string, width int) *tensor.Tensor {
	return p.get(name, 0, 0.1, width)
}
