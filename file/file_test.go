package file_test

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"editpipe/file"
)

// holds compares the names and texts in a folder; a folder's text is "/".
func holds(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		have := "/"
		if !e.IsDir() {
			text, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			have = string(text)
		}
		if text, ok := want[e.Name()]; !ok || have != text {
			t.Errorf("%s is there with %q, want %q", e.Name(), have, text)
		}
	}
	if len(entries) != len(want) {
		t.Errorf("%d files and folders, want %d", len(entries), len(want))
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWriteAndCopy(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	put(t, at("a"), "old")
	if err := file.Write(at("a"), []byte("new")); err != nil {
		t.Fatal(err)
	}
	if err := file.Copy(at("b"), at("a")); err != nil {
		t.Fatal(err)
	}
	holds(t, dir, map[string]string{"a": "new", "b": "new"})
	if info, err := os.Stat(at("b")); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, want 0644", info.Mode())
	}

	put(t, at("folder/inner"), "")
	for what, err := range map[string]error{
		"writing in the place of a folder":   file.Write(at("folder"), nil),
		"writing into a folder not there":    file.Write(at("none/a"), nil),
		"copying over a folder":              file.Copy(at("folder"), at("a")),
		"copying a folder, which is read":    file.Copy(at("a"), at("folder")), // opens, and fails behind the draft
		"copying a file that is not there":   file.Copy(at("a"), at("none")),
		"copying into a folder not there":    file.Copy(at("none/a"), at("a")),
		"writing where the name is too long": file.Write(at(strings.Repeat("x", 300)), nil),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "file: ") || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", what, err)
		}
	}
	holds(t, dir, map[string]string{"a": "new", "b": "new", "folder": "/"})
}

func TestHash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	put(t, path, "abc")
	// The first example of FIPS 180-2, appendix B.
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if have, err := file.Hash(path); err != nil || have != want {
		t.Errorf("hash %s (%v), want %s", have, err, want)
	}
	for _, bad := range []string{filepath.Dir(path), path + "none"} {
		if have, err := file.Hash(bad); err == nil || have != "" || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %q, %v", bad, have, err)
		}
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{".a.1.draft", "a", "a.draft", ".a", "sub/deep/.b.2.draft", "sub/deep/b"} {
		put(t, at(name), name)
	}
	kept := map[string]string{"a": "a", "a.draft": "a.draft", ".a": ".a", "sub": "/"}
	if err := file.Sweep(dir, false); err != nil {
		t.Fatal(err)
	}
	holds(t, dir, kept)
	holds(t, at("sub/deep"), map[string]string{".b.2.draft": "sub/deep/.b.2.draft", "b": "sub/deep/b"})
	if err := os.Symlink(dir, at("link")); err == nil { // where the system allows it
		if err := file.Sweep(at("link"), true); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(at("link")); err != nil {
			t.Fatal(err)
		}
	} else if err := file.Sweep(dir, true); err != nil {
		t.Fatal(err)
	}
	holds(t, dir, kept)
	holds(t, at("sub/deep"), map[string]string{"b": "sub/deep/b"})
	if err := file.Sweep(at("none"), true); err != nil {
		t.Error(err)
	}
}

func TestExists(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "a"), filepath.Join(dir, "link")
	put(t, path, "")
	for name, want := range map[string][2]bool{path: {true, true}, dir: {true, false}, path + "none": {false, false}} {
		if have := [2]bool{file.Exists(name), file.IsRegular(name)}; have != want {
			t.Errorf("%s: exists, regular %v, want %v", name, have, want)
		}
	}
	if err := os.Symlink(path+"none", link); err != nil {
		if runtime.GOOS == "windows" {
			t.Skip(err) // an account without the right to
		}
		t.Fatal(err)
	}
	if !file.Exists(link) || file.IsRegular(link) {
		t.Error("a link to nothing has its name and is no file")
	}
}

// TestLock has another process hold a lock.
func TestLock(t *testing.T) {
	if path := os.Getenv("EDITPIPE_TEST_FILE_LOCK"); path != "" {
		if _, err := file.Acquire(path, file.Shared, false); err != nil {
			os.Exit(1)
		}
		os.Stdout.WriteString("locked\n")
		time.Sleep(time.Minute)
		os.Exit(1)
	}
	path := filepath.Join(t.TempDir(), "a.lock")
	child := exec.Command(os.Args[0], "-test.run=^TestLock$")
	child.Env = append(os.Environ(), "EDITPIPE_TEST_FILE_LOCK="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	_, err = file.Acquire(path, file.Exclusive, false)
	var held *file.LockedError
	if !errors.As(err, &held) || held.Path != path || held.PID != child.Process.Pid {
		t.Errorf("taking a lock that process %d holds: %v", child.Process.Pid, err)
	}
	beside, err := file.Acquire(path, file.Shared, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := beside.Close(); err != nil {
		t.Error(err)
	}
	got := make(chan error)
	go func() {
		l, err := file.Acquire(path, file.Exclusive, true)
		if err == nil {
			err = l.Close()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Errorf("a lock that is held was not waited for: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := child.Process.Kill(); err != nil { // the lock ends with its process
		t.Fatal(err)
	}
	_ = child.Wait() // killed
	if err := <-got; err != nil {
		t.Error(err)
	}
}
