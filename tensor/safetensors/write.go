package safetensors

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"editpipe/file"
	"editpipe/tensor"
)

// Write writes an archive whole. Equal arguments give equal bytes: tensors lie
// in order of falling element size and then of name, as the format's reference
// implementation lays them, so that each is aligned for its type; the header is
// padded with spaces to a multiple of 8.
func Write(path string, tensors map[string]*tensor.Tensor, meta map[string]string) error {
	names := slices.SortedFunc(maps.Keys(tensors), func(a, b string) int {
		if c := cmp.Compare(tensors[b].DType.Size(), tensors[a].DType.Size()); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	head, err := header(names, tensors, meta)
	if err != nil {
		return fmt.Errorf("safetensors: writing %s: %w", path, err)
	}
	if err := write(path, head, names, tensors); err != nil {
		return fmt.Errorf("safetensors: writing %s: %w", path, err)
	}
	return nil
}

// header returns the length field and the JSON header.
func header(names []string, tensors map[string]*tensor.Tensor, meta map[string]string) ([]byte, error) {
	var b bytes.Buffer
	b.Write(make([]byte, 8))
	b.WriteByte('{')
	if len(meta) > 0 {
		text := map[string]string{}
		for k, v := range meta {
			if !utf8.ValidString(k) || !utf8.ValidString(v) {
				return nil, fmt.Errorf("metadata %q is not UTF-8", k)
			}
			text[k] = v
		}
		j, err := json.Marshal(text) // keys in order
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, `"__metadata__":%s`, j)
	}
	at := 0
	for _, name := range names {
		t := tensors[name]
		if name == "__metadata__" || !utf8.ValidString(name) {
			return nil, fmt.Errorf("tensor %q: the name is not allowed", name)
		}
		if err := t.Check(); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		shape, err := json.Marshal(append([]int{}, t.Shape...)) // [] and not null for a single number
		if err != nil {
			return nil, err
		}
		if b.Len() > 9 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `%s:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`, key, typeName(t.DType), shape, at, at+len(t.Data))
		at += len(t.Data)
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	head := b.Bytes()
	if len(head)-8 > MaxHeader {
		return nil, fmt.Errorf("header of %d bytes, at most %d are allowed", len(head)-8, MaxHeader)
	}
	binary.LittleEndian.PutUint64(head, uint64(len(head)-8))
	return head, nil
}

func write(path string, head []byte, names []string, tensors map[string]*tensor.Tensor) error {
	d, err := file.CreateDraft(path)
	if err != nil {
		return err
	}
	defer d.Abort()
	w := bufio.NewWriterSize(d, 1<<20)
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, name := range names {
		if _, err := w.Write(tensors[name].Data); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return d.Commit()
}
