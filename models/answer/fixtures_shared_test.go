//go:build shared

package answer

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
	"editpipe/models/run"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// oracleWeight is the name of the checkpoint's weight behind a WeightID.
func oracleWeight(family string, id arch.WeightID) (name string, conv1d bool) {
	switch family {
	case "gpt2":
		return fmt.Sprintf("transformer_h_%d_mlp_%s_weight", id.Layer, map[arch.Part]string{arch.FFNDown: "c_proj", arch.FFNUp: "c_fc"}[id.Part]), true
	case "gptj":
		return fmt.Sprintf("transformer_h_%d_mlp_%s_weight", id.Layer, map[arch.Part]string{arch.FFNDown: "fc_out", arch.FFNUp: "fc_in"}[id.Part]), false
	case "llama":
		return fmt.Sprintf("model_layers_%d_mlp_%s_proj_weight", id.Layer, map[arch.Part]string{arch.FFNDown: "down", arch.FFNUp: "up", arch.FFNGate: "gate"}[id.Part]), false
	case "t5_gated":
		sub := map[arch.Side]int{arch.Decoder: 2, arch.Encoder: 1}[id.Side]
		return fmt.Sprintf("%s_block_%d_layer_%d_DenseReluDense_%s_weight", id.Side, id.Layer, sub, map[arch.Part]string{arch.FFNDown: "wo", arch.FFNUp: "wi_1", arch.FFNGate: "wi_0"}[id.Part]), false
	}
	sub := map[arch.Side]int{arch.Decoder: 2, arch.Encoder: 1}[id.Side]
	return fmt.Sprintf("%s_block_%d_layer_%d_DenseReluDense_%s_weight", id.Side, id.Layer, sub, map[arch.Part]string{arch.FFNDown: "wo", arch.FFNUp: "wi"}[id.Part]), false
}

// TestWeightsAreTheRightOnes compares every feed-forward weight found with the
// checkpoint's, value by value.
func TestWeightsAreTheRightOnes(t *testing.T) {
	dir, env := modeltest.Fixtures(t), orttest.Open(t)
	paths := []string{"t5", "t5_gated", "gpt2", "gptj", "llama", "llama_gqa"}
	for _, v := range decoderVariants {
		paths = append(paths, v.path)
	}
	for _, p := range paths {
		t.Run(p, func(t *testing.T) {
			base := p
			if strings.HasSuffix(p, ".onnx") {
				base = filepath.Dir(p)
			}
			family := strings.TrimSuffix(base, "_gqa")
			lm := modeltest.Open(t, env, filepath.Join(dir, "arch", p), models.Options{})
			if len(lm.Info().Refusals) > 0 {
				t.Errorf("refusals: %v", lm.Info().Refusals)
			}
			n := 0
			for _, f := range lm.Info().FFNs {
				for _, part := range []arch.Part{arch.FFNDown, arch.FFNUp, arch.FFNGate} {
					w := f.Weight(part)
					if w == nil {
						continue
					}
					got, err := lm.Weight(w.ID)
					if err != nil {
						t.Fatal(err)
					}
					name, conv1d := oracleWeight(family, w.ID)
					want := modeltest.ReadNPY(t, filepath.Join(dir, "arch", base, "oracle", "w_"+name+".npy"))
					if !conv1d {
						if want, err = want.Transpose2D(); err != nil {
							t.Fatal(err)
						}
					}
					if len(want.Shape) != 2 || got.Shape[0] != want.Shape[0] || got.Shape[1] != want.Shape[1] || modeltest.MaxDiff(got.Float32s(), want.Float32s()) != 0 {
						t.Errorf("%s is not %s", w.ID, name)
					}
					n++
				}
				for _, pt := range []arch.Point{arch.FFNIn, arch.FFNAct, arch.FFNOut, arch.Hidden} {
					if v, why := f.Value(pt); v == "" {
						t.Errorf("%s %d: %s: %s", f.Side, f.Layer, pt, why)
					}
				}
			}
			if n < 2*lm.Info().Layers {
				t.Errorf("%d weights found in %d layers", n, lm.Info().Layers)
			}
		})
	}
}

