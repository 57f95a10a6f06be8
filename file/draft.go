package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Draft is a file in the making: it lies beside its final place under another
// name and takes its own name whole, at Commit, or never. A process that is
// killed leaves at most a draft behind, whose name starts with a dot and ends
// in .draft (IsDraft); no reader takes it for data, and Sweep removes it.
type Draft struct {
	*os.File
	path string
	done bool
}

const draftEnd = ".draft"

// IsDraft says whether a file of this name is a draft.
func IsDraft(name string) bool {
	return strings.HasPrefix(name, ".") && strings.HasSuffix(name, draftEnd)
}

// Sweep removes the drafts that killed processes left in a folder, and, if asked
// to, in all folders below it; what links lead to is left alone. Only who keeps
// others from writing there may do it. A folder that is not there has none.
func Sweep(dir string, below bool) error {
	root, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("file: removing drafts: %w", err)
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
		case d.IsDir() && path != root && !below:
			return fs.SkipDir
		case !d.IsDir() && IsDraft(d.Name()):
			err = os.Remove(path)
		}
		if errors.Is(err, fs.ErrNotExist) { // its writer has put it in its place meanwhile
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("file: removing drafts: %w", err)
	}
	return nil
}

// CreateDraft starts a file that Commit will put at path, replacing a file
// that is there. The folder must exist.
func CreateDraft(path string) (*Draft, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*"+draftEnd)
	if err != nil {
		return nil, err
	}
	return &Draft{File: f, path: path}, nil
}

// Commit makes the file durable and puts it in its place with mode 0644. On an
// error the draft is removed and whatever was at the place before is untouched,
// but for a failure to make the new name itself durable.
func (d *Draft) Commit() error {
	if d.done {
		return fmt.Errorf("file: %s: %w", d.path, os.ErrClosed)
	}
	d.done = true
	err := d.Chmod(0o644) // CreateTemp makes files that only their owner reads
	if err == nil {
		err = d.Sync()
	}
	if e := d.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(d.Name(), d.path)
	}
	if err != nil {
		return joinRemoval(err, os.Remove(d.Name()))
	}
	return syncFolder(filepath.Dir(d.path))
}

// Abort removes the draft. After Commit or Abort it does nothing, so that it
// can be deferred.
func (d *Draft) Abort() error {
	if d.done {
		return nil
	}
	d.done = true
	err := d.Close()
	return joinRemoval(err, os.Remove(d.Name()))
}

func joinRemoval(err, removal error) error {
	if err != nil && removal != nil {
		return fmt.Errorf("%w; removing the draft: %w", err, removal)
	}
	if err == nil {
		return removal
	}
	return err
}

// syncFolder makes a new name in a folder durable, where the system allows it.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // a folder cannot be opened for this there; the file system's journal does it
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
