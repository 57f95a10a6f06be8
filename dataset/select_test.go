package dataset

import (
	"slices"
	"strings"
	"testing"
)

func named(split string, ids ...string) []Record {
	var l []Record
	for _, id := range ids {
		l = append(l, Record{Edit: Edit{ID: EditID(id), Split: split}})
	}
	return l
}

func idsOf(l []Record) string {
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
		test, train, err := c.d.Choose(c.s)
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
	a, _, _ := plain.Choose(Selection{OrderSeed: 1})
	b, _, _ := plain.Choose(Selection{OrderSeed: 1})
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
		if _, _, err := bad.d.Choose(bad.s); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v, want an error with %q", bad.d.Name, err, bad.want)
		}
	}
}

func TestParts(t *testing.T) {
	d := Data{"parts", append(append(named("train", "a"), named("valid", "b")...), named("", "c")...)}
	if got := idsOf(d.Shown()); got != "a" {
		t.Errorf("shown %s, want a", got)
	}
	if got := idsOf((Data{"none", d.Records[1:]}).Shown()); got != "bc" {
		t.Errorf("shown of a set without a split for training: %s, want bc", got)
	}
	train, valid := d.Split()
	for want, s := range map[string]Source{"ac": train, "b": valid} {
		records, _, err := ReadAll(s)
		if err != nil || s.Name() != "parts" || idsOf(records) != want {
			t.Errorf("%s of %s, %v; want %s", idsOf(records), s.Name(), err, want)
		}
	}
}
