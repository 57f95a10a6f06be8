package models

import "sync"

// trials remembers how the graph with past treats padding in front of the past of a
// row.
type trials struct {
	sync.Mutex
	passed int // with up to so many positions it makes no difference
	failed int // with so many it does; 0 if none was found
}

// TryPadding says whether padding in front of cached keys and values makes no
// difference with n positions, as remembered or as try finds: what makes none with
// n positions makes none with fewer, what makes one makes one with more. Where try
// does not settle the question the answer is no, and nothing is remembered.
func (lm *LM) TryPadding(n int, try func() (alike, settled bool)) bool {
	t := &lm.trials
	t.Lock()
	defer t.Unlock()
	if n <= t.passed {
		return true
	}
	if t.failed > 0 && n >= t.failed {
		return false
	}
	switch alike, settled := try(); {
	case alike:
		t.passed = n
		return true
	case settled:
		t.failed = n
	}
	return false
}
