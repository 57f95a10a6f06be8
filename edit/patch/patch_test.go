package patch

import (
	"context"
	"editpipe/models/arch"
	"editpipe/models/patch"
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

func newEditor(t *testing.T, path string) (edit.Editor, error) {
	t.Helper()
	c, err := Method().Configure(&arch.Info{}, map[string]string{"path": path})
	must(t, err)
	return Method().New(c, edit.Inputs{})
}

func TestFileIsNoSingleEdit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "all.npz")
	must(t, npz.Write(path, change(9)))
	ed, err := newEditor(t, path)
	must(t, err)
	_, errs := edit.EachOf(context.Background(), name, ed, edit.Base{}, []dataset.Edit{{ID: "e1"}})
	if !errors.Is(errs[0], edit.ErrUnsupported) {
		t.Errorf("one file for a single edit: %v", errs[0])
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
	ed, err := newEditor(t, path)
	must(t, err)
	got, err := ed.Edit(context.Background(), edit.Base{LM: lm}, []dataset.Edit{{ID: "a"}, {ID: "b"}})
	must(t, err)
	if got.Method != name || !slices.Equal(got.Edits, []string{"a", "b"}) || got.Weights[0].Delta.Float32s()[3] != 2 {
		t.Errorf("%+v", got)
	}
	meta.ModelHash = "another"
	must(t, p.Save(path, meta))
	var misfit *patch.MisfitError
	if _, err := ed.Edit(context.Background(), edit.Base{LM: lm}, []dataset.Edit{{ID: "a"}}); !errors.As(err, &misfit) {
		t.Errorf("a patch of another model: %v", err)
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
	ed, err := newEditor(t, dir)
	must(t, err)
	edits := func(id dataset.EditID) []dataset.Edit { return []dataset.Edit{{ID: id}} }
	lm := edittest.Open(t, tinylm.Config{})
	// Ids are file names, whatever is in them.
	must(t, npz.Write(filepath.Join(dir, "cf%2F1.npz"), change(1)))
	if _, err := ed.Edit(context.Background(), edit.Base{LM: lm}, edits("cf/1")); err != nil {
		t.Error(err)
	}
	if _, err := ed.Edit(context.Background(), edit.Base{LM: lm}, edits("absent")); err == nil || !strings.Contains(err.Error(), "absent.safetensors") {
		t.Errorf("edit without a file: %v", err)
	}
	must(t, npz.Write(filepath.Join(dir, "e1.npz"), change(1)))
	if _, err := ed.Edit(context.Background(), edit.Base{LM: lm}, edits("e1")); err == nil || !strings.Contains(err.Error(), "keep one") {
		t.Errorf("two files for an edit: %v", err)
	}
	if _, err := newEditor(t, ""); err == nil || !strings.Contains(err.Error(), "patch.path") {
		t.Errorf("no path: %v", err)
	}
	if _, err := newEditor(t, filepath.Join(dir, "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("path that does not exist: %v", err)
	}
}
