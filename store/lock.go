package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// LockedError is returned when another process works on what is to be locked.
type LockedError struct {
	Path string // of the lock file
	PID  int    // of the process that holds it; 0 where it cannot be told
}

func (e *LockedError) Error() string {
	who := "another process"
	if e.PID != 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("store: %s is held by %s, which is working in this run folder: wait for it, or give each process its own --shard I/N", e.Path, who)
}

// Lock is held on a shard of a run. It ends with Close or with the process.
type Lock struct{ files []*lockFile }

// Lock takes shard i of n, counted from 1, so that no two processes work on the
// same units. Whoever takes the whole, 1 of 1, excludes all others; shards of a
// run may be held side by side. It returns a LockedError where another process
// has it. Locks are advisory and end with the process that holds them.
func (r *Run) Lock(i, n int) (*Lock, error) {
	if n < 1 || i < 1 || i > n {
		return nil, fmt.Errorf("store: shard %d of %d does not exist", i, n)
	}
	kind := shared
	if n == 1 {
		kind = exclusive
	}
	dir := filepath.Join(r.Dir, locksDir)
	whole, err := acquire(filepath.Join(dir, "run.lock"), kind, false)
	if err != nil {
		return nil, err
	}
	l := &Lock{files: []*lockFile{whole}}
	if n == 1 {
		if err := r.sweep(); err != nil {
			return nil, errors.Join(fmt.Errorf("store: removing drafts: %w", err), l.Close())
		}
		return l, nil
	}
	shard, err := acquire(filepath.Join(dir, fmt.Sprintf("shard-%d-of-%d.lock", i, n)), exclusive, false)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.files = append(l.files, shard)
	return l, nil
}

// Close gives the lock back. The files stay: removing a file that another
// process has just opened would let two hold it.
func (l *Lock) Close() error {
	var errs []error
	for _, f := range l.files {
		errs = append(errs, f.Close())
	}
	l.files = nil
	return errors.Join(errs...)
}

type lockKind bool

const (
	shared    lockKind = false
	exclusive lockKind = true
)

// errHeld is returned by lockFile.lock when another holds the lock.
var errHeld = errors.New("held by another process")

// lockFile is an open lock file; the lock ends when it is closed.
type lockFile struct{ *os.File }

// acquire takes a lock, waiting for it if asked to, and leaves this process's id in the file.
func acquire(path string, kind lockKind, wait bool) (*lockFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("store: locking: %w", err)
	}
	l := &lockFile{f}
	if err := l.lock(kind, wait); err != nil {
		pid := holder(path)
		l.Close()
		if errors.Is(err, errHeld) {
			return nil, &LockedError{path, pid}
		}
		return nil, fmt.Errorf("store: locking %s: %w", path, err)
	}
	err = l.Truncate(0)
	if err == nil {
		_, err = l.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("store: locking: %w", err)
	}
	return l, nil
}

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
