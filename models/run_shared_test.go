//go:build shared

package models

import (
	"context"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/ort/orttest"
	"editpipe/tensor"
	"fmt"
	"path/filepath"
	"testing"
)

// TestPastMatchesOracle runs one step behind the reference framework's cache.
func TestPastMatchesOracle(t *testing.T) {
	dir, env := fixtures(t), orttest.Open(t)
	for _, p := range []string{"gpt2", "gptj", "llama", "llama_gqa"} {
		t.Run(p, func(t *testing.T) {
			lm := openModel(t, env, filepath.Join(dir, "arch", p), Options{})
			oracle := func(name string) *tensor.Tensor {
				return npy(t, filepath.Join(dir, "arch", p, "oracle", name+".npy"))
			}
			ids, want, pos := oracle("past_ids"), oracle("past_logits"), oracle("past_pos")
			B, T := ids.Shape[0], ids.Shape[1]
			feeds := map[string]*tensor.Tensor{}
			past := 0
			for i := range lm.Info().Layers {
				k, v := oracle(fmt.Sprintf("past_k%d", i)), oracle(fmt.Sprintf("past_v%d", i))
				past = k.Shape[2]
				feeds[fmt.Sprintf("past_key_values.%d.key", i)], feeds[fmt.Sprintf("past_key_values.%d.value", i)] = k, v
			}
			mask, rows := oracle("attention_mask").Int64s(), make([]int64, B*T)
			if len(mask) != B*(past+T) {
				t.Fatalf("mask of %d values for %d rows of %d+%d", len(mask), B, past, T)
			}
			for i := range rows {
				rows[i] = int64(i)
			}
			feedTokens(feeds, lm.Anatomy().Step.Ports, B, T, ids.Int64s(), mask, pos.Int64s())
			feeds[graph.LogitRows] = tensor.FromInt64s(rows, B*T)
			s, err := lm.Session(context.Background(), graph.Spec{Role: arch.Step, Give: graph.Logits{}}, 1)
			if err != nil {
				t.Fatal(err)
			}
			out := map[string]*tensor.Tensor{graph.LogitsOut: nil}
			if err := s.Run(context.Background(), feeds, out); err != nil {
				t.Fatal(err)
			}
			got := out[graph.LogitsOut]
			diff := maxDiff(got.Float32s(), want.Float32s())
			t.Logf("worst difference %.2g over %d logits behind %d cached positions", diff, got.Len(), past)
			if !(diff <= oracleTolerance) || got.Len() != want.Len() {
				t.Errorf("logits behind the cache differ by %g", diff)
			}
		})
	}
}

// TestLogitsMatchOracle compares the logits of every position of every variant
// with the reference framework's, through the instrumented graph.
func TestLogitsMatchOracle(t *testing.T) {
	dir, env := fixtures(t), orttest.Open(t)
	check := func(name, path, oracle, logits string) {
		t.Run(name, func(t *testing.T) {
			lm := openModel(t, env, path, Options{})
			want := npy(t, filepath.Join(oracle, logits+".npy"))
			rows := rowsOf(npy(t, filepath.Join(oracle, "input_ids.npy")), npy(t, filepath.Join(oracle, "attention_mask.npy")))
			var dec [][]int64
			if lm.Info().EncoderDecoder {
				ids := npy(t, filepath.Join(oracle, "decoder_input_ids.npy"))
				for b := range rows {
					dec = append(dec, ids.Int64s()[b*ids.Shape[1]:(b+1)*ids.Shape[1]])
				}
			} else {
				dec = rows
			}
			for _, slots := range []graph.Slots{graph.NoSlots, graph.DownSlots, graph.AllSlots} {
				var questions []*Question
				for b := range rows {
					q := &Question{Sequence: Sequence{Prompt: dec[b]}}
					if lm.Info().EncoderDecoder {
						q.Encoder = rows[b]
					}
					questions = append(questions, q)
				}
				run := NewRun(lm, arch.Forward, questions, nil)
				run.Spec.Take.Slots = slots
				for b := range rows {
					for p := range dec[b] {
						run.Want(b, p)
					}
				}
				got, err := run.Logits(context.Background())
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
				d := maxDiff(got.Float32s(), exp)
				t.Logf("slots %d: worst difference %.2g over %d logits", slots, d, len(exp))
				if !(d <= oracleTolerance) {
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
