package kb_test

import (
	"bytes"
	"slices"
	"testing"

	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

func generalFilter(t *testing.T) *kb.Filter {
	t.Helper()
	c, err := catalogue.Load(bytes.NewReader(catalogue.General()))
	if err != nil {
		t.Fatal(err)
	}
	return kb.NewFilter(c)
}

// TestLook looks at bytes that only resemble properties, too.
func TestLook(t *testing.T) {
	f := generalFilter(t)
	for row, want := range map[string]kb.Use{
		`{"claims":{"P36":[]}}`:               kb.Always,
		`{"claims":{"P31":[],"P19" : []}}`:    kb.Always,
		`{"type":"property","id":"P36"}`:      kb.Always,
		`{"claims":{"P31":[]}}`:               kb.IfNamed,
		`{"claims":{"P9999":[]}}`:             kb.Never,
		`{"claims":{"P361234567890123":[]}}`:  kb.Never,
		`{"label":"P36"}`:                     kb.Always, // it may be one
		`{"label":"see P36 for more","x":"P"`: kb.Never,
		`P36"`:                                kb.Never,
		`"P36`:                                kb.Never,
		`"P`:                                  kb.Never,
		``:                                    kb.Never,
	} {
		if got := f.Look([]byte(row)); got != want {
			t.Errorf("%s: %d, want %d", row, got, want)
		}
	}
}

// TestUseIsNeverMoreThanLook parses the mini dump with and without the filter:
// what the filter leaves out is of no use, and what it keeps is the same but for
// statements that nobody needs.
func TestUseIsNeverMoreThanLook(t *testing.T) {
	f := kb.NewFilter(miniCatalogue(t))
	uses := map[kb.Use]int{}
	for id, e := range miniDump(t) {
		use := f.Use(e)
		uses[use]++
		claims := `{"type":"` + e.Type + `","id":"` + id + `","claims":{`
		for p := range e.Claims.ByProperty() {
			claims += `"` + p + `":[{"mainsnak":{"snaktype":"somevalue"}}],`
		}
		row := []byte(claims + `"P9999":[{}]}}`)
		if look := f.Look(row); look < use {
			t.Errorf("%s: look says %d, use %d", id, look, use)
		}
		var kept []*kb.Entity
		for k, err := range kb.ParseRow(row, f) {
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, k)
		}
		if (len(kept) == 1) != (use != kb.Never) {
			t.Errorf("%s: %d entities kept at use %d", id, len(kept), use)
		}
		if len(kept) == 1 && len(kept[0].Claims.Of("P9999")) > 0 {
			t.Errorf("%s keeps statements of a property that nobody needs", id)
		}
	}
	for _, use := range []kb.Use{kb.Never, kb.IfNamed, kb.Always} {
		if uses[use] == 0 {
			t.Errorf("no entity of the mini dump is of use %d", use)
		}
	}
	if p := f.Properties(); !slices.IsSorted(p) || !slices.Contains(p, "P36") || slices.Contains(p, "P9999") {
		t.Errorf("properties %v", p)
	}
}

