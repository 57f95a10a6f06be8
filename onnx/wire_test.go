package onnx_test

import (
	"bytes"
	"fmt"
	"sort"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// message lists the fields of a protobuf message that hold messages.
type message map[protowire.Number]message

var (
	dimMsg      = message{}
	shapeMsg    = message{1: dimMsg}
	typeMsg     = message{1: {2: shapeMsg}}
	valueMsg    = message{2: typeMsg}
	tensorMsg   = message{13: {}}
	attrMsg     = message{5: tensorMsg, 10: tensorMsg}
	nodeMsg     = message{5: attrMsg}
	graphFields = message{1: nodeMsg, 5: tensorMsg, 11: valueMsg, 12: valueMsg, 13: valueMsg}
	modelMsg    = message{7: graphFields, 8: {}, 14: {}}
)

// canonical re-encodes a model so that two encodings of the same content come
// out equal: messages are sorted by field number (order within one number
// kept) and packed numbers are unpacked. It shares no code with the reader and
// knows nothing of the format but its nesting.
func canonical(t *testing.T, data []byte) []byte {
	t.Helper()
	out, err := canonicalMessage(data, modelMsg, "model")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func canonicalMessage(data []byte, m message, path string) ([]byte, error) {
	type entry struct {
		num protowire.Number
		b   []byte
	}
	var list []entry
	isAttr := len(m) == 2 && m[10] != nil && m[5] != nil && m[1] == nil
	isTensor := len(m) == 1 && m[13] != nil
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return nil, fmt.Errorf("%s: %w", path, protowire.ParseError(n))
		}
		k := protowire.ConsumeFieldValue(num, typ, data[n:])
		if k < 0 {
			return nil, fmt.Errorf("%s.%d: %w", path, num, protowire.ParseError(k))
		}
		wire, value := data[:n+k], data[n:n+k]
		data = data[n+k:]
		sub, known := m[num]
		if isAttr && (num == 6 || num == 11) {
			sub, known = graphFields, true // recursive, so not in the table
		}
		switch {
		case known && typ == protowire.BytesType:
			content, _ := protowire.ConsumeBytes(value)
			inner, err := canonicalMessage(content, sub, fmt.Sprintf("%s.%d", path, num))
			if err != nil {
				return nil, err
			}
			b := protowire.AppendTag(nil, num, typ)
			list = append(list, entry{num, protowire.AppendBytes(b, inner)})
		case typ == protowire.BytesType && (isAttr && (num == 7 || num == 8) || isTensor && num == 1):
			content, _ := protowire.ConsumeBytes(value)
			for len(content) > 0 {
				var b []byte
				if num == 7 {
					v, n := protowire.ConsumeFixed32(content)
					content = content[n:]
					b = protowire.AppendFixed32(protowire.AppendTag(nil, num, protowire.Fixed32Type), v)
				} else {
					v, n := protowire.ConsumeVarint(content)
					content = content[n:]
					b = protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
				}
				list = append(list, entry{num, b})
			}
		default:
			list = append(list, entry{num, wire})
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].num < list[j].num })
	var out []byte
	for _, e := range list {
		out = append(out, e.b...)
	}
	return out, nil
}

func sameModel(t *testing.T, want, got []byte) {
	t.Helper()
	a, b := canonical(t, want), canonical(t, got)
	if bytes.Equal(a, b) {
		return
	}
	at := 0
	for at < len(a) && at < len(b) && a[at] == b[at] {
		at++
	}
	t.Errorf("differs after %d of %d and %d bytes: ...%q want %q", at, len(a), len(b),
		b[max(0, at-40):min(len(b), at+40)], a[max(0, at-40):min(len(a), at+40)])
}
