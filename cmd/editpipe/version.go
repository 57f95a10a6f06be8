package main

import (
	"runtime/debug"
	"strings"
)

// release is the version of the source tree.
const release = "0.1.0-dev"

// version is the release with the revision it was built from, where the build
// knows one.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return release
	}
	var revision, dirty string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+changes"
			}
		}
	}
	if revision == "" {
		return release
	}
	return release + "+" + strings.ToLower(revision[:min(12, len(revision))]) + dirty
}
