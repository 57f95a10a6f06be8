package file_test

import (
	"os"
	"path/filepath"
	"testing"

	"editpipe/file"
)

func TestDraft(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	write := func() *file.Draft {
		d, err := file.CreateDraft(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.WriteString("new"); err != nil {
			t.Fatal(err)
		}
		return d
	}
	want := func(text string, files int) {
		t.Helper()
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Errorf("the file holds %q (%v), want %q", got, err, text)
		}
		if all, err := os.ReadDir(dir); err != nil || len(all) != files {
			t.Errorf("%d files lie in the folder, want %d", len(all), files)
		}
	}
	d := write()
	want("old", 2)
	if err := d.Abort(); err != nil {
		t.Fatal(err)
	}
	want("old", 1)
	d = write()
	if err := d.Commit(); err != nil {
		t.Fatal(err)
	}
	want("new", 1)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, want 0644", info.Mode())
	}
	if err := d.Abort(); err != nil {
		t.Errorf("Abort after Commit: %v", err)
	}
	if err := d.Commit(); err == nil {
		t.Error("a second Commit is accepted")
	}
	want("new", 1)

	// A folder in the file's place cannot be replaced: no draft may stay.
	path = filepath.Join(dir, "folder")
	if err := os.MkdirAll(filepath.Join(path, "inner"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := write().Commit(); err == nil {
		t.Error("a folder was replaced")
	}
	if all, err := filepath.Glob(filepath.Join(dir, ".*.draft")); err != nil || len(all) != 0 {
		t.Errorf("drafts stay behind: %v", all)
	}
	if _, err := file.CreateDraft(filepath.Join(dir, "missing", "file")); err == nil {
		t.Error("a draft in a missing folder is accepted")
	}
}
