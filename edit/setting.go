package edit

import (
	"fmt"
	"strconv"
	"strings"
)

// Kind is one of the three ways in which edits come together.
type Kind string

// The kinds of a setting.
const (
	Single     Kind = "single"     // each edit alone on the unedited model
	Batch      Kind = "batch"      // N edits made at once
	Sequential Kind = "sequential" // one after another, none rolled back
)

// Setting says how many edits come together and how.
type Setting struct {
	Kind Kind
	N    int // Batch: edits made at once; Sequential: edits of one chain, 0 for all of the data
	Step int // Sequential: edits made at once in each step of the chain; 0 counts as 1
}

const settingForms = "single, batch:N, sequential, sequential:N or sequential:N/B"

// ParseSetting reads single, batch:N, sequential, sequential:N or sequential:N/B.
func ParseSetting(s string) (Setting, error) {
	bad := func(why string) (Setting, error) {
		return Setting{}, fmt.Errorf("edit: setting %q: %s; want %s", s, why, settingForms)
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
		return Setting{Kind: Single}, nil
	case Batch:
		if !has || hasStep {
			return bad("batch takes exactly one number")
		}
		return Setting{Kind: Batch, N: n}, nil
	case Sequential:
		set := Setting{Kind: Sequential, N: n}
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

// String is the form ParseSetting reads.
func (s Setting) String() string {
	switch {
	case s.Kind == Batch || s.Kind == Sequential && s.N > 0 && s.Step <= 1:
		return fmt.Sprintf("%s:%d", s.Kind, s.N)
	case s.Kind == Sequential && s.N > 0:
		return fmt.Sprintf("%s:%d/%d", s.Kind, s.N, s.Step)
	}
	return string(s.Kind)
}
