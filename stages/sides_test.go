package stages

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/models/answer"
	"editpipe/models/patch"
)

// TestAskSides asks beside a patch that does something, and beside one that does
// nothing.
func TestAskSides(t *testing.T) {
	lm, ctx := tiny(t), context.Background()
	e := village(1).Records[0].Edit
	config, err := nudge().Configure(lm.Info(), map[string]string{"size": "30"})
	if err != nil {
		t.Fatal(err)
	}
	editor, err := nudge().Open(ctx, config, edit.Env{LM: lm})
	if err != nil {
		t.Fatal(err)
	}
	made, err := editor.Make(ctx, nil, [][]dataset.Edit{{e}})
	if err != nil || made[0].Err != nil {
		t.Fatal(err, made)
	}
	p := made[0].Patch
	const further = "The mayor"
	sides, err := AskSides(ctx, lm, p, e, []string{further}, 4)
	if err != nil || len(sides) != 2 {
		t.Fatalf("%+v, %v", sides, err)
	}
	q := ask.Query{Prompt: e.Prompt, Targets: []string{e.Target}}
	scores, err := answer.Score(ctx, lm, []answer.Row{{Query: q}, {Query: q, Patch: p}})
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range []*float64{sides[0].LogPBefore, sides[0].LogPAfter} {
		want := 0.0
		for _, p := range scores[i].Targets[0].LogProbs {
			want += p
		}
		if got == nil || math.Abs(*got-want) > 1e-6 {
			t.Errorf("log-probability %v, want %g", got, want)
		}
	}
	if *sides[0].LogPBefore == *sides[0].LogPAfter {
		t.Error("the patch changes nothing: the test compares nothing")
	}
	if sides[0].Target != e.Target || sides[1].Prompt != further || sides[1].Target != "" || sides[1].LogPAfter != nil {
		t.Errorf("%+v", sides)
	}
	same, err := AskSides(ctx, lm, &patch.Patch{}, e, []string{further}, 4)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range same {
		if s.AnswerBefore != s.AnswerAfter || s.AnswerBefore != sides[i].AnswerBefore {
			t.Errorf("an empty patch: %+v", s)
		}
	}
	long := strings.Repeat("mayor ", 200)
	if _, err := AskSides(ctx, lm, p, e, []string{long}, 4); !errors.Is(err, ask.ErrTooLong) || !strings.Contains(err.Error(), long) {
		t.Errorf("a prompt that is too long: %v", err)
	}
}
