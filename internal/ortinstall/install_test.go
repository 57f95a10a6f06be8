package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"editpipe/ort"
)

// published makes a table of two small files and the archive that holds them.
func published(t *testing.T) ([]ort.File, []byte) {
	t.Helper()
	contents := map[string]string{"lib.so": strings.Repeat("library ", 1000), "side.so": "beside it"}
	var files []ort.File
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range []string{"lib.so", "other.so", "side.so"} {
		data := contents[name]
		member := "package/bin/" + name
		if err := w.WriteHeader(&tar.Header{Name: member, Mode: 0o600, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
		if data != "" {
			sum := sha256.Sum256([]byte(data))
			files = append(files, ort.File{Name: name, Member: member, Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])})
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return files, b.Bytes()
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestInstall(t *testing.T) {
	files, archive := published(t)
	dir := filepath.Join(t.TempDir(), "deep", "cache")
	if installed(dir, files) {
		t.Fatal("installed before anything is")
	}
	if err := makeFolder(dir); err != nil {
		t.Fatal(err)
	}
	for range 2 { // installing over an installation is fine
		if err := install(t.Context(), "pkg@1", dir, files, bytes.NewReader(archive)); err != nil {
			t.Fatal(err)
		}
		if !installed(dir, files) {
			t.Error("not installed")
		}
		if got := entries(t, dir); len(got) != 2 {
			t.Errorf("the folder holds %v", got)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "lib.so"))
	if err != nil || info.Mode().Perm() != 0o644 && runtime.GOOS != "windows" {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Truncate(filepath.Join(dir, "side.so"), 3); err != nil {
		t.Fatal(err)
	}
	if installed(dir, files) {
		t.Error("a truncated file counts as installed")
	}
}

func TestFolderThatCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := makeFolder(filepath.Join(file, "onnxruntime")); err == nil || !strings.Contains(err.Error(), ort.EnvCache) {
		t.Errorf("%v does not say what moves the folder", err)
	}
}

// Whatever is wrong with an archive, the error says it and nothing is left.
func TestInstallRefuses(t *testing.T) {
	files, archive := published(t)
	change := func(f func(*ort.File)) []ort.File {
		changed := append([]ort.File{}, files...)
		f(&changed[1])
		return changed
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx     context.Context
		files   []ort.File
		archive []byte
		part    string
	}{
		"text":      {t.Context(), files, []byte("hello"), "not a .tgz"},
		"truncated": {t.Context(), files, archive[:len(archive)/2], "reading the archive"},
		"hash":      {t.Context(), change(func(f *ort.File) { f.SHA256 = strings.Repeat("0", 64) }), archive, "expected 0000"},
		"too long":  {t.Context(), change(func(f *ort.File) { f.Size-- }), archive, "more than"},
		"too short": {t.Context(), change(func(f *ort.File) { f.Size++ }), archive, "expected 10"},
		"missing":   {t.Context(), change(func(f *ort.File) { f.Member = "package/none" }), archive, "package/none"},
		"cancelled": {cancelled, files, archive, "canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			err := install(c.ctx, "pkg@1", dir, c.files, bytes.NewReader(c.archive))
			if err == nil || !strings.Contains(err.Error(), c.part) {
				t.Errorf("got %v, want an error with %q", err, c.part)
			}
			if got := entries(t, dir); len(got) != 0 {
				t.Errorf("left %v", got)
			}
		})
	}
}

func TestFetch(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the stand-in for npm is a shell script")
	}
	path := t.TempDir()
	t.Setenv("PATH", path)
	if _, err := fetch(t.Context(), "pkg@1", t.TempDir()); err == nil || !strings.Contains(err.Error(), "no npm command") || !strings.Contains(err.Error(), "-from") {
		t.Errorf("without npm: %v", err)
	}
	npm := func(script string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(path, "npm"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	npm("echo network is unreachable >&2; exit 1")
	if _, err := fetch(t.Context(), "pkg@1", t.TempDir()); err == nil || !strings.Contains(err.Error(), "network is unreachable") || !strings.Contains(err.Error(), "pkg@1") {
		t.Errorf("npm fails: %v", err)
	}
	npm("true")
	if _, err := fetch(t.Context(), "pkg@1", t.TempDir()); err == nil || !strings.Contains(err.Error(), "0 archives") {
		t.Errorf("npm leaves nothing: %v", err)
	}
	npm(`[ "$1 $2 $3" = "pack pkg@1 --ignore-scripts" ] && echo data > pkg-1.tgz`)
	dir := t.TempDir()
	if archive, err := fetch(t.Context(), "pkg@1", dir); err != nil || archive != filepath.Join(dir, "pkg-1.tgz") {
		t.Errorf("got %q, %v", archive, err)
	}
}

func TestRunRefusesArguments(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), ort.Version, "", []string{"x"}, &out, &out); err == nil || out.Len() > 0 {
		t.Errorf("got %v, printed %q", err, out.String())
	}
	if err := run(t.Context(), "1.0.0", "", nil, &out, &out); err == nil || !strings.Contains(err.Error(), ort.Version) || out.Len() > 0 {
		t.Errorf("an unknown release: %v, printed %q", err, out.String())
	}
}
