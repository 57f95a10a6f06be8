package dataset

import (
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

func TestFindName(t *testing.T) {
	for _, c := range []struct {
		text, name string
		want       string // what stands in the text; "" where the name does not occur
		before     string // the text before it
		exact      bool
		count      int
	}{
		{"Oslo is a town", "Oslo", "Oslo", "", true, 1},
		{"The town of Oslo", " Oslo ", "Oslo", "The town of ", true, 1},
		{"Iran and Ir", "Ir", "Ir", "Iran and ", true, 1}, // a whole word before a part of one
		{"Iranian", "Iran", "Iran", "", true, 1},          // only a part of a word
		{"St.Louis and St. Louis", "St.", "St.", "St.Louis and ", true, 1},
		{"Oslo, OSLO and Oslo", "Oslo", "Oslo", "", true, 3},
		{"Where is oslo?", "Oslo", "oslo", "Where is ", false, 1},
		{"Where is OSLO or Oslo?", "Oslo", "Oslo", "Where is OSLO or ", true, 2}, // as written comes first
		{norm.NFD.String("Where is Malmö?"), "Malmö", norm.NFD.String("Malmö"), "Where is ", false, 1},
		{"Where is Malmö?", norm.NFD.String("malmö"), "Malmö", "Where is ", false, 1},
		{"Who is Sean O’Casey?", "Sean O'Casey", "Sean O’Casey", "Who is ", false, 1},
		{"Who is Sean O'Casey?", "Sean OʼCasey", "Sean O'Casey", "Who is ", false, 1},
		{"Who is Lena\u00a0 Voss?", "Lena Voss", "Lena\u00a0 Voss", "Who is ", false, 1},
		{"Who is J. R. R. Holm?", "J.R.R. Holm", "J. R. R. Holm", "Who is ", false, 1},
		{"Who is Anna\u2011Lena Voss?", "Anna-Lena Voss", "Anna\u2011Lena Voss", "Who is ", false, 1},
		{"WEISSENSEE liegt hier", "Weißensee", "WEISSENSEE", "", false, 1},
		{"Die Straße heißt Große Straße", "grosse strasse", "Große Straße", "Die Straße heißt ", false, 1},
		{"ὈΔΥΣΣΕΎΣ", "ὀδυσσεύς", "ὈΔΥΣΣΕΎΣ", "", false, 1},
		{"《山河志》的编者是", "山河志", "山河志", "《", true, 1},
		{"东京和东京", "东京", "东京", "", true, 2},
		{"สุขใจอยู่ที่เชียงใหม่", "เชียงใหม่", "เชียงใหม่", "สุขใจอยู่ที่", true, 1},
		{"क्या काशी में", "काशी", "काशी", "क्या ", true, 1},
		{"Straße", "s", "S", "", false, 1}, // never half of what one letter became
		{"ß", "s", "", "", false, 0},
		{"cafe\u0301", "cafe", "cafe", "", true, 1}, // letter by letter, as before
		{"Lisa went", "is a", "", "", false, 0},
		{"Nothing here", "Oslo", "", "", false, 0},
		{"Nothing here", " ", "", "", false, 0},
		{"", "Oslo", "", "", false, 0},
		{"bad \xff\xc3 oslo", "Oslo", "oslo", "bad \xff\xc3 ", false, 1},
	} {
		m := FindName(c.text, c.name)
		if m.Found() != (c.want != "") {
			t.Errorf("%q in %q: %+v", c.name, c.text, m)
			continue
		}
		if n := CountName(c.text, c.name); n != c.count {
			t.Errorf("%q stands %d times in %q, want %d", c.name, n, c.text, c.count)
		}
		if c.want == "" {
			continue
		}
		if got := c.text[m.Start:m.End]; got != c.want || c.text[:m.Start] != c.before || m.Exact != c.exact {
			t.Errorf("%q in %q: %q behind %q, exact %v", c.name, c.text, got, c.text[:m.Start], m.Exact)
		}
		if !strings.Contains(c.want, "Iran") && c.exact != (c.want == strings.TrimSpace(c.name)) {
			t.Errorf("%q: exact %v", c.want, c.exact)
		}
		if !SameName(c.want, c.name) {
			t.Errorf("%q and %q are one name", c.want, c.name)
		}
	}
	if SameName("Oslo", "Osla") || SameName("Müller", "Muller") {
		t.Error("other letters are another name")
	}
}

// Whatever is found is the name, and what stands in the text letter by letter is found.
func FuzzFindName(f *testing.F) {
	f.Add("Wer ist Léa O’Neil, die", "léa o'neil")
	f.Add(norm.NFD.String("Çığ ÅNGSTRÖM ﬁ"), "ångström")
	f.Add("a\u0301\u0301b ẞ \u200dx", "ss")
	f.Fuzz(func(t *testing.T, text, name string) {
		if len(text) > 60 || len(name) > 20 {
			return // short texts take every turn of the search, and far more of them are tried
		}
		m := FindName(text, name)
		if !m.Found() {
			if strings.TrimSpace(name) != "" && strings.Contains(text, strings.TrimSpace(name)) {
				t.Fatalf("%q is not found in %q", name, text)
			}
			return
		}
		if m.Start >= m.End || int(m.End) > len(text) {
			t.Fatalf("%q in %q: %+v", name, text, m)
		}
		if found := text[m.Start:m.End]; !SameName(found, name) {
			t.Fatalf("%q in %q: %q is another name", name, text, found)
		}
		if CountName(text, name) < 1 {
			t.Fatalf("%q occurs in %q, but not once", name, text)
		}
	})
}
