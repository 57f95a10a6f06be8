// Package pipeline runs stages made of resumable units. A unit is work that is
// done as a whole or not at all; a ledger records which units are done, so that
// running the same command again does only the rest. The package does not know
// what the work is.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Unit is a piece of a stage.
type Unit struct {
	ID     string // a hash of everything that decides the unit's result
	Label  string // for people
	Weight int    // share of the stage's work, for estimates; 0 counts as 1
}

func (u Unit) weight() int { return max(u.Weight, 1) }

// Stage is a kind of work cut into units.
type Stage interface {
	Name() string
	// Plan lists the units in the order in which they are to be done. The same
	// inputs give the same list.
	Plan(ctx context.Context) ([]Unit, error)
	// Do does one unit and leaves whole files only: when it fails or ctx ends,
	// nothing of the unit counts as done.
	Do(ctx context.Context, u Unit) error
}

// Ledger remembers finished units.
type Ledger interface {
	Done(stage, id string) (bool, error)
	Mark(stage, id string) error
}

// Options say which units are done and how many may fail. The zero value does
// all of them and stops at the first failure. A failure of the ledger ends the
// run however many units may fail.
type Options struct {
	Shard     Shard
	MaxErrors int             // failed units to tolerate; a further one ends the run
	Redo      map[string]bool // ids to do again though the ledger has them
	Observe   func(Event)     // told of every step, from the goroutine that runs; may be nil
}

// Kind says what an Event reports.
type Kind uint8

// The kinds of events.
const (
	StageStarted Kind = iota
	UnitStarted
	UnitFinished
	UnitFailed
	StageFinished
)

// Event is one step of a run. Counts are of the stage and of this process's
// shard; Skipped units were finished by an earlier run.
type Event struct {
	Kind    Kind
	Stage   string
	Unit    Unit // of unit events
	Err     error
	Done    int // units finished by now, skipped ones included
	Skipped int
	Failed  int
	Total   int
	Elapsed time.Duration // since the stage started
	Rate    float64       // weight done per second by this process; 0 where none is done yet
	Left    time.Duration // estimate from the rate and the weights to come; 0 where none is possible
}

// UnitError is the failure of one unit.
type UnitError struct {
	Stage string
	Unit  Unit
	Err   error
}

func (e *UnitError) Error() string {
	return fmt.Sprintf("pipeline: %s: %s: %v", e.Stage, e.Unit.Label, e.Err)
}

func (e *UnitError) Unwrap() error { return e.Err }

// ErrTooManyErrors is returned by Run when more units failed than
// Options.MaxErrors allows; the failures are joined to it.
var ErrTooManyErrors = errors.New("pipeline: too many failed units")

// Report counts what a run did.
type Report struct {
	Done    int // by this run
	Skipped int // finished before
	Failed  []*UnitError
}

// Run does the units of all stages, stage by stage, that this shard holds and
// the ledger lacks. When ctx ends it returns ctx's error after the current unit
// has stopped. Failures within Options.MaxErrors are in the report only.
func Run(ctx context.Context, stages []Stage, l Ledger, o Options) (Report, error) {
	var r Report
	for _, s := range stages {
		if err := runStage(ctx, s, l, o, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}

func runStage(ctx context.Context, s Stage, l Ledger, o Options, r *Report) error {
	all, err := s.Plan(ctx)
	if err != nil {
		return fmt.Errorf("pipeline: planning %s: %w", s.Name(), err)
	}
	c := clock{event: Event{Stage: s.Name()}, observe: o.Observe}
	var todo []Unit
	seen := map[string]string{} // labels by id
	for _, u := range all {
		if first, ok := seen[u.ID]; ok || u.ID == "" {
			return fmt.Errorf("pipeline: planning %s: units %q and %q have the id %q: ids must be unique and not empty", s.Name(), first, u.Label, u.ID)
		}
		seen[u.ID] = u.Label
		if !o.Shard.Holds(u.ID) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err // a ledger that reads what it checks takes its time
		}
		c.event.Total++
		done, err := l.Done(s.Name(), u.ID)
		if err != nil {
			return fmt.Errorf("pipeline: %s: looking up %s: %w", s.Name(), u.Label, err)
		}
		if done && !o.Redo[u.ID] {
			c.event.Done++
			c.event.Skipped++
			continue
		}
		todo = append(todo, u)
		c.left += u.weight()
	}
	r.Skipped += c.event.Skipped
	c.started = time.Now() // looking up may take long and says nothing of the work
	c.tell(StageStarted, Unit{}, nil)
	for _, u := range todo {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.tell(UnitStarted, u, nil)
		err := s.Do(ctx, u)
		if err == nil {
			// Marked even when ctx has ended meanwhile: the work is whole.
			if err := l.Mark(s.Name(), u.ID); err != nil {
				return fmt.Errorf("pipeline: %s: marking %s as done: %w", s.Name(), u.Label, err)
			}
		}
		if ctxErr := ctx.Err(); err != nil && ctxErr != nil {
			return ctxErr // the unit was stopped, it did not fail
		}
		c.left -= u.weight()
		if err != nil {
			r.Failed = append(r.Failed, &UnitError{s.Name(), u, err})
			c.event.Failed++
			c.tell(UnitFailed, u, err)
			if len(r.Failed) > o.MaxErrors {
				return tooMany(r.Failed)
			}
			continue
		}
		r.Done++
		c.event.Done++
		c.worked += u.weight()
		c.tell(UnitFinished, u, nil)
	}
	c.tell(StageFinished, Unit{}, nil)
	return nil
}

func tooMany(failed []*UnitError) error {
	errs := []error{ErrTooManyErrors}
	for _, f := range failed {
		errs = append(errs, f)
	}
	return errors.Join(errs...)
}

// clock fills in the times of a stage's events.
type clock struct {
	started time.Time
	worked  int // weight done by this process
	left    int // weight still to do
	event   Event
	observe func(Event)
}

func (c *clock) tell(k Kind, u Unit, err error) {
	if c.observe == nil {
		return
	}
	e := c.event
	e.Kind, e.Unit, e.Err = k, u, err
	e.Elapsed = time.Since(c.started)
	if c.worked > 0 && e.Elapsed > 0 {
		e.Rate = float64(c.worked) / e.Elapsed.Seconds()
		e.Left = time.Duration(float64(c.left) / e.Rate * float64(time.Second))
	}
	c.observe(e)
}
