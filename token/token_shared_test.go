//go:build shared

package token

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// sharedFile returns a file of the shared reference folder.
func sharedFile(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("EDITPIPE_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared")
	}
	path := filepath.Join(dir, filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is absent: set EDITPIPE_SHARED to the shared reference folder", path)
	}
	return path
}

func openShared(t testing.TB, name string) *Tokenizer {
	t.Helper()
	tok, err := Open(sharedFile(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// TestWorld compares the small world's tokenizer, in one file and in two, with ids
// of the official implementation.
func TestWorld(t *testing.T) {
	for _, name := range []string{"tokenizer.json", "vocab.json"} {
		t.Run(name, func(t *testing.T) { testWorld(t, openShared(t, "fixtures/world/"+name)) })
	}
}

func testWorld(t *testing.T, tok *Tokenizer) {
	data, err := os.ReadFile(sharedFile(t, "fixtures/world/oracle_tokenization.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []struct {
		Text, Decoded string
		IDs           []int64
	}
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 210 {
		t.Fatalf("%d texts, want 210", len(list))
	}
	for _, w := range list {
		e, err := tok.Encode(w.Text)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := tok.Decode(e.IDs, false)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(e.IDs, w.IDs) || decoded != w.Decoded {
			t.Errorf("%q: %v %q, want %v %q", w.Text, e.IDs, decoded, w.IDs, w.Decoded)
		}
	}
	if id, ok := tok.SpecialID("eos_token"); !ok || id != 1199 {
		t.Errorf("eos_token: %d, %v", id, ok)
	}
}

// TestReal pins one text each of the real GPT-2 and T5 vocabularies; the ids are
// the official implementation's. internal/tokencheck compares thousands.
func TestReal(t *testing.T) {
	tok := openShared(t, "data/tokenizers/gpt2/tokenizer.json")
	check(t, tok, "Hello  wörld 日本 ﬁ<|endoftext|>é",
		[]int64{15496, 220, 266, 30570, 335, 10545, 245, 98, 17312, 105, 27332, 105, 223, 50256, 2634},
		[]Span{{0, 5}, {5, 6}, {6, 8}, {8, 11}, {11, 13}, {13, 15}, {15, 16}, {16, 17}, {17, 19}, {19, 20}, {20, 22}, {22, 23}, {23, 24}, {24, 37}, {37, 39}})
	tok = openShared(t, "data/tokenizers/t5-small/tokenizer.json")
	check(t, tok, "Hello  wörld ﬁ é", []int64{8774, 3, 210, 4446, 40, 26, 361, 3, 154, 1},
		[]Span{{0, 5}, {7, 8}, {7, 8}, {8, 11}, {11, 12}, {12, 13}, {14, 17}, {18, 20}, {18, 20}, {0, 0}})
}

func check(t *testing.T, tok *Tokenizer, text string, ids []int64, spans []Span) {
	t.Helper()
	e, err := tok.EncodeWithSpecial(text)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(e.IDs, ids) || !slices.Equal(e.Spans, spans) {
		t.Errorf("%q: %v %v, want %v %v", text, e.IDs, e.Spans, ids, spans)
	}
}

func BenchmarkShared(b *testing.B) {
	for _, name := range []string{"gpt2", "t5-small"} {
		tok := openShared(b, "data/tokenizers/"+name+"/tokenizer.json")
		b.Run(name, func(b *testing.B) { benchmark(b, tok) })
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, name := range []string{"gpt2", "t5-small"} {
		path := sharedFile(b, "data/tokenizers/"+name+"/tokenizer.json")
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Open(path); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
