package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestInspectTokenizer shows what the commands that ask the model will say of its
// tokenizer.
func TestInspectTokenizer(t *testing.T) {
	dir := copyDir(t, embedded(t), filepath.Join(t.TempDir(), "model"))
	path := filepath.Join(dir, "tokenizer.json")
	want := func(text string) {
		t.Helper()
		if out := callOK(t, "inspect", "--model", dir).out; !strings.Contains(out, text) {
			t.Errorf("inspect does not say %q:\n%s", text, out)
		}
	}
	want("tokenizer.json")
	amendTokenizer(t, path, func(tok map[string]any) {
		added, _ := tok["added_tokens"].([]any)
		tok["added_tokens"] = append(added, map[string]any{"id": 3072, "content": "[PAD]", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
	})
	want(`warning: the tokenizer has added tokens beyond the model's vocabulary of 3072 (1: ["[PAD]"]); a text that holds one cannot be asked`)
	amendTokenizer(t, path, func(tok map[string]any) {
		tok["pre_tokenizer"] = map[string]any{"type": "Split", "pattern": map[string]any{"Regex": `a|\X`}, "behavior": "Isolated"}
	})
	want(`cannot be used: token: ` + path + `: pre_tokenizer type Split: regular expression "a|\\X": at character 2: \X is not supported`)
}
