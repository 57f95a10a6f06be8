package stages

import (
	"fmt"
	"sync/atomic"

	"editpipe/dataset"
	"editpipe/edit"
	"editpipe/models"
	"editpipe/ort"
	"editpipe/row"
	"editpipe/store"
)

// trial is what the stages of one evaluation share. It does not change once
// the stages run.
type trial struct {
	lm       *models.LM
	folder   *store.Run
	data     string // name of the data set
	test     []dataset.Record
	left     []dataset.Record // not under test
	combos   []*combo
	when     When
	maxNew   int
	order    int64 // seed of the order of edits
	protocol string
	identity string // hash over all that decides an answer beside question and patch

	redo map[string]bool // units to do again although they are done
	warm atomic.Bool     // a unit has been done by this process
}

// combo is a method under a schedule.
type combo struct {
	method   edit.Method
	config   edit.Config
	editor   edit.Editor
	schedule edit.Schedule
	hash     string // over method, configuration and what the method draws on
	refused  error  // why it is not run; it wraps edit.ErrUnsupported
}

func (c *combo) String() string { return c.method.Name + " " + c.schedule.String() }

// chunk is the range [lo, hi) of the records under test.
type chunk struct{ lo, hi int }

func (c chunk) String() string { return fmt.Sprintf("records %d-%d", c.lo+1, c.hi) }

// chunks cuts n records into pieces of size; the last may be shorter.
func chunks(n, size int) []chunk {
	var list []chunk
	for lo := 0; lo < n; lo += size {
		list = append(list, chunk{lo, min(lo+size, n)})
	}
	return list
}

// units cuts n records into the units of the combo's schedule: one batch, one
// chain, or SingleEdits independent edits. A combo that is not run is cut like
// single edits.
func (c *combo) units(n int) []chunk {
	switch {
	case c.refused != nil || c.schedule.Kind == edit.Single:
		return chunks(n, SingleEdits)
	case c.schedule.N == 0:
		return chunks(n, n)
	}
	return chunks(n, c.schedule.N)
}

// cost is the row of a unit with what was measured.
func (t *trial) cost(unit, stage string, u ort.Usage) row.Cost {
	cpu := u.CPU.Seconds()
	return row.Cost{
		RunID: t.folder.Manifest.RunID, Stage: stage, UnitID: unit,
		TWall: u.Wall.Seconds(), TCPU: &cpu, PeakRSS: u.PeakRSS, PeakVRAM: u.PeakVRAM,
		WarmUp: !t.warm.Swap(true),
	}
}
