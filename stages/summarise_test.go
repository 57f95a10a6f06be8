package stages

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/locate"
	"editpipe/models/arch"
	"editpipe/models/run"
	"editpipe/row"
)

// asks makes the rows that chains of so many edits have when they are asked as
// when says: accuracies are 1 in the last place and 0 before.
func asks(t *testing.T, setting, when string, chains ...int) []row.Result {
	t.Helper()
	set, err := edit.ParseSchedule(setting)
	if err != nil {
		t.Fatal(err)
	}
	w, err := ParseWhen(when)
	if err != nil {
		t.Fatal(err)
	}
	var rows []row.Result
	for c, n := range chains {
		for _, step := range chunks(n, max(1, set.Step)) {
			from, to := w.due(step.lo, step.hi, n)
			for i := from; i < to; i++ {
				acc := 0.0
				if step.hi == n {
					acc = 1
				}
				id := fmt.Sprintf("%d/%d", c, i)
				rows = append(rows, row.Result{
					Method: "m", Setting: setting, ProtocolID: "p", EditID: id, ProbeID: id, Subject: id, EditIndex: int32(i), EvaluatedAfter: int32(step.hi),
					Axis: string(dataset.AxisReliability), Status: row.OK, Scores: row.Scores{TokenAcc: &acc, Tokens: new(int32(1)), Correct: new(int32(acc))},
				})
			}
		}
	}
	return rows
}

// TestCheckpointsOfChains: each time at which chains were asked is summarised
// apart, by what the rows say, and what was not asked is not there.
func TestCheckpointsOfChains(t *testing.T) {
	for _, c := range []struct {
		setting, when string
		chains        []int
		want          map[string]string // mean and records by time
	}{
		{"sequential", "final", []int{6}, map[string]string{"final": "1 of 6"}},
		{"sequential", "final", []int{1}, map[string]string{"final": "1 of 1"}},
		{"sequential:4", "final", []int{4, 2}, map[string]string{"final": "1 of 6"}},
		{"sequential:4", "immediate", []int{4, 1}, map[string]string{"immediate": "0.4 of 5"}},
		{"sequential:4", "immediate,final", []int{4, 2}, map[string]string{"final": "1 of 6", "immediate": "0.333 of 6"}},
		{"sequential:6", "every:2", []int{6}, map[string]string{"final": "1 of 6", "after:2": "0 of 2", "after:4": "0 of 4"}},
		{"sequential:6", "immediate,every:4,final", []int{6, 5}, map[string]string{"final": "1 of 11", "immediate": "0.182 of 11", "after:4": "0 of 8"}},
		{"sequential:6/2", "every:2", []int{6}, map[string]string{"final": "1 of 6", "immediate": "0.333 of 6", "after:4": "0 of 4"}},
		{"sequential:6/3", "every:4", []int{6}, map[string]string{"final": "1 of 6"}},
		{"sequential:6/4", "immediate,final", []int{6}, map[string]string{"final": "1 of 6", "immediate": "0.333 of 6"}},
	} {
		summary, err := Summarise(asks(t, c.setting, c.when, c.chains...))
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		var order []string
		for _, s := range summary {
			if s.Metric == "tf_token_acc" {
				_, at, _ := strings.Cut(s.ProtocolID, ";eval-at=")
				got[at] = fmt.Sprintf("%.3g of %d", *s.Mean, s.N)
				order = append(order, at)
			}
		}
		if !maps.Equal(got, c.want) {
			t.Errorf("%s at %s of %v: %v, want %v", c.setting, c.when, c.chains, got, c.want)
		}
		if i := slices.Index(order, "final"); i > 0 {
			t.Errorf("%s at %s: %v does not begin with what counts", c.setting, c.when, order)
		}
	}
}

// TestFaults: a row says whose fault it is that it has no numbers.
func TestFaults(t *testing.T) {
	made := func(err error) error { return edit.Wrap("rome", "e", err) }
	for _, c := range []struct {
		err    error
		status row.Status
		fault  row.Fault
	}{
		{nil, row.OK, ""},
		{errNothing, row.Skipped, row.FaultData},
		{fmt.Errorf("%w: e2", errSuperseded), row.Skipped, row.FaultData},
		{errNotOnTop, row.Skipped, row.FaultSetting},
		{made(fmt.Errorf("%w batch:9", edit.ErrSchedule)), row.Unsupported, row.FaultSetting},
		{made(edit.ErrUnsupported), row.Unsupported, row.FaultMethod},
		{made(edit.Refused(arch.ErrNoGradient)), row.Unsupported, row.FaultModel},
		{fmt.Errorf("%w: 70 tokens", ask.ErrTooLong), row.SkippedLength, row.FaultData},
		{made(ask.ErrTooLong), row.SkippedLength, row.FaultData},
		{ask.ErrNoPrompt, row.Failed, row.FaultData},
		{made(locate.ErrSubject), row.Failed, row.FaultData},
		{made(errors.New("no value was found")), row.Failed, row.FaultMethod},
		{made(run.ErrRun), row.Failed, row.FaultModel},
		{run.ErrRun, row.Failed, row.FaultModel},
		{ask.ErrNotFinite, row.Failed, row.FaultMethod}, // of an edited model; see TestFaultOfTheModelItself
		{&recalled{row.Failed, row.FaultModel, "as it was"}, row.Failed, row.FaultModel},
	} {
		if got := statusOf(c.err); got.status != c.status || got.fault != c.fault || (got.detail == "") != (c.err == nil) {
			t.Errorf("%v: %+v, want %s of %s", c.err, got, c.status, c.fault)
		}
	}
}

// TestFaultOfTheModelItself: what the unedited model cannot be asked either is the
// model's fault, and counts against no method; what an edit broke does.
func TestFaultOfTheModelItself(t *testing.T) {
	q := question{edit: dataset.Edit{ID: "e", Subject: "s"}, probe: dataset.Probe{ID: "p", Axis: dataset.AxisReliability, Answers: []string{"a"}}}
	base := asked{question: q, err: ask.ErrNotFinite}.baseRow("p")
	if base.Status != row.Failed || base.Fault != row.FaultModel {
		t.Errorf("%+v", base)
	}
	var rows []row.Result
	for id, pre := range map[string]row.Base{"e1": base, "e2": {Status: row.OK}} {
		q.edit.ID = dataset.EditID(id)
		r := asked{question: q, err: ask.ErrNotFinite}.result(pre)
		r.Setting = string(edit.Single)
		rows = append(rows, r)
		if want := map[bool]row.Fault{true: row.FaultModel, false: row.FaultMethod}[id == "e1"]; r.Fault != want {
			t.Errorf("%s: fault %q, want %q", id, r.Fault, want)
		}
	}
	summary, err := Summarise(rows)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range summary {
		if s.Metric == "tf_token_acc" && (s.N != 1 || *s.Mean != 0) {
			t.Errorf("%+v", s)
		}
	}
}
