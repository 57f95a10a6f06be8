package generator_test

import (
	"errors"
	"os"
	"testing"

	"editpipe/generator"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
)

// miniKB is the small knowledge base that package kb is tested with: one country
// for every way in which a fact can be unusable.
func miniKB(t *testing.T) *kb.Base {
	t.Helper()
	relations, err := os.Open("../testdata/kb/mini.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer relations.Close()
	c, err := catalogue.Load(relations)
	if err != nil {
		t.Fatal(err)
	}
	dump, err := os.Open("../testdata/kb/mini.json")
	if err != nil {
		t.Fatal(err)
	}
	defer dump.Close()
	b := kb.NewBuilder(c, kb.Date{Year: 2024, Month: 1, Day: 1}, "mini")
	for e, err := range kb.Entities(dump) {
		var broken *kb.LineError
		if errors.As(err, &broken) {
			continue // the dump has two such lines, for the tests of its reader
		}
		if err != nil {
			t.Fatal(err)
		}
		b.Add(e)
	}
	base, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return base
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
