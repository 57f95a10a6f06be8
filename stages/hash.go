package stages

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"editpipe/dataset"
	"editpipe/file"
	"editpipe/store"
)

// id is a unit's identity: 24 hexadecimal digits over the parts, which must
// encode to JSON.
func id(parts ...any) string {
	h := sha256.New()
	enc := json.NewEncoder(h)
	for _, p := range parts {
		if err := enc.Encode(p); err != nil {
			panic(fmt.Sprintf("stages: hashing %T: %v", p, err)) // only values of our own types come here
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

// hashFiles gives a hash per file: those in folder, if there is one, under
// their names there, then others. Where the files lie does not enter.
func hashFiles(folder string, others []string) ([]string, error) {
	var hashes []string
	add := func(name, path string) error {
		sum, err := file.Hash(path)
		hashes = append(hashes, name+" "+sum)
		return err
	}
	if folder != "" {
		err := filepath.WalkDir(folder, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			name, err := filepath.Rel(folder, p)
			if err != nil {
				return err
			}
			return add(filepath.ToSlash(name), p)
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("stages: reading artifacts: %w", err)
		}
	}
	for _, p := range slices.Sorted(slices.Values(others)) {
		if err := add(filepath.Base(p), p); err != nil {
			return nil, fmt.Errorf("stages: reading a method's files: %w", err)
		}
	}
	return hashes, nil
}

// hashSource covers everything in a source.
func hashSource(src dataset.Source) (string, error) {
	var list []dataset.Record
	for r, err := range src.Records() {
		if err != nil {
			return "", fmt.Errorf("stages: reading %s: %w", src.Name(), err)
		}
		list = append(list, r)
	}
	return store.HashRecords(list), nil
}
