package modeltest

import (
	"cmp"
	"os"
	"path/filepath"
	"testing"

	"editpipe/tensor"
	"editpipe/tensor/npz"
)

// Oracle logits were computed by another framework in float32; kernels differ
// in the order of additions.
const OracleTolerance = 1e-3

// Shared is a path in the folder of data beside the repository. Without the folder
// a test is skipped; what the folder lacks is a failure.
func Shared(t testing.TB, parts ...string) string {
	t.Helper()
	up := ".." // from the folder of the test to the repository
	for ; ; up = filepath.Join(up, "..") {
		if _, err := os.Stat(filepath.Join(up, "go.mod")); err == nil {
			break
		} else if abs, _ := filepath.Abs(up); abs == filepath.Dir(abs) {
			t.Fatal("no go.mod above the test's folder")
		}
	}
	root := cmp.Or(os.Getenv("EDITPIPE_SHARED"), filepath.Join(up, "..", "shared"))
	if _, err := os.Stat(root); err != nil {
		t.Skipf("no shared data in %s: set EDITPIPE_SHARED", root)
	}
	path := filepath.Join(root, filepath.Join(parts...))
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func Fixtures(t testing.TB) string {
	t.Helper()
	return Shared(t, "fixtures")
}

func ReadNPY(t testing.TB, path string) *tensor.Tensor {
	t.Helper()
	v, err := npz.ReadNPY(path)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Unpadded cuts a padded batch of ids into its rows.
func Unpadded(ids, mask *tensor.Tensor) [][]int64 {
	v, m := ids.Int64s(), mask.Int64s()
	T := ids.Shape[1]
	out := make([][]int64, ids.Shape[0])
	for b := range out {
		for t := range T {
			if m[b*T+t] != 0 {
				out[b] = append(out[b], v[b*T+t])
			}
		}
	}
	return out
}
