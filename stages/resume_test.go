package stages

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/none"
	"editpipe/models/patch"
	"editpipe/pipeline"
	"editpipe/store"
	"editpipe/tensor"
)

// A run that is interrupted and taken up again, at any point and any number of
// times, has the rows and the summary of one that was not.
func TestInterruptions(t *testing.T) {
	e := Eval{
		LM: tiny(t), Data: village(20), Seed: 1, Out: filepath.Join(t.TempDir(), "whole"),
		Methods: []edit.Method{none.Method(), nudge()}, Schedules: scheduleList(t, "single", "batch:9", "sequential:10"),
		When: When{Every: 5}, MaxNew: 2,
	}
	do(t, e)
	whole := e.Out
	rng := rand.New(rand.NewPCG(7, 7))
	for round := range 2 {
		e.Out = filepath.Join(t.TempDir(), "cut")
		cuts := 0
		for ; ; cuts++ {
			ctx, stop := context.WithCancel(context.Background())
			timer := time.AfterFunc(time.Duration(rng.IntN(60*(cuts+1)))*time.Millisecond, stop)
			finished := 0
			e.Observe = func(ev pipeline.Event) {
				if ev.Kind == pipeline.UnitFinished {
					if finished++; finished == 2 { // so that every try gets somewhere, and none to the end
						stop()
					}
				}
			}
			_, err := e.Do(ctx)
			timer.Stop()
			stop()
			if err == nil {
				break
			}
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		if cuts < 3 {
			t.Errorf("round %d: only %d interruptions", round, cuts)
		}
		sameRun(t, fmt.Sprintf("round %d, %d interruptions", round, cuts), whole, e.Out)
	}
}

// The union of all shards is the whole, whatever their order.
func TestShards(t *testing.T) {
	e := Eval{
		LM: tiny(t), Data: village(40), Seed: 1, Out: filepath.Join(t.TempDir(), "whole"),
		Methods: []edit.Method{nudge()}, Schedules: scheduleList(t, "single", "batch:5"),
	}
	do(t, e)
	whole := e.Out
	e.Out = filepath.Join(t.TempDir(), "shards")
	for _, i := range []int{3, 1, 2} {
		e.Shard = pipeline.Shard{Index: i, Of: 3}
		do(t, e)
	}
	sameRun(t, "three shards", whole, e.Out)
}

// The same command does nothing; an amended one extends the run and replaces
// what it asks anew; another model is refused.
func TestAmendedCommand(t *testing.T) {
	e := Eval{
		LM: tiny(t), Data: village(40), Select: dataset.Selection{Limit: 20}, Seed: 1, Out: filepath.Join(t.TempDir(), "run"),
		Methods: []edit.Method{none.Method()}, Schedules: scheduleList(t, "single"),
	}
	do(t, e)
	if r := do(t, e); r.Units.Done != 0 || r.Units.Skipped == 0 {
		t.Errorf("the same command again did %d units", r.Units.Done)
	}
	e.Methods = []edit.Method{nudge()}
	do(t, e)
	e.Select.Limit = 30
	e.Methods = []edit.Method{none.Method(), nudge()}
	do(t, e)
	fresh := e
	fresh.Out = filepath.Join(t.TempDir(), "fresh")
	do(t, fresh)
	sameRun(t, "20 records, then 30", fresh.Out, e.Out)

	e.Methods, e.Overrides = []edit.Method{nudge()}, map[string]map[string]string{"nudge": {"size": "2"}}
	var mismatch *store.MismatchError
	if _, err := e.Do(context.Background()); !errors.As(err, &mismatch) {
		t.Errorf("another configuration in the same folder: %v", err)
	}
	e.Fresh = true
	if r := do(t, e); r.Units.Skipped != 0 {
		t.Errorf("a fresh run skipped %d units", r.Units.Skipped)
	}
}

// Units with failed rows are done again when asked to; the others are not.
func TestRetryErrors(t *testing.T) {
	e := Eval{
		LM: tiny(t), Data: village(40), Seed: 1, Out: filepath.Join(t.TempDir(), "run"),
		Methods: []edit.Method{none.Method(), nudge()}, Schedules: scheduleList(t, "single"), RetryErrors: true,
	}
	do(t, e)
	if r := do(t, e); r.Units.Done != 1 { // the unit of w003 under nudge
		t.Errorf("%d units were done again, want 1", r.Units.Done)
	}
}

// A chain goes on from its last checkpoint, and ends as if it had not stopped.
func TestChainResumes(t *testing.T) {
	var c counter
	const chain = CheckpointEdits*2 + 7
	e := Eval{
		LM: tiny(t), Data: village(chain), Seed: 1, Out: filepath.Join(t.TempDir(), "whole"),
		Methods: []edit.Method{c.method()}, Schedules: scheduleList(t, "sequential"), When: When{Every: 40},
	}
	do(t, e)
	whole := e.Out
	e.Out = filepath.Join(t.TempDir(), "cut")
	for _, cut := range []struct{ stopAt, calls int }{
		{CheckpointEdits - 10, CheckpointEdits - 10}, // before the first checkpoint
		{CheckpointEdits + 20, CheckpointEdits + 20}, // from the start, past it
		{CheckpointEdits + 2, CheckpointEdits + 2},   // from 50, past 100
		{-1, 7}, // from 100 to the end
	} {
		ctx, stop := context.WithCancel(context.Background())
		c = counter{at: cut.stopAt, stop: stop}
		_, err := e.Do(ctx)
		if (cut.stopAt < 0) != (err == nil) || err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if c.made != cut.calls {
			t.Errorf("stopped at call %d: %d edits were made, want %d", cut.stopAt, c.made, cut.calls)
		}
		stop()
	}
	sameRun(t, "a chain cut three times", whole, e.Out)
	if left, err := os.ReadDir(filepath.Join(e.Out, "patches")); err != nil || len(left) > 0 {
		t.Errorf("checkpoints are left: %v, %v", left, err)
	}
}

// counter makes the edits of nudge, counts its calls, and stops the run at one.
type counter struct {
	made, at int
	stop     context.CancelFunc
}

func (c *counter) method() edit.Method {
	return edit.Define(edit.Spec[struct{}]{
		Name: "nudge", Title: "Counting nudge", Version: 1, Schedules: nudge().Schedules,
		Open: func(_ context.Context, _ struct{}, in edit.Env) (edit.Editor, error) {
			return editorFunc(func(ctx context.Context, on *patch.Patch, groups [][]dataset.Edit) ([]edit.Made, error) {
				if c.made++; c.made == c.at {
					c.stop()
				}
				return nudger{0.1, in.LM}.Make(ctx, on, groups)
			}), nil
		},
	})
}

// TestOldCheckpoint: a chain goes on from a checkpoint whose patch holds efforts, as
// those of earlier versions do, and ends as if it had not stopped.
func TestOldCheckpoint(t *testing.T) {
	var c counter
	e := Eval{
		LM: tiny(t), Data: village(CheckpointEdits + 7), Seed: 1, Out: filepath.Join(t.TempDir(), "whole"),
		Methods: []edit.Method{c.method()}, Schedules: scheduleList(t, "sequential"), When: When{Every: 20},
	}
	do(t, e)
	whole := e.Out
	e.Out = filepath.Join(t.TempDir(), "cut")
	ctx, stop := context.WithCancel(t.Context())
	c = counter{at: CheckpointEdits + 3, stop: stop}
	if _, err := e.Do(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(e.Out, "patches", "*", patchFile))
	if err != nil || len(found) != 1 {
		t.Fatalf("checkpoints %v, %v", found, err)
	}
	p, meta, err := patch.Load(found[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	p.State = map[string]*tensor.Tensor{
		"effort.steps": tensor.FromInt64s([]int64{1}, 1), "effort.loss": tensor.FromFloat32s([]float32{0.5}, 1),
	}
	if err := p.Save(found[0], meta); err != nil {
		t.Fatal(err)
	}
	do(t, e)
	sameRun(t, "a chain from an old checkpoint", whole, e.Out)
}

type editorFunc func(ctx context.Context, on *patch.Patch, groups [][]dataset.Edit) ([]edit.Made, error)

func (f editorFunc) Make(ctx context.Context, on *patch.Patch, groups [][]dataset.Edit) ([]edit.Made, error) {
	return f(ctx, on, groups)
}

// A process that is killed leaves whole files and a ledger that can be trusted:
// the test runs itself as the victim.
func TestKill(t *testing.T) {
	const folder = "STAGES_TEST_VICTIM"
	e := Eval{
		LM: tiny(t), Data: village(60), Seed: 1, Methods: []edit.Method{none.Method(), nudge()},
		Schedules: scheduleList(t, "single", "batch:6"),
	}
	if e.Out = os.Getenv(folder); e.Out != "" {
		do(t, e)
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e.Out = filepath.Join(t.TempDir(), "whole")
	do(t, e)
	whole := e.Out
	e.Out = filepath.Join(t.TempDir(), "killed")
	for _, units := range []int{1, 7, 12} {
		victim := exec.Command(self, "-test.run=^TestKill$")
		victim.Env = append(os.Environ(), folder+"="+e.Out, "TMPDIR="+t.TempDir()) // a killed process cleans nothing up
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- victim.Wait() }()
		for done := false; !done; {
			files, err := filepath.Glob(filepath.Join(e.Out, "ledger", "*", "*.json"))
			if err != nil {
				t.Fatal(err)
			}
			if len(files) >= units {
				if err := victim.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
					t.Fatal(err)
				}
			}
			select {
			case <-ended:
				done = true
			case <-time.After(time.Millisecond):
			}
		}
	}
	if r := do(t, e); r.Units.Skipped == 0 || r.Units.Done == 0 {
		t.Errorf("after the kills %d units were done, %d left", r.Units.Skipped, r.Units.Done)
	}
	sameRun(t, "killed three times", whole, e.Out)
}

// TestLessIsAskedThenStopped: a command that asks less of a finished folder, and
// does not come to its end, loses nothing and stops no later one.
func TestLessIsAskedThenStopped(t *testing.T) {
	e := Eval{
		LM: tiny(t), Data: village(20), Seed: 1, Out: filepath.Join(t.TempDir(), "run"),
		Methods: []edit.Method{none.Method()}, Schedules: scheduleList(t, "single", "batch:4"),
	}
	do(t, e)
	whole := e
	whole.Out = filepath.Join(t.TempDir(), "whole")
	do(t, whole)
	ctx, stop := context.WithCancel(context.Background())
	less := e
	less.Select.Limit = 10
	less.Observe = func(ev pipeline.Event) {
		if ev.Kind == pipeline.UnitFinished && ev.Stage == "evaluate" {
			stop()
		}
	}
	if _, err := less.Do(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	other := e
	other.Methods = []edit.Method{nudge()}
	if r := do(t, other); r.Replaced == 0 {
		t.Error("nothing is said of the rows that were set aside")
	}
	whole.Methods = other.Methods
	do(t, whole)
	if r := do(t, e); r.Units.Done != 0 {
		t.Errorf("%d units were done again", r.Units.Done)
	}
	sameRun(t, "less was asked, and stopped", whole.Out, e.Out)
}
