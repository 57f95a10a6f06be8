package models_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"editpipe/internal/modeltest"
	"editpipe/internal/tinylm"
	"editpipe/lfs"
	"editpipe/models"
	"editpipe/models/answer"
	"editpipe/models/arch"
	"editpipe/models/loss"
	"editpipe/ort/orttest"
)

// symlink makes a link. A Windows account may lack the right to; elsewhere a link
// that cannot be made is a failure.
func symlink(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		if runtime.GOOS == "windows" {
			t.Skip(err)
		}
		t.Fatal(err)
	}
}

// hubCache lays a model folder out as a hub's local cache does: real files under
// their digests in blobs, links to them in snapshots/REV, graphs in its folder
// onnx. It returns the snapshot.
func hubCache(t *testing.T, from string) string {
	t.Helper()
	root := t.TempDir()
	snapshot := filepath.Join(root, "snapshots", "0123abc")
	modeltest.Must(t, os.MkdirAll(filepath.Join(root, "blobs"), 0o755))
	modeltest.Must(t, os.MkdirAll(filepath.Join(snapshot, "onnx"), 0o755))
	entries, err := os.ReadDir(from)
	modeltest.Must(t, err)
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		modeltest.Must(t, err)
		blob := fmt.Sprintf("%x", sha256.Sum256(data))
		modeltest.Must(t, os.WriteFile(filepath.Join(root, "blobs", blob), data, 0o644))
		link, up := filepath.Join(snapshot, e.Name()), filepath.Join("..", "..")
		if strings.Contains(e.Name(), ".onnx") {
			link, up = filepath.Join(snapshot, "onnx", e.Name()), filepath.Join(up, "..")
		}
		symlink(t, filepath.Join(up, "blobs", blob), link)
	}
	return snapshot
}

// TestHubCache: a model whose files, external data too, are links into another
// folder is the same model: in its answers, its edits and as an export.
func TestHubCache(t *testing.T) {
	env := orttest.Open(t)
	from := modeltest.Folder(t, tinylm.Config{Family: tinylm.GPT2, ExternalData: true, Cache: tinylm.WithPast})
	plain, linked := modeltest.Open(t, env, from, models.Options{}), modeltest.Open(t, env, hubCache(t, from), models.Options{})
	if plain.Hash() != linked.Hash() {
		t.Errorf("hash %s, by links %s", plain.Hash(), linked.Hash())
	}
	r := rand.New(rand.NewPCG(3, 1))
	patch := modeltest.RandomPatch(plain, r, 0.5)
	merged, err := patch.Merge()
	modeltest.Must(t, err)
	rows := make([]answer.Row, 0, 9)
	for range 3 {
		q := modeltest.RandomQuery(plain, r, 6, 2)
		rows = append(rows, answer.Row{Query: q}, answer.Row{Query: q, Patch: patch}, answer.Row{Query: q, Patch: merged})
	}
	want, err := answer.Score(t.Context(), plain, rows)
	modeltest.Must(t, err)
	got, err := answer.Score(t.Context(), linked, rows)
	modeltest.Must(t, err)
	if d := modeltest.WorstLogProb(t, got, want); d != 0 {
		t.Errorf("answers differ by %g", d)
	}
	losses := []loss.Row{
		{IDs: rows[0].Query.PromptIDs, At: 1, Terms: []loss.Term{{Position: 2, Target: 5, NLL: 1}}},
		{IDs: rows[1].Query.PromptIDs, Patch: patch, Terms: []loss.Term{{Position: 1, Target: 7, NLL: 1}}},
	}
	a, err := loss.At(t.Context(), plain, []arch.Site{{Point: arch.FFNOut}}, losses)
	modeltest.Must(t, err)
	b, err := loss.At(t.Context(), linked, []arch.Site{{Point: arch.FFNOut}}, losses)
	modeltest.Must(t, err)
	for i := range a {
		if d := modeltest.MaxDiff(a[i].Gradient, b[i].Gradient); d != 0 || a[i].Err != nil || b[i].Err != nil {
			t.Errorf("gradients of row %d differ by %g, %v, %v", i, d, a[i].Err, b[i].Err)
		}
	}
	dir := filepath.Join(t.TempDir(), "out")
	modeltest.Must(t, linked.Export(t.Context(), patch, dir))
	var links []string
	modeltest.Must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if e.Type()&os.ModeSymlink != 0 {
			links = append(links, path)
		}
		return err
	}))
	if len(links) > 0 {
		t.Errorf("the export has links: %v", links)
	}
	exported, err := answer.Score(t.Context(), modeltest.Open(t, env, dir, models.Options{}), []answer.Row{{Query: rows[0].Query}})
	modeltest.Must(t, err)
	if d := modeltest.WorstLogProb(t, exported, want[1:2]); d > modeltest.LogProbTolerance {
		t.Errorf("the export differs from the patched model by %g", d)
	}
}

