package patch

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/edit/edittest"
	"editpipe/internal/tinylm"
	"editpipe/models"
	"editpipe/models/arch"
	"editpipe/models/patch"
	"editpipe/tensor"
	"editpipe/tensor/npz"
	"editpipe/tensor/safetensors"
)

// change is a seeded rank-1 change of the first layer's down matrix in a tiny
// GPT-2, which is 128 x 32.
func change(seed uint64) map[string]*tensor.Tensor {
	rng := rand.New(rand.NewPCG(seed, 0))
	random := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(rng.NormFloat64())
		}
		return v
	}
	return map[string]*tensor.Tensor{
		"decoder.0.ffn_down.U": tensor.FromFloat32s(random(128), 128, 1),
		"decoder.0.ffn_down.V": tensor.FromFloat32s(random(32), 1, 32),
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// folder holds a patch for each edit of the suite, in both formats.
func folder(t *testing.T) string {
	dir := t.TempDir()
	for i, r := range edittest.Records() {
		path := filepath.Join(dir, string(r.Edit.ID))
		if i%2 == 0 {
			must(t, safetensors.Write(path+".safetensors", change(uint64(i)), nil))
		} else {
			must(t, npz.Write(path+".npz", change(uint64(i))))
		}
	}
	return dir
}

func TestFolderConforms(t *testing.T) {
	edittest.Run(t, Method(), edittest.Options{Set: map[string]string{"path": folder(t)}, Kinds: []edit.Kind{edit.Single}})
}

func TestFileConforms(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.npz")
	must(t, npz.Write(path, change(9)))
	edittest.Run(t, Method(), edittest.Options{Set: map[string]string{"path": path}, Kinds: []edit.Kind{edit.Batch}})
}

func newEditor(t *testing.T, lm *models.LM, path string) (edit.Editor, error) {
	t.Helper()
	return Method().Open(context.Background(), mustConfigure(t, path), edit.Env{LM: lm})
}

// made makes edits of these ids together.
func made(ed edit.Editor, ids ...dataset.EditID) edit.Made {
	var edits []dataset.Edit
	for _, id := range ids {
		edits = append(edits, dataset.Edit{ID: id})
	}
	return edittest.Together(context.Background(), ed, nil, edits...)
}

func TestFileIsNoSingleEdit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.npz")
	must(t, npz.Write(path, change(9)))
	if err := Method().Apart(mustConfigure(t, path)); !errors.Is(err, edit.ErrUnsupported) || !strings.Contains(err.Error(), path) {
		t.Errorf("one file for single edits: %v", err)
	}
	if err := Method().Apart(mustConfigure(t, folder(t))); err != nil {
		t.Errorf("a folder for single edits: %v", err)
	}
}

// A patch saved by the project, dense and with its JSON file, is read as it is.
func TestSavedPatch(t *testing.T) {
	lm := edittest.Open(t, tinylm.Config{})
	w := lm.Info().FFNs[1].Down
	v := make([]float32, w.In*w.Out)
	v[3] = 2
	p := patch.Patch{Method: "elsewhere", Edits: []string{"e1"}, Weights: []patch.Weight{{At: w.ID, Delta: tensor.FromFloat32s(v, w.In, w.Out)}}}
	path := filepath.Join(t.TempDir(), "saved.safetensors")
	meta := patch.Meta{ModelHash: lm.Hash(), TokenizerHash: lm.TokenizerHash()}
	must(t, p.Save(path, meta))
	ed, err := newEditor(t, lm, path)
	must(t, err)
	both := made(ed, "a", "b")
	must(t, both.Err)
	if got := both.Patch; got.Method != name || !slices.Equal(got.Edits, []string{"a", "b"}) || got.Weights[0].Delta.Float32s()[3] != 2 {
		t.Errorf("%+v", got)
	}
	meta.ModelHash = "another"
	must(t, p.Save(path, meta))
	var misfit *patch.MisfitError
	if m := made(ed, "a"); !errors.As(m.Err, &misfit) {
		t.Errorf("a patch of another model: %v", m.Err)
	}
	files, err := Method().Files(mustConfigure(t, path))
	if err != nil || len(files) != 2 {
		t.Errorf("files that decide the result: %v, %v", files, err)
	}
}

func mustConfigure(t *testing.T, path string) edit.Config {
	t.Helper()
	c, err := Method().Configure(&arch.Info{}, map[string]string{"path": path})
	must(t, err)
	return c
}

func TestPaths(t *testing.T) {
	dir := folder(t)
	lm := edittest.Open(t, tinylm.Config{})
	ed, err := newEditor(t, lm, dir)
	must(t, err)
	// Ids are file names, whatever is in them.
	must(t, npz.Write(filepath.Join(dir, "cf%2F1.npz"), change(1)))
	if m := made(ed, "cf/1"); m.Err != nil {
		t.Error(m.Err)
	}
	if m := made(ed, "absent"); m.Err == nil || !strings.Contains(m.Err.Error(), "absent.safetensors") {
		t.Errorf("edit without a file: %v", m.Err)
	}
	must(t, npz.Write(filepath.Join(dir, "e1.npz"), change(1)))
	if m := made(ed, "e1"); m.Err == nil || !strings.Contains(m.Err.Error(), "keep one") {
		t.Errorf("two files for an edit: %v", m.Err)
	}
	if _, err := newEditor(t, lm, ""); err == nil || !strings.Contains(err.Error(), "patch.path") {
		t.Errorf("no path: %v", err)
	}
	if _, err := newEditor(t, lm, filepath.Join(dir, "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("path that does not exist: %v", err)
	}
}
