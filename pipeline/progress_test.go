package pipeline

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func finished(done, total int, left time.Duration) Event {
	return Event{Kind: UnitFinished, Stage: "evaluate", Done: done, Total: total, Elapsed: 90 * time.Second, Left: left}
}

func TestPlainProgressKeepsQuiet(t *testing.T) {
	var b strings.Builder
	p := NewProgress(&b)
	now := time.Unix(0, 0)
	p.now = func() time.Time { return now }
	p.Observe(Event{Kind: StageStarted, Stage: "evaluate", Total: 60, Skipped: 2})
	for i := range 12 { // a unit each second
		now = now.Add(time.Second)
		p.Observe(Event{Kind: UnitStarted, Stage: "evaluate", Unit: Unit{Label: "some unit"}})
		p.Observe(finished(i+3, 60, 42*time.Second))
	}
	want := "evaluate: 2 of 60 units were finished before\n" +
		"evaluate: 7/60 units, 1m30s, about 42s left\n" +
		"evaluate: 12/60 units, 1m30s, about 42s left\n"
	if b.String() != want {
		t.Errorf("printed\n%s, want\n%s", b.String(), want)
	}
}

// screen plays a terminal: what the lines show after all rewriting.
func screen(text string) []string {
	var lines []string
	row, at := []rune{}, 0
	for _, r := range text {
		switch r {
		case '\r':
			at = 0
		case '\n':
			lines = append(lines, strings.TrimRight(string(row), " "))
			row, at = nil, 0
		default:
			if at == len(row) {
				row = append(row, r)
			} else {
				row[at] = r
			}
			at++
		}
	}
	return append(lines, strings.TrimRight(string(row), " "))
}

func TestLiveProgressIsOneLine(t *testing.T) {
	var b strings.Builder
	p := NewProgress(&b)
	p.width = func() int { return 50 }
	show := func(want ...string) {
		t.Helper()
		got := screen(b.String())
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("the screen shows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		for _, line := range got {
			if n := len([]rune(line)); n >= 50 {
				t.Errorf("a line of %d characters wraps: %s", n, line)
			}
		}
	}
	start := finished(1, 9, 0)
	start.Kind, start.Unit.Label = UnitStarted, "größte Einheit, deren Name nicht mehr passt"
	p.Observe(start)
	show("evaluate: 1/9 units, 1m30s | größte Einheit, dere")
	p.Observe(finished(2, 9, 3*time.Second))
	show("evaluate: 2/9 units, 1m30s, about 3s left")
	failed := finished(2, 9, 0)
	failed.Kind, failed.Failed, failed.Err, failed.Unit.Label = UnitFailed, 1, errors.New("no"), "u"
	p.Observe(failed)
	show("evaluate: u failed: no", "")
	next := finished(3, 9, 0)
	next.Failed = 1
	p.Observe(next)
	show("evaluate: u failed: no", "evaluate: 3/9 units, 1 failed, 1m30s")
	p.Interrupt()
	p.Interrupt() // a second one finds no line to end
	show("evaluate: u failed: no", "evaluate: 3/9 units, 1 failed, 1m30s", "")
	next.Kind = StageFinished
	p.Observe(next)
	show("evaluate: u failed: no", "evaluate: 3/9 units, 1 failed, 1m30s", "evaluate: 3 of 9 units in 1m30s, 1 failed", "")
}
