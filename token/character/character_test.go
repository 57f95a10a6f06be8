package character

import (
	"testing"
	"unicode"
)

// TestCharacters pins characters of each Unicode version. internal/tokencheck
// compares all of them with the official implementation.
func TestCharacters(t *testing.T) {
	for _, c := range []struct {
		name    string
		f       func(rune) bool
		in, out string
	}{
		{"IsLetter", IsLetter, "aZé日\u1c89\U00016d40", "1_²-\u0301\ua7ce"},
		{"IsNumber", IsNumber, "09²½Ⅷ\U00010d40", "a_-\U00011de0"},
		{"IsDigit", IsDigit, "09²½Ⅷ\U00010d40\U00011de0", "a_-"},
		{"IsWord", IsWord, "a_9éⅧ\u0301\u200d٣\u0897", "²½-. \u2028"},
		{"IsPunctuation", IsPunctuation, "$+.…\u166d", "a9 €\u061d\u2e43"},
		{"IsOther", IsOther, "\u0000\n\u00ad\ue000\u200d", "a \u0890\u08e2\u0378"},
		{"IsNonspacing", IsNonspacing, "\u0301\u1734", "a\u0903\u1885\u0897"},
		{"IsCombining", IsCombining, "\u0301\u0903\u1cf2", "a\u0afa\u0897"},
		{"IsNewMark", IsNewMark, "\u0897\U00011f5a\u1acf", "a\u0301\U00016d40"},
		{"Normalises", Normalises, "aé가\u0f73", "\u32ff\U00011938\ua7f2"},
	} {
		for _, r := range c.in {
			if !c.f(r) {
				t.Errorf("%s: %U is not in", c.name, r)
			}
		}
		for _, r := range c.out {
			if c.f(r) {
				t.Errorf("%s: %U is in", c.name, r)
			}
		}
	}
	for r, want := range map[rune]rune{'A': 'a', 'a': 'a', 'É': 'é', '日': '日', 0x1C89: 0x1C8A, 0xA7CB: 0x264, 0xA7DC: 0x19B, 0x10D65: 0x10D85, 0x16EA0: 0x16EBB} {
		if got := ToLower(r); got != want {
			t.Errorf("lower case of %U: %U, want %U", r, got, want)
		}
	}
	for r := rune(0); r < unicode.MaxLatin1; r++ {
		if IsLetter(r) != unicode.IsLetter(r) || IsNumber(r) != unicode.IsNumber(r) {
			t.Errorf("%U is a letter: %v, a number: %v", r, IsLetter(r), IsNumber(r))
		}
	}
}
