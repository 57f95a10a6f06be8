package arch

import (
	"strings"
	"testing"

	"editpipe/models/folder"
	"editpipe/onnx"
)

// TestExpertsAreNamed: where blocks are mixtures of experts the refusal says so, and
// which file counts the layers.
func TestExpertsAreNamed(t *testing.T) {
	m := onnx.New(8, 17)
	m.Graph.Nodes = []*onnx.Node{{OpType: "QMoE", Domain: "com.microsoft", Inputs: []string{"x"}, Outputs: []string{"y"}}}
	a := &Anatomy{Forward: &Graph{Model: m}, Config: folder.Config{Files: []string{"model/genai_config.json"}}}
	a.checkLayers(Decoder, nil, 2)
	if len(a.Info.Refusals) != 1 || !strings.Contains(a.Info.Refusals[0], "mixtures of experts (QMoE)") || !strings.HasPrefix(a.Info.Refusals[0], "genai_config.json counts") {
		t.Errorf("%q", a.Info.Refusals)
	}
}
