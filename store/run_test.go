package store_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"editpipe/file"
	"editpipe/row"
	"editpipe/store"
)

func manifest() store.Manifest {
	return store.Manifest{
		ToolVersion: "0.1", Created: time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC),
		Model:    store.ModelInfo{Name: "m", Path: "models/m", Hash: "mh", TokenizerHash: "th", Family: "gpt2"},
		Dataset:  store.DatasetInfo{Name: "d", Hash: "dh", Edits: 3, Probes: 9},
		Provider: "cpu", RuntimeVersion: "1.2", DType: "float32", ProtocolID: "tf", Seed: 1,
		Methods:  []store.MethodInfo{{Name: "rome", Config: map[string]string{"layer": "5"}, ConfigHash: "r5"}},
		Settings: []string{"single"},
		Commands: []store.Command{{Args: []string{"eval", "--method", "rome"}}},
		Host:     store.ThisHost(),
	}
}

func create(t *testing.T, dir string) *store.Run {
	t.Helper()
	r, err := store.CreateRun(dir, manifest())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRunIsCreatedAndExtended(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "run")
	r := create(t, dir)
	for _, table := range store.Tables() {
		if rows, err := store.ReadDir[row.Cost](r.TableDir(table)); err != nil || len(rows) != 0 {
			t.Errorf("table %s of a new run: %v", table, err)
		}
	}
	opened, err := store.OpenRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(opened, r) {
		t.Errorf("opened\n%+v, created\n%+v", opened, r)
	}
	if len(r.Manifest.RunID) != 12 || r.Manifest.SchemaVersion != store.SchemaVersion {
		t.Errorf("run id %q, schema %q", r.Manifest.RunID, r.Manifest.SchemaVersion)
	}
	if r.Manifest.Host.Cores < 1 || r.Manifest.Host.OS == "" {
		t.Errorf("host %+v", r.Manifest.Host)
	}
	again := create(t, dir)
	if !reflect.DeepEqual(again.Manifest, opened.Manifest) {
		t.Errorf("the same command changed the manifest to %+v", again.Manifest)
	}
	m := manifest()
	m.Created = time.Now()
	m.Methods = append(m.Methods, store.MethodInfo{Name: "memit", ConfigHash: "x"})
	m.Settings = []string{"batch:10", "single"}
	m.Commands = []store.Command{{Args: []string{"eval", "--method", "memit"}}}
	more, err := store.CreateRun(dir, m)
	if err != nil {
		t.Fatal(err)
	}
	got := more.Manifest
	if len(got.Methods) != 2 || strings.Join(got.Settings, " ") != "single batch:10" || len(got.Commands) != 2 || !got.Created.Equal(r.Manifest.Created) {
		t.Errorf("extended to %+v", got)
	}
}

func TestRunRefusesOtherThings(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	create(t, dir)
	before, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(m *store.Manifest){
		"model hash":            func(m *store.Manifest) { m.Model.Hash = "other" },
		"tokenizer hash":        func(m *store.Manifest) { m.Model.TokenizerHash = "other" },
		"data set hash":         func(m *store.Manifest) { m.Dataset.Hash = "other" },
		"protocol":              func(m *store.Manifest) { m.ProtocolID = "other" },
		"provider":              func(m *store.Manifest) { m.Provider = "other" },
		"runtime version":       func(m *store.Manifest) { m.RuntimeVersion = "other" },
		"dtype":                 func(m *store.Manifest) { m.DType = "other" },
		"seed":                  func(m *store.Manifest) { m.Seed = 77 },
		"run id":                func(m *store.Manifest) { m.RunID = "other" },
		"configuration of rome": func(m *store.Manifest) { m.Methods[0].ConfigHash = "other" },
	} {
		m := manifest()
		change(&m)
		_, err := store.CreateRun(dir, m)
		var mismatch *store.MismatchError
		if !errors.As(err, &mismatch) || mismatch.Field != field || mismatch.Dir != dir || mismatch.Have == mismatch.Want {
			t.Errorf("%s: %v", field, err)
		} else if s := err.Error(); !strings.Contains(s, "--out") || !strings.Contains(s, "--fresh") || !strings.Contains(s, mismatch.Want) {
			t.Errorf("%s: the error does not help: %v", field, err)
		}
	}
	if after, err := os.ReadFile(filepath.Join(dir, "manifest.json")); err != nil || string(after) != string(before) {
		t.Error("a refused command changed the manifest")
	}

	if _, err := store.OpenRun(t.TempDir()); !errors.Is(err, store.ErrNotRun) {
		t.Errorf("opening an empty folder: %v", err)
	}
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := store.CreateRun(foreign, manifest()); !errors.Is(err, store.ErrNotRun) || !strings.Contains(err.Error(), "thesis.txt") {
		t.Errorf("a folder with other files: %v", err)
	}
	for text, want := range map[string]error{"{": store.ErrNotRun, `{"schema_version":"99","run_id":"x"}`: nil} {
		if err := os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := store.CreateRun(dir, manifest())
		var mismatch *store.MismatchError
		if want != nil && !errors.Is(err, want) || want == nil && (!errors.As(err, &mismatch) || mismatch.Field != "schema version") {
			t.Errorf("manifest %s: %v", text, err)
		}
	}
}

