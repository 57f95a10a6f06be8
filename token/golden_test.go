package token

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"editpipe/token/bytelevel"
)

// small holds small tokenizers and their golden files, which hold results of the
// official implementation; internal/tokencheck writes both with -update.
var small = filepath.Join("..", "testdata", "tokenizers")

// smallNames are the tokenizers of small.
var smallNames = []string{"bytelevel", "splitlevel", "sentencepiece", "unigram", "wordpiece"}

type golden struct {
	Text    string
	IDs     []int64
	Offsets [][2]int // in characters
	Full    []int64
	Decoded string
}

func openSmall(t testing.TB, name string) *Tokenizer {
	t.Helper()
	tok, err := Open(filepath.Join(small, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func readGolden(t testing.TB, name string) []golden {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(small, name+".golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []golden
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	if len(list) < 100 {
		t.Fatalf("%s: only %d golden texts", name, len(list))
	}
	return list
}

// charOffsets widens byte spans to whole characters and counts in characters.
func charOffsets(text string, spans []Span) [][2]int {
	out := make([][2]int, len(spans))
	for i, s := range spans {
		for !boundary(text, s.Start) {
			s.Start--
		}
		for !boundary(text, s.End) {
			s.End++
		}
		out[i] = [2]int{utf8.RuneCountInString(text[:s.Start]), utf8.RuneCountInString(text[:s.End])}
	}
	return out
}

func boundary(text string, i int) bool { return i == len(text) || utf8.RuneStart(text[i]) }

func TestGolden(t *testing.T) {
	for _, name := range smallNames {
		t.Run(name, func(t *testing.T) {
			tok := openSmall(t, name)
			for _, g := range readGolden(t, name) {
				e, err := tok.Encode(g.Text)
				if err != nil {
					t.Fatalf("%q: %v", g.Text, err)
				}
				if !slices.Equal(e.IDs, g.IDs) {
					t.Errorf("%q: ids %v, want %v", g.Text, e.IDs, g.IDs)
					continue
				}
				if got := charOffsets(g.Text, e.Spans); !slices.Equal(got, g.Offsets) {
					t.Errorf("%q: offsets %v, want %v", g.Text, got, g.Offsets)
				}
				full, err := tok.EncodeWithSpecial(g.Text)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(full.IDs, g.Full) {
					t.Errorf("%q: ids with template %v, want %v", g.Text, full.IDs, g.Full)
				}
				if before, after := tok.Template(); !slices.Equal(slices.Concat(before, e.IDs, after), g.Full) {
					t.Errorf("%q: the template adds %v and %v, want %v", g.Text, before, after, g.Full)
				}
				decoded, err := tok.Decode(e.IDs, false)
				if err != nil {
					t.Fatal(err)
				}
				if decoded != g.Decoded {
					t.Errorf("%q: decoded %q, want %q", g.Text, decoded, g.Decoded)
				}
			}
		})
	}
}

// TestPipelines compares ids behind each kind of pattern and normaliser with the
// official implementation's.
func TestPipelines(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(small, "pipelines.golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []struct {
		Normalizer   json.RawMessage
		PreTokenizer json.RawMessage `json:"pre_tokenizer"`
		Texts        []golden
	}
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	if len(list) < 20 {
		t.Fatalf("%d pipelines", len(list))
	}
	if data, err = os.ReadFile(filepath.Join(small, "splitlevel.json")); err != nil {
		t.Fatal(err)
	}
	var file map[string]json.RawMessage
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		file["normalizer"], file["pre_tokenizer"] = p.Normalizer, p.PreTokenizer
		if data, err = json.Marshal(file); err != nil {
			t.Fatal(err)
		}
		tok, err := Parse(data)
		if err != nil {
			t.Errorf("%s: %v", p.PreTokenizer, err)
			continue
		}
		for _, g := range p.Texts {
			if e, err := tok.Encode(g.Text); err != nil || !slices.Equal(e.IDs, g.IDs) {
				t.Errorf("%s %s: %q: ids %v, %v, want %v", p.Normalizer, p.PreTokenizer, g.Text, e.IDs, err, g.IDs)
			}
		}
	}
}

// TestSpansPartition checks spans without a reference: the tokens of a
// byte-level tokenizer without a normaliser are the bytes of their spans, and
// the spans follow one another without gaps.
func TestSpansPartition(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(small, "bytelevel.json"))
	if err != nil {
		t.Fatal(err)
	}
	// Trimmed spans leave the spaces out; keep them.
	tok, err := Parse([]byte(strings.ReplaceAll(string(data), `"trim_offsets":true`, `"trim_offsets":false`)))
	if err != nil {
		t.Fatal(err)
	}
	partial := 0
	for _, g := range readGolden(t, "bytelevel") {
		e, err := tok.Encode(g.Text)
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		for i, s := range e.Spans {
			word, _ := tok.Token(e.IDs[i])
			b, ok := bytelevel.Bytes(word)
			if !ok {
				b = []byte(word) // an added token
			}
			if s.Start != at || g.Text[s.Start:s.End] != string(b) {
				t.Fatalf("%q: token %d %q has span %v after %d", g.Text, i, word, s, at)
			}
			if !boundary(g.Text, s.End) {
				partial++
			}
			at = s.End
		}
		if at != len(g.Text) {
			t.Fatalf("%q: spans end at %d of %d", g.Text, at, len(g.Text))
		}
	}
	if partial == 0 {
		t.Error("no token held part of a character: the texts do not test byte spans")
	}
}

// TestSubjectSpans looks for the last token of a subject, as methods do.
func TestSubjectSpans(t *testing.T) {
	prompts := []struct{ before, subject, after string }{
		{"The mother tongue of ", "Danielle Darrieux", " is"},
		{"", "Zürich", " is in"},
		{"In ", "Łódź", ", people speak"},
		{"", "東京", "は日本の首都です。"},
		{"Who is ", "Nguyễn Tấn Dũng", "?"},
		{"", "Dvořák", "'s capital is"},
		{"ﬁne ", "Москва", "\nPrompt: Москва is"},
		{"👍🏽 ", "👨‍👩‍👧‍👦", " family"},
		{"a  b ", "Gabriel García Márquez", " wrote"},
	}
	for _, name := range smallNames {
		tok := openSmall(t, name)
		for _, p := range prompts {
			text := p.before + p.subject + p.after
			start, end := len(p.before), len(p.before)+len(p.subject)
			for _, encode := range []func(string) (Encoding, error){tok.Encode, tok.EncodeWithSpecial} {
				e, err := encode(text)
				if err != nil {
					t.Fatal(err)
				}
				i := len(e.Spans) - 1
				for i >= 0 && !(e.Spans[i].Start < end && e.Spans[i].End > start && e.Spans[i].Start < e.Spans[i].End) {
					i--
				}
				if i < 0 {
					t.Errorf("%s: %q: no token overlaps %q", name, text, p.subject)
					continue
				}
				// The last byte of the subject is in it, and no later token begins before its end.
				if s := e.Spans[i]; s.Start >= end || s.End < end {
					t.Errorf("%s: %q: span %v of token %d does not hold byte %d", name, text, s, i, end-1)
				}
				if i+1 < len(e.IDs) && e.Spans[i+1].Start < end && e.Spans[i+1].End > 0 {
					t.Errorf("%s: %q: token %d begins at %d, inside %q", name, text, i+1, e.Spans[i+1].Start, p.subject)
				}
			}
		}
	}
}

// TestNormalisedSpans pins spans in texts that a normaliser changes, by hand.
func TestNormalisedSpans(t *testing.T) {
	tok := openSmall(t, "unigram")
	// Bytes: H0 i1 space2 ﬁ3-5 space6 space7 e8 ´9-10 \u00a011-12 z13.
	text := "Hi ﬁ  e\u0301\u00a0z"
	pieces, err := tok.pieces(text)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var spans []Span
	for i := range pieces {
		got = append(got, pieces[i].Text)
		spans = append(spans, Span(pieces[i].Span(0, len(pieces[i].Text), text)))
	}
	// As in the official implementation a composed character has the span of its
	// first part only.
	if want := []string{"▁Hi", "▁fi", "▁é", "▁z"}; !slices.Equal(got, want) {
		t.Errorf("pieces %q, want %q", got, want)
	}
	if want := []Span{{0, 2}, {3, 6}, {8, 9}, {13, 14}}; !slices.Equal(spans, want) {
		t.Errorf("spans %v, want %v", spans, want)
	}
}

func TestAddsPrefixSpace(t *testing.T) {
	for name, want := range map[string]bool{"bytelevel": false, "splitlevel": false, "sentencepiece": true, "unigram": true, "wordpiece": false} {
		if got := openSmall(t, name).AddsPrefixSpace(); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	data, err := os.ReadFile(filepath.Join(small, "bytelevel.json"))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := Parse([]byte(strings.ReplaceAll(string(data), `"add_prefix_space":false`, `"add_prefix_space":true`)))
	if err != nil {
		t.Fatal(err)
	}
	if !tok.AddsPrefixSpace() {
		t.Error("add_prefix_space: false")
	}
}

func TestAccessors(t *testing.T) {
	seen := make(map[string]string)
	for _, name := range smallNames {
		tok := openSmall(t, name)
		if other, ok := seen[tok.Hash()]; ok || len(tok.Hash()) != 64 {
			t.Errorf("%s: hash %q is that of %q", name, tok.Hash(), other)
		}
		seen[tok.Hash()] = name
		count := 0
		for id := range int64(tok.VocabSize()) {
			s, ok := tok.Token(id)
			if !ok {
				continue
			}
			count++
			if back, ok := tok.ID(s); !ok || back != id {
				t.Errorf("%s: token %d %q has id %d", name, id, s, back)
			}
		}
		if count != tok.VocabSize() {
			t.Errorf("%s: %d tokens below VocabSize %d", name, count, tok.VocabSize())
		}
	}
	tok := openSmall(t, "sentencepiece")
	e, err := tok.EncodeWithSpecial("a</s>b")
	if err != nil {
		t.Fatal(err)
	}
	if want := []bool{true, false, true, false}; len(e.Special) < 4 || !slices.Equal(e.Special[:1], want[:1]) || !e.Special[slices.Index(e.IDs, 2)] {
		t.Errorf("special tokens %v of ids %v", e.Special, e.IDs)
	}
}

func TestSpecialID(t *testing.T) {
	dir := t.TempDir()
	data, err := os.ReadFile(filepath.Join(small, "sentencepiece.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"tokenizer.json":          string(data),
		"tokenizer_config.json":   `{"add_bos_token": true, "bos_token": "<s>", "eos_token": "<unk>"}`,
		"special_tokens_map.json": `{"eos_token": {"content": "</s>", "lstrip": false}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tok, err := Open(filepath.Join(dir, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	for role, want := range map[string]int64{"bos_token": 1, "eos_token": 2} {
		if id, ok := tok.SpecialID(role); !ok || id != want {
			t.Errorf("%s: %d, %v", role, id, ok)
		}
	}
	if _, ok := tok.SpecialID("pad_token"); ok {
		t.Error("pad_token has an id")
	}
}

func TestConcurrent(t *testing.T) {
	for _, name := range smallNames {
		tok, list := openSmall(t, name), readGolden(t, name)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for _, g := range list {
					if e, err := tok.Encode(g.Text); err != nil || !slices.Equal(e.IDs, g.IDs) {
						t.Errorf("%s: %q: ids %v, %v", name, g.Text, e.IDs, err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

// TestLongText would take minutes if a model were quadratic: SentencePiece BPE
// sees a whole text as one word.
func TestLongText(t *testing.T) {
	const limit = 10 * time.Second // measured: 0.1 s
	text := strings.Repeat("The mother tongue of Danielle Darrieux is French.\n", 4000)
	for _, name := range smallNames {
		tok, start := openSmall(t, name), time.Now()
		e, err := tok.Encode(text)
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > limit {
			t.Errorf("%s: %d tokens took %v", name, len(e.IDs), d)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, name := range smallNames {
		b.Run(name, func(b *testing.B) { benchmark(b, openSmall(b, name)) })
	}
}

// benchmark encodes prompts and reports tokens per second.
func benchmark(b *testing.B, tok *Tokenizer) {
	text := strings.Repeat("New Fact: The mother tongue of Danielle Darrieux is English. In Zürich, people speak German.\n", 40)
	tokens := 0
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		e, err := tok.Encode(text)
		if err != nil {
			b.Fatal(err)
		}
		tokens += len(e.IDs)
	}
	b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
}
