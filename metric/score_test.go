package metric

import (
	"errors"
	"math"
	"reflect"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/row"
)

// close allows for the rounding of a few float64 operations.
const closeTo = 1e-12

func near(t *testing.T, what string, got *float64, want float64) {
	t.Helper()
	if got == nil || math.Abs(*got-want) > closeTo {
		t.Errorf("%s is %v, want %v", what, show(got), want)
	}
}

func show(p any) any {
	v := reflect.ValueOf(p)
	if v.IsNil() {
		return "nil"
	}
	return v.Elem().Interface()
}

func is[T comparable](t *testing.T, what string, got *T, want T) {
	t.Helper()
	if got == nil || *got != want {
		t.Errorf("%s is %v, want %v", what, show(got), want)
	}
}

// absent checks that exactly the named columns of s are nil.
func absent(t *testing.T, s row.Scores, names ...string) {
	t.Helper()
	want := map[string]bool{}
	for _, n := range names {
		want[n] = true
	}
	v := reflect.ValueOf(s)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if f := v.Field(i); f.Kind() != reflect.Bool && f.IsNil() != want[name] {
			t.Errorf("column %s: nil is %v", name, f.IsNil())
		}
	}
}

var rewrite = dataset.Probe{ID: "p", Axis: dataset.AxisReliability, Prompt: "The ferry sails to", Format: dataset.Cloze, AnswerMode: dataset.Single,
	Answers: []string{"Port Ellen", "Ellen"}, Contrast: "Mull", ChoiceLabel: -1}

func logs(p ...float64) []float64 {
	out := make([]float64, len(p))
	for i, v := range p {
		out[i] = math.Log(v)
	}
	return out
}

func before() *row.Baseline {
	return &row.Baseline{TargetIDs: []int32{4, 5, 6, 7}, ArgmaxIDs: []int32{9, 5, 6, 8}, LogPs: logs(.1, .5, .5, .1), LogPAltMean: ptr(math.Log(.5))}
}

func after() ask.Answer {
	return ask.Answer{
		Targets: []ask.Continuation{
			{IDs: []int64{4, 5, 6, 7}, Argmax: []int64{4, 5, 6, 8}, LogProbs: logs(.8, .8, .4, .1), FirstRank: 0, MinGap: .25, BoundaryRepair: true},
			{IDs: []int64{3}, Argmax: []int64{3}, LogProbs: logs(.2)},
		},
		KL: ptr(.75), Text: " Port Ellen.", StoppedBy: "newline",
	}
}

func TestScoreTarget(t *testing.T) {
	s, err := Score(rewrite, before(), after())
	if err != nil {
		t.Fatal(err)
	}
	absent(t, s, "ExactEOS", "Choice", "ChoiceNorm", "Acc", "AccNorm", "PreChoice", "PreAcc")
	is(t, "Tokens", s.Tokens, 4)
	is(t, "Correct", s.Correct, 3)
	near(t, "TokenAcc", s.TokenAcc, .75)
	is(t, "Exact", s.Exact, false)
	near(t, "LogPSum", s.LogPSum, math.Log(.8*.8*.4*.1))
	near(t, "LogPMean", s.LogPMean, math.Log(.8*.8*.4*.1)/4)
	near(t, "LogPAltMean", s.LogPAltMean, math.Log(.2))
	is(t, "Success", s.Success, true)                              // .4 per token against .2
	near(t, "ProbDiff", s.ProbDiff, math.Pow(.8*.8*.4*.1, .25)-.2) // the geometric mean is .4
	near(t, "ProbDiff", s.ProbDiff, .2)                            // .0256^(1/4) = .4
	near(t, "PreLogPMean", s.PreLogPMean, math.Log(.1*.5*.5*.1)/4) // .0025^(1/4) = .2236
	is(t, "PreSuccess", s.PreSuccess, false)                       // against .5
	near(t, "PreTokenAcc", s.PreTokenAcc, .5)
	is(t, "PreExact", s.PreExact, false)
	near(t, "PreLogPAltMean", s.PreLogPAltMean, math.Log(.5))
	near(t, "AgreeTok", s.AgreeTok, .75) // 9 became 4, the rest stayed
	is(t, "AgreeExact", s.AgreeExact, false)
	is(t, "Flip", s.Flip, WrongToOther)
	near(t, "KL", s.KL, .75)
	is(t, "FirstRank", s.FirstRank, 0)
	near(t, "MinGap", s.MinGap, .25)
	is(t, "GenText", s.GenText, " Port Ellen.")
	is(t, "GenStop", s.GenStop, "newline")
	is(t, "GenEM", s.GenEM, true)
	is(t, "GenContains", s.GenContains, true)
	if !s.Repaired || !reflect.DeepEqual(s.ArgmaxIDs, []int32{4, 5, 6, 8}) || !reflect.DeepEqual(s.PreArgmaxIDs, []int32{9, 5, 6, 8}) {
		t.Errorf("Repaired %v, ArgmaxIDs %v, PreArgmaxIDs %v", s.Repaired, s.ArgmaxIDs, s.PreArgmaxIDs)
	}
}

