package models

// sessionsOf is how many graphs of a model are on the runtime.
func sessionsOf(lm *LM) int {
	lm.mu.Lock()
	defer lm.mu.Unlock()
	return len(lm.sessions)
}
