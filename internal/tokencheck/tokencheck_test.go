//go:build tokencheck

package tokencheck

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"editpipe/token"
	"editpipe/token/bytelevel"
)

var (
	number  = flag.Int("texts", 10_000, "texts per tokenizer")
	opinion = flag.Bool("second", false, "count where @huggingface/tokenizers has other ids")
	seed    = flag.Uint64("seed", 1, "seed of the texts")
)

// official is one line of official.mjs.
type official struct {
	IDs     []int64
	Offsets [][2]int
	FullIDs []int64
	// Of the first texts alone.
	FullOffsets [][2]int
	Decoded     *string
	Skipped     string
}

// decoded is how many texts are decoded again, and have their spans with special
// tokens compared.
const decoded = 2560

// node asks the official implementation and reads one line of its answer after
// another.
func node[T any](t *testing.T, job map[string]any, lines int) []T {
	t.Helper()
	data, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "official.mjs")
	cmd.Stdin = bytes.NewReader(data)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		t.Fatalf("official implementation: %v\n%s", err, stderr.String())
	}
	dec := json.NewDecoder(bytes.NewReader(stdout))
	out := make([]T, lines)
	for i := range out {
		if err := dec.Decode(&out[i]); err != nil {
			t.Fatalf("official implementation, line %d: %v", i, err)
		}
	}
	return out
}

// runOfficial encodes texts with the official implementation.
func runOfficial(t *testing.T, tokenizer []byte, texts []string) []official {
	t.Helper()
	return node[official](t, map[string]any{"tokenizer": string(tokenizer), "texts": texts, "decode": decoded}, len(texts))
}

// sharedFile returns a file of the shared reference folder.
func sharedFile(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("EDITPIPE_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	path := filepath.Join(dir, filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is absent: set EDITPIPE_SHARED to the shared reference folder", path)
	}
	return path
}

// TestOfficial compares ids, spans and decoded text of every variant.
func TestOfficial(t *testing.T) {
	gpt2 := load(t, sharedFile(t, "data/tokenizers/gpt2/tokenizer.json"))
	t5 := load(t, sharedFile(t, "data/tokenizers/t5-small/tokenizer.json"))
	world, err := os.ReadFile(sharedFile(t, "fixtures/world/tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	list := append(variants(t, gpt2, t5), variant{name: "world", data: world, special: []string{"<|endoftext|>"}})
	for _, v := range list {
		t.Run(v.name, func(t *testing.T) { compare(t, v) })
	}
}

func compare(t *testing.T, v variant) {
	tok, err := token.Parse(v.data)
	if err != nil {
		t.Fatal(err)
	}
	compareWith(t, tok, v)
}

// compareWith compares tok with what the official implementation makes of v.
func compareWith(t *testing.T, tok *token.Tokenizer, v variant) {
	t.Helper()
	texts := append(Texts(*seed, *number-*number*2/5, v.special), AllScripts(*seed, *number*2/5, v.special)...)
	want := runOfficial(t, v.data, texts)
	lost := lostBytes(t, v.data)
	var ids, spans, decodes, tokens, shifted int
	fail := func(count *int, what, text string, got, want any) {
		if *count++; *count <= 3 {
			t.Errorf("%s of %.200q: %s", what, text, difference(got, want))
		}
	}
	for i, text := range texts {
		w := want[i]
		plain, err := tok.Encode(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		full, err := tok.EncodeWithSpecial(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		tokens += len(plain.IDs)
		if !slices.Equal(plain.IDs, w.IDs) || !slices.Equal(full.IDs, w.FullIDs) {
			fail(&ids, "ids", text, plain.IDs, w.IDs)
			continue
		}
		c := newCharacters(text)
		shift := strings.ContainsAny(text, lost)
		if shift {
			shifted++
		} else if got := c.offsets(plain.Spans); !slices.Equal(got, w.Offsets) {
			fail(&spans, "offsets", text, got, w.Offsets)
		}
		if w.Decoded == nil {
			continue
		}
		if got := c.offsets(full.Spans); !shift && !slices.Equal(got, w.FullOffsets) {
			fail(&spans, "offsets with special tokens", text, got, w.FullOffsets)
		}
		decoded, err := tok.Decode(plain.IDs, false)
		if err != nil {
			t.Fatal(err)
		}
		skipped, err := tok.Decode(full.IDs, true)
		if err != nil {
			t.Fatal(err)
		}
		if decoded != *w.Decoded {
			fail(&decodes, "decoding", text, decoded, *w.Decoded)
		} else if skipped != w.Skipped && !v.noSkip {
			fail(&decodes, "decoding without special tokens", text, skipped, w.Skipped)
		}
	}
	t.Logf("%d texts, %d tokens: %d id, %d offset, %d decode mismatches; %d texts without comparable offsets", len(texts), tokens, ids, spans, decodes, shifted)
}

// lostBytes are the ASCII characters that a byte-level vocabulary has no token for
// and drops, as Falcon's does some control characters. The official implementation
// then reports the rest of the word too far to the left, by what was dropped.
func lostBytes(t *testing.T, data []byte) string {
	t.Helper()
	var c struct {
		Model struct {
			Type  string
			Unk   *string `json:"unk_token"`
			Vocab json.RawMessage
		}
	}
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	var vocab map[string]int64
	if c.Model.Unk != nil || json.Unmarshal(c.Model.Vocab, &vocab) != nil {
		return ""
	}
	var lost strings.Builder
	if _, ok := vocab[string(bytelevel.Rune(' '))]; ok {
		for b := range byte(utf8.RuneSelf) {
			if _, ok := vocab[string(bytelevel.Rune(b))]; !ok {
				lost.WriteByte(b)
			}
		}
	}
	return lost.String()
}

// difference shows where two JSON forms part.
func difference(got, want any) string {
	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	i := 0
	for i < min(len(g), len(w)) && g[i] == w[i] {
		i++
	}
	show := func(b []byte) []byte { return b[max(0, i-40):min(len(b), i+60)] }
	return fmt.Sprintf("at %d\n got %s\nwant %s", i, show(g), show(w))
}

// characters converts byte spans to the character offsets that the official
// binding reports, widening partial characters.
type characters struct {
	text  string
	index []int // by byte offset: the character it lies in
}

func newCharacters(text string) characters {
	c := characters{text, make([]int, 0, len(text)+1)}
	n := 0
	for _, r := range text {
		for range utf8.RuneLen(r) {
			c.index = append(c.index, n)
		}
		n++
	}
	c.index = append(c.index, n)
	return c
}

func (c characters) offsets(spans []token.Span) [][2]int {
	out := make([][2]int, len(spans))
	for i, s := range spans {
		empty := s.Start == s.End
		for s.End < len(c.text) && !utf8.RuneStart(c.text[s.End]) {
			s.End++
		}
		if empty {
			s.Start = s.End // trimming may leave an empty span inside a character
		}
		out[i] = [2]int{c.index[s.Start], c.index[s.End]}
	}
	return out
}
