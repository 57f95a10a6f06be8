// Package shards defines a knowledge base on disk: a folder with the entities
// and facts of a Wikidata dump as Parquet tables, divided into shards, and a
// manifest. Build makes it from a dump of any size in bounded memory; Open
// reads it back.
//
// A build reads the dump once and what it extracted from the dump twice:
//
//	scan     lines with a property of the catalogue are parsed in parallel;
//	         the entities, cut down to what the catalogue needs, are kept as
//	         records, a file for every GiB of the dump
//	join     on disk: labels of objects, items that share a name, subjects of an
//	         object
//	write    records and answers become Parquet
//
// Every step leaves whole files that depend only on the dump, the catalogue and
// the flags, so a build that was stopped can be resumed, and its result depends
// neither on where it was stopped nor on the number of processors.
package shards

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"editpipe/file"
	"editpipe/generator/catalogue"
	"editpipe/generator/kb"
	"editpipe/store"
)

// Build makes a knowledge base folder from a dump.
type Build struct {
	Dump          string    // file: a Wikidata JSON dump, plain or compressed
	In            io.Reader // read instead of the file, if set; Dump is its name
	Out           string    // folder to write
	Catalogue     *catalogue.Catalogue
	CatalogueHash string  // SHA-256 of the catalogue's text
	AsOf          kb.Date // day at which facts are current; by default that of the newest change in the dump
	MinSitelinks  int     // items with fewer are left out
	MaxErrors     int     // broken lines to tolerate
	Version       string  // of the program, for the manifest
	Observe       func(Progress)

	// For tests; 0 is the default.
	workers    int   // as many as processors
	shardBytes int64 // of the dump's text in a shard
	blockBytes int   // of the dump's text that a worker gets at a time
}

// defaultShard is how much of a dump's text goes into one shard: some seconds of
// work, and of a full dump some two thousand shards.
const (
	defaultShard = 1 << 30
	defaultBlock = 4 << 20
)

// Progress says how far a build is.
type Progress struct {
	Step     string        // passing over, scan, join, write
	Read     int64         // bytes of the dump as it lies on disk
	Size     int64         // all of them; 0 where unknown
	Bytes    int64         // of the dump's text
	Lines    int           // of the dump
	Entities int           // kept
	Done     int           // of join and write: files
	Of       int           // all of them
	Elapsed  time.Duration // of the step
}

// Errors of Build and Open.
var (
	// ErrNothing is returned for a dump in which nothing stands that the catalogue needs.
	ErrNothing = errors.New("shards: the dump holds no item with a property of the catalogue")
	// ErrForeign is returned for a folder that holds something else.
	ErrForeign = errors.New("not a knowledge base folder")
	// ErrUnfinished is returned by Open for a folder whose build has not ended.
	ErrUnfinished = errors.New("the knowledge base is not finished: run the same kb build again")
)

// DifferentError is returned when a folder was begun with something else than
// is given now.
type DifferentError struct{ Dir, What, Have, Want string }

func (e *DifferentError) Error() string {
	return fmt.Sprintf("shards: %s was begun with another %s (%s; now %s): use another --out, or remove the folder to start over", e.Dir, e.What, e.Have, e.Want)
}

// BrokenError is returned when a dump has more broken lines than are tolerated.
type BrokenError struct {
	N, Most int
	First   []LineNote
}

func (e *BrokenError) Error() string {
	text := fmt.Sprintf("shards: %d lines of the dump cannot be read, more than --max-errors %d", e.N, e.Most)
	for i, l := range e.First {
		if i == 3 {
			break
		}
		text += fmt.Sprintf("; line %d: %s", l.Line, l.Error)
	}
	return text
}

// Files of the folder, and of its part that is removed in the end.
const (
	entitiesDir  = "entities"
	factsDir     = "facts"
	manifestName = "manifest.json"
	workDir      = "work"

	argumentsName   = "arguments.json"
	stateName       = "state.json"
	records         = "records"
	labelQuestions  = "label-questions"
	labelAnswers    = "label-answers"
	nameQuestions   = "name-questions"
	nameAnswers     = "name-answers"
	objectQuestions = "object-questions"
	objectAnswers   = "object-answers"
	written         = "written"
)

