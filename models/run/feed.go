package run

import (
	"encoding/binary"
	"fmt"
	"slices"

	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/graph"
	"editpipe/models/patch"
	"editpipe/models/ports"
	"editpipe/onnx"
	"editpipe/tensor"
)

// take is how the patches of questions come into the graph of a role. only is the
// patch of all of them, if it is one.
func take(lm *models.LM, r arch.Role, questions []*Question, only *patch.Patch) graph.Take {
	var patches []*patch.Patch
	for i, q := range questions {
		if q.Patch != nil && (i == 0 || q.Patch != questions[i-1].Patch) {
			patches = append(patches, q.Patch)
		}
	}
	if only.Binding() == patch.BindDense {
		if t, ok := lm.Replacing(r, only); ok {
			t.Splices = lm.Splicing(r, patches)
			return t
		}
	}
	t := graph.Take{Slots: graph.DownSlots, Splices: lm.Splicing(r, patches)}
	for _, p := range patches {
		t.Biases = t.Biases || p.ChangesBias(r.Side())
		for _, at := range p.Matrices() {
			if at.Side == r.Side() && at.Part != arch.FFNDown {
				t.Slots = graph.AllSlots
			}
		}
	}
	return t
}

// patchFeeds builds the inputs that carry the patches of the questions: factors for
// every slot of the graph, the parameters of networks, and the weights that it takes
// in place of its own.
func patchFeeds(lm *models.LM, s graph.Spec, questions []*Question, only *patch.Patch) (map[string]*tensor.Tensor, error) {
	patches := []*patch.Patch{only}
	if only == nil {
		patches = make([]*patch.Patch, len(questions))
		for i, q := range questions {
			patches[i] = q.Patch
		}
	}
	feeds := map[string]*tensor.Tensor{}
	for _, w := range s.Slotted(lm.Anatomy()) {
		feeds[graph.SlotU(w.ID)], feeds[graph.SlotV(w.ID)] = patch.Factors(patches, w)
	}
	for _, f := range s.Biased(lm.Anatomy()) {
		feeds[graph.SlotBias(f.Down.ID)] = patch.BiasShifts(patches, f.Down)
	}
	for _, at := range s.Spliced(lm.Anatomy()) {
		stacked, err := graph.Stack(lm.Info(), at, patches)
		if err != nil {
			return nil, fmt.Errorf("models: %w", err)
		}
		for name, t := range stacked {
			feeds[at.Input(name)] = t
		}
	}
	for _, w := range s.Replaced(lm.Anatomy()) {
		value, err := lm.Anatomy().Graph(s.Role).Stored(w.ID, w.Initializer)
		if err == nil {
			value, err = only.Apply(w, value)
		}
		if err != nil {
			return nil, err
		}
		feeds[w.Initializer] = value
	}
	return feeds, nil
}

// pad is the id that fills unused positions. Any id of the vocabulary does:
// nothing reads them.
func pad(lm *models.LM) int64 {
	if id := lm.Anatomy().Config.Pad; id != nil && *id >= 0 && *id < int64(lm.Info().Vocab) {
		return *id
	}
	return 0
}

// feedTokens feeds the inputs that a graph has of ids and positions [B, T] and
// mask [B, past+T].
func feedTokens(feeds map[string]*tensor.Tensor, p ports.Ports, B, T int, ids, mask, pos []int64) {
	feed := func(name string, v []int64, shape ...int) {
		if name != "" {
			feeds[name] = integers(p.Type(name), v, shape...)
		}
	}
	feed(p.IDs, ids, B, T)
	feed(p.Mask, mask, B, len(mask)/B)
	feed(p.Positions, pos, B, T)
	feed(p.TokenTypes, make([]int64, B*T), B, T)
	at := make([]int64, T)
	for t := range at {
		at[t] = int64(len(mask)/B - T + t)
	}
	feed(p.CachePosition, at, T)
	feed(p.KeepLogits, []int64{0}, slices.Repeat([]int{1}, p.KeepRank)...)
}

// integers makes a tensor of the element type an input wants.
func integers(dt onnx.DataType, v []int64, shape ...int) *tensor.Tensor {
	switch dt {
	case onnx.Int32:
		t := tensor.New(tensor.I32, shape...)
		for i, x := range v {
			binary.LittleEndian.PutUint32(t.Data[4*i:], uint32(int32(x)))
		}
		return t
	case onnx.Bool, onnx.Int8, onnx.Uint8:
		t := tensor.New(map[onnx.DataType]tensor.DType{onnx.Bool: tensor.Bool, onnx.Int8: tensor.I8, onnx.Uint8: tensor.U8}[dt], shape...)
		for i, x := range v {
			t.Data[i] = byte(x)
		}
		return t
	case onnx.Float:
		f := make([]float32, len(v))
		for i, x := range v {
			f[i] = float32(x)
		}
		return tensor.FromFloat32s(f, shape...)
	}
	return tensor.FromInt64s(v, shape...)
}
