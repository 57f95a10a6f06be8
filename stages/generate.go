package stages

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"editpipe/dataset"
	"editpipe/demo/world"
	"editpipe/file"
	"editpipe/generator"
	"editpipe/generator/catalogue"
	"editpipe/generator/dump"
	"editpipe/generator/kb"
	"editpipe/generator/shards"
	"editpipe/lfs"
	"editpipe/store"
)

// World names the bundled world as a knowledge base.
const World = "world"

// Files of a generated data set.
const (
	EditsFile    = "edits.parquet"
	ProbesFile   = "probes.parquet"
	RejectsFile  = "rejects.parquet"
	EntitiesFile = "entities.parquet"
	FactsFile    = "facts.parquet"
	ManifestFile = "manifest.json"
	CardFile     = "README.md"
)

// Generate builds a data set from a knowledge base. The zero value of a field
// is its default.
type Generate struct {
	KB        string       // World (the default), a folder that kb build wrote, a dump (.json, plain or compressed with gzip, bzip2 or zstd), or a folder of dumps
	Out       string       // folder to write; made if absent
	N         int          // edits wanted; 200 by default
	Seed      int64        // every choice depends on it
	Relations string       // catalogue file; by default the world's own, or the general one for a dump
	Sets      []string     // axes to build, or families of axes; by default those of the survey's criteria
	AsOf      string       // day at which facts are current, YYYY-MM-DD; by default that of the newest change in the knowledge base
	Mode      dataset.Mode // counterfactual by default
	Later     string       // update only: the day of the new values
	Name      string       // name of the set; by default that of the knowledge base
	Licence   string       // licence of the knowledge base; by default CC0-1.0, as for Wikidata
	Phraser   string       // command that words questions anew, beside the templates' wordings; none by default
	Version   string       // version of the program, for the manifest
}

// KBFile is one file a knowledge base was read from.
type KBFile struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"` // of the bytes as they lie in the file, compressed or not
}

// GeneratedSet is the manifest of a generated data set: what every data set's
// manifest says, and how this one was made.
type GeneratedSet struct {
	store.DatasetManifest
	Arguments GenerateArgs     `json:"arguments"`
	Catalogue string           `json:"catalogue_sha256"`
	DumpID    string           `json:"dump_id"`
	Dump      []KBFile         `json:"dump"`
	Entities  int              `json:"entities"`
	Counts    generator.Counts `json:"counts"`
	// BrokenLines counts rows of the dump that could not be read; the first ones are in Warnings.
	BrokenLines int      `json:"broken_lines"`
	Warnings    []string `json:"warnings"`
	Files       []KBFile `json:"files"`
}

// GenerateArgs are the arguments with their defaults filled in.
type GenerateArgs struct {
	KB        string         `json:"kb"` // base name
	N         int            `json:"n"`
	Seed      int64          `json:"seed"`
	Relations string         `json:"relations"` // base name; empty for a built-in catalogue
	Sets      []dataset.Axis `json:"sets"`
	AsOf      string         `json:"as_of"`
	Mode      dataset.Mode   `json:"mode"`
	Later     string         `json:"later,omitempty"`
	Phraser   string         `json:"phraser,omitempty"`
	Licence   string         `json:"licence"`
}

// Defaults of Generate.
const (
	defaultEdits   = 200
	defaultLicence = "CC0-1.0"
)

// Do generates the set and writes it; the manifest is written last, so a folder
// without one is not finished. Where the knowledge base has fewer usable facts
// than edits were asked for, the set is smaller and a warning says so;
// generator.ErrNoEdits is returned for none. Equal inputs give equal bytes.
func (g Generate) Do(ctx context.Context) (*GeneratedSet, error) {
	set, options, err := g.resolve()
	if err != nil {
		return nil, err
	}
	relations, hash, err := g.catalogue()
	if err != nil {
		return nil, err
	}
	set.Catalogue = hash
	var day kb.Date
	if g.AsOf != "" {
		if day, err = kb.ParseDate(g.AsOf); err != nil {
			return nil, fmt.Errorf("stages: as-of date: %w", err)
		}
	}
	base, err := g.read(ctx, set, relations, day)
	if err != nil {
		return nil, err
	}
	set.Entities, set.Arguments.AsOf = base.Len(), base.AsOf.String()
	if base.AsOf == kb.EndOfTime() {
		set.Warnings = append(set.Warnings, "the knowledge base states no days of change and --as-of was not given: every fact with an end counts as past")
	}
	set.Warnings = append(set.Warnings, base.CheckCatalogue()...)
	if err := os.MkdirAll(g.Out, 0o755); err != nil {
		return nil, fmt.Errorf("stages: making the folder of the data set: %w", err)
	}
	options.SetName = set.Name
	if err := g.write(ctx, set, base, options); err != nil {
		return nil, err
	}
	return set, nil
}