// TestFaults gives rows broken in every way, and some that only look so.
func TestFaults(t *testing.T) {
	item := `{"type":"item","id":"Q1","labels":{"en":{"value":"a \"b\" \u00e9 \\"}},"claims":{"P36":[]},"x":[1,-2.5e3,true,null,{"y":"}"}]}`
	for row, want := range map[string]kb.Fault{
		item: "", item + ",": "", "[" + item + ",": "", item + "]": "", " " + item + " , ": "",
		item[:len(item)-1]: kb.FaultSyntax, item[:40]: kb.FaultSyntax, item[:57]: kb.FaultSyntax, item + item: kb.FaultSyntax, item + "}": kb.FaultSyntax,
		"garbage": kb.FaultSyntax, `"text"`: kb.FaultSyntax, "12": kb.FaultSyntax, `{"id" "Q1"}`: kb.FaultSyntax, `{"id":"Q1"`: kb.FaultSyntax,
		`{"id":"Q1",}`: kb.FaultSyntax, `{"x":[}]}`: kb.FaultSyntax, `{"x":+}`: kb.FaultSyntax, `{"x":nil}`: kb.FaultSyntax, `{"x":"\`: kb.FaultSyntax,
		`{"x":"\ud8","type":"item","id":"\q"}`: kb.FaultSyntax,
		`{"type":"item"}`:                      kb.FaultNoID,
		`{}`:                                   kb.FaultNoID,
		`{"type":"item","id":"Q1","claims":{"P36":{}}}`:  kb.FaultClaims,
		`{"type":"item","id":"Q1","claims":{"P36":[7]}}`: kb.FaultClaims,
		`{"type":"item","id":"Q1","claims":[]}`:          "",
		`{"type":"lexeme","id":"L1"}`:                    "",
	} {
		var got kb.Fault
		for e, err := range kb.ParseRow([]byte(row), nil) {
			if err != nil {
				got = err.Fault
			} else if e.ID != "Q1" {
				t.Errorf("%s gives %+v", row, e)
			}
		}
		if got != want {
			t.Errorf("%s: fault %q, want %q", row, got, want)
		}
	}
	for e := range kb.ParseRow([]byte(item), nil) {
		if e.Label != `a "b" é \` {
			t.Errorf("label %q", e.Label)
		}
	}
	deep := []byte(`{"x":` + string(bytes.Repeat([]byte("["), 5000)) + string(bytes.Repeat([]byte("]"), 5000)) + `}`)
	for _, err := range kb.ParseRow(deep, nil) {
		if err == nil || err.Fault != kb.FaultSyntax {
			t.Errorf("5,000 brackets: %v", err)
		}
	}
}

// back is what the columns of a row that StatementText names hold.
func back(r kb.FactRow) kb.StatementText {
	return kb.StatementText{SubjectID: r.SubjectID, PropertyID: r.PropertyID, ObjectID: r.ObjectID, ObjectKind: r.ObjectKind, ObjectText: r.ObjectText,
		Rank: r.Rank, StartDate: r.StartDate, EndDate: r.EndDate, Ended: r.Ended, AboutIDs: r.AboutIDs}
}

// TestRowsGiveBackTheStatement writes statements as rows and reads them back.
func TestRowsGiveBackTheStatement(t *testing.T) {
	n := 0
	for _, e := range miniDump(t) {
		rows := kb.AppendFactRows(nil, e, kb.EndOfTime(), "mini")
		for _, want := range e.Claims {
			if !want.HasValue {
				continue
			}
			found := false
			for _, r := range rows {
				got, err := back(r).Statement()
				if err != nil {
					t.Fatal(err)
				}
				found = found || got.Property == want.Property && got.Value == want.Value && got.Rank == want.Rank &&
					got.Start == want.Start && got.End == want.End && got.Ended == want.Ended && slices.Equal(got.Items, want.Items)
			}
			if n++; !found {
				t.Errorf("%s: no row gives back %+v", e.ID, want)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d statements", n)
	}
	for _, d := range []kb.Date{{}, {Year: 1999}, {Year: -44, Month: 3}, {Year: 7, Month: 12, Day: 31}, {Year: 12000, Month: 1, Day: 2}} {
		st := kb.Statement{Property: "P36", Rank: kb.Normal, HasValue: true, Value: kb.Value{Kind: catalogue.Item, ID: "Q1"}, Start: d}
		rows := kb.AppendFactRows(nil, &kb.Entity{ID: "Q2", Claims: kb.Claims{st}}, kb.EndOfTime(), "")
		if got, err := back(rows[0]).Statement(); err != nil || got.Start != d {
			t.Errorf("%v comes back as %v, %v", d, got.Start, err)
		}
	}
	for _, bad := range []string{"x", "1999-", "1999-01-02-03", "-", "99999999999", "1999-400"} {
		if _, err := (kb.StatementText{Rank: "normal", StartDate: bad}).Statement(); err == nil {
			t.Errorf("%q is read as a date", bad)
		}
	}
	if st, err := (kb.StatementText{Rank: "normal", StartDate: "1999"}).Statement(); err != nil || st.Rank != kb.Normal {
		t.Errorf("a row of a rank and a date: %+v, %v", st, err)
	}
	if _, err := (kb.StatementText{Rank: "best"}).Statement(); err == nil {
		t.Error("\"best\" is read as a rank")
	}
}
