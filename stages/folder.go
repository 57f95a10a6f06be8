package stages

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"editpipe/row"
	"editpipe/store"
)

// findFailed marks units for another try: those of evaluate with rows of status
// error, and those of base likewise, with the units that read their answers.
func (j *job) findFailed() error {
	failed := make([]bool, len(j.base.chunks))
	for i, unit := range j.base.ids {
		rows, err := rowsOf[row.Base](j.folder, store.TableBase, unit)
		if err != nil {
			return err
		}
		for _, r := range rows {
			failed[i] = failed[i] || r.Status == row.Failed
		}
		j.redo[unit] = failed[i]
	}
	for _, t := range j.evaluate.tasks {
		for i, c := range j.base.chunks {
			if failed[i] && c.lo < t.chunk.hi && t.chunk.lo < c.hi {
				j.redo[t.id] = true
			}
		}
		rows, err := rowsOf[row.Result](j.folder, store.TableResults, t.id)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if r.Status == row.Failed {
				j.redo[t.id] = true
				break
			}
		}
	}
	return nil
}

// rowsOf reads a unit's rows of a table; a unit without any has none.
func rowsOf[T any](run *store.Run, table store.Table, unit string) ([]T, error) {
	rows, err := store.Read[T](run.ShardPath(table, unit))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return rows, err
}

// asking is what may stand in a run once only.
type asking struct{ method, schedule, edit string }

// restore brings back the units of this command that another one's stood in for,
// and notes which units the command has.
func (j *job) restore() error {
	for _, unit := range j.base.ids {
		if err := j.folder.Restore(unit); err != nil {
			return err
		}
	}
	units := make([]string, len(j.evaluate.tasks))
	for i, t := range j.evaluate.tasks {
		units[i] = t.id
		if err := j.folder.Restore(t.id); err != nil {
			return err
		}
	}
	return j.folder.WritePlanned(units)
}

// setReplacedAside moves units of earlier commands that units of this one stand
// in for out of the tables: those with rows of the same method, schedule and edit,
// asked in another unit because the selection, its order or what the method draws
// on was another. They are kept, and count again once a command has them.
// Everything else stays, so that a run can be extended.
func (j *job) setReplacedAside() error {
	planned := map[string]bool{}
	now := map[asking]bool{}
	for _, t := range j.evaluate.tasks {
		planned[t.id] = true
		for _, r := range j.test[t.chunk.lo:t.chunk.hi] {
			now[asking{t.combo.method.Name, t.combo.schedule.String(), string(r.Edit.ID)}] = true
		}
	}
	for i, unit := range j.base.ids {
		planned[unit] = true
		for _, r := range j.test[j.base.chunks[i].lo:j.base.chunks[i].hi] {
			now[asking{edit: string(r.Edit.ID)}] = true
		}
	}
	err := setAside(j.folder, store.TableResults, planned, func(r row.Result) bool {
		return now[asking{r.Method, r.Setting, r.EditID}]
	})
	if err != nil {
		return err
	}
	return setAside(j.folder, store.TableBase, planned, func(r row.Base) bool { return now[asking{edit: r.EditID}] })
}

// setAside moves units of a table that are not planned and hold a row that is
// replaced.
func setAside[T any](run *store.Run, table store.Table, planned map[string]bool, replaced func(T) bool) error {
	files, err := os.ReadDir(run.TableDir(table))
	if err != nil {
		return fmt.Errorf("stages: looking for replaced rows: %w", err)
	}
	for _, f := range files {
		unit, ok := strings.CutSuffix(f.Name(), ".parquet")
		if !ok || planned[unit] {
			continue
		}
		rows, err := rowsOf[T](run, table, unit) // another shard may have moved it
		if err != nil {
			return fmt.Errorf("stages: looking for replaced rows: %w: delete the file and run the command that wrote it again", err)
		}
		if !slices.ContainsFunc(rows, replaced) {
			continue
		}
		if err := run.SetAside(unit); err != nil {
			return err
		}
	}
	return nil
}
