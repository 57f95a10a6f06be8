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
		{"editpipe report RUN --nonsense", "editpipe report --nonsense RUN"},
		{"editpipe nonsense RUN --x", "editpipe nonsense RUN --x"},
		{"editpipe", "editpipe"},
	} {
		if got := flagsFirst(app, strings.Fields(c.in)); !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%s\n got  %v\n want %s", c.in, got, c.want)
		}
	}
	if o := call(t, "list", "methods", "--json"); o.code != exitOK || !strings.HasPrefix(o.out, "[") {
		t.Errorf("list methods --json: code %d, %.40q", o.code, o.out)
	}
}
