package models

import (
	"fmt"
	"slices"
)

// shortcut is a way of asking that saves work. No answer depends on it.
type shortcut string

const (
	sharedBeginnings shortcut = "computing once what questions begin with"
	cachedGeneration shortcut = "generating with cached keys and values"
	heldPositions    shortcut = "computing once what stands before the tokens of a search"
	heldLayers       shortcut = "computing once the layers below a search"
)

// abandoned is a shortcut that failed, and how.
type abandoned struct {
	shortcut
	err error
}

// abandon does without a shortcut from now on.
func (lm *LM) abandon(s shortcut, err error) {
	lm.mu.Lock()
	defer lm.mu.Unlock()
	if !slices.ContainsFunc(lm.abandoned, func(a abandoned) bool { return a.shortcut == s }) {
		lm.abandoned = append(lm.abandoned, abandoned{s, err})
	}
}

// without says whether a shortcut was abandoned.
func (lm *LM) without(s shortcut) bool {
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
		list = append(list, fmt.Sprintf("%s failed and was given up for %s; answers are the same, but take longer: %v", a.shortcut, lm.info.Name, a.err))
	}
	return list
}
