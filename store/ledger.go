package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"editpipe/file"
)

// Ledger says which units of a run are done: a file per unit that lists the
// unit's shards with size and checksum. A unit whose shard is missing, cut short
// or changed is not done, so that it is made again.
//
// A unit's shards are the files named by its id in the tables of the run. A unit
// that writes none of them counts as done once it is marked.
type Ledger struct{ dir string }

// ledgerEntry is the file of one unit.
type ledgerEntry struct {
	SchemaVersion string        `json:"schema_version"`
	Stage         string        `json:"stage"`
	Unit          string        `json:"unit"`
	Files         []ledgerShard `json:"files"`
}

type ledgerShard struct {
	Path   string `json:"path"` // relative to the run folder, with slashes
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// path returns the file of a unit. Stage and id become file names, so that they
// must be plain ones.
func (l *Ledger) path(stage, id string) (string, error) {
	for _, name := range []string{stage, id} {
		plain := strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
		if name == "" || !plain {
			return "", fmt.Errorf("store: ledger: %q is not a name of letters, digits, - and _", name)
		}
	}
	return filepath.Join(l.dir, ledgerDir, stage, id+".json"), nil
}

// Done reports whether a unit is marked and its shards are as they were then.
func (l *Ledger) Done(stage, id string) (bool, error) {
	path, err := l.path(stage, id)
	if err != nil {
		return false, err
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("store: ledger: %w", err)
	}
	e, ok := parseEntry(data)
	if !ok || e.SchemaVersion != SchemaVersion || e.Stage != stage || e.Unit != id {
		return false, nil // damaged or of another version: doing the unit again is always right
	}
	for _, s := range e.Files {
		if !filepath.IsLocal(filepath.FromSlash(s.Path)) {
			return false, nil
		}
		same, err := s.unchanged(filepath.Join(l.dir, filepath.FromSlash(s.Path)))
		if err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

// parseEntry reads an entry; ok is false for a damaged one.
func parseEntry(data []byte) (e ledgerEntry, ok bool) {
	err := json.Unmarshal(data, &e)
	return e, err == nil
}

func (s ledgerShard) unchanged(path string) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && info.Size() != s.Size {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("store: ledger: %w", err)
	}
	sum, err := file.Hash(path)
	if err != nil {
		return false, fmt.Errorf("store: ledger: %w", err)
	}
	return sum == s.SHA256, nil
}

// Mark notes that a unit is done, with the shards it has written.
func (l *Ledger) Mark(stage, id string) error {
	path, err := l.path(stage, id)
	if err != nil {
		return err
	}
	e := ledgerEntry{SchemaVersion: SchemaVersion, Stage: stage, Unit: id, Files: []ledgerShard{}}
	for _, t := range Tables() {
		name := filepath.Join(string(t), id+".parquet")
		info, err := os.Stat(filepath.Join(l.dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		var sum string
		if err == nil {
			sum, err = file.Hash(filepath.Join(l.dir, name))
		}
		if err != nil {
			return fmt.Errorf("store: ledger: %w", err)
		}
		e.Files = append(e.Files, ledgerShard{filepath.ToSlash(name), info.Size(), sum})
	}
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("store: ledger: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("store: ledger: %w", err)
	}
	return file.Write(path, append(data, '\n'))
}
