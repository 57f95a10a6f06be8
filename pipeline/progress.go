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
	mu    sync.Mutex
	w     io.Writer
	width func() int       // characters of the terminal's line; 0 where w is no terminal
	now   func() time.Time // of quiet
	last  time.Time        // of the latest plain line
	tail  int              // characters of the live line on the screen
}

// NewProgress prints to w, on one live line where w is a terminal.
func NewProgress(w io.Writer) *Progress {
	p := &Progress{w: w, now: time.Now, width: func() int { return 0 }}
	f, ok := w.(interface{ Fd() uintptr })
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return p
	}
	p.width = func() int { // asked each time, as windows are resized
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
			return n
		}
		return 80
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
		p.last = p.now()
	case UnitStarted:
		if p.width() > 0 {
			p.rewrite(state(e) + " | " + e.Unit.Label)
		}
	case UnitFailed:
		p.print(fmt.Sprintf("%s: %s failed: %v", e.Stage, e.Unit.Label, e.Err))
	case UnitFinished:
		if p.width() > 0 {
			p.rewrite(state(e))
		} else if now := p.now(); now.Sub(p.last) >= quiet {
			p.print(state(e))
			p.last = now
		}
	case StageFinished:
		if e.Total > 0 {
			line := fmt.Sprintf("%s: %d of %d units in %s", e.Stage, e.Done, e.Total, short(e.Elapsed))
			if e.Failed > 0 {
				line += fmt.Sprintf(", %d failed", e.Failed)
			}
			p.print(line)
		}
	}
}

// Say prints how far something is that has no units: on a terminal in place of
// what was said before, elsewhere as a line once in a while.
func (p *Progress) Say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.width() > 0 {
		p.rewrite(line)
	} else if now := p.now(); now.Sub(p.last) >= quiet {
		p.print(line)
		p.last = now
	}
}

// Interrupt ends a live line, so that what is printed next, such as an error,
// starts on a line of its own.
func (p *Progress) Interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tail > 0 {
		p.write("\n")
		p.tail = 0
	}
}

// state says how far a stage is.
func state(e Event) string {
	line := fmt.Sprintf("%s: %d/%d units", e.Stage, e.Done, e.Total)
	if e.Failed > 0 {
		line += fmt.Sprintf(", %d failed", e.Failed)
	}
	line += ", " + short(e.Elapsed)
	if e.Left > 0 {
		line += ", about " + short(e.Left) + " left"
	}
	return line
}

// print writes a line that stays.
func (p *Progress) print(line string) {
	if p.tail > 0 {
		line = "\r" + line + strings.Repeat(" ", max(0, p.tail-len([]rune(line))))
		p.tail = 0
	}
	p.write(line + "\n")
}

// rewrite replaces the live line. A line longer than the terminal would wrap
// and could not be replaced any more.
func (p *Progress) rewrite(line string) {
	text := []rune(line)
	if n := p.width() - 1; len(text) > n {
		text = text[:max(n, 0)]
	}
	p.write("\r" + string(text) + strings.Repeat(" ", max(0, p.tail-len(text))))
	p.tail = len(text)
}

// write drops errors: a closed terminal must not end the work.
func (p *Progress) write(s string) { _, _ = io.WriteString(p.w, s) }

// short rounds a time to what people read.
func short(d time.Duration) string {
	if d < time.Minute {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
