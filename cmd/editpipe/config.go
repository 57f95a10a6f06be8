package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/urfave/cli/v2"

	"editpipe/stages"
	"editpipe/store"
)

func configFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Usage: "YAML `FILE` that holds flags by their names; flags given on the command line win", EnvVars: env("config")}
}

// readConfig sets the flags a YAML file holds and the command line does not. A
// name that is no flag is an error that shows the line.
func readConfig(c *cli.Context) error {
	path := c.String("config")
	if path == "" {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return usagef("--config: %w", err)
	}
	var entries yaml.MapSlice
	if err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&entries); err != nil {
		return usagef("--config %s: %s", path, yaml.FormatError(err, false, true))
	}
	flags := map[string]bool{}
	for _, f := range c.Command.Flags {
		for _, n := range f.Names() {
			flags[n] = true
		}
	}
	for _, e := range entries {
		name, ok := e.Key.(string)
		if !ok || !flags[name] || name == "config" {
			return usagef("--config %s: %v is not a flag of %s", path, e.Key, c.Command.Name)
		}
		if c.IsSet(name) {
			continue
		}
		values, ok := e.Value.([]any)
		if !ok {
			values = []any{e.Value}
		} else if name != "set" {
			values = []any{joined(values)}
		}
		for _, v := range values {
			if err := c.Set(name, fmt.Sprint(v)); err != nil {
				return usagef("--config %s: %s: %w", path, name, err)
			}
		}
	}
	return nil
}

// joined writes a YAML list as the comma-separated list a flag takes.
func joined(values []any) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = fmt.Sprint(v)
	}
	return strings.Join(words, ",")
}

// effective is the value of every flag, for the run's manifest.
func effective(c *cli.Context) map[string]string {
	out := map[string]string{}
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		if name == "help" {
			continue
		}
		if name == "set" {
			out[name] = strings.Join(c.StringSlice(name), " ")
			continue
		}
		out[name] = fmt.Sprint(c.Value(name))
	}
	return out
}

// writable tries the output folder, or the nearest one above it, so that a run
// does not find out after its first hour. It leaves nothing behind: a command
// that fails, or only plans, makes no folder.
func writable(dir string) error {
	f, err := os.CreateTemp(nearest(dir), ".probe-*")
	if err != nil {
		return fmt.Errorf("--out: %s cannot be written: %w", filepath.Clean(dir), err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// writableSet is writableData for a data set, which would also take the place of
// files of these names in a folder that holds something else: a knowledge base,
// or a project.
func writableSet(dir string, files ...string) error {
	if err := writableData(dir); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, stages.EditsFile)); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, name := range files {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return fmt.Errorf("--out: %s holds no data set, but a %s of something else: use a new or empty folder", filepath.Clean(dir), name)
		}
	}
	return nil
}

// writableData is writable for a data set, which would take the place of a
// run's manifest.
func writableData(dir string) error {
	if err := store.RefuseRun(dir); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return writable(dir)
}
