package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"editpipe/file"
	"editpipe/ort"
)

// installed says whether every file is in the folder, as published.
func installed(dir string, files []ort.File) bool {
	for _, want := range files {
		f, err := os.Open(filepath.Join(dir, want.Name))
		if err != nil {
			return false
		}
		err = compare(want, io.Discard, f)
		_ = f.Close() // read only
		if err != nil {
			return false
		}
	}
	return true
}

// compare copies a file and checks its size and hash on the way. It reads at
// most one byte more than it should find.
func compare(want ort.File, to io.Writer, from io.Reader) error {
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(to, sum), io.LimitReader(from, want.Size+1))
	switch {
	case err != nil:
		return err
	case n < want.Size:
		return fmt.Errorf("%s has %d bytes, expected %d", want.Name, n, want.Size)
	case n > want.Size:
		return fmt.Errorf("%s has more than the expected %d bytes", want.Name, want.Size)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want.SHA256 {
		return fmt.Errorf("%s has SHA-256 %s, expected %s: this is not the published file", want.Name, got, want.SHA256)
	}
	return nil
}

// fetch lets npm download a package, which it checks against the registry's
// integrity hash, into a folder. Scripts of the package are not run.
func fetch(ctx context.Context, name, dir string) (archive string, err error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", fmt.Errorf("ortinstall: no npm command found (it comes with Node.js): install it, or fetch the archive elsewhere with \"npm pack %s\" and give it with -from: %w", name, err)
	}
	cmd := exec.CommandContext(ctx, npm, "pack", name, "--ignore-scripts")
	cmd.Dir = dir
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("ortinstall: npm could not fetch %s (is there a network? an archive fetched elsewhere can be given with -from): %w\n%s", name, err, strings.TrimSpace(said.String()))
	}
	archives, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(archives) != 1 {
		return "", errors.Join(fmt.Errorf("ortinstall: npm pack %s left %d archives, expected 1", name, len(archives)), err)
	}
	return archives[0], nil
}

// makeFolder makes the folder of the library before a hundred megabytes are
// fetched for it.
func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("ortinstall: the library goes into the cache folder, which %s moves: %w", ort.EnvCache, err)
	}
	return nil
}

// install takes files out of the archive of the named package, into a folder that
// is there. Each appears whole or not at all, and none before all are verified.
func install(ctx context.Context, name, dir string, files []ort.File, archive io.Reader) (err error) {
	unzipped, err := gzip.NewReader(archive)
	if err != nil {
		return fmt.Errorf("not a .tgz archive: %w", err)
	}
	wanted := map[string]ort.File{}
	for _, f := range files {
		wanted[f.Member] = f
	}
	drafts := map[string]*file.Draft{} // by final name
	defer func() {
		for _, d := range drafts {
			err = errors.Join(err, d.Abort())
		}
	}()
	for members := tar.NewReader(unzipped); len(wanted) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		member, err := members.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("reading the archive: %w", err)
		}
		want, ok := wanted[member.Name]
		if !ok {
			continue
		}
		delete(wanted, member.Name)
		d, err := extract(dir, want, members)
		if err != nil {
			return err
		}
		drafts[want.Name] = d
	}
	for member := range wanted {
		return fmt.Errorf("the archive has no %s; it should be %s", member, name)
	}
	// The library comes first in the table and goes in last: where it is,
	// everything is.
	for i := len(files) - 1; i >= 0; i-- {
		if err := drafts[files[i].Name].Commit(); err != nil {
			return err
		}
	}
	return nil
}

// extract writes one verified file as a draft.
func extract(dir string, want ort.File, from io.Reader) (*file.Draft, error) {
	d, err := file.CreateDraft(filepath.Join(dir, want.Name))
	if err != nil {
		return nil, err
	}
	if err := compare(want, d, from); err != nil {
		return nil, errors.Join(err, d.Abort())
	}
	return d, nil
}
