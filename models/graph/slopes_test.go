package graph

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"editpipe/internal/leak"
	"editpipe/internal/tinylm"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/onnx"
	"editpipe/onnx/grad"
	"editpipe/ort"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// slopes gives the loss of [Losses] with its gradients with respect to the parameters
// of networks, which no purpose of the program does yet.
type slopes struct{ of string }

func (slopes) caches() bool                          { return false }
func (slopes) before(*onnx.Model, *arch.Graph) error { return nil }
func (s slopes) add(m *onnx.Model, _ *arch.Anatomy, g *arch.Graph) error {
	h, err := addHead(m, g)
	if err != nil {
		return err
	}
	d, err := grad.Gradients(m, h.Loss, s.of)
	if err != nil {
		return err
	}
	b := m.Builder()
	b.Output(h.Loss, "loss", onnx.Float, nil)
	b.Output(d[0], "slope", onnx.Float, symbolic("a", "b", "c"))
	return nil
}

// TestSlopesOfParameters compares the gradients of a loss with respect to every
// parameter of every kind of network with central differences along random
// directions, for parameters of each row and for one set of all rows.
func TestSlopesOfParameters(t *testing.T) {
	// As those of a float32 loss of order 1, see models.TestLossGradients.
	const step, tolerance = 1e-2, 2e-3
	const units = 8 // some of which speak, whatever the tokens
	env := orttest.Open(t)
	for _, family := range []tinylm.Family{tinylm.GPT2, tinylm.GPTJ, tinylm.LLaMA} {
		dir := t.TempDir()
		if err := errors.Join(tinylm.Write(dir, tinylm.Config{Family: family, Seed: 3}), leak.Into(dir)); err != nil {
			t.Fatal(err)
		}
		a, err := arch.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		for kind := range nets {
			at := Place{arch.Site{Layer: 1, Point: nets[kind].At}, kind}
			params, err := at.params(a.Info.FFN(arch.Decoder, 1))
			if err != nil {
				t.Fatal(err)
			}
			for _, q := range params {
				m, err := Build(a, Spec{Take: Take{Splices: at.String()}, Give: slopes{at.Input(q.Name)}})
				if err != nil {
					t.Fatalf("%s of %s: %v", q.Name, kind, err)
				}
				data, err := m.Bytes()
				if err != nil {
					t.Fatal(err)
				}
				s, err := env.NewSession(t.Context(), data, ort.Options{Provider: ort.Provider{Name: "cpu"}, Threads: 1})
				if err != nil {
					t.Fatal(err)
				}
				r := rand.New(rand.NewPCG(4, 4))
				for _, rows := range []int{1, 2} {
					var each []*patch.Patch
					for range rows {
						one := map[string]*tensor.Tensor{}
						for _, p := range params {
							shape := append([]int(nil), p.Dims...)
							for i, d := range shape {
								if d == perUnit {
									shape[i] = units
								}
							}
							one[p.Name] = tensor.New(tensor.F32, shape...)
							for i := range one[p.Name].Float32s() {
								one[p.Name].Float32s()[i] = float32(0.5 * r.NormFloat64())
							}
						}
						each = append(each, &patch.Patch{Splices: []patch.Splice{{At: at.At, Kind: kind, Params: one}}})
					}
					fed, err := Stack(&a.Info, at, each)
					if err != nil {
						t.Fatal(err)
					}
					run := func() (loss float64, slope *tensor.Tensor) {
						in, out := lossFeeds(a, 2), map[string]*tensor.Tensor{"loss": nil, "slope": nil}
						for name, v := range fed {
							in[at.Input(name)] = v
						}
						if err := s.Run(t.Context(), in, out); err != nil {
							t.Fatal(err)
						}
						return float64(out["loss"].Float32s()[0]), out["slope"]
					}
					_, slope := run()
					v := fed[q.Name].Float32s()
					direction, norm := make([]float64, len(v)), 0.0
					for i := range direction {
						direction[i] = r.NormFloat64()
						norm += direction[i] * direction[i]
					}
					var got, want float64
					if slope.Len() != len(v) {
						t.Fatalf("%s of %s on %s: the gradient is %v of %v", q.Name, kind, family, slope.Shape, fed[q.Name].Shape)
					}
					for i, g := range slope.Float32s() {
						direction[i] /= math.Sqrt(norm)
						got += float64(g) * direction[i]
					}
					kept := append([]float32(nil), v...)
					for _, sign := range []float64{1, -1} {
						for i, x := range direction {
							v[i] = kept[i] + float32(sign*step*x)
						}
						loss, _ := run()
						want += sign * loss / (2 * step)
					}
					copy(v, kept)
					if math.Abs(got-want) > tolerance || got == 0 {
						t.Errorf("%s of %s on %s, %d rows of parameters: slope %g, by differences %g", q.Name, kind, family, rows, got, want)
					}
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// lossFeeds are the inputs of a graph that gives losses: B rows of four tokens, each
// with a term at its end.
func lossFeeds(a *arch.Anatomy, B int) map[string]*tensor.Tensor {
	const T = 4
	p := a.Forward.Ports
	ids, mask, positions := make([]int64, B*T), make([]int64, B*T), make([]int64, B*T)
	var at, targets []int64
	var weights []float32
	for b := range B {
		for i := range T {
			ids[b*T+i], mask[b*T+i], positions[b*T+i] = int64(3+b*T+i), 1, int64(i)
		}
		at, targets, weights = append(at, int64(b), T-1), append(targets, int64(5+b)), append(weights, 1, 0, 0, 0)
	}
	feeds := map[string]*tensor.Tensor{
		p.IDs: tensor.FromInt64s(ids, B, T), LossPositions: tensor.FromInt64s(at, B, 2), LossTargets: tensor.FromInt64s(targets, B),
		LossWeights: tensor.FromFloat32s(weights, B, 4), LossReference: tensor.New(tensor.F32, 1, a.Info.Vocab),
	}
	if p.Mask != "" {
		feeds[p.Mask] = tensor.FromInt64s(mask, B, T)
	}
	if p.Positions != "" {
		feeds[p.Positions] = tensor.FromInt64s(positions, B, T)
	}
	return feeds
}
