package run

import (
	"math/rand/v2"
	"testing"

	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
	"editpipe/ort/orttest"
	"editpipe/tensor"
)

// neurons puts n neurons beside the block of a layer.
func neurons(lm *models.LM, r *rand.Rand, layer, n int) *patch.Patch {
	width := lm.Info().Width
	return &patch.Patch{Splices: []patch.Splice{{At: arch.Site{Layer: layer, Point: arch.FFNOut}, Kind: graph.Neurons, Params: map[string]*tensor.Tensor{
		"k": modeltest.Randn(r, 0.5, width, n), "b": modeltest.Randn(r, 0.5, n), "v": modeltest.Randn(r, 0.5, n, width),
	}}}}
}

// TestFewGraphsWithNetworks: patches of more sets of places than sessions are kept
// for share a graph with a place in every layer, and are answered as with a graph of
// their own.
func TestFewGraphsWithNetworks(t *testing.T) {
	env := orttest.Open(t)
	const layers = 7
	c := tinylm.Config{Family: tinylm.GPT2, Layers: layers}
	lm, fresh := modeltest.Tiny(t, env, c, models.Options{Threads: 1}), modeltest.Tiny(t, env, c, models.Options{Threads: 1})
	r := rand.New(rand.NewPCG(6, 6))
	q := Question{Sequence: Sequence{Prompt: modeltest.RandomQuery(lm, r, 6, 1).PromptIDs}}
	ask := func(lm *models.LM, p *patch.Patch, own bool) (string, []float32) {
		one := q
		one.Patch = p
		run := New(lm, arch.Forward, []*Question{&one}, p)
		if own {
			run.Spec.Take.Splices = graph.PlaceOf(p.Splices[0]).String()
		}
		run.Want(0, one.Fed()-1)
		logits, err := run.Logits(t.Context())
		modeltest.Must(t, err)
		return run.Spec.Take.Splices, logits.Float32s()
	}
	sets, _, plain := map[string]bool{}, "", []float32(nil)
	for layer := range layers {
		p := neurons(lm, r, layer, 3)
		set, got := ask(lm, p, false)
		sets[set] = true
		_, want := ask(fresh, p, true)
		if d := modeltest.MaxDiff(want, got); d > modeltest.LogProbTolerance {
			t.Errorf("layer %d: %g apart from a graph of its own", layer, d)
		}
		if plain != nil && modeltest.MaxDiff(plain, got) < 0.01 {
			t.Errorf("layer %d: answers as the layer before", layer)
		}
		plain = got
	}
	if len(sets) != 5 {
		t.Errorf("%d graphs for %d places: %v", len(sets), layers, sets)
	}
}

// TestLoadOfNetworks: networks count in what a row feeds and in what a run holds, and
// rows with wide ones are spread over more runs.
func TestLoadOfNetworks(t *testing.T) {
	lm := modeltest.Tiny(t, orttest.Open(t), tinylm.Config{Family: tinylm.GPT2}, models.Options{Threads: 1, MemoryBudget: 4 << 20})
	r := rand.New(rand.NewPCG(7, 6))
	width := lm.Info().Width
	p := neurons(lm, r, 0, 3).Then(neurons(lm, r, 0, 4)).Then(neurons(lm, r, 1, 5))
	l := LoadOf(lm, p)
	if got, want := l.Bytes(), int64(4*(3+4+5)*(width+1+width)); got != want {
		t.Errorf("a row feeds %d bytes, want %d", got, want)
	}
	const B, T = 3, 10
	c := CostOf(lm, arch.Forward)
	if got, want := c.With(l).Bytes(B, T, 0, 1, 0)-c.Bytes(B, T, 0, 1, 0), int64(4*B*T*3*(3+4)); got != want {
		t.Errorf("a run holds %d bytes more, want %d", got, want)
	}
	if none := LoadOf(lm, nil); none.Bytes() != 0 || none.most() != 0 || c.With(none) != c {
		t.Error("no patch is a load")
	}
	runs := func(units int) int {
		var questions []*Question
		for range 8 {
			questions = append(questions, &Question{Sequence: Sequence{Prompt: modeltest.RandomQuery(lm, r, 6, 1).PromptIDs}, Patch: neurons(lm, r, 0, units)})
		}
		return len(Plan(lm, questions, 0))
	}
	if few, many := runs(8), runs(4000); few != 1 || many < 2 {
		t.Errorf("%d runs with narrow networks, %d with wide ones", few, many)
	}
}