// TestEightPatchesInOneCall asks through eight different patches at once, one
// by one, and with the product merged into a dense change.
func TestEightPatchesInOneCall(t *testing.T) {
	dir, env := modeltest.Fixtures(t), orttest.Open(t)
	ctx := context.Background()
	paths := []string{"gpt2", "gptj", "llama", "llama_gqa", "t5", "t5_gated", "gpt2/model_nofold.onnx", "gptj/model_nofold.onnx", "llama/model_nofold.onnx", "gptj/model_with_past.onnx", "llama/model_nopos.onnx"}
	for _, p := range paths {
		t.Run(p, func(t *testing.T) {
			lm := modeltest.Open(t, env, filepath.Join(dir, "arch", p), models.Options{})
			r := rand.New(rand.NewPCG(1, 2))
			var rows, plain, dense []Row
			for range 8 {
				q, edited := modeltest.RandomQuery(lm, r, 3+r.IntN(12), 1+r.IntN(4)), modeltest.RandomPatch(lm, r, 0.5)
				merged, err := edited.Merge()
				if err != nil {
					t.Fatal(err)
				}
				rows, plain, dense = append(rows, Row{Query: q, Patch: edited}), append(plain, Row{Query: q}), append(dense, Row{Query: q, Patch: merged})
			}
			score := func(rows []Row) []ask.Answer {
				a, err := Score(ctx, lm, rows)
				if err != nil {
					t.Fatal(err)
				}
				return a
			}
			together, base, asDense := score(rows), score(plain), score(dense)
			var single []ask.Answer
			for _, row := range rows {
				single = append(single, score([]Row{row})...)
			}
			effect := modeltest.WorstLogProb(t, together, base)
			one, two := modeltest.WorstLogProb(t, together, single), modeltest.WorstLogProb(t, together, asDense)
			t.Logf("effect of the patches %.2g; together against single %.2g, against dense %.2g", effect, one, two)
			if effect < 1000*modeltest.LogProbTolerance { // or the tolerance would see nothing
				t.Errorf("the patches change nothing: %g", effect)
			}
			if one > modeltest.LogProbTolerance || two > modeltest.LogProbTolerance {
				t.Errorf("one call differs from single calls by %g, from dense by %g", one, two)
			}
		})
	}
}

// TestBatchInvariance asks rows of many lengths alone and together.
func TestBatchInvariance(t *testing.T) {
	dir, env := modeltest.Fixtures(t), orttest.Open(t)
	ctx := context.Background()
	for _, p := range []string{"gpt2", "gpt2/model_nopos.onnx", "gptj", "gptj/model_nopos.onnx", "llama", "llama_gqa", "llama/model_nopos.onnx", "gpt2/model_with_past.onnx", "t5", "t5_gated"} {
		t.Run(p, func(t *testing.T) {
			lm := modeltest.Open(t, env, filepath.Join(dir, "arch", p), models.Options{})
			r := rand.New(rand.NewPCG(3, 4))
			var rows, zero []Row
			var single []ask.Answer
			w := lm.Info().FFNs[0].Down
			null := &patch.Patch{Weights: []patch.Weight{{At: w.ID, U: tensor.New(tensor.F32, w.In, 2), V: tensor.New(tensor.F32, 2, w.Out)}}}
			edit := modeltest.RandomPatch(lm, r, 0.5)
			for i := range 20 {
				q := modeltest.RandomQuery(lm, r, 1+r.IntN(40), 1+r.IntN(5))
				row := Row{Query: q}
				if i%5 == 0 {
					row.Patch = edit
				}
				rows = append(rows, row)
				if row.Patch == nil {
					row.Patch = null
				}
				zero = append(zero, row)
				a, err := Score(ctx, lm, rows[len(rows)-1:])
				if err != nil {
					t.Fatal(err)
				}
				single = append(single, a...)
			}
			together, err := Score(ctx, lm, rows)
			if err != nil {
				t.Fatal(err)
			}
			withZero, err := Score(ctx, lm, zero)
			if err != nil {
				t.Fatal(err)
			}
			d := modeltest.WorstLogProb(t, together, single)
			t.Logf("together against alone: %.2g", d)
			if d > modeltest.LogProbTolerance {
				t.Errorf("an answer depends on its company by %g", d)
			}
			if z := modeltest.WorstLogProb(t, together, withZero); z != 0 {
				t.Errorf("rows without a patch differ from rows with a patch of zeros by %g", z)
			}
			for i := range together {
				for k, c := range together[i].Targets {
					if fmt.Sprint(c.Argmax) != fmt.Sprint(single[i].Targets[k].Argmax) && c.MinGap > modeltest.OracleTolerance {
						t.Errorf("row %d: argmax %v, alone %v", i, c.Argmax, single[i].Targets[k].Argmax)
					}
				}
			}
		})
	}
}

