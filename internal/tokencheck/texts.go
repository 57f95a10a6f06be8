package tokencheck

import (
	"math/rand/v2"
	"strings"
	"unicode/utf8"
)

// Texts returns n seeded texts of every kind that tokenizers disagree about:
// edit prompts, spaces at the ends and in runs, new lines, numbers, other
// scripts, combining marks, emoji, code, special tokens written out, and random
// valid UTF-8. special lists token texts to write into some of them.
func Texts(seed uint64, n int, special []string) []string {
	g := generator{rand.New(rand.NewPCG(seed, 1)), special}
	out := append([]string(nil), edges...)
	for len(out) < n {
		out = append(out, g.text())
	}
	return out[:n]
}

// edges are short texts with a known history of trouble.
var edges = []string{
	"", " ", "  ", "\n", "\n\n", "\n\nX", "\t", "\r\n", "a\r\nb", "a", " a", "a ", "!!!", "!!!!!!!", "999999999",
	"'s", "it's 'sure' they'll we'd I'M'", "\u00a0", "a\u00a0b", "\u3000x", "\u200b", "x\u200by", "\ufeff", "\u00ad",
	"e\u0301", "Cafe\u0301 Mu\u0308nchen", "Café München", "ﬁ ﬂ ①②③", "ｆｕｌｌ ｗｉｄｔｈ", "¹²³½", "Å Å Ω", "가각갂 각",
	"日本", "東京都は日本の首都です。", "مرحبا بالعالم", "नमस्ते दुनिया क्ष", "สวัสดี", "Привет, мир!", "İstanbul ıi", "ﷺ", "ẛ̣",
	"👍", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪🇫🇷", "❤️", "a👍b", "▁", "▁a ▁", "a▁b", "Ġ", "<0x0A>", "\\n", "\u0000", "\u0001x", "x\u0001", "\u0085",
	"\u2028", "\u180e", "\ufffd", "\U0010ffff", "q\u0323\u0307", "q\u0307\u0323", "\u0301", "\u0344", "ſ's 'ſ", "K", "1,234.56", "A1B2",
}

type generator struct {
	*rand.Rand
	special []string
}

func pick[T any](g generator, list []T) T { return list[g.IntN(len(list))] }

