package answer

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/activation"
	"editpipe/models/arch"
	"editpipe/models/loss"
	"editpipe/models/patch"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// exports are models of the families whose feed-forward blocks differ, the plain
// export first, then the same model by other exporters.
var exports = []exported{
	{tinylm.GPT2, []tinylm.Config{{}, {Exporter: tinylm.Dynamo, Opset: 23}}},
	{tinylm.OPT, []tinylm.Config{{}, {NamedWeights: true, Cache: tinylm.WithPast}}},
	{tinylm.Phi3, []tinylm.Config{{}, {Exporter: tinylm.GenAI}}},
	{tinylm.Gemma2, []tinylm.Config{{}, {Exporter: tinylm.GenAI}}},
}

type exported struct {
	family tinylm.Family
	forms  []tinylm.Config
}

// said is what a model gives of everything that methods use.
type said struct {
	first     bool // checked against the weights and by differences too
	logProbs  []float32
	traced    []*tensor.Tensor
	gradients [][]float32
}

// TestEveryExport: whoever exported a model, its blocks are found, and what is
// read, shifted and added there is the same, up to how kernels round.
func TestEveryExport(t *testing.T) {
	env := orttest.Open(t)
	for _, e := range exports {
		var base *said
		for _, c := range e.forms {
			t.Run(fmt.Sprintf("%s %s %s %d", e.family, c.Exporter, c.Operator, c.Opset), func(t *testing.T) {
				c.Family, c.Seed = e.family, 3
				lm := modeltest.Tiny(t, env, c, models.Options{Threads: 1})
				if why := lm.Info().NoGradient; why != "" {
					t.Fatalf("no gradients: %s", why)
				}
				if len(lm.Info().FFNs) != lm.Info().Layers {
					t.Fatalf("%d blocks in %d layers", len(lm.Info().FFNs), lm.Info().Layers)
				}
				got := &said{first: base == nil}
				got.ask(t, lm)
				if base == nil {
					base = got
					return
				}
				check := func(what string, a, b []float32) {
					if d := modeltest.Distance(a, b); !(d <= exportTolerance) {
						t.Errorf("%s differs from the plain export's by %.2g of its norm", what, d)
					}
				}
				check("log-probabilities", got.logProbs, base.logProbs)
				for i, v := range got.traced {
					check(fmt.Sprintf("activation %d", i), v.Float32s(), base.traced[i].Float32s())
				}
				for i, g := range got.gradients {
					check(fmt.Sprintf("gradient %d", i), g, base.gradients[i])
				}
			})
		}
	}
}

// exportTolerance bounds the distance of float32 results, relative to their norm,
// of graphs that compute the same in another order: two blocks, some hundred
// additions each.
const exportTolerance = 2e-4

