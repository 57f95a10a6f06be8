package tokencheck

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode"
)

// AllScripts returns n seeded texts in the scripts of all the world: words of one
// script and of several, with marks, joiners, digits and punctuation between,
// characters that are new, private, unassigned or without a shape, and special
// tokens written against all of that.
func AllScripts(seed uint64, n int, special []string) []string {
	g := generator{rand.New(rand.NewPCG(seed, 2)), special}
	out := make([]string, n)
	for i := range out {
		out[i] = g.foreign()
	}
	return out
}

var (
	scriptNames = slices.Sorted(maps.Keys(unicode.Scripts))
	// inherited are marks, joiners and selectors that stand after any letter.
	inherited = []string{"\u0300", "\u0301", "\u0323", "\u0308", "\u0345", "\u200d", "\u200c", "\ufe0f", "\ufe0e", "\u20dd", "\u0e31", "\u094d", "\u0655", "\U0001f3fd", "\u1abf", "\u0897"}
	// strange are characters of every kind that is easily forgotten.
	strange = []string{"\u0000", "\u0007", "\u001b", "\u007f", "\u0085", "\u009f", "\u00ad", "\u061c", "\u200b", "\u200e", "\u2028", "\u2029", "\u202e", "\u2060", "\ufeff", "\ufffd", "\ufffe", "\uffff",
		"\ue000", "\uf8ff", "\U000f0000", "\U0010ffff", "\U000e0041", "\U000e007f", "\U000e0100", "\u0378", "\U0001ffff", "\U0003ffff", "\u1680", "\u180e", "\u202f", "\u3164"}
	// recent are blocks that Unicode 15.1 to 17.0 added or added to.
	recent = [][2]rune{{0x1C89, 0x1C8A}, {0xA7CB, 0xA7DC}, {0x105C0, 0x105F3}, {0x10D40, 0x10D85}, {0x11380, 0x113E2}, {0x11BC0, 0x11BF9}, {0x11F5A, 0x11F5A}, {0x13460, 0x143FA},
		{0x16100, 0x16139}, {0x16D40, 0x16D79}, {0x16EA0, 0x16ED3}, {0x1CC00, 0x1CCF9}, {0x1CD00, 0x1CEB3}, {0x1E5D0, 0x1E5FF}, {0x2EBF0, 0x2EE5D}, {0x11DE0, 0x11DE9}, {0x2FFC, 0x2FFF}}
)

// letter returns a random character of a script.
func (g generator) letter(script string) rune {
	t := unicode.Scripts[script]
	k := g.IntN(len(t.R16) + len(t.R32))
	if k < len(t.R16) {
		r := t.R16[k]
		return rune(r.Lo) + rune(r.Stride)*rune(g.IntN(int((r.Hi-r.Lo)/r.Stride)+1))
	}
	r := t.R32[k-len(t.R16)]
	return rune(r.Lo) + rune(r.Stride)*rune(g.IntN(int((r.Hi-r.Lo)/r.Stride)+1))
}

func (g generator) word(script string) string {
	var b strings.Builder
	for range 1 + g.IntN(6) {
		b.WriteRune(g.letter(script))
		if g.IntN(5) == 0 {
			b.WriteString(pick(g, inherited))
		}
	}
	return b.String()
}

func (g generator) foreign() string {
	var b strings.Builder
	script := pick(g, scriptNames)
	for range 1 + g.IntN(7) {
		switch k := g.IntN(16); {
		case k < 7:
			b.WriteString(g.word(script))
		case k < 9:
			script = pick(g, scriptNames)
			b.WriteString(g.word(script))
		case k < 10:
			b.WriteString(pick(g, words))
		case k < 11:
			b.WriteString(g.number())
		case k < 12:
			b.WriteString(pick(g, strange))
		case k < 13:
			r := pick(g, recent)
			b.WriteRune(r[0] + rune(g.IntN(int(r[1]-r[0])+1)))
		case k < 14:
			b.WriteString(pick(g, emoji))
		case k < 15 && len(g.special) > 0:
			b.WriteString(pick(g, g.special))
		default:
			b.WriteString(pick(g, []string{"'s", "'S", "'ſ", "!?", "…", "—", "。", "،", "(", "\"", "`", "@", "#"}))
		}
		if g.IntN(2) == 0 {
			b.WriteString(pick(g, spaces))
		}
	}
	return b.String()
}
