// Package lfs recognises a Git LFS pointer: the few lines of text that a
// repository has in place of a large file. They are all that a clone without
// Git LFS gets, or a download of the page instead of the file. Every reader of
// files uses this package, so that all of them give the same error.
package lfs

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// ErrPointer is returned for a file that is only a pointer. Whoever returns it
// names the file.
var ErrPointer = errors.New("a Git LFS pointer stands in the place of the file: fetch the file itself with git lfs pull")

// size is the length of the longest pointer: the specification (version 1) wants
// less than 1024 bytes, so that no reader looks further.
const size = 1024

// Check returns ErrPointer where a file begins as a pointer: the line of the
// specification's version, and a line with the object's id among those after it.
// A part of the beginning is enough if it holds both.
func Check(head []byte) error {
	head = head[:min(len(head), size)]
	first, rest, _ := bytes.Cut(head, []byte("\n"))
	if bytes.HasPrefix(first, []byte("version ")) && bytes.Contains(first, []byte("/spec/v")) &&
		bytes.Contains(append([]byte("\n"), rest...), []byte("\noid ")) {
		return ErrPointer
	}
	return nil
}

// CheckFile is Check of the beginning of a file. A file that cannot be read gives
// no error here: its reader gives a better one.
func CheckFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	head := make([]byte, size)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return Check(head[:n])
}
