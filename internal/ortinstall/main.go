// Command ortinstall puts the pinned ONNX Runtime library into the folder where
// editpipe looks for it, and prints its path. It extracts the library for this
// platform from an npm package, fetched with the user's own npm client or given
// as a file, and does nothing if the verified library is there already. It is
// part of the set-up; editpipe never runs it. An older release that is also
// tested is put into a folder of its own, to be named with EDITPIPE_ORT_LIB.
//
//	go run ./internal/ortinstall [-version VERSION] [-from FILE.tgz]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"editpipe/ort"
)

func main() {
	from := flag.String("from", "", "take the library from this `FILE`, a package archive as npm pack writes it, instead of fetching it")
	version := flag.String("version", ort.Version, "the `RELEASE` to install, one of "+strings.Join(ort.Versions(), ", "))
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *version, *from, flag.Args(), os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, version, from string, args []string, out, progress io.Writer) (err error) {
	if len(args) > 0 {
		return fmt.Errorf("ortinstall: unexpected argument %q", args[0])
	}
	if !slices.Contains(ort.Versions(), version) {
		return fmt.Errorf("ortinstall: release %q is not known; there are %s", version, strings.Join(ort.Versions(), ", "))
	}
	name := ort.ReleaseName(version)
	files := ort.Files(version, runtime.GOOS, runtime.GOARCH)
	if len(files) == 0 {
		return fmt.Errorf("ortinstall: %s has no library for %s-%s; build ONNX Runtime %s yourself and set %s to the library",
			name, runtime.GOOS, runtime.GOARCH, version, ort.EnvLibrary)
	}
	dir, err := ort.CacheDir(version)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, files[0].Name)
	if installed(dir, files) {
		_, err := fmt.Fprintln(out, path)
		return err
	}
	if err := makeFolder(dir); err != nil {
		return err
	}
	if from == "" {
		tmp, err := os.MkdirTemp("", "ortinstall")
		if err != nil {
			return fmt.Errorf("ortinstall: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
		if _, err := fmt.Fprintf(progress, "fetching %s with npm (about 110 MB)\n", name); err != nil {
			return err
		}
		if from, err = fetch(ctx, name, tmp); err != nil {
			return err
		}
	}
	archive, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("ortinstall: %w", err)
	}
	defer func() { _ = archive.Close() }() // read only
	if err := install(ctx, name, dir, files, archive); err != nil {
		return fmt.Errorf("ortinstall: installing from %s: %w", from, err)
	}
	// The check editpipe itself will make.
	if _, err := ort.Verify(path); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, path)
	return err
}
