// Package component holds what the components of a tokenizer.json have in
// common. A component (a normalizer, pre_tokenizer, post_processor, decoder or
// model) is a JSON object with a "type"; the type Sequence is a list of others.
// What the types mean is the business of the packages that implement them.
package component

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ErrUnsupported is returned, wrapped, for a component or a setting that is not
// implemented.
var ErrUnsupported = errors.New("not supported")

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
