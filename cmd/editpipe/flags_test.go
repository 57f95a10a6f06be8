package main

import (
	"io"
	"slices"
	"strings"
	"testing"
)

func TestFlagsStandAnywhere(t *testing.T) {
	app := newApp(io.Discard, io.Discard)
	for _, c := range []struct{ in, want string }{
		{"editpipe report RUN --format json", "editpipe report --format json RUN"},
		{"editpipe report A --format=md B --out f", "editpipe report --format=md --out f A B"},
		{"editpipe report --format json RUN", "editpipe report --format json RUN"},
		{"editpipe list methods --json", "editpipe list --json methods"},
		{"editpipe eval --seed -1 --plan x", "editpipe eval --seed -1 --plan x"},
		{"editpipe report A -- --format json", "editpipe report A -- --format json"},
		{"editpipe -- report RUN --format json", "editpipe report --format json RUN"},
		{"editpipe report RUN --nonsense", "editpipe report --nonsense RUN"},
		{"editpipe nonsense RUN --x", "editpipe nonsense RUN --x"},
		{"editpipe", "editpipe"},
	} {
		if got, err := flagsFirst(app, strings.Fields(c.in)); err != nil || !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%s\n got  %v, %v\n want %s", c.in, got, err, c.want)
		}
	}
	if o := call(t, "list", "methods", "--json"); o.code != exitOK || !strings.HasPrefix(o.out, "[") {
		t.Errorf("list methods --json: code %d, %.40q", o.code, o.out)
	}
}

// TestFlagsGivenTwice: of two values for a flag that takes one, none is right.
// Every flag of every command is tried.
func TestFlagsGivenTwice(t *testing.T) {
	app := newApp(io.Discard, io.Discard)
	for _, cmd := range app.Commands {
		for _, f := range cmd.Flags {
			for _, name := range f.Names() {
				args := []string{"editpipe", cmd.Name, "--" + name + "=1", "ARGUMENT", "-" + f.Names()[0], "2"}
				_, err := flagsFirst(app, args)
				if isList(f) != (err == nil) || err != nil && !strings.Contains(err.Error(), "--"+f.Names()[0]+" ") {
					t.Errorf("%v: %v", args, err)
				}
			}
		}
	}
	for _, in := range []string{
		"editpipe report --out --out",            // the second is the first one's value
		"editpipe report --out a -- --out b",     // arguments
		"editpipe eval --limit 1 --max-errors 1", // two flags
		"editpipe eval --bogus --bogus",          // left to the library
	} {
		if _, err := flagsFirst(app, strings.Fields(in)); err != nil {
			t.Errorf("%s: %v", in, err)
		}
	}
	t.Setenv("EDITPIPE_LIMIT", "1")
	if got, err := read(t, "eval", "--limit", "3"); err != nil || got["limit"] != "3" {
		t.Errorf("beside EDITPIPE_LIMIT=1, --limit 3 is read as %s, %v", got["limit"], err)
	}
}

// TestKeysGivenTwice: likewise for the keys of a list.
func TestKeysGivenTwice(t *testing.T) {
	for _, c := range []struct{ in, names string }{
		{"eval --method ft-l --set ft-l.lr=1 --set ft-l.num_steps=2 --set ft-l.lr=2 --out " + t.TempDir(), "--set ft-l.lr "},
		{"audit --max alias_overlap=0.1 --max alias_overlap=0.2 testdata/counterfact.json", "--max alias_overlap "},
	} {
		if o := call(t, strings.Fields(c.in)...); o.code != exitUsage || !strings.Contains(o.err, c.names) {
			t.Errorf("%s: code %d, %s", c.in, o.code, o.err)
		}
	}
}
