package store

import (
	"errors"
	"fmt"
	"path/filepath"

	"editpipe/file"
)

// Lock is held on a shard of a run. It ends with Close or with the process.
type Lock struct{ files []*file.Lock }

// Lock takes shard i of n, counted from 1, so that no two processes work on the
// same units. Whoever takes the whole, 1 of 1, excludes all others; shards of a
// run may be held side by side. It returns a file.LockedError where another
// process has it. Locks are advisory and end with the process that holds them.
func (r *Run) Lock(i, n int) (*Lock, error) {
	if n < 1 || i < 1 || i > n {
		return nil, fmt.Errorf("store: shard %d of %d does not exist", i, n)
	}
	kind := file.Shared
	if n == 1 {
		kind = file.Exclusive
	}
	dir := filepath.Join(r.Dir, locksDir)
	whole, err := acquire(filepath.Join(dir, "run.lock"), kind)
	if err != nil {
		return nil, err
	}
	l := &Lock{files: []*file.Lock{whole}}
	if n == 1 {
		if err := r.sweep(); err != nil {
			return nil, errors.Join(fmt.Errorf("store: %w", err), l.Close())
		}
		return l, nil
	}
	shard, err := acquire(filepath.Join(dir, fmt.Sprintf("shard-%d-of-%d.lock", i, n)), file.Exclusive)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.files = append(l.files, shard)
	return l, nil
}

// acquire takes a lock of a run folder, or says what to do where another has it.
func acquire(path string, kind file.LockKind) (*file.Lock, error) {
	l, err := file.Acquire(path, kind, false)
	var held *file.LockedError
	if errors.As(err, &held) {
		return nil, fmt.Errorf("store: %w, which is working in this run folder: wait for it, or give each process its own --shard I/N", err)
	}
	return l, err
}

// Close gives the lock back.
func (l *Lock) Close() error {
	var errs []error
	for _, f := range l.files {
		errs = append(errs, f.Close())
	}
	l.files = nil
	return errors.Join(errs...)
}
