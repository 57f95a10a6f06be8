package stages

import (
	"errors"
	"slices"
	"testing"

	"editpipe/dataset"
)

func TestSuperseded(t *testing.T) {
	edits := []dataset.Edit{
		{ID: "a", Subject: "Ada", RelationID: "P1", Target: "x"},
		{ID: "b", Subject: "Bo", RelationID: "P1", Target: "x"},
		{ID: "c", Subject: "ada", RelationID: "P1", Target: "y"}, // contradicts a
		{ID: "d", Subject: "Bo", RelationID: "P1", Target: "X"},  // says what b says
		{ID: "e", Subject: "Ada", Target: "z"},                   // no relation, no verdict
		{ID: "f", Subject: "q", ConflictGroup: "g", Target: "1"},
		{ID: "g", Subject: "r", ConflictGroup: "g", Target: "2"}, // contradicts f
		{ID: "h", RelationID: "P1", Target: "1"},                 // no subject, no verdict
		{ID: "i", RelationID: "P1", Target: "2"},
	}
	errs := make([]error, len(edits))
	want := []dataset.EditID{"c", "", "", "", "", "g", "", "", ""}
	if got := superseded(edits, errs); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	errs[2] = errors.New("not made")
	want[0] = ""
	if got := superseded(edits, errs); !slices.Equal(got, want) {
		t.Errorf("with c not made: %q, want %q", got, want)
	}
}
