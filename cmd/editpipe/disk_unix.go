//go:build unix

package main

import "golang.org/x/sys/unix"

// freeBytes is the space left for dir, which need not exist yet.
func freeBytes(dir string) (uint64, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(nearest(dir), &st); err != nil {
		return 0, false
	}
	return st.Bavail * uint64(st.Bsize), true
}
