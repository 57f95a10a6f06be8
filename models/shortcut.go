package models

import (
	"fmt"
	"slices"
)

// Shortcut is a way of asking that saves work, in words for the user. No answer
// depends on it.
type Shortcut string

// abandoned is a shortcut that failed, and how.
type abandoned struct {
	shortcut Shortcut
	err      error
}

// Abandon does without a shortcut from now on.
func (lm *LM) Abandon(s Shortcut, err error) {
	lm.mu.Lock()
	defer lm.mu.Unlock()
	if !slices.ContainsFunc(lm.abandoned, func(a abandoned) bool { return a.shortcut == s }) {
		lm.abandoned = append(lm.abandoned, abandoned{s, err})
	}
}

// Without says whether a shortcut was abandoned.
func (lm *LM) Without(s Shortcut) bool {
	lm.mu.Lock()
	defer lm.mu.Unlock()
	return slices.ContainsFunc(lm.abandoned, func(a abandoned) bool { return a.shortcut == s })
}

// Abandoned says, in words for the user, which ways of saving work failed on this
// model since it was opened. The answers are those of the plain way, which takes
// longer.
func (lm *LM) Abandoned() []string {
	lm.mu.Lock()
	defer lm.mu.Unlock()
	var list []string
	for _, a := range lm.abandoned {
		list = append(list, fmt.Sprintf("%s failed and was given up for %s; answers are the same, but take longer: %v", a.shortcut, lm.anatomy.Info.Name, a.err))
	}
	return list
}
