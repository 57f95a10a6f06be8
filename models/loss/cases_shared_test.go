//go:build shared

package loss

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/arch"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// caseTolerance bounds the distance, relative to the norm, from gradients that
// another framework computed in float32: the two add up in another order, and a
// sum of some thousand products keeps about six digits.
const caseTolerance = 1e-5

// lossCase is an oracle's loss: mean cross-entropy over the labels.
type lossCase struct {
	dir  string
	ids  [][]int64
	rows []Row

	Loss  float64
	Grad  map[string]struct{ File string }
	Delta []struct {
		Kind, Module string
		Positions    []int
		Delta, Grad  string
		Loss         float64
	}
}

func openLossCase(t *testing.T, dir string) *lossCase {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	modeltest.Must(t, err)
	o := &lossCase{dir: dir}
	modeltest.Must(t, json.Unmarshal(data, o))
	o.ids = modeltest.Unpadded(modeltest.ReadNPY(t, filepath.Join(dir, "input_ids.npy")), modeltest.ReadNPY(t, filepath.Join(dir, "attention_mask.npy")))
	labels, n := modeltest.ReadNPY(t, filepath.Join(dir, "labels.npy")), 0
	for b, ids := range o.ids {
		r := Row{IDs: ids}
		for p := range ids {
			if p+1 < labels.Shape[1] {
				if l := labels.Int64s()[b*labels.Shape[1]+p+1]; l != -100 {
					r.Terms = append(r.Terms, Term{Position: p, Target: l})
					n++
				}
			}
		}
		o.rows = append(o.rows, r)
	}
	for _, r := range o.rows {
		for k := range r.Terms {
			r.Terms[k].NLL = 1 / float64(n)
		}
	}
	return o
}

// run gives the loss over all rows and the rows' gradients.
func (o *lossCase) run(t *testing.T, lm *models.LM, at arch.Site, rows []Row) (loss float64, gradients [][]float32) {
	t.Helper()
	got, err := At(t.Context(), lm, []arch.Site{at}, rows)
	modeltest.Must(t, err)
	for _, l := range got {
		modeltest.Must(t, l.Err)
		loss += l.Loss
		gradients = append(gradients, l.Gradient)
	}
	return loss, gradients
}

// weightGradient is sum x' dy over all positions, y = x W, [in, out].
func (o *lossCase) weightGradient(t *testing.T, lm *models.LM, layer int, x, y arch.Point) *tensor.Tensor {
	t.Helper()
	every := make([]Row, len(o.rows))
	var traced []activation.Row
	for i, r := range o.rows {
		every[i] = r
		every[i].Everywhere = true
		tr := activation.Row{Query: ask.Query{PromptIDs: r.IDs}}
		for p := range r.IDs {
			tr.Positions = append(tr.Positions, p)
		}
		traced = append(traced, tr)
	}
	_, dy := o.run(t, lm, arch.Site{Layer: layer, Point: y}, every)
	xs, err := activation.Trace(t.Context(), lm, traced, arch.Site{Layer: layer, Point: x})
	modeltest.Must(t, err)
	f := lm.Info().FFN(arch.Decoder, layer)
	in, out := f.Width(x), f.Width(y)
	sum := make([]float64, in*out)
	for b := range o.rows {
		modeltest.Must(t, xs[b].Err)
		v := xs[b].Values[0].Float32s()
		for p := range o.rows[b].IDs {
			for i, a := range v[p*in : (p+1)*in] {
				for k, d := range dy[b][p*out : (p+1)*out] {
					sum[i*out+k] += float64(a) * float64(d)
				}
			}
		}
	}
	g := tensor.New(tensor.F32, in, out)
	for i, v := range sum {
		g.Float32s()[i] = float32(v)
	}
	return g
}

// TestCaseGradients compares shifts and gradients of weights of exported models
// with another framework's, in all forms of the export: OPT's feed-forward block
// works on rows and positions in one axis.
func TestCaseGradients(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []struct {
		dir      string
		up, down string // names of the oracle's weights
		files    []string
	}{
		{"opt", "model.decoder.layers.%d.fc1.weight", "model.decoder.layers.%d.fc2.weight", []string{"model.onnx", "model_nofold.onnx", "model_with_past.onnx"}},
		{"gpt_neo", "transformer.h.%d.mlp.c_fc.weight", "transformer.h.%d.mlp.c_proj.weight", []string{"model.onnx", "model_with_past.onnx"}},
	} {
		for _, file := range c.files {
			t.Run(c.dir+"/"+file, func(t *testing.T) {
				dir := modeltest.Shared(t, "cases", "models", c.dir)
				lm := modeltest.Open(t, env, filepath.Join(dir, file), models.Options{Threads: 1})
				o := openLossCase(t, filepath.Join(dir, "oracle"))
				worst := 0.0
				check := func(what string, err float64) {
					if worst = max(worst, err); !(err <= caseTolerance) {
						t.Errorf("%s is off by %.2g", what, err)
					}
				}
				for _, d := range o.Delta {
					at := arch.Site{Layer: 1, Point: arch.FFNOut}
					if d.Kind == "block_output" {
						at.Point = arch.Hidden
					}
					if !strings.Contains(d.Module, ".1") {
						t.Fatalf("a shift at %s", d.Module)
					}
					rows := append([]Row{}, o.rows...)
					for b := range rows {
						rows[b].At, rows[b].Shift = d.Positions[b], modeltest.ReadNPY(t, filepath.Join(o.dir, d.Delta)).Float32s()
					}
					loss, gradients := o.run(t, lm, at, rows)
					sum := make([]float32, len(gradients[0]))
					for _, g := range gradients {
						for k, x := range g {
							sum[k] += x
						}
					}
					check(fmt.Sprintf("loss under a shift of %s", at), math.Abs(loss-d.Loss)/d.Loss)
					check(fmt.Sprintf("gradient of %s", at), modeltest.Distance(sum, modeltest.ReadNPY(t, filepath.Join(o.dir, d.Grad)).Float32s()))
				}
				for layer := range lm.Info().Layers {
					for _, w := range []struct {
						name string
						x, y arch.Point
					}{{c.up, arch.FFNIn, arch.FFNPre}, {c.down, arch.FFNAct, arch.FFNOut}} {
						name := fmt.Sprintf(w.name, layer)
						want := modeltest.ReadNPY(t, filepath.Join(o.dir, o.Grad[name].File)) // [out, in]
						got, err := o.weightGradient(t, lm, layer, w.x, w.y).Transpose2D()
						modeltest.Must(t, err)
						check("gradient of "+name, modeltest.Distance(got.Float32s(), want.Float32s()))
					}
				}
				t.Logf("%d shifts, %d weights, worst relative error %.2g", len(o.Delta), 2*lm.Info().Layers, worst)
			})
		}
	}
}
