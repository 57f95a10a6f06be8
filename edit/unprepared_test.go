package edit

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestUnprepared(t *testing.T) {
	lacking := func(method string) error {
		return Wrap(method, "", fmt.Errorf("%w: no statistics", ErrNotPrepared))
	}
	other := Wrap("c", "", errors.New("out of memory"))
	err := fmt.Errorf("run: %w", errors.Join(lacking("a"), other, lacking("b")))
	if got := Unprepared(err); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %v, want a and b", got)
	}
	if got := Unprepared(errors.Join(other, ErrNotPrepared)); got != nil {
		t.Errorf("%v of errors that name no method as unprepared", got)
	}
}
