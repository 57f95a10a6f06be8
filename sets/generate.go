package sets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"editpipe/dataset"
	"editpipe/file"
	"editpipe/generator"
	"editpipe/generator/kb"
	"editpipe/store"
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

// Generated is the manifest of a generated data set: what every data set's
// manifest says, and how this one was made.
type Generated struct {
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
func (g Generate) Do(ctx context.Context) (*Generated, error) {
	set, options, err := g.resolve()
	if err != nil {
		return nil, err
	}
	known, err := g.source().read(ctx)
	if err != nil {
		return nil, err
	}
	set.Catalogue, set.DumpID, set.Dump, set.BrokenLines = known.catalogue, known.dump, known.files, known.broken
	set.Entities, set.Arguments.AsOf = known.Len(), known.AsOf.String()
	set.Warnings = append(set.Warnings, known.warnings...)
	if known.AsOf == kb.EndOfTime() {
		set.Warnings = append(set.Warnings, "the knowledge base states no days of change and --as-of was not given: every fact with an end counts as past")
	}
	set.Warnings = append(set.Warnings, known.CheckCatalogue()...)
	if err := os.MkdirAll(g.Out, 0o755); err != nil {
		return nil, fmt.Errorf("sets: making the folder of the data set: %w", err)
	}
	options.SetName = set.Name
	if err := g.write(ctx, set, known.Base, options); err != nil {
		return nil, err
	}
	return set, nil
}

func (g Generate) source() source { return source{g.KB, g.Relations, g.AsOf} }

// resolve fills in the defaults.
func (g Generate) resolve() (*Generated, generator.Options, error) {
	a := GenerateArgs{KB: g.source().name(), N: g.N, Seed: g.Seed, AsOf: g.AsOf, Mode: g.Mode, Later: g.Later, Licence: g.Licence, Phraser: g.Phraser, Sets: dataset.Axes()}
	var options generator.Options
	if g.Out == "" {
		return nil, options, errors.New("sets: no folder to write the data set to; name one with --out")
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
				return nil, options, fmt.Errorf("sets: unknown set %q; the sets are %v", s, slices.Concat(dataset.Axes(), dataset.FurtherAxes()))
			}
			a.Sets = append(a.Sets, slices.DeleteFunc(axes, func(x dataset.Axis) bool { return slices.Contains(a.Sets, x) })...)
		}
	}
	options = generator.Options{N: a.N, Seed: a.Seed, Sets: a.Sets, Mode: a.Mode, Licence: a.Licence}
	if a.Mode == dataset.Update {
		day, err := kb.ParseDate(a.Later)
		if err != nil {
			return nil, options, fmt.Errorf("sets: day of the new values: %w", err)
		}
		options.Later = day
	}
	name := g.Name
	if name == "" {
		name, _, _ = strings.Cut(a.KB, ".")
	}
	manifest := store.DatasetManifest{SchemaVersion: store.SchemaVersion, Name: name, Source: "generator", File: a.KB, Version: g.Version}
	return &Generated{DatasetManifest: manifest, Arguments: a, Warnings: []string{}}, options, nil
}

// tables are the Parquet files of a set. None is put in its place before all of
// them are whole.
type tables struct {
	dir  string
	meta map[string]string
	open []interface {
		Close() error
		Abort()
	}
}

// start starts one of the tables.
func start[T any](t *tables, name string) (*store.Writer[T], error) {
	w, err := store.NewWriter[T](filepath.Join(t.dir, name), t.meta)
	if err != nil {
		return nil, err
	}
	t.open = append(t.open, w)
	return w, nil
}

// rowBatch is how many rows of a large table are written at a time: one by one
// takes twice as long.
const rowBatch = 1000

// fill starts a table and gives it its rows.
func fill[T any](t *tables, name string, rows iter.Seq[T]) error {
	w, err := start[T](t, name)
	if err != nil {
		return err
	}
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

// put puts the files in their places.
func (t *tables) put() error {
	// The set that was here before is whole up to now, and no longer from now on.
	if err := os.Remove(filepath.Join(t.dir, ManifestFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("sets: replacing the data set in %s: %w", t.dir, err)
	}
	for _, w := range t.open {
		if err := w.Close(); err != nil {
			return err
		}
	}
	return nil
}

// abort drops the tables that are not in their places.
func (t *tables) abort() {
	for _, w := range t.open {
		w.Abort()
	}
}

// write generates and writes every file, the manifest last.
func (g Generate) write(ctx context.Context, set *Generated, base *kb.Base, o generator.Options) error {
	t := &tables{dir: g.Out, meta: map[string]string{"set": set.Name, "seed": fmt.Sprint(o.Seed), "dump": set.DumpID, "catalogue": set.Catalogue, "version": set.Version}}
	defer t.abort()
	if err := g.generate(ctx, t, set, base, o); err != nil {
		return err
	}
	if err := fill(t, EntitiesFile, base.EntityRows()); err != nil {
		return err
	}
	if err := fill(t, FactsFile, base.FactRows()); err != nil {
		return err
	}
	if err := t.put(); err != nil {
		return err
	}
	// Reading back checks the files and gives the hash of the rows.
	_, back, err := store.ReadDataset(g.Out)
	if err != nil {
		return err
	}
	set.Hash, set.Edits, set.Probes = back.Hash, back.Edits, back.Probes
	if err := file.Write(filepath.Join(g.Out, CardFile), []byte(g.card(set))); err != nil {
		return err
	}
	return set.seal(g.Out)
}

// generate fills the tables of edits, probes and rejects, and says in the
// manifest where they are smaller than was asked for.
func (g Generate) generate(ctx context.Context, t *tables, set *Generated, base *kb.Base, o generator.Options) error {
	edits, err := start[dataset.Edit](t, EditsFile)
	if err != nil {
		return err
	}
	probes, err := start[dataset.Probe](t, ProbesFile)
	if err != nil {
		return err
	}
	rejects, err := start[generator.Reject](t, RejectsFile)
	if err != nil {
		return err
	}
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
		return fmt.Errorf("sets: generating from %s: %w; candidates rejected: %s", set.Arguments.KB, err, listed(set.Counts.Rejects))
	}
	if err != nil {
		return fmt.Errorf("sets: generating from %s: %w", set.Arguments.KB, err)
	}
	if set.Counts.Edits < set.Arguments.N {
		set.Warnings = append(set.Warnings, fmt.Sprintf("%d edits were asked for; the knowledge base yields %d", set.Arguments.N, set.Counts.Edits))
	}
	for _, a := range set.Arguments.Sets {
		if set.Counts.Probes[a] == 0 {
			set.Warnings = append(set.Warnings, fmt.Sprintf("set %s is empty; %s says why", a, RejectsFile))
		}
	}
	return nil
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
func (set *Generated) seal(dir string) error {
	names := []string{EditsFile, ProbesFile, RejectsFile, EntitiesFile, FactsFile, CardFile}
	if set.Arguments.Phraser != "" {
		names = append(names, PhrasingsFile)
	}
	for _, name := range names {
		sum, err := file.Hash(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("sets: the data set: %w", err)
		}
		set.Files = append(set.Files, KBFile{name, sum})
	}
	data, err := json.MarshalIndent(set, "", "  ")
	if err != nil {
		return fmt.Errorf("sets: manifest of the data set: %w", err)
	}
	return file.Write(filepath.Join(dir, ManifestFile), append(data, '\n'))
}

// card is the set's README: what it holds, how it was made, what to mind.
func (g Generate) card(set *Generated) string {
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
	if g.source().bundled() {
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
