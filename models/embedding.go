package models

import (
	"fmt"
	"slices"

	"editpipe/models/arch"
	"editpipe/tensor"
)

// Embeddings returns the input embeddings of tokens as float32, [width] each, as
// the decoder's graph looks them up.
//
// It returns ErrSite where the graph does not look token ids up in a matrix of
// its own, and ErrVocabulary for an id outside the vocabulary.
func (lm *LM) Embeddings(ids []int64) ([][]float32, error) {
	if err := lm.inVocabulary(ids); err != nil {
		return nil, err
	}
	table, err := lm.embeddingTable()
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
func (lm *LM) embeddingTable() (*tensor.Tensor, error) {
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
