package npz_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"editpipe/lfs"
	"editpipe/tensor"
	"editpipe/tensor/npz"
)

// npy lays an array out by hand.
func npy(version byte, head string, data ...byte) []byte {
	b := []byte{0x93, 'N', 'U', 'M', 'P', 'Y', version, 0, byte(len(head)), byte(len(head) >> 8)}
	if version > 1 {
		b = append(b, 0, 0)
	}
	return append(append(b, head...), data...)
}

func header(descr, fortran, shape string) string {
	return fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': %s, }\n", descr, fortran, shape)
}

func write(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.npy")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadByHand(t *testing.T) {
	six := []byte{1, 2, 3, 4, 5, 6}
	cases := []struct {
		name  string
		file  []byte
		dt    tensor.DType
		shape []int
		want  []float64
	}{
		{"v1", npy(1, header("<f4", "False", "(2,)"), 0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0), tensor.F32, []int{2}, []float64{1, -2}},
		{"v2", npy(2, header("<f8", "False", "(1, 1)"), 0, 0, 0, 0, 0, 0, 0xf8, 0x3f), tensor.F64, []int{1, 1}, []float64{1.5}},
		{"v3", npy(3, header("<f2", "False", "()"), 0, 0x3e), tensor.F16, []int{}, []float64{1.5}},
		{"big endian", npy(1, header(">f4", "False", "(2,)"), 0x3f, 0x80, 0, 0, 0xc0, 0, 0, 0), tensor.F32, []int{2}, []float64{1, -2}},
		{"big endian integers", npy(1, header(">i4", "False", "(2,)"), 0, 0, 1, 2, 0xff, 0xff, 0xff, 0xfe), tensor.I32, []int{2}, []float64{258, -2}},
		{"row-major", npy(1, header("|u1", "False", "(2, 3)"), six...), tensor.U8, []int{2, 3}, []float64{1, 2, 3, 4, 5, 6}},
		{"column-major", npy(1, header("|u1", "True", "(2, 3)"), six...), tensor.U8, []int{2, 3}, []float64{1, 3, 5, 2, 4, 6}},
		{"column-major, three indices", npy(1, header("|i1", "True", "(1, 2, 3)"), six...), tensor.I8, []int{1, 2, 3}, []float64{1, 3, 5, 2, 4, 6}},
		{"column-major, 3 by 2 by 1", npy(1, header("|i1", "True", "(3, 2, 1)"), six...), tensor.I8, []int{3, 2, 1}, []float64{1, 4, 2, 5, 3, 6}},
		{"column-major, empty", npy(1, header("<f4", "True", "(0, 3)")), tensor.F32, []int{0, 3}, nil},
		{"bool", npy(1, header("|b1", "False", "(2,)"), 1, 0), tensor.Bool, []int{2}, []float64{1, 0}},
		{"other spelling", npy(1, `{"shape":(1,),"fortran_order":False,"descr":"<i8"}`, 5, 0, 0, 0, 0, 0, 0, 0), tensor.I64, []int{1}, []float64{5}},
	}
	for _, c := range cases {
		got, err := npz.ReadNPY(write(t, c.file))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var values []float64
		if got.IsFloat() {
			values = append(values, got.Float64s()...)
		} else {
			for _, x := range got.Int64s() {
				values = append(values, float64(x))
			}
		}
		if got.DType != c.dt || !slices.Equal(got.Shape, c.shape) || !slices.Equal(values, c.want) {
			t.Errorf("%s: read %v %v %v, want %v %v %v", c.name, got.DType, got.Shape, values, c.dt, c.shape, c.want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	cases := map[string]struct {
		file []byte
		says string
	}{
		"objects":       {npy(1, header("|O", "False", "(1,)"), 1, 2, 3), "pickled"},
		"strings":       {npy(1, header("<U3", "False", "(1,)")), "<U3"},
		"complex":       {npy(1, header("<c8", "False", "(0,)")), "<c8"},
		"no order":      {npy(1, header("|f4", "False", "(0,)")), "|f4"},
		"structured":    {npy(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (0,), }"), "structured"},
		"short":         {npy(1, header("<f4", "False", "(2,)"), 1, 2, 3, 4), "takes 8 bytes"},
		"long":          {npy(1, header("<f4", "False", "(1,)"), 1, 2, 3, 4, 5), "takes 4 bytes"},
		"negative":      {npy(1, header("<f4", "False", "(-1,)"), 1, 2, 3, 4), "negative"},
		"huge":          {npy(1, header("<f4", "False", "(9223372036854775807, 9)")), "too many"},
		"version 4":     {npy(4, header("<f4", "False", "(0,)")), "version 4"},
		"no magic":      {[]byte("hello world, this is text"), "does not start"},
		"empty":         {nil, "does not start"},
		"cut header":    {npy(1, header("<f4", "False", "(0,)"))[:30], "truncated"},
		"missing key":   {npy(1, "{'descr': '<f4', 'shape': (0,), }"), "wanted"},
		"extra key":     {npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (0,), 'x': 1}"), "unknown key"},
		"double key":    {npy(1, "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (0,)}"), "malformed"},
		"no dictionary": {npy(1, "import os"), "dictionary"},
		"bad flag":      {npy(1, header("<f4", "Maybe", "(0,)")), "malformed"},
		"bad shape":     {npy(1, header("<f4", "False", "(a,)")), "malformed"},
		"text behind":   {npy(1, header("<f4", "False", "(0,)")+"x"), "wanted"},
	}
	for name, c := range cases {
		path := write(t, c.file)
		_, err := npz.ReadNPY(path)
		if !errors.Is(err, npz.ErrFormat) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPointer(t *testing.T) {
	path := write(t, []byte("version https://example.org/git-lfs/spec/v1\noid sha256:00\nsize 1\n"))
	for name, read := range map[string]func() error{
		"npy": func() error { _, err := npz.ReadNPY(path); return err },
		"npz": func() error { _, err := npz.Read(path); return err },
	} {
		if err := read(); !errors.Is(err, lfs.ErrPointer) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func archive(t *testing.T, method uint16, members ...string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(members); i += 2 {
		w, err := z.CreateHeader(&zip.FileHeader{Name: members[i], Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(members[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return write(t, b.Bytes())
}

func TestReadArchive(t *testing.T) {
	a := string(npy(1, header("|u1", "False", "(3,)"), 7, 8, 9))
	b := string(npy(1, header("<f8", "False", "(1000,)"), make([]byte, 8000)...))
	for _, method := range []uint16{zip.Store, zip.Deflate} {
		got, err := npz.Read(archive(t, method, "a.npy", a, "sub/b.npy", b))
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || !slices.Equal(got["a"].Int64s(), []int64{7, 8, 9}) || got["sub/b"].Len() != 1000 {
			t.Errorf("method %d: read %v", method, got)
		}
		// Only what is wanted has to be readable.
		got, err = npz.Read(archive(t, method, "a.npy", a, "text.npy", "no array"), "a", "missing")
		if err != nil || len(got) != 1 || got["a"] == nil {
			t.Errorf("method %d: read %v, %v", method, got, err)
		}
	}
	for name, c := range map[string]struct{ path, says string }{
		"not zip":     {write(t, []byte("nothing")), "zip"},
		"other":       {archive(t, zip.Store, "a.txt", a), "a.txt"},
		"twice":       {archive(t, zip.Store, "a.npy", a, "a.npy", a), "twice"},
		"object":      {archive(t, zip.Store, "o.npy", string(npy(1, header("|O", "False", "()"), 1))), "o.npy"},
		"cut member":  {archive(t, zip.Deflate, "c.npy", a[:len(a)-1]), "c.npy"},
		"end missing": {archiveCut(t, a), "zip"},
	} {
		if _, err := npz.Read(c.path); err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A flipped byte of data must be caught by the archive's checksum.
	path := archive(t, zip.Store, "a.npy", a)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(raw, []byte{7, 8, 9})
	raw[at]++
	if _, err := npz.Read(write(t, raw)); !errors.Is(err, zip.ErrChecksum) {
		t.Errorf("a flipped byte gave %v", err)
	}
}

func archiveCut(t *testing.T, member string) string {
	t.Helper()
	raw, err := os.ReadFile(archive(t, zip.Store, "a.npy", member))
	if err != nil {
		t.Fatal(err)
	}
	return write(t, raw[:len(raw)-30])
}

func TestRoundTrip(t *testing.T) {
	in := map[string]*tensor.Tensor{"scalar": tensor.FromInt64s([]int64{-3}), "empty": tensor.New(tensor.F32, 2, 0)}
	for _, dt := range []tensor.DType{tensor.F64, tensor.F32, tensor.F16, tensor.I64, tensor.I32, tensor.I8, tensor.U8, tensor.Bool} {
		for _, shape := range [][]int{{4}, {2, 3}, {2, 1, 3}} {
			x := tensor.New(dt, shape...)
			for i := range x.Data {
				x.Data[i] = byte(i % 2)
			}
			in[fmt.Sprint(dt, shape)] = x
		}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "x.npz")
	var first []byte
	for range 3 {
		if err := npz.Write(path, in); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(first, b) {
			t.Error("equal arrays gave other bytes")
		}
		first = b
	}
	out, err := npz.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(in, out, func(a, b *tensor.Tensor) bool { return a.Hash() == b.Hash() }) {
		t.Error("arrays came back changed")
	}
	err = npz.Write(filepath.Join(dir, "y.npz"), map[string]*tensor.Tensor{"h": tensor.New(tensor.BF16, 1)})
	if !errors.Is(err, tensor.ErrDType) || !strings.Contains(err.Error(), `"h"`) {
		t.Errorf("bfloat16 gave %v", err)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("a refused write left %v", all)
	}
}
