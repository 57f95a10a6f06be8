package shards

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"editpipe/file"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
	"editpipe/store"
)

// kindOf tells a knowledge base's manifest from those of other folders.
const kindOf = "knowledge base"

// Manifest says what a knowledge base folder holds and what it was made from.
// It is written last: a folder without one is not finished.
type Manifest struct {
	SchemaVersion string    `json:"schema_version"`
	Kind          string    `json:"kind"` // knowledge base
	Version       string    `json:"version"`
	Arguments     Arguments `json:"arguments"`
	AsOf          string    `json:"as_of"`      // day at which facts are current
	Properties    []string  `json:"properties"` // whose statements were kept

	Bytes  int64  `json:"bytes"`  // of the dump, decompressed
	SHA256 string `json:"sha256"` // of the dump as it lies on disk, compressed or not
	Lines  int    `json:"lines"`

	Filtered    int              `json:"filtered"`   // lines in which nothing of use stands
	Unpopular   int              `json:"unpopular"`  // items with fewer sitelinks than asked for
	Unnamed     int              `json:"unnamed"`    // items with a class alone that no fact names
	Superseded  int              `json:"superseded"` // entities that stand in the dump again
	Entities    int              `json:"entities"`
	Facts       int              `json:"facts"`
	Unlabelled  int              `json:"unlabelled"` // facts whose object is an item without label here
	Broken      map[kb.Fault]int `json:"broken"`     // lines that could not be read, by fault
	FirstBroken []LineNote       `json:"first_broken"`
	Warnings    []string         `json:"warnings"`

	Shards []Shard `json:"shards"`
}

// Shard is a pair of files: some entities, and the facts they are subjects of,
// in the same order.
type Shard struct {
	Entities   Table `json:"entities"`
	Facts      Table `json:"facts"`
	Unlabelled int   `json:"unlabelled"`
	Unnamed    int   `json:"unnamed"`
	Superseded int   `json:"superseded"`
}

// Table is one file.
type Table struct {
	File   string `json:"file"` // relative to the folder, with slashes
	Rows   int    `json:"rows"`
	SHA256 string `json:"sha256"`
}

// BrokenLines counts the lines that could not be read.
func (m *Manifest) BrokenLines() int {
	s := state{Broken: m.Broken}
	return s.broken()
}

// readManifest returns os.ErrNotExist for a folder without one, and ErrForeign
// for one with another's.
func readManifest(dir string) (*Manifest, error) {
	var m Manifest
	if err := readJSON(filepath.Join(dir, manifestName), &m); err != nil {
		return nil, err
	}
	if m.Kind != kindOf {
		return nil, fmt.Errorf("shards: %s: %w: its %s is of something else", dir, ErrForeign, manifestName)
	}
	return &m, nil
}

// Is tells whether a folder is a knowledge base, finished or not.
func Is(dir string) bool {
	_, err := readManifest(dir)
	return err == nil || file.Exists(filepath.Join(dir, workDir, argumentsName))
}

// Folder is a finished knowledge base on disk.
type Folder struct {
	Manifest
	dir string
}

// Open reads the manifest of a folder. It returns ErrUnfinished where a build
// was begun and not ended, ErrForeign for other folders.
func Open(dir string) (*Folder, error) {
	m, err := readManifest(dir)
	if errors.Is(err, os.ErrNotExist) {
		if Is(dir) {
			return nil, fmt.Errorf("shards: %s: %w", dir, ErrUnfinished)
		}
		return nil, fmt.Errorf("shards: %s: %w: it has no %s", dir, ErrForeign, manifestName)
	}
	if err != nil {
		return nil, err
	}
	return &Folder{*m, dir}, nil
}

// Lacks returns the properties a catalogue needs that the knowledge base was
// built without.
func (f *Folder) Lacks(c *catalogue.Catalogue) []string {
	return slices.DeleteFunc(kb.NewFilter(c).Properties(), func(p string) bool { return slices.Contains(f.Properties, p) })
}

// Entities hands on every entity with its facts, shard by shard in the order of
// the dump. It returns an error naming the file where the two tables of a shard
// do not fit together. The list of an entity's statements is valid until use
// returns.
func (f *Folder) Entities(ctx context.Context, use func(*kb.Entity) error) error {
	for _, shard := range f.Shards {
		path := filepath.Join(f.dir, filepath.FromSlash(shard.Entities.File))
		rows, err := store.Read[kb.EntityText](path)
		if err != nil {
			return err
		}
		if len(rows) != shard.Entities.Rows {
			return fmt.Errorf("shards: %s: %d rows, the manifest says %d", path, len(rows), shard.Entities.Rows)
		}
		if err := f.shard(ctx, shard, rows, use); err != nil {
			return err
		}
	}
	return nil
}

// shard hands on the entities of one shard.
func (f *Folder) shard(ctx context.Context, shard Shard, rows []kb.EntityText, use func(*kb.Entity) error) error {
	path := filepath.Join(f.dir, filepath.FromSlash(shard.Facts.File))
	var e *kb.Entity
	var list kb.Claims
	next := func() (err error) {
		if e != nil {
			err = use(e)
			list = e.Claims[:0]
		}
		e = nil
		if len(rows) > 0 {
			e, rows = rows[0].Entity(), rows[1:]
			e.Claims = list
		}
		return err
	}
	if err := next(); err != nil {
		return err
	}
	facts := 0
	err := store.Scan(path, func(batch []kb.StatementText) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		for i := range batch {
			for e != nil && e.ID != batch[i].SubjectID {
				if err := next(); err != nil {
					return err
				}
			}
			if e == nil {
				return fmt.Errorf("row %d is about %s, which %s does not hold in this order", facts+i+1, batch[i].SubjectID, shard.Entities.File)
			}
			st, err := batch[i].Statement()
			if err != nil {
				return err
			}
			e.Claims.Add(st)
		}
		facts += len(batch)
		return nil
	})
	if err == nil && facts != shard.Facts.Rows {
		err = fmt.Errorf("shards: %s: %d rows, the manifest says %d", path, facts, shard.Facts.Rows)
	}
	for e != nil && err == nil {
		err = next()
	}
	return err
}
