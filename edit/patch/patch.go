// Package patch is the method "patch": it makes no edits itself but reads
// weight changes computed elsewhere, so that edits made by another tool are
// evaluated with the same questions and definitions.
//
// A change is dense (a delta that is added to a weight) or of low rank (U V).
// Files are safetensors or NumPy .npz; README.md describes them.
package patch

import (
	"context"
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
	"editpipe/models/patch"
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
	Path   string `set:"path" doc:"a file with one patch for all edits together (--setting batch:N), or a folder with EDIT_ID.safetensors or EDIT_ID.npz for each edit (--setting single)"`
	Layout string `set:"layout" oneof:"auto|in_out|out_in" doc:"layout of tensors that have a checkpoint's own names; auto tells it from the shape and fails for square ones"`
}

// Method is the method "patch".
func Method() edit.Method {
	return edit.Define(edit.Spec[Config]{
		Name: name, Title: "Patch made elsewhere", Version: 1,
		Schedules: []edit.Kind{edit.Single, edit.Batch},
		Base:      Config{Layout: Auto},
		Open: func(_ context.Context, c Config, in edit.Env) (edit.Editor, error) {
			folder, err := isFolder(c.Path)
			return &editor{c, folder, in.LM}, err
		},
		Apart: apart,
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

// apart: a single file stands for all edits together.
func apart(c Config) error {
	if folder, err := isFolder(c.Path); err != nil || folder {
		return nil //nolint:nilerr // a wrong path is a fault of files
	}
	return fmt.Errorf("%w: %s is one patch for all edits together; use setting batch:N with N edits under test", edit.ErrUnsupported, c.Path)
}

type editor struct {
	Config
	folder bool
	lm     *models.LM
}

// Make gives every group the patch in the file, or that of its one edit in the
// folder, on top of what stood before.
func (ed *editor) Make(ctx context.Context, on *patch.Patch, groups [][]dataset.Edit) ([]edit.Made, error) {
	made := make([]edit.Made, len(groups))
	for i, edits := range groups {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		mine, err := ed.read(edits)
		if err != nil {
			made[i].Err = err
			continue
		}
		made[i].Patch = on.Then(mine)
	}
	return made, nil
}

// read gives the patch of a group.
func (ed *editor) read(edits []dataset.Edit) (*patch.Patch, error) {
	path := ed.Path
	if ed.folder {
		if len(edits) > 1 {
			return nil, fmt.Errorf("%w: %s is a folder with one patch per edit, which cannot be combined; use setting single", edit.ErrUnsupported, ed.Path)
		}
		var err error
		if path, err = ed.find(edits[0].ID); err != nil {
			return nil, err
		}
	}
	changes, err := read(path, ed.lm, ed.Layout)
	if err != nil {
		return nil, err
	}
	p := &patch.Patch{Method: name, Weights: changes}
	for _, e := range edits {
		p.Edits = append(p.Edits, string(e.ID))
	}
	return p, nil
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
