package metric

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/row"
)

// tokens is an ok row with c of n target tokens right.
func tokens(record, probe string, axis dataset.Axis, c, n int32) row.Result {
	acc := float64(c) / float64(n)
	return row.Result{EditID: record, ProbeID: record + probe, Axis: string(axis), Status: row.OK, ProtocolID: "tf/1", Scores: row.Scores{Tokens: &n, Correct: &c, TokenAcc: &acc, Exact: ptr(c == n), Success: ptr(c > 0)}, Alt: "other"}
}

func cell(t *testing.T, cells []Cell, axis dataset.Axis, id string) Cell {
	t.Helper()
	for _, c := range cells {
		if c.Axis == axis && c.Metric == id {
			return c
		}
	}
	t.Errorf("no cell %s %s", axis, id)
	return Cell{}
}

func TestMacroAndMicro(t *testing.T) {
	rows := []row.Result{
		tokens("a", "1", dataset.AxisGeneralization, 1, 1), // record a: (1 + 1/4) / 2 = 0.625
		tokens("a", "2", dataset.AxisGeneralization, 1, 4),
		tokens("b", "1", dataset.AxisGeneralization, 1, 5), // record b: 0.2
	}
	cells, err := Summarise(rows)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id   string
		mean float64
	}{
		{"tf_token_acc", (0.625 + 0.2) / 2},
		{"tf_token_acc_micro", 3.0 / 10},
		{"tf_token_acc_completed", (0.625 + 0.2) / 2},
		{"tf_exact", 0.25},
		{"success_prob", 1},
	} {
		got := cell(t, cells, dataset.AxisGeneralization, c.id)
		near(t, c.id, got.Mean, c.mean)
		if got.N != 2 || got.Failed != 0 || got.Protocol != "tf/1" {
			t.Errorf("%+v", got)
		}
	}
	for _, c := range cells {
		if strings.HasPrefix(c.Metric, "gen_") || strings.HasPrefix(c.Metric, "pre_") || strings.HasPrefix(c.Metric, "agree") || c.Axis == Overall {
			t.Errorf("cell without values: %+v", c)
		}
	}
}

// A failed edit counts as 0 on reliability and generalization and as nothing elsewhere.
func TestIntentionToTreat(t *testing.T) {
	failed := func(axis dataset.Axis, alt string) row.Result {
		return row.Result{EditID: "b", ProbeID: "b" + string(axis), Axis: string(axis), Status: row.Failed, Alt: alt, ProtocolID: "tf/1", Scores: row.Scores{Tokens: ptr(int32(3)), PreTokenAcc: ptr(1.0)}}
	}
	ok := tokens("a", "1", dataset.AxisReliability, 1, 1)
	ok.Scores.PreTokenAcc, ok.Scores.LogPMean = ptr(0.0), ptr(-2.0)
	near1 := tokens("a", "2", dataset.AxisNeighbourhood, 1, 1)
	near1.Scores.AgreeTok, near1.Scores.AgreeExact = ptr(1.0), ptr(true)
	cells, err := Summarise([]row.Result{ok, near1, tokens("a", "3", dataset.AxisOneHop, 1, 1), failed(dataset.AxisReliability, "other"), failed(dataset.AxisNeighbourhood, "other"), failed(dataset.AxisOneHop, "")})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		axis dataset.Axis
		id   string
		mean float64
		n    int64
	}{
		{dataset.AxisReliability, "tf_token_acc", 0.5, 2},
		{dataset.AxisReliability, "tf_token_acc_micro", 0.25, 2}, // 1 of 1 and 0 of 3 tokens
		{dataset.AxisReliability, "tf_token_acc_completed", 1, 1},
		{dataset.AxisReliability, "tf_exact", 0.5, 2},
		{dataset.AxisReliability, "success_prob", 0.5, 2},
		{dataset.AxisReliability, "logp_mean", -2, 1},
		{dataset.AxisReliability, "pre_tf_token_acc", 0.5, 2}, // known without the edit
		{dataset.AxisNeighbourhood, "agree_tok", 1, 1},
		{dataset.AxisNeighbourhood, "success_prob", 1, 1},
		{dataset.AxisOneHop, "tf_token_acc", 1, 1},
	} {
		got := cell(t, cells, c.axis, c.id)
		near(t, c.id, got.Mean, c.mean)
		if got.N != c.n || got.Failed != 1 {
			t.Errorf("%+v, want n %d and 1 failed", got, c.n)
		}
	}
	// Success by probability is not counted where there is nothing to compare with.
	cells, err = Summarise([]row.Result{failed(dataset.AxisReliability, "")})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "all failed", cell(t, cells, dataset.AxisReliability, "tf_token_acc").Mean, 0)
	for _, c := range cells {
		if c.Metric == "success_prob" || strings.HasPrefix(c.Metric, "gen_") {
			t.Errorf("unasked metric counted: %+v", c)
		}
	}
	// Generation was on for record a, so the failed record b counts.
	ok.Scores.GenEM = ptr(true)
	if cells, err = Summarise([]row.Result{ok, failed(dataset.AxisReliability, "other")}); err != nil {
		t.Fatal(err)
	}
	near(t, "gen_em", cell(t, cells, dataset.AxisReliability, "gen_em").Mean, 0.5)
}

