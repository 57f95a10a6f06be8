package stages

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"editpipe/pipeline"
	"editpipe/row"
	"editpipe/store"
)

// base is the stage in which the unedited model answers every probe, once. All
// methods and schedules are compared with these answers.
//
// Its units are chunks of records. A unit of evaluate that finds the answers it
// needs missing makes them itself, so that the stages can be shared out over
// processes without waiting for each other; both come to the same rows.
type base struct {
	*trial
	chunks []chunk
	ids    []string       // of the units, parallel to chunks
	place  map[string]int // of a unit in ids
}

func newBase(t *trial) *base {
	b := &base{trial: t, chunks: chunks(len(t.test), BaseRecords), place: map[string]int{}}
	for i, c := range b.chunks {
		unit := id("base", t.identity, store.HashRecords(t.test[c.lo:c.hi]))
		b.ids, b.place[unit] = append(b.ids, unit), i
	}
	return b
}

// Name is the stage's name in the ledger.
func (b *base) Name() string { return "base" }

// Plan lists the units in the order of the records.
func (b *base) Plan(context.Context) ([]pipeline.Unit, error) {
	units := make([]pipeline.Unit, len(b.chunks))
	for i, c := range b.chunks {
		units[i] = pipeline.Unit{ID: b.ids[i], Label: "unedited, " + c.String(), Weight: c.hi - c.lo}
	}
	return units, nil
}

// Do asks the records of one unit, unless a unit of evaluate has done so.
func (b *base) Do(ctx context.Context, u pipeline.Unit) error {
	i, ok := b.place[u.ID]
	if !ok {
		return fmt.Errorf("stages: base has no unit %s", u.ID)
	}
	if !b.redo[u.ID] {
		if _, err := store.Read[row.Base](b.folder.ShardPath(store.TableBase, u.ID)); err == nil {
			return nil
		}
	}
	_, err := b.make(ctx, i)
	return err
}

// make asks chunk i and writes its rows.
func (b *base) make(ctx context.Context, i int) ([]row.Base, error) {
	meter := b.lm.StartMeter()
	qs := questions(b.test[b.chunks[i].lo:b.chunks[i].hi])
	list := make([]asked, len(qs))
	for i, q := range qs {
		list[i].question = q
	}
	err := put(ctx, b.lm, b.maxNew, list)
	usage := meter.Stop()
	if err != nil {
		return nil, fmt.Errorf("stages: asking the unedited model: %w", err)
	}
	rows := make([]row.Base, len(list))
	for i, a := range list {
		rows[i] = a.baseRow(b.protocol)
	}
	cost := b.cost(b.ids[i], "base", usage)
	cost.Probes = int32(len(rows))
	if err := store.Write(b.folder.ShardPath(store.TableCosts, b.ids[i]), []row.Cost{cost}, nil); err != nil {
		return nil, err
	}
	return rows, store.Write(b.folder.ShardPath(store.TableBase, b.ids[i]), rows, nil)
}

// rows gives the unedited answers for a range of the records under test,
// parallel to questions of that range. It makes those that are missing.
func (b *base) rows(ctx context.Context, want chunk) ([]row.Base, error) {
	var out []row.Base
	for i, c := range b.chunks {
		lo, hi := max(c.lo, want.lo), min(c.hi, want.hi)
		if lo >= hi {
			continue
		}
		rows, err := store.Read[row.Base](b.folder.ShardPath(store.TableBase, b.ids[i]))
		if errors.Is(err, fs.ErrNotExist) {
			rows, err = b.make(ctx, i)
		}
		if err != nil {
			return nil, fmt.Errorf("stages: answers of the unedited model: %w", err)
		}
		before, within := len(questions(b.test[c.lo:lo])), len(questions(b.test[lo:hi]))
		if len(rows) < before+within {
			return nil, fmt.Errorf("stages: %s holds %d answers, but %d were asked: delete it and run again", b.folder.ShardPath(store.TableBase, b.ids[i]), len(rows), before+within)
		}
		out = append(out, rows[before:before+within]...)
	}
	return out, nil
}
