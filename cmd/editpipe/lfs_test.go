package main

import (
	"path/filepath"
	"strings"
	"testing"

	"editpipe/lfs"
)

// TestPointersInFlags: a file of a flag that is only a Git LFS pointer is named, with
// the sentence that every reader of files says.
func TestPointersInFlags(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"eval", "--out", "DIR/run", "--config", "DIR/file"}, exitUsage},
		{[]string{"eval", "--out", "DIR/run", "--ids", "DIR/file"}, exitFailure},
		{[]string{"eval", "--out", "DIR/run", "--ort-lib", "DIR/file"}, exitFailure},
		{[]string{"generate", "--out", "DIR/data", "--relations", "DIR/file"}, exitFailure},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "file")
		writeFile(t, file, "version https://example.org/spec/v1\noid sha256:ab\nsize 1\n")
		args := make([]string, len(c.args))
		for i, a := range c.args {
			args[i] = strings.ReplaceAll(a, "DIR", dir)
		}
		o := call(t, args...)
		if o.code != c.code || !strings.Contains(o.err, file) || strings.Count(o.err, lfs.ErrPointer.Error()) != 1 {
			t.Errorf("%s: code %d, %s", c.args, o.code, o.err)
		}
	}
}
