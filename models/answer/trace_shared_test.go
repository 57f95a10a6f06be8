//go:build shared

package answer

import (
	"context"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"editpipe/internal/modeltest"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/arch"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// TestTraceHiddenGivesLogits applies the final norm and the head to the traced
// output of the last block and compares with the scored log-probability.
func TestTraceHiddenGivesLogits(t *testing.T) {
	dir, env := modeltest.Fixtures(t), orttest.Open(t)
	ctx := context.Background()
	for _, p := range []string{"gpt2", "gptj"} {
		t.Run(p, func(t *testing.T) {
			lm := modeltest.Open(t, env, filepath.Join(dir, "arch", p), models.Options{})
			q := modeltest.RandomQuery(lm, rand.New(rand.NewPCG(2, 9)), 9, 1)
			tr, err := activation.Trace(ctx, lm, []activation.Row{{Query: q, Positions: []int{-1}}}, arch.Site{Side: arch.Decoder, Layer: lm.Info().Layers - 1, Point: arch.Hidden})
			if err != nil || tr[0].Err != nil {
				t.Fatal(err, tr[0].Err)
			}
			get := func(name string) *tensor.Tensor {
				for _, init := range lm.Anatomy().Forward.Model.Graph.Initializers {
					if init.Name == name {
						v, err := init.Value()
						if err != nil {
							t.Fatal(err)
						}
						return v
					}
				}
				t.Fatalf("no initializer %s", name)
				return nil
			}
			h := tr[0].Values[0].Float32s()
			var mean, sq float64
			for _, x := range h {
				mean += float64(x) / float64(len(h))
			}
			for _, x := range h {
				sq += (float64(x) - mean) * (float64(x) - mean) / float64(len(h))
			}
			gain, bias := get("transformer.ln_f.weight").Float32s(), get("transformer.ln_f.bias").Float32s()
			x := make([]float32, len(h))
			for i := range h {
				x[i] = float32((float64(h[i])-mean)/math.Sqrt(sq+1e-5))*gain[i] + bias[i]
			}
			logits := make([]float32, lm.Info().Vocab)
			head := get(map[string]string{"gpt2": "onnx::MatMul_992", "gptj": "onnx::MatMul_971"}[p]).Float32s()
			for k := range logits {
				for i := range x {
					logits[k] += x[i] * head[i*len(logits)+k]
				}
			}
			if p == "gptj" {
				for k, b := range get("lm_head.bias").Float32s() {
					logits[k] += b
				}
			}
			a, err := Score(ctx, lm, []Row{{Query: q}})
			if err != nil || a[0].Err != nil {
				t.Fatal(err, a[0].Err)
			}
			var sum float64
			for _, x := range logits {
				sum += math.Exp(float64(x))
			}
			gold := q.TargetIDs[0][0]
			if d := math.Abs(float64(logits[gold]) - math.Log(sum) - a[0].Targets[0].LogProbs[0]); !(d < modeltest.LogProbTolerance) {
				t.Errorf("log-probability from the traced block differs by %g", d)
			}
		})
	}
}
