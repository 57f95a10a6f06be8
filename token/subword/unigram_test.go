package subword

import (
	"slices"
	"testing"
)

// TestUnigramByHand pins segmentations whose scores are summed by hand. The
// worst token scores -15, so an unknown character scores -25.
func TestUnigramByHand(t *testing.T) {
	m, _, err := NewUnigram([]byte(`{"unk_id":0,"vocab":[
		["<unk>",0],["a",-1],["ab",-15],["c",-2],["cc",-4],["ccc",-5.5]]}`))
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
		units, err := m.Tokenize(nil, text)
		if err != nil {
			t.Fatal(err)
		}
		if ids := check(t, text, units); !slices.Equal(ids, want) {
			t.Errorf("%q: ids %v, want %v", text, ids, want)
		}
	}
	m, _, err = NewUnigram([]byte(`{"vocab":[["a",-1]]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Tokenize(nil, "ab"); err == nil {
		t.Error("an unknown character without unk_id: no error")
	}
}

// check returns the ids of units, whose ranges must make up text.
func check(t *testing.T, text string, units []Unit) []int64 {
	t.Helper()
	at := 0
	var ids []int64
	for _, u := range units {
		if u.Start != at || u.End <= at {
			t.Errorf("%q: units %v do not follow one another", text, units)
		}
		at = u.End
		ids = append(ids, u.ID)
	}
	if at != len(text) {
		t.Errorf("%q: units %v end at %d", text, units, at)
	}
	return ids
}
