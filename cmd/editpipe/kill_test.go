//go:build kill

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"editpipe/ort/orttest"
	"editpipe/row"
	"editpipe/store"
)

const kills = 5 // one for each fifth of the work

// TestKill stops an evaluation in the midst of its work, lets the same command
// finish it, and compares report and rows with those of an uninterrupted run.
func TestKill(t *testing.T) {
	orttest.Find(t)
	dir := t.TempDir()
	binary := build(t, dir)
	whole := filepath.Join(dir, "A")
	took := mustFinish(t, binary, whole)
	idle := mustFinish(t, binary, whole) // nothing is left to do: what starting up takes
	t.Logf("the whole took %v, %v of it to start up", took.Round(time.Millisecond), idle.Round(time.Millisecond))
	t.Run("killed", func(t *testing.T) {
		killed := filepath.Join(dir, "B")
		kill(t, binary, killed, idle, took-idle)
		mustFinish(t, binary, killed)
		same(t, binary, whole, killed)
	})
	t.Run("interrupted", func(t *testing.T) {
		stopped := filepath.Join(dir, "C")
		interrupt(t, binary, stopped)
		mustFinish(t, binary, stopped)
		same(t, binary, whole, stopped)
	})
}

// kill kills the command once in each fifth of its work.
func kill(t *testing.T, binary, killed string, idle, work time.Duration) {
	t.Helper()
	// What a try finished is kept, so the next one goes on from about where the
	// last one was killed.
	rng := rand.New(rand.NewPCG(1, 2))
	hit, reached := 0, time.Duration(0)
	for i := range kills {
		moment := time.Duration((float64(i) + rng.Float64()) / kills * float64(work))
		after := idle + moment - reached
		reached = moment
		cmd, stderr := command(binary, killed)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) // it may have ended by itself
		err := cmd.Wait()
		timer.Stop()
		if err != nil && strings.Contains(stderr.String(), "editpipe: ") {
			t.Fatalf("the command failed by itself: %v\n%s", err, stderr)
		}
		if err != nil {
			hit++
		}
		t.Logf("try %d, %v: %v; %d files of results", i+1, after.Round(time.Millisecond), cmd.ProcessState, len(resultFiles(t, killed)))
	}
	if hit < kills/2 { // some may be late on a machine that became faster meanwhile
		t.Errorf("only %d of %d kills met a running command", hit, kills)
	}
}

// interrupt presses Ctrl-C once there are rows: the command says how to go on
// and exits with 130.
func interrupt(t *testing.T, binary, stopped string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no process can send an interrupt to another there")
	}
	cmd, stderr := command(binary, stopped)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for len(resultFiles(t, stopped)) == 0 && time.Now().Before(deadline) { // in the midst of its work
		time.Sleep(5 * time.Millisecond)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	pressed := time.Now()
	_ = cmd.Wait() // its exit code is looked at below
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(stderr.String(), "run the same command again") {
		t.Fatalf("code %d, want %d\n%s", code, exitInterrupted, stderr)
	}
	t.Logf("it stopped %v after the signal", time.Since(pressed).Round(time.Millisecond))
}

func build(t *testing.T, dir string) string {
	t.Helper()
	binary := filepath.Join(dir, "editpipe")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return binary
}

func command(binary, out string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.Command(binary, "eval", "--method", "none,ike", "--limit", "60", "--out", out)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	return cmd, &stderr
}

// mustFinish runs the command to its end and says how long it took.
func mustFinish(t *testing.T, binary, out string) time.Duration {
	t.Helper()
	cmd, stderr := command(binary, out)
	start := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	return time.Since(start)
}

func resultFiles(t *testing.T, run string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(run, string(store.TableResults), "*.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// same compares the rows of two runs' reports, run id included, and all their
// result rows.
func same(t *testing.T, binary, a, b string) {
	t.Helper()
	if x, y := reported(t, binary, a), reported(t, binary, b); !bytes.Equal(x, y) {
		t.Errorf("the reports differ:\n%s\n%s", x, y)
	}
	x, y := results(t, a), results(t, b)
	if len(x) != len(y) || len(x) == 0 {
		t.Fatalf("%d rows and %d", len(x), len(y))
	}
	for i := range x {
		if !reflect.DeepEqual(x[i], y[i]) {
			t.Fatalf("row %d differs:\n%+v\n%+v", i, x[i], y[i])
		}
	}
	for name := range contents(t, b) {
		if strings.HasSuffix(name, ".draft") {
			t.Errorf("half-written %s is left", name)
		}
	}
	t.Logf("%d rows are the same", len(x))
}

func reported(t *testing.T, binary, run string) []byte {
	t.Helper()
	out, err := exec.Command(binary, "report", "--format", "json", run).Output()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Rows json.RawMessage }
	if err := json.Unmarshal(out, &doc); err != nil || len(doc.Rows) == 0 {
		t.Fatalf("%v in\n%s", err, out)
	}
	return doc.Rows
}

func results(t *testing.T, run string) []row.Result {
	t.Helper()
	rows, err := store.ReadDir[row.Result](filepath.Join(run, string(store.TableResults)))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(rows, func(a, b row.Result) int {
		return cmp.Or(cmp.Compare(a.Method, b.Method), cmp.Compare(a.Setting, b.Setting), cmp.Compare(a.EditID, b.EditID), cmp.Compare(a.ProbeID, b.ProbeID))
	})
	return rows
}
