package bytelevel

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"editpipe/token/piece"
)

// TestToValid uses the cases of the WHATWG encoding standard that Rust's
// from_utf8_lossy documents and tests.
func TestToValid(t *testing.T) {
	for in, want := range map[string]string{
		"Hello \xF0\x90\x80World":           "Hello \uFFFDWorld",
		"\xE6\x97":                          "\uFFFD",
		"\xE6\x97\xA5\xE6":                  "日\uFFFD",
		"a\xC2b\xE2\x82c":                   "a\uFFFDb\uFFFDc",
		"\xF5foo\xF5\x80bar":                "\uFFFDfoo\uFFFD\uFFFDbar",
		"\xED\xA0\x80foo":                   "\uFFFD\uFFFD\uFFFDfoo",
		"\xF1foo\xF1\x80bar\xF1\x80\x80baz": "\uFFFDfoo\uFFFDbar\uFFFDbaz",
		"ok":                                "ok",
	} {
		if got := toValid([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestAlphabet(t *testing.T) {
	seen := make(map[rune]bool)
	for b := range 256 {
		r := Rune(byte(b))
		back, ok := Byte(r)
		if seen[r] || !ok || back != byte(b) {
			t.Errorf("byte %#x: %q, back %#x", b, r, back)
		}
		seen[r] = true
	}
	for _, r := range []rune{' ', '\n', 0x7F, 0xA0, 0xAD, 256 + 68, '日', -1} {
		if _, ok := Byte(r); ok {
			t.Errorf("%q stands for a byte", r)
		}
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		tokens []string
		want   string
	}{
		{nil, ""},
		{[]string{"Ġa", "b"}, " ab"},
		{[]string{"Ã", "©"}, "é"}, // the bytes of one character
		{[]string{"Ã", "a"}, "\uFFFDa"},
		{[]string{"x", "<｜end｜>", "日"}, "x<｜end｜>日"}, // not of the alphabet
	} {
		if got := Text(c.tokens); got != c.want {
			t.Errorf("%q: %q, want %q", c.tokens, got, c.want)
		}
	}
}

// TestPattern compares the hand-written pattern with the regular expression
// it stands for.
func TestPattern(t *testing.T) {
	regex, err := json.Marshal(map[string]string{"Regex": `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`})
	if err != nil {
		t.Fatal(err)
	}
	re, err := piece.ParsePattern(regex)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(9, 9))
	alphabet := []rune("aZéß日0½Ⅷ '''stremvld  \t\n\r\u00a0\u3000\u2009\u200b.,!-👍\u0301")
	for range 20000 {
		var b strings.Builder
		for range rng.IntN(12) {
			b.WriteRune(alphabet[rng.IntN(len(alphabet))])
		}
		want, err := re.Matches(b.String())
		if err != nil {
			t.Fatal(err)
		}
		got, _ := Pattern{}.Matches(b.String())
		if len(got) != len(want) {
			t.Fatalf("%q: %v, want %v", b.String(), got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%q: %v, want %v", b.String(), got, want)
			}
		}
	}
}