// TestDataLinks: which links of external data are followed, and what is said of
// the others.
func TestDataLinks(t *testing.T) {
	from := modeltest.Folder(t, tinylm.Config{Family: tinylm.GPT2, ExternalData: true})
	elsewhere := filepath.Join(t.TempDir(), "weights")
	data, err := os.ReadFile(filepath.Join(from, "model.onnx.data"))
	modeltest.Must(t, err)
	modeltest.Must(t, os.WriteFile(elsewhere, data, 0o644))
	relink := func(t *testing.T, name, target string) {
		modeltest.Must(t, os.Remove(name))
		symlink(t, target, name)
	}
	refused := func(t *testing.T, dir, says string) {
		_, err := models.Inspect(dir)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "damaged") {
			t.Errorf("want %q and not that it is damaged: %v", says, err)
		}
	}
	t.Run("of a plain model leads elsewhere", func(t *testing.T) {
		dir := t.TempDir()
		modeltest.Must(t, os.CopyFS(dir, os.DirFS(from)))
		relink(t, filepath.Join(dir, "model.onnx.data"), elsewhere)
		refused(t, dir, "leaves the model folder")
	})
	t.Run("of a linked model leads elsewhere", func(t *testing.T) {
		dir := hubCache(t, from)
		relink(t, filepath.Join(dir, "onnx", "model.onnx.data"), elsewhere)
		refused(t, dir, "nor beside the model's own file")
	})
	t.Run("leads nowhere", func(t *testing.T) {
		dir := hubCache(t, from)
		relink(t, filepath.Join(dir, "onnx", "model.onnx.data"), filepath.Join("..", "..", "..", "blobs", "gone"))
		refused(t, dir, "missing")
	})
	t.Run("within the folder", func(t *testing.T) {
		dir := t.TempDir()
		modeltest.Must(t, os.CopyFS(dir, os.DirFS(from)))
		modeltest.Must(t, os.Rename(filepath.Join(dir, "model.onnx.data"), filepath.Join(dir, "weights")))
		symlink(t, "weights", filepath.Join(dir, "model.onnx.data"))
		_, err := models.Inspect(dir)
		modeltest.Must(t, err)
	})
	t.Run("only the model is a link", func(t *testing.T) {
		dir := hubCache(t, from)
		name := filepath.Join(dir, "onnx", "model.onnx.data")
		modeltest.Must(t, os.Remove(name))
		modeltest.Must(t, os.WriteFile(name, data, 0o644))
		_, err := models.Inspect(dir)
		modeltest.Must(t, err)
	})
}

// TestTokenizerPointer: where the tokenizer is only a Git LFS pointer, the model
// does not open, and says why as for every other file.
func TestTokenizerPointer(t *testing.T) {
	env := orttest.Open(t)
	dir := modeltest.Folder(t, tinylm.Config{Family: tinylm.GPT2})
	path := filepath.Join(dir, "tokenizer.json")
	modeltest.Must(t, os.WriteFile(path, []byte("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n"), 0o644))
	_, err := models.Open(t.Context(), env, dir, models.Options{})
	if !errors.Is(err, lfs.ErrPointer) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
}