// TestWorldFacts asks the trained fixture for facts it was trained on.
func TestWorldFacts(t *testing.T) {
	dir, env := modeltest.Fixtures(t), orttest.Open(t)
	lm := modeltest.Open(t, env, filepath.Join(dir, "world"), models.Options{})
	data, err := os.ReadFile(filepath.Join(dir, "world", "data", "train_facts.json"))
	if err != nil {
		t.Fatal(err)
	}
	var facts []struct{ Prompt, Answer string }
	if err := json.Unmarshal(data, &facts); err != nil {
		t.Fatal(err)
	}
	var rows []Row
	for i := 0; i < len(facts); i += 7 {
		rows = append(rows, Row{Query: ask.Query{Prompt: facts[i].Prompt, Targets: []string{facts[i].Answer}}})
	}
	answers, err := Score(context.Background(), lm, rows)
	if err != nil {
		t.Fatal(err)
	}
	right := 0
	for i, a := range answers {
		if a.Err != nil {
			t.Fatalf("%q: %v", rows[i].Query.Prompt, a.Err)
		}
		if fmt.Sprint(a.Targets[0].Argmax) == fmt.Sprint(a.Targets[0].IDs) {
			right++
		}
		if a.Targets[0].BoundaryRepair {
			t.Errorf("%q + %q needed a boundary repair", rows[i].Query.Prompt, rows[i].Query.Targets[0])
		}
	}
	t.Logf("%d of %d right", right, len(answers))
	if float64(right) < 0.98*float64(len(answers)) {
		t.Errorf("only %d of %d facts", right, len(answers))
	}
}

// TestLogitsMatchOracle compares the logits of every position of every variant
// with the reference framework's, through the instrumented graph.
func TestLogitsMatchOracle(t *testing.T) {
	dir, env := modeltest.Fixtures(t), orttest.Open(t)
	check := func(name, path, oracle, logits string) {
		t.Run(name, func(t *testing.T) {
			lm := modeltest.Open(t, env, path, models.Options{})
			want := modeltest.ReadNPY(t, filepath.Join(oracle, logits+".npy"))
			rows := modeltest.Unpadded(modeltest.ReadNPY(t, filepath.Join(oracle, "input_ids.npy")), modeltest.ReadNPY(t, filepath.Join(oracle, "attention_mask.npy")))
			var dec [][]int64
			if lm.Info().EncoderDecoder {
				ids := modeltest.ReadNPY(t, filepath.Join(oracle, "decoder_input_ids.npy"))
				for b := range rows {
					dec = append(dec, ids.Int64s()[b*ids.Shape[1]:(b+1)*ids.Shape[1]])
				}
			} else {
				dec = rows
			}
			for _, slots := range []graph.Slots{graph.NoSlots, graph.DownSlots, graph.AllSlots} {
				var questions []*run.Question
				for b := range rows {
					q := &run.Question{Sequence: run.Sequence{Prompt: dec[b]}}
					if lm.Info().EncoderDecoder {
						q.Encoder = rows[b]
					}
					questions = append(questions, q)
				}
				r := run.New(lm, arch.Forward, questions, nil)
				r.Spec.Take.Slots = slots
				for b := range rows {
					for p := range dec[b] {
						r.Want(b, p)
					}
				}
				got, err := r.Logits(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				var exp []float32
				T, V := want.Shape[1], want.Shape[2]
				for b := range rows {
					for p := range dec[b] {
						exp = append(exp, want.Float32s()[(b*T+p)*V:(b*T+p+1)*V]...)
					}
				}
				if len(exp) != got.Len() {
					t.Fatalf("got %v logits, oracle has %d", got.Shape, len(exp))
				}
				d := modeltest.MaxDiff(got.Float32s(), exp)
				t.Logf("slots %d: worst difference %.2g over %d logits", slots, d, len(exp))
				if !(d <= modeltest.OracleTolerance) {
					t.Errorf("slots %d: logits differ from the oracle by %g", slots, d)
				}
			}
		})
	}
	for _, v := range decoderVariants {
		check(v.path, filepath.Join(dir, "arch", v.path), filepath.Join(dir, "arch", filepath.Dir(v.path), "oracle"), v.logits)
	}
	for _, v := range []string{"t5", "t5_gated"} {
		check(v, filepath.Join(dir, "arch", v), filepath.Join(dir, "arch", v, "oracle"), "logits")
	}
	check("world", filepath.Join(dir, "world"), filepath.Join(dir, "world", "oracle"), "logits")
}

var decoderVariants = []struct{ path, logits string }{
	{"gpt2/model.onnx", "logits"}, {"gpt2/model_nofold.onnx", "logits"}, {"gpt2/model_op13.onnx", "logits"},
	{"gpt2/model_nopos.onnx", "logits_nopos"}, {"gpt2/model_with_past.onnx", "logits"},
	{"gptj/model.onnx", "logits"}, {"gptj/model_nofold.onnx", "logits"}, {"gptj/model_nopos.onnx", "logits_nopos"}, {"gptj/model_with_past.onnx", "logits"},
	{"llama/model.onnx", "logits"}, {"llama/model_nofold.onnx", "logits"}, {"llama/model_nopos.onnx", "logits_nopos"}, {"llama/model_with_past.onnx", "logits"},
	{"llama_gqa/model.onnx", "logits"}, {"llama_gqa/model_nofold.onnx", "logits"}, {"llama_gqa/model_nopos.onnx", "logits_nopos"}, {"llama_gqa/model_with_past.onnx", "logits"},
}
