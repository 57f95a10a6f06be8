// Package file writes, hashes, copies and locks files, in one way for the whole
// program. A file that others read is written next to its place as a draft,
// made durable and then renamed, so that readers find either the old file or
// the new one, even after a crash; a killed process leaves at most a draft,
// which Sweep removes.
package file

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
)

// Write writes a file whole, with mode 0644, replacing a file that is there.
// The folder must exist. On an error the draft is removed and the old file stands.
func Write(path string, data []byte) error {
	err := whole(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err != nil {
		return fmt.Errorf("file: writing %s: %w", path, err)
	}
	return nil
}

// Copy writes the content of the file from to the file to as Write does.
func Copy(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("file: copying: %w", err)
	}
	defer src.Close()
	err = whole(to, func(w io.Writer) error {
		_, err := io.Copy(w, src)
		return err
	})
	if err != nil {
		return fmt.Errorf("file: copying to %s: %w", to, err)
	}
	return nil
}

// whole writes what fill gives.
func whole(path string, fill func(io.Writer) error) error {
	d, err := CreateDraft(path)
	if err != nil {
		return err
	}
	if err := fill(d); err != nil {
		return joinRemoval(err, d.Abort())
	}
	return d.Commit()
}

// Hash is the SHA-256 of a file's content, in hexadecimal.
func Hash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("file: hashing: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("file: hashing %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Exists says whether something has this name, be it a link to nothing.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// IsRegular says whether this is, or links to, a file: no folder and no device.
func IsRegular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
