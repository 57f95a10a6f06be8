// Package patch is the method "patch": it makes no edits itself but takes
// weight changes computed elsewhere, so that edits made by another tool are
// asked the same questions under the same definitions.
//
// A change is dense (a delta that is added to a weight) or of low rank (U V).
// Files are safetensors or NumPy .npz; README.md describes them.
package patch

import (
	"context"
	"editpipe/models/arch"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/models"
)

const name = "patch"

// The layouts in which a matrix can lie in a file.
const (
	Auto  = "auto"   // told by the shape
	InOut = "in_out" // rows are inputs
	OutIn = "out_in" // rows are outputs, as torch.nn.Linear stores them
)

// Config is the configuration of the method.
type Config struct {
	Path   string `set:"path" doc:"a file with one patch for all edits together (setting batch:N), or a folder with EDIT_ID.safetensors or EDIT_ID.npz for each edit (setting single)"`
	Layout string `set:"layout" oneof:"auto|in_out|out_in" doc:"how tensors under a checkpoint's own names lie; auto tells by the shape and fails for square ones"`
}

// Method is the method "patch".
func Method() edit.Method {
	return edit.Define(edit.Spec[Config]{
		Name: name, Title: "Patch made elsewhere", Version: 1,
		Schedules: []edit.Kind{edit.Single, edit.Batch},
		Defaults:  func(*arch.Info) Config { return Config{Layout: Auto} },
		New: func(c Config, _ edit.Inputs) (edit.Editor, error) {
			folder, err := isFolder(c.Path)
			return &editor{c, folder}, err
		},
		Files: files,
	})
}

func isFolder(path string) (bool, error) {
	if path == "" {
		return false, errors.New("no file or folder given: pass --set patch.path=PATH")
	}
	info, err := os.Stat(path)
	if err != nil {
		return false, fmt.Errorf("patch.path: %w", err)
	}
	return info.IsDir(), nil
}

// files lists what decides the result.
func files(c Config) ([]string, error) {
	folder, err := isFolder(c.Path)
	if err != nil {
		return nil, err
	}
	if !folder {
		list := []string{c.Path}
		if _, err := os.Stat(c.Path + ".json"); err == nil {
			list = append(list, c.Path+".json")
		}
		return list, nil
	}
	var list []string
	err = filepath.WalkDir(c.Path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && slices.Contains(append(endings(), ".json"), filepath.Ext(p)) {
			list = append(list, p)
		}
		return err
	})
	return list, err
}

type editor struct {
	Config
	folder bool
}

// Edit returns the patch in the file, or that of the one edit in the folder, on
// top of what stood before.
func (ed *editor) Edit(ctx context.Context, on edit.Base, edits []dataset.Edit) (models.Patch, error) {
	if len(edits) == 0 {
		return models.Patch{}, edit.ErrNoEdits
	}
	path := ed.Path
	if ed.folder {
		if len(edits) > 1 {
			return models.Patch{}, edit.Wrap(name, "", fmt.Errorf("%w: %s is a folder with one patch per edit, which cannot be combined; use setting single", edit.ErrUnsupported, ed.Path))
		}
		var err error
		if path, err = ed.find(edits[0].ID); err != nil {
			return models.Patch{}, edit.Wrap(name, edits[0].ID, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return models.Patch{}, err
	}
	changes, err := read(path, on.LM, ed.Layout)
	if err != nil {
		return models.Patch{}, edit.Wrap(name, "", err)
	}
	p := models.Patch{Method: name, Changes: changes}
	for _, e := range edits {
		p.Edits = append(p.Edits, string(e.ID))
	}
	return *on.Patch.Then(&p), nil
}

// EditEach reads every edit's own file. A single file stands for all edits
// together, so it is refused here.
func (ed *editor) EditEach(ctx context.Context, on edit.Base, edits []dataset.Edit) ([]models.Patch, []error) {
	patches, errs := make([]models.Patch, len(edits)), make([]error, len(edits))
	for i := range edits {
		if ed.folder {
			patches[i], errs[i] = ed.Edit(ctx, on, edits[i:i+1])
		} else {
			errs[i] = fmt.Errorf("%w: %s is one patch for all edits together; use setting batch:N with N edits under test", edit.ErrUnsupported, ed.Path)
		}
	}
	return patches, errs
}

func endings() []string { return []string{".safetensors", ".npz"} }

// find gives the file of an edit. Characters that cannot stand in a file name
// are percent-encoded.
func (ed *editor) find(id dataset.EditID) (string, error) {
	var found []string
	for _, end := range endings() {
		p := filepath.Join(ed.Path, url.PathEscape(string(id))+end)
		if _, err := os.Stat(p); err == nil {
			found = append(found, p)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("no %s.safetensors or .npz in %s", url.PathEscape(string(id)), ed.Path)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("both %s and %s are there: keep one", found[0], found[1])
}
