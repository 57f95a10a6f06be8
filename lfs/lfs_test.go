package lfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const pointer = "version https://example.org/git-lfs/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name, head string
		pointer    bool
	}{
		{"pointer", pointer, true},
		{"older specification, extension before the id", "version https://example.org/spec/v1\next-0-x sha256:ab\noid sha256:cd\nsize 1\n", true},
		{"line ends of Windows", strings.ReplaceAll(pointer, "\n", "\r\n"), true},
		{"first line alone", "version https://example.org/git-lfs/spec/v1\n", false},
		{"text about pointers", "Every pointer begins with:\n" + pointer, false},
		{"table", "version spec,oid\n1,2\n", false},
		{"JSON", `{"version": "https://example.org/git-lfs/spec/v1", "oid": 1}`, false},
		{"empty", "", false},
	} {
		if err := Check([]byte(c.head)); errors.Is(err, ErrPointer) != c.pointer {
			t.Errorf("%s: %v, pointer %v wanted", c.name, err, c.pointer)
		}
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(c.head), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := CheckFile(path); errors.Is(err, ErrPointer) != c.pointer {
			t.Errorf("file of %s: %v, pointer %v wanted", c.name, err, c.pointer)
		}
	}
	if err := CheckFile(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := CheckFile(t.TempDir()); err != nil {
		t.Errorf("a folder: %v", err)
	}
}
