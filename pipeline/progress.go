package pipeline

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// quiet is how long plain output keeps still between lines: a log file should
// show life, not every unit.
const quiet = 5 * time.Second

// Progress prints events: one line that is rewritten on a terminal, plain lines
// elsewhere. Write it to standard error; results go to standard output.
type Progress struct {
	mu   sync.Mutex
	w    io.Writer
	live bool
	last time.Time
	tail int // characters of the live line on the screen
}

// NewProgress prints to w; live when w is a terminal.
func NewProgress(w io.Writer) *Progress {
	p := &Progress{w: w}
	if f, ok := w.(interface{ Fd() uintptr }); ok {
		p.live = term.IsTerminal(int(f.Fd()))
	}
	return p
}

// Observe prints one event.
func (p *Progress) Observe(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case StageStarted:
		if e.Skipped > 0 {
			p.print(fmt.Sprintf("%s: %d of %d units were finished before", e.Stage, e.Skipped, e.Total))
		}
		p.last = time.Now()
	case UnitFailed:
		p.print(fmt.Sprintf("%s: %s failed: %v", e.Stage, e.Unit.Label, e.Err))
	case StageFinished:
		if e.Total > 0 {
			p.print(fmt.Sprintf("%s: %d of %d units in %s", e.Stage, e.Done, e.Total, round(e.Elapsed)))
		}
	case UnitFinished:
		line := fmt.Sprintf("%s: %d/%d units, %s", e.Stage, e.Done, e.Total, round(e.Elapsed))
		if e.Left > 0 {
			line += ", about " + round(e.Left) + " left"
		}
		if p.live {
			p.rewrite(line)
		} else if time.Since(p.last) >= quiet {
			p.print(line)
			p.last = time.Now()
		}
	}
}

// print writes a line that stays.
func (p *Progress) print(line string) {
	if p.live {
		p.rewrite(line)
		p.tail = 0
	} else {
		io.WriteString(p.w, line)
	}
	io.WriteString(p.w, "\n")
}

// rewrite replaces the live line.
func (p *Progress) rewrite(line string) {
	pad := strings.Repeat(" ", max(0, p.tail-len(line)))
	io.WriteString(p.w, "\r"+line+pad)
	p.tail = len(line)
}

func round(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}
