package component

import (
	"slices"
	"testing"

	"editpipe/token/piece"
)

func texts(pieces []piece.Piece) []string {
	var out []string
	for i := range pieces {
		s := pieces[i].Text
		if pieces[i].Token != nil {
			s = "<" + s + ">"
		}
		out = append(out, s)
	}
	return out
}

// TestSplit pins the parts of a text by hand, for each type and behaviour.
func TestSplit(t *testing.T) {
	on := func(behaviour string, invert string) string {
		return `{"type":"Split","pattern":{"String":"-"},"behavior":"` + behaviour + `","invert":` + invert + `}`
	}
	for _, c := range []struct {
		file, text string
		want       []string
	}{
		{``, "a b", []string{"a b"}},
		{on("Removed", "false"), "a--b", []string{"a", "b"}},
		{on("Isolated", "false"), "a--b", []string{"a", "-", "-", "b"}},
		{on("MergedWithPrevious", "false"), "a--b", []string{"a-", "-", "b"}},
		{on("MergedWithNext", "false"), "a--b", []string{"a", "-", "-b"}},
		{on("Contiguous", "false"), "a--b", []string{"a", "--", "b"}},
		{on("Removed", "true"), "a--b", []string{"-", "-"}},
		{`{"type":"Digits","individual_digits":true}`, "a12", []string{"a", "1", "2"}},
		{`{"type":"Digits"}`, "a12b", []string{"a", "12", "b"}},
		{`{"type":"Punctuation"}`, "a$b…", []string{"a", "$", "b", "…"}},
		{`{"type":"WhitespaceSplit"}`, " a, b", []string{"a,", "b"}},
		{`{"type":"Whitespace"}`, " a_1, b", []string{"a_1", ",", "b"}},
		{`{"type":"BertPreTokenizer"}`, "a. b", []string{"a", ".", "b"}},
		{`{"type":"FixedLength","length":2}`, "aébcd", []string{"aé", "bc", "d"}},
		{`{"type":"FixedLength"}`, "abcdefg", []string{"abcde", "fg"}},
		{`{"type":"CharDelimiterSplit","delimiter":"é"}`, "aéb", []string{"a", "b"}},
		{`{"type":"ByteLevel"}`, "a  é", []string{"Ġa", "Ġ", "ĠÃ©"}},
		{`{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}`, "a b", []string{"aĠb"}},
		{`{"type":"Metaspace","replacement":"▁"}`, "a b", []string{"▁a", "▁b"}},
		{`{"type":"Metaspace","replacement":"▁","prepend_scheme":"never","split":false}`, "a b", []string{"a▁b"}},
		{`{"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},{"type":"Punctuation"}]}`, "a. b", []string{"a", ".", "b"}},
	} {
		s, err := ParseSplitter([]byte(c.file))
		if err != nil {
			t.Fatal(err)
		}
		pieces, err := s.Split([]piece.Piece{{Text: c.text}})
		if err != nil {
			t.Fatal(err)
		}
		if got := texts(pieces); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q: %q, want %q", c.file, c.text, got, c.want)
		}
	}
}

// TestMetaspaceFirst prepends to the piece that begins the text only.
func TestMetaspaceFirst(t *testing.T) {
	s, err := ParseSplitter([]byte(`{"type":"Metaspace","replacement":"▁","prepend_scheme":"first"}`))
	if err != nil {
		t.Fatal(err)
	}
	text, added := piece.Piece{Text: "a<x>b"}, int64(7)
	token := text.Slice(1, 4)
	token.Token = &added
	pieces := []piece.Piece{text.Slice(0, 1), token, text.Slice(4, 5)}
	if pieces, err = s.Split(pieces); err != nil {
		t.Fatal(err)
	}
	if got, want := texts(pieces), []string{"▁a", "<<x>>", "b"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	// A normaliser removed what the text began with: nothing begins it.
	p := piece.Piece{Text: " x"}
	p.Trim(1, 2)
	if pieces, err = s.Split([]piece.Piece{p.Slice(0, 1)}); err != nil {
		t.Fatal(err)
	}
	if got, want := texts(pieces), []string{"x"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestBytes(t *testing.T) {
	for file, last := range map[string]bool{
		``:                     false,
		`{"type":"ByteLevel"}`: true,
		`{"type":"Metaspace","replacement":"▁"}`:                                            false,
		`{"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"Punctuation"}]}`: false,
		`{"type":"Sequence","pretokenizers":[{"type":"Punctuation"},{"type":"ByteLevel"}]}`: true,
	} {
		s, err := ParseSplitter([]byte(file))
		if err != nil {
			t.Fatal(err)
		}
		if got := s.EndsInBytes(); got != last {
			t.Errorf("%s: %v, want %v", file, got, last)
		}
		s.KeepBytes()
		pieces, err := s.Split([]piece.Piece{{Text: " "}})
		if err != nil {
			t.Fatal(err)
		}
		if last && (len(pieces) != 1 || pieces[0].Text != " ") {
			t.Errorf("%s: bytes become %q", file, texts(pieces))
		}
	}
}
