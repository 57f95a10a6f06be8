package edittest

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"editpipe/models"
	"editpipe/ort/orttest"
)

// World is the model on which the original authors' code was run, with the
// folder of what that code made of it.
type World struct {
	Dir string
	LM  *models.LM
}

// OpenWorld opens the model in the reference folder, which EDITPIPE_SHARED names
// or which stands beside the repository. It is for the checks behind the build
// tag shared of packages two folders below the root; without the folder they
// are skipped.
func OpenWorld(t testing.TB) World {
	t.Helper()
	shared := os.Getenv("EDITPIPE_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	dir := filepath.Join(shared, "fixtures", "world")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no fixtures at %s", dir)
	}
	lm, err := models.Open(context.Background(), orttest.Open(t), dir, models.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closing(t, lm.Close) })
	return World{dir, lm}
}

// JSON reads a JSON file of the folder.
func (w World) JSON(t testing.TB, into any, path ...string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(append([]string{w.Dir}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}
