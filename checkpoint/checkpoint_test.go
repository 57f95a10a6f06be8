package checkpoint

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"editpipe/lfs"
)

func TestStandard(t *testing.T) {
	for _, c := range []struct{ python, want string }{
		{`{"a":NaN,"b":[-Infinity, Infinity],"c":1e400,"d":-1e400}`, `{"a":null,"b":[null, null],"c":null,"d":null}`},
		{`{"n":` + strings.Repeat("9", 400) + `}`, `{"n":null}`},
		// Numbers that float64 has, and those too small for it, stay.
		{`{"a":64.0,"b":-2e0,"c":1e-400,"d":true}`, `{"a":64.0,"b":-2e0,"c":1e-400,"d":true}`},
		// Texts hold whatever they hold.
		{`{"NaN":"Infinity \"NaN\\","1e400":"1e400"}`, `{"NaN":"Infinity \"NaN\\","1e400":"1e400"}`},
		// What Python does not read is left to the reader of JSON.
		{`{"a":nan,"b":NaNs,"c":0x1p9999,"d":--1e400`, `{"a":nan,"b":NaNs,"c":0x1p9999,"d":--1e400`},
		{`{"open`, `{"open`},
		{`"\`, `"\`},
		{"", ""},
	} {
		if got := string(standard([]byte(c.python))); got != c.want {
			t.Errorf("%s: %s, want %s", c.python, got, c.want)
		}
	}
}

func TestReadJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	var v struct{ N int }
	if err := ReadJSON(path, &v); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("missing: %v", err)
	}
	for _, c := range []struct {
		content string
		fault   bool
	}{{"\ufeff" + `{"n":3,"x":Infinity}`, false}, {`{"n":"3"}`, true}, {`{`, true}} {
		if err := os.WriteFile(path, []byte(c.content), 0o644); err != nil {
			t.Fatal(err)
		}
		v.N = 0
		if err := ReadJSON(path, &v); (err != nil) != c.fault || err != nil && !strings.Contains(err.Error(), path) || err == nil && v.N != 3 {
			t.Errorf("%q: %v, %v", c.content, v, err)
		}
	}
	if err := os.WriteFile(path, []byte("version https://example.org/spec/v1\noid sha256:ab\nsize 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := ReadJSON(path, &v); !errors.Is(err, lfs.ErrPointer) {
		t.Errorf("pointer: %v", err)
	}
}
