package component

import (
	"errors"
	"testing"

	"editpipe/token/piece"
)

// TestDecode pins the text of tokens by hand.
func TestDecode(t *testing.T) {
	for _, c := range []struct {
		file   string
		tokens []string
		want   string
	}{
		{``, []string{"a", "b"}, "a b"},
		{`{"type":"Sequence","decoders":[]}`, []string{"a", "b"}, "ab"},
		{`{"type":"Fuse"}`, []string{"a", "b"}, "ab"},
		{`{"type":"ByteLevel"}`, []string{"Ġa", "Ã", "©"}, " aé"},
		{`{"type":"ByteFallback"}`, []string{"a", "<0xC3>", "<0xA9>", "<0xZZ>"}, "aé<0xZZ>"},
		{`{"type":"ByteFallback"}`, []string{"<0xC3>", "<0xC3>", "b", "<0xA9>"}, "\uFFFD\uFFFDb\uFFFD"},
		{`{"type":"Metaspace","replacement":"▁"}`, []string{"▁a", "▁b"}, "a b"},
		{`{"type":"Metaspace","replacement":"▁","prepend_scheme":"never"}`, []string{"▁a", "▁b"}, " a b"},
		{`{"type":"Replace","pattern":{"String":"▁"},"content":" "}`, []string{"▁a▁", "b"}, " a b"},
		{`{"type":"Replace","pattern":{"Regex":"a+$"},"content":""}`, []string{"aba", "aa"}, "ab"},
		{`{"type":"Strip","content":" ","start":1,"stop":2}`, []string{"  a   "}, " a "},
		{`{"type":"BPEDecoder"}`, []string{"a</w>", "b", "c</w>"}, "a bc"},
		{`{"type":"WordPiece","prefix":"##","cleanup":true}`, []string{"do", "n't", "##s", ",", "'", "it", "'s", "."}, "don'ts, ' it's."},
		{`{"type":"WordPiece","prefix":"@","cleanup":false}`, []string{"@a", "@b", ".", "c"}, "@ab . c"},
		{`{"type":"CTC","pad_token":"<p>","word_delimiter_token":"|","cleanup":true}`, []string{"a", "a", "<p>", "a", "|", "|", "b", " ?"}, "aa b?"},
		{`{"type":"CTC","pad_token":"<p>","word_delimiter_token":"|","cleanup":false}`, []string{"a", "<p>", "|", "b"}, "a|b"},
		{`{"type":"BPEDecoder","suffix":"@"}`, []string{"a@", "b@"}, "a b"},
		{`{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},{"type":"ByteFallback"},
			{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}`, []string{"▁a", "<0xC3>", "<0xA9>", "▁b"}, "aé b"},
	} {
		d, err := ParseDecoder([]byte(c.file))
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.Decode(c.tokens)
		if err != nil || got != c.want {
			t.Errorf("%s: %q: %q, %v, want %q", c.file, c.tokens, got, err, c.want)
		}
	}
	if _, err := ParseDecoder([]byte(`{"type":"Sequence","decoders":[{"type":"X"}]}`)); !errors.Is(err, ErrUnsupported) {
		t.Errorf("type X: %v", err)
	}
}

// gaveUp is a pattern that fails, as a regular expression may that takes too long.
type gaveUp struct{}

var errGaveUp = errors.New("no answer")

func (gaveUp) Matches(string) ([]piece.Match, error) { return nil, errGaveUp }

// TestDecodeFails makes sure that a pattern without an answer leaves no text
// that looks like one.
func TestDecodeFails(t *testing.T) {
	d := Decoder{[]decodeStep{replace(gaveUp{}, ""), each(func(_ int, t string) string { return t })}}
	if s, err := d.Decode([]string{"a"}); s != "" || !errors.Is(err, errGaveUp) {
		t.Errorf("%q, %v", s, err)
	}
}
