package train_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"editpipe/onnx"
	"editpipe/onnx/grad"
	"editpipe/ort/orttest"
	"editpipe/tensor"
	"editpipe/train"
)

// The optimisation that ROME and MEMIT share, with the loss head and the
// positional delta of package grad: one vector is added at a position of several
// rows, the loss is the mean negative log-likelihood of a target on some of them,
// a divergence from the unedited model on another and a penalty on the norm,
// which may not exceed a bound.
func TestValueOptimisation(t *testing.T) {
	const (
		facts, contexts, length, width, words = 5, 3, 4, 6, 9
		rows                                  = contexts + 1 // the last is the one whose answer is to stay
		radius, limit                         = 2.5, 0.3
	)
	m := onnx.New(8, opset)
	b := m.Builder()
	r := rand.New(rand.NewPCG(7, 8))
	batch := []onnx.Dim{onnx.Symbolic("batch"), {Value: length}, {Value: width}}
	b.Input("hidden", onnx.Float, batch)
	z := b.Op("Tanh", []string{"hidden"})
	logits := b.Op("MatMul", []string{b.Op("Tanh", []string{z}), b.Const(random(r, -3, 3, width, words))})
	if err := grad.AddDelta(m, z, "delta", "positions"); err != nil {
		t.Fatal(err)
	}
	head, err := grad.AddHead(m, logits, "")
	if err != nil {
		t.Fatal(err)
	}
	g, err := grad.Gradients(m, head.Loss, "delta")
	if err != nil {
		t.Fatal(err)
	}
	b = m.Builder()
	places := []onnx.Dim{onnx.Symbolic(head.Positions + "_count")}
	b.Output(b.Op("Mul", []string{head.Weights, head.Terms}), "terms", onnx.Float, append(places, onnx.Dim{Value: 4}))
	b.Output(head.LogProbs, "log_probs", onnx.Float, append(places, onnx.Dim{Value: words}))
	b.Output(g[0], "gradient", onnx.Float, []onnx.Dim{onnx.Symbolic("positions_count"), {Value: width}})
	s := session(t, orttest.Open(t), m)

	hidden, target := make([]*tensor.Tensor, facts), make([]int64, facts)
	for i := range facts {
		hidden[i], target[i] = random(r, -1, 1, rows, length, width), r.Int64N(words)
	}
	reference := make([][]float32, facts) // the unedited answers of the last rows, known after the first Run
	first, last := make([][]float32, facts), make([][]float32, facts)
	objective := func() *train.Graph {
		clear(reference)
		return &train.Graph{
			Session: s, Loss: "terms", Gradients: map[string]string{"delta": "gradient"},
			Batch: func(problems []int) (train.Batch, error) {
				var at, targets []int64
				var owner []int
				n := len(problems) * rows
				weights, answers := tensor.New(tensor.F32, n, 4), tensor.New(tensor.F32, n, words)
				for i, p := range problems {
					for k := range rows {
						row := i*rows + k
						at, targets, owner = append(at, int64(row), int64(1+k%2)), append(targets, target[p]), append(owner, i)
						switch {
						case k < contexts:
							weights.Float32s()[row*4] = 1. / contexts
						case reference[p] != nil: // in the first Run the divergence and its slope are 0
							weights.Float32s()[row*4+2] = 0.0625
							copy(answers.Float32s()[row*words:], reference[p])
						}
					}
				}
				positions := tensor.FromInt64s(at, n, 2)
				all := stacked(hidden, problems)
				return train.Batch{
					In: map[string]*tensor.Tensor{
						"hidden":       tensor.FromFloat32s(all.Float32s(), n, length, width),
						"positions":    positions,
						head.Positions: positions, head.Targets: tensor.FromInt64s(targets, n), head.Weights: weights, head.Reference: answers,
					},
					Rows: owner, Terms: owner,
					Fetch: []string{"log_probs"},
					Use: func(out map[string]*tensor.Tensor) error {
						v := out["log_probs"].Float32s()
						for i, p := range problems {
							last[p] = v[i*rows*words : (i+1)*rows*words]
							if reference[p] == nil {
								first[p], reference[p] = last[p], last[p][contexts*words:]
							}
						}
						return nil
					},
				}, nil
			},
		}
	}
	problems := make([]train.Problem, facts)
	for i := range problems {
		problems[i] = train.Problem{"delta": {Start: tensor.New(tensor.F32, width), Penalty: train.Norm(0.05), Project: train.Ball(nil, radius)}}
	}
	c := train.Config{Optimiser: train.NewAdam(0.5), Steps: 20, Stop: train.Below(limit)}
	reports := minimise(t, objective(), problems, c)
	early := 0
	for i, r := range reports {
		if n := r.Values["delta"].Norm(); n > radius*(1+rounding) {
			t.Errorf("fact %d: the norm is %v, the bound %v", i, n, radius)
		}
		nll := func(logProbs []float32) float64 {
			sum := 0.0
			for k := range contexts {
				sum -= float64(logProbs[k*words+int(target[i])]) / contexts
			}
			return sum
		}
		if before, after := nll(first[i]), nll(last[i]); math.Abs(before-r.Losses[0]) > rounding*(1+before) || after >= before {
			t.Errorf("fact %d: the likelihood went from %v to %v, the first loss was %v", i, before, after, r.Losses[0])
		}
		if r.Reason == train.Converged {
			early++
		}
	}
	if early == 0 || early == facts {
		t.Errorf("%d of %d facts stopped early; the test wants some", early, facts)
	}
	// One at a time; problem 0 of each minimisation is then another fact.
	for i := range problems {
		alone := objective()
		inner := alone.Batch
		alone.Batch = func([]int) (train.Batch, error) { return inner([]int{i}) }
		sameReport(t, i, minimise(t, alone, problems[i:i+1], c)[0], reports[i], batched)
	}
}
