// Package stages runs the stages of an evaluation: asking the unedited model,
// editing and asking again, summarising. It knows what a method is but names
// none; it is given the methods to run.
//
// A stage is cut into units. A unit's id is a hash over everything that decides
// its rows, so a command that is run again finds its finished units and does
// only the rest, and the rows are the same however often the run was stopped
// and however its units were divided.
package stages

// schema counts changes to the rows' columns and meaning; part of every unit's
// id, so that all files of a table have the same columns.
const schema = 2

// Units are sized by fixed numbers, never by measurement, as the size decides
// which rows share a run of the model and with it the last bits of their
// numbers.
const (
	// SingleEdits is the number of independent edits in a unit of schedule
	// single: a unit of weight edits lasts seconds to a minute, so little is
	// lost when a run is killed, while its probes still fill the runs.
	SingleEdits = 16
	// BaseRecords is the number of records whose probes one unit of stage base
	// asks. It equals SingleEdits, so that a unit of either needs one of the other.
	BaseRecords = SingleEdits
)
