//go:build shared

package onnx_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"editpipe/onnx"
)

// TestFixtures reads every exported model of the shared fixtures, writes it
// and compares the two encodings.
func TestFixtures(t *testing.T) {
	root := os.Getenv("EDITPIPE_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "shared")
	}
	var files []string
	for _, pattern := range []string{"fixtures/arch/*/*.onnx", "fixtures/world/*.onnx"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		t.Skipf("no models under %s (set EDITPIPE_SHARED)", filepath.Join(root, "fixtures"))
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			m, err := onnx.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer closeModel(t, m)
			again, err := m.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			sameModel(t, data, again)
			m2, err := onnx.Parse(again, "")
			if err != nil {
				t.Fatal(err)
			}
			third, err := m2.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again, third) {
				t.Error("writing is not stable")
			}
			for _, init := range m.Graph.Initializers {
				if _, err := init.Value(); err != nil {
					t.Error(err)
				}
			}
			nodes := len(m.Graph.Nodes)
			if m.Prune(); len(m.Graph.Nodes) != nodes {
				t.Logf("%d of %d nodes feed no output", nodes-len(m.Graph.Nodes), nodes)
			}
			if err := m.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}
