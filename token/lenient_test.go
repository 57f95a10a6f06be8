package token

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/lfs"
)

// describing gives all files of one tokenizer: those that are read without a
// tokenizer.json.
func describing(t *testing.T) map[string]string {
	t.Helper()
	vocab, merges := apart(t, "bytelevel")
	return map[string]string{
		"vocab.json": vocab, "merges.txt": merges, "added_tokens.json": "{}", "config.json": `{"model_type":"gpt2"}`,
		"tokenizer_config.json": `{"eos_token":"<|endoftext|>"}`, "special_tokens_map.json": `{"unk_token":"<|endoftext|>"}`,
	}
}

// TestAsPythonWrites: a byte order mark, and settings that nobody asks for, change
// nothing of a tokenizer.
func TestAsPythonWrites(t *testing.T) {
	whole, err := os.ReadFile(filepath.Join(small, "bytelevel.json"))
	if err != nil {
		t.Fatal(err)
	}
	plain := describing(t)
	one := maps.Clone(plain)
	one["tokenizer.json"] = string(whole)
	for _, files := range []map[string]string{plain, one} {
		want, err := Open(Find(folder(t, files)))
		if err != nil {
			t.Fatal(err)
		}
		files = maps.Clone(files)
		for _, name := range []string{"tokenizer_config.json", "special_tokens_map.json", "config.json"} {
			files[name] = `{"model_max_length":Infinity,"foo":[1e400,-Infinity,NaN],` + files[name][1:]
		}
		for name, content := range files {
			files[name] = "\ufeff" + content
		}
		got, err := Open(Find(folder(t, files)))
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		eos, _ := want.SpecialID("eos_token")
		if id, ok := got.SpecialID("eos_token"); !ok || id != eos || got.Hash() != want.Hash() {
			t.Errorf("eos_token %d, want %d; hash %s, want %s", id, eos, got.Hash(), want.Hash())
		}
	}
	// An id is asked for.
	for _, name := range []string{"vocab.json", "added_tokens.json"} {
		files := maps.Clone(plain)
		files[name] = `{"<x>":NaN}`
		if _, err := Open(Find(folder(t, files))); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s with an id that is no number: %v", name, err)
		}
	}
}

// TestPointers: whichever file of a tokenizer is only a Git LFS pointer, the message
// names it and says so once.
func TestPointers(t *testing.T) {
	for _, name := range []string{"tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json", "special_tokens_map.json"} {
		files := describing(t)
		files[name] = "version https://example.org/spec/v1\noid sha256:ab\nsize 1\n"
		_, err := Open(Find(folder(t, files)))
		if !errors.Is(err, lfs.ErrPointer) || !strings.Contains(err.Error(), name) || strings.Count(err.Error(), "LFS") != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
