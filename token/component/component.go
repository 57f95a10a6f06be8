// Package component holds the components of a tokenizer.json that a text passes
// before and after the model: normalisers, which convert it to the form in
// which the vocabulary is written; splitters (pre-tokenizers), which cut it
// into words; and decoders, which undo both, given the tokens. They work on
// pieces, so that every character keeps its place in the original text.
//
// A component is a JSON object with a "type"; the type Sequence is a list of
// others.
//
// Of github.com/sugarme/tokenizer v0.3.0 the package uses the double-array trie
// of SentencePiece character maps. sugarme's own normalisers lose the alignment
// when they change the text, and end the process on bad files.
package component

import (
	"encoding/json"
	"errors"
	"fmt"

	"editpipe/token/oniguruma"
)

// ErrUnsupported is returned, wrapped, for a component or a setting that is not
// implemented, and for a regular expression that is not.
var ErrUnsupported = oniguruma.ErrUnsupported

// Unsupported is the error for a component of a type that is not implemented.
func Unsupported(kind string) error {
	if kind == "" {
		return errors.New("has no type")
	}
	return fmt.Errorf("type %s is %w", kind, ErrUnsupported)
}

// Absent reports whether a component is left out of the file or null.
func Absent(data json.RawMessage) bool {
	return len(data) == 0 || string(data) == "null"
}

// List returns the components that data stands for, in order: those of a
// Sequence, however deeply nested, without absent ones, or data itself. An
// absent component gives an empty list.
func List(data json.RawMessage) ([]json.RawMessage, error) {
	if Absent(data) {
		return nil, nil
	}
	var c struct {
		Type string
		// Each kind of component has a name of its own for the parts of a Sequence.
		Normalizers, Pretokenizers, Processors, Decoders []json.RawMessage
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	if c.Type != "Sequence" {
		return []json.RawMessage{data}, nil
	}
	var out []json.RawMessage
	for _, parts := range [...][]json.RawMessage{c.Normalizers, c.Pretokenizers, c.Processors, c.Decoders} {
		for _, d := range parts {
			list, err := List(d)
			if err != nil {
				return nil, err
			}
			out = append(out, list...)
		}
	}
	return out, nil
}