// Of a target with its end: exact, and an end token behind it.
func TestEnd(t *testing.T) {
	for _, c := range []struct {
		right, ends, want bool
	}{{true, true, true}, {true, false, false}, {false, true, false}} {
		a := after()
		a.Targets[0].EOSLogProb, a.Targets[0].EOSArgmax = ptr(math.Log(.5)), c.ends
		if c.right {
			a.Targets[0].Argmax = a.Targets[0].IDs
		}
		s, err := Score(rewrite, nil, a)
		if err != nil {
			t.Fatal(err)
		}
		is(t, "ExactEOS", s.ExactEOS, c.want)
	}
}

func TestTieIsNoSuccess(t *testing.T) {
	a := after()
	a.Targets[1].LogProbs = []float64{-1}
	a.Targets[0].LogProbs = []float64{-1, -1, -1, -1}
	s, err := Score(rewrite, nil, a)
	if err != nil {
		t.Fatal(err)
	}
	is(t, "Success", s.Success, false)
	near(t, "ProbDiff", s.ProbDiff, 0)
}

func TestScoreWithoutBaselineOrText(t *testing.T) {
	a := after()
	a.StoppedBy, a.KL = "", nil
	s, err := Score(rewrite, nil, a)
	if err != nil {
		t.Fatal(err)
	}
	absent(t, s, "ExactEOS", "Choice", "ChoiceNorm", "Acc", "AccNorm", "PreChoice", "PreAcc", "GenText", "GenStop", "GenEM", "GenContains", "PreArgmaxIDs", "PreTokenAcc",
		"PreExact", "PreLogPMean", "PreLogPAltMean", "PreSuccess", "AgreeTok", "AgreeExact", "KL", "Flip")
}

func TestScoreTextAlone(t *testing.T) {
	s, err := Score(rewrite, before(), ask.Answer{Text: "to Mull", StoppedBy: "length"})
	if err != nil {
		t.Fatal(err)
	}
	is(t, "GenEM", s.GenEM, false)
	is(t, "GenContains", s.GenContains, false)
	if s.TokenAcc != nil || s.Tokens != nil || s.AgreeTok != nil || s.PreTokenAcc == nil {
		t.Errorf("a text without targets scored %+v", s)
	}
}

func TestFlips(t *testing.T) {
	right := []int32{1, 2}
	for _, c := range []struct {
		pre, post []int32
		want      string
	}{
		{right, right, KeptRight},
		{right, []int32{1, 3}, RightToWrong},
		{[]int32{3, 2}, right, WrongToRight},
		{[]int32{3, 2}, []int32{3, 2}, KeptWrong},
		{[]int32{3, 2}, []int32{3, 4}, WrongToOther},
	} {
		p := dataset.Probe{ID: "p", Format: dataset.Cloze, Answers: []string{"x"}}
		post := ask.Answer{Targets: []ask.Continuation{{IDs: []int64{1, 2}, Argmax: []int64{int64(c.post[0]), int64(c.post[1])}, LogProbs: []float64{-1, -1}}}}
		s, err := Score(p, &row.Baseline{TargetIDs: right, ArgmaxIDs: c.pre, LogPs: []float64{-1, -1}}, post)
		if err != nil {
			t.Fatal(err)
		}
		is(t, "Flip", s.Flip, c.want)
		is(t, "AgreeExact", s.AgreeExact, reflect.DeepEqual(c.pre, c.post))
	}
}