func (g Generate) bundled() bool { return g.KB == "" || g.KB == World }

// resolve fills in the defaults.
func (g Generate) resolve() (*GeneratedSet, generator.Options, error) {
	a := GenerateArgs{KB: filepath.Base(g.KB), N: g.N, Seed: g.Seed, AsOf: g.AsOf, Mode: g.Mode, Later: g.Later, Licence: g.Licence, Phraser: g.Phraser, Sets: dataset.Axes()}
	var options generator.Options
	if g.Out == "" {
		return nil, options, errors.New("stages: no folder to write the data set to; name one with --out")
	}
	if g.bundled() {
		a.KB = World
	}
	if g.Relations != "" {
		a.Relations = filepath.Base(g.Relations)
	}
	if a.N == 0 {
		a.N = defaultEdits
	}
	if a.Mode == "" {
		a.Mode = dataset.Counterfactual
	}
	if a.Licence == "" {
		a.Licence = defaultLicence
	}
	if len(g.Sets) > 0 {
		a.Sets = nil
		for _, s := range g.Sets {
			axes := dataset.AxesOf(strings.TrimSpace(s))
			if axes == nil {
				return nil, options, fmt.Errorf("stages: unknown set %q; the sets are %v", s, slices.Concat(dataset.Axes(), dataset.FurtherAxes()))
			}
			a.Sets = append(a.Sets, slices.DeleteFunc(axes, func(x dataset.Axis) bool { return slices.Contains(a.Sets, x) })...)
		}
	}
	options = generator.Options{N: a.N, Seed: a.Seed, Sets: a.Sets, Mode: a.Mode, Licence: a.Licence}
	if a.Mode == dataset.Update {
		day, err := kb.ParseDate(a.Later)
		if err != nil {
			return nil, options, fmt.Errorf("stages: day of the new values: %w", err)
		}
		options.Later = day
	}
	name := g.Name
	if name == "" {
		name, _, _ = strings.Cut(a.KB, ".")
	}
	manifest := store.DatasetManifest{SchemaVersion: store.SchemaVersion, Name: name, Source: "generator", File: a.KB, Version: g.Version}
	return &GeneratedSet{DatasetManifest: manifest, Arguments: a, Warnings: []string{}}, options, nil
}

// catalogue reads the relation catalogue and its hash.
func (g Generate) catalogue() (*catalogue.Catalogue, string, error) {
	if g.bundled() {
		return ReadCatalogue(g.Relations, world.Catalogue())
	}
	return ReadCatalogue(g.Relations, catalogue.General())
}

// ReadCatalogue reads a relation catalogue from a file, or the built-in one
// where no file is named, and returns it with the SHA-256 of its text.
func ReadCatalogue(path string, builtIn []byte) (*catalogue.Catalogue, string, error) {
	data := builtIn
	if path != "" {
		var err error
		if data, err = os.ReadFile(path); err != nil {
			return nil, "", fmt.Errorf("stages: reading the relation catalogue: %w", err)
		}
		if err := lfs.Check(data); err != nil {
			return nil, "", fmt.Errorf("stages: reading %s: %w", path, err)
		}
	}
	c, err := catalogue.Load(bytes.NewReader(data))
	if err != nil {
		return nil, "", fmt.Errorf("stages: reading %s: %w", cmp.Or(path, "the built-in catalogue"), err)
	}
	if c.Extends != "" {
		data = slices.Concat(data, catalogue.General())
	}
	sum := sha256.Sum256(data)
	return c, hex.EncodeToString(sum[:]), nil
}

// shownLines is how many broken rows of a dump are named one by one.
const shownLines = 20

