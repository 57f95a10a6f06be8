package ort

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"editpipe/file"
	"editpipe/lfs"
)

// EnvLibrary names the environment variable that holds the path of the
// library file, or of the folder it lies in.
const EnvLibrary = "EDITPIPE_ORT_LIB"

// EnvCache names the environment variable that replaces the folder
// os.UserCacheDir()/editpipe.
const EnvCache = "EDITPIPE_CACHE"

// A Library is a file that passed Find's checks: whole, made for this machine,
// and exporting the runtime's entry point.
type Library struct {
	Path    string // absolute
	Source  string // "flag", "env", "beside binary" or "cache"
	Size    int64  // bytes
	SHA256  string // hex
	Release string // ReleaseName of the known release it is bit for bit, or ""
}

// MissingError is returned by Find when no place holds a library.
type MissingError struct {
	Places []string // files and folders looked at, in order
}

func (e *MissingError) Error() string {
	return "ort: no ONNX Runtime library found; looked at " + strings.Join(e.Places, ", ") +
		"; install it with the setup task (go run ./internal/ortinstall), or set " + EnvLibrary + " to the library file"
}

// CorruptError is returned by Find when a file is there but is not a whole
// library for this machine. Loading such a file could kill the process, so
// Find doesn't go on to the next place.
type CorruptError struct {
	File string
	What string // what is wrong
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("ort: library %s: %s; replace it, for instance with the setup task (go run ./internal/ortinstall)", e.File, e.What)
}

// CacheRoot returns the folder that everything editpipe can make again is kept
// in: <user cache>/editpipe, or what EDITPIPE_CACHE names. It need not exist.
func CacheRoot() (string, error) {
	root := os.Getenv(EnvCache)
	if root == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("ort: finding the cache folder: %w (set %s)", err, EnvCache)
		}
		root = filepath.Join(user, "editpipe")
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return "", fmt.Errorf("ort: finding the cache folder: %w", err)
	}
	return root, nil
}

// libraries is the folder in the cache that holds runtime libraries.
const libraries = "onnxruntime"

// CacheDir returns the folder of a release's library for this platform in the
// cache, <cache root>/onnxruntime/<version>/<os>-<arch>. It need not exist.
func CacheDir(version string) (string, error) {
	root, err := CacheRoot()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, libraries, version, runtime.GOOS+"-"+runtime.GOARCH), nil
}

// fileNames are the names the library goes by on this system, most specific
// first.
func fileNames() []string {
	switch runtime.GOOS {
	case "windows":
		return []string{"onnxruntime.dll"}
	case "darwin":
		return []string{"libonnxruntime.1.dylib", "libonnxruntime.dylib", "libonnxruntime." + Version + ".dylib"}
	default:
		return []string{"libonnxruntime.so.1", "libonnxruntime.so"}
	}
}

// Find looks for the library and checks it without loading it. An explicit
// path (a file, or a folder holding it) is the only place looked at; else
// EDITPIPE_ORT_LIB likewise; else the folder of the running binary and then
// the pinned release in the cache. It returns *MissingError or *CorruptError, or
// lfs.ErrPointer, wrapped.
func Find(explicit string) (Library, error) {
	type place struct{ source, path string }
	var places []place
	switch {
	case explicit != "":
		places = []place{{"flag", explicit}}
	case os.Getenv(EnvLibrary) != "":
		places = []place{{"env", os.Getenv(EnvLibrary)}}
	default:
		if exe, err := os.Executable(); err == nil {
			if real, err := filepath.EvalSymlinks(exe); err == nil {
				exe = real
			}
			places = append(places, place{"beside binary", filepath.Dir(exe)})
		}
		dir, err := CacheDir(Version)
		if err != nil {
			return Library{}, err
		}
		places = append(places, place{"cache", dir})
	}

	var missing MissingError
	for _, p := range places {
		path, err := filepath.Abs(p.path)
		if err != nil {
			return Library{}, fmt.Errorf("ort: library path %q: %w", p.path, err)
		}
		candidates := []string{path}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			candidates = candidates[:0]
			for _, name := range fileNames() {
				candidates = append(candidates, filepath.Join(path, name))
			}
		}
		for _, candidate := range candidates {
			lib, err := Verify(candidate)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			lib.Source = p.source
			return lib, err
		}
		missing.Places = append(missing.Places, fmt.Sprintf("%s (%s)", strings.Join(candidates, " and "), p.source))
	}
	return Library{}, &missing
}

// Verify checks one file: a known release must have exactly its published
// size and SHA-256; for any other build, such as a user's own, every section
// and segment must lie within the file, the machine must be this one, and the
// runtime's entry point must be exported. A truncated library would otherwise
// raise SIGBUS inside the loader. Source is left empty.
func Verify(path string) (Library, error) {
	// A name without a folder would make the loader search its own places.
	path, err := filepath.Abs(path)
	if err != nil {
		return Library{}, fmt.Errorf("ort: library: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return Library{}, fmt.Errorf("ort: library: %w", err)
	}
	defer func() { _ = f.Close() }() // read only
	info, err := f.Stat()
	if err != nil {
		return Library{}, fmt.Errorf("ort: library: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Library{}, &CorruptError{path, "is not a regular path"}
	}
	if err := lfs.CheckFile(path); err != nil {
		return Library{}, fmt.Errorf("ort: library %s: %w", path, err)
	}
	sum, err := file.Hash(path)
	if err != nil {
		return Library{}, fmt.Errorf("ort: library: %w", err)
	}
	lib := Library{Path: path, Size: info.Size(), SHA256: sum}
	if what := checkImage(f, info.Size(), runtime.GOOS, runtime.GOARCH); what != "" {
		return Library{}, &CorruptError{path, what}
	}
	damaged := "" // what is wrong, if it is no release but has one's size
	for _, version := range Versions() {
		for _, published := range Files(version, runtime.GOOS, runtime.GOARCH) {
			switch {
			case published.SHA256 == lib.SHA256:
				lib.Release = ReleaseName(version)
				return lib, nil
			case published.Size == lib.Size:
				damaged = fmt.Sprintf("has the size of %s's %s but SHA-256 %s instead of %s: it is damaged", ReleaseName(version), published.Name, lib.SHA256, published.SHA256)
			}
		}
	}
	if damaged != "" {
		return Library{}, &CorruptError{path, damaged}
	}
	return lib, nil
}
