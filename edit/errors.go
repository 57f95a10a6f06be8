package edit

import (
	"errors"
	"fmt"

	"editpipe/dataset"
	"editpipe/models/arch"
)

var (
	// ErrUnsupported is returned when a method does not define what is asked of
	// it: a schedule, a family of models, a side of an encoder-decoder, export.
	// It becomes a row with status "unsupported".
	ErrUnsupported = errors.New("not supported by the method")
	// ErrSchedule is returned when it is the schedule that the method does not
	// define. It wraps ErrUnsupported.
	ErrSchedule = fmt.Errorf("%w: setting", ErrUnsupported)
	// ErrNotPrepared is returned by Open where what Prepare writes is missing.
	ErrNotPrepared = errors.New("not prepared")
	// ErrNoEdits is returned when a group of edits is empty.
	ErrNoEdits = errors.New("edit: no edits given")
)

// Error says which method failed at which edit.
type Error struct {
	Method string
	Edit   dataset.EditID // empty where the fault concerns no single edit
	Err    error
}

// Error gives method, edit and cause, in this order.
func (e *Error) Error() string {
	if e.Edit == "" {
		return fmt.Sprintf("%s: %v", e.Method, e.Err)
	}
	return fmt.Sprintf("%s: edit %s: %v", e.Method, e.Edit, e.Err)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Wrap adds method and edit to err; nil stays nil and an *Error stays as it is.
func Wrap(method string, id dataset.EditID, err error) error {
	var already *Error
	if err == nil || errors.As(err, &already) {
		return err
	}
	return &Error{Method: method, Edit: id, Err: err}
}

// Refused turns what a model cannot do for a method (no gradients, no such site,
// a weight that cannot be changed) into ErrUnsupported; other errors pass through.
func Refused(err error) error {
	if errors.Is(err, ErrUnsupported) {
		return err
	}
	if errors.Is(err, arch.ErrNoGradient) || errors.Is(err, arch.ErrSite) || errors.Is(err, arch.ErrNotEditable) {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return err
}
