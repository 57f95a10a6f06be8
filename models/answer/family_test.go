package answer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// forms are pairs: a model, and the same model exported in another form.
var forms = []struct {
	name string
	base tinylm.Family
	c    tinylm.Config
}{
	{"gpt2", tinylm.GPT2, tinylm.Config{}},
	{"gpt2 opset 13, no scopes", tinylm.GPT2, tinylm.Config{Opset: 13, NoScopes: true}},
	{"gpt2 norm and gelu ops, no scopes", tinylm.GPT2, tinylm.Config{Opset: 20, LayerNormOp: true, GeluOp: true, NoScopes: true}},
	{"gpt2 external data", tinylm.GPT2, tinylm.Config{ExternalData: true}},
	{"gpt2 float16", tinylm.GPT2, tinylm.Config{Float16: true}},
	{"gpt2 without positions, with past", tinylm.GPT2, tinylm.Config{NoPositionIDs: true, Cache: tinylm.WithPast}},
	{"gpt2 merged", tinylm.GPT2, tinylm.Config{Cache: tinylm.Merged}},
	{"gptj", tinylm.GPTJ, tinylm.Config{}},
	{"gptj named weights, no scopes", tinylm.GPTJ, tinylm.Config{NamedWeights: true, NoScopes: true}},
	{"gptj with past", tinylm.GPTJ, tinylm.Config{Cache: tinylm.WithPast}},
	{"llama", tinylm.LLaMA, tinylm.Config{}},
	{"llama merged", tinylm.LLaMA, tinylm.Config{Cache: tinylm.Merged}},
	{"llama float16, external data, with past", tinylm.LLaMA, tinylm.Config{Float16: true, ExternalData: true, Cache: tinylm.WithPast}},
	{"llama named weights, no scopes", tinylm.LLaMA, tinylm.Config{NamedWeights: true, NoScopes: true, Opset: 13}},
	{"t5", tinylm.T5, tinylm.Config{}},
	{"t5 no scopes, named weights", tinylm.T5, tinylm.Config{NoScopes: true, NamedWeights: true}},
}

// parameterName is the checkpoint's name of a weight; conv1D says that the
// checkpoint stores it [in, out].
func parameterName(f tinylm.Family, gated bool, id arch.WeightID) (name string, conv1D bool) {
	part := map[tinylm.Family]map[arch.Part]string{
		tinylm.GPT2:  {arch.FFNDown: "mlp.c_proj", arch.FFNUp: "mlp.c_fc"},
		tinylm.GPTJ:  {arch.FFNDown: "mlp.fc_out", arch.FFNUp: "mlp.fc_in"},
		tinylm.LLaMA: {arch.FFNDown: "mlp.down_proj", arch.FFNUp: "mlp.up_proj", arch.FFNGate: "mlp.gate_proj"},
		tinylm.T5:    {arch.FFNDown: "wo", arch.FFNUp: "wi"},
	}[f][id.Part]
	switch f {
	case tinylm.LLaMA:
		return fmt.Sprintf("model.layers.%d.%s.weight", id.Layer, part), false
	case tinylm.T5:
		if gated {
			part = map[arch.Part]string{arch.FFNDown: "wo", arch.FFNUp: "wi_1", arch.FFNGate: "wi_0"}[id.Part]
		}
		return fmt.Sprintf("%s.block.%d.layer.%d.DenseReluDense.%s.weight", id.Side, id.Layer, map[arch.Side]int{arch.Decoder: 2, arch.Encoder: 1}[id.Side], part), false
	}
	return fmt.Sprintf("transformer.h.%d.%s.weight", id.Layer, part), f == tinylm.GPT2
}

// TestEveryForm opens each form of each model: the weights found are the
// checkpoint's, and scores are those of the plainest form.
func TestEveryForm(t *testing.T) {
	env := orttest.Open(t)
	base := map[tinylm.Family][]ask.Answer{}
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			c := f.c
			c.Family, c.Seed = f.base, 7
			lm := modeltest.Tiny(t, env, c, models.Options{})
			if len(lm.Info().Refusals) > 0 {
				t.Errorf("refusals: %v", lm.Info().Refusals)
			}
			checkWeights(t, lm, c)
			r := rand.New(rand.NewPCG(1, 1))
			var rows []Row
			for range 5 {
				rows = append(rows, Row{Query: modeltest.RandomQuery(lm, r, 2+r.IntN(20), 1+r.IntN(4))})
			}
			got, err := Score(t.Context(), lm, rows)
			if err != nil {
				t.Fatal(err)
			}
			if base[f.base] == nil {
				base[f.base] = got
			}
			tolerance := modeltest.LogProbTolerance
			if c.Float16 {
				tolerance = modeltest.HalfTolerance
			}
			if d := modeltest.WorstLogProb(t, got, base[f.base]); d > tolerance {
				t.Errorf("scores differ from the plain form's by %g", d)
			}
		})
	}
}

