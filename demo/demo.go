// Package demo contains the embedded model and data set, which need no
// download: a small language model that knows an invented world (demo/world),
// and edits of facts of that world. demo/pretrain made both; docs/demo-model.md
// says what the model can do.
package demo

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"editpipe/dataset"
)

// Name is what reports call the embedded model and its data set.
const Name = "demo"

// A fact the embedded model knows: FactPrompt is continued by FactAnswer.
const (
	FactSubject = "Bronus Bunto"
	FactPrompt  = "The person " + FactSubject + " married is"
	FactAnswer  = "Therine Roulosen"
	FactOther   = "Stano Kikanard" // another object, for a demonstration
)

//go:embed model
var files embed.FS

// embedded are the files at the top.
func embedded() fs.FS {
	f, err := fs.Sub(files, "model")
	if err != nil {
		panic(err) // the name above is a valid one
	}
	return f
}

// Extract expands the embedded model folder under cache and returns its path.
// The folder's name carries a hash of its content, so an existing folder of
// that name is complete and is used as it is.
func Extract(cache string) (string, error) {
	sum, err := contentHash()
	if err != nil {
		return "", fmt.Errorf("demo: hashing the embedded model: %w", err)
	}
	dir := filepath.Join(cache, "demo", Name+"-"+sum)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("demo: making the cache folder: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".extract-*")
	if err != nil {
		return "", fmt.Errorf("demo: making a temporary folder: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil { // MkdirTemp makes it private
		return "", fmt.Errorf("demo: extracting: %w", err)
	}
	if err := Expand(embedded(), tmp); err != nil {
		return "", err
	}
	if err := os.Rename(tmp, dir); err != nil {
		// Another process may have been first; its folder is the same.
		if _, statErr := os.Stat(dir); statErr == nil {
			return dir, nil
		}
		return "", fmt.Errorf("demo: extracting: %w", err)
	}
	return dir, nil
}

// form counts the ways in which Expand has written folders, so that a folder of
// an older program is not taken for one of this.
const form = 1

func contentHash() (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "form %d\n", form)
	from := embedded()
	err := fs.WalkDir(from, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(from, p)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %d\n", p, len(data))
		h.Write(data)
		return nil
	})
	return hex.EncodeToString(h.Sum(nil))[:12], err
}

// Load reads the data set in a folder that Extract returned: edits of facts whose
// subject or relation the world reserves for testing, with probes for all nine
// axes. Relations take turns, so that the first few records show many.
func Load(ctx context.Context, dir string) ([]dataset.Record, error) {
	data, err := os.ReadFile(filepath.Join(dir, RecordsFile))
	if err == nil {
		err = ctx.Err()
	}
	var out []dataset.Record
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		return nil, fmt.Errorf("demo: reading the data set: %w", err)
	}
	return out, nil
}
