package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/demo"
	"editpipe/ort"
	"editpipe/ort/orttest"
)

// TestMain keeps the user's own settings and cache out of the tests: flags read
// the environment. Only the runtime library is looked for where it is installed.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		lib, libErr := ort.Find("")
		for _, setting := range os.Environ() {
			name, _, _ := strings.Cut(setting, "=")
			if strings.HasPrefix(name, "EDITPIPE_") && name != orttest.Required {
				os.Unsetenv(name)
			}
		}
		cache, err := os.MkdirTemp("", "editpipe-test-*")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(cache)
		os.Setenv(ort.EnvCache, cache)
		if libErr == nil {
			os.Setenv(ort.EnvLibrary, lib.Path)
		}
		return m.Run()
	}())
}

// outcome is what a command left to its caller.
type outcome struct {
	code     int
	out, err string
}

// call runs a command as main does.
func call(t *testing.T, args ...string) outcome {
	t.Helper()
	var out, err bytes.Buffer
	code := run(t.Context(), append([]string{"editpipe"}, args...), &out, &err)
	return outcome{code, out.String(), err.String()}
}

// callOK runs a command that has to work.
func callOK(t *testing.T, args ...string) outcome {
	t.Helper()
	o := call(t, args...)
	if o.code != exitOK {
		t.Fatalf("editpipe %s: code %d\n%s", strings.Join(args, " "), o.code, o.err)
	}
	return o
}

// cancelOn is a standard error that interrupts the command once a word is
// printed to it.
type cancelOn struct {
	text   []byte
	word   string
	cancel context.CancelFunc
}

func (c *cancelOn) Write(p []byte) (int, error) {
	c.text = append(c.text, p...)
	if strings.Contains(string(c.text), c.word) {
		c.cancel()
	}
	return len(p), nil
}

// callUntil runs a command that is interrupted once it prints the word.
func callUntil(t *testing.T, word string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out bytes.Buffer
	err := cancelOn{word: word, cancel: cancel}
	code := run(ctx, append([]string{"editpipe"}, args...), &out, &err)
	if !strings.Contains(string(err.text), word) {
		t.Fatalf("%q was never printed:\n%s", word, err.text)
	}
	return outcome{code, out.String(), string(err.text)}
}

// embedded is the folder of the embedded model in the tests' cache.
func embedded(t *testing.T) string {
	t.Helper()
	cache, err := ort.CacheRoot()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := demo.Extract(cache)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyDir(t *testing.T, from, to string) string {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// contents maps the files under dir to what they hold, and folders to "/".
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			found[name] = "/"
			return nil
		}
		data, err := os.ReadFile(path)
		found[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
