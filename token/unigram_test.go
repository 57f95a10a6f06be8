package token

import (
	"slices"
	"testing"
)

// TestUnigramByHand pins segmentations whose scores are summed by hand. The
// worst token scores -15, so an unknown character scores -25.
func TestUnigramByHand(t *testing.T) {
	tok, err := Parse([]byte(`{"model":{"type":"Unigram","unk_id":0,"vocab":[
		["<unk>",0],["a",-1],["ab",-15],["c",-2],["cc",-4],["ccc",-5.5]]}}`))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]int64{
		"ab":   {2},       // ab -15 beats a + unknown b, -26
		"b":    {0},       //
		"xyb":  {0},       // unknown characters in a row are one token
		"axyc": {1, 0, 3}, //
		"cc":   {4},       // equal sums (-4): the longer token was found first
		"cccc": {3, 5},    // -7.5 both ways: c ccc is found before ccc c
	} {
		e, err := tok.Encode(text)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(e.IDs, want) {
			t.Errorf("%q: ids %v, want %v", text, e.IDs, want)
		}
	}
}
