package main

import (
	"fmt"
	"os"

	"editpipe/ort"
)

// makeFolder makes the folder of the library before a hundred megabytes are
// fetched for it.
func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("ortinstall: the library goes into the cache folder, which %s moves: %w", ort.EnvCache, err)
	}
	return nil
}
