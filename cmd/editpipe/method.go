package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"editpipe/edit"
	"editpipe/edit/all"
	"editpipe/models"
)

// methodNamed finds a method by its id.
func methodNamed(name string) (edit.Method, error) {
	var names []string
	for _, m := range all.Methods() {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return edit.Method{}, usagef("unknown method %q (known: %s)", name, strings.Join(names, ", "))
}

func setFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "set", Usage: "`METHOD.KEY=VALUE`, repeatable; editpipe list methods shows the keys", EnvVars: env("set")}
}

// overrides sorts --set arguments by method. Naming a method that is not run is
// an error: the setting would have no effect.
func overrides(c *cli.Context, run []edit.Method) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	for _, m := range run {
		out[m.Name] = map[string]string{}
	}
	for _, s := range c.StringSlice("set") {
		method, key, value, err := edit.ParseSet(s)
		if err != nil {
			return nil, usagef("%w", err)
		}
		keys, ok := out[method]
		if !ok {
			return nil, usagef("--set %s: method %s is not run", s, method)
		}
		keys[key] = value
	}
	return out, nil
}

// allDecoders collects what is needed to read back any method's wraps.
func allDecoders() map[string]models.WrapDecoder {
	out := map[string]models.WrapDecoder{}
	for _, m := range all.Methods() {
		for kind, d := range m.Decoders {
			out[kind] = d
		}
	}
	return out
}

// configure gives the method's effective configuration; a wrong key or value is
// a fault of the command line.
func configure(m edit.Method, info *models.Info, keys map[string]string) (edit.Config, error) {
	config, err := m.Configure(info, keys)
	if err != nil {
		return edit.Config{}, usagef("--set: %w", err)
	}
	return config, nil
}

// splitList splits a comma-separated flag and refuses empty and repeated words.
func splitList(flag, s string) ([]string, error) {
	var out []string
	seen := map[string]bool{}
	for _, w := range strings.Split(s, ",") {
		w = strings.TrimSpace(w)
		if w == "" || seen[w] {
			return nil, usagef("--%s %q: empty or repeated name", flag, s)
		}
		seen[w] = true
		out = append(out, w)
	}
	return out, nil
}
