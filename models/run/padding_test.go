package run

import (
	"testing"

	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/graph"
	"editpipe/onnx"
	"editpipe/ort/orttest"
)

// TestTakesPadding: padding in front of a past is tried, not taken from names: graphs
// that read positions off the cache or take lengths do not share runs, those that
// look back by distance do.
func TestTakesPadding(t *testing.T) {
	env := orttest.Open(t)
	for name, want := range map[string]bool{
		"learned positions": true, "positions counted": false, "rotary, positions counted": false, "local windows": true, "local windows, no positions": false,
		"sliding window": true, "alibi": true, "positions of the mask": true, "stacked": true, "GroupQueryAttention": false, "MultiHeadAttention": true,
	} {
		lm := modeltest.Tiny(t, env, modeltest.AttentionForms[name], models.Options{Threads: 1})
		if got := TakesPadding(t.Context(), lm, graph.Take{Slots: graph.DownSlots}, 1, 20); got != want {
			t.Errorf("%s: rows of unequal length share runs: %v, want %v", name, got, want)
		}
	}
}

// TestTakesPaddingUpTo: what shows only with many positions is not taken for right
// from few.
func TestTakesPaddingUpTo(t *testing.T) {
	env := orttest.Open(t)
	dir := modeltest.Folder(t, tinylm.Config{Family: tinylm.GPT2, Cache: tinylm.WithPast})
	modeltest.RewriteGraph(t, dir, "model_with_past.onnx", func(m *onnx.Model) {
		// Another position from 33 places in the cache on.
		modeltest.Must(t, m.Splice("position_ids", func(b *onnx.Builder, in string) (string, error) {
			places := b.Op("Gather", []string{b.Op("Shape", []string{"attention_mask"}), b.Int64s(1)}, onnx.AttrInt("axis", 0))
			many := b.Op("Cast", []string{b.Op("Greater", []string{places, b.Int64s(32)})}, onnx.AttrInt("to", int64(onnx.Int64)))
			return b.Op("Sub", []string{in, many}), nil
		}))
	})
	lm := modeltest.Open(t, env, dir, models.Options{Threads: 1})
	for _, c := range []struct {
		positions int
		want      bool
	}{{20, true}, {32, true}, {33, false}, {64, false}, {30, true}} {
		if got := TakesPadding(t.Context(), lm, graph.Take{Slots: graph.DownSlots}, 1, c.positions); got != c.want {
			t.Errorf("%d positions: %v", c.positions, got)
		}
	}
}
