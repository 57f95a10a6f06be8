package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"editpipe/pipeline"
	"editpipe/row"
	"editpipe/store"
)

// shards is a stage whose units write a real shard in two files, slowly.
type shards struct {
	run   *store.Run
	units int
	pause time.Duration // within a unit
}

func (s *shards) Name() string { return "evaluate" }

func (s *shards) Plan(context.Context) ([]pipeline.Unit, error) {
	units := make([]pipeline.Unit, s.units)
	for i := range units {
		units[i] = pipeline.Unit{ID: fmt.Sprintf("%08x", i*2654435761), Label: fmt.Sprint("unit ", i)}
	}
	return units, nil
}

func (s *shards) Do(ctx context.Context, u pipeline.Unit) error {
	if err := store.Write(s.run.ShardPath(store.TableCosts, u.ID), []row.Cost{{UnitID: u.ID}}, nil); err != nil {
		return err
	}
	time.Sleep(s.pause)
	if err := ctx.Err(); err != nil {
		return err
	}
	rows := make([]row.Result, 50)
	for i := range rows {
		rows[i].EditID, rows[i].EditIndex = u.ID, int32(i)
	}
	if err := store.Write(s.run.ShardPath(store.TableResults, u.ID), rows, nil); err != nil {
		return err
	}
	// One line a unit, in a single append that a kill cannot tear.
	f, err := os.OpenFile(filepath.Join(s.run.Dir, "work.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(u.ID + "\n")
	return err
}

const killedUnits = 60

// TestKilledProcess kills a working process outright, again and again, and runs
// the same command until it ends by itself.
func TestKilledProcess(t *testing.T) {
	if dir := os.Getenv("EDITPIPE_TEST_RUN"); dir != "" {
		work(t, dir)
		return
	}
	dir := filepath.Join(t.TempDir(), "run")
	r := rand.New(rand.NewPCG(3, 1))
	kills := 0
	for attempt := 0; ; attempt++ {
		if attempt > 60 {
			t.Fatal("no end")
		}
		child := exec.Command(os.Args[0], "-test.run=^TestKilledProcess$")
		child.Env = append(os.Environ(), "EDITPIPE_TEST_RUN="+dir)
		var out strings.Builder
		child.Stdout, child.Stderr = &out, &out
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		// After a few kills it may finish, so that the test ends.
		after := time.Duration(20+r.IntN(120)) * time.Millisecond
		if kills >= 8 {
			after = time.Minute
		}
		timer := time.AfterFunc(after, func() { child.Process.Kill() })
		err := child.Wait()
		timer.Stop()
		if err == nil {
			break
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Exited() {
			t.Fatalf("it failed by itself: %v\n%s", err, &out)
		}
		kills++
	}
	run, err := store.OpenRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	if kills < 3 {
		t.Errorf("only %d kills: the test shows little", kills)
	}
	units, err := (&shards{run: run, units: killedUnits}).Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rows, err := store.ReadDir[row.Result](run.TableDir(store.TableResults))
	if err != nil || len(rows) != 50*killedUnits {
		t.Errorf("%d result rows (%v), want %d", len(rows), err, 50*killedUnits)
	}
	for _, u := range units {
		if done, err := run.Ledger().Done("evaluate", u.ID); err != nil || !done {
			t.Errorf("%s is not done: %v", u.Label, err)
		}
	}
	log, err := os.ReadFile(filepath.Join(dir, "work.log"))
	if err != nil {
		t.Fatal(err)
	}
	// A unit may be done twice only where a kill fell between its work and its mark.
	lines := strings.Count(string(log), "\n")
	if lines < killedUnits || lines > killedUnits+kills {
		t.Errorf("%d units were worked, want %d and at most one more for each of %d kills", lines, killedUnits, kills)
	}
	var drafts []string
	err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".draft") {
			drafts = append(drafts, path)
		}
		return err
	})
	if err != nil || len(drafts) > 0 {
		t.Errorf("drafts stay: %v, %v", drafts, err)
	}
	t.Logf("%d kills, %d units worked for %d", kills, lines, killedUnits)
}

// work is the process that is killed.
func work(t *testing.T, dir string) {
	run, err := store.CreateRun(dir, store.Manifest{Model: store.ModelInfo{Hash: "m"}})
	if err != nil {
		t.Fatal(err)
	}
	lock, err := run.Lock(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	stage := &shards{run: run, units: killedUnits, pause: 10 * time.Millisecond}
	if _, err := pipeline.Run(t.Context(), []pipeline.Stage{stage}, run.Ledger(), pipeline.Options{}); err != nil {
		t.Fatal(err)
	}
}

// TestCancelledRunsOnRealLedger cancels at random moments and damages a shard in
// between: the rows come out as if nothing had happened.
func TestCancelledRunsOnRealLedger(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	run, err := store.CreateRun(filepath.Join(t.TempDir(), "run"), store.Manifest{})
	if err != nil {
		t.Fatal(err)
	}
	stage := &shards{run: run, units: 25, pause: time.Millisecond}
	attempt := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, err := pipeline.Run(ctx, []pipeline.Stage{stage}, run.Ledger(), pipeline.Options{})
		return err
	}
	cancelled := 0
	for {
		limit := time.Duration(r.IntN(15)) * time.Millisecond
		if cancelled > 10 {
			limit = time.Minute
		}
		err := attempt(limit)
		if err == nil {
			break
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		cancelled++
	}
	if cancelled == 0 {
		t.Error("no run was cancelled")
	}
	units, err := stage.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(run.ShardPath(store.TableResults, units[7].ID), 100); err != nil {
		t.Fatal(err)
	}
	report, err := pipeline.Run(t.Context(), []pipeline.Stage{stage}, run.Ledger(), pipeline.Options{})
	if err != nil || report.Done != 1 || report.Skipped != 24 {
		t.Errorf("after damage to one shard: %+v, %v", report, err)
	}
	rows, err := store.ReadDir[row.Result](run.TableDir(store.TableResults))
	if err != nil || len(rows) != 50*25 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}
