//go:build shared

package activation

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/models/run"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// TestTraceAgreesWithWeights checks, on the host, that the traced values belong
// together: act W + b is the traced output, for plain and patched rows.
func TestTraceAgreesWithWeights(t *testing.T) {
	dir, env := modeltest.Fixtures(t), orttest.Open(t)
	ctx := context.Background()
	for _, p := range []string{"gpt2", "gptj", "llama", "llama_gqa", "llama/model_nofold.onnx", "gptj/model_with_past.onnx", "t5", "t5_gated"} {
		t.Run(p, func(t *testing.T) {
			lm := modeltest.Open(t, env, filepath.Join(dir, "arch", p), models.Options{})
			r := rand.New(rand.NewPCG(9, 9))
			sides := []arch.Side{arch.Decoder}
			if lm.Info().EncoderDecoder {
				sides = append(sides, arch.Encoder)
			}
			for _, side := range sides {
				layer := 1
				w := lm.Info().FFN(side, layer).Down
				edited := &patch.Patch{Weights: []patch.Weight{{At: w.ID, U: modeltest.Randn(r, 0.3, w.In, 2), V: modeltest.Randn(r, 0.3, 2, w.Out)}}}
				rows := []Row{
					{Query: modeltest.RandomQuery(lm, r, 7, 3), Positions: []int{0, -1}},
					{Query: modeltest.RandomQuery(lm, r, 12, 2), Patch: edited, Positions: []int{0}},
				}
				at := []arch.Site{{Side: side, Layer: layer, Point: arch.FFNIn}, {Side: side, Layer: layer, Point: arch.FFNAct}, {Side: side, Layer: layer, Point: arch.FFNOut}, {Side: side, Layer: layer, Point: arch.Hidden}, {Side: side, Layer: 0, Point: arch.Hidden}}
				got, err := Trace(ctx, lm, rows, at...)
				if err != nil {
					t.Fatal(err)
				}
				weight, err := lm.Weight(w.ID)
				if err != nil {
					t.Fatal(err)
				}
				for i, tr := range got {
					if tr.Err != nil {
						t.Fatal(tr.Err)
					}
					want, err := tensor.MatMul(tr.Values[1], weight)
					if err != nil {
						t.Fatal(err)
					}
					v := want.Float32s()
					if rows[i].Patch != nil {
						d, err := edited.Sum(w.ID, false)
						if err != nil {
							t.Fatal(err)
						}
						more, err := tensor.MatMul(tr.Values[1], d)
						if err != nil {
							t.Fatal(err)
						}
						for k, x := range more.Float32s() {
							v[k] += x
						}
					}
					if w.Bias != "" {
						g := lm.Anatomy().Forward
						for _, init := range g.Model.Graph.Initializers {
							if init.Name == w.Bias {
								b, err := init.Value()
								if err != nil {
									t.Fatal(err)
								}
								for k := range v {
									v[k] += b.Float32s()[k%w.Out]
								}
							}
						}
					}
					if d := modeltest.MaxDiff(v, tr.Values[2].Float32s()); !(d < modeltest.LogProbTolerance) {
						t.Errorf("%s row %d: act W + b differs from the output by %g", side, i, d)
					}
					if modeltest.MaxDiff(tr.Values[3].Float32s(), tr.Values[4].Float32s()) == 0 {
						t.Errorf("%s row %d: two layers have the same output", side, i)
					}
				}
			}
		})
	}
}

// TestTraceMatchesReferenceKeys compares traced down-projection inputs with the
// keys that the original authors' code computed for an edit.
func TestTraceMatchesReferenceKeys(t *testing.T) {
	dir, env := modeltest.Fixtures(t), orttest.Open(t)
	lm := modeltest.Open(t, env, filepath.Join(dir, "world"), models.Options{})
	data, err := os.ReadFile(filepath.Join(dir, "world", "reference", "rome_l0.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ref struct {
		Contexts []string `json:"context_templates"`
		Edits    []struct {
			Prompt  string `json:"prompt"`
			Subject string `json:"subject"`
		} `json:"edits"`
	}
	if err := json.Unmarshal(data, &ref); err != nil {
		t.Fatal(err)
	}
	if len(ref.Edits) == 0 || len(ref.Contexts) == 0 {
		t.Fatal("the reference file has no edits or no contexts")
	}
	want := modeltest.ReadNPY(t, filepath.Join(dir, "world", "reference", "trace", "case0_keys_per_context.npy"))
	e := ref.Edits[0]
	var rows []Row
	for _, c := range ref.Contexts {
		text := strings.Replace(c, "{}", strings.Replace(e.Prompt, "{}", e.Subject, 1), 1)
		end := strings.LastIndex(text, e.Subject) + len(e.Subject)
		ids, spans, err := run.Prompt(lm, text)
		if err != nil {
			t.Fatal(err)
		}
		last := 0
		for i, s := range spans {
			if s.Start < end {
				last = i
			}
		}
		rows = append(rows, Row{Query: ask.Query{PromptIDs: ids}, Positions: []int{last}})
	}
	got, err := Trace(context.Background(), lm, rows, arch.Site{Side: arch.Decoder, Layer: 0, Point: arch.FFNAct})
	if err != nil {
		t.Fatal(err)
	}
	var worst float64
	for i, tr := range got {
		if tr.Err != nil {
			t.Fatal(tr.Err)
		}
		worst = max(worst, modeltest.MaxDiff(tr.Values[0].Float32s(), want.Float32s()[i*want.Shape[1]:(i+1)*want.Shape[1]]))
	}
	t.Logf("%d keys, worst difference %.2g", len(got), worst)
	if !(worst < modeltest.OracleTolerance) {
		t.Errorf("keys differ by %g", worst)
	}
}

// TestAttentionOutputOfExports: the parts of a block add up in exported models.
func TestAttentionOutputOfExports(t *testing.T) {
	dir, env := modeltest.Fixtures(t), orttest.Open(t)
	for _, path := range []string{
		"arch/gpt2/model.onnx", "arch/gpt2/model_nofold.onnx", "arch/gpt2/model_op13.onnx", "arch/gptj/model.onnx", "arch/gptj/model_nofold.onnx",
		"arch/llama/model.onnx", "arch/llama/model_with_past.onnx", "arch/llama_gqa/model.onnx", "world",
	} {
		lm := modeltest.Open(t, env, filepath.Join(dir, filepath.FromSlash(path)), models.Options{})
		r := rand.New(rand.NewPCG(1, 4))
		rows := []Row{{Query: modeltest.RandomQuery(lm, r, 7, 2), Positions: []int{0, 3, -1}}, {Query: modeltest.RandomQuery(lm, r, 4, 2), Positions: []int{-1}}}
		d := blockSums(t, lm, arch.Decoder, rows)
		t.Logf("%s: %.2g", path, d)
		if !(d <= modeltest.LogProbTolerance) {
			t.Errorf("%s: the parts of a block differ from its output by %g", path, d)
		}
	}
	for _, path := range []string{"arch/t5", "arch/t5_gated"} {
		lm := modeltest.Open(t, env, filepath.Join(dir, filepath.FromSlash(path)), models.Options{})
		r := rand.New(rand.NewPCG(1, 4))
		if d := blockSums(t, lm, arch.Encoder, []Row{{Query: modeltest.RandomQuery(lm, r, 7, 2), Positions: []int{0, -1}}}); !(d <= modeltest.LogProbTolerance) {
			t.Errorf("%s: the parts of a block differ from its output by %g", path, d)
		}
	}
}
