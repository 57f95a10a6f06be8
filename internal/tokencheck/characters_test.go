//go:build tokencheck

package tokencheck

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"editpipe/token/component"
	"editpipe/token/piece"
)

// everyCharacter are texts with every character that may be assigned, between
// letters: planes 0 to 3 and the beginnings of 14 and 15.
func everyCharacter() []string {
	var out []string
	for _, r := range [][2]rune{{0, 0x3FFFF}, {0xE0000, 0xE0FFF}, {0xF0000, 0xF00FF}, {0x10FFF0, utf8.MaxRune}} {
		for c := r[0]; c <= r[1]; c++ {
			if utf8.ValidRune(c) {
				out = append(out, "b"+string(c)+"d")
			}
		}
	}
	return out
}

// TestCharacters compares what each component that looks at single characters
// makes of every one of them.
func TestCharacters(t *testing.T) {
	texts := everyCharacter()
	normalizers := []object{
		{"type": "Precompiled", "precompiled_charsmap": base64.StdEncoding.EncodeToString(charsmap(map[string]string{"b": "B", "d": "D", "ﬁ": "fi"}))},
		{"type": "NFC"}, {"type": "NFD"}, {"type": "NFKC"}, {"type": "NFKD"}, {"type": "Lowercase"}, {"type": "StripAccents"}, {"type": "Nmt"},
		{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": false, "strip_accents": false, "lowercase": false},
		{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": nil, "lowercase": true},
	}
	for k, want := range node[[]string](t, map[string]any{"normalizers": normalizers, "texts": texts}, len(normalizers)) {
		data, _ := json.Marshal(normalizers[k])
		n, err := component.ParseNormaliser(data)
		if err != nil {
			t.Fatal(err)
		}
		same(t, string(data), texts, want, func(text string) string {
			p := piece.Piece{Text: text}
			if err := n.Normalise(&p); err != nil {
				t.Fatal(err)
			}
			return p.Text
		})
	}
	splits := []object{
		{"type": "Punctuation", "behavior": "Isolated"}, {"type": "Digits", "individual_digits": true}, {"type": "Whitespace"},
		{"type": "WhitespaceSplit"}, {"type": "BertPreTokenizer"},
		{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
	}
	for k, lists := range node[[][]string](t, map[string]any{"splits": splits, "texts": texts}, len(splits)) {
		data, _ := json.Marshal(splits[k])
		s, err := component.ParseSplitter(data)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]string, len(lists))
		for i, l := range lists {
			want[i] = strings.Join(l, "|")
		}
		same(t, string(data), texts, want, func(text string) string {
			pieces, err := s.Split([]piece.Piece{{Text: text}})
			if err != nil {
				t.Fatal(err)
			}
			var parts []string
			for _, p := range pieces {
				parts = append(parts, p.Text)
			}
			return strings.Join(parts, "|")
		})
	}
}

// same reports the texts of which f makes something else than wanted, as ranges of
// their characters.
func same(t *testing.T, what string, texts, want []string, f func(string) string) {
	t.Helper()
	type run struct{ first, last rune }
	var runs []run
	differ := 0
	for i, text := range texts {
		if f(text) == want[i] {
			continue
		}
		differ++
		c, _ := utf8.DecodeRuneInString(text[1:])
		if n := len(runs); n > 0 && runs[n-1].last == c-1 {
			runs[n-1].last = c
		} else {
			runs = append(runs, run{c, c})
		}
	}
	t.Logf("%s: %d characters, %d differ", what, len(texts), differ)
	if differ > 0 {
		t.Errorf("%s: %X", what, runs)
	}
}
