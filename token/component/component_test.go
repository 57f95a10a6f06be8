package component

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestList(t *testing.T) {
	for data, want := range map[string]string{
		``:                                     ``,
		`null`:                                 ``,
		`{"type":"A"}`:                         `{"type":"A"}`,
		`{"other":1}`:                          `{"other":1}`, // without a type: refused by whoever reads it
		`{"type":"Sequence","normalizers":[]}`: ``,
		`{"type":"Sequence","pretokenizers":[{"type":"A"},null,{"type":"B"}]}`:                                           `{"type":"A"} {"type":"B"}`,
		`{"type":"Sequence","decoders":[{"type":"Sequence","decoders":[{"type":"A"},{"type":"B"}]},{"type":"C","x":1}]}`: `{"type":"A"} {"type":"B"} {"type":"C","x":1}`,
		`{"type":"Sequence","processors":[{"type":"A"}]}`:                                                                `{"type":"A"}`,
	} {
		list, err := List(json.RawMessage(data))
		if err != nil {
			t.Errorf("%s: %v", data, err)
			continue
		}
		parts := make([]string, len(list))
		for i, d := range list {
			parts[i] = string(d)
		}
		if got := strings.Join(parts, " "); got != want {
			t.Errorf("%s: %s, want %s", data, got, want)
		}
	}
	for _, data := range []string{`[1]`, `"Sequence"`, `{"type":"Sequence","decoders":[7]}`, `{"type":1}`} {
		if _, err := List(json.RawMessage(data)); err == nil {
			t.Errorf("%s: no error", data)
		}
	}
}

func TestUnsupported(t *testing.T) {
	if err := Unsupported("X"); !errors.Is(err, ErrUnsupported) || err.Error() != "type X is not supported" {
		t.Errorf("type X: %v", err)
	}
	if err := Unsupported(""); errors.Is(err, ErrUnsupported) {
		t.Errorf("no type: %v", err)
	}
}
