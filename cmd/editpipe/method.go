package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"editpipe/edit"
	"editpipe/edit/all"
	"editpipe/models/arch"
)

// methodNamed finds a method by its id; a wrong id is a fault of the command line.
func methodNamed(name string) (edit.Method, error) {
	m, err := edit.Find(all.Methods(), name)
	if err != nil {
		return m, &usageError{err}
	}
	return m, nil
}

// oneMethod is the method of a command that takes one, with its keys that --set
// gives.
func oneMethod(c *cli.Context) (edit.Method, map[string]string, error) {
	m, err := methodNamed(c.String("method"))
	if err != nil {
		return m, nil, err
	}
	keys, err := overrides(c, []edit.Method{m})
	return m, keys[m.Name], err
}

func setFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "set", Usage: "`METHOD.KEY=VALUE`, repeatable; editpipe list methods shows the keys", EnvVars: env("set")}
}

// overrides sorts --set arguments by method. Naming a method that is not run is
// an error: the key would have no effect.
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
		if _, twice := keys[key]; twice {
			return nil, usagef("--set %s.%s is given twice", method, key)
		}
		keys[key] = value
	}
	return out, nil
}

// configure gives the method's effective configuration; a wrong key or value is
// a fault of the command line.
func configure(m edit.Method, info *arch.Info, keys map[string]string) (edit.Config, error) {
	config, err := m.Configure(info, keys)
	if err != nil {
		return edit.Config{}, usagef("--set: %w", err)
	}
	return config, nil
}

// list is the value of a flag that takes a list, separated by commas however it
// was given: at once, or word by word.
func list(c *cli.Context, flag string) string { return strings.Join(c.StringSlice(flag), ",") }

// splitList splits a flag that takes a list and refuses empty and repeated words.
func splitList(c *cli.Context, flag string) ([]string, error) {
	s := list(c, flag)
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
