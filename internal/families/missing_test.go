package families

import (
	"fmt"
	"runtime"
	"testing"

	"editpipe/internal/tinylm"
)

// halted is a test that keeps why it was ended.
type halted struct {
	testing.TB
	why string
}

func (h *halted) Helper() {}

func (h *halted) Fatalf(format string, args ...any) {
	h.why = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// TestMissing: what a checkpoint or its config.json lacks fails the test, by name.
func TestMissing(t *testing.T) {
	for _, tt := range []struct {
		family      tinylm.Family
		tensor, key string
		says        string
	}{
		{family: tinylm.GPTNeo, tensor: "transformer.h.1.ln_2.bias", says: "the checkpoint has no transformer.h.1.ln_2.bias"},
		{family: tinylm.GPTNeo, key: "num_heads", says: "config.json has no float64 num_heads"},
		{family: tinylm.GPTNeo, key: "attention_layers", says: "config.json has no []interface {} attention_layers"},
		{family: tinylm.GPTNeo, key: "model_type", says: "config.json has no string model_type"},
		{family: tinylm.Falcon, key: "parallel_attn", says: "config.json has no bool parallel_attn"},
	} {
		h := &halted{TB: t}
		second := checkpoint(t, tinylm.Config{Family: tt.family}).in(h)
		delete(second.tensors, tt.tensor)
		delete(second.config, tt.key)
		done := make(chan struct{})
		go func() {
			defer close(done)
			second.logits(prompt[:1])
		}()
		<-done
		if h.why != tt.says {
			t.Errorf("%s without %s%s: %q, want %q", tt.family, tt.tensor, tt.key, h.why, tt.says)
		}
	}
}
