package stages

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"

	"editpipe/ask"
	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/models/patch"
	"editpipe/row"
	"editpipe/store"
)

// counted is a route that does nothing but count how often a patch is measured.
type counted struct{ times *atomic.Int32 }

func (counted) Kind() string      { return "counted" }
func (counted) Save(string) error { return nil }
func (counted) Route(_ context.Context, _ patch.Reader, questions []ask.Query) ([]patch.Way, error) {
	ways := make([]patch.Way, len(questions))
	for i, q := range questions {
		ways[i].Query = q
	}
	return ways, nil
}
func (c counted) Prefix() string {
	c.times.Add(1)
	return "counted"
}

func (c counted) Make(_ context.Context, _ *patch.Patch, groups [][]dataset.Edit) ([]edit.Made, error) {
	made := make([]edit.Made, len(groups))
	for i, edits := range groups {
		made[i].Patch = &patch.Patch{Method: "counted", Routes: []patch.Route{c}}
		for _, e := range edits {
			made[i].Patch.Edits = append(made[i].Patch.Edits, string(e.ID))
		}
	}
	return made, nil
}

// TestBatchIsMeasuredOnce: what the edits of a step have in common, such as the
// norm of the patch, is not computed again for each of them.
func TestBatchIsMeasuredOnce(t *testing.T) {
	c := counted{new(atomic.Int32)}
	method := edit.Define(edit.Spec[struct{}]{
		Name: "counted", Title: "Counted", Version: 1, Schedules: []edit.Kind{edit.Batch},
		Open: func(context.Context, struct{}, edit.Env) (edit.Editor, error) { return c, nil },
	})
	out := filepath.Join(t.TempDir(), "run")
	do(t, Eval{LM: tiny(t), Data: village(6), Methods: []edit.Method{method}, Schedules: scheduleList(t, "batch:3"), Out: out})
	if n := c.times.Load(); n != 2 {
		t.Errorf("two batches were measured %d times", n)
	}
	rows, err := store.ReadDir[row.Applied](filepath.Join(out, "applied"))
	if err != nil || len(rows) != 6 {
		t.Fatal(len(rows), err)
	}
	for _, r := range rows {
		if r.Context != "counted" || r.DeltaNorm == nil || *r.DeltaNorm != 0 {
			t.Errorf("edit %s: %+v", r.EditID, r)
		}
	}
}
