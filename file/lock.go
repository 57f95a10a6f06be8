package file

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// LockedError is returned when another process holds what is to be locked.
type LockedError struct {
	Path string // of the lock file
	PID  int    // of the process that holds it; 0 where it cannot be told
}

func (e *LockedError) Error() string {
	who := "another process"
	if e.PID != 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("%s is held by %s", e.Path, who)
}

// LockKind says who else may hold a lock.
type LockKind bool

// The kinds of lock.
const (
	Shared    LockKind = false // others that hold it shared
	Exclusive LockKind = true  // nobody
)

// Lock is a lock file that this process holds. It ends with Close or with the process.
type Lock struct{ f *os.File }

// errHeld is returned by Lock.take when another holds the lock.
var errHeld = errors.New("held by another process")

// Acquire takes a lock, waiting for it if asked to, and leaves this process's id
// in the file, which it makes where there is none. It returns a LockedError where
// another process has the lock. Locks are advisory.
func Acquire(path string, kind LockKind, wait bool) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("file: locking: %w", err)
	}
	l := &Lock{f}
	if err := l.take(kind, wait); err != nil {
		pid := holder(path)
		l.Close()
		if errors.Is(err, errHeld) {
			return nil, &LockedError{path, pid}
		}
		return nil, fmt.Errorf("file: locking %s: %w", path, err)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("file: locking: %w", err)
	}
	return l, nil
}

// Close gives the lock back. The file stays: removing a file that another
// process has just opened would let two hold it.
func (l *Lock) Close() error { return l.f.Close() }

// holder returns the process id in a lock file, 0 where there is none.
func holder(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return pid
}
