//go:build shared

package answer

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/models"
	"editpipe/ort/orttest"
)

// TestCachedGenerationEqualsUncached generates with and without the cache, for
// prompts of mixed lengths, with and without patches, token by token.
func TestCachedGenerationEqualsUncached(t *testing.T) {
	dir, env := modeltest.Fixtures(t), orttest.Open(t)
	ctx := context.Background()
	for _, p := range []string{"gpt2", "gptj", "llama", "llama_gqa", "gpt2/model_with_past.onnx", "llama/model_with_past.onnx"} {
		t.Run(p, func(t *testing.T) {
			cached := modeltest.Open(t, env, filepath.Join(dir, "arch", p), models.Options{})
			plain := modeltest.Open(t, env, filepath.Join(dir, "arch", p), models.Options{})
			if cached.Anatomy().Step == nil {
				t.Fatal("no cached graph")
			}
			plain.Anatomy().Step = nil
			r := rand.New(rand.NewPCG(5, 6))
			var rows []Row
			for i := range 9 {
				row := Row{Query: modeltest.RandomQuery(cached, r, 2+r.IntN(20), 1)}
				if i%3 != 0 {
					row.Patch = modeltest.RandomPatch(cached, r, 0.5)
				}
				if i == 8 {
					m, err := row.Patch.Merge()
					if err != nil {
						t.Fatal(err)
					}
					row.Patch = m
				}
				rows = append(rows, row)
			}
			o := ask.Sampling{MaxNew: 12}
			a, err := Generate(ctx, cached, rows, o)
			if err != nil {
				t.Fatal(err)
			}
			b, err := Generate(ctx, plain, rows, o)
			if err != nil {
				t.Fatal(err)
			}
			for i := range rows {
				if a[i].Err != nil || b[i].Err != nil {
					t.Fatal(a[i].Err, b[i].Err)
				}
				if !slices.Equal(a[i].TextIDs, b[i].TextIDs) || a[i].StoppedBy != b[i].StoppedBy {
					t.Errorf("row %d: cached %v (%s), uncached %v (%s)", i, a[i].TextIDs, a[i].StoppedBy, b[i].TextIDs, b[i].StoppedBy)
				}
				if len(a[i].TextIDs) == 0 && a[i].StoppedBy != "eos" {
					t.Errorf("row %d: nothing generated", i)
				}
				// Teacher forcing on what was generated must call every token the argmax.
				s, err := Score(ctx, plain, []Row{{Query: ask.Query{PromptIDs: rows[i].Query.PromptIDs, TargetIDs: [][]int64{a[i].TextIDs}}, Patch: rows[i].Patch}})
				if err != nil || s[0].Err != nil {
					t.Fatal(err, s[0].Err)
				}
				if !slices.Equal(s[0].Targets[0].Argmax, a[i].TextIDs) && s[0].Targets[0].MinGap > modeltest.OracleTolerance {
					t.Errorf("row %d: generated %v, scored argmax %v", i, a[i].TextIDs, s[0].Targets[0].Argmax)
				}
			}
		})
	}
}

// TestWorldGeneration continues a known fact in words.
func TestWorldGeneration(t *testing.T) {
	dir, env := modeltest.Fixtures(t), orttest.Open(t)
	lm := modeltest.Open(t, env, filepath.Join(dir, "world"), models.Options{})
	rows := []Row{
		{Query: ask.Query{Prompt: "The capital of Sivinia is"}},
		{Query: ask.Query{Prompt: "What is the capital of Danmaia?"}},
		{Query: ask.Query{Prompt: ""}},
	}
	got, err := Generate(context.Background(), lm, rows, ask.Sampling{MaxNew: 12, Stop: []string{"."}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{" Neluburg", " Pabaport"} {
		if got[i].Text != want || got[i].StoppedBy != "stop" {
			t.Errorf("%q: %q (%s), want %q", rows[i].Query.Prompt, got[i].Text, got[i].StoppedBy, want)
		}
	}
	if got[2].Err == nil {
		t.Error("an empty prompt was continued by a model without a start token")
	}
}

// TestSeq2SeqGeneration generates with an encoder-decoder model and checks each
// token by teacher forcing.
func TestSeq2SeqGeneration(t *testing.T) {
	dir, env := modeltest.Fixtures(t), orttest.Open(t)
	ctx := context.Background()
	for _, p := range []string{"t5", "t5_gated"} {
		t.Run(p, func(t *testing.T) {
			lm := modeltest.Open(t, env, filepath.Join(dir, "arch", p), models.Options{})
			r := rand.New(rand.NewPCG(7, 8))
			var rows []Row
			for i := range 6 {
				row := Row{Query: modeltest.RandomQuery(lm, r, 3+i, 1)}
				if i > 2 {
					row.Patch = modeltest.RandomPatch(lm, r, 0.5)
				}
				rows = append(rows, row)
			}
			got, err := Generate(ctx, lm, rows, ask.Sampling{MaxNew: 6})
			if err != nil {
				t.Fatal(err)
			}
			for i, a := range got {
				if a.Err != nil {
					t.Fatal(a.Err)
				}
				if len(a.TextIDs) == 0 {
					continue
				}
				s, err := Score(ctx, lm, []Row{{Query: ask.Query{PromptIDs: rows[i].Query.PromptIDs, TargetIDs: [][]int64{a.TextIDs}}, Patch: rows[i].Patch}})
				if err != nil || s[0].Err != nil {
					t.Fatal(err, s[0].Err)
				}
				if !slices.Equal(s[0].Targets[0].Argmax, a.TextIDs) {
					t.Errorf("row %d: generated %v, scored argmax %v", i, a.TextIDs, s[0].Targets[0].Argmax)
				}
			}
		})
	}
}
