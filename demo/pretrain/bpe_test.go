package pretrain

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"editpipe/token"
)

// The example of Sennrich et al. 2016, section 3.2, with GPT-2's spaces: " low"
// five times, " lower" twice, " newest" six times, " widest" three times. The
// most frequent pair is e-s (9); s-t is as frequent but sorts later; then es-t (9);
// l-o and o-w (7 each) sort before Ġ-l (7), as l < o < Ġ; then lo-w; then, with 7,
// Ġ-low.
func TestMerges(t *testing.T) {
	text := strings.Repeat(" low", 5) + strings.Repeat(" lower", 2) + strings.Repeat(" newest", 6) + strings.Repeat(" widest", 3)
	v, err := LearnBPE([]string{text}, 257+5)
	if err != nil {
		t.Fatal(err)
	}
	want := [][2]string{{"e", "s"}, {"es", "t"}, {"l", "o"}, {"lo", "w"}, {"Ġ", "low"}}
	if !slices.Equal(v.Merges, want) {
		t.Errorf("merges are %q, want %q", v.Merges, want)
	}
	if n := len(v.Tokens()); n != 262 || v.Tokens()[n-1] != End {
		t.Errorf("%d tokens, the last is %q", n, v.Tokens()[n-1])
	}
	// Where no pair occurs twice, learning ends.
	v, err = LearnBPE([]string{"ab"}, 300)
	if err != nil || len(v.Merges) != 0 {
		t.Errorf("merges %v, error %v", v.Merges, err)
	}
	// Overlapping pairs are joined from the left.
	if got := join([]string{"a", "a", "a", "b", "a", "a"}, [2]string{"a", "a"}); !slices.Equal(got, []string{"aa", "a", "b", "aa"}) {
		t.Errorf("joined to %q", got)
	}
}

// Package token reads the vocabulary, brings every text back, and splits words
// as applying the merges in their order does.
func TestVocabularyEncodes(t *testing.T) {
	f := facts(t)
	r := rand.New(rand.NewPCG(5, 6))
	var texts []string
	for range 500 {
		texts = append(texts, f.Document(r, First()).Text)
	}
	v, err := LearnBPE(texts, 600)
	if err != nil {
		t.Fatal(err)
	}
	files, err := v.Files(64)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := token.Parse(files["tokenizer.json"])
	if err != nil {
		t.Fatal(err)
	}
	if tok.VocabSize() != 600 || tok.AddsPrefixSpace() {
		t.Errorf("%d tokens, a space before the first word: %v", tok.VocabSize(), tok.AddsPrefixSpace())
	}
	tokens := v.Tokens()
	for _, text := range append(texts[:100], "Zürich, 東京\n\n  two  spaces\tand 'quotes'") {
		e, err := tok.Encode(text)
		if err != nil {
			t.Fatal(err)
		}
		back, err := tok.Decode(e.IDs, false)
		if err != nil || back != text {
			t.Fatalf("%q came back as %q, %v", text, back, err)
		}
	}
	for _, word := range []string{" Kisko", " married", " country"} {
		parts := strings.Split(strings.Replace(word, " ", "Ġ", 1), "")
		for _, m := range v.Merges {
			parts = join(parts, m)
		}
		e, err := tok.Encode(word)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, id := range e.IDs {
			got = append(got, tokens[id])
		}
		if !slices.Equal(got, parts) {
			t.Errorf("%q became %q, want %q", word, got, parts)
		}
	}
}
