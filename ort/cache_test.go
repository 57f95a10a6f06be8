package ort

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestCached(t *testing.T) {
	root := filepath.Join(t.TempDir(), "cache")
	t.Setenv(EnvCache, root)
	if list, err := Cached(true); err != nil || list != nil {
		t.Errorf("no folder: %v, %v", list, err)
	}
	for name, text := range map[string]string{"demo/a": "four", "demo/b/c": "six...", libraries + "/lib": "x"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, prune := range []bool{false, true} {
		want := []CacheEntry{{"demo", 10, prune}, {libraries, 1, false}}
		if list, err := Cached(prune); err != nil || !slices.Equal(list, want) {
			t.Errorf("prune %v: %v, %v; want %v", prune, list, err, want)
		}
	}
	if list, err := Cached(false); err != nil || len(list) != 1 || list[0].Name != libraries {
		t.Errorf("after pruning: %v, %v", list, err)
	}
}
