//go:build shared

package safetensors_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/tensor/npz"
	"editpipe/tensor/safetensors"
)

func shared(t *testing.T) string {
	dir := os.Getenv("EDITPIPE_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no folder %s: set EDITPIPE_SHARED", dir)
	}
	return dir
}

// TestSharedCheckpoints compares the weights of every checkpoint with the same
// weights as NumPy wrote them.
func TestSharedCheckpoints(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(shared(t), "fixtures", "arch", "*", "checkpoint", "*.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 6 {
		t.Fatalf("only %d checkpoints found", len(paths))
	}
	compared := 0
	for _, path := range paths {
		tensors, meta, err := safetensors.Read(path)
		if err != nil {
			t.Error(err)
			continue
		}
		t.Logf("%s: %d tensors, metadata %v", path, len(tensors), meta)
		oracle := filepath.Join(filepath.Dir(filepath.Dir(path)), "oracle")
		for name, x := range tensors {
			want, err := npz.ReadNPY(filepath.Join(oracle, "w_"+strings.ReplaceAll(name, ".", "_")+".npy"))
			if errors.Is(err, os.ErrNotExist) {
				continue // only FFN weights have one
			}
			if err != nil {
				t.Error(err)
				continue
			}
			compared++
			if !bytes.Equal(x.Data, want.Data) {
				t.Errorf("%s: %s differs from the oracle", path, name)
			}
		}
	}
	if compared < 20 {
		t.Errorf("only %d weights compared", compared)
	}
	t.Logf("%d weights compared", compared)
}
