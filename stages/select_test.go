package stages

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"editpipe/dataset"
)

func named(split string, ids ...string) []dataset.Record {
	var l []dataset.Record
	for _, id := range ids {
		l = append(l, dataset.Record{Edit: dataset.Edit{ID: dataset.EditID(id), Split: split}})
	}
	return l
}

func idsOf(l []dataset.Record) string {
	var ids []string
	for _, r := range l {
		ids = append(ids, string(r.Edit.ID))
	}
	return strings.Join(ids, "")
}

func TestChoose(t *testing.T) {
	plain := Data{"plain", named("", "a", "b", "c", "d")}
	split := Data{"split", append(named("train", "a", "b"), named("test", "c", "d")...)}
	only := Data{"only", named("train", "a", "b", "c")}
	for _, c := range []struct {
		d           Data
		s           Selection
		test, train string
	}{
		{plain, Selection{}, "abcd", ""},
		{plain, Selection{Limit: 2}, "ab", "cd"},
		{plain, Selection{Limit: 9}, "abcd", ""},
		{plain, Selection{IDs: []string{"d", "b"}}, "bd", "ac"},
		{plain, Selection{IDs: []string{"d", "b"}, Limit: 1}, "b", "acd"},
		{split, Selection{}, "cd", "ab"},
		{split, Selection{Limit: 1}, "c", "ab"},          // d is of another split, so nothing learns from it
		{split, Selection{IDs: []string{"a"}}, "a", "b"}, // asked for by id
		{only, Selection{Limit: 1}, "a", "bc"},
	} {
		test, train, err := c.d.choose(c.s)
		if err != nil {
			t.Errorf("%s %+v: %v", c.d.Name, c.s, err)
			continue
		}
		got := []byte(idsOf(train))
		slices.Sort(got)
		if idsOf(test) != c.test || string(got) != c.train {
			t.Errorf("%s %+v: test %s, train %s; want %s, %s", c.d.Name, c.s, idsOf(test), got, c.test, c.train)
		}
	}
	a, _, _ := plain.choose(Selection{OrderSeed: 1})
	b, _, _ := plain.choose(Selection{OrderSeed: 1})
	if idsOf(a) != idsOf(b) || idsOf(plain.Records) != "abcd" {
		t.Errorf("shuffled %s, then %s; the data set itself is %s", idsOf(a), idsOf(b), idsOf(plain.Records))
	}
	for _, bad := range []struct {
		d    Data
		s    Selection
		want string
	}{
		{plain, Selection{IDs: []string{"x", "a", "y"}}, "x, y"},
		{Data{"twice", named("", "a", "a")}, Selection{}, "twice"},
		{Data{"none", nil}, Selection{}, "no records"},
	} {
		if _, _, err := bad.d.choose(bad.s); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v, want an error with %q", bad.d.Name, err, bad.want)
		}
	}
}

func TestSuperseded(t *testing.T) {
	edits := []dataset.Edit{
		{ID: "a", Subject: "Ada", RelationID: "P1", Target: "x"},
		{ID: "b", Subject: "Bo", RelationID: "P1", Target: "x"},
		{ID: "c", Subject: "ada", RelationID: "P1", Target: "y"}, // contradicts a
		{ID: "d", Subject: "Bo", RelationID: "P1", Target: "X"},  // says what b says
		{ID: "e", Subject: "Ada", Target: "z"},                   // no relation, no verdict
		{ID: "f", Subject: "q", ConflictGroup: "g", Target: "1"},
		{ID: "g", Subject: "r", ConflictGroup: "g", Target: "2"}, // contradicts f
		{ID: "h", RelationID: "P1", Target: "1"},                 // no subject, no verdict
		{ID: "i", RelationID: "P1", Target: "2"},
	}
	errs := make([]error, len(edits))
	want := []dataset.EditID{"c", "", "", "", "", "g", "", "", ""}
	if got := superseded(edits, errs); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	errs[2] = errors.New("not made")
	want[0] = ""
	if got := superseded(edits, errs); !slices.Equal(got, want) {
		t.Errorf("with c not made: %q, want %q", got, want)
	}
}
