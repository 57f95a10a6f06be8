package models_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/models/run"
	"editpipe/ort/orttest"
)

// rewriteTokenizer changes a folder's tokenizer.json.
func rewriteTokenizer(t *testing.T, dir string, change func(tok map[string]any)) {
	t.Helper()
	path := filepath.Join(dir, "tokenizer.json")
	var tok map[string]any
	b, err := os.ReadFile(path)
	modeltest.Must(t, err)
	modeltest.Must(t, json.Unmarshal(b, &tok))
	change(tok)
	b, err = json.Marshal(tok)
	modeltest.Must(t, err)
	modeltest.Must(t, os.WriteFile(path, b, 0o644))
}

// TestTokenBeyondVocabulary opens a model whose tokenizer has a token for padding
// that the model does not: only a text with that token is refused.
func TestTokenBeyondVocabulary(t *testing.T) {
	env := orttest.Open(t)
	dir := modeltest.Folder(t, tinylm.Config{Family: tinylm.GPT2})
	info, err := models.Inspect(dir)
	modeltest.Must(t, err)
	if len(info.Warnings) > 0 || info.TokenizerFault != "" {
		t.Fatalf("the model as it was: %q, %q", info.Warnings, info.TokenizerFault)
	}
	rewriteTokenizer(t, dir, func(tok map[string]any) {
		added, _ := tok["added_tokens"].([]any)
		tok["added_tokens"] = append(added, map[string]any{"id": info.Vocab, "content": "[PAD]", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
	})
	if info, err = models.Inspect(dir); err != nil || info.TokenizerFault != "" || len(info.Warnings) != 1 || !strings.Contains(info.Warnings[0], `(1: ["[PAD]"])`) {
		t.Errorf("inspect: %v, %q, %q", err, info.TokenizerFault, info.Warnings)
	}
	lm := modeltest.Open(t, env, dir, models.Options{})
	if got := lm.Info().Warnings; len(got) != 1 {
		t.Errorf("warnings %q", got)
	}
	a := score(t, lm,
		answer.Row{Query: ask.Query{Prompt: "x", Targets: []string{"y"}}},
		answer.Row{Query: ask.Query{Prompt: "x [PAD]", Targets: []string{"y"}}},
		answer.Row{Query: ask.Query{Prompt: "x", Targets: []string{"[PAD]"}}})
	if a[0].Err != nil {
		t.Error(a[0].Err)
	}
	for _, x := range a[1:] {
		if want := fmt.Sprintf("the token \"[PAD]\", id %d, vocabulary of %d", info.Vocab, info.Vocab); !errors.Is(x.Err, run.ErrVocabulary) || !strings.Contains(x.Err.Error(), want) {
			t.Errorf("error %v, want %q", x.Err, want)
		}
	}
	// A template with such a token leaves no text to ask.
	rewriteTokenizer(t, dir, func(tok map[string]any) {
		tok["post_processor"] = map[string]any{"type": "TemplateProcessing",
			"single":         []any{map[string]any{"SpecialToken": map[string]any{"id": "[PAD]"}}, map[string]any{"Sequence": map[string]any{"id": "A"}}},
			"special_tokens": map[string]any{"[PAD]": map[string]any{"ids": []any{info.Vocab}}}}
	})
	if _, err := models.Open(t.Context(), env, dir, models.Options{}); !errors.Is(err, models.ErrTokenizer) || !strings.Contains(fmt.Sprint(err), `puts the token "[PAD]"`) {
		t.Errorf("a template beyond the vocabulary: %v", err)
	}
}

// TestInspectSaysWhatOpenSays about a tokenizer that cannot be used.
func TestInspectSaysWhatOpenSays(t *testing.T) {
	env := orttest.Open(t)
	dir := modeltest.Folder(t, tinylm.Config{Family: tinylm.GPT2})
	for name, change := range map[string]func(map[string]any){
		"pattern": func(tok map[string]any) {
			tok["pre_tokenizer"] = map[string]any{"type": "Split", "pattern": map[string]any{"Regex": `\X`}, "behavior": "Isolated"}
		},
		"size": func(tok map[string]any) {
			tok["model"].(map[string]any)["vocab"].(map[string]any)["more"] = 1 << 20
		},
	} {
		rewriteTokenizer(t, dir, change)
		info, err := models.Inspect(dir)
		modeltest.Must(t, err)
		_, err = models.Open(t.Context(), env, dir, models.Options{})
		if info.TokenizerFault == "" || err == nil || !strings.HasSuffix(err.Error(), info.TokenizerFault) {
			t.Errorf("%s: inspect %q, open %v", name, info.TokenizerFault, err)
		}
	}
}

// TestTwoFiles asks a model whose folder has vocab.json and merges.txt in place of
// tokenizer.json.
func TestTwoFiles(t *testing.T) {
	env := orttest.Open(t)
	dir := modeltest.Folder(t, tinylm.Config{Family: tinylm.GPT2})
	row := answer.Row{Query: ask.Query{Prompt: "a b", Targets: []string{"c"}}}
	want := score(t, modeltest.Open(t, env, dir, models.Options{}), row)
	rewriteTokenizer(t, dir, func(tok map[string]any) {
		model := tok["model"].(map[string]any)
		b, err := json.Marshal(model["vocab"])
		modeltest.Must(t, err)
		modeltest.Must(t, os.WriteFile(filepath.Join(dir, "vocab.json"), b, 0o644))
		var merges strings.Builder
		for _, m := range model["merges"].([]any) {
			switch m := m.(type) {
			case string:
				fmt.Fprintln(&merges, m)
			case []any:
				fmt.Fprintln(&merges, m[0], m[1])
			}
		}
		modeltest.Must(t, os.WriteFile(filepath.Join(dir, "merges.txt"), []byte(merges.String()), 0o644))
	})
	modeltest.Must(t, os.Remove(filepath.Join(dir, "tokenizer.json")))
	modeltest.Must(t, os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte(`{"tokenizer_class":"GPT2Tokenizer"}`), 0o644))
	info, err := models.Inspect(dir)
	modeltest.Must(t, err)
	if !info.Tokenizer || filepath.Base(info.TokenizerFile) != "vocab.json" || info.TokenizerFault != "" {
		t.Errorf("inspect: %v, %q, %q", info.Tokenizer, info.TokenizerFile, info.TokenizerFault)
	}
	got := score(t, modeltest.Open(t, env, dir, models.Options{}), row)
	if got[0].Err != nil || want[0].Err != nil || !slices.Equal(got[0].Targets[0].LogProbs, want[0].Targets[0].LogProbs) {
		t.Errorf("%+v, want %+v", got[0], want[0])
	}
}
