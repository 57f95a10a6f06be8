package ort

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// CacheEntry is a folder or file in the cache.
type CacheEntry struct {
	Name    string
	Size    int64 // bytes, of all files in it
	Removed bool
}

// Cached lists what the cache folder holds, by name; nothing where there is no such
// folder. Where prune is set, it removes what is not a runtime library: it is made
// again when needed.
func Cached(prune bool) ([]CacheEntry, error) {
	root, err := CacheRoot()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("ort: listing the cache folder: %w", err)
	}
	var list []CacheEntry
	for _, e := range entries {
		path := filepath.Join(root, e.Name())
		size, err := sizeOf(path)
		if err != nil {
			return list, fmt.Errorf("ort: sizing the cache folder: %w", err)
		}
		remove := prune && e.Name() != libraries
		if remove {
			if err := os.RemoveAll(path); err != nil {
				return list, fmt.Errorf("ort: emptying the cache folder: %w", err)
			}
		}
		list = append(list, CacheEntry{e.Name(), size, remove})
	}
	return list, nil
}

// sizeOf is the size of all files in a folder, or of one file.
func sizeOf(path string) (int64, error) {
	var total int64
	err := filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
