package run_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"editpipe/ask"
	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/models/run"
	"editpipe/ort/orttest"
)

// sentencePiece writes a tokenizer like LLaMA's: words carry U+2581, merges
// run across spaces, texts start with <s>.
func sentencePiece(t *testing.T, dir string) {
	t.Helper()
	vocab := map[string]int{"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3, "a": 4, "b": 5, "c": 6, "▁a": 7, "▁b": 8, "▁c": 9, "c▁a": 10, "▁c▁a": 11}
	tok := map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil,
		"added_tokens": []any{modeltest.AddedToken(0, "<unk>"), modeltest.AddedToken(1, "<s>"), modeltest.AddedToken(2, "</s>")},
		"normalizer": map[string]any{"type": "Sequence", "normalizers": []any{
			map[string]any{"type": "Prepend", "prepend": "▁"},
			map[string]any{"type": "Replace", "pattern": map[string]any{"String": " "}, "content": "▁"},
		}},
		"pre_tokenizer": nil,
		"post_processor": map[string]any{
			"type":           "TemplateProcessing",
			"single":         []any{map[string]any{"SpecialToken": map[string]any{"id": "<s>", "type_id": 0}}, map[string]any{"Sequence": map[string]any{"id": "A", "type_id": 0}}},
			"pair":           []any{map[string]any{"Sequence": map[string]any{"id": "A", "type_id": 0}}, map[string]any{"Sequence": map[string]any{"id": "B", "type_id": 1}}},
			"special_tokens": map[string]any{"<s>": map[string]any{"id": "<s>", "ids": []int{1}, "tokens": []string{"<s>"}}},
		},
		"decoder": map[string]any{"type": "Sequence", "decoders": []any{
			map[string]any{"type": "Replace", "pattern": map[string]any{"String": "▁"}, "content": " "},
			map[string]any{"type": "Fuse"},
			map[string]any{"type": "Strip", "content": " ", "start": 1, "stop": 0},
		}},
		// Merging c with a following word makes the tokens of a prompt that ends
		// in c differ from those of the prompt with its target.
		"model": map[string]any{"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": false, "vocab": vocab,
			"merges": []string{"▁ a", "▁ b", "▁ c", "▁c ▁a"}},
	}
	vocab["▁c▁a"] = 11
	b, err := json.Marshal(tok)
	modeltest.Must(t, err)
	modeltest.Must(t, os.WriteFile(filepath.Join(dir, "tokenizer.json"), b, 0o644))
}

