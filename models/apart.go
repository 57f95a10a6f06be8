package models

import (
	"context"
	"errors"
)

// apart goes on after a run of n rows that the runtime could not compute, so that
// one row that the graph fails on does not take the others with it: each row is
// run once more, alone, and blame takes the error of one that fails again. Other
// errors, of a session that cannot be made for instance, are those of every row,
// and are returned.
func apart(ctx context.Context, failed error, n int, alone func(row int) error, blame func(row int, err error)) error {
	if !errors.Is(failed, ErrRun) || ctx.Err() != nil {
		return failed
	}
	for row := range n {
		switch err := alone(row); {
		case err == nil:
		case errors.Is(err, ErrRun) && ctx.Err() == nil:
			blame(row, err)
		default:
			return err
		}
	}
	return nil
}

// scoreApart is apart for a batch whose target positions could not be run. Jobs
// that read another one's run are run by themselves, too.
func (lm *LM) scoreApart(ctx context.Context, failed error, b batch) error {
	if failed == nil {
		return nil
	}
	var jobs []*job
	for _, j := range b.jobs {
		jobs = append(jobs, j.all()...)
		j.riders = nil
	}
	return apart(ctx, failed, len(jobs),
		func(i int) error { return lm.newInput(forward, jobs[i:i+1], b.only).score(ctx) },
		func(i int, err error) { jobs[i].err = err })
}

// continueApart is apart for a batch that could not be continued: what has not
// stopped by then begins anew.
func (lm *LM) continueApart(ctx context.Context, failed error, b batch, all []*continuation, again func(batch, []*continuation) error) error {
	return apart(ctx, failed, len(all),
		func(i int) error {
			c := all[i]
			if c.stopped != "" || c.job.err != nil {
				return nil
			}
			c.job.ids = append(c.job.ids[:c.prompt], 0)
			return again(batch{jobs: b.jobs[i : i+1], only: b.only}, all[i:i+1])
		},
		func(i int, err error) { all[i].job.err = err })
}