// Arguments decide the result of a build, together with the dump's text.
type Arguments struct {
	Format       int    `json:"format"` // of the work folder and the shards
	Dump         string `json:"dump"`   // base name
	Size         int64  `json:"size"`   // of the file; 0 where it is none
	Catalogue    string `json:"catalogue_sha256"`
	AsOf         string `json:"as_of"` // empty for the day of the newest change
	MinSitelinks int    `json:"min_sitelinks"`
	ShardBytes   int64  `json:"shard_bytes"`
}

// format changes when files of an older program cannot be gone on with.
const format = 1

// differ names the first difference, in words of the command line.
func (a Arguments) differ(dir string, now Arguments) error {
	for _, f := range []struct {
		what      string
		have, now any
	}{
		{"version of editpipe", a.Format, now.Format},
		{"--dump", a.Dump, now.Dump},
		{"size of the dump", a.Size, now.Size},
		{"catalogue", a.Catalogue, now.Catalogue},
		{"--as-of", a.AsOf, now.AsOf},
		{"--min-sitelinks", a.MinSitelinks, now.MinSitelinks},
		{"shard size", a.ShardBytes, now.ShardBytes},
	} {
		if f.have != f.now {
			return &DifferentError{dir, f.what, fmt.Sprint(f.have), fmt.Sprint(f.now)}
		}
	}
	return nil
}

// work is a build's folder of files in the making.
type work struct {
	dir     string
	workers int
	filter  *kb.Filter
	state   state // as saved
	pending state // with the blocks taken since
	shards  int   // once the dump was read

	step    string
	started time.Time
}

func (w *work) path(kind string, i int) string {
	return filepath.Join(w.dir, fmt.Sprintf("%s-%05d", kind, i))
}

