package oniguruma

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

// limit is long enough for any expression below.
const limit = 10 * time.Second

// TestMatches pins what expressions match, for each construct: the results are
// those of the official implementation (tokenizers 0.23.2), which internal/tokencheck
// asks about thousands of random ones. Matches are joined by |.
func TestMatches(t *testing.T) {
	for _, c := range []struct{ expression, text, want string }{
		// Brackets, classes inside classes, intersections.
		{`[[:punct:]]+`, "a.b $c", ".|$"},
		{`[[:alpha:]]+`, "ab1 é", "ab|é"},
		{`[[:^space:]]+`, "a b", "a|b"},
		{`[\p{L}&&[^\p{Han}]]+`, "ab日c", "ab|c"},
		{`[a-w&&[^c-g]z]+`, "abcghwz", "ab|hw"},
		{`[^a&&b]+`, "abc", "abc"}, // not (a and b)
		{`[^[^a]]`, "abc", "a"},
		{` ?[^(\s|[.,!?…。，、।۔،])]+`, "Oh, (my) a|b…", "Oh|my| a|b"}, // BLOOM
		{`[a\-z-]+`, "a-z b", "a-z"},
		// Types of characters.
		{`\w+`, "का a\u200db _ x²", "का|a|b|_|x²"},
		{`[\w]+`, "x²", "x"},
		{`\W`, "a\u200d²", "\u200d"},
		{`\h+`, "0fG", "0f"},
		{`\H`, "0fG", "G"},
		{`\R`, "a\r\n\n\u2028", "\r\n|\n|\u2028"},
		{`\N+`, "a\nb", "a|b"},
		{`\O+`, "a\nb", "a\nb"},
		{`\d+`, "1٣²", "1٣"},
		{`\p{Alphabetic}+`, "aⅧ\u0903b1", "aⅧ\u0903b"},
		{`\p{^Lu}`, "aB", "a"},
		{`\p{Upper case}|\p{lower_CASE}`, "aB", "a|B"},
		{`\p{L}`, "\U00016d40", "\U00016d40"}, // new in Unicode 16.0
		// Quantifiers.
		{`a++b?`, "aaab", "aaab"},
		{`a++ab`, "aaab", ""},
		{`a?+b`, "ab", "ab"},
		{`a*+a`, "aaa", ""},
		{`a{2}+`, "aaaaa", "aaaa"},                // not possessive: (?:a{2})+
		{`(?:a{1,2}){2}+ab?`, "baaaaaa", "aaaaa"}, // gives back a whole turn before it shortens one
		{`a{1,2}+b`, "aaab", "aaab"},
		{`a{2}?b`, "b aab", "b|aab"}, // (?:a{2})?
		{`a{1,2}?`, "aa", "a|a"},
		{`a{,2}b`, "aaab", "aab"},
		{`a{3,1}b`, "aaaab", "aaab"},
		{`a{,}`, "aa{,}", "a{,}"},
		{`x{1`, "x{1", "x{1"},
		// Options and anchors.
		{`(?m)^.+$`, "a\nb", "a\nb"},
		{`^.+$`, "a\nb", "a|b"},
		{`^`, "a\n", ""},
		{`a$|\Ab|c\z|d\Z`, "bad\nca\nc\n", "b|a"},
		{`(?i:'s|'t)`, "'S'ſ't", "'S|'ſ|'t"},
		{`a(?i)b|c`, "aB ac aC b", "aB|ac|aC"},
		{`(?i:[^k])`, "kK\u212aa", "a"},
		{`(?i:[^ΐﬅ])`, "ΐ\u1fd3ﬆa", "a"},
		{`\bb`, "ab b\u0301 ²b", "b"},
		{`\Bb`, "ab b", "b"},
		{`(?<=a|bc)x`, "axbcxx", "x|x"},
		{`(?<!a)x(?!y)(?=z|)`, "ax xy x", "x"},
		{`(?>a|ab)c`, "abc", ""},
		{`(?<n>a)(?#no)(b)`, "ab", "ab"},
		{`\x41\x{65E5}\u00e9\o{101}\t\.`, "A日éA\t.", "A日éA\t."},
		// Empty matches: none right after a match.
		{`a*`, "baac", "|aa|"},
	} {
		re, err := Compile(c.expression, limit)
		if err != nil {
			t.Error(err)
			continue
		}
		all, err := re.All(c.text)
		if err != nil {
			t.Fatal(err)
		}
		parts := make([]string, len(all))
		for i, x := range all {
			parts[i] = c.text[x[0]:x[1]]
		}
		if got := strings.Join(parts, "|"); got != c.want {
			t.Errorf("%s on %q: %q, want %q", c.expression, c.text, got, c.want)
		}
	}
}

