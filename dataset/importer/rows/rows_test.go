package rows

import (
	"iter"
	"strings"
	"testing"
)

// shown reads a sequence to its end: each row as name, offset and text, then the error.
func shown(seq iter.Seq2[Row, error]) string {
	var b strings.Builder
	for row, err := range seq {
		switch {
		case err != nil:
			b.WriteString("! " + err.Error())
		case row.Err != nil:
			b.WriteString("? " + row.Err.Error() + "\n")
		default:
			b.WriteString(row.Name + ":" + string(row.Raw) + "\n")
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func TestNamed(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{"a": {"x": "}, \" {"}, "b,:" : {"y": [1, 2]}}`, `a:{"x": "}, \" {"}` + "\nb,::" + `{"y": [1, 2]}`},
		{"\ufeff {}\n", ""},
		{`{"a" {"x": 1}, "b": {}}`, "? no colon behind the name \"a\"\nb:{}"},
		{`{"a": {}, 3, "b": {}}`, "a:{}\n? want a record behind its name\nb:{}"},
		{`{"a": {}} x`, "a:{}\n! text after the end of the object, at byte 10"},
		{`{"a": {"x": 1`, "! file ends inside record 0, which starts at byte 1: unexpected EOF"},
		{`[{"a": 1}]`, "! want one object of records, have a list"},
		{"", "! file holds no records"},
	} {
		if got := shown(Named(strings.NewReader(c.text))); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.text, got, c.want)
		}
	}
}

// Records over several lines are cut where they end; a damaged line among others
// costs itself alone.
func TestObjectsOverLines(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"{\n \"a\": {\n  \"b\": \"}\"\n }\n}\n", ":{\n \"a\": {\n  \"b\": \"}\"\n }\n}"},
		{"\ufeff\n{\n\"a\": 1}\n\n{ \"b\":\n2},\n{\"c\": 3}", ":{\n\"a\": 1}\n:{ \"b\":\n2}\n:{\"c\": 3}"},
		{"{\n\"a\": 1", "! file ends inside record 0, which starts at byte 0: unexpected EOF"},
		{"{\"a\": [1,\n2]}\n{\"b\":\n", ":{\"a\": [1,\n2]}\n! file ends inside record 1, which starts at byte 14: unexpected EOF"},
		{"{\"a\": 1\n{\"b\": 2}\n", ":{\"a\": 1\n:{\"b\": 2}"},     // a damaged line, then a whole one
		{"{\"a\": 1}\n{\"b\":\n 2}", ":{\"a\": 1}\n:{\"b\":\n:2}"}, // one record a line
		{"{\n{\"b\": 2}", ":{\n:{\"b\": 2}"},
		{"{\n\"a\": 1\n}\nthe \"end\", }]\n", ":{\n\"a\": 1\n}\n:the \"end\", }]\n"},
		{"{\n\"a\": 1\n} or {\"b\": 2}", ":{\n\"a\": 1\n}\n:or \n:{\"b\": 2}"},
		{"{", ":{"},
	} {
		if got := shown(JSON(strings.NewReader(c.text))); got != c.want {
			t.Errorf("%q:\n%s\nwant\n%s", c.text, got, c.want)
		}
	}
}

func TestNamedOffsets(t *testing.T) {
	text := "{\n \"a\": {},\n \"bc\": {\"k\": 1}\n}"
	for row, err := range Named(strings.NewReader(text)) {
		if err != nil || !strings.HasPrefix(text[row.Offset:], `"`+row.Name+`": `) {
			t.Errorf("row %d starts at byte %d of %q: %v", row.Index, row.Offset, text, err)
		}
	}
}

func TestTable(t *testing.T) {
	for _, c := range []struct {
		text      string
		separator rune
		want      string
	}{
		{"a, b \n1,\"x, \"\"y\"\"\"\n,\n", ',', `:{"a":"1","b":"x, \"y\""}` + "\n:{}"},
		{"\ufeffa\tb\n5\" gun\tx\n", '\t', `:{"a":"5\" gun","b":"x"}`},
		{"a,b\n1\n1,2,3\n4,5\n", ',', "? want 2 cells, have 1\n? want 2 cells, have 3\n" + `:{"a":"4","b":"5"}`},
		{"a,b\n\xff,2\n", ',', "? column a: invalid UTF-8"},
		{"a,a\n", ',', `! two columns are named "a"`},
		{"a,,b\n", ',', "! column 2 has no name"},
		{"", ',', "! file holds no records"},
		{"a,b\n\n", ',', "! file holds no records"},
		{"\x1f\x8b\x08", ',', "! not a table: it is compressed with gzip; unpack it first"},
		{"a,b\n1,2\n3,\"open\n", ',', `:{"a":"1","b":"2"}` + "\n! row 1: parse error on line 3, column 9: extraneous or missing \" in quoted-field"},
	} {
		if got := shown(Table(strings.NewReader(c.text), c.separator)); got != c.want {
			t.Errorf("%q:\n%s\nwant\n%s", c.text, got, c.want)
		}
	}
	var offsets []int64
	for row := range Table(strings.NewReader("a,b\n1,2\n33,4\n"), ',') {
		offsets = append(offsets, row.Offset)
	}
	if len(offsets) != 2 || offsets[0] != 4 || offsets[1] != 8 {
		t.Errorf("offsets %v, want 4 and 8", offsets)
	}
}