func checkWeights(t *testing.T, lm *models.LM, c tinylm.Config) {
	t.Helper()
	params, err := tinylm.Parameters(c)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range lm.Info().FFNs {
		for _, p := range []arch.Part{arch.FFNDown, arch.FFNUp, arch.FFNGate} {
			w := f.Weight(p)
			if w == nil {
				continue
			}
			n++
			got, err := lm.Weight(w.ID)
			if err != nil {
				t.Fatal(err)
			}
			name, conv1D := parameterName(c.Family, c.Gated, w.ID)
			want := params[name]
			if want == nil {
				t.Fatalf("the checkpoint has no %s", name)
			}
			if !conv1D {
				if want, err = want.Transpose2D(); err != nil {
					t.Fatal(err)
				}
			}
			if c.Float16 {
				half, err := want.Convert(tensor.F16)
				if err != nil {
					t.Fatal(err)
				}
				want = tensor.FromFloat32s(half.Float32s(), half.Shape...)
			}
			if !slices.Equal(got.Shape, want.Shape) || modeltest.MaxDiff(got.Float32s(), want.Float32s()) != 0 {
				t.Errorf("%s is not %s", w.ID, name)
			}
		}
	}
	if n < 2*lm.Info().Layers {
		t.Errorf("%d weights found in %d layers", n, lm.Info().Layers)
	}
}

// TestPatchesTogetherAloneDense: eight patches of various layers and ranks give
// the same answers in one call, in eight calls, and as dense changes.
func TestPatchesTogetherAloneDense(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{
		{Family: tinylm.GPT2}, {Family: tinylm.GPTJ, NamedWeights: true}, {Family: tinylm.LLaMA, KVHeads: 2},
		{Family: tinylm.T5, Gated: true}, {Family: tinylm.LLaMA, Float16: true},
	} {
		t.Run(fmt.Sprintf("%s half=%v", c.Family, c.Float16), func(t *testing.T) {
			lm := modeltest.Tiny(t, env, c, models.Options{})
			r := rand.New(rand.NewPCG(2, 2))
			var rows, plain, dense []Row
			var single []ask.Answer
			score := func(rows ...Row) []ask.Answer {
				a, err := Score(t.Context(), lm, rows)
				if err != nil {
					t.Fatal(err)
				}
				return a
			}
			for i := range 8 {
				q, p := modeltest.RandomQuery(lm, r, 2+r.IntN(9), 1+r.IntN(3)), modeltest.RandomPatch(lm, r, 0.3)
				if i == 0 { // up and gate as well
					w := lm.Info().FFNs[0].Up
					p.Weights = append(p.Weights, patch.Weight{At: w.ID, U: modeltest.Randn(r, 0.3, w.In, 2), V: modeltest.Randn(r, 0.3, 2, w.Out)})
				}
				m, err := p.Merge()
				if err != nil {
					t.Fatal(err)
				}
				rows, plain, dense = append(rows, Row{Query: q, Patch: p}), append(plain, Row{Query: q}), append(dense, Row{Query: q, Patch: m})
				single = append(single, score(rows[i])...)
			}
			together := score(rows...)
			if d := modeltest.WorstLogProb(t, together, score(plain...)); d < 0.05 {
				t.Fatalf("the patches move nothing: %g", d)
			}
			tolerance := modeltest.LogProbTolerance
			if c.Float16 {
				tolerance = modeltest.HalfTolerance
			}
			if d := modeltest.WorstLogProb(t, together, single); d > modeltest.LogProbTolerance {
				t.Errorf("together and alone differ by %g", d)
			}
			if d := modeltest.WorstLogProb(t, together, score(dense...)); d > tolerance {
				t.Errorf("factors and their product differ by %g", d)
			}
			// One patch for many rows is fed once; mixing it with others must not show.
			shared := make([]Row, 6)
			for i := range shared {
				shared[i] = Row{Query: rows[i].Query, Patch: rows[1].Patch}
			}
			if d := modeltest.WorstLogProb(t, score(shared...), score(append(slices.Clone(shared), rows[2:]...)...)[:6]); d > modeltest.LogProbTolerance {
				t.Errorf("a shared patch differs from one per row by %g", d)
			}
		})
	}
}

