package arch

import (
	"testing"

	"editpipe/internal/tinylm"
	"editpipe/models/linear"
)

// TestNormBehindFeedForward: the residual stream is found behind a norm of the
// feed-forward part's output, written out or not.
func TestNormBehindFeedForward(t *testing.T) {
	for form, c := range map[string]tinylm.Config{
		"torchscript": {}, "named": {NamedWeights: true, NoScopes: true}, "float16": {Float16: true},
		"dynamo 18": {Exporter: tinylm.Dynamo}, "dynamo 24": {Exporter: tinylm.Dynamo, Opset: 24}, "genai": {Exporter: tinylm.GenAI},
	} {
		for _, c.Family = range []tinylm.Family{tinylm.Gemma2, tinylm.Gemma3} {
			t.Run(string(c.Family)+" "+form, func(t *testing.T) {
				dir := t.TempDir()
				if err := tinylm.Write(dir, c); err != nil {
					t.Fatal(err)
				}
				a, err := Open(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer a.Close()
				if len(a.Info.FFNs) != 2 {
					t.Fatalf("%d feed-forward parts, want 2", len(a.Info.FFNs))
				}
				g := linear.Find(a.Forward.Model)
				for _, f := range a.Info.FFNs {
					if f.Hidden == "" {
						t.Errorf("layer %d: %s", f.Layer, f.Missing[Hidden])
						continue
					}
					switch n := g.Index.Producer(f.Hidden); {
					case c.Exporter == tinylm.GenAI && f.Layer == 1: // the last norm does not hand it out
						if n != nil || f.Summand == "" {
							t.Errorf("layer %d: not the sum inside the last norm", f.Layer)
						}
					case c.Exporter == tinylm.GenAI:
						if n.OpType != "SkipSimplifiedLayerNormalization" {
							t.Errorf("layer %d: %s makes the residual stream", f.Layer, n.OpType)
						}
					case n.OpType != "Add" || g.Constant(n.Inputs[0]) || g.Constant(n.Inputs[1]):
						t.Errorf("layer %d: %s makes the residual stream", f.Layer, n.OpType)
					}
				}
			})
		}
	}
}
