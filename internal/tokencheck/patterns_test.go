//go:build tokencheck

package tokencheck

import (
	"flag"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"editpipe/token/oniguruma"
)

var patterns = flag.Int("patterns", 4000, "random patterns to compare")

// patience is long enough for the machine to be busy with something else.
const patience = 5 * time.Minute

// written gives random expressions and the texts that they are tried on.
type written struct{ *rand.Rand }

var (
	// letters are what expressions and texts are made of: enough kinds of characters
	// for every construct, few enough that they meet.
	letters = []string{"a", "b", "s", "ſ", "k", "K", "S", "é", "É", "e", "\u0301", "1", "²", "Ⅷ", "٣", "_", " ", "\n", "\r", "\u2028", "-", "'", ".", "&", "日", "カ", "\u200d", "ß", "ǅ", "👍", "\U00016D40", "\u0905", "\u094d"}
	classes = []string{`\w`, `\W`, `\d`, `\D`, `\s`, `\S`, `\h`, `\H`, `\p{L}`, `\P{L}`, `\p{^Lu}`, `\p{M}`, `\p{Han}`, `\p{Alphabetic}`, `\p{Word}`, `\p{Latin}`, `\p{upper}`}
	inside  = []string{"[:alpha:]", "[:^alpha:]", "[:punct:]", "[:space:]", "[:word:]", "[:upper:]", "[:digit:]", "a-s", "é-ſ", `\-`, `\]`, "&", "1-٣", ".", "'", `\n`, `\b`, `\x{65e5}`, `\u00df`}
	atoms   = []string{".", "^", "$", `\A`, `\z`, `\Z`, `\b`, `\B`, `\R`, `\N`, `\O`, "{", "}", "]", `\.`, `\t`, `\x61`, `\u0301`, `\n`}
	repeats = []string{"?", "*", "+", "??", "*?", "+?", "?+", "*+", "++", "{2}", "{1,2}", "{,2}", "{1,}", "{2}?", "{1,2}?", "{1,2}+", "{2}+", "{2,1}", "*?+", "?*", "+*", "{,}", "{1"}
	opens   = []string{"(?:", "(", "(?>", "(?=", "(?!", "(?<=", "(?<!", "(?i:", "(?m:", "(?-m:", "(?i)(?:", "(?<n>", "(?#", "(?mi-i:"}
)

func (g written) one(list []string) string { return list[g.IntN(len(list))] }

func (g written) expression(depth int) string {
	var b strings.Builder
	for i := range 1 + g.IntN(3) {
		if i > 0 && g.IntN(3) == 0 {
			b.WriteByte('|')
		}
		switch k := g.IntN(12); {
		case k < 4 || depth == 0:
			b.WriteString(g.one(letters[:29]))
		case k < 6:
			b.WriteString(g.one(classes))
		case k < 8:
			b.WriteString(g.class(2))
		case k < 9:
			b.WriteString(g.one(atoms))
		default:
			b.WriteString(g.one(opens) + g.expression(depth-1) + ")")
		}
		if g.IntN(3) == 0 {
			b.WriteString(g.one(repeats))
		}
		if g.IntN(40) == 0 {
			b.WriteString(g.one([]string{"(?i)", "(?m)", "(?-m)"}))
		}
	}
	return b.String()
}

func (g written) class(depth int) string {
	var b strings.Builder
	b.WriteString(g.one([]string{"[", "[", "[^"}))
	for range 1 + g.IntN(3) {
		switch k := g.IntN(8); {
		case k < 3:
			b.WriteString(g.one(letters))
		case k < 5:
			b.WriteString(g.one(inside))
		case k < 6 || depth == 0:
			b.WriteString(g.one(classes))
		case k < 7:
			b.WriteString(g.class(depth - 1))
		default:
			b.WriteString("&&" + g.class(depth-1))
		}
	}
	return b.String() + "]"
}

func (g written) text() string {
	var b strings.Builder
	for range g.IntN(10) {
		b.WriteString(g.one(letters))
	}
	return b.String()
}

// published are patterns of published tokenizers.
var published = []string{
	llama3Split, qwenSplit, clipSplit,
	`'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`,
	`'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s`,
	o200kSplit, kimiSplit, bloomSplit, v3Split, tekkenSplit,
}

// found are the matches of every text with one expression, or why there are none.
type found struct {
	Error string
	Hits  [][][2]int // in characters; empty matches are left out
}

