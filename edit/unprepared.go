package edit

import "errors"

// Unprepared lists the methods whose errors, joined or wrapped in err, say that
// they were not prepared.
func Unprepared(err error) []string {
	of, ok := err.(*Error) //nolint:errorlint // each error of the tree is looked at by itself
	if ok && errors.Is(err, ErrNotPrepared) {
		return []string{of.Method}
	}
	switch e := err.(type) { //nolint:errorlint // likewise
	case interface{ Unwrap() error }:
		return Unprepared(e.Unwrap())
	case interface{ Unwrap() []error }:
		var list []string
		for _, err := range e.Unwrap() {
			list = append(list, Unprepared(err)...)
		}
		return list
	}
	return nil
}
