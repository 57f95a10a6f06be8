package subword

import (
	"slices"
	"strings"
	"testing"
)

func TestWordPiece(t *testing.T) {
	m, _, err := NewWordPiece([]byte(`{"type":"WordPiece","unk_token":"?","max_input_chars_per_word":5,
		"vocab":{"?":0,"a":1,"ab":2,"##b":3,"##bé":4,"é":5,"##":6}}`))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]Unit{
		"":       nil,
		"ab":     {{2, 0, 2}}, // the longest first
		"abb":    {{2, 0, 2}, {3, 2, 3}},
		"abbé":   {{2, 0, 2}, {4, 2, 5}},
		"éb":     {{5, 0, 2}, {3, 2, 3}},
		"abc":    {{0, 0, 3}}, // all of the word is unknown
		"##":     {{6, 0, 2}},
		"abbbbb": {{0, 0, 6}}, // longer than 5
	} {
		if got, err := m.Tokenize(nil, text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v %v, want %v", text, got, err, want)
		}
	}
	// What is there already stays.
	if got, _ := m.Tokenize([]Unit{{9, 0, 1}}, "abc"); !slices.Equal(got, []Unit{{9, 0, 1}, {0, 0, 3}}) {
		t.Errorf("appended: %v", got)
	}
	for data, want := range map[string]string{
		`{"vocab":{"a":0}}`:      `unk_token "[UNK]"`,
		`{"vocab":{"[UNK]":-1}}`: "id -1",
		`{"vocab":[]}`:           "cannot unmarshal",
	} {
		if _, _, err := NewWordPiece([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", data, err)
		}
	}
}
