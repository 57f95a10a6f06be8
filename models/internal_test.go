package models

// What the tests of package models_test see of the inside.

// replacedSets is how many sets of weights can be replaced.
const replacedSets = maxReplaced

// builtOf is how many graphs of a model are ready on the runtime.
func builtOf(lm *LM) int { return len(lm.built()) }

// sessionsOf is how many graphs of a model were asked for.
func sessionsOf(lm *LM) int {
	lm.mu.Lock()
	defer lm.mu.Unlock()
	return len(lm.sessions)
}
