package activation

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/run"
	"editpipe/ort/orttest"
)

// TestEmbeddings compares rows with the matrix that the exporter names.
func TestEmbeddings(t *testing.T) {
	env := orttest.Open(t)
	for _, c := range []struct {
		model  tinylm.Config
		matrix string
	}{
		{tinylm.Config{Family: tinylm.GPT2}, "transformer.wte.weight"}, {tinylm.Config{Family: tinylm.GPTJ}, "transformer.wte.weight"},
		{tinylm.Config{Family: tinylm.LLaMA}, "model.embed_tokens.weight"}, {tinylm.Config{Family: tinylm.LLaMA, Float16: true}, "model.embed_tokens.weight"},
		{tinylm.Config{Family: tinylm.T5}, "decoder.embed_tokens.weight"}, {tinylm.Config{Family: tinylm.GPT2, ExternalData: true}, "transformer.wte.weight"},
	} {
		t.Run(fmt.Sprintf("%s %v", c.model.Family, c.model.Float16), func(t *testing.T) {
			lm := modeltest.Tiny(t, env, c.model, models.Options{})
			ids := []int64{5, 0, int64(lm.Info().Vocab) - 1, 5}
			got, err := Embeddings(lm, ids)
			modeltest.Must(t, err)
			g := lm.Anatomy().Forward.Model.Graph
			v, err := g.Index().Initializer(c.matrix).Value()
			modeltest.Must(t, err)
			all := v.Float32s()
			for k, id := range ids {
				if w := lm.Info().Width; !slices.Equal(got[k], all[int(id)*w:(int(id)+1)*w]) {
					t.Errorf("token %d: another row than %d of %s", id, id, c.matrix)
				}
			}
			if _, err := Embeddings(lm, []int64{-1}); !errors.Is(err, run.ErrVocabulary) {
				t.Errorf("token -1: %v", err)
			}
		})
	}
}

// TestEmbed: a text's vector is the mean of the activations that Trace reads, of
// one text or many, to the bit the same in any company.
func TestEmbed(t *testing.T) {
	env := orttest.Open(t)
	texts := []string{"the town", "of", "the town of the town is", "a", "it", "the town", "is the", "town of", "a town", "of a", "it is", "is it", "the of"}
	for _, c := range []struct {
		tinylm.Config
		threads int
	}{
		{tinylm.Config{Family: tinylm.GPT2}, 1}, {tinylm.Config{Family: tinylm.LLaMA}, 2},
		{tinylm.Config{Family: tinylm.GPT2, Float16: true}, 1}, {tinylm.Config{Family: tinylm.T5}, 2},
	} {
		t.Run(fmt.Sprintf("%s half=%v", c.Family, c.Float16), func(t *testing.T) {
			lm := modeltest.Tiny(t, env, c.Config, models.Options{Threads: c.threads})
			all, err := Embed(t.Context(), lm, texts)
			modeltest.Must(t, err)
			for i, text := range texts {
				one, err := Embed(t.Context(), lm, []string{text})
				modeltest.Must(t, err)
				if !slices.Equal(one[0], all[i]) {
					t.Errorf("%q alone differs by %g", text, modeltest.MaxDiff(one[0], all[i]))
				}
				if want := wantedEmbedding(t, lm, text); len(want) != lm.Info().Width || modeltest.MaxDiff(all[i], want) > modeltest.HostTolerance {
					t.Errorf("%q: mean of activations differs by %g", text, modeltest.MaxDiff(all[i], want))
				}
			}
			backwards := slices.Clone(texts)
			slices.Reverse(backwards)
			got, err := Embed(t.Context(), lm, backwards)
			modeltest.Must(t, err)
			slices.Reverse(got)
			for i := range got {
				if !slices.Equal(got[i], all[i]) {
					t.Errorf("%q in other order differs by %g", texts[i], modeltest.MaxDiff(got[i], all[i]))
				}
			}
			if modeltest.MaxDiff(all[0], all[1]) < 1e-3 || !slices.Equal(all[0], all[5]) {
				t.Error("texts are not told apart, or one is not the same twice")
			}
			if _, err := Embed(t.Context(), lm, []string{"a", strings.Repeat("the ", lm.Context()+1)}); lm.Context() > 0 && (!errors.Is(err, ask.ErrTooLong) || !strings.Contains(err.Error(), "text 1")) {
				t.Errorf("a text that is too long: %v", err)
			}
			if none, err := Embed(t.Context(), lm, nil); err != nil || len(none) != 0 {
				t.Errorf("no texts: %v, %v", none, err)
			}
		})
	}
}

// wantedEmbedding takes the mean from a trace, of encoder-decoders from the
// encoder's states.
func wantedEmbedding(t *testing.T, lm *models.LM, text string) []float32 {
	t.Helper()
	ids, _, err := run.Prompt(lm, text)
	modeltest.Must(t, err)
	var values []float32
	if lm.Anatomy().Encoder != nil {
		r := run.New(lm, arch.Encode, []*run.Question{{Sequence: run.Unanswered(lm, ids)}}, nil)
		r.Outputs[graph.StatesOut] = nil
		modeltest.Must(t, r.Compute(t.Context()))
		values = r.Outputs[graph.StatesOut].Float32s()
	} else {
		at := make([]int, len(ids))
		for i := range at {
			at[i] = i
		}
		tr, err := Trace(t.Context(), lm, []Row{{Query: ask.Query{Prompt: text}, Positions: at}}, arch.Site{Layer: (lm.Info().Layers - 1) / 2, Point: arch.Hidden})
		modeltest.Must(t, err)
		modeltest.Must(t, tr[0].Err)
		values = tr[0].Values[0].Float32s()
	}
	mean := make([]float64, len(values)/len(ids))
	for i, x := range values {
		mean[i%len(mean)] += float64(x) / float64(len(ids))
	}
	out := make([]float32, len(mean))
	for i := range out {
		out[i] = float32(mean[i])
	}
	return out
}
