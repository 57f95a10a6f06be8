package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/lfs"
	"editpipe/tensor"
	"editpipe/tensor/safetensors"
)

// file lays an archive out by hand.
func file(t *testing.T, head string, data []byte) string {
	t.Helper()
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(head)))
	b = append(append(b, head...), data...)
	return raw(t, b)
}

func raw(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.safetensors")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadByHand(t *testing.T) {
	data := append([]byte{9}, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0) // u8 9, f32 1 and -2: not aligned
	path := file(t, `{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,1],"data_offsets":[1,9]},`+
		`"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"none":{"dtype":"I64","shape":[0,3],"data_offsets":[1,1]}}   `, data)
	got, meta, err := safetensors.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(meta, map[string]string{"format": "pt"}) {
		t.Errorf("metadata %v", meta)
	}
	if b := got["b"]; !slices.Equal(b.Shape, []int{2, 1}) || !slices.Equal(b.Float32s(), []float32{1, -2}) {
		t.Errorf("b is %v %v", b.Shape, b.Float32s())
	}
	if a := got["a"]; len(a.Shape) != 0 || a.DType != tensor.U8 || a.Int64s()[0] != 9 {
		t.Errorf("a is %v %v", a.DType, a.Shape)
	}
	if n := got["none"]; n.Len() != 0 || n.DType != tensor.I64 {
		t.Errorf("none is %v %v", n.DType, n.Shape)
	}
}

func TestLazyReadOfUnknownType(t *testing.T) {
	path := file(t, `{"q":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]},"v":{"dtype":"I8","shape":[1],"data_offsets":[4,5]}}`, []byte{1, 2, 3, 4, 250})
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !slices.Equal(f.Names(), []string{"q", "v"}) {
		t.Errorf("names %v", f.Names())
	}
	v, err := f.Tensor("v")
	if err != nil || v.Int64s()[0] != -6 {
		t.Errorf("v: %v", err)
	}
	if _, err := f.Tensor("q"); !errors.Is(err, tensor.ErrDType) || !strings.Contains(err.Error(), "F8_E4M3") {
		t.Errorf("a type of another world gave %v", err)
	}
	if _, err := f.Tensor("w"); err == nil || !strings.Contains(err.Error(), `"w"`) {
		t.Errorf("a missing tensor gave %v", err)
	}
	if _, _, err := safetensors.Read(path); !errors.Is(err, tensor.ErrDType) {
		t.Errorf("reading it whole gave %v", err)
	}
}

