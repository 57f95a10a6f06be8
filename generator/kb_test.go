package generator_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"editpipe/generator"
)

func miniCatalogue(t *testing.T) *generator.Catalogue {
	t.Helper()
	f, err := os.Open("testdata/mini.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := generator.Load(f)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func miniKB(t *testing.T) *generator.KB {
	t.Helper()
	b := generator.NewBuilder(miniCatalogue(t), generator.Date{Year: 2024, Month: 1, Day: 1}, "mini")
	for _, e := range miniDump(t) { // in map order: the result must not depend on it
		b.Add(e)
	}
	kb, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return kb
}

func TestCurrentFacts(t *testing.T) {
	kb := miniKB(t)
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
		for _, st := range kb.Current(kb.Entity(id), "P36") {
			got = append(got, st.Value.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("current capitals of %s: %v, want %v", id, got, want)
		}
	}
}

// TestFunnel says for every country of the mini dump why it gives no edit.
func TestFunnel(t *testing.T) {
	p := generate(t, miniKB(t), generator.Options{N: 100, Seed: 1, SetName: "mini"})
	got := map[string]string{}
	for _, r := range p.rejects {
		if r.Axis == generator.AxisEdit {
			got[r.EditCandidate] = r.Reason
		}
	}
	want := map[string]string{
		"Q3|P36": generator.RejectManyObjects, "Q4|P36": generator.RejectNotCurrent, "Q6|P36": generator.RejectNoValue,
		"Q7|P36": generator.RejectNoValue, "Q8|P36": generator.RejectDeprecatedRank, "Q9|P36": generator.RejectNotCurrent,
		"Q10|P36": generator.RejectNoLabel,
		// Two people cannot be told apart by a new spouse: the only other human is the true one.
		"Q200|P26": generator.RejectObjectAlreadyTrue,
	}
	for candidate, reason := range want {
		if got[candidate] != reason {
			t.Errorf("%s rejected as %q, want %q", candidate, got[candidate], reason)
		}
	}
	if len(got) != len(want) || len(p.edits) != 2 {
		t.Errorf("%d edits, rejects %v; want edits of Q1 and Q5 alone", len(p.edits), got)
	}
	aliases := map[string]string{}
	for _, r := range p.rejects {
		if r.Axis == "subject_replace" {
			aliases[r.Detail] = r.Reason
		}
	}
	for alias, reason := range map[string]string{
		"Old Torland": generator.RejectAliasOverlap, "TOR": generator.RejectAliasCode, "Торланд": generator.RejectAliasScript,
		"Sablen": generator.RejectAliasAmbiguous,
	} {
		if aliases[alias] != reason {
			t.Errorf("alias %s rejected as %q, want %q", alias, aliases[alias], reason)
		}
	}
}

func TestFactRows(t *testing.T) {
	rows := map[string]generator.FactRow{}
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
	if r := rows["Q5P36Q107"]; r.IsCurrent || r.Rank != generator.Normal {
		t.Errorf("capital of lower rank: %+v", r)
	}
}

func TestCheckCatalogue(t *testing.T) {
	b := generator.NewBuilder(miniCatalogue(t), generator.Date{Year: 2024, Month: 1, Day: 1}, "mini")
	for _, e := range miniDump(t) {
		if e.ID == "P36" {
			e.Label = "main town"
			e.Claims["P1696"][0].Value.ID = "P9"
		}
		b.Add(e)
	}
	kb, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(kb.CheckCatalogue(), "\n")
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
	_, err := generator.NewBuilder(miniCatalogue(t), generator.Date{Year: 2024}, "none").Build()
	if !errors.Is(err, generator.ErrEmpty) {
		t.Errorf("error %v, want ErrEmpty", err)
	}
}

func TestAsOfIsReadFromTheEntities(t *testing.T) {
	for day, want := range map[generator.Date]generator.Date{
		{}:                               generator.EndOfTime(),
		{Year: 2020, Month: 2, Day: 3}:   {Year: 2020, Month: 2, Day: 3},
		{Year: 2021, Month: 12, Day: 31}: {Year: 2021, Month: 12, Day: 31},
	} {
		b := generator.NewBuilder(miniCatalogue(t), generator.Date{}, "mini")
		for id, e := range miniDump(t) {
			if e.Modified = (generator.Date{}); id == "Q3" {
				e.Modified = day
			}
			b.Add(e)
		}
		kb, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		if kb.AsOf != want {
			t.Errorf("newest change %v gives the as-of date %v, want %v", day, kb.AsOf, want)
		}
	}
}
