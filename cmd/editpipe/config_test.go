package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// read gives the values that a command's flags come to, without running it.
func read(t *testing.T, args ...string) (map[string]string, error) {
	t.Helper()
	app := newApp(io.Discard, io.Discard)
	var got map[string]string
	cmd := app.Command(args[0])
	cmd.Action = func(c *cli.Context) error {
		got = effective(c)
		return nil
	}
	err := app.Run(append([]string{"editpipe"}, args...))
	return got, err
}

// TestConfigAsWritten: texts of a configuration file stay as they are written,
// and numbers are decimal.
func TestConfigAsWritten(t *testing.T) {
	const file = `out: 1.10
data: 2024_01
model: 017
seed: 0100
limit: 010
ids: &name 1e3
artifacts: *name
method: [0x10, True, "1.20"]
set:
  - ft-l.lr=1e-3
  - 1.10
`
	got, err := read(t, "eval", "--config", writeFile(t, filepath.Join(t.TempDir(), "run.yaml"), file))
	if err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string]string{
		"out": "1.10", "data": "2024_01", "model": "017", "seed": "100", "limit": "10", "ids": "1e3", "artifacts": "1e3",
		"method": "0x10,True,1.20", "set": "ft-l.lr=1e-3 1.10",
	} {
		if got[flag] != want {
			t.Errorf("--%s is %q, want %q", flag, got[flag], want)
		}
	}
}

// TestConfigRefused: what says nothing, or something else than a flag takes, is
// an error that names the key.
func TestConfigRefused(t *testing.T) {
	for file, want := range map[string]string{
		"out:\n":                     "out: it has no value",
		"out: ~\n":                   "out: it has no value",
		"out: ''\n":                  "out: it has no value",
		"data:\nout: run\n":          "data: it has no value",
		"method: []\nout: run\n":     "method: it has no value",
		"method: [none, ~]\n":        "method: it has no value",
		"out: [q1, q2]\n":            "out: want one value, not a list",
		"limit: [2]\n":               "limit: want one value, not a list",
		"out: &l [q1]\ndata: *l\n":   "out: want one value, not a list",
		"limit: 1.5\n":               "limit: want a whole number",
		"limit: 1e3\n":               "limit: want a whole number",
		"limit: 0x10\n":              "limit: want a whole number",
		"seed: 1_000\n":              "seed: want a whole number",
		"set: {ft-l.lr: 1}\n":        "set: want a value or a list",
		"limit: 3\n---\nlimit: 4\n":  "2 documents",
		"- limit\n":                  "NAME: VALUE",
		"":                           "holds no flags",
		"limit: 3\nlimit: 4\n":       "already defined",
		"plan: perhaps\n":            "plan: ",
		"config: other.yaml\n":       "config is not a flag",
		"<<: {limit: 3}\nout: run\n": "<< is not a flag",
	} {
		path := writeFile(t, filepath.Join(t.TempDir(), "run.yaml"), file)
		got, err := read(t, "eval", "--config", path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v, --out %q --limit %s; want an error with %q", file, err, got["out"], got["limit"], want)
		}
	}
}

// TestDecimalNumbers: a leading zero is no octal number, wherever it stands.
func TestDecimalNumbers(t *testing.T) {
	got, err := read(t, "eval", "--limit", "010", "--seed", "-08")
	if err != nil || got["limit"] != "10" || got["seed"] != "-8" {
		t.Errorf("--limit %s, --seed %s, %v", got["limit"], got["seed"], err)
	}
	t.Setenv("EDITPIPE_LIMIT", "010")
	if got, err := read(t, "eval"); err != nil || got["limit"] != "10" {
		t.Errorf("EDITPIPE_LIMIT: %s, %v", got["limit"], err)
	}
	if got, err := read(t, "eval", "--limit", "0x10"); err == nil {
		t.Errorf("--limit 0x10 is read as %s", got["limit"])
	}
}

// TestEmptyVariables: an empty variable counts as unset, for every flag.
func TestEmptyVariables(t *testing.T) {
	for _, cmd := range newApp(io.Discard, io.Discard).Commands {
		flags, err := read(t, cmd.Name)
		if err != nil {
			t.Fatal(err)
		}
		for flag := range flags {
			name := "EDITPIPE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
			t.Setenv(name, "")
			empty, err := read(t, cmd.Name)
			if err != nil {
				t.Errorf("%s=: %v", name, err)
				continue
			}
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
			if unset, err := read(t, cmd.Name); err != nil || empty[flag] != unset[flag] {
				t.Errorf("%s=: --%s is %q, without the variable %q, %v", name, flag, empty[flag], unset[flag], err)
			}
		}
	}
}
