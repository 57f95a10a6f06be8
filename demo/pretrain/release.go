package pretrain

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"editpipe/onnx"
	"editpipe/ort"
	"editpipe/tensor"
	"editpipe/train"
)

const (
	// activityBatches of text decide which neurons are dead: about 190,000 tokens,
	// enough to see one that fires for a single fact.
	activityBatches = 400
	// deadEnergy bounds the mean square of a dead neuron's activation; that of
	// a neuron in use is from 1e-3 to 10.
	deadEnergy = 1e-4
	// residualScale makes the residual stream smaller, see rescale.
	residualScale = 0.5
)

// Released are the weights of the last checkpoint as Export writes them: rounded
// to float16, here in float32 again, and with dead neurons of the feed-forward
// layers revived, which it counts. A dead neuron is hardly ever active on the
// text, so the second moments of the activations, which ROME and MEMIT invert,
// would be singular, or their inverse would be made of its rounding errors. A
// revived one has new random input weights and no output weights: what little
// it contributed is lost, which the measurements of the model include. The
// residual stream is rescaled.
func (t *Training) Released(ctx context.Context, env *ort.Env) (w train.Values, revived int, err error) {
	w, _, err = t.Weights()
	if err != nil {
		return nil, 0, err
	}
	energies, err := t.energies(ctx, env, w)
	if err != nil {
		return nil, 0, err
	}
	for layer, energy := range energies {
		revived += t.Plan.Size.revive(w, layer, energy, t.Plan.Seed)
	}
	rescale(w, residualScale)
	if w, err = rounded(w, tensor.F16); err != nil {
		return nil, 0, err
	}
	w, err = rounded(w, tensor.F32)
	return w, revived, err
}

// revive gives the dead neurons of a layer inputs as large as the mean of the
// others', in place, and takes their outputs away.
func (s Size) revive(w train.Values, layer int, energy []float64, seed uint64) int {
	name := fmt.Sprintf("transformer.h.%d.mlp.", layer)
	up, bias, down := w[name+"c_fc.weight"], w[name+"c_fc.bias"].Float32s(), w[name+"c_proj.weight"].Float32s()
	scale := up.Norm() / math.Sqrt(float64(up.Len()))
	r := source(seed, name)
	count := 0
	for j, e := range energy {
		if e >= deadEnergy {
			continue
		}
		count++
		bias[j] = 0
		for i := range s.Width {
			up.Float32s()[i*s.FFN+j] = float32(scale * r.NormFloat64())
			down[j*s.Width+i] = 0
		}
	}
	return count
}

// rescale multiplies everything that is written into the residual stream by a
// factor, in place, and takes it back in the last norm, as the output is tied to
// the embedding. But for the epsilon of the norms the model says the same. Methods
// have fixed rates, for models whose activations are as large as those of GPT-2: the
// factor is one at which ROME's change is some quarter of the weight (0.73 of it at
// 0.1, 0.35 at 0.3, 0.26 at 0.5, 0.17 at 1) and most of its edits still take.
func rescale(w train.Values, factor float32) {
	for name, t := range w {
		by := float32(1)
		switch {
		case strings.Contains(name, ".wte.") || strings.Contains(name, ".wpe.") || strings.Contains(name, ".c_proj."):
			by = factor
		case strings.Contains(name, ".ln_f."):
			by = 1 / factor
		}
		v := t.Float32s()
		for i := range v {
			v[i] *= by
		}
	}
}

// energies are the mean squares of the activations of every feed-forward neuron,
// by layer, over some text of the training.
func (t *Training) energies(ctx context.Context, env *ort.Env, w train.Values) ([][]float64, error) {
	m, err := t.Plan.Size.answers(w)
	if err != nil {
		return nil, err
	}
	b := m.Builder()
	var names []string
	m.Graph.Outputs = nil
	for _, n := range slices.Clone(m.Graph.Nodes) {
		if n.OpType == "Gelu" {
			squares := b.Op("ReduceSumSquare", []string{n.Outputs[0], b.Int64s(0, 1)}, onnx.AttrInt("keepdims", 0))
			b.Output(squares, squares, onnx.Float, []onnx.Dim{{Value: int64(t.Plan.Size.FFN)}})
			names = append(names, squares)
		}
	}
	m.Prune()
	data, err := m.Bytes()
	if err != nil {
		return nil, fmt.Errorf("pretrain: %w", err)
	}
	s, err := env.NewSession(ctx, data, ort.Options{Threads: 1})
	if err != nil {
		return nil, fmt.Errorf("pretrain: opening the graph for activations: %w", err)
	}
	defer s.Close()
	sums := make([][]float64, len(names))
	for i := range sums {
		sums[i] = make([]float64, t.Plan.Size.FFN)
	}
	tokens := 0
	for step := range activityBatches {
		p, err := t.Facts.batch(t.Tokenizer, t.end, t.Plan, step, 0)
		if err != nil {
			return nil, err
		}
		out := map[string]*tensor.Tensor{}
		for _, n := range names {
			out[n] = nil
		}
		if err := s.Run(ctx, p.feed(), out); err != nil {
			return nil, fmt.Errorf("pretrain: taking activations: %w", err)
		}
		tokens += len(p.ids)
		for i, n := range names {
			for j, v := range out[n].Float32s() {
				sums[i][j] += float64(v)
			}
		}
	}
	for _, layer := range sums {
		for j := range layer {
			layer[j] /= float64(tokens)
		}
	}
	return sums, nil
}

// rounded converts all weights.
func rounded(w train.Values, to tensor.DType) (train.Values, error) {
	out := train.Values{}
	for _, name := range slices.Sorted(maps.Keys(w)) {
		var err error
		if out[name], err = w[name].Convert(to); err != nil {
			return nil, fmt.Errorf("pretrain: rounding %s: %w", name, err)
		}
	}
	return out, nil
}