func TestRowsWithoutNumbers(t *testing.T) {
	var rows []row.Result
	for _, s := range []row.Status{row.Unsupported, "skipped", "skipped_length"} {
		rows = append(rows, row.Result{EditID: "a", ProbeID: string(s), Axis: string(dataset.AxisReliability), Status: s}, row.Result{EditID: "a", ProbeID: "n" + string(s), Axis: string(dataset.AxisNeighbourhood), Status: s})
	}
	cells, err := Summarise(rows)
	if err != nil {
		t.Fatal(err)
	}
	want := []Cell{{Axis: dataset.AxisReliability, Metric: "tf_token_acc"}, {Axis: dataset.AxisNeighbourhood, Metric: "agree_tok"}}
	if !reflect.DeepEqual(cells, want) {
		t.Errorf("%+v, want %+v", cells, want)
	}
	if cells, err := Summarise(nil); err != nil || len(cells) != 0 {
		t.Errorf("no rows: %v, %v", cells, err)
	}
	rows = append(rows, tokens("b", "1", dataset.AxisReliability, 1, 2))
	if cells, err = Summarise(rows); err != nil {
		t.Fatal(err)
	}
	if c := cell(t, cells, dataset.AxisReliability, "tf_token_acc"); c.N != 1 || *c.Mean != 0.5 {
		t.Errorf("unsupported rows counted: %+v", c)
	}
}

func TestKnownOnly(t *testing.T) {
	asked := func(record string, agree float64, pre, acc *bool) row.Result {
		return row.Result{EditID: record, ProbeID: record, Axis: string(dataset.AxisOtherTasks), Status: row.OK, Scores: row.Scores{AgreeTok: &agree, AgreeExact: ptr(agree == 1), PreExact: pre, PreAcc: acc}}
	}
	cells, err := Summarise([]row.Result{asked("a", 1, ptr(true), nil), asked("b", .5, ptr(false), nil), asked("c", 0, nil, ptr(true)), asked("d", 1, nil, ptr(false))})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "agree_tok", cell(t, cells, dataset.AxisOtherTasks, "agree_tok").Mean, 2.5/4)
	near(t, "agree_tok_known", cell(t, cells, dataset.AxisOtherTasks, "agree_tok_known").Mean, 0.5)
	near(t, "agree_exact_known", cell(t, cells, dataset.AxisOtherTasks, "agree_exact_known").Mean, 0.5)
}

func TestFlipRates(t *testing.T) {
	var rows []row.Result
	for i, f := range []string{KeptRight, KeptRight, RightToWrong, WrongToOther} {
		rows = append(rows, row.Result{EditID: fmt.Sprint(i), ProbeID: "p", Axis: string(dataset.AxisNeighbourhood), Status: row.OK, Scores: row.Scores{Flip: &f}})
	}
	cells, err := Summarise(rows)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]float64{KeptRight: .5, RightToWrong: .25, WrongToOther: .25, KeptWrong: 0, WrongToRight: 0} {
		near(t, id, cell(t, cells, dataset.AxisNeighbourhood, id).Mean, want)
	}
}

