package token

import (
	"slices"
	"testing"

	"github.com/sugarme/tokenizer"

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

func TestFinder(t *testing.T) {
	f := newFinder([]addedToken{
		{tokenizer.TokenConfig{Id: 1}, "<a>"}, {tokenizer.TokenConfig{Id: 2}, "<a>b"}, {tokenizer.TokenConfig{Id: 3}, ""},
		{tokenizer.TokenConfig{Id: 4, SingleWord: true}, "word"},
		{tokenizer.TokenConfig{Id: 5, Lstrip: true}, "<l>"}, {tokenizer.TokenConfig{Id: 6, Rstrip: true}, "<r>"},
	})
	for text, want := range map[string][]string{
		"":              nil,
		"x":             {"x"},
		"x<a>y":         {"x", "<<a>>", "y"},
		"<a>b<a>":       {"<<a>b>", "<<a>>"}, // the longest
		"a word, words": {"a ", "<word>", ", words"},
		"éword":         {"éword"},
		"x \t<l> y":     {"x", "< \t<l>>", " y"},
		"x <r>\u00a0 y": {"x ", "<<r>\u00a0 >", "y"},
		"x <r> <l> y":   {"x ", "<<r> >", "<<l>>", " y"}, // the space is taken once
	} {
		pieces := f.cut(nil, &piece.Piece{Text: text})
		if got := texts(pieces); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if p := f.cut(nil, &piece.Piece{Text: "<l>"}); *p[0].Token != 5 {
		t.Errorf("id %d", *p[0].Token)
	}
	// A normaliser removed what the text began with: nothing begins it, be there
	// tokens to look for or none.
	for _, f := range []*finder{newFinder(nil), newFinder([]addedToken{{tokenizer.TokenConfig{Id: 7}, "<x>"}})} {
		p := piece.Piece{Text: " x"}
		p.Trim(1, 2)
		if pieces := f.cut(nil, &p); len(pieces) != 1 || pieces[0].Text != "x" || pieces[0].Begins() {
			t.Errorf("%q begins the text: %v", texts(pieces), pieces[0].Begins())
		}
	}
}
