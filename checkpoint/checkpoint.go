// Package checkpoint reads the text files of a checkpoint, the folder in which
// a trained model is published, as Python writes and reads them. What a reader
// does not ask for is never an error. A file that is missing or only a Git LFS
// pointer gives the same error for every reader.
package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"editpipe/lfs"
)

// Read returns what a file holds after its byte order mark, if it has one.
func Read(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		err = lfs.Check(data)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return bytes.TrimPrefix(data, []byte("\ufeff")), nil
}

// ReadJSON reads a file into v as Python's json module does: with the words NaN,
// Infinity and -Infinity and with numbers beyond float64, too, all of which count as
// null.
func ReadJSON(path string, v any) error {
	data, err := Read(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(standard(data), v); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

// standard turns what Python's json module reads into JSON.
func standard(data []byte) []byte {
	var out []byte
	for len(data) > 0 {
		n := word(data)
		if unbounded(data[:n]) {
			out = append(out, "null"...)
		} else {
			out = append(out, data[:n]...)
		}
		data = data[n:]
	}
	return out
}

// word is the length of the text, number or word that data begins with, or 1 where
// it begins with anything else.
func word(data []byte) int {
	if data[0] == '"' {
		for i := 1; i < len(data); i++ {
			switch data[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
		return len(data)
	}
	if end := bytes.IndexAny(data, " \t\r\n,:[]{}\""); end >= 0 {
		return max(end, 1)
	}
	return len(data)
}

// unbounded says whether a word stands for no finite number.
func unbounded(word []byte) bool {
	switch string(word) {
	case "NaN", "Infinity", "-Infinity":
		return true
	}
	if c := word[0]; c != '-' && (c < '0' || c > '9') || !json.Valid(word) {
		return false
	}
	_, err := strconv.ParseFloat(string(word), 64)
	return errors.Is(err, strconv.ErrRange)
}
