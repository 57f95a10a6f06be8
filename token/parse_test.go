package token

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
		{"model", `{"model":{"type":"WordLevel","vocab":{}}}`, "model type WordLevel is not supported", true},
		{"model without type", `{"model":{"vocab":{}}}`, "model has no type", false},
		{"normalizer", `{"normalizer":{"type":"X"},"model":` + model + `}`, "normalizer type X is not supported", true},
		{"pre_tokenizer", `{"pre_tokenizer":{"type":"X"},"model":` + model + `}`, "pre_tokenizer type X is not supported", true},
		{"nested", `{"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Y"}]},"model":` + model + `}`, "pre_tokenizer type Y is not supported", true},
		{"post_processor", `{"post_processor":{"type":"X"},"model":` + model + `}`, "post_processor type X is not supported", true},
		{"decoder", `{"decoder":{"type":"X"},"model":` + model + `}`, "decoder type X is not supported", true},
		{"regex", `{"pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"},"model":` + model + `}`, "pre_tokenizer type Split: regular expression", false},
		{"absent group", `{"pre_tokenizer":{"type":"Split","pattern":{"Regex":"(?~a)"},"behavior":"Isolated"},"model":` + model + `}`, "pre_tokenizer type Split: regular expression \"(?~a)\": at character 0: the group (?~a is not supported", true},
		{"normalizer's pattern", `{"normalizer":{"type":"Replace","pattern":{"Regex":"\\X"},"content":""},"model":` + model + `}`, "normalizer type Replace: regular expression \"\\\\X\": at character 0: \\X is not supported", true},
		{"length", `{"pre_tokenizer":{"type":"FixedLength","length":0},"model":` + model + `}`, "length 0", false},
		{"wordpiece", `{"model":{"type":"WordPiece","vocab":{}}}`, `unk_token "[UNK]" is not in vocab`, false},
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
		data, err := os.ReadFile(filepath.Join(small, name+".json"))
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
