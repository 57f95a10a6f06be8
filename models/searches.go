package models

import "context"

// Searches evaluates the rows of several problems together, time after time, as
// searches do that stop one by one: rows of problems that are no longer asked for
// leave once they are half of those held. It is for one goroutine and must be
// closed before its model.
type Searches struct {
	lm     *LM
	at     []Site
	beside int
	rows   func(problem int) []LossRow
	held   *Held
	from   map[int]int // the first held row of each problem that is held
	count  int         // of problems held
}

// Searches prepares nothing yet. rows gives the rows of a problem, as for
// [LM.Hold], which also says what beside is; with later shifts and terms they come
// to Losses.
func (lm *LM) Searches(at []Site, beside int, rows func(problem int) []LossRow) *Searches {
	return &Searches{lm: lm, at: at, beside: beside, rows: rows}
}

// Losses computes the losses of problems: rows[k] are those of problems[k], and
// the results are parallel to them. No problem is asked for again after it was
// left out.
func (s *Searches) Losses(ctx context.Context, problems []int, rows [][]LossRow) ([][]Loss, error) {
	if err := s.hold(ctx, problems); err != nil {
		return nil, err
	}
	var all []LossRow
	var which []int
	for k, p := range problems {
		for i := range rows[k] {
			which = append(which, s.from[p]+i)
		}
		all = append(all, rows[k]...)
	}
	losses, err := s.held.Losses(ctx, which, all)
	if err != nil {
		return nil, err
	}
	out := make([][]Loss, len(problems))
	for k := range problems {
		n := len(rows[k])
		out[k], losses = losses[:n:n], losses[n:]
	}
	return out, nil
}

// hold prepares the rows of problems, unless enough of those held are among them.
func (s *Searches) hold(ctx context.Context, problems []int) error {
	if s.held != nil && 2*len(problems) > s.count {
		return nil
	}
	if err := s.Close(); err != nil {
		return err
	}
	var rows []LossRow
	s.from, s.count = map[int]int{}, len(problems)
	for _, p := range problems {
		s.from[p] = len(rows)
		rows = append(rows, s.rows(p)...)
	}
	var err error
	s.held, err = s.lm.Hold(ctx, s.at, rows, s.beside)
	return err
}

// Close frees what is held.
func (s *Searches) Close() error {
	if s.held == nil {
		return nil
	}
	held := s.held
	s.held = nil
	return held.Close()
}