// read builds the knowledge base from the bundled world or the files.
func (g Generate) read(ctx context.Context, set *GeneratedSet, c *catalogue.Catalogue, day kb.Date) (*kb.Base, error) {
	if !g.bundled() && shards.Is(g.KB) {
		return g.readShards(ctx, set, c, day)
	}
	files, err := g.files()
	if err != nil {
		return nil, err
	}
	// The id is needed before the files are read: it names them, the manifest their hashes.
	set.DumpID = set.Arguments.KB
	if g.bundled() {
		set.DumpID = fmt.Sprintf("%s-%d", World, world.Seed)
	}
	b := kb.NewBuilder(c, day, set.DumpID)
	for _, f := range files {
		sum, err := f.each(func(e *kb.Entity, err error) error {
			var broken *kb.LineError
			switch {
			case errors.As(err, &broken):
				if set.BrokenLines++; set.BrokenLines <= shownLines {
					set.Warnings = append(set.Warnings, fmt.Sprintf("%s, line %d skipped: %v", f.name, broken.Line, broken.Err))
				}
				return nil
			case err != nil:
				return err
			}
			b.Add(e)
			return ctx.Err()
		})
		if err != nil {
			return nil, fmt.Errorf("stages: reading the knowledge base %s: %w", f.name, err)
		}
		set.Dump = append(set.Dump, KBFile{f.name, sum})
	}
	base, err := b.Build()
	if err != nil {
		return nil, fmt.Errorf("stages: knowledge base %s: %w", set.Arguments.KB, err)
	}
	return base, nil
}

