package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"editpipe/file"
	"editpipe/models/folder"
	"editpipe/sets"
	"editpipe/store"
)

// writable tries the output folder, or the nearest one above it, so that a run
// does not find out after its first hour. It leaves nothing behind: a command
// that fails, or only plans, makes no folder.
func writable(dir string) error {
	if err := takesFiles(nearest(dir)); err != nil {
		return fmt.Errorf("--out: %s cannot be written: %w", filepath.Clean(dir), err)
	}
	return nil
}

// takesFiles makes a file in a folder and removes it.
func takesFiles(dir string) error {
	d, err := file.CreateDraft(filepath.Join(dir, "probe"))
	if err != nil {
		return err
	}
	return d.Abort()
}

// writableFile tries the file that a flag names before work starts. It refuses a
// folder, and a file that is there already below a folder of a run or of data, or
// in one of a model: it may be a part of it.
func writableFile(flag, path string) error {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return fmt.Errorf("--%s: %s cannot be written: %w", flag, path, err)
	}
	if info, err := os.Stat(path); err == nil {
		if info.IsDir() {
			return usagef("--%s %s is a folder: name the file to write", flag, path)
		}
		for d, below := dir, ""; d != below; d, below = filepath.Dir(d), d {
			if store.IsFolder(d) || d == dir && folder.IsModel(d) {
				return usagef("--%s %s would replace a file of the folder %s, which holds a run, data or a model: name another file", flag, path, d)
			}
		}
	}
	if err := takesFiles(dir); err != nil {
		return fmt.Errorf("--%s: %s cannot be written: %w", flag, path, err)
	}
	return nil
}

// writableSet is writableData for a data set, which would also take the place of
// files of these names in a folder that holds something else: a knowledge base,
// or a project.
func writableSet(dir string, files ...string) error {
	if err := writableData(dir); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, sets.EditsFile)); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, name := range files {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return fmt.Errorf("--out: %s holds no data set, but a %s of something else: use a new or empty folder", filepath.Clean(dir), name)
		}
	}
	return nil
}

// writableData is writable for a data set, which would take the place of a
// run's manifest.
func writableData(dir string) error {
	if err := store.RefuseRun(dir); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return writable(dir)
}

// nearest returns dir or the first folder above it that exists.
func nearest(dir string) string {
	for {
		_, err := os.Stat(dir)
		if err == nil || filepath.Dir(dir) == dir {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}
