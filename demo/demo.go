// Package demo holds the model and data set that work with no download: a
// small language model, edits of facts it knows, and the invented world
// (demo/world) that the generator reads by default.
//
// The present model is an interim one: a five-layer GPT-2 of 1.15 M parameters
// that knows 430 invented subjects. It does not learn from its context, so
// in-context editing has no effect on it; reports call it "interim".
package demo

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"

	"editpipe/dataset"
	"editpipe/dataset/importer"
)

// Name is what reports call the embedded model and its data set.
const Name = "interim"

// A fact the embedded model knows: FactPrompt is continued by FactAnswer.
const (
	FactSubject = "Taiskan Plapuic"
	FactPrompt  = FactSubject + " is married to"
	FactAnswer  = "Dreke Vangeler"
	FactOther   = "Bozel Laibrelic" // another person, for a demonstration
)

//go:embed interim
var files embed.FS

// Extract writes the embedded model folder under cache and returns its path.
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
	if err := extractTo(tmp); err != nil {
		return "", fmt.Errorf("demo: extracting: %w", err)
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

func contentHash() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(files, Name, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := files.ReadFile(p)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %d\n", p, len(data))
		h.Write(data)
		return nil
	})
	return hex.EncodeToString(h.Sum(nil))[:12], err
}

func extractTo(dir string) error {
	entries, err := files.ReadDir(Name)
	if err != nil {
		return err
	}
	for _, e := range entries {
		data, err := files.ReadFile(path.Join(Name, e.Name()))
		if err != nil {
			return err
		}
		f, err := os.Create(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// Set is the embedded data set: edits of facts the demo model knows, with
// probes for all nine axes. Records of the two files it is made from alternate,
// so that any limit sees both: the first brings portability and the distracted
// neighbourhood, the second CounterFact's neighbourhoods.
type Set struct {
	portability dataset.Source
	counterfact dataset.Source
}

var _ dataset.Source = (*Set)(nil)

// OpenSet opens the data set in a folder that Extract returned.
func OpenSet(dir string) (*Set, error) {
	a, err := importer.Open("easyedit", filepath.Join(dir, "easyedit.json"), importer.Options{})
	if err != nil {
		return nil, fmt.Errorf("demo: opening the data set: %w", err)
	}
	b, err := importer.Open("counterfact", filepath.Join(dir, "counterfact.json"), importer.Options{})
	if err != nil {
		return nil, fmt.Errorf("demo: opening the data set: %w", err)
	}
	return &Set{portability: a, counterfact: b}, nil
}

// Name implements dataset.Source.
func (s *Set) Name() string { return Name }

// Records implements dataset.Source.
func (s *Set) Records() iter.Seq2[dataset.Record, error] {
	return func(yield func(dataset.Record, error) bool) {
		nextA, stopA := iter.Pull2(s.portability.Records())
		defer stopA()
		nextB, stopB := iter.Pull2(s.counterfact.Records())
		defer stopB()
		for okA, okB := true, true; okA || okB; {
			for _, side := range []struct {
				next func() (dataset.Record, error, bool)
				ok   *bool
			}{{nextA, &okA}, {nextB, &okB}} {
				if !*side.ok {
					continue
				}
				r, err, ok := side.next()
				if *side.ok = ok; ok && !yield(r, err) {
					return
				}
			}
		}
	}
}

// Load reads the whole embedded data set.
func Load(ctx context.Context, dir string) ([]dataset.Record, error) {
	s, err := OpenSet(dir)
	if err != nil {
		return nil, err
	}
	var out []dataset.Record
	for r, err := range s.Records() {
		if err := errors.Join(err, ctx.Err()); err != nil {
			return nil, fmt.Errorf("demo: reading the data set: %w", err)
		}
		out = append(out, r)
	}
	return out, nil
}
