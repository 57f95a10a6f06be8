package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"editpipe/ort"
)

func cacheCommand() *cli.Command {
	return &cli.Command{
		Name:        "cache",
		Usage:       "show or empty the cache folder",
		Description: "--prune removes what is not the runtime library: it is made again when needed.\n\nExample: editpipe cache --prune",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "prune", Usage: "remove what can be made again", EnvVars: env("prune")},
		},
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			dir, err := ort.CacheRoot()
			if err != nil {
				return err
			}
			entries, err := os.ReadDir(dir)
			if err != nil && !os.IsNotExist(err) {
				return fmt.Errorf("cache: %w", err)
			}
			fmt.Fprintln(c.App.Writer, dir)
			for _, e := range entries {
				path := filepath.Join(dir, e.Name())
				size, err := folderSize(path)
				if err != nil {
					return fmt.Errorf("cache: %w", err)
				}
				note := ""
				if c.Bool("prune") && e.Name() != "onnxruntime" {
					if err := os.RemoveAll(path); err != nil {
						return fmt.Errorf("cache: %w", err)
					}
					note = "  removed"
				}
				fmt.Fprintf(c.App.Writer, "  %-16s %8.1f MiB%s\n", e.Name(), float64(size)/(1<<20), note)
			}
			return nil
		},
	}
}

func folderSize(path string) (int64, error) {
	var total int64
	err := filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
