// Package corpus reads running text: the text over which a method computes
// statistics before it edits. A text file has one text per line, a JSONL file
// (.jsonl) one object per line with the text in a field. Either may be
// compressed with gzip, bzip2 or zstd (.txt.gz).
package corpus

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"editpipe/generator/dump"
)

// Field is where JSONL records hold their text unless another field is named.
const Field = "text"

// ErrEmpty is yielded when a file holds no text.
var ErrEmpty = errors.New("the file holds no text")

// ErrUTF8 is yielded, with file and line, for text in another encoding.
var ErrUTF8 = errors.New("not UTF-8 text: save the file as UTF-8")

// maxLine bounds a line: longer ones are a file of another kind.
const maxLine = 64 << 20

// Open is Texts for a file that is tried first: one that cannot be read is refused
// here, before any work. A Parquet file (.parquet) is read by parquet, the column
// named field: this package does not speak it.
func Open(path, field string, parquet func(path, column string) iter.Seq2[string, error]) (iter.Seq2[string, error], error) {
	texts := Texts(path, field)
	if strings.EqualFold(filepath.Ext(path), ".parquet") {
		texts = parquet(path, field)
	}
	for _, err := range texts {
		if err != nil {
			return nil, err
		}
		break
	}
	return texts, nil
}

// Texts yields the texts of a file in order, without blank ones; field names
// the JSONL field and is Field if empty. An error names file and line and ends
// the sequence.
func Texts(path, field string) iter.Seq2[string, error] {
	if field == "" {
		field = Field
	}
	name := path
	if ext := filepath.Ext(path); ext == ".gz" || ext == ".bz2" || ext == ".zst" {
		name = strings.TrimSuffix(path, ext)
	}
	jsonl := filepath.Ext(name) == ".jsonl"
	return func(yield func(string, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield("", fmt.Errorf("corpus: %w", err))
			return
		}
		defer f.Close()
		text, err := dump.Open(f, 1)
		if err != nil {
			yield("", fmt.Errorf("corpus: %s: %w", path, err))
			return
		}
		defer text.Close()
		lines := bufio.NewScanner(text)
		lines.Buffer(make([]byte, 1<<16), maxLine)
		any := false
		for n := 1; lines.Scan(); n++ {
			text := strings.TrimSpace(lines.Text())
			if !utf8.ValidString(text) {
				yield("", fmt.Errorf("corpus: %s: line %d: %w", path, n, ErrUTF8))
				return
			}
			if jsonl && text != "" {
				if text, err = record(text, field); err != nil {
					yield("", fmt.Errorf("corpus: %s: line %d: %w", path, n, err))
					return
				}
			}
			if text == "" {
				continue
			}
			any = true
			if !yield(text, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil && !errors.Is(err, io.EOF) {
			yield("", fmt.Errorf("corpus: %s: %w", path, err))
		} else if !any {
			yield("", fmt.Errorf("corpus: %s: %w", path, ErrEmpty))
		}
	}
}

func record(line, field string) (string, error) {
	var r map[string]json.RawMessage
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		return "", err
	}
	raw, ok := r[field]
	if !ok {
		return "", fmt.Errorf("no field %q", field)
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", fmt.Errorf("field %q: %w", field, err)
	}
	return strings.TrimSpace(text), nil
}
