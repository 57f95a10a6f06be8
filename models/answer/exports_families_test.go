//go:build families

package answer

import "editpipe/internal/tinylm"

// The other families and exporters, for which a default run of the tests has no
// time.
func init() {
	exports = append(exports, []exported{
		{tinylm.GPT2, []tinylm.Config{{}, {Exporter: tinylm.Dynamo}, {Exporter: tinylm.ORT}}},
		{tinylm.OPT, []tinylm.Config{{}, {Exporter: tinylm.Dynamo}}},
		{tinylm.GPTJ, []tinylm.Config{{}, {Exporter: tinylm.Dynamo}}},
		{tinylm.GPTNeo, []tinylm.Config{{}, {Exporter: tinylm.Dynamo}}},
		{tinylm.GPTNeoX, []tinylm.Config{{}, {Exporter: tinylm.Dynamo, Opset: 24}, {Exporter: tinylm.Dynamo}}},
		{tinylm.BLOOM, []tinylm.Config{{}, {Exporter: tinylm.Dynamo, Opset: 23}}},
		{tinylm.Falcon, []tinylm.Config{{}, {Exporter: tinylm.Dynamo, Opset: 23}}},
		{tinylm.StarCoder, []tinylm.Config{{}, {Exporter: tinylm.Dynamo}}},
		{tinylm.Phi2, []tinylm.Config{{}, {Exporter: tinylm.GenAI}}},
		{tinylm.Phi3, []tinylm.Config{{}, {Exporter: tinylm.GenAI, Operator: tinylm.MultiHead}, {Exporter: tinylm.Dynamo}}},
		{tinylm.LLaMA, []tinylm.Config{{}, {Exporter: tinylm.GenAI}, {Exporter: tinylm.Dynamo, Opset: 24}}},
		{tinylm.Mistral, []tinylm.Config{{}, {Exporter: tinylm.GenAI}}},
		{tinylm.Qwen2, []tinylm.Config{{}, {Exporter: tinylm.GenAI}}},
		{tinylm.Qwen3, []tinylm.Config{{}, {Exporter: tinylm.GenAI, Operator: tinylm.MultiHead}}},
		{tinylm.Gemma2, []tinylm.Config{{}, {Exporter: tinylm.Dynamo}}},
		{tinylm.Gemma3, []tinylm.Config{{}, {Exporter: tinylm.GenAI, Operator: tinylm.MultiHead}, {Exporter: tinylm.Dynamo, Opset: 23}}},
	}...)
}
