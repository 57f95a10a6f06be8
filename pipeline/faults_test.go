package pipeline

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// listed is a stage of given units.
type listed struct {
	units []Unit
	do    func(u Unit) error
	err   error
}

func (l *listed) Name() string                         { return "s" }
func (l *listed) Plan(context.Context) ([]Unit, error) { return l.units, l.err }
func (l *listed) Do(_ context.Context, u Unit) error   { return l.do(u) }

// memory is a ledger whose methods can be made to fail.
type memory struct {
	marked        map[string]bool
	doneErr, mark error
}

func (m *memory) Done(_, id string) (bool, error) { return m.marked[id], m.doneErr }

func (m *memory) Mark(_, id string) error {
	if m.mark == nil {
		m.marked[id] = true
	}
	return m.mark
}

func four() []Unit {
	return []Unit{{ID: "a", Label: "A"}, {ID: "b", Label: "B"}, {ID: "c", Label: "C"}, {ID: "d", Label: "D"}}
}

func TestFaultsOutsideUnits(t *testing.T) {
	broken := errors.New("broken")
	did := 0
	work := func(Unit) error { did++; return nil }
	cases := map[string]struct {
		stage  *listed
		ledger *memory
		says   string
		did    int
	}{
		"plan":       {&listed{err: broken}, &memory{}, "planning s", 0},
		"look-up":    {&listed{units: four(), do: work}, &memory{doneErr: broken}, "looking up A", 0},
		"mark":       {&listed{units: four(), do: work}, &memory{mark: broken}, "marking A", 1},
		"same ids":   {&listed{units: append(four(), Unit{ID: "b", Label: "B2"}), do: work}, &memory{}, `units "B" and "B2"`, 0},
		"missing id": {&listed{units: []Unit{{Label: "X"}}, do: work}, &memory{}, `"X"`, 0},
	}
	for name, c := range cases {
		did = 0
		_, err := Run(t.Context(), []Stage{c.stage}, c.ledger, Options{MaxErrors: 100})
		if err == nil || !strings.Contains(err.Error(), c.says) || did != c.did {
			t.Errorf("%s: %v after %d units", name, err, did)
		}
		if strings.Contains(c.says, "A") && !errors.Is(err, broken) {
			t.Errorf("%s: the cause is lost: %v", name, err)
		}
	}
}

// TestWholeUnitsCount cancels while a unit ends well: what is whole is kept.
func TestWholeUnitsCount(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := &memory{marked: map[string]bool{}}
	s := &listed{units: four(), do: func(u Unit) error {
		if u.ID == "b" {
			cancel()
		}
		return nil
	}}
	r, err := Run(ctx, []Stage{s}, m, Options{})
	if !errors.Is(err, context.Canceled) || r.Done != 2 || !m.marked["b"] || m.marked["c"] {
		t.Errorf("%+v, marked %v, %v", r, m.marked, err)
	}
	if _, err := Run(ctx, []Stage{s}, m, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a run under an ended context: %v", err)
	}
}

func TestRateAndEstimate(t *testing.T) {
	units := four()
	for i := range units {
		units[i].Weight = i + 1 // 10 in all
	}
	const each = 20 * time.Millisecond // long against the clock's grain
	s := &listed{units: units, do: func(u Unit) error { time.Sleep(each * time.Duration(u.Weight)); return nil }}
	var at3 Event
	_, err := Run(t.Context(), []Stage{s}, &memory{marked: map[string]bool{"a": true}}, Options{Observe: func(e Event) {
		if e.Kind == UnitFinished && e.Unit.ID == "c" {
			at3 = e
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	// By then weights 2 and 3 are worked and 4 is left; a was done before.
	if at3.Done != 3 || at3.Skipped != 1 || at3.Total != 4 {
		t.Errorf("counts %+v", at3)
	}
	if want := 5 / at3.Elapsed.Seconds(); at3.Rate != want {
		t.Errorf("rate %v, want %v", at3.Rate, want)
	}
	// Exact but for rounding to nanoseconds.
	if want := at3.Elapsed * 4 / 5; (at3.Left - want).Abs() > time.Microsecond {
		t.Errorf("left %v, want %v", at3.Left, want)
	}
}
