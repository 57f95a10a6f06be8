package corpus

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/lfs"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(path, field string) (all []string, err error) {
	for text, e := range Texts(path, field) {
		if e != nil {
			return all, e
		}
		all = append(all, text)
	}
	return all, nil
}

func TestTexts(t *testing.T) {
	want := []string{"One line.", "Zwei Zeilen für dich."}
	for name, file := range map[string]string{
		"plain.txt": "One line.\r\n\n  Zwei Zeilen für dich.  \n",
		"a.jsonl":   `{"text": "One line."}` + "\n\n" + `{"text": "Zwei Zeilen für dich.", "id": 3}`,
		"b.jsonl":   `{"body": "One line."}` + "\n" + `{"body": ""}` + "\n" + `{"body": "Zwei Zeilen für dich."}`,
	} {
		field := ""
		if name == "b.jsonl" {
			field = "body"
		}
		got, err := read(write(t, name, file), field)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// A packed file is read as what is in it; one that is cut short ends in an error, and
// what is no text of any kind is not taken for lines.
func TestPacked(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for i := range 1000 {
		fmt.Fprintf(z, "{\"text\": \"line %d\"}\n", i*i)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := read(write(t, "a.jsonl.gz", b.String()), ""); err != nil || len(got) != 1000 || got[3] != "line 9" {
		t.Errorf("%d texts, %v", len(got), err)
	}
	if _, err := read(write(t, "a.jsonl.gz", b.String()[:b.Len()-9]), ""); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut short: %v", err)
	}
	path := write(t, "a.txt", "version https://example.org/git-lfs/spec/v1\noid sha256:00\nsize 1\n")
	if got, err := read(path, ""); !errors.Is(err, lfs.ErrPointer) || len(got) > 0 || !strings.Contains(err.Error(), path) {
		t.Errorf("a pointer: %q, %v", got, err)
	}
}

func TestFaults(t *testing.T) {
	for name, c := range map[string]struct{ file, message string }{
		"broken.jsonl": {`{"text": "fine"}` + "\n" + `{"text": `, "line 2"},
		"field.jsonl":  {`{"body": "text"}`, `no field "text"`},
		"type.jsonl":   {`{"text": 3}`, `field "text"`},
		"latin1.txt":   {"Zwei\nf\xfcr dich", "line 2: not UTF-8 text"},
		"latin1.jsonl": {"{\"text\": \"f\xfcr dich\"}", "line 1: not UTF-8 text"},
	} {
		path := write(t, name, c.file)
		if _, err := read(path, ""); err == nil || !strings.Contains(err.Error(), c.message) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := read(write(t, "blank.txt", "\n \n"), ""); !errors.Is(err, ErrEmpty) {
		t.Errorf("blank file: %v", err)
	}
	if _, err := read(filepath.Join(t.TempDir(), "none.txt"), ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// A file that cannot be read is refused when it is opened; Parquet is left to its
// reader, which is handed file and column.
func TestOpen(t *testing.T) {
	var asked []string
	parquet := func(path, column string) iter.Seq2[string, error] {
		asked = append(asked, filepath.Base(path), column)
		return func(yield func(string, error) bool) { yield("from a column", nil) }
	}
	for name, want := range map[string]string{"a.jsonl": "One line.", "b.Parquet": "from a column"} {
		texts, err := Open(write(t, name, `{"body": "One line."}`), "body", parquet)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // trying the file takes nothing of it
			for text, err := range texts {
				if text != want || err != nil {
					t.Errorf("%s: %q, %v; want %q", name, text, err, want)
				}
			}
		}
	}
	if want := []string{"b.Parquet", "body"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
	if _, err := Open(write(t, "c.txt", "\n"), "", parquet); !errors.Is(err, ErrEmpty) {
		t.Errorf("a file without text: %v", err)
	}
}