// readShards fills the knowledge base from a folder that kb build wrote. Current
// facts are those of the day it was built for, unless another is asked for.
func (g Generate) readShards(ctx context.Context, set *GeneratedSet, c *catalogue.Catalogue, day kb.Date) (*kb.Base, error) {
	folder, err := shards.Open(g.KB)
	if err != nil {
		return nil, fmt.Errorf("stages: knowledge base: %w", err)
	}
	if lacking := folder.Lacks(c); len(lacking) > 0 {
		return nil, fmt.Errorf("stages: knowledge base %s was built without %s (%d in all), which the relation catalogue needs: build it again with this catalogue",
			g.KB, strings.Join(lacking[:min(len(lacking), 5)], ", "), len(lacking))
	}
	if day == (kb.Date{}) {
		if day, err = kb.ParseDate(folder.AsOf); err != nil {
			return nil, fmt.Errorf("stages: knowledge base %s: %w", g.KB, err)
		}
	}
	set.DumpID = folder.Arguments.Dump
	set.Dump = []KBFile{{folder.Arguments.Dump, folder.SHA256}}
	set.BrokenLines = folder.BrokenLines()
	b := kb.NewBuilder(c, day, set.DumpID)
	err = folder.Entities(ctx, func(e *kb.Entity) error {
		b.Add(e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("stages: reading the knowledge base %s: %w", g.KB, err)
	}
	base, err := b.Build()
	if err != nil {
		return nil, fmt.Errorf("stages: knowledge base %s: %w", set.Arguments.KB, err)
	}
	return base, nil
}

// kbSource is one file of a knowledge base.
type kbSource struct {
	name string
	open func() (io.ReadCloser, error)
}

func (g Generate) files() ([]kbSource, error) {
	if g.bundled() {
		return []kbSource{{World + ".json", func() (io.ReadCloser, error) {
			var dump bytes.Buffer
			err := world.Write(&dump, world.Seed)
			return io.NopCloser(&dump), err
		}}}, nil
	}
	info, err := os.Stat(g.KB)
	if err != nil {
		return nil, fmt.Errorf("stages: knowledge base: %w; give a dump, a folder of dumps, or %q for the bundled world", err, World)
	}
	paths := []string{g.KB}
	if info.IsDir() {
		paths = nil
		entries, err := os.ReadDir(g.KB)
		if err != nil {
			return nil, fmt.Errorf("stages: knowledge base: %w", err)
		}
		for _, e := range entries { // sorted by name
			if e.Type().IsRegular() && strings.Contains(e.Name(), ".json") {
				paths = append(paths, filepath.Join(g.KB, e.Name()))
			}
		}
		if len(paths) == 0 {
			return nil, fmt.Errorf("stages: knowledge base %s: the folder holds no .json file (.json, .jsonl, .json.gz, .json.bz2, .json.zst)", g.KB)
		}
	}
	var out []kbSource
	for _, p := range paths {
		out = append(out, kbSource{filepath.Base(p), func() (io.ReadCloser, error) { return os.Open(p) }})
	}
	return out, nil
}

// each hands every entity of the file to use and returns the hash of the file's
// bytes.
func (s kbSource) each(use func(*kb.Entity, error) error) (string, error) {
	f, err := s.open()
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	raw := io.TeeReader(f, h)
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

// rowBatch is how many rows of a large table are written at a time: one by one
// takes twice as long.
const rowBatch = 1000

func appendAll[T any](w *store.Writer[T], rows iter.Seq[T]) error {
	batch := make([]T, 0, rowBatch)
	for row := range rows {
		if batch = append(batch, row); len(batch) == rowBatch {
			if err := w.Append(batch...); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return w.Append(batch...)
}

// write generates and writes every file, the manifest last.
func (g Generate) write(ctx context.Context, set *GeneratedSet, base *kb.Base, o generator.Options) error {
	meta := map[string]string{"set": set.Name, "seed": fmt.Sprint(o.Seed), "dump": set.DumpID, "catalogue": set.Catalogue, "version": set.Version}
	at := func(name string) string { return filepath.Join(g.Out, name) }
	edits, err := store.NewWriter[dataset.Edit](at(EditsFile), meta)
	if err != nil {
		return err
	}
	defer edits.Abort()
	probes, err := store.NewWriter[dataset.Probe](at(ProbesFile), meta)
	if err != nil {
		return err
	}
	defer probes.Abort()
	rejects, err := store.NewWriter[generator.Reject](at(RejectsFile), meta)
	if err != nil {
		return err
	}
	defer rejects.Abort()
	sink := generator.Sink{
		Edit:   func(e dataset.Edit) error { return edits.Append(e) },
		Probe:  func(p dataset.Probe) error { return probes.Append(p) },
		Reject: func(r generator.Reject) error { return rejects.Append(r) },
	}
	if g.Phraser == "" {
		set.Counts, err = generator.Generate(ctx, base, o, sink)
	} else {
		set.Counts, err = g.phrased(ctx, base, o, sink)
	}
	if errors.Is(err, generator.ErrNoEdits) {
		return fmt.Errorf("stages: generating from %s: %w; candidates rejected: %s", set.Arguments.KB, err, listed(set.Counts.Rejects))
	}
	if err != nil {
		return fmt.Errorf("stages: generating from %s: %w", set.Arguments.KB, err)
	}
	if set.Counts.Edits < set.Arguments.N {
		set.Warnings = append(set.Warnings, fmt.Sprintf("%d edits were asked for; the knowledge base yields %d", set.Arguments.N, set.Counts.Edits))
	}
	for _, a := range set.Arguments.Sets {
		if set.Counts.Probes[a] == 0 {
			set.Warnings = append(set.Warnings, fmt.Sprintf("set %s is empty; %s says why", a, RejectsFile))
		}
	}
	entities, err := store.NewWriter[kb.EntityRow](at(EntitiesFile), meta)
	if err != nil {
		return err
	}
	defer entities.Abort()
	if err := appendAll(entities, base.EntityRows()); err != nil {
		return err
	}
	facts, err := store.NewWriter[kb.FactRow](at(FactsFile), meta)
	if err != nil {
		return err
	}
	defer facts.Abort()
	if err := appendAll(facts, base.FactRows()); err != nil {
		return err
	}
	// The set that was here before is whole up to now, and no longer from now on.
	if err := os.Remove(at(ManifestFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("stages: replacing the data set in %s: %w", g.Out, err)
	}
	for _, w := range []interface{ Close() error }{edits, probes, rejects, entities, facts} {
		if err := w.Close(); err != nil {
			return err
		}
	}
	// Reading back checks the files and gives the hash of the rows.
	_, back, err := store.ReadDataset(g.Out)
	if err != nil {
		return err
	}
	set.Hash, set.Edits, set.Probes = back.Hash, back.Edits, back.Probes
	if err := file.Write(at(CardFile), []byte(g.card(set))); err != nil {
		return err
	}
	return set.seal(g.Out)
}

// listed words counts by reason.
func listed(counts map[string]int) string {
	if len(counts) == 0 {
		return "none"
	}
	var words []string
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%s (%d)", reason, counts[reason]))
	}
	return strings.Join(words, ", ")
}

// phrased generates with the questions worded anew by the command.
func (g Generate) phrased(ctx context.Context, base *kb.Base, o generator.Options, sink generator.Sink) (generator.Counts, error) {
	p, err := newPhraser(g.Phraser, g.Out)
	if err != nil {
		return generator.Counts{}, err
	}
	o.Phraser = p
	counts, err := generator.Generate(ctx, base, o, sink)
	return counts, errors.Join(err, p.close(err == nil))
}

// seal hashes the files and writes the manifest.
func (set *GeneratedSet) seal(dir string) error {
	names := []string{EditsFile, ProbesFile, RejectsFile, EntitiesFile, FactsFile, CardFile}
	if set.Arguments.Phraser != "" {
		names = append(names, PhrasingsFile)
	}
	for _, name := range names {
		sum, err := file.Hash(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("stages: the data set: %w", err)
		}
		set.Files = append(set.Files, KBFile{name, sum})
	}
	data, err := json.MarshalIndent(set, "", "  ")
	if err != nil {
		return fmt.Errorf("stages: manifest of the data set: %w", err)
	}
	return file.Write(filepath.Join(dir, ManifestFile), append(data, '\n'))
}

// card is the set's README: what it holds, how it was made, what to mind.
func (g Generate) card(set *GeneratedSet) string {
	var b strings.Builder
	a := set.Arguments
	fmt.Fprintf(&b, "# %s: edits of facts, with probes\n\n", set.Name)
	fmt.Fprintf(&b, "%d edits (%s) generated from the knowledge base `%s`, facts current at %s, seed %d.\n", set.Counts.Edits, a.Mode, set.DumpID, a.AsOf, a.Seed)
	fmt.Fprintf(&b, "Licence of the knowledge base: %s. All wording comes from the templates of the relation catalogue\n(sha256 `%s`)", a.Licence, set.Catalogue)
	if a.Phraser == "" {
		b.WriteString("; no language model was used.\n\n")
	} else {
		fmt.Fprintf(&b, ", except for probes with phrasing `llm`:\nthe command `%s` worded them, and `%s` holds what it was asked and what it answered.\n\n", a.Phraser, PhrasingsFile)
	}
	if g.bundled() {
		b.WriteString("The world is invented: its people, places and things do not exist.\n\n")
	}
	b.WriteString("| set | probes |\n|---|---:|\n")
	for _, axis := range slices.Concat(dataset.Axes(), dataset.FurtherAxes()) {
		if slices.Contains(a.Sets, axis) {
			fmt.Fprintf(&b, "| %s | %d |\n", axis, set.Counts.Probes[axis])
		}
	}
	b.WriteString("\n## Variants\n\n| set/variant | probes |\n|---|---:|\n")
	for _, v := range slices.Sorted(maps.Keys(set.Counts.Variants)) {
		fmt.Fprintf(&b, "| %s | %d |\n", v, set.Counts.Variants[v])
	}
	b.WriteString("\nProbes flagged `apart` (overlapping aliases, reverse lists, inverse conflicts, stale inverses, controls of the\n" +
		"distractors, wordings by a command) answer side questions and belong in no headline number.\n")
	if set.Counts.FollowUps > 0 {
		fmt.Fprintf(&b, "\n%d further edits come on top of another one (conflict, round_edit): evaluate them in sequence.\n", set.Counts.FollowUps)
	}
	b.WriteString("\n## Rejected candidates\n\n| set/reason | n |\n|---|---:|\n")
	for _, v := range slices.Sorted(maps.Keys(set.Counts.Rejects)) {
		fmt.Fprintf(&b, "| %s | %d |\n", v, set.Counts.Rejects[v])
	}
	if len(set.Warnings) > 0 {
		b.WriteString("\n## Warnings\n\n")
		for _, w := range set.Warnings {
			fmt.Fprintf(&b, "- %s\n", w)
		}
	}
	b.WriteString("\n## Files\n\n" +
		"- `" + EditsFile + "`: one row per edit; `" + ProbesFile + "`: one row per question, joined by `edit_id`\n" +
		"- `" + RejectsFile + "`: candidates that were turned down, and why\n" +
		"- `" + EntitiesFile + "`, `" + FactsFile + "`: the knowledge base as it was read; `needs_facts` of a probe names rows of the latter\n" +
		"- `" + ManifestFile + "`: arguments, counts and hashes\n\n" +
		"Whether a model knew a fact before the edit is not part of the set: join it from the answers of the unedited model.\n")
	return b.String()
}