// TestPatterns compares what expressions match with the official implementation:
// random ones, and those of published tokenizers on the texts of TestOfficial.
func TestPatterns(t *testing.T) {
	g := written{rand.New(rand.NewPCG(*seed, 2))}
	list := make([]string, *patterns)
	for i := range list {
		list[i] = g.expression(2)
	}
	texts := make([]string, 150)
	for i := range texts {
		texts[i] = g.text()
	}
	comparePatterns(t, list, texts)
	var stacked, short []string
	for _, inner := range repeats {
		for _, outer := range repeats {
			stacked = append(stacked, "(?:a"+inner+")"+outer+"ab?", "a"+inner+outer+"|b", "(?:a"+inner+"|b)"+outer+"$")
		}
	}
	for i := range 1 << 7 {
		short = append(short, strings.Map(func(bit rune) rune { return 'a' + bit - '0' }, strconv.FormatInt(int64(i+1), 2)))
	}
	comparePatterns(t, stacked, short)
	comparePatterns(t, published, append(Texts(*seed, *number, nil), texts...))
}

func comparePatterns(t *testing.T, list, texts []string) {
	t.Helper()
	official := node[found](t, map[string]any{"patterns": list, "texts": texts}, len(list))
	var both, refused, loose, wrong int
	for i, expression := range list {
		re, err := oniguruma.Compile(expression, patience)
		switch {
		case err != nil && official[i].Error != "":
			continue
		case err != nil:
			refused++
			continue
		case official[i].Error != "":
			loose++ // no file can have it
			continue
		}
		both++
		for k, text := range texts {
			all, err := re.All(text)
			if err != nil {
				t.Fatal(err)
			}
			var got [][2]int
			for _, x := range all {
				if x[0] < x[1] {
					start := utf8.RuneCountInString(text[:x[0]])
					got = append(got, [2]int{start, start + utf8.RuneCountInString(text[x[0]:x[1]])})
				}
			}
			if !slices.Equal(got, official[i].Hits[k]) {
				if wrong++; wrong <= 20 {
					t.Errorf("%q on %+q: %v, want %v", expression, text, got, official[i].Hits[k])
				}
				break
			}
		}
	}
	t.Logf("%d expressions, %d texts: %d compared, %d wrong, %d refused by name, %d that only the official implementation refuses",
		len(list), len(texts), both, wrong, refused, loose)
	if both == 0 {
		t.Error("nothing was compared")
	}
}

// TestSets compares which of all characters every type, property and bracket
// matches.
func TestSets(t *testing.T) {
	var list []string
	for _, name := range oniguruma.Properties() {
		list = append(list, `\p{`+name+`}`)
	}
	for _, s := range []string{`\w`, `\W`, `\d`, `\s`, `\h`, `.`, `\N`, `[\w]`, `[\W]`, `[^\w]`, `(?i:[^a-zſ])`, `(?i:[^ΐ])`, `(?i:[^ΰﬅ])`, `(?i:[^\x{1FD3}])`, `(?i:[a-z])`, `(?i:\w)`, `(?i:k)`, `(?i:ⓐ)`, `(?i:[\x{10D50}ɤǆ])`} {
		list = append(list, s)
	}
	for _, name := range []string{"alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit", "word"} {
		list = append(list, "[[:"+name+":]]", "[[:^"+name+":]]")
	}
	type ranges struct {
		Error  string
		Ranges [][2]rune
	}
	var text strings.Builder
	for c := rune(0); c <= utf8.MaxRune; c++ {
		if utf8.ValidRune(c) && (c < 0x40000 || c>>12 == 0xE0 || c>>12 == 0xF0) { // as in official.mjs
			text.WriteRune(c)
		}
	}
	all := text.String()
	compared := 0
	for i, w := range node[ranges](t, map[string]any{"sets": list}, len(list)) {
		re, err := oniguruma.Compile(list[i], patience)
		if err != nil {
			t.Fatal(err)
		}
		if w.Error != "" {
			t.Errorf("%s is ours alone: %s", list[i], w.Error)
			continue
		}
		in := func(c rune) bool {
			_, ok := slices.BinarySearchFunc(w.Ranges, c, func(r [2]rune, c rune) int {
				if r[1] < c {
					return -1
				} else if r[0] > c {
					return 1
				}
				return 0
			})
			return ok
		}
		hits, err := re.All(all)
		if err != nil {
			t.Fatal(err)
		}
		differ := 0
		for at, c := range all {
			hit := len(hits) > 0 && hits[0][0] == at
			if hit {
				hits = hits[1:]
			}
			if hit != in(c) {
				if differ++; differ == 1 {
					t.Errorf("%s: %U is in the set: %v here", list[i], c, hit)
				}
			}
		}
		compared++
		if differ > 0 {
			t.Errorf("%s: %d characters differ", list[i], differ)
		}
	}
	t.Logf("%d sets of characters compared", compared)
}
