package activation

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"editpipe/ask"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/run"
	"editpipe/tensor"
)

// embedRows is how many texts share a run of Embed. Short rows are cheap beside
// the weights that a run reads, so filling up a run costs little.
const embedRows = 8

// Embed gives texts as vectors, [width] each: the mean over a text's tokens, those
// of the tokenizer's template included, of the residual stream behind the middle
// block, of encoder-decoders of what the encoder gives. Texts are compared by
// their distance; the vectors are not scaled. The unedited model reads them.
//
// A text's vector has the same bits in any company: those of one run have the same
// number of tokens, and a run has as many rows whoever is there to fill them.
//
// It returns ErrSite where the graph does not show the block's output, and
// ErrTooLong for a text that is longer than the context.
func Embed(ctx context.Context, lm *models.LM, texts []string) ([][]float32, error) {
	out := make([][]float32, len(texts))
	questions := make([]*run.Question, len(texts))
	byLength := map[int][]int{}
	for i, text := range texts {
		ids, err := run.PromptIDs(lm, ask.Query{Prompt: text})
		if err == nil {
			err = run.Within(lm, len(ids), 0)
		}
		if err != nil {
			return nil, fmt.Errorf("models: embedding text %d: %w", i, err)
		}
		questions[i] = &run.Question{Sequence: run.Unanswered(lm, ids)}
		byLength[len(ids)] = append(byLength[len(ids)], i)
	}
	for _, n := range slices.Sorted(maps.Keys(byLength)) {
		rows := min(embedRows, run.MaxRows(lm))
		for c := run.CostOf(lm, arch.Forward); rows > 1 && c.Bytes(rows, n, 0, 0, 0) > lm.Budget(); {
			rows--
		}
		for some := range slices.Chunk(byLength[n], rows) {
			full := make([]*run.Question, rows)
			for k := range full {
				full[k] = questions[some[min(k, len(some)-1)]]
			}
			states, err := embed(ctx, lm, full)
			if err != nil {
				return nil, fmt.Errorf("models: embedding texts: %w", err)
			}
			for k, i := range some {
				out[i] = mean(states[k*len(states)/rows:(k+1)*len(states)/rows], n)
			}
		}
	}
	return out, nil
}

// embed runs rows of as many tokens each and returns what Embed takes the mean of,
// [rows, tokens, width].
func embed(ctx context.Context, lm *models.LM, rows []*run.Question) ([]float32, error) {
	role, output := arch.Encode, graph.StatesOut
	at := arch.Site{Layer: (lm.Info().Layers - 1) / 2, Point: arch.Hidden}
	if lm.Anatomy().Encoder == nil {
		if _, _, err := lm.Info().Site(at); err != nil {
			return nil, err
		}
		role, output = arch.Forward, graph.Tap(at)
	}
	r := run.New(lm, role, rows, nil)
	if role == arch.Forward {
		r.Spec.Give = graph.Taps{Top: at.Layer}
		tapped := make([]int64, len(rows)*r.T)
		for i := range tapped {
			tapped[i] = int64(i)
		}
		r.Inputs[graph.TapRows] = tensor.FromInt64s(tapped, len(tapped))
	}
	r.Outputs[output] = nil
	if err := r.Compute(ctx); err != nil {
		return nil, err
	}
	return r.Outputs[output].Float32s(), nil
}

// mean of the rows of a matrix of n.
func mean(states []float32, n int) []float32 {
	width := len(states) / n
	sums := make([]float64, width)
	for i, x := range states {
		sums[i%width] += float64(x)
	}
	out := make([]float32, width)
	for i, s := range sums {
		out[i] = float32(s / float64(n))
	}
	return out
}

// Embeddings returns the input embeddings of tokens as float32, [width] each, as
// the decoder's graph looks them up.
//
// It returns ErrSite where the graph does not look token ids up in a matrix of
// its own, and ErrVocabulary for an id outside the vocabulary.
func Embeddings(lm *models.LM, ids []int64) ([][]float32, error) {
	if err := run.InVocabulary(lm, ids); err != nil {
		return nil, err
	}
	table, err := embeddingTable(lm)
	if err != nil {
		return nil, err
	}
	width := table.Shape[1]
	out := make([][]float32, len(ids))
	for i, id := range ids {
		row := tensor.Tensor{DType: table.DType, Shape: []int{width}, Data: table.Data[int(id)*width*table.DType.Size() : (int(id)+1)*width*table.DType.Size()]}
		out[i] = slices.Clone(row.Float32s())
	}
	return out, nil
}

// embeddingTable is the matrix [V, width] that the token ids, whatever their
// shape and type, are looked up in.
func embeddingTable(lm *models.LM) (*tensor.Tensor, error) {
	g := lm.Anatomy().Forward
	ix := g.Model.Graph.Index()
	values := []string{g.Ports.IDs}
	for len(values) > 0 {
		value := values[0]
		values = values[1:]
		for _, n := range ix.Consumers(value) {
			switch n.OpType {
			case "Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze":
				if n.Inputs[0] == value {
					values = append(values, n.Outputs[0])
				}
			case "Gather":
				t := ix.Initializer(n.Inputs[0])
				if t == nil || n.Inputs[1] != value || n.Int("axis", 0) != 0 || len(t.Dims) != 2 || int(t.Dims[0]) < lm.Info().Vocab {
					continue
				}
				v, err := t.Value()
				if err != nil {
					return nil, fmt.Errorf("models: reading embeddings from %s: %w", g.Path, err)
				}
				if !v.IsFloat() {
					return nil, fmt.Errorf("models: reading embeddings: %w: they are quantised", arch.ErrSite)
				}
				return v, nil
			}
		}
	}
	return nil, fmt.Errorf("models: reading embeddings: %w: the graph does not look token ids up in a matrix of its own", arch.ErrSite)
}