func TestMergedWeightsAreNotEditable(t *testing.T) {
	env := orttest.Open(t)
	lm := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPT2, SharedWeights: true, Layers: 3}, models.Options{})
	editable := map[int]bool{}
	for _, f := range lm.Info().FFNs {
		editable[f.Layer] = f.Down.Editable
	}
	if editable[0] || editable[1] || !editable[2] {
		t.Errorf("editable down-projections: %v", editable)
	}
	if len(lm.Info().Refusals) != 2 || !strings.Contains(lm.Info().Refusals[0], "merged") {
		t.Errorf("refusals %q", lm.Info().Refusals)
	}
	if _, err := lm.Weight(modeltest.Down(0)); err == nil {
		t.Error("a merged weight was handed out for editing")
	}
	r := rand.New(rand.NewPCG(3, 3))
	q := modeltest.RandomQuery(lm, r, 4, 1)
	bad := &patch.Patch{Weights: []patch.Weight{{At: modeltest.Down(1), U: modeltest.Randn(r, 1, 128, 1), V: modeltest.Randn(r, 1, 1, 32)}}}
	a, err := Score(t.Context(), lm, []Row{{Query: q, Patch: bad}, {Query: q}})
	if err != nil {
		t.Fatal(err)
	}
	if a[0].Err == nil || a[1].Err != nil {
		t.Errorf("errors %v, %v: the patched row alone must fail", a[0].Err, a[1].Err)
	}
}

// TestGenerationWithAndWithoutCache: token by token the same, whatever the form.
func TestGenerationWithAndWithoutCache(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []tinylm.Config{
		{Family: tinylm.GPT2, Cache: tinylm.WithPast}, {Family: tinylm.GPT2, Cache: tinylm.WithPast, NoPositionIDs: true},
		{Family: tinylm.GPTJ, Cache: tinylm.Merged}, {Family: tinylm.LLaMA, Cache: tinylm.WithPast, KVHeads: 2},
		{Family: tinylm.T5, Cache: tinylm.WithPast}, {Family: tinylm.T5, Cache: tinylm.Merged, Gated: true},
		{Family: tinylm.GPTNeo, Cache: tinylm.WithPast}, {Family: tinylm.GPT2, Exporter: tinylm.ORT}, {Family: tinylm.Mistral, Exporter: tinylm.GenAI},
	} {
		t.Run(fmt.Sprintf("%s %s positions=%v gated=%v", c.Family, c.Cache, !c.NoPositionIDs, c.Gated), func(t *testing.T) {
			dir := modeltest.Folder(t, c)
			cached, plain := modeltest.Open(t, env, dir, models.Options{}), modeltest.Open(t, env, dir, models.Options{})
			if cached.Anatomy().Step == nil {
				t.Fatal("no graph with past keys and values")
			}
			plain.Anatomy().Step = nil
			r := rand.New(rand.NewPCG(4, 4))
			var rows []Row
			for i := range 6 {
				row := Row{Query: modeltest.RandomQuery(cached, r, 1+r.IntN(12), 1)}
				if i%2 == 1 {
					row.Patch = modeltest.RandomPatch(cached, r, 0.3)
				}
				rows = append(rows, row)
			}
			dense, err := rows[1].Patch.Merge()
			modeltest.Must(t, err)
			rows = append(rows, Row{Query: rows[1].Query, Patch: dense}, Row{Query: rows[2].Query, Patch: dense})
			if n := cached.Context(); n > 0 {
				rows = append(rows, Row{Query: ask.Query{PromptIDs: make([]int64, n-3)}}) // stops at the context
			}
			o := ask.Sampling{MaxNew: 8}
			a, err := Generate(t.Context(), cached, rows, o)
			if err != nil {
				t.Fatal(err)
			}
			b, err := Generate(t.Context(), plain, rows, o)
			if err != nil {
				t.Fatal(err)
			}
			for i := range rows {
				if a[i].Err != nil || b[i].Err != nil {
					t.Fatal(a[i].Err, b[i].Err)
				}
				if !slices.Equal(a[i].TextIDs, b[i].TextIDs) || a[i].StoppedBy != b[i].StoppedBy || a[i].Text != b[i].Text {
					t.Errorf("row %d: cached %v (%s), uncached %v (%s)", i, a[i].TextIDs, a[i].StoppedBy, b[i].TextIDs, b[i].StoppedBy)
				}
			}
			if last := a[len(a)-1]; cached.Context() > 0 && last.StoppedBy == "length" && len(last.TextIDs) != 3 {
				t.Errorf("%d tokens generated where 3 fit into the context", len(last.TextIDs))
			}
		})
	}
}
