package stages

import (
	"errors"
	"slices"

	"editpipe/dataset"
	"editpipe/edit"
)

// errNotOnTop marks an edit that is to come on top of another one, where that
// one was not made before it: what the edit is asked then means something else.
var errNotOnTop = errors.New("the edit it comes on top of was not made before it; ask such edits in a sequence, for example --setting sequential:2 --eval-at immediate")

// onTop returns errNotOnTop where the i-th edit of the unit is a follow-up (its
// probes are of an axis of Repeat) and no earlier step of the unit made an edit
// of the same fact.
func (s *session) onTop(i int) error {
	if !slices.ContainsFunc(s.asks[i], func(q question) bool { return q.probe.Axis.FollowUp() }) {
		return nil
	}
	if e := s.edits[i]; s.combo.schedule.Kind == edit.Sequential {
		step := max(1, s.combo.schedule.Step)
		for j := range i / step * step {
			if sameFact(s.edits[j], e) && s.errs[j] == nil {
				return nil
			}
		}
	}
	return errNotOnTop
}

func sameFact(a, b dataset.Edit) bool {
	return a.ConflictGroup == b.ConflictGroup && a.Subject == b.Subject && a.RelationID == b.RelationID
}
