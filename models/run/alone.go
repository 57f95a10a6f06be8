package run

import (
	"context"
	"errors"
)

// Alone goes on after a run of n rows that the runtime could not compute, so that
// one row that the graph fails on does not take the others with it: each row is
// run once more, alone, and blame takes the error of one that fails again. Other
// errors, of a session that cannot be made for instance, are those of every row,
// and are returned.
func Alone(ctx context.Context, failed error, n int, again func(row int) error, blame func(row int, err error)) error {
	if !errors.Is(failed, ErrRun) || ctx.Err() != nil {
		return failed
	}
	for row := range n {
		switch err := again(row); {
		case err == nil:
		case errors.Is(err, ErrRun) && ctx.Err() == nil:
			blame(row, err)
		default:
			return err
		}
	}
	return nil
}
