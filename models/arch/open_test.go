package arch

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/lfs"
	"editpipe/onnx"
	"editpipe/tensor"
)

const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"

// configured makes a folder with a configuration that says nothing.
func configured(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A file that is no graph is named, with what to do about it.
func TestDamagedGraph(t *testing.T) {
	for content, says := range map[string]string{"not a model": "damaged", "": "model.onnx"} {
		dir := configured(t)
		if err := os.WriteFile(filepath.Join(dir, "model.onnx"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "model.onnx") || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", content, err)
		}
	}
}

// TestPointers: whichever file of a folder is only a Git LFS pointer, the message
// names it and says so, once and in the same words.
func TestPointers(t *testing.T) {
	for _, name := range []string{"model.onnx", "model.onnx.data", "config.json", "generation_config.json"} {
		t.Run(name, func(t *testing.T) {
			dir := configured(t)
			m := onnx.New(8, 17)
			b := m.Builder()
			b.Input("input_ids", onnx.Int64, []onnx.Dim{onnx.Symbolic("rows"), onnx.Symbolic("positions")})
			table := b.Initializer("table", tensor.New(tensor.F32, 100, 8))
			b.Output(b.Op("Gather", []string{table, "input_ids"}), "logits", onnx.Float, []onnx.Dim{onnx.Symbolic("rows"), onnx.Symbolic("positions"), {Value: 8}})
			if err := m.Save(filepath.Join(dir, "model.onnx"), onnx.SaveOptions{ExternalOver: 100}); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(dir); err != nil {
				t.Fatalf("whole: %v", err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(pointer), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir)
			if !errors.Is(err, lfs.ErrPointer) || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "damaged") || strings.Count(err.Error(), "LFS") != 1 {
				t.Errorf("%v", err)
			}
		})
	}
}
