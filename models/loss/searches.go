package loss

import (
	"context"
	"errors"

	"editpipe/models"
	"editpipe/models/arch"
)

// Searches evaluates the rows of several problems together, time after time, as
// searches do that stop one by one: rows of problems that are no longer asked for
// leave once they are half of those held. Problems share runs only with those
// that are padded alike (see [Span]), so that each gets the bits it would get
// alone: a search whose steps depend on the sign of a slope, as Adam's do, would
// carry the rounding of other company far. It is for one goroutine and must be
// closed before its model.
type Searches struct {
	lm     *models.LM
	at     []arch.Site
	lanes  int
	rows   func(problem int) []Row
	held   []*Held
	places map[int]place // of problems that are held
}

// place is where a problem's rows are: a Held, by number, and the first row in it.
type place struct{ held, first int }

// NewSearches prepares nothing yet. rows gives the rows of a problem, as for
// [Hold], which also says what lanes is; with later shifts and terms they come
// to Losses.
func NewSearches(lm *models.LM, at []arch.Site, lanes int, rows func(problem int) []Row) *Searches {
	return &Searches{lm: lm, at: at, lanes: lanes, rows: rows}
}

// Losses computes the losses of problems: rows[k] are those of problems[k], and
// the results are parallel to them. No problem is asked for again after it was
// left out.
func (s *Searches) Losses(ctx context.Context, problems []int, rows [][]Row) ([][]Loss, error) {
	if err := s.hold(ctx, problems); err != nil {
		return nil, err
	}
	out := make([][]Loss, len(problems))
	for i, h := range s.held {
		var all []Row
		var which []int
		for k, p := range problems {
			if at := s.places[p]; at.held == i {
				for n := range rows[k] {
					which = append(which, at.first+n)
				}
				all = append(all, rows[k]...)
			}
		}
		losses, err := h.Losses(ctx, which, all)
		if err != nil {
			return nil, err
		}
		for k, p := range problems {
			if s.places[p].held == i {
				n := len(rows[k])
				out[k], losses = losses[:n:n], losses[n:]
			}
		}
	}
	return out, nil
}

// hold prepares the rows of problems, unless enough of those held are among them.
func (s *Searches) hold(ctx context.Context, problems []int) error {
	if s.held != nil && 2*len(problems) > len(s.places) {
		return nil
	}
	if err := s.Close(); err != nil {
		return err
	}
	type padding struct{ before, behind int }
	groups := map[padding]int{}
	var together [][]Row
	s.places = map[int]place{}
	for _, p := range problems {
		rows := s.rows(p)
		var to padding
		to.before, to.behind = Span(rows)
		i, ok := groups[to]
		if !ok {
			i = len(together)
			groups[to], together = i, append(together, nil)
		}
		s.places[p] = place{i, len(together[i])}
		together[i] = append(together[i], rows...)
	}
	for _, rows := range together {
		h, err := Hold(ctx, s.lm, s.at, rows, s.lanes)
		if err != nil {
			return errors.Join(err, s.Close())
		}
		s.held = append(s.held, h)
	}
	return nil
}

// Close frees what is held.
func (s *Searches) Close() error {
	var errs []error
	for _, h := range s.held {
		errs = append(errs, h.Close())
	}
	s.held = nil
	return errors.Join(errs...)
}
