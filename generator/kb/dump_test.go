package kb_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"testing"

	"editpipe/generator/kb"
)

// parse reads everything and keeps the broken lines apart.
func parse(t *testing.T, r io.Reader) (map[string]*kb.Entity, []*kb.LineError) {
	t.Helper()
	out := map[string]*kb.Entity{}
	var broken []*kb.LineError
	for e, err := range kb.Entities(r) {
		var line *kb.LineError
		switch {
		case errors.As(err, &line):
			broken = append(broken, line)
		case err != nil:
			t.Fatal(err)
		default:
			out[e.ID] = e
		}
	}
	return out, broken
}

func miniDump(t *testing.T) map[string]*kb.Entity {
	t.Helper()
	f, err := os.Open("../../testdata/kb/mini.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entities, broken := parse(t, f)
	if len(broken) != 2 || broken[0].Line != 4 || broken[1].Line != 28 {
		t.Errorf("broken lines %v, want 4 (cut short) and 28 (no id)", broken)
	}
	return entities
}

func TestEntitiesReadsTheMiniDump(t *testing.T) {
	e := miniDump(t)
	if len(e) != 26 {
		t.Errorf("%d entities, want 26: the lexeme and two broken rows are left out", len(e))
	}
	if v := e["Q1"].Claims.Of("P36")[0].Value; v.ID != "Q102" {
		t.Errorf("value with numeric-id alone read as %+v", v)
	}
	if e["Q5"].Label != "Sudland" || e["Q5"].LabelLang != "mul" {
		t.Errorf("label of language mul read as %q (%s)", e["Q5"].Label, e["Q5"].LabelLang)
	}
	if e["Q10"].Label != "" || e["Q10"].Aliases != nil || len(e["Q10"].Claims.Of("P36")) != 1 {
		t.Errorf("[] in place of {} read as %+v", e["Q10"])
	}
	for id, p := range map[string]string{"Q6": "somevalue", "Q7": "novalue"} {
		if e[id].Claims.Of("P36")[0].HasValue {
			t.Errorf("%s has a value", p)
		}
	}
	if st := e["Q9"].Claims.Of("P36")[0]; !st.Ended || st.End != (kb.Date{}) {
		t.Errorf("unknown end read as %+v", st)
	}
	if st := e["Q200"].Claims.Of("P26")[0]; st.Start != (kb.Date{Year: 1999, Month: 5, Day: 1}) {
		t.Errorf("start read as %v", st.Start)
	}
	if e["Q13"].Modified != (kb.Date{Year: 2023, Month: 4, Day: 5}) || e["Q12"].Modified != (kb.Date{}) {
		t.Errorf("last changes read as %v and %v", e["Q13"].Modified, e["Q12"].Modified)
	}
	if e["Q1"].Sitelinks != 3 || e["Q1"].Revision != 7 {
		t.Errorf("sitelinks %d, revision %d", e["Q1"].Sitelinks, e["Q1"].Revision)
	}
}

// A number alone names an item or a property; of a lexeme it names neither.
func TestNumericIDAlone(t *testing.T) {
	value := func(kind string) string {
		return `{"mainsnak": {"snaktype": "value", "property": "P1", "datavalue": {"type": "wikibase-entityid", "value": {` + kind + `"numeric-id": 7}}}, "rank": "normal"}`
	}
	line := `{"type": "item", "id": "Q1", "claims": {"P1": [` + strings.Join([]string{
		value(`"entity-type": "item", `), value(`"entity-type": "property", `), value(`"entity-type": "lexeme", `), value(`"entity-type": "form", "id": "L7-F1", `), value(``),
	}, ",") + `]}}`
	entities, broken := parse(t, strings.NewReader(line))
	if len(broken) > 0 {
		t.Fatal(broken)
	}
	got := map[string]int{}
	for _, st := range entities["Q1"].Claims.Of("P1") {
		if st.HasValue {
			got[st.Value.ID]++
		} else {
			got["none"]++
		}
	}
	if want := map[string]int{"Q7": 2, "P7": 1, "none": 1, "L7-F1": 1}; !maps.Equal(got, want) {
		t.Errorf("values %v, want %v", got, want)
	}
}

func TestEntitiesReadsEveryForm(t *testing.T) {
	one := `{"type":"item","id":"Q7","labels":{"en":{"value":"seven"}}}`
	two := `{"type":"item","id":"Q8","labels":{"en":{"value":"eight"}}}`
	long := `{"type":"item","id":"Q7","labels":{"en":{"value":"seven"}},"x":"` + strings.Repeat("y", 3<<20) + `"}`
	for name, c := range map[string]struct {
		text string
		n    int
	}{
		"dump":            {"[\n" + one + ",\n" + two + "\n]\n", 2},
		"dump, CRLF":      {"[\r\n" + one + ",\r\n" + two + "\r\n]", 2},
		"JSON lines":      {one + "\n" + two, 2},
		"one-line array":  {"[" + one + "," + two + "]", 2},
		"bracket on line": {"[" + one + ",\n" + two + "]\n", 2},
		"EntityData":      {`{"entities":{"Q7":` + one + `,"Q8":` + two + `}}`, 2},
		"indented":        {"{\n  \"entities\": {\n \"Q7\":\n" + one + "}\n}\n", 1},
		"byte order mark": {"\ufeff" + one + "\n", 1},
		"3 MiB line":      {long + "\n" + two, 2},
		"empty":           {"", 0},
		"empty array":     {"[\n]\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, broken := parse(t, strings.NewReader(c.text))
			if len(got) != c.n || len(broken) != 0 {
				t.Errorf("%d entities, broken %v; want %d and none", len(got), broken, c.n)
			}
			if c.n > 0 && got["Q7"].Label != "seven" {
				t.Errorf("Q7 is %+v", got["Q7"])
			}
		})
	}
}

func TestEntitiesStopsAtReadErrors(t *testing.T) {
	failure := errors.New("disk gone")
	var got error
	for _, err := range kb.Entities(io.MultiReader(strings.NewReader("[\n"), failing{failure})) {
		got = err
	}
	if !errors.Is(got, failure) || !strings.Contains(fmt.Sprint(got), "line 2") {
		t.Errorf("error %v, want the reader's with its line", got)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
