package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/token/bytelevel"
)

// folder writes files, by name, into a new folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// apart gives vocab.json and merges.txt of a small tokenizer, without the
// tokens that were added to it.
func apart(t *testing.T, name string) (vocab, merges string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(small, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Model struct {
			Vocab  map[string]int64
			Merges [][2]string
		}
	}
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	v, err := json.Marshal(c.Model.Vocab)
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{"#version: 0.2"}
	for _, m := range c.Model.Merges {
		lines = append(lines, m[0]+" "+m[1])
	}
	return string(v), strings.Join(lines, "\n") + "\n"
}

// TestTwoFiles reads byte-level BPE from vocab.json and merges.txt and gets the
// golden ids of the official implementation for the same tokenizer in one file.
func TestTwoFiles(t *testing.T) {
	vocab, merges := apart(t, "bytelevel")
	whole := openSmall(t, "bytelevel")
	eot, _ := whole.ID("<|endoftext|>")
	space, _ := whole.ID("  ")
	for name, files := range map[string]map[string]string{
		"added_tokens.json": {"added_tokens.json": fmt.Sprintf(`{"  ":%d}`, space),
			"special_tokens_map.json": `{"bos_token":"<|endoftext|>","eos_token":{"content":"<|endoftext|>","lstrip":false,"normalized":true}}`},
		"added_tokens_decoder": {"tokenizer_config.json": fmt.Sprintf(`{"tokenizer_class":"GPT2TokenizerFast","eos_token":"<|endoftext|>","pad_token":null,
			"added_tokens_decoder":{"%d":{"content":"<|endoftext|>","special":true},"%d":{"content":"  ","normalized":true}}}`, eot, space)},
	} {
		files["vocab.json"], files["merges.txt"] = vocab, merges
		dir := folder(t, files)
		tok, err := Open(Find(dir))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, g := range readGolden(t, "bytelevel") {
			e, err := tok.Encode(g.Text)
			if err != nil || !slices.Equal(e.IDs, g.IDs) {
				t.Errorf("%s: %q: ids %v, %v, want %v", name, g.Text, e.IDs, err, g.IDs)
			}
		}
		if id, ok := tok.SpecialID("eos_token"); !ok || id != eot || !tok.special[eot] || tok.special[space] {
			t.Errorf("%s: eos_token %d, %v", name, id, ok)
		}
		if again, err := Open(Find(dir)); err != nil || again.Hash() != tok.Hash() || len(tok.Hash()) != 64 || tok.Hash() == whole.Hash() {
			t.Errorf("%s: hash %q", name, tok.Hash())
		}
	}
	// tokenizer.json goes first.
	dir := folder(t, map[string]string{"vocab.json": vocab, "merges.txt": merges, "tokenizer.json": "{}"})
	if got := Find(dir); filepath.Base(got) != "tokenizer.json" {
		t.Errorf("found %s", got)
	}
	if got := Find(folder(t, map[string]string{"vocab.json": vocab})); got != "" {
		t.Errorf("found %s without merges.txt", got)
	}
	if got := Missing(folder(t, map[string]string{"vocab.json": vocab})); !strings.Contains(got, "merges.txt") {
		t.Errorf("%s is missing", got)
	}
	if got := Missing(t.TempDir()); got != "tokenizer.json" {
		t.Errorf("%s is missing", got)
	}
}

// TestTwoFilesUnmerged: a few tokens of a published vocabulary have no merge, and those
// that files add or that stand for no text need none.
func TestTwoFilesUnmerged(t *testing.T) {
	vocab := make(map[string]int64)
	var merges strings.Builder
	put := func(token string) { vocab[token] = int64(len(vocab)) }
	for b := range 256 {
		put(string(bytelevel.Rune(byte(b))))
	}
	for i := range 1996 { // with two declared and two made up, 2000 tokens longer than a byte
		left, right := string(bytelevel.Rune(byte(i/64))), string(bytelevel.Rune(byte(i%64)))
		put(left + right)
		fmt.Fprintln(&merges, left, right)
	}
	for _, token := range []string{"<|endoftext|>", "[MASK]", "declared", "added", "madeupword0000", "madeupword0001"} {
		put(token)
	}
	open := func() error {
		data, err := json.Marshal(vocab)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(Find(folder(t, map[string]string{"vocab.json": string(data), "merges.txt": merges.String(),
			"special_tokens_map.json": `{"pad_token":"declared"}`, "added_tokens.json": fmt.Sprintf(`{"added":%d}`, vocab["added"])})))
		return err
	}
	if err := open(); err != nil {
		t.Errorf("2 of 2000 tokens without a merge: %v", err)
	}
	put("madeupword0002")
	if err := open(); err == nil || !strings.Contains(err.Error(), "no merge makes 3 of the 2001 tokens") {
		t.Errorf("3 of 2001 tokens without a merge: %v", err)
	}
}

