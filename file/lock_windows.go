package file

import (
	"errors"

	"golang.org/x/sys/windows"
)

func (l *Lock) take(kind LockKind, wait bool) error {
	var flags uint32
	if kind == Exclusive {
		flags |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	if !wait {
		flags |= windows.LOCKFILE_FAIL_IMMEDIATELY
	}
	// Locks are mandatory there: the range lies far behind the process id, so
	// that others can read who holds the file.
	at := windows.Overlapped{OffsetHigh: 1}
	err := windows.LockFileEx(windows.Handle(l.f.Fd()), flags, 0, 1, 0, &at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errHeld
	}
	return err
}
