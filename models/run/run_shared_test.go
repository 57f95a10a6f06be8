//go:build shared

package run

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"editpipe/internal/modeltest"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// TestPastMatchesOracle runs one step behind the reference framework's cache.
func TestPastMatchesOracle(t *testing.T) {
	dir, env := modeltest.Fixtures(t), orttest.Open(t)
	for _, p := range []string{"gpt2", "gptj", "llama", "llama_gqa"} {
		t.Run(p, func(t *testing.T) {
			lm := modeltest.Open(t, env, filepath.Join(dir, "arch", p), models.Options{})
			oracle := func(name string) *tensor.Tensor {
				return modeltest.ReadNPY(t, filepath.Join(dir, "arch", p, "oracle", name+".npy"))
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
			diff := modeltest.MaxDiff(got.Float32s(), want.Float32s())
			t.Logf("worst difference %.2g over %d logits behind %d cached positions", diff, got.Len(), past)
			if !(diff <= modeltest.OracleTolerance) || got.Len() != want.Len() {
				t.Errorf("logits behind the cache differ by %g", diff)
			}
		})
	}
}
