package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// article is a table that somebody else may have written.
type article struct {
	ID    int64    `parquet:"id"`
	Title *string  `parquet:"title,optional"`
	Text  string   `parquet:"text"`
	Tags  []string `parquet:"tags,list"`
}

// TestTexts: a column comes back in order, over pages and row groups, without
// NULL and blank values; other columns are refused with those that would do.
func TestTexts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wiki.parquet")
	title := "A title"
	var rows []article
	var want []string
	for i := range 120_000 { // more than a row group
		text := strings.Repeat("word ", i%7) + string(rune('a'+i%26))
		if i%1000 == 3 {
			text = "  \n"
		} else {
			want = append(want, text)
		}
		rows = append(rows, article{ID: int64(i), Text: text, Title: map[bool]*string{true: &title}[i == 5]})
	}
	if err := Write(path, rows, nil); err != nil {
		t.Fatal(err)
	}
	read := func(column string, limit int) (got []string, err error) {
		for text, err := range Texts(path, column) {
			if err != nil {
				return got, err
			}
			if got = append(got, text); len(got) == limit {
				break
			}
		}
		return got, nil
	}
	if got, err := read("text", -1); err != nil || !slices.Equal(got, want) {
		t.Errorf("%d texts, %v; want %d", len(got), err, len(want))
	}
	if got, err := read("text", 10); err != nil || len(got) != 10 {
		t.Errorf("stopped after %d texts, %v", len(got), err)
	}
	if got, err := read("title", -1); err != nil || !slices.Equal(got, []string{title}) {
		t.Errorf("optional column: %v, %v", got, err)
	}
	for _, column := range []string{"id", "tags", "none"} {
		if _, err := read(column, -1); !errors.Is(err, ErrColumn) || !strings.Contains(err.Error(), "title, text") || !strings.Contains(err.Error(), path) {
			t.Errorf("column %s: %v", column, err)
		}
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole[:len(whole)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := read("text", -1); !errors.Is(err, ErrCorrupt) {
		t.Errorf("half a file: %v", err)
	}
}