// TestRefused names what is not translated.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		expression, want string
		unsupported      bool
	}{
		{`a\Xb`, `at character 1: \X is not supported`, true},
		{`\Ka`, `\K`, true},
		{`\Ga`, `\G`, true},
		{`(a)\1`, `back reference \1`, true},
		{`(?<n>a)\k<n>`, `back reference \k`, true},
		{`(?<n>a)\g<n>`, `\g`, true},
		{`(?~a)`, "the group (?~", true},
		{`(?(1)a|b)`, "the group (?(", true},
		{`(?x) a`, "the group (?x", true},
		{`(?s).`, "the group (?s", true},
		{`(?W:\w)`, "the group (?W", true},
		{`(?P<n>a)`, "the group (?P", true},
		{`(*FAIL)`, "a callout (*", true},
		{`\pL`, `\p without braces`, true},
		{`\p{In_Basic_Latin}`, `the property "In_Basic_Latin"`, true},
		{`[[:foo:]]`, `the bracket "[:foo:]]"`, true},
		{`[]a]`, "a class that begins with ]", true},
		{`[a&&]`, "one side of &&", true},
		{`[a-\d]`, "a range that ends with a class", true},
		{`[\d-a]`, "a range that begins with a class", true},
		{`[a-c-e]`, "a range after a range", true},
		{`(?i)ss`, "folds to or from another number", true},
		{`(?i)ß`, "folds to or from another number", true},
		{`(?i)\p{L}`, "letters that fold to more than one", true},
		{`(?i)[[a-c]]`, "a class inside a class", true},
		{`\xE6\x97\xA5`, "a byte of a longer character", true},
		{`(?:a?)??+`, "a quantifier directly after another one", true},
		{`^*`, "a quantifier after an anchor", true},
		{`(?=a)+`, "a quantifier after an anchor or a look-around", true},
		{`(?<=a++)b`, "a possessive quantifier inside a look-behind", true},
		{`(?<=(?>a))b`, "an atomic group inside a look-behind", true},
		{`(`, "a group without an end", false},
		{`)`, "a closing parenthesis", false},
		{`[a`, "a character class without an end", false},
		{`*a`, "nothing to repeat", false},
		{`a\`, "a backslash at the end", false},
		{`[b-a]`, "runs backwards", false},
		{`\uD83D`, "not a character", false},
		{`a{200000}`, "above 100000", false},
		{strings.Repeat("(", 1000), "nested deeper", false},
	} {
		_, err := Compile(c.expression, limit)
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrUnsupported) != c.unsupported {
			t.Errorf("%.40s: error %v, want %q", c.expression, err, c.want)
		}
	}
}

// TestSets checks the arithmetic of sets against membership, character by character.
func TestSets(t *testing.T) {
	a, b := ofSpans(span{'a', 'f'}, span{'x', 'z'}, span{'g', 'h'}), ofSpans(span{'d', 'y'}, span{0, 3})
	if !slices.Equal(a, set{{'a', 'h'}, {'x', 'z'}}) {
		t.Errorf("ranges that touch: %v", a)
	}
	u, i, n := union(a, b), intersect(a, b), a.not()
	for r := rune(0); r <= 0x200; r++ {
		if u.has(r) != (a.has(r) || b.has(r)) || i.has(r) != (a.has(r) && b.has(r)) || n.has(r) == a.has(r) {
			t.Errorf("%U is in the wrong sets", r)
		}
	}
	if n := (set{{0, unicode.MaxRune}}).not(); len(n) != 0 {
		t.Errorf("nothing: %v", n)
	}
}
