package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"editpipe/file"
)

// ErrNotRun is returned when a folder is no run folder, or is not empty and
// shall become one.
var ErrNotRun = errors.New("not a run folder")

// Table is a table of a run: a sub-folder with one file per unit.
type Table string

// The tables of a run.
const (
	TableResults Table = "results"
	TableBase    Table = "base"
	TableApplied Table = "applied"
	TableCosts   Table = "costs"
)

// Tables lists the tables of a run.
func Tables() []Table { return []Table{TableResults, TableBase, TableApplied, TableCosts} }

const (
	manifestName = "manifest.json"
	summaryName  = "summary.parquet"
	ledgerDir    = "ledger"
	patchesDir   = "patches"
	locksDir     = "locks"
	replacedDir  = "replaced"
	plannedName  = "planned.json"
)

// folders lists the sub-folders a run owns.
func folders() []string {
	list := []string{ledgerDir, patchesDir, locksDir, replacedDir}
	for _, t := range Tables() {
		list = append(list, string(t))
	}
	return list
}

// Run is the folder of a run:
//
//	manifest.json             what it is about
//	results/ID.parquet        rows of one unit; likewise base, applied, costs
//	patches/                  saved edits, e.g. where a chain goes on from
//	ledger/STAGE/ID.json      which units are done
//	planned.json              which units of results the last command has
//	replaced/TABLE/ID.parquet finished units that another command's stand in for
//	summary.parquet           means over all rows
//	locks/                    which process works here
type Run struct {
	Dir      string
	Manifest Manifest
}

// TableDir returns the folder of a table's files.
func (r *Run) TableDir(t Table) string { return filepath.Join(r.Dir, string(t)) }

// ShardPath returns the file of a unit's rows of a table.
func (r *Run) ShardPath(t Table, unit string) string {
	return filepath.Join(r.Dir, string(t), unit+".parquet")
}

// PatchDir returns the folder of saved edits.
func (r *Run) PatchDir() string { return filepath.Join(r.Dir, patchesDir) }

// SummaryPath returns the file of the run's summary.
func (r *Run) SummaryPath() string { return filepath.Join(r.Dir, summaryName) }

// summarisedKey is the metadata key of the summary for the result rows it covers.
const summarisedKey = "result_rows"

// WriteSummary writes the summary of a number of result rows, replacing an older
// one.
func WriteSummary[T any](r *Run, rows []T, results int) error {
	return Write(r.SummaryPath(), rows, map[string]string{"run_id": r.Manifest.RunID, summarisedKey: strconv.Itoa(results)})
}

// Summarised is the number of result rows that the summary covers; -1 where a
// version wrote it that did not say.
func (r *Run) Summarised() (int, error) {
	meta, err := ReadMeta(r.SummaryPath())
	if err != nil {
		return 0, err
	}
	if meta[summarisedKey] == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(meta[summarisedKey])
	if err != nil {
		return 0, fmt.Errorf("store: reading %s: %w", r.SummaryPath(), err)
	}
	return n, nil
}

// replacedPath is where a unit's shard lies that was set aside.
func (r *Run) replacedPath(t Table, unit string) string {
	return filepath.Join(r.Dir, replacedDir, string(t), unit+".parquet")
}

// ReadReplaced returns the rows of a table that were set aside.
func ReadReplaced[T any](r *Run, t Table) ([]T, error) {
	dir := filepath.Dir(r.replacedPath(t, ""))
	if !file.Exists(dir) {
		return nil, nil
	}
	return ReadDir[T](dir)
}

// SetAside moves a unit's shards out of the tables, so that nothing reads them
// there; Restore moves them back. Both may be repeated, and the shards of results
// go last, so that a unit is known by them until all are moved.
func (r *Run) SetAside(unit string) error {
	for _, t := range slices.Backward(Tables()) {
		if err := moveShard(r.ShardPath(t, unit), r.replacedPath(t, unit)); err != nil {
			return err
		}
	}
	return nil
}

// Restore moves a unit's shards back that SetAside moved. Shards that were made
// again meanwhile stay.
func (r *Run) Restore(unit string) error {
	for _, t := range Tables() {
		from, to := r.replacedPath(t, unit), r.ShardPath(t, unit)
		if !file.Exists(from) || file.Exists(to) {
			continue
		}
		if err := moveShard(from, to); err != nil {
			return err
		}
	}
	return nil
}

// moveShard moves a file; one that is not there, as another process moved it, is
// no fault.
func moveShard(from, to string) error {
	if !file.Exists(from) {
		return nil
	}
	err := os.MkdirAll(filepath.Dir(to), 0o755)
	if err == nil {
		err = os.Rename(from, to)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("store: moving a unit's rows: %w", err)
	}
	return nil
}

// WritePlanned notes which units of results the command at work has, done or not.
func (r *Run) WritePlanned(units []string) error {
	data, err := json.Marshal(units)
	if err != nil {
		return fmt.Errorf("store: noting the units of a command: %w", err)
	}
	return file.Write(filepath.Join(r.Dir, plannedName), append(data, '\n'))
}

