package component

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"editpipe/token/piece"
)

// TestNormalise pins texts and the span of every character of them, by hand.
func TestNormalise(t *testing.T) {
	for _, c := range []struct {
		file, text, want string
		spans            [][2]int // in bytes of the original
	}{
		{``, "Aé", "Aé", [][2]int{{0, 1}, {1, 3}}},
		{`{"type":"Lowercase"}`, "Aİ", "ai\u0307", [][2]int{{0, 1}, {1, 3}, {1, 3}}},
		{`{"type":"NFKC"}`, "ﬁx", "fix", [][2]int{{0, 3}, {0, 3}, {3, 4}}},
		{`{"type":"Strip","strip_left":true,"strip_right":true}`, " \ta b ", "a b", [][2]int{{2, 3}, {3, 4}, {4, 5}}},
		{`{"type":"Strip","strip_left":false,"strip_right":true}`, " a ", " a", [][2]int{{0, 1}, {1, 2}}},
		{`{"type":"Prepend","prepend":"▁"}`, "ab", "▁ab", [][2]int{{0, 1}, {0, 1}, {1, 2}}},
		{`{"type":"Replace","pattern":{"String":" "},"content":"▁"}`, "a b", "a▁b", [][2]int{{0, 1}, {1, 2}, {2, 3}}},
		{`{"type":"Replace","pattern":{"Regex":"a+"},"content":""}`, "baab", "bb", [][2]int{{0, 1}, {3, 4}}},
		{`{"type":"Nmt"}`, "a\u0001\t\u200bb\u2028", "a  b ", [][2]int{{0, 1}, {2, 3}, {3, 6}, {6, 7}, {7, 10}}},
		{`{"type":"ByteLevel"}`, "é ", "Ã©Ġ", [][2]int{{0, 2}, {0, 2}, {2, 3}}},
		{`{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"lowercase":true}`, "É\u0000\n日", "e  日 ",
			[][2]int{{0, 2}, {3, 4}, {4, 7}, {4, 7}, {4, 7}}},
		{`{"type":"Sequence","normalizers":[{"type":"NFD"},{"type":"StripAccents"},{"type":"Lowercase"}]}`, "Zürich", "zurich",
			[][2]int{{0, 1}, {1, 3}, {3, 4}, {4, 5}, {5, 6}, {6, 7}}},
	} {
		n, err := ParseNormaliser([]byte(c.file))
		if err != nil {
			t.Fatal(err)
		}
		p := piece.Piece{Text: c.text}
		if err := n.Normalise(&p); err != nil {
			t.Fatal(err)
		}
		var spans [][2]int
		for i, r := range p.Text {
			s := p.Span(i, i+utf8.RuneLen(r), c.text)
			spans = append(spans, [2]int{s.Start, s.End})
		}
		if p.Text != c.want || !slices.Equal(spans, c.spans) {
			t.Errorf("%s: %q: %q %v, want %q %v", c.file, c.text, p.Text, spans, c.want, c.spans)
		}
	}
	if _, err := ParseNormaliser([]byte(`{"type":"Sequence","normalizers":[{"type":"X"}]}`)); !errors.Is(err, ErrUnsupported) {
		t.Errorf("type X: %v", err)
	}
}

// TestUnicodeForms compares the characters with golang.org/x/text, which
// normalises whole strings at once.
func TestUnicodeForms(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	alphabet := []rune("aeEqoσ가각ﬁ①Åẛ̣힣ㅎ\u0301\u0323\u0307\u0327\u0344\u0f73\u0e31\u1100\u1161\u11a8½ｶﾞ ")
	changed := 0
	for range 3000 {
		var s strings.Builder
		for range 1 + rng.IntN(8) {
			s.WriteRune(alphabet[rng.IntN(len(alphabet))])
		}
		for _, f := range []norm.Form{norm.NFC, norm.NFD, norm.NFKC, norm.NFKD} {
			p := piece.Piece{Text: s.String()}
			unicodeForm(&p, f)
			if want := f.String(s.String()); p.Text != want {
				t.Fatalf("form %d of %+q: %+q, want %+q", f, s.String(), p.Text, want)
			}
			if p.Text == s.String() {
				continue
			}
			changed++
			// Every character comes from somewhere in the text, in order.
			last := 0
			for i, r := range p.Text {
				o := p.Span(i, i+utf8.RuneLen(r), s.String())
				if o.Start < last || o.End <= o.Start || o.End > s.Len() {
					t.Fatalf("form %d of %+q: span %v at byte %d of %+q", f, s.String(), o, i, p.Text)
				}
				last = o.Start
			}
		}
	}
	if changed == 0 {
		t.Error("nothing was normalised")
	}
}