// TestTwoFilesTemplate has a begin token, and a pad token that no file gives an id.
func TestTwoFilesTemplate(t *testing.T) {
	vocab, merges := apart(t, "bytelevel")
	tok, err := Open(Find(folder(t, map[string]string{"vocab.json": vocab, "merges.txt": merges,
		"tokenizer_config.json": `{"tokenizer_class":"Qwen2Tokenizer","add_bos_token":true,"bos_token":"<|endoftext|>","pad_token":"<pad>","additional_special_tokens":["<x>"]}`})))
	if err != nil {
		t.Fatal(err)
	}
	eot, _ := tok.ID("<|endoftext|>")
	e, err := tok.EncodeWithSpecial("e\u0301 12")
	if err != nil {
		t.Fatal(err)
	}
	first, err := tok.Encode("é")
	if err != nil {
		t.Fatal(err)
	}
	// NFC, and digits one by one.
	if e.IDs[0] != eot || !slices.Equal(e.IDs[1:1+len(first.IDs)], first.IDs) || e.Spans[len(e.IDs)-1] != (Span{5, 6}) {
		t.Errorf("%v %v", e.IDs, e.Spans)
	}
	pad, _ := tok.SpecialID("pad_token")
	x, ok := tok.ID("<x>")
	if n := int64(tok.VocabSize()); pad != n-2 || x != n-1 || !ok {
		t.Errorf("<pad> %d, <x> %d of %d tokens", pad, x, n)
	}
	if own, added := tok.Beyond(int(pad)); len(own) != 0 || !slices.Equal(added, []string{"<pad>", "<x>"}) {
		t.Errorf("beyond: %q, %q", own, added)
	}
	if own, _ := tok.Beyond(int(eot)); !slices.Equal(own, []string{"<|endoftext|>"}) {
		t.Errorf("own tokens beyond: %q", own)
	}
}

func TestTwoFilesRefused(t *testing.T) {
	vocab, merges := apart(t, "bytelevel")
	lines := strings.Split(strings.TrimSuffix(merges, "\n"), "\n")
	long := len(lines) - 1 // a merge makes each token longer than a byte; the first line says the version
	for _, c := range []struct {
		name        string
		files       map[string]string
		want        string
		unsupported bool
	}{
		{"characters", map[string]string{"vocab.json": `{"a":0}`}, "no token for the byte 0x00", true},
		{"class", map[string]string{"tokenizer_config.json": `{"tokenizer_class":"RobertaTokenizer"}`}, "tokenizer_class RobertaTokenizer with vocab.json and merges.txt is not supported; save it as tokenizer.json", true},
		{"model", map[string]string{"config.json": `{"model_type":"llama"}`}, "that of a model of type llama is not known", true},
		{"model's class", map[string]string{"config.json": `{"tokenizer_class":"BartTokenizer"}`}, "tokenizer_class BartTokenizer", true},
		{"vocabulary", map[string]string{"vocab.json": `[]`}, "vocab.json: json", false},
		{"merges", map[string]string{"merges.txt": "a b\na\n"}, "line 2 does not hold two tokens", false},
		{"merge", map[string]string{"merges.txt": merges + "日 本\n"}, `("日", "本"): not all of its tokens are in vocab`, false},
		{"no merges", map[string]string{"merges.txt": "#version: 0.2\n"}, fmt.Sprintf("merges.txt is cut short: no merge makes %d of the %d tokens of vocab.json", long, long), false},
		{"last merges cut off", map[string]string{"merges.txt": strings.Join(lines[:len(lines)-2], "\n")}, fmt.Sprintf("merges.txt is cut short: no merge makes 2 of the %d tokens", long), false},
		{"config", map[string]string{"tokenizer_config.json": `[]`}, "tokenizer_config.json: json", false},
		{"decoder", map[string]string{"tokenizer_config.json": `{"added_tokens_decoder":{"x":{"content":"y"}}}`}, `"x" is not an id`, false},
		{"template", map[string]string{"tokenizer_config.json": `{"add_bos_token":true}`}, "add_bos_token is set", false},
		{"taken", map[string]string{"added_tokens.json": `{"<x>":3}`}, `"<x>" has id 3`, false},
	} {
		files := map[string]string{"vocab.json": vocab, "merges.txt": merges}
		for name, content := range c.files {
			files[name] = content
		}
		_, err := Open(Find(folder(t, files)))
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrUnsupported) != c.unsupported {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}