// Missing counts the units of results that the last command planned and that are
// not there, and all it planned; none where a version wrote the folder that did
// not note them.
func (r *Run) Missing() (missing, planned int, err error) {
	var units []string
	data, err := os.ReadFile(filepath.Join(r.Dir, plannedName))
	if errors.Is(err, os.ErrNotExist) {
		return 0, 0, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &units)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("store: reading the units of a command: %w", err)
	}
	for _, u := range units {
		if !file.Exists(r.ShardPath(TableResults, u)) {
			missing++
		}
	}
	return missing, len(units), nil
}

// Ledger returns the run's ledger.
func (r *Run) Ledger() *Ledger { return &Ledger{dir: r.Dir} }

// OpenRun opens a run folder for reading. It returns ErrNotRun where it is none
// and a MismatchError where it was made by a version with other tables.
func OpenRun(dir string) (*Run, error) {
	data, err := os.ReadFile(filepath.Join(dir, manifestName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("store: opening %s: %w: it has no %s", dir, ErrNotRun, manifestName)
	}
	if err != nil {
		return nil, fmt.Errorf("store: opening run: %w", err)
	}
	r := &Run{Dir: dir}
	if err := json.Unmarshal(data, &r.Manifest); err != nil {
		return nil, fmt.Errorf("store: opening %s: %w: reading %s: %w", dir, ErrNotRun, manifestName, err)
	}
	if r.Manifest.RunID == "" || r.Manifest.SchemaVersion == "" {
		return nil, fmt.Errorf("store: opening %s: %w: its %s is not that of a run", dir, ErrNotRun, manifestName)
	}
	if have := r.Manifest.SchemaVersion; have != SchemaVersion {
		return nil, &MismatchError{dir, "schema version", have, SchemaVersion}
	}
	return r, nil
}

// CreateRun makes a run folder, or opens one that is about the same model, data
// and protocol and adds the methods, schedules and commands of m to it: a command
// that is given again goes on, an amended one extends. Where the folder is about
// something else it returns a MismatchError, where it is neither empty nor a
// run ErrNotRun. Processes may do this side by side.
func CreateRun(dir string, m Manifest) (*Run, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("store: creating run: %w", err)
	}
	if err := mayBecomeRun(dir); err != nil {
		return nil, err
	}
	for _, sub := range folders() {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("store: creating run: %w", err)
		}
	}
	// Held only while the manifest is read and written back.
	lock, err := file.Acquire(filepath.Join(dir, locksDir, "manifest.lock"), file.Exclusive, true)
	if err != nil {
		return nil, err
	}
	defer lock.Close()

	r, err := OpenRun(dir)
	switch {
	case err == nil:
		if err := r.Manifest.extend(dir, m); err != nil {
			return nil, err
		}
	case errors.Is(err, ErrNotRun) && !file.Exists(filepath.Join(dir, manifestName)):
		m.SchemaVersion = SchemaVersion
		if m.RunID == "" {
			m.RunID = m.derivedID()
		}
		r = &Run{Dir: dir, Manifest: m}
	default:
		return nil, err
	}
	data, err := r.Manifest.bytes()
	if err != nil {
		return nil, fmt.Errorf("store: creating run %s: %w", dir, err)
	}
	if err := file.Write(filepath.Join(dir, manifestName), data); err != nil {
		return nil, err
	}
	return r, nil
}

// mayBecomeRun returns ErrNotRun for a folder that holds something else.
func mayBecomeRun(dir string) error {
	if file.Exists(filepath.Join(dir, manifestName)) {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("store: creating run: %w", err)
	}
	for _, e := range entries {
		if !slices.Contains(folders(), e.Name()) && !file.IsDraft(e.Name()) && e.Name() != manifestName {
			return fmt.Errorf("store: creating %s: %w: it holds %s; use a new or empty folder", dir, ErrNotRun, e.Name())
		}
	}
	return nil
}

// Fresh removes a run from its folder, so that CreateRun starts over: the files
// and sub-folders a run owns, and nothing else. A folder that does not exist or
// is empty is fresh; one that is no run gives ErrNotRun, one that a process is
// working in a file.LockedError.
func Fresh(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("store: clearing run: %w", err)
	}
	if !file.Exists(filepath.Join(dir, manifestName)) {
		return fmt.Errorf("store: clearing %s: %w: it has no %s, nothing is removed", dir, ErrNotRun, manifestName)
	}
	// A data set, or another program, may have a manifest.json too: only a run's
	// unlocks the removal, whichever version wrote it.
	var mismatch *MismatchError
	if _, err := OpenRun(dir); err != nil && !errors.As(err, &mismatch) {
		return err
	}
	r := &Run{Dir: dir}
	if err := os.MkdirAll(filepath.Join(dir, locksDir), 0o755); err != nil {
		return fmt.Errorf("store: clearing run: %w", err)
	}
	lock, err := r.Lock(1, 1)
	if err != nil {
		return err
	}
	defer lock.Close()
	// The manifest goes last: until then an interrupted removal can be repeated.
	for _, name := range append(folders(), plannedName, summaryName, manifestName) {
		if name == locksDir {
			continue // other processes may be waiting at these files
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("store: clearing run: %w", err)
		}
	}
	return nil
}

// sweep removes the drafts that killed processes left in the folder. Only who
// holds the whole run may do it. A folder below that is not the run's own may be
// a run that another process works in.
func (r *Run) sweep() error {
	err := file.Sweep(r.Dir, false)
	for _, sub := range folders() {
		err = errors.Join(err, file.Sweep(filepath.Join(r.Dir, sub), true))
	}
	return err
}