// Do builds, or goes on with what an earlier run began. A finished folder is
// left as it is and its manifest returned.
func (b Build) Do(ctx context.Context) (*Manifest, error) {
	if b.workers == 0 {
		b.workers = runtime.GOMAXPROCS(0)
	}
	if b.shardBytes == 0 {
		b.shardBytes = defaultShard
	}
	if b.blockBytes == 0 {
		b.blockBytes = defaultBlock
	}
	args := Arguments{Format: format, Dump: filepath.Base(b.Dump), Catalogue: b.CatalogueHash, AsOf: b.AsOf.Text(), MinSitelinks: b.MinSitelinks, ShardBytes: b.shardBytes}
	in := b.In
	if in == nil {
		f, err := os.Open(b.Dump)
		if err != nil {
			return nil, fmt.Errorf("shards: opening the dump: %w", err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return nil, fmt.Errorf("shards: opening the dump: %w", err)
		}
		if info.IsDir() {
			return nil, fmt.Errorf("shards: opening the dump: %s is a folder; give one dump file", b.Dump)
		}
		if info.Mode().IsRegular() {
			args.Size = info.Size()
		}
		in = f
	}
	if m, err := readManifest(b.Out); !errors.Is(err, os.ErrNotExist) {
		if err == nil {
			err = m.Arguments.differ(b.Out, args)
		}
		if err == nil {
			err = os.RemoveAll(filepath.Join(b.Out, workDir)) // the end may have been cut off
		}
		if err != nil {
			return nil, err
		}
		return m, nil
	}
	w, err := b.begin(args)
	if err != nil {
		return nil, err
	}
	if !w.state.Done {
		var seen atomic.Int64
		w.begin("scan")
		if err := b.scan(ctx, w, in, &seen, args.Size); err != nil {
			return nil, err
		}
	}
	return b.finish(ctx, w, args)
}

// begin opens the work folder, or makes it.
func (b Build) begin(args Arguments) (*work, error) {
	w := &work{dir: filepath.Join(b.Out, workDir), workers: b.workers, filter: kb.NewFilter(b.Catalogue)}
	w.state.Broken, w.state.First = map[kb.Fault]int{}, []LineNote{}
	var before Arguments
	switch err := readJSON(filepath.Join(w.dir, argumentsName), &before); {
	case errors.Is(err, os.ErrNotExist):
		entries, err := os.ReadDir(b.Out)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("shards: %w", err)
		}
		for _, e := range entries {
			if e.Name() != workDir { // one without arguments was just begun
				return nil, fmt.Errorf("shards: %s: %w: it holds %s; use a new or empty folder", b.Out, ErrForeign, e.Name())
			}
		}
		for _, dir := range []string{entitiesDir, factsDir, workDir} {
			if err := os.MkdirAll(filepath.Join(b.Out, dir), 0o755); err != nil {
				return nil, fmt.Errorf("shards: %w", err)
			}
		}
		if err := writeJSON(filepath.Join(w.dir, argumentsName), args); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	default:
		if err := before.differ(b.Out, args); err != nil {
			return nil, err
		}
		if err := readJSON(filepath.Join(w.dir, stateName), &w.state); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	for _, dir := range []string{".", entitiesDir, factsDir, workDir} { // what a killed process left
		if err := file.Sweep(filepath.Join(b.Out, dir), false); err != nil {
			return nil, fmt.Errorf("shards: %w", err)
		}
	}
	w.rewind()
	w.shards = w.state.Shards
	return w, nil
}

// rewind makes pending a copy of the saved state.
func (w *work) rewind() {
	w.pending = w.state
	w.pending.Broken = map[kb.Fault]int{}
	for f, n := range w.state.Broken {
		w.pending.Broken[f] = n
	}
	w.pending.First = slices.Clone(w.state.First)
}

// save puts a state on disk: from then on the shards it counts are finished.
func (w *work) save(s state) error {
	if err := writeJSON(filepath.Join(w.dir, stateName), s); err != nil {
		return err
	}
	w.state, w.shards = s, s.Shards
	w.rewind()
	return nil
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("shards: %w", err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("shards: reading %s: %w", path, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("shards: %w", err)
	}
	return file.Write(path, append(data, '\n'))
}

// begin starts the clock of a step.
func (w *work) begin(step string) { w.step, w.started = step, time.Now() }

func (b Build) tell(p Progress) {
	if b.Observe != nil {
		b.Observe(p)
	}
}

// each does n things side by side; the first error ends it and is returned.
func (w *work) each(ctx context.Context, n int, do func(i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(w.workers, n) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// finish joins what the shards need from each other, and writes them.
func (b Build) finish(ctx context.Context, w *work, args Arguments) (*Manifest, error) {
	asOf := b.AsOf
	if asOf == (kb.Date{}) {
		asOf = w.state.Newest
	}
	if asOf == (kb.Date{}) {
		asOf = kb.EndOfTime()
	}
	w.begin("join")
	var done atomic.Int64
	var telling sync.Mutex
	of := 3*w.groups() + w.shards
	step := func(f func(i int) error) func(i int) error {
		return func(i int) error {
			err := f(i)
			telling.Lock()
			defer telling.Unlock()
			b.tell(Progress{Step: w.step, Done: int(done.Add(1)), Of: of, Elapsed: time.Since(w.started), Bytes: w.state.Bytes, Lines: w.state.Lines, Entities: w.state.Entities})
			return err
		}
	}
	joins := func(questions, answers string, fresh func() joiner) error {
		return w.each(ctx, w.groups(), step(func(i int) error { return w.joinGroup(ctx, i, questions, answers, fresh()) }))
	}
	if err := joins(labelQuestions, labelAnswers, func() joiner { return newLabels(w.shards) }); err != nil {
		return nil, err
	}
	if err := w.each(ctx, w.shards, step(func(s int) error { return w.index(ctx, s, asOf) })); err != nil {
		return nil, err
	}
	if err := joins(nameQuestions, nameAnswers, func() joiner { return &bearers{shards: w.shards} }); err != nil {
		return nil, err
	}
	if err := joins(objectQuestions, objectAnswers, func() joiner { return newSubjects(w.shards) }); err != nil {
		return nil, err
	}
	w.begin("write")
	done.Store(0)
	of = w.shards
	if err := w.each(ctx, w.shards, step(func(s int) error { return b.write(ctx, w, s, asOf, args) })); err != nil {
		return nil, err
	}
	return b.seal(w, args, asOf)
}

// entities hands on a shard's entities that count, with their place among all
// of the shard, and says how many there are of those that do not. The list of an
// entity's statements is valid until take returns.
func (w *work) entities(ctx context.Context, shard int, k *known, take func(place uint64, e *kb.Entity) error) (superseded, unnamed int, err error) {
	path := w.path(records, shard)
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, fmt.Errorf("shards: %w", err)
	}
	all := decoder{rest: string(data)}
	var list kb.Claims
	for place := uint64(0); all.rest != ""; place++ {
		in := decoder{rest: all.text()}
		if all.bad {
			return 0, 0, fmt.Errorf("shards: %s: %w", path, errDamaged)
		}
		use, id := kb.Use(in.byte()), in.text()
		key := idKey(id)
		if k.superseded[key] > 0 {
			k.superseded[key]--
			superseded++
			continue
		}
		if use == kb.IfNamed && !k.named[key] {
			unnamed++
			continue
		}
		e, err := in.entity(id, list)
		if err != nil {
			return 0, 0, fmt.Errorf("shards: %s: %w", path, err)
		}
		list = e.Claims
		if err := take(place, e); err != nil {
			return 0, 0, err
		}
		if err := ctx.Err(); err != nil {
			return 0, 0, err
		}
	}
	return superseded, unnamed, nil
}

// index asks a shard's questions that the as-of date and the entities that
// count have to be known for: who bears its names, and whose object its objects
// are.
func (w *work) index(ctx context.Context, shard int, asOf kb.Date) error {
	last := w.path(objectQuestions, shard)
	if file.Exists(last) {
		return nil
	}
	known, err := w.known(shard)
	if err != nil {
		return err
	}
	var names, objects questions
	var seen []string
	_, _, err = w.entities(ctx, shard, known, func(place uint64, e *kb.Entity) error {
		if e.Type == "item" {
			label := kb.Normalise(e.Label)
			seen = append(seen[:0], "")
			for _, name := range e.Names() {
				if n := kb.Normalise(name); !slices.Contains(seen, n) {
					seen = append(seen, n)
					is := uint64(0)
					if n == label {
						is = 1
					}
					names.add(hash64(n), place<<1|is)
				}
			}
		}
		for p, list := range e.Claims.ByProperty() {
			current := e.Current(p, asOf)
			for _, st := range current {
				if st.Value.Kind == catalogue.Item && e.Type == "item" {
					objects.add(pairKey(p, st.Value.ID), 1)
				}
			}
			if len(current) == len(list) && e.Type == "item" {
				continue // all have asked
			}
			for _, st := range list {
				if st.Value.Kind == catalogue.Item {
					objects.add(pairKey(p, st.Value.ID), 0)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := writeSections(w.path(nameQuestions, shard), names[:]); err != nil {
		return err
	}
	return writeSections(last, objects[:])
}

// rowBatch is how many rows of facts are written at a time: one by one takes
// twice as long.
const rowBatch = 1000

// write makes the Parquet files of a shard.
func (b Build) write(ctx context.Context, w *work, shard int, asOf kb.Date, args Arguments) error {
	receipt := w.path(written, shard)
	if file.Exists(receipt) {
		return nil
	}
	known, err := w.known(shard)
	if err != nil {
		return err
	}
	collisions := map[uint64]uint64{}
	err = w.answersOf(nameAnswers, shard, func(in *decoder) {
		place := in.uvarint()
		collisions[place] = in.uvarint()
	})
	if err != nil {
		return err
	}
	subjects := map[uint64]uint64{}
	err = w.answersOf(objectAnswers, shard, func(in *decoder) {
		key := in.key()
		subjects[key] = in.uvarint()
	})
	if err != nil {
		return err
	}
	info := Shard{Entities: Table{File: entitiesDir + "/" + shardName(shard)}, Facts: Table{File: factsDir + "/" + shardName(shard)}}
	meta := map[string]string{"dump": args.Dump, "catalogue": args.Catalogue, "as_of": asOf.String()}
	entities, err := store.NewWriter[kb.EntityRow](filepath.Join(b.Out, info.Entities.File), meta)
	if err != nil {
		return err
	}
	defer entities.Abort()
	facts, err := store.NewWriter[kb.FactRow](filepath.Join(b.Out, info.Facts.File), meta)
	if err != nil {
		return err
	}
	defer facts.Abort()
	var entityRows []kb.EntityRow
	var factRows []kb.FactRow
	flush := func() error {
		info.Entities.Rows += len(entityRows)
		info.Facts.Rows += len(factRows)
		err := entities.Append(entityRows...)
		if err == nil {
			err = facts.Append(factRows...)
		}
		entityRows, factRows = entityRows[:0], factRows[:0]
		return err
	}
	info.Superseded, info.Unnamed, err = w.entities(ctx, shard, known, func(place uint64, e *kb.Entity) error {
		row := kb.NewEntityRow(e)
		row.LabelCollisions = int32(collisions[place])
		entityRows = append(entityRows, row)
		from := len(factRows)
		factRows = kb.AppendFactRows(factRows, e, asOf, args.Dump)
		for i := range factRows[from:] {
			if r := &factRows[from+i]; r.ObjectKind == catalogue.Item {
				r.ObjectText = known.labels[idKey(r.ObjectID)]
				r.SubjectsCurrent = int32(subjects[pairKey(r.PropertyID, r.ObjectID)])
				if r.ObjectText == "" {
					info.Unlabelled++
				}
			}
		}
		if len(factRows) < rowBatch {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return err
	}
	for _, t := range []struct {
		table *Table
		close func() error
	}{{&info.Entities, entities.Close}, {&info.Facts, facts.Close}} {
		if err := t.close(); err != nil {
			return err
		}
		if t.table.SHA256, err = file.Hash(filepath.Join(b.Out, t.table.File)); err != nil {
			return fmt.Errorf("shards: %w", err)
		}
	}
	return writeJSON(receipt, info)
}

func shardName(shard int) string { return fmt.Sprintf("%05d.parquet", shard) }

// seal writes the manifest and removes the work folder.
func (b Build) seal(w *work, args Arguments, asOf kb.Date) (*Manifest, error) {
	s := w.state
	m := &Manifest{SchemaVersion: store.SchemaVersion, Kind: kindOf, Version: b.Version, Arguments: args, AsOf: asOf.String(), Properties: w.filter.Properties(),
		Bytes: s.Bytes, SHA256: s.SHA256, Lines: s.Lines, Filtered: s.Filtered, Unpopular: s.Unpopular,
		Broken: s.Broken, FirstBroken: s.First, Warnings: []string{}}
	for i := range w.shards {
		var shard Shard
		if err := readJSON(w.path(written, i), &shard); err != nil {
			return nil, err
		}
		m.Shards = append(m.Shards, shard)
		m.Entities += shard.Entities.Rows
		m.Facts += shard.Facts.Rows
		m.Unlabelled += shard.Unlabelled
		m.Superseded += shard.Superseded
		m.Unnamed += shard.Unnamed
	}
	if m.Facts == 0 {
		return nil, fmt.Errorf("%w (%d lines)", ErrNothing, s.Lines)
	}
	if m.Superseded > 0 {
		m.Warnings = append(m.Warnings, fmt.Sprintf("%d entities stand in the dump more than once; the last of each counts", m.Superseded))
	}
	if asOf == kb.EndOfTime() {
		m.Warnings = append(m.Warnings, "the dump states no days of change and --as-of was not given: every fact with an end counts as past")
	}
	if err := writeJSON(filepath.Join(b.Out, manifestName), m); err != nil {
		return nil, err
	}
	if err := os.RemoveAll(w.dir); err != nil {
		return nil, fmt.Errorf("shards: removing %s: %w", w.dir, err)
	}
	return m, nil
}