func TestJoinRule(t *testing.T) {
	env := orttest.Open(t)
	dir := modeltest.Folder(t, tinylm.Config{Family: tinylm.LLaMA})
	sentencePiece(t, dir)
	piece := modeltest.Open(t, env, dir, models.Options{})
	bytes := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.GPT2}, models.Options{})
	start := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.LLaMA}, models.Options{})
	seq := modeltest.Tiny(t, env, tinylm.Config{Family: tinylm.T5}, models.Options{})
	byteIDs := func(lm *models.LM, text string) []int64 {
		e, err := lm.Tokenizer().Encode(text)
		modeltest.Must(t, err)
		return e.IDs
	}
	bos := func(lm *models.LM) []int64 { before, _ := lm.Tokenizer().Template(); return before }
	if len(bos(start)) != 1 || len(bos(bytes)) != 0 || !slices.Equal(bos(piece), []int64{1}) {
		t.Fatalf("template ids: %v, %v, %v", bos(start), bos(bytes), bos(piece))
	}
	for _, c := range []struct {
		name           string
		lm             *models.LM
		prompt, target string
		ids, gold      []int64
		repaired       bool
	}{
		{"byte level", bytes, "The town", "is", slices.Concat(byteIDs(bytes, "The town"), byteIDs(bytes, " is")), byteIDs(bytes, " is"), false},
		{"target with its own space", bytes, "The town", " is", slices.Concat(byteIDs(bytes, "The town"), byteIDs(bytes, " is")), byteIDs(bytes, " is"), false},
		{"start token, once", start, "The town", "is", slices.Concat(bos(start), byteIDs(start, "The town is")), byteIDs(start, " is"), false},
		{"start token alone", start, "", "is", slices.Concat(bos(start), byteIDs(start, " is")), byteIDs(start, " is"), false},
		{"pieces", piece, "b b", "a", []int64{1, 8, 8, 7}, []int64{7}, false},
		{"pieces that merge across the boundary", piece, "b c", "a", []int64{1, 8, 9, 7}, []int64{7}, true},
		{"the same, target with its own space", piece, "b c", " a", []int64{1, 8, 9, 7}, []int64{7}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			prompt, all, err := run.JoinAll(c.lm, ask.Query{Prompt: c.prompt, Targets: []string{c.target}})
			modeltest.Must(t, err)
			j := all[0]
			if ids := slices.Concat(j.Prompt, j.Target); !slices.Equal(ids, c.ids) || !slices.Equal(j.Target, c.gold) || j.Apart != c.repaired {
				t.Errorf("ids %v, target %v, apart %v; want %v, %v, %v", ids, j.Target, j.Apart, c.ids, c.gold, c.repaired)
			}
			if !slices.Equal(prompt, j.Prompt) {
				t.Errorf("prompt %v, the sequence's is %v", prompt, j.Prompt)
			}
			n, err := run.PromptTokens(c.lm, c.prompt, c.target)
			if err != nil || n != len(c.ids) {
				t.Errorf("%d tokens counted, want %d (%v)", n, len(c.ids), err)
			}
		})
	}
	answers, err := answer.Score(t.Context(), piece, []answer.Row{{Query: ask.Query{Prompt: "b c", Targets: []string{"a", "b"}}}})
	modeltest.Must(t, err)
	if a := answers[0]; a.Err != nil || !a.Targets[0].BoundaryRepair || a.Targets[1].BoundaryRepair {
		t.Errorf("boundary repair %+v", answers[0])
	}

	prompt, all, err := run.JoinAll(seq, ask.Query{Prompt: "The town", Targets: []string{"is"}})
	modeltest.Must(t, err)
	end := seq.Anatomy().Config.EOS[0]
	if want := append(byteIDs(seq, "The town"), end); !slices.Equal(prompt, want) || !slices.Equal(all[0].Encoder, want) {
		t.Errorf("the encoder reads %v, want %v with the end token", all[0].Encoder, want)
	}
	if j := all[0]; !slices.Equal(j.Prompt, []int64{*seq.Anatomy().Config.DecoderStart}) || !slices.Equal(j.Target, byteIDs(seq, "is")) {
		t.Errorf("the decoder reads %v", j.Sequence)
	}
	if _, _, err := run.JoinAll(bytes, ask.Query{Prompt: "", Targets: []string{"x"}}); !errors.Is(err, ask.ErrNoPrompt) {
		t.Errorf("empty prompt without start token: %v", err)
	}
}

// TestPromptSpans: every id knows its bytes; template ids have none.
func TestPromptSpans(t *testing.T) {
	env := orttest.Open(t)
	for _, f := range []tinylm.Family{tinylm.LLaMA, tinylm.T5} {
		lm := modeltest.Tiny(t, env, tinylm.Config{Family: f}, models.Options{})
		const prompt = "The town of Étoile is"
		ids, spans, err := run.Prompt(lm, prompt)
		modeltest.Must(t, err)
		if len(ids) != len(spans) {
			t.Fatalf("%d ids, %d spans", len(ids), len(spans))
		}
		at := 0
		for i, s := range spans {
			if s.Start > at || s.End < s.Start || s.End > len(prompt) {
				t.Errorf("%s: id %d covers %v behind byte %d", f, i, s, at)
			}
			at = max(at, s.End)
		}
		if at != len(prompt) {
			t.Errorf("%s: the ids cover %d of %d bytes", f, at, len(prompt))
		}
	}
}