// ES 1, PS 0.5, NS 0.8: S = 3 / (1/1 + 1/0.5 + 1/0.8) = 3 / 4.25.
func TestCounterFactScore(t *testing.T) {
	success := func(record, probe string, axis dataset.Axis, yes bool) row.Result {
		return row.Result{EditID: record, ProbeID: probe, Axis: string(axis), Status: row.OK, Alt: "other", ProtocolID: "x", Scores: row.Scores{Success: &yes}}
	}
	rows := []row.Result{
		success("a", "r", dataset.AxisReliability, true), success("b", "r", dataset.AxisReliability, true),
		success("a", "p0", dataset.AxisGeneralization, true), success("a", "p1", dataset.AxisGeneralization, false),
	}
	for i := range 5 {
		rows = append(rows, success("b", fmt.Sprint("n", i), dataset.AxisNeighbourhood, i > 0))
	}
	cells, err := Summarise(rows)
	if err != nil {
		t.Fatal(err)
	}
	got := cells[len(cells)-1]
	if got.Axis != Overall || got.Metric != "cf_score" || got.N != 1 || got.Protocol != "x" {
		t.Errorf("%+v", got)
	}
	near(t, "S", got.Mean, 3/4.25)
	for i := range rows[:2] {
		rows[i].Scores.Success = ptr(false)
	}
	if cells, err = Summarise(rows); err != nil {
		t.Fatal(err)
	}
	near(t, "S", cell(t, cells, Overall, "cf_score").Mean, 0)
}

func TestMixedProtocols(t *testing.T) {
	a, b := tokens("a", "1", dataset.AxisReliability, 1, 1), tokens("b", "1", dataset.AxisReliability, 1, 1)
	b.ProtocolID = "tf/2"
	_, err := Summarise([]row.Result{a, b})
	var mixed *MixedProtocolError
	if !errors.As(err, &mixed) || mixed.Rows["tf/1"] != 1 || mixed.Rows["tf/2"] != 1 || !strings.Contains(err.Error(), `"tf/1" (1 rows), "tf/2" (1 rows)`) {
		t.Errorf("%v", err)
	}
	// A row that was never asked has no protocol to differ.
	b.Status, b.ProtocolID = row.Failed, ""
	if _, err := Summarise([]row.Result{a, b}); err != nil {
		t.Error(err)
	}
}

func TestRowsRefused(t *testing.T) {
	a := tokens("a", "1", dataset.AxisReliability, 1, 1)
	if _, err := Summarise([]row.Result{a, a}); !errors.Is(err, ErrRepeated) {
		t.Errorf("one row twice: %v", err)
	}
	a.Scores.LogPMean = ptr(math.NaN())
	if _, err := Summarise([]row.Result{a}); err == nil || !strings.Contains(err.Error(), "logp_mean is NaN") {
		t.Errorf("NaN: %v", err)
	}
	a.Axis = "fluency"
	if _, err := Summarise([]row.Result{a}); err == nil || !strings.Contains(err.Error(), `unknown axis "fluency"`) {
		t.Errorf("axis: %v", err)
	}
}

// Shards arrive in any order; the means must not depend on it by a single bit.
func TestOrderDoesNotMatter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var rows []row.Result
	for i := range 200 {
		for j := range 3 {
			one := tokens(fmt.Sprint("r", i), fmt.Sprint(j), dataset.AxisNeighbourhood, int32(r.IntN(7)), 7)
			one.AgreeTok, one.KL = ptr(r.Float64()), ptr(math.Exp(20*r.Float64()))
			rows = append(rows, one)
		}
	}
	first, err := Summarise(rows)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		again, err := Summarise(rows)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(first, again) {
			t.Fatal("means depend on the order of rows")
		}
	}
}