// A tensor of an element type that this program has never heard of, and keys that
// are none of the format's three, leave the other tensors readable.
func TestOneUnknownTensor(t *testing.T) {
	path := file(t, `{"q":{"dtype":"F4","shape":[6],"data_offsets":[0,3]},"s":{"dtype":"F8_E8M0","shape":[1],"data_offsets":[3,4]},`+
		`"v":{"dtype":"I8","shape":[1],"data_offsets":[4,5],"note":{"by":["a writer"]}}}`, []byte{1, 2, 3, 4, 250})
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if v, err := f.Tensor("v"); err != nil || v.Int64s()[0] != -6 {
		t.Errorf("v: %v", err)
	}
	for _, name := range []string{"q", "s"} {
		if _, err := f.Tensor(name); !errors.Is(err, tensor.ErrDType) || !strings.Contains(err.Error(), `tensor "`+name+`"`) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPointer(t *testing.T) {
	path := raw(t, []byte("version https://example.org/git-lfs/spec/v1\noid sha256:00\nsize 1\n"))
	if _, err := safetensors.Open(path); !errors.Is(err, lfs.ErrPointer) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
}

func TestReadRefuses(t *testing.T) {
	f32 := func(name, shape, at string) string {
		return `"` + name + `":{"dtype":"F32","shape":` + shape + `,"data_offsets":` + at + `}`
	}
	cases := map[string]struct {
		head string
		data int
		says string
	}{
		"truncated data":   {"{" + f32("a", "[2]", "[0,8]") + "}", 7, "truncated"},
		"trailing bytes":   {"{" + f32("a", "[2]", "[0,8]") + "}", 9, "behind the last"},
		"hole":             {"{" + f32("a", "[1]", "[0,4]") + "," + f32("b", "[1]", "[8,12]") + "}", 12, "end to end"},
		"overlap":          {"{" + f32("a", "[2]", "[0,8]") + "," + f32("b", "[1]", "[4,8]") + "}", 8, "end to end"},
		"size":             {"{" + f32("a", "[3]", "[0,8]") + "}", 8, "takes 12"},
		"backwards":        {"{" + f32("a", "[1]", "[0,-4]") + "}", 0, `"a"`},
		"negative start":   {"{" + f32("a", "[1]", "[-4,0]") + "}", 0, `"a"`},
		"negative dim":     {"{" + f32("a", "[-1,-1]", "[0,4]") + "}", 4, "negative"},
		"overflow":         {"{" + f32("a", "[4294967296,4294967296,4]", "[0,0]") + "}", 0, "too many"},
		"duplicate":        {"{" + f32("a", "[1]", "[0,4]") + "," + f32("a", "[1]", "[4,8]") + "}", 8, "twice"},
		"duplicate key":    {`{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 4, "twice"},
		"unknown type":     {`{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,9]}}`, 4, "truncated"},
		"type backwards":   {`{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,-1]}}`, 4, "before it starts"},
		"type with a hole": {`{"a":{"dtype":"F4","shape":[2],"data_offsets":[1,2]}}`, 2, "end to end"},
		"type of no name":  {`{"a":{"dtype":"","shape":[2],"data_offsets":[0,1]}}`, 1, "wanted"},
		"missing key":      {`{"a":{"dtype":"F32","shape":[1]}}`, 4, "wanted"},
		"null shape":       {"{" + f32("a", "null", "[0,4]") + "}", 4, "wanted"},
		"float offsets":    {"{" + f32("a", "[1]", "[0.0,4.5]") + "}", 4, `"a"`},
		"three offsets":    {"{" + f32("a", "[1]", "[0,4,4]") + "}", 4, "3 numbers"},
		"metadata numbers": {`{"__metadata__":{"n":1}}`, 0, "metadata"},
		"array":            {`[1]`, 0, "{"},
		"space first":      {` {}`, 0, "{"},
		"not JSON":         {`{"a":`, 0, "EOF"},
		"text behind":      {`{}x`, 0, "behind"},
		"not UTF-8":        {"{\"\xff\":{}}", 0, "UTF-8"},
	}
	for name, c := range cases {
		path := file(t, c.head, make([]byte, c.data))
		_, _, err := safetensors.Read(path)
		if !errors.Is(err, safetensors.ErrFormat) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{
		"empty":  {},
		"short":  {1, 2, 3},
		"long":   binary.LittleEndian.AppendUint64(nil, 1<<63),
		"beyond": append(binary.LittleEndian.AppendUint64(nil, 50), "{}"...),
	} {
		if _, _, err := safetensors.Read(raw(t, b)); !errors.Is(err, safetensors.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	tensors := map[string]*tensor.Tensor{
		"w.ü\"<": tensor.FromFloat32s([]float32{1.5, -2, 3}, 3, 1),
		"scalar": tensor.FromInt64s([]int64{-7}),
		"empty":  tensor.New(tensor.BF16, 0, 4),
		"flag":   {DType: tensor.Bool, Shape: []int{3}, Data: []byte{1, 0, 1}},
	}
	for _, dt := range []tensor.DType{tensor.F64, tensor.F16, tensor.I32, tensor.I8, tensor.U8} {
		x := tensor.New(dt, 2, 3)
		for i := range x.Data {
			x.Data[i] = byte(i + 1)
		}
		tensors[dt.String()] = x
	}
	meta := map[string]string{"b": "<&>", "a": ""}
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	if err := safetensors.Write(path, tensors, meta); err != nil {
		t.Fatal(err)
	}
	got, gotMeta, err := safetensors.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(gotMeta, meta) || len(got) != len(tensors) {
		t.Fatalf("%d tensors, metadata %v", len(got), gotMeta)
	}
	for name, want := range tensors {
		if g := got[name]; g == nil || g.Hash() != want.Hash() {
			t.Errorf("%s came back as another tensor", name)
		}
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := binary.LittleEndian.Uint64(first); n%8 != 0 || first[7+n] != ' ' && first[7+n] != '}' {
		t.Errorf("header of %d bytes", n)
	}
	for range 5 {
		if err := safetensors.Write(path, tensors, meta); err != nil {
			t.Fatal(err)
		}
		again, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(first, again) {
			t.Fatal("equal tensors gave other bytes")
		}
	}
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, e := range f.Entries {
		if size := int64(tensors[e.Name].DType.Size()); e.Start%size != 0 {
			t.Errorf("%s starts at byte %d, not aligned for %d", e.Name, e.Start, size)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	for name, tensors := range map[string]map[string]*tensor.Tensor{
		"bytes missing": {"a": {DType: tensor.F32, Shape: []int{2}, Data: make([]byte, 4)}},
		"reserved name": {"__metadata__": tensor.New(tensor.F32, 1)},
		"bad name":      {"\xff": tensor.New(tensor.F32, 1)},
	} {
		if err := safetensors.Write(path, tensors, nil); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 0 {
		t.Errorf("refused writes left %v", all)
	}
	if err := safetensors.Write(path, nil, nil); err != nil {
		t.Fatal(err)
	}
	if got, _, err := safetensors.Read(path); err != nil || len(got) != 0 {
		t.Errorf("an empty archive: %v", err)
	}
}
