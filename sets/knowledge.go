package sets

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"editpipe/demo/world"
	"editpipe/generator/catalogue"
	"editpipe/generator/dump"
	"editpipe/generator/kb"
	"editpipe/generator/shards"
	"editpipe/lfs"
)

// World names the bundled world as a knowledge base.
const World = "world"

// KBFile is one file a knowledge base was read from.
type KBFile struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"` // of the bytes as they lie in the file, compressed or not
}

// source says where a knowledge base is read from; its fields are those of
// Generate.
type source struct{ path, relations, asOf string }

// knowledge is a knowledge base as it was read.
type knowledge struct {
	*kb.Base
	catalogue string // SHA-256 of the relation catalogue
	dump      string // id of the dump
	files     []KBFile
	broken    int      // rows that could not be read
	warnings  []string // name the first of them
}

func (s source) bundled() bool { return s.path == "" || s.path == World }

// name is the base name.
func (s source) name() string {
	if s.bundled() {
		return World
	}
	return filepath.Base(s.path)
}

// read builds the knowledge base from the bundled world or the files.
func (s source) read(ctx context.Context) (*knowledge, error) {
	builtIn := catalogue.General()
	if s.bundled() {
		builtIn = world.Catalogue()
	}
	relations, hash, err := ReadCatalogue(s.relations, builtIn)
	if err != nil {
		return nil, err
	}
	var day kb.Date
	if s.asOf != "" {
		if day, err = kb.ParseDate(s.asOf); err != nil {
			return nil, fmt.Errorf("sets: as-of date: %w", err)
		}
	}
	k := &knowledge{catalogue: hash}
	var b *kb.Builder
	if !s.bundled() && shards.Is(s.path) {
		b, err = k.readShards(ctx, s.path, relations, day)
	} else {
		b, err = k.readDumps(ctx, s, relations, day)
	}
	if err != nil {
		return nil, err
	}
	if k.Base, err = b.Build(); err != nil {
		return nil, fmt.Errorf("sets: knowledge base %s: %w", s.name(), err)
	}
	return k, nil
}

// shownLines is how many broken rows of a dump are named one by one.
const shownLines = 20

// readDumps reads the files of the source, or the bundled world.
func (k *knowledge) readDumps(ctx context.Context, s source, c *catalogue.Catalogue, day kb.Date) (*kb.Builder, error) {
	files, err := s.files()
	if err != nil {
		return nil, err
	}
	// The id is needed before the files are read: it names them, the manifest their hashes.
	k.dump = s.name()
	if s.bundled() {
		k.dump = fmt.Sprintf("%s-%d", World, world.Seed)
	}
	b := kb.NewBuilder(c, day, k.dump)
	for _, f := range files {
		sum, err := f.each(func(e *kb.Entity, err error) error {
			var broken *kb.LineError
			switch {
			case errors.As(err, &broken):
				if k.broken++; k.broken <= shownLines {
					k.warnings = append(k.warnings, fmt.Sprintf("%s, line %d skipped: %v", f.name, broken.Line, broken.Err))
				}
				return nil
			case err != nil:
				return err
			}
			b.Add(e)
			return ctx.Err()
		})
		if err != nil {
			return nil, fmt.Errorf("sets: reading the knowledge base %s: %w", f.name, err)
		}
		k.files = append(k.files, KBFile{f.name, sum})
	}
	return b, nil
}

// readShards reads a folder that kb build wrote. Current facts are those of the
// day it was built for, unless another is asked for.
func (k *knowledge) readShards(ctx context.Context, dir string, c *catalogue.Catalogue, day kb.Date) (*kb.Builder, error) {
	folder, err := shards.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("sets: knowledge base: %w", err)
	}
	if lacking := folder.Lacks(c); len(lacking) > 0 {
		return nil, fmt.Errorf("sets: knowledge base %s was built without %s (%d in all), which the relation catalogue needs: build it again with this catalogue",
			dir, strings.Join(lacking[:min(len(lacking), 5)], ", "), len(lacking))
	}
	if day == (kb.Date{}) {
		if day, err = kb.ParseDate(folder.AsOf); err != nil {
			return nil, fmt.Errorf("sets: knowledge base %s: %w", dir, err)
		}
	}
	k.dump = folder.Arguments.Dump
	k.files = []KBFile{{folder.Arguments.Dump, folder.SHA256}}
	k.broken = folder.BrokenLines()
	b := kb.NewBuilder(c, day, k.dump)
	err = folder.Entities(ctx, func(e *kb.Entity) error {
		b.Add(e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("sets: reading the knowledge base %s: %w", dir, err)
	}
	return b, nil
}

// ReadCatalogue reads a relation catalogue from a file, or the built-in one
// where no file is named, and returns it with the SHA-256 of its text.
func ReadCatalogue(path string, builtIn []byte) (*catalogue.Catalogue, string, error) {
	data := builtIn
	if path != "" {
		var err error
		if data, err = os.ReadFile(path); err != nil {
			return nil, "", fmt.Errorf("sets: reading the relation catalogue: %w", err)
		}
		if err := lfs.Check(data); err != nil {
			return nil, "", fmt.Errorf("sets: reading %s: %w", path, err)
		}
	}
	c, err := catalogue.Load(bytes.NewReader(data))
	if err != nil {
		return nil, "", fmt.Errorf("sets: reading %s: %w", cmp.Or(path, "the built-in catalogue"), err)
	}
	if c.Extends != "" {
		data = slices.Concat(data, catalogue.General())
	}
	sum := sha256.Sum256(data)
	return c, hex.EncodeToString(sum[:]), nil
}

// dumpFile is one file of a source.
type dumpFile struct {
	name string
	open func() (io.ReadCloser, error)
}

// files lists what is to be read, by name.
func (s source) files() ([]dumpFile, error) {
	if s.bundled() {
		return []dumpFile{{World + ".json", func() (io.ReadCloser, error) {
			var written bytes.Buffer
			err := world.Write(&written, world.Seed)
			return io.NopCloser(&written), err
		}}}, nil
	}
	info, err := os.Stat(s.path)
	if err != nil {
		return nil, fmt.Errorf("sets: knowledge base: %w; give a dump, a folder of dumps, or %q for the bundled world", err, World)
	}
	paths := []string{s.path}
	if info.IsDir() {
		paths = nil
		entries, err := os.ReadDir(s.path)
		if err != nil {
			return nil, fmt.Errorf("sets: knowledge base: %w", err)
		}
		for _, e := range entries { // sorted by name
			if e.Type().IsRegular() && strings.Contains(e.Name(), ".json") {
				paths = append(paths, filepath.Join(s.path, e.Name()))
			}
		}
		if len(paths) == 0 {
			return nil, fmt.Errorf("sets: knowledge base %s: the folder holds no .json file (.json, .jsonl, .json.gz, .json.bz2, .json.zst)", s.path)
		}
	}
	var out []dumpFile
	for _, p := range paths {
		out = append(out, dumpFile{filepath.Base(p), func() (io.ReadCloser, error) { return os.Open(p) }})
	}
	return out, nil
}

// each hands every entity of the file to use and returns the hash of the file's
// bytes.
func (f dumpFile) each(use func(*kb.Entity, error) error) (string, error) {
	in, err := f.open()
	if err != nil {
		return "", err
	}
	defer in.Close()
	h := sha256.New()
	raw := io.TeeReader(in, h)
	plain, err := dump.Open(raw, runtime.GOMAXPROCS(0))
	if err != nil {
		return "", err
	}
	defer plain.Close()
	for e, err := range kb.Entities(plain) {
		if err := use(e, err); err != nil {
			return "", err
		}
	}
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
