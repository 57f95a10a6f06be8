package stages

import (
	"cmp"
	"strings"

	"editpipe/dataset"
)

// superseded gives, for each of the edits made so far, the id of the latest one
// that contradicts it, or "". Edits contradict each other if they share a
// conflict group, or subject and relation, and differ in the new object. Edits
// that failed (errs) contradict nothing.
func superseded(edits []dataset.Edit, errs []error) []dataset.EditID {
	latest := map[string]dataset.Edit{}
	out := make([]dataset.EditID, len(edits))
	for i := len(edits) - 1; i >= 0; i-- {
		e := edits[i]
		fact := e.ConflictGroup
		if relation := cmp.Or(e.RelationID, e.RelationLabel); fact == "" && relation != "" && e.Subject != "" {
			fact = strings.ToLower(e.Subject) + "\x00" + relation
		}
		if fact == "" || errs[i] != nil {
			continue
		}
		if last, ok := latest[fact]; !ok {
			latest[fact] = e
		} else if !strings.EqualFold(last.Target, e.Target) {
			out[i] = last.ID
		}
	}
	return out
}
