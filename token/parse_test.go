package token

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// bpeModel is about the least model that loads.
const bpeModel = `{"type":"BPE","vocab":{"a":0,"b":1,"c":2,"ab":3},"merges":["a b"]}`

func TestRefused(t *testing.T) {
	const model = bpeModel
	cases := []struct {
		name, file, want string
		unsupported      bool
	}{
		{"not json", `{`, "not a tokenizer.json", false},
		{"other json", `{"a": 1}`, "no model", false},
		{"list", `[1]`, "not a tokenizer.json", false},
		{"version", `{"version":"2.0","model":` + model + `}`, "version", true},
		{"model", `{"model":{"type":"WordPiece","vocab":{}}}`, "model type WordPiece is not supported", true},
		{"model without type", `{"model":{"vocab":{}}}`, "model has no type", false},
		{"normalizer", `{"normalizer":{"type":"X"},"model":` + model + `}`, "normalizer type X is not supported", true},
		{"pre_tokenizer", `{"pre_tokenizer":{"type":"X"},"model":` + model + `}`, "pre_tokenizer type X is not supported", true},
		{"nested", `{"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Y"}]},"model":` + model + `}`, "pre_tokenizer type Y is not supported", true},
		{"post_processor", `{"post_processor":{"type":"X"},"model":` + model + `}`, "post_processor type X is not supported", true},
		{"decoder", `{"decoder":{"type":"CTC"},"model":` + model + `}`, "decoder type CTC is not supported", true},
		{"regex", `{"pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"},"model":` + model + `}`, "pre_tokenizer type Split: regular expression", false},
		{"behaviour", `{"pre_tokenizer":{"type":"Split","pattern":{"String":"a"},"behavior":"Odd"},"model":` + model + `}`, `behaviour "Odd"`, false},
		{"charsmap", `{"normalizer":{"type":"Precompiled","precompiled_charsmap":"AAAA"},"model":` + model + `}`, "normalizer type Precompiled", false},
		{"charsmap size", `{"normalizer":{"type":"Precompiled","precompiled_charsmap":"/////wAAAAA="},"model":` + model + `}`, "charsmap is truncated", false},
		{"dropout", `{"model":{"type":"BPE","dropout":0.1,"vocab":{},"merges":[]}}`, "dropout", false},
		{"merge", `{"model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}}`, `merge 0 ("a", "b")`, false},
		{"merge form", `{"model":{"type":"BPE","vocab":{"a":0},"merges":["a"]}}`, "two parts", false},
		{"id", `{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}}`, "id -1", false},
		{"unk", `{"model":{"type":"BPE","unk_token":"?","vocab":{},"merges":[]}}`, "unk_token", false},
		{"unk_id", `{"model":{"type":"Unigram","unk_id":3,"vocab":[["a",0]]}}`, "unk_id 3", false},
		{"added id", `{"added_tokens":[{"id":1,"content":"zz"}],"model":` + model + `}`, `"zz" has id 1`, false},
		{"template", `{"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}}]},"model":` + model + `}`, `special token "<s>"`, false},
		{"template id", `{"post_processor":{"type":"BertProcessing","cls":["x",99],"sep":["y",1]},"model":` + model + `}`, "template token 99", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.file))
			if err == nil || !strings.HasPrefix(err.Error(), "token: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			if errors.Is(err, ErrUnsupported) != c.unsupported {
				t.Errorf("errors.Is(%v, ErrUnsupported) is not %v", err, c.unsupported)
			}
		})
	}
	if _, err := Parse([]byte(`{"model":` + model + `}`)); err != nil {
		t.Errorf("the base of these cases does not load: %v", err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
}

// TestDamaged gives Parse and Encode damaged files: they may fail, not panic.
func TestDamaged(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	loaded := 0
	for _, name := range smallNames {
		data, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			damaged := append([]byte(nil), data...)
			for range 1 + rng.IntN(4) {
				damaged[rng.IntN(len(damaged))] = "\"{}[],:0129aAz/+\x00"[rng.IntN(17)]
			}
			if rng.IntN(4) == 0 {
				damaged = damaged[:rng.IntN(len(damaged))]
			}
			tok, err := Parse(damaged)
			if err != nil {
				continue
			}
			loaded++
			e, err := tok.EncodeWithSpecial("Zürich ﬁ e\u0301 <|endoftext|></s>\n\t  1½…")
			if err == nil {
				_, _ = tok.Decode(e.IDs, true)
			}
		}
	}
	if loaded == 0 {
		t.Error("no damaged file loaded: Encode was not tested")
	}
}

func TestEncodeInvalid(t *testing.T) {
	tok := openSmall(t, "bytelevel")
	if _, err := tok.Encode("a\xff"); err == nil || !strings.Contains(err.Error(), "UTF-8") {
		t.Errorf("invalid UTF-8: %v", err)
	}
	if _, err := tok.Decode([]int64{0, 1 << 20}, false); err == nil || !strings.Contains(err.Error(), "id 1048576 at position 1") {
		t.Errorf("unknown id: %v", err)
	}
	if s, err := tok.Decode(nil, false); err != nil || s != "" {
		t.Errorf("no ids: %q, %v", s, err)
	}
}

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

func TestByteRunes(t *testing.T) {
	seen := make(map[rune]bool)
	for b := range 256 {
		r := byteRune(byte(b))
		back, ok := runeByte(r)
		if seen[r] || !ok || back != byte(b) {
			t.Errorf("byte %#x: %q, back %#x", b, r, back)
		}
		seen[r] = true
	}
	for _, r := range []rune{' ', '\n', 0x7F, 0xA0, 0xAD, 256 + 68, '日', -1} {
		if _, ok := runeByte(r); ok {
			t.Errorf("%q stands for a byte", r)
		}
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
			p := piece{text: s.String()}
			unicodeForm(&p, f)
			if want := f.String(s.String()); p.text != want {
				t.Fatalf("form %d of %+q: %+q, want %+q", f, s.String(), p.text, want)
			}
			if p.align != nil {
				changed++
				if len(p.align) != len(p.text) {
					t.Fatalf("form %d of %+q: %d alignments for %d bytes", f, s.String(), len(p.align), len(p.text))
				}
			}
		}
	}
	if changed == 0 {
		t.Error("nothing was normalised")
	}
}

// TestGPT2Pattern compares the hand-written pattern with the regular expression
// it stands for.
func TestGPT2Pattern(t *testing.T) {
	re, err := newExpression(`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`)
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
		want, err := re.matches(b.String())
		if err != nil {
			t.Fatal(err)
		}
		got, _ := gpt2Pattern{}.matches(b.String())
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
