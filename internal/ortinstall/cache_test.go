package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/ort"
)

func TestFolderThatCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := makeFolder(filepath.Join(file, "onnxruntime")); err == nil || !strings.Contains(err.Error(), ort.EnvCache) {
		t.Errorf("%v does not say what moves the folder", err)
	}
}
