package subword

import (
	"slices"
	"testing"
)

// TestBPEByHand pins merges worked out by hand.
func TestBPEByHand(t *testing.T) {
	const vocab = `"vocab":{"a":0,"b":1,"c":2,"ab":3,"bc":4,"abc":5,"<0xC3>":6,"<0xA9>":7,"?":8}`
	for _, c := range []struct {
		model, text string
		want        []int64
	}{
		{`"merges":["a b","b c"]`, "abc", []int64{3, 2}},            // a b has the lower rank
		{`"merges":["b c","a b"]`, "abc", []int64{0, 4}},            // and here b c
		{`"merges":["b c","a bc"]`, "abcab", []int64{5, 0, 1}},      // a merge of a merge
		{`"merges":[["a","b"]]`, "aabb", []int64{0, 3, 1}},          // the other form of a merge
		{`"merges":["b c"],"ignore_merges":true`, "ab", []int64{3}}, // the whole word is a token
		{`"merges":[],"byte_fallback":true`, "aé", []int64{0, 6, 7}},
		{`"merges":[],"byte_fallback":true,"unk_token":"?"`, "é日", []int64{6, 7, 8}}, // no bytes of the last
		{`"merges":[],"unk_token":"?"`, "xya", []int64{8, 8, 0}},
		{`"merges":[],"unk_token":"?","fuse_unk":true`, "xya", []int64{8, 0}},
	} {
		m, _, err := NewBPE([]byte("{" + vocab + "," + c.model + "}"))
		if err != nil {
			t.Fatal(err)
		}
		units, err := m.Tokenize(nil, c.text)
		if err != nil {
			t.Fatal(err)
		}
		if ids := check(t, c.text, units); !slices.Equal(ids, c.want) {
			t.Errorf("%s: %q: ids %v, want %v", c.model, c.text, ids, c.want)
		}
		if m.ReadBytes() {
			t.Errorf("%s: reads bytes without a token for each", c.model)
		}
	}
}