// ask asks everything. The questions depend on the model's sizes alone, which all
// its exports share.
func (s *said) ask(t *testing.T, lm *models.LM) {
	t.Helper()
	r := rand.New(rand.NewPCG(8, 1))
	down := lm.Info().FFN(arch.Decoder, 0).Down
	edit := &patch.Patch{Weights: []patch.Weight{{At: down.ID, U: modeltest.Randn(r, 0.3, down.In, 2), V: modeltest.Randn(r, 0.3, 2, down.Out)}}}
	dense, err := edit.Merge()
	modeltest.Must(t, err)
	var rows []Row
	var traces []activation.Row
	for i := range 4 {
		q := modeltest.RandomQuery(lm, r, 4+5*i, 2)
		for _, p := range []*patch.Patch{nil, edit, dense} {
			rows = append(rows, Row{Query: q, Patch: p})
		}
		traces = append(traces, activation.Row{Query: q, Positions: []int{0, -1, 2}})
	}
	traces[1].Patch = edit
	answers, err := Score(t.Context(), lm, rows)
	modeltest.Must(t, err)
	for _, a := range answers {
		modeltest.Must(t, a.Err)
		for _, c := range a.Targets {
			for _, l := range c.LogProbs {
				s.logProbs = append(s.logProbs, float32(l))
			}
		}
	}
	for i := 0; i < len(answers); i += 3 { // a patch is the same as factors and as a whole
		if d := modeltest.WorstLogProb(t, answers[i+1:i+2], answers[i+2:i+3]); d > modeltest.LogProbTolerance {
			t.Errorf("a patch differs from its product by %g", d)
		}
		if d := modeltest.WorstLogProb(t, answers[i:i+1], answers[i+1:i+2]); d < modeltest.LogProbTolerance {
			t.Errorf("a patch changes nothing: %g", d)
		}
	}
	var sites []arch.Site
	for l := range lm.Info().Layers {
		for _, p := range []arch.Point{arch.FFNIn, arch.FFNPre, arch.FFNAct, arch.FFNOut, arch.AttnOut, arch.Hidden} {
			sites = append(sites, arch.Site{Layer: l, Point: p})
		}
	}
	got, err := activation.Trace(t.Context(), lm, traces, sites...)
	modeltest.Must(t, err)
	for _, tr := range got {
		modeltest.Must(t, tr.Err)
		s.traced = append(s.traced, tr.Values...)
	}
	if s.first {
		s.belongTogether(t, lm, got[0])
	}
	for _, at := range [][]arch.Site{
		{{Layer: 0, Point: arch.FFNOut}, {Layer: 1, Point: arch.Hidden}}, {{Layer: 0, Point: arch.Hidden}, {Layer: 1, Point: arch.AttnOut}}, {{Layer: 0, Point: arch.FFNAct}, {Layer: 1, Point: arch.FFNPre}},
	} {
		width := 0
		for _, x := range at {
			width += lm.Info().FFN(arch.Decoder, x.Layer).Width(x.Point)
		}
		var list []loss.Row
		for i, tr := range traces[:2] {
			ids := tr.Query.PromptIDs
			list = append(list, loss.Row{IDs: ids, Patch: tr.Patch, At: 1 + i, Shift: modeltest.Randn(r, 0.5, width).Float32s(),
				Terms: []loss.Term{{Position: len(ids) - 1, Target: 3, NLL: 1}, {Position: 2, Target: 5, NLL: 0.5}}})
		}
		losses, err := loss.At(t.Context(), lm, at, list)
		modeltest.Must(t, err)
		for i, l := range losses {
			modeltest.Must(t, l.Err)
			s.gradients = append(s.gradients, append(l.Gradient, float32(l.Loss)))
			if s.first {
				s.slope(t, lm, at, list[i], l)
			}
		}
	}
}

// belongTogether checks traced values of a row against the weights: the output is
// the product of the input with the down-projection, and its bias.
func (s *said) belongTogether(t *testing.T, lm *models.LM, tr activation.Traced) {
	t.Helper()
	const points, act, out = 6, 2, 3
	for l := range lm.Info().Layers {
		w, err := lm.Weight(arch.WeightID{Layer: l, Part: arch.FFNDown})
		modeltest.Must(t, err)
		want, err := tensor.MatMul(tr.Values[points*l+act], w)
		modeltest.Must(t, err)
		v := want.Float32s()
		if lm.Info().FFN(arch.Decoder, l).Down.Bias != "" {
			b, err := lm.Bias(arch.WeightID{Layer: l, Part: arch.FFNDown})
			modeltest.Must(t, err)
			for k := range v {
				v[k] += b.Float32s()[k%w.Shape[1]]
			}
		}
		if d := modeltest.Distance(tr.Values[points*l+out].Float32s(), v); !(d <= exportTolerance) {
			t.Errorf("layer %d: act W + b is off by %.2g of the output's norm", l, d)
		}
	}
}

// slope compares a gradient with a central difference of the loss along itself.
func (s *said) slope(t *testing.T, lm *models.LM, at []arch.Site, row loss.Row, l loss.Loss) {
	t.Helper()
	norm := modeltest.Norm(l.Gradient)
	var slope float64
	for _, sign := range []float64{1, -1} {
		moved := row
		moved.Shift = make([]float32, len(row.Shift))
		for k, g := range l.Gradient {
			moved.Shift[k] = row.Shift[k] + float32(sign*slopeStep*float64(g)/norm)
		}
		got, err := loss.At(t.Context(), lm, at, []loss.Row{moved})
		modeltest.Must(t, err)
		slope += sign * got[0].Loss / (2 * slopeStep)
	}
	if d := slope - norm; !(d < slopeTolerance*(1+norm) && -d < slopeTolerance*(1+norm)) {
		t.Errorf("%v: slope %g, by differences %g", at, norm, slope)
	}
}

// slopeStep is the length of the step that a slope is taken over.
const slopeStep = 1e-2

// slopeTolerance is that of differenceTolerance, for losses of some nats: their
// rounding over the step, and the third derivative times the step's square.
const slopeTolerance = 2e-3