func TestUnchangedHasNoRightAnswer(t *testing.T) {
	p := rewrite
	p.AnswerMode = dataset.Unchanged
	s, err := Score(p, before(), after())
	if err != nil {
		t.Fatal(err)
	}
	near(t, "AgreeTok", s.AgreeTok, .75)
	near(t, "KL", s.KL, .75)
	absent(t, s, "ExactEOS", "Choice", "ChoiceNorm", "Acc", "AccNorm", "PreChoice", "PreAcc", "Correct", "TokenAcc", "Exact", "LogPAltMean", "Success", "ProbDiff",
		"GenEM", "GenContains", "PreTokenAcc", "PreExact", "PreSuccess", "Flip")
}

// The choices are given so that the sum and the sum per byte disagree:
// "no" has -3 in all, -1.5 per byte; "absolutely" -4 in all, -0.4 per byte. The
// third is written with 2-byte letters: -2.4 per 2 letters is -0.6 per byte.
func TestScoreChoice(t *testing.T) {
	p := dataset.Probe{ID: "p", Format: dataset.Choice, AnswerMode: dataset.OneChoice, Answers: []string{"absolutely"}, Choices: []string{"no", "absolutely", "éé"}, ChoiceLabel: 1}
	if q := Question(p); !reflect.DeepEqual(q.Targets, p.Choices) {
		t.Errorf("asks %q", q.Targets)
	}
	answer := func(a, b, c float64) ask.Answer {
		one := func(v float64) ask.Continuation {
			return ask.Continuation{IDs: []int64{1, 2}, Argmax: []int64{1, 1}, LogProbs: []float64{v / 4, v * 3 / 4}}
		}
		return ask.Answer{Targets: []ask.Continuation{one(a), one(b), one(c)}}
	}
	pre, err := TakeBaseline(p, answer(-3, -2, -9))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(pre, row.Baseline{ChoiceLogP: []float64{-3, -2, -9}}) {
		t.Errorf("baseline is %+v", pre)
	}
	s, err := Score(p, &pre, answer(-3, -4, -2.4))
	if err != nil {
		t.Fatal(err)
	}
	is(t, "Choice", s.Choice, 2)
	is(t, "ChoiceNorm", s.ChoiceNorm, 1)
	is(t, "Acc", s.Acc, false)
	is(t, "AccNorm", s.AccNorm, true)
	is(t, "PreChoice", s.PreChoice, 1)
	is(t, "PreAcc", s.PreAcc, true)
	near(t, "AgreeTok", s.AgreeTok, 0)
	is(t, "AgreeExact", s.AgreeExact, false)
	is(t, "Flip", s.Flip, RightToWrong)
	if s.TokenAcc != nil || s.Tokens != nil || s.Success != nil {
		t.Errorf("a choice has target columns: %+v", s)
	}
	// Ties go to the first choice.
	if s, err = Score(p, nil, answer(-2, -2, -2)); err != nil || *s.Choice != 0 {
		t.Errorf("tie: %v, %v", s.Choice, err)
	}
	if _, err := Score(p, &row.Baseline{ChoiceLogP: []float64{1}}, answer(-1, -2, -3)); !errors.Is(err, ErrUnfit) {
		t.Errorf("baseline of other choices: %v", err)
	}
	bad := p
	bad.ChoiceLabel = 3
	if _, err := Score(bad, nil, answer(-1, -2, -3)); !errors.Is(err, ErrUnfit) {
		t.Errorf("label outside the choices: %v", err)
	}
}

func TestTakeBaseline(t *testing.T) {
	b, err := TakeBaseline(rewrite, after())
	if err != nil {
		t.Fatal(err)
	}
	want := row.Baseline{TargetIDs: []int32{4, 5, 6, 7}, ArgmaxIDs: []int32{4, 5, 6, 8}, LogPs: logs(.8, .8, .4, .1), LogPAltMean: ptr(math.Log(.2)),
		FirstRank: ptr(int32(0)), MinGap: ptr(.25), Repaired: true}
	if !reflect.DeepEqual(b, want) {
		t.Errorf("baseline is %+v, want %+v", b, want)
	}
	// The unedited model against itself: nothing changed.
	s, err := Score(rewrite, &b, after())
	if err != nil {
		t.Fatal(err)
	}
	near(t, "AgreeTok", s.AgreeTok, 1)
	is(t, "Flip", s.Flip, KeptWrong)
	near(t, "PreTokenAcc", s.PreTokenAcc, *s.TokenAcc)
	near(t, "PreLogPMean", s.PreLogPMean, *s.LogPMean)
}

