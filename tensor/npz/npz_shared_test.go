//go:build shared

package npz_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/tensor"
	"editpipe/tensor/npz"
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

// TestSharedArrays reads every array that NumPy itself wrote.
func TestSharedArrays(t *testing.T) {
	arrays, archives := 0, 0
	err := filepath.WalkDir(filepath.Join(shared(t), "fixtures"), func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case strings.HasSuffix(path, ".npy"):
			x, err := npz.ReadNPY(path)
			if err != nil {
				return err
			}
			arrays++
			check(t, path, x)
		case strings.HasSuffix(path, ".npz"):
			all, err := npz.Read(path)
			if err != nil {
				return err
			}
			archives++
			for name, x := range all {
				check(t, path+": "+name, x)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if arrays < 100 || archives < 3 {
		t.Errorf("only %d arrays and %d archives found", arrays, archives)
	}
	t.Logf("%d arrays, %d archives", arrays, archives)
}

func check(t *testing.T, name string, x *tensor.Tensor) {
	if err := x.Check(); err != nil || !x.Finite() {
		t.Errorf("%s: %v %v is not a finite array: %v", name, x.DType, x.Shape, err)
	}
}
