package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"editpipe/ort"
)

func cacheCommand() *cli.Command {
	return &cli.Command{
		Name:        "cache",
		Usage:       "show or empty the cache folder",
		Description: "--prune removes everything but the runtime library; it is made again when needed.\n\nExample: editpipe cache --prune",
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
			fmt.Fprintln(c.App.Writer, dir)
			entries, err := ort.Cached(c.Bool("prune"))
			for _, e := range entries {
				note := ""
				if e.Removed {
					note = "  removed"
				}
				fmt.Fprintf(c.App.Writer, "  %-16s %8.1f MiB%s\n", e.Name, float64(e.Size)/(1<<20), note)
			}
			return err
		},
	}
}