func TestQuestion(t *testing.T) {
	p := rewrite
	if q := Question(p); q.Prompt != p.Prompt || q.ID != "p" || !reflect.DeepEqual(q.Targets, []string{"Port Ellen", "Mull"}) {
		t.Errorf("%+v", q)
	}
	p.Contrast = ""
	if q := Question(p); !reflect.DeepEqual(q.Targets, []string{"Port Ellen"}) {
		t.Errorf("%+v", q)
	}
	p.Answers, p.AnswerSets = nil, [][]string{{"Mull", "Muile"}, {"Iona"}}
	if q := Question(p); !reflect.DeepEqual(q.Targets, []string{"Mull"}) {
		t.Errorf("%+v", q)
	}
	s, err := Score(p, nil, ask.Answer{Text: "Iona", StoppedBy: "eos"})
	if err != nil {
		t.Fatal(err)
	}
	is(t, "GenEM", s.GenEM, true)
}

func TestScoreRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*row.Baseline, *ask.Answer)
		want error
	}{
		{"failed answer", func(_ *row.Baseline, a *ask.Answer) { *a = ask.Answer{Err: ask.ErrTooLong} }, ask.ErrTooLong},
		{"no targets", func(_ *row.Baseline, a *ask.Answer) { *a = ask.Answer{} }, ErrUnfit},
		{"contrast not asked", func(_ *row.Baseline, a *ask.Answer) { a.Targets = a.Targets[:1] }, ErrUnfit},
		{"empty target", func(_ *row.Baseline, a *ask.Answer) { a.Targets[1] = ask.Continuation{} }, ask.ErrNoTarget},
		{"fewer argmax", func(_ *row.Baseline, a *ask.Answer) { a.Targets[0].Argmax = a.Targets[0].Argmax[:2] }, ErrUnfit},
		{"NaN", func(_ *row.Baseline, a *ask.Answer) { a.Targets[0].LogProbs[1] = math.NaN() }, ask.ErrNotFinite},
		{"infinite", func(_ *row.Baseline, a *ask.Answer) { a.Targets[1].LogProbs[0] = math.Inf(-1) }, ask.ErrNotFinite},
		{"NaN divergence", func(_ *row.Baseline, a *ask.Answer) { *a.KL = math.NaN() }, ask.ErrNotFinite},
		{"other tokens", func(b *row.Baseline, _ *ask.Answer) { b.TargetIDs[0] = 44 }, ErrOtherTokens},
		{"fewer tokens", func(b *row.Baseline, _ *ask.Answer) {
			b.TargetIDs, b.ArgmaxIDs, b.LogPs = b.TargetIDs[:1], b.ArgmaxIDs[:1], b.LogPs[:1]
		}, ErrOtherTokens},
		{"lame baseline", func(b *row.Baseline, _ *ask.Answer) { b.LogPs = nil }, ErrUnfit},
	} {
		b, a := before(), after()
		c.edit(b, &a)
		if s, err := Score(rewrite, b, a); !errors.Is(err, c.want) || !reflect.DeepEqual(s, row.Scores{}) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := Score(dataset.Probe{ID: "p"}, nil, ask.Answer{}); !errors.Is(err, ask.ErrNoTarget) {
		t.Errorf("probe without answers: %v", err)
	}
}

func TestTexts(t *testing.T) {
	for _, c := range []struct {
		text, answer   string
		same, contains bool
	}{
		{"Paris", "paris", true, true},
		{" The  Paris. ", "Paris", true, true},
		{"It is Paris, France", "Paris", false, true},
		{"Paris,France", "France", false, true},
		{"Parisian", "Paris", false, false},
		{"St. Louis", "St Louis", true, true},
		{"the U.S.", "US", true, false}, // letters apart are not the word "us"
		{"us", "U.S.", true, false},
		{"A", "a", true, true},
		{"blood type A", "A", false, true},
		{"the Hague", "The Hague", true, true},
		{"blood type B", "A", false, false},
		{"Hague", "The Hague", true, true},
		{"", "Paris", false, false},
		{"Paris", "", false, false},
		{"...", "!", false, false},
		{"...", "...", true, false},
		{"New York City", "York City", false, true},
		{"New York or City", "York City", false, false},
		{"東京都", "東京", false, true},
		{"Åse é", "åse É", true, true},
		{"1907", "907", false, false},
	} {
		if got := sameText(c.text, c.answer); got != c.same {
			t.Errorf("%q equals %q: %v", c.text, c.answer, got)
		}
		if got := containsText(c.text, c.answer); got != c.contains {
			t.Errorf("%q contains %q: %v", c.text, c.answer, got)
		}
	}
}