func TestValuesAreWhatSummariseAverages(t *testing.T) {
	rows := []row.Result{tokens("b", "1", dataset.AxisReliability, 1, 5), tokens("a", "1", dataset.AxisReliability, 1, 1), tokens("a", "2", dataset.AxisReliability, 1, 4)}
	rows[0].Subject = "subject"
	got, err := Values(rows, dataset.AxisReliability, "tf_token_acc")
	if err != nil {
		t.Fatal(err)
	}
	if want := []Sample{{"a", "a", 0.625, 1}, {"b", "subject", 0.2, 1}}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got, err = Values(rows, dataset.AxisReliability, "tf_token_acc_micro"); err != nil || len(got) != 2 || got[0].Weight != 5 || math.Abs(got[0].Value-0.4) > closeTo {
		t.Errorf("%v, %v", got, err)
	}
	for _, id := range []string{"nope", "agree_tok", "tf_exact_micro", "cf_score"} {
		if _, err := Values(rows, dataset.AxisReliability, id); err == nil {
			t.Errorf("%s on reliability is accepted", id)
		}
	}
	if Mean(nil) != nil {
		t.Error("the mean of nothing is a number")
	}
}

// Neumaier's own example: plain summation gives 0.
func TestSum(t *testing.T) {
	if got := sum([]float64{1, 1e100, 1, -1e100}); got != 2 {
		t.Errorf("sum is %v, want 2", got)
	}
}

// Portability under the condition that the edit took: of the records whose
// reliability probes are all exactly right.
func TestEditedOnly(t *testing.T) {
	asked := func(record, probe string, axis dataset.Axis, exact bool) row.Result {
		return row.Result{EditID: record, ProbeID: probe, Axis: string(axis), Status: row.OK, Scores: row.Scores{Exact: &exact}}
	}
	rows := []row.Result{
		asked("took", "r", dataset.AxisReliability, true), asked("took", "h", dataset.AxisOneHop, true), asked("took", "i", dataset.AxisOneHop, false),
		asked("half", "r", dataset.AxisReliability, true), asked("half", "s", dataset.AxisReliability, false), asked("half", "h", dataset.AxisOneHop, true),
		asked("not", "r", dataset.AxisReliability, false), asked("not", "h", dataset.AxisOneHop, false),
		{EditID: "failed", ProbeID: "r", Axis: string(dataset.AxisReliability), Status: row.Failed}, asked("failed", "h", dataset.AxisOneHop, true),
		asked("unasked", "h", dataset.AxisOneHop, true),
	}
	cells, err := Summarise(rows)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "tf_exact", cell(t, cells, dataset.AxisOneHop, "tf_exact").Mean, 3.5/5)
	got := cell(t, cells, dataset.AxisOneHop, "tf_exact_edited")
	near(t, "tf_exact_edited", got.Mean, 0.5)
	if got.N != 1 {
		t.Errorf("of %d records, want the one whose edit took", got.N)
	}
	samples, err := Values(rows, dataset.AxisOneHop, "tf_exact_edited")
	if err != nil || len(samples) != 1 || samples[0].Record != "took" {
		t.Errorf("%+v, %v", samples, err)
	}
	for _, c := range cells {
		if c.Axis == dataset.AxisReliability && c.Metric == "tf_exact_edited" {
			t.Error("reliability is conditioned on itself")
		}
	}
}

// What the unedited model cannot do either counts against no method.
func TestFaultsOfTheModelCountForNothing(t *testing.T) {
	ok := tokens("a", "1", dataset.AxisReliability, 1, 1)
	for fault, want := range map[row.Fault]struct {
		mean   float64
		n, bad int64
	}{row.FaultModel: {1, 1, 0}, row.FaultMethod: {0.5, 2, 1}} {
		failed := row.Result{EditID: "b", ProbeID: "b1", Axis: ok.Axis, Status: row.Failed, Fault: fault, ProtocolID: ok.ProtocolID}
		cells, err := Summarise([]row.Result{ok, failed})
		if err != nil {
			t.Fatal(err)
		}
		got := cell(t, cells, dataset.AxisReliability, "tf_token_acc")
		near(t, string(fault), got.Mean, want.mean)
		if got.N != want.n || got.Failed != want.bad {
			t.Errorf("fault of the %s: %+v", fault, got)
		}
	}
}
