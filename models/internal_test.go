package models

// What the tests of package models_test see of the inside.

// ReplacedSets is how many sets of weights can be replaced.
const ReplacedSets = maxSets

// BuiltOf is how many graphs of a model are ready on the runtime.
func BuiltOf(lm *LM) int { return len(lm.built()) }

// SessionsOf is how many graphs of a model were asked for.
func SessionsOf(lm *LM) int {
	lm.mu.Lock()
	defer lm.mu.Unlock()
	return len(lm.sessions)
}
