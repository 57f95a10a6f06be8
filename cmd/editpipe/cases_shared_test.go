//go:build shared

package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/internal/modeltest"
	"editpipe/ort/orttest"
	"editpipe/row"
	"editpipe/store"
)

// sharedCase is a path among the cases in the folder of data beside the repository.
// Without the folder a test is skipped; what the folder lacks is a failure.
func sharedCase(t *testing.T, parts ...string) string {
	t.Helper()
	return modeltest.Shared(t, append([]string{"cases"}, parts...)...)
}

// TestEditingCases edits exported models of families whose blocks are written
// otherwise: every row of every method that changes weights is answered.
func TestEditingCases(t *testing.T) {
	orttest.Find(t)
	dir := t.TempDir()
	var text strings.Builder
	r := rand.New(rand.NewPCG(1, 2))
	for range 600 { // of random letters, so that no key is a sum of others
		for range 40 {
			text.WriteByte(" abcdefghijklmnopqrstuvwxyz,.ABCDEFGH0123456789"[r.IntN(47)])
		}
		text.WriteByte('\n')
	}
	corpus := writeFile(t, filepath.Join(dir, "corpus.txt"), text.String())
	callOK(t, "generate", "--n", "2", "--sets", "reliability,generalization", "--out", filepath.Join(dir, "data"))
	for _, name := range []string{"opt", "gpt_neo"} {
		t.Run(name, func(t *testing.T) {
			model, art, out := sharedCase(t, "models", name), filepath.Join(t.TempDir(), "art"), filepath.Join(t.TempDir(), "run")
			for _, m := range []string{"rome", "memit", "pmet"} {
				callOK(t, "prepare", "--model", model, "--method", m, "--corpus", corpus, "--set", m+".mom2_tokens=10000", "--out", art)
			}
			callOK(t, "eval", "--model", model, "--data", filepath.Join(dir, "data"), "--method", "none,rome,memit,pmet,ft-l,ft-m,kn", "--set", "kn.refine=no", "--artifacts", art, "--out", out)
			rows, err := store.ReadDir[row.Result](filepath.Join(out, string(store.TableResults)))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				if r.Status != row.OK {
					t.Errorf("%s: %s", r.Method, r.Status)
				}
			}
			if want := 7 * 4; len(rows) < want {
				t.Errorf("%d rows, want %d at least", len(rows), want)
			}
		})
	}
}

// TestHubCacheCase opens the case's layout of a hub's cache.
func TestHubCacheCase(t *testing.T) {
	from, root := sharedCase(t, "public-reports", "hub-cache"), t.TempDir()
	snapshot := filepath.Join(root, "snapshots", "0123abc")
	for _, d := range []string{filepath.Join(root, "blobs"), filepath.Join(snapshot, "onnx")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "model.onnx", "model.onnx.data"} {
		blob := "0" + strings.ReplaceAll(name, ".", "")
		writeFile(t, filepath.Join(root, "blobs", blob), string(readFile(t, filepath.Join(from, name))))
		link, target := filepath.Join(snapshot, name), filepath.Join("..", "..", "blobs", blob)
		if strings.HasPrefix(name, "model") {
			link, target = filepath.Join(snapshot, "onnx", name), filepath.Join("..", target)
		}
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{snapshot, filepath.Join(snapshot, "onnx"), filepath.Join(snapshot, "onnx", "model.onnx")} {
		callOK(t, "inspect", "--model", path)
	}
	orttest.Find(t)
	callOK(t, "edit", "--model", snapshot, "--method", "ft-l", "--subject", "Ada", "--prompt", "Ada works as a", "--target", "pilot", "--save", filepath.Join(root, "p.safetensors"))
	callOK(t, "export", "--model", snapshot, "--patch", filepath.Join(root, "p.safetensors"), "--out", filepath.Join(root, "out"))
}
