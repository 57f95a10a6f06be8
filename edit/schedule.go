package edit

import (
	"fmt"
	"strconv"
	"strings"
)

// Kind is one of the three ways in which edits come together.
type Kind string

// The kinds of a schedule.
const (
	Single     Kind = "single"     // each edit alone on the unedited model
	Batch      Kind = "batch"      // N edits made at once
	Sequential Kind = "sequential" // one after another, none rolled back
)

// Schedule says how many edits come together and how.
type Schedule struct {
	Kind Kind
	N    int // Batch: edits made at once; Sequential: edits of one chain, 0 for all of the data
	Step int // Sequential: edits made at once in each step of the chain; 0 counts as 1
}

const scheduleForms = "single, batch:N, sequential, sequential:N or sequential:N/B"

// ParseSchedule reads single, batch:N, sequential, sequential:N or sequential:N/B.
func ParseSchedule(s string) (Schedule, error) {
	bad := func(why string) (Schedule, error) {
		return Schedule{}, fmt.Errorf("edit: setting %q: %s; want %s", s, why, scheduleForms)
	}
	kind, rest, has := strings.Cut(strings.TrimSpace(s), ":")
	size, step, hasStep := strings.Cut(rest, "/")
	n, err := strconv.Atoi(size)
	if has && (err != nil || n < 1) {
		return bad("the number of edits must be a whole number above 0")
	}
	switch Kind(kind) {
	case Single:
		if has {
			return bad("single takes no number")
		}
		return Schedule{Kind: Single}, nil
	case Batch:
		if !has || hasStep {
			return bad("batch takes exactly one number")
		}
		return Schedule{Kind: Batch, N: n}, nil
	case Sequential:
		set := Schedule{Kind: Sequential, N: n}
		if hasStep {
			b, err := strconv.Atoi(step)
			if err != nil || b < 1 || b > n {
				return bad("the step must be a whole number from 1 to the length of the chain")
			}
			if b > 1 {
				set.Step = b
			}
		}
		return set, nil
	}
	return bad("unknown kind")
}

// String is the form ParseSchedule reads.
func (s Schedule) String() string {
	switch {
	case s.Kind == Batch || s.Kind == Sequential && s.N > 0 && s.Step <= 1:
		return fmt.Sprintf("%s:%d", s.Kind, s.N)
	case s.Kind == Sequential && s.N > 0:
		return fmt.Sprintf("%s:%d/%d", s.Kind, s.N, s.Step)
	}
	return string(s.Kind)
}
