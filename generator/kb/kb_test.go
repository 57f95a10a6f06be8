package kb_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

func miniCatalogue(t *testing.T) *catalogue.Catalogue {
	t.Helper()
	f, err := os.Open("../../testdata/kb/mini.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := catalogue.Load(f)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func miniKB(t *testing.T) *kb.Base {
	t.Helper()
	b := kb.NewBuilder(miniCatalogue(t), kb.Date{Year: 2024, Month: 1, Day: 1}, "mini")
	for _, e := range miniDump(t) { // in map order: the result must not depend on it
		b.Add(e)
	}
	base, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return base
}

func TestCurrentFacts(t *testing.T) {
	base := miniKB(t)
	for id, want := range map[string][]string{
		"Q1": {"Q102"},
		"Q3": {"Q103", "Q104"}, // two capitals
		"Q4": nil,              // one ended, one deprecated
		"Q5": {"Q108"},         // the preferred one
		"Q6": nil, "Q7": nil,   // unknown, absent
		"Q8": nil, // deprecated
		"Q9": nil, // ended at an unknown day; not begun
	} {
		var got []string
		for _, st := range base.Current(base.Entity(id), "P36") {
			got = append(got, st.Value.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("current capitals of %s: %v, want %v", id, got, want)
		}
	}
}

func TestFactRows(t *testing.T) {
	rows := map[string]kb.FactRow{}
	n := 0
	for r := range miniKB(t).FactRows() {
		n++
		rows[r.SubjectID+r.PropertyID+r.ObjectID] = r
	}
	if len(rows) != n {
		t.Errorf("%d rows, %d different", n, len(rows))
	}
	if r := rows["Q3P36Q104"]; !r.IsCurrent || r.ObjectsCurrent != 2 || r.ObjectText != "Velport" || r.SubjectsCurrent != 1 {
		t.Errorf("one of two capitals: %+v", r)
	}
	if r := rows["Q4P36Q105"]; r.IsCurrent || r.EndYear == nil || *r.EndYear != 1990 || r.StartYear != nil {
		t.Errorf("ended capital: %+v", r)
	}
	if r := rows["Q5P36Q107"]; r.IsCurrent || r.Rank != kb.Normal.String() {
		t.Errorf("capital of lower rank: %+v", r)
	}
}

func TestCheckCatalogue(t *testing.T) {
	b := kb.NewBuilder(miniCatalogue(t), kb.Date{Year: 2024, Month: 1, Day: 1}, "mini")
	for _, e := range miniDump(t) {
		if e.ID == "P36" {
			e.Label = "main town"
			e.Claims.Of("P1696")[0].Value.ID = "P9"
		}
		b.Add(e)
	}
	base, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(base.CheckCatalogue(), "\n")
	for _, want := range []string{`"main town"`, "inverse of P36 is P9"} {
		if !strings.Contains(all, want) {
			t.Errorf("findings %q do not say %s", all, want)
		}
	}
	if f := miniKB(t).CheckCatalogue(); len(f) != 0 {
		t.Errorf("findings %q where all agree", f)
	}
}

func TestBuildRefusesAnEmptyBase(t *testing.T) {
	_, err := kb.NewBuilder(miniCatalogue(t), kb.Date{Year: 2024}, "none").Build()
	if !errors.Is(err, kb.ErrEmpty) {
		t.Errorf("error %v, want ErrEmpty", err)
	}
}

func TestAsOfIsReadFromTheEntities(t *testing.T) {
	for day, want := range map[kb.Date]kb.Date{
		{}:                               kb.EndOfTime(),
		{Year: 2020, Month: 2, Day: 3}:   {Year: 2020, Month: 2, Day: 3},
		{Year: 2021, Month: 12, Day: 31}: {Year: 2021, Month: 12, Day: 31},
	} {
		b := kb.NewBuilder(miniCatalogue(t), kb.Date{}, "mini")
		for id, e := range miniDump(t) {
			if e.Modified = (kb.Date{}); id == "Q3" {
				e.Modified = day
			}
			b.Add(e)
		}
		base, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		if base.AsOf != want {
			t.Errorf("newest change %v gives the as-of date %v, want %v", day, base.AsOf, want)
		}
	}
}

// TestHasPartner compares the question for any partner with the list of them.
func TestHasPartner(t *testing.T) {
	base := miniKB(t)
	count := map[bool]int{}
	for id := range miniDump(t) {
		e := base.Entity(id)
		for _, r := range base.Catalogue.Relations {
			for _, except := range []string{"", "Q1", "Q3", "Q200"} {
				want := len(base.Partners(e, r.ID, base.Inverse(r), except)) > 0
				if count[want]++; base.HasPartner(e, r.ID, base.Inverse(r), except) != want {
					t.Errorf("%s as an object of %s has a partner besides %q: want %v", id, r.ID, except, want)
				}
			}
		}
	}
	if count[true] < 10 || count[false] < 10 {
		t.Errorf("too few cases: %v", count)
	}
}
