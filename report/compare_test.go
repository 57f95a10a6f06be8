package report

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/row"
	"editpipe/store"
)

// answered makes a run folder whose rows are what f makes of three answers.
func answered(t *testing.T, f func(rows []row.Result) []row.Result) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	run, err := store.CreateRun(dir, store.Manifest{RunID: "r"})
	if err != nil {
		t.Fatal(err)
	}
	var rows []row.Result
	for i, probe := range []string{"p1", "p2", "p3"} {
		rows = append(rows, row.Result{Method: "rome", Setting: "single", EditID: "e", ProbeID: probe, Status: row.OK,
			Scores: row.Scores{LogPMean: new(-float64(i) - 1), MinGap: new(0.5), ArgmaxIDs: []int32{7, 8}}})
	}
	if err := store.Write(run.ShardPath(store.TableResults, "u"), f(rows), nil); err != nil {
		t.Fatal(err)
	}
	return dir
}

func same(rows []row.Result) []row.Result { return rows }

// TestCompare: what differs is counted by kind and named, and nothing that
// differs passes for agreement.
func TestCompare(t *testing.T) {
	const tolerance = 1e-3
	a := answered(t, same)
	for name, c := range map[string]struct {
		change func([]row.Result) []row.Result
		agree  bool
		check  func(*Comparison) bool
		says   string
	}{
		"equal": {same, true, func(c *Comparison) bool { return c.Rows == 3 && c.Columns[2].N == 3 && c.Columns[2].Largest == 0 }, "rows in both"},
		"within": {func(r []row.Result) []row.Result { *r[1].LogPMean += tolerance / 2; return r }, true,
			func(c *Comparison) bool { return c.Columns[2].Largest > 0 && c.Columns[2].Beyond == 0 }, "logp_mean"},
		"beyond": {func(r []row.Result) []row.Result { *r[1].LogPMean += 0.5; *r[2].LogPMean -= 0.25; return r }, false,
			func(c *Comparison) bool {
				return c.Columns[2].Beyond == 2 && c.Columns[2].Largest == 0.5 && c.Columns[2].Mean == 0.25 && c.Worst[0].ProbeID == "p2"
			}, "probe p2: logp_mean differs by 0.5"},
		"missing": {func(r []row.Result) []row.Result { return r[:2] }, false, func(c *Comparison) bool { return c.OnlyA == 1 && c.Rows == 2 }, "only in"},
		"status":  {func(r []row.Result) []row.Result { r[0].Status = row.Failed; return r }, false, func(c *Comparison) bool { return c.Status == 1 }, "different status"},
		"no number": {func(r []row.Result) []row.Result { r[0].LogPMean = nil; return r }, false,
			func(c *Comparison) bool { return c.Columns[2].Beyond == 1 && c.Columns[2].N == 2 }, "one run has no number"},
		"twice": {func(r []row.Result) []row.Result { return append(r, r[2]) }, true, func(c *Comparison) bool { return c.OnlyB == 0 && c.Rows == 3 }, "rows in both"},
		"argmax": {func(r []row.Result) []row.Result { r[0].ArgmaxIDs = []int32{7, 9}; return r }, false,
			func(c *Comparison) bool { return c.Argmax == 1 && c.Close == 0 }, "most probable token  "},
	} {
		got, err := Compare(context.Background(), a, answered(t, c.change), tolerance)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := got.Write(&text); err != nil {
			t.Fatal(err)
		}
		if got.Agree() != c.agree || !c.check(got) || !strings.Contains(text.String(), c.says) {
			t.Errorf("%s: agree %v, %+v\n%s", name, got.Agree(), got, text.String())
		}
	}
	none := func(r []row.Result) []row.Result {
		for i := range r {
			r[i] = row.Result{Method: "rome", ProbeID: r[i].ProbeID, Status: row.Unsupported}
		}
		return r
	}
	if c, err := Compare(context.Background(), answered(t, none), answered(t, none), tolerance); err != nil || c.Agree() || c.Rows != 3 {
		t.Errorf("runs without a single answer agree: %+v, %v", c, err)
	}
	if _, err := Compare(context.Background(), a, t.TempDir(), tolerance); err == nil {
		t.Error("a folder that is no run was compared")
	}
}

// TestCompareCloseArgmax: two tokens within the tolerance may change places.
func TestCompareCloseArgmax(t *testing.T) {
	tie := func(ids ...int32) func([]row.Result) []row.Result {
		return func(r []row.Result) []row.Result { r[0].MinGap, r[0].ArgmaxIDs = new(1e-5), ids; return r }
	}
	c, err := Compare(context.Background(), answered(t, tie(7, 8)), answered(t, tie(7, 9)), 1e-3)
	if err != nil || !c.Agree() || c.Argmax != 1 || c.Close != 1 {
		t.Errorf("%+v, %v", c, err)
	}
}