var (
	subjects = []string{"Danielle Darrieux", "Eiffel Tower", "Zürich", "São Paulo", "Kraków", "Łódź", "東京", "Москва", "Ōsaka",
		"Gabriel García Márquez", "Dvořák", "Björk", "Beyoncé", "M'Baye Niang", "AC/DC", "Windows 95", "O’Brien", "Thomas Joannes Stieltjes", "Nguyễn Tấn Dũng"}
	templates = []string{"The mother tongue of {} is", "{} is located in", "{}, a citizen of", "Who is {}? {} is", "In {}, people speak",
		"Q: Where was {} born?\nA:", "{}'s capital is", "New Fact: {} plays\nPrompt: {} plays", "\"{}\" was written in"}
	words = []string{"the", "of", "language", "French", "don't", "it's", "they'll", "COVID-19", "e-mail", "naïve", "co-operate", "straße", "U.S.A.",
		"I'm", "antidisestablishmentarianism", "xkcd", "http://example.org/a?b=c&d", "foo@bar.com", "...", "—", "“quoted”", "(maybe)", "#1", "50%", "$3.50", "İ", "ﬁne", "œuvre"}
	spaces = []string{" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n ", "\u00a0", "\u3000", "\u2009", "\u200b", "        ", "\v", "\f", "\u0085"}
	codes  = []string{"func main() {\n\tfmt.Println(\"hi\")\n}\n", "for (int i = 0; i < n; ++i) { a[i] += b[i]; }", "def f(x):\n    return x ** 2\n",
		"SELECT * FROM t WHERE a >= 10;", "x = {'a': [1, 2, 3], \"b\": None}", "<html><body class=\"x\">&amp;</body></html>", "if (a!=b && c||d) ~x ^ y", "#include <stdio.h>", "$ ls -la | grep '^d'", "\\frac{a}{b}"}
	emoji  = []string{"👍", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪", "❤️", "😀", "🏴‍☠️", "1️⃣", "🤷🏾‍♀️", "✈", "☕️"}
	others = []string{"日本語テキスト", "한국어 문장", "中文，标点。", "русский язык", "Ελληνικά", "עברית", "العربية ١٢٣", "हिन्दी", "ไทย", "தமிழ்", "ქართული",
		"e\u0301a\u0300o\u0302", "c\u0327\u0301", "ﬀ ﬃ", "①⑳㊿", "Ⅷ½", "ｶﾞ ﾊﾟ", "가나다", "Å", "ạ̈", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "ǅ", "ß ẞ", "ı İ", "…", "™ ℡", "㎏", "x²"}
	ranges = [][2]rune{{0x20, 0x7e}, {0x20, 0x7e}, {0, 0x20}, {0x80, 0xff}, {0x100, 0x24f}, {0x300, 0x36f}, {0x370, 0x52f}, {0x590, 0x6ff}, {0x900, 0x97f},
		{0xe00, 0xe7f}, {0x1100, 0x11ff}, {0x1e00, 0x1eff}, {0x2000, 0x206f}, {0x2070, 0x218f}, {0x2500, 0x27bf}, {0x3000, 0x30ff}, {0x4e00, 0x4fff}, {0xac00, 0xad00},
		{0xf900, 0xfaff}, {0xfb00, 0xfb4f}, {0xfe00, 0xffef}, {0x1d400, 0x1d7ff}, {0x1f300, 0x1f6ff}}
)

func (g generator) text() string {
	switch g.IntN(12) {
	case 0, 1, 2:
		return g.prompt()
	case 3:
		return pick(g, spaces) + g.words(1+g.IntN(5)) + pick(g, spaces)
	case 4:
		var b strings.Builder
		for range 1 + g.IntN(8) {
			b.WriteString(pick(g, words) + pick(g, spaces))
		}
		return b.String()
	case 5:
		return g.words(2) + " " + g.number() + pick(g, []string{"", " ", "-", ",", "%", "th"}) + g.number()
	case 6:
		return g.mixed(others, 1+g.IntN(4))
	case 7:
		return g.mixed(emoji, 1+g.IntN(3))
	case 8:
		return strings.Join([]string{pick(g, codes), pick(g, codes)}, pick(g, spaces))
	case 9:
		if len(g.special) == 0 {
			return g.prompt()
		}
		return g.mixed(g.special, 1+g.IntN(3))
	case 10:
		return g.random(1 + g.IntN(40))
	}
	var b strings.Builder
	for range 5 + g.IntN(40) {
		b.WriteString(g.prompt() + pick(g, []string{" ", "\n", "\n\n", ". "}))
	}
	return b.String()
}

func (g generator) prompt() string {
	s := strings.ReplaceAll(pick(g, templates), "{}", pick(g, subjects))
	if g.IntN(2) == 0 {
		s += " " + pick(g, words) + "."
	}
	return s
}

func (g generator) words(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = pick(g, words)
	}
	return strings.Join(list, " ")
}

func (g generator) number() string {
	var b strings.Builder
	for range 1 + g.IntN(12) {
		b.WriteByte("0123456789"[g.IntN(10)])
	}
	return b.String()
}

// mixed writes things of a list between words, with and without spaces.
func (g generator) mixed(list []string, n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(pick(g, words) + pick(g, []string{"", " ", "  "}) + pick(g, list) + pick(g, []string{"", " ", "\n"}))
	}
	return b.String()
}

// random writes n characters of random blocks.
func (g generator) random(n int) string {
	var b strings.Builder
	for range n {
		r := pick(g, ranges)
		if g.IntN(3) == 0 {
			b.WriteString(pick(g, spaces))
			continue
		}
		c := r[0] + rune(g.IntN(int(r[1]-r[0])+1))
		if utf8.ValidRune(c) {
			b.WriteRune(c)
		}
	}
	return b.String()
}