func TestRunsCreatedSideBySide(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	const n = 8
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			m := manifest()
			m.Methods = []store.MethodInfo{{Name: fmt.Sprint("method", i)}}
			if _, err := store.CreateRun(dir, m); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	r, err := store.OpenRun(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(r.Manifest.Methods); got != n {
		t.Errorf("%d of %d methods arrived", got, n)
	}
}

func TestFresh(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if err := store.Fresh(dir); err != nil {
		t.Errorf("a folder that does not exist: %v", err)
	}
	r := create(t, dir)
	if err := store.Write(r.ShardPath(store.TableCosts, "u"), []row.Cost{{}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Ledger().Mark("s", "u"); err != nil {
		t.Fatal(err)
	}
	if err := store.WriteSummary(r, []row.Summary{{Run: "x"}}, 0); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(mine, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	lock, err := r.Lock(1, 2)
	if err != nil {
		t.Fatal(err)
	}
	var held *file.LockedError
	if err := store.Fresh(dir); !errors.As(err, &held) {
		t.Errorf("clearing a run at work: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := store.Fresh(dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if strings.Join(names, " ") != "locks notes.txt" {
		t.Errorf("left: %v", names)
	}
	if err := store.Fresh(dir); !errors.Is(err, store.ErrNotRun) {
		t.Errorf("clearing a folder that is no run: %v", err)
	}
	if err := os.Remove(mine); err != nil {
		t.Fatal(err)
	}
	create(t, dir)

	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "manifest.json"), []byte(`{"name":"a web app"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(other, "results"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := store.Fresh(other); err == nil {
		t.Error("a folder with another program's manifest.json was cleared")
	}
	if _, err := os.Stat(filepath.Join(other, "results")); err != nil {
		t.Errorf("a foreign folder was removed: %v", err)
	}
}

func TestLocks(t *testing.T) {
	r := create(t, filepath.Join(t.TempDir(), "run"))
	lock := func(i, n int) *store.Lock {
		t.Helper()
		l, err := r.Lock(i, n)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	held := func(i, n int) {
		t.Helper()
		l, err := r.Lock(i, n)
		var e *file.LockedError
		if !errors.As(err, &e) || e.PID != os.Getpid() || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) || !strings.Contains(err.Error(), "--shard") {
			t.Errorf("shard %d/%d: %v", i, n, err)
		}
		if l != nil {
			l.Close()
		}
	}
	first, second := lock(1, 2), lock(2, 2)
	held(1, 2)
	held(1, 1)
	first.Close()
	first = lock(1, 2)
	first.Close()
	second.Close()
	drafts := []string{
		filepath.Join(r.TableDir(store.TableResults), ".u.parquet.123.draft"),
		filepath.Join(r.Dir, ".manifest.json.123.draft"),
		filepath.Join(r.PatchDir(), "u-50", ".patch.safetensors.json.123.draft"), // of a checkpoint
		filepath.Join(r.Dir, "ledger", "evaluate", ".u.json.123.draft"),
	}
	other := filepath.Join(r.Dir, "other", ".manifest.json.123.draft") // of a run that another process may work in
	for _, path := range append(drafts, other) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all := lock(1, 1)
	held(1, 1)
	held(1, 2)
	all.Close()
	for _, path := range drafts {
		if file.Exists(path) {
			t.Errorf("%s of a killed process stays", path)
		}
	}
	if !file.Exists(other) {
		t.Error("a folder that is not the run's own was swept")
	}
	for _, bad := range [][2]int{{0, 1}, {3, 2}, {1, 0}} {
		if _, err := r.Lock(bad[0], bad[1]); err == nil {
			t.Errorf("shard %v is accepted", bad)
		}
	}
}

// TestLockEndsWithItsProcess has another process take the lock and kills it.
func TestLockEndsWithItsProcess(t *testing.T) {
	if dir := os.Getenv("EDITPIPE_TEST_LOCK"); dir != "" {
		if _, err := (&store.Run{Dir: dir}).Lock(1, 1); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("locked")
		time.Sleep(time.Minute)
		os.Exit(1)
	}
	r := create(t, filepath.Join(t.TempDir(), "run"))
	child := exec.Command(os.Args[0], "-test.run=^TestLockEndsWithItsProcess$")
	child.Env = append(os.Environ(), "EDITPIPE_TEST_LOCK="+r.Dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "locked\n" {
		t.Errorf("the other process says %q, %v", line, err)
	}
	_, err = r.Lock(1, 1)
	var held *file.LockedError
	if !errors.As(err, &held) || held.PID != child.Process.Pid {
		t.Errorf("while process %d holds it: %v", child.Process.Pid, err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait() // it was killed; its status says nothing
	l, err := r.Lock(1, 1)
	if err != nil {
		t.Fatalf("after it was killed: %v", err)
	}
	l.Close()
}

func TestLedger(t *testing.T) {
	r := create(t, filepath.Join(t.TempDir(), "run"))
	l := r.Ledger()
	done := func(want bool) {
		t.Helper()
		got, err := l.Done("evaluate", "u1")
		if err != nil || got != want {
			t.Errorf("done %v (%v), want %v", got, err, want)
		}
	}
	cost, result := r.ShardPath(store.TableCosts, "u1"), r.ShardPath(store.TableResults, "u1")
	write := func() {
		t.Helper()
		if err := errors.Join(
			store.Write(cost, []row.Cost{{UnitID: "u1"}}, nil),
			store.Write(result, []row.Result{{EditID: "e"}}, nil),
		); err != nil {
			t.Fatal(err)
		}
	}
	mark := func() {
		t.Helper()
		write()
		if err := l.Mark("evaluate", "u1"); err != nil {
			t.Fatal(err)
		}
		done(true)
	}
	write()
	done(false) // written, but not marked: it may be half a unit
	mark()
	for name, harm := range map[string]func() error{
		"missing":  func() error { return os.Remove(result) },
		"cut":      func() error { return os.Truncate(cost, 10) },
		"replaced": func() error { return store.Write(result, []row.Result{{EditID: "f"}}, nil) },
		"set aside": func() error {
			if err := r.SetAside("u1"); err != nil {
				return err
			}
			done(false)
			if rows, err := store.ReadReplaced[row.Result](r, store.TableResults); err != nil || len(rows) != 1 {
				t.Errorf("%d rows set aside, %v", len(rows), err)
			}
			if err := r.Restore("u1"); err != nil {
				return err
			}
			done(true)
			return r.SetAside("u1")
		},
		"torn ledger": func() error {
			return os.WriteFile(filepath.Join(r.Dir, "ledger", "evaluate", "u1.json"), []byte(`{"sta`), 0o644)
		},
	} {
		if err := harm(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		done(false)
		mark()
	}
	if got, err := l.Done("base", "u1"); err != nil || got {
		t.Errorf("another stage's unit of the same id: %v, %v", got, err)
	}
	if err := l.Mark("prepare", "nofiles"); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Done("prepare", "nofiles"); err != nil || !got {
		t.Errorf("a unit without shards: %v, %v", got, err)
	}
	for _, bad := range []string{"", "..", "a/b", "a b", "ü"} {
		if l.Mark("s", bad) == nil || l.Mark(bad, "u") == nil {
			t.Errorf("%q is accepted as a name", bad)
		}
		if _, err := l.Done("s", bad); err == nil {
			t.Errorf("%q is accepted as a name", bad)
		}
	}
}

func TestLedgerDoesNotFollowPathsOutside(t *testing.T) {
	r := create(t, filepath.Join(t.TempDir(), "run"))
	if err := r.Ledger().Mark("s", "u"); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.Dir, "ledger", "s", "u.json")
	entry, err := json.Marshal(map[string]any{"schema_version": store.SchemaVersion, "stage": "s", "unit": "u",
		"files": []map[string]any{{"path": "../secret", "size": 0}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, entry, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Ledger().Done("s", "u"); err != nil || got {
		t.Errorf("%v, %v", got, err)
	}
}

func TestSummary(t *testing.T) {
	r := create(t, filepath.Join(t.TempDir(), "run"))
	mean := 0.5
	want := []row.Summary{{Run: "r", Metric: "tf_exact", N: 2, Mean: &mean}, {Run: "r"}}
	if err := store.WriteSummary(r, want, 7); err != nil {
		t.Fatal(err)
	}
	got, err := store.Read[row.Summary](r.SummaryPath())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v, %v", got, err)
	}
	if n, err := r.Summarised(); err != nil || n != 7 {
		t.Errorf("it covers %d rows, %v", n, err)
	}
}
